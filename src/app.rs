//! The composition root: settings become a running server, and a signal ends it.
//!
//! Order of start: storage, engine, certificates, sockets, workers. Order of stop: listeners, chunks
//! under way, commits, calls to backends. Nothing is decided here but order.

use crate::config::{Ack, CallbackRule, Settings, TlsFiles};
use crate::core::event::Durability;
use crate::core::handover::Policy;
use crate::core::limits::Limits;
use crate::engine::clock::SystemClock;
use crate::engine::{self, Engine};
use crate::handover::client::{self, Client};
use crate::handover::worker;
use crate::journal::local::LocalJournals;
use crate::metrics;
use crate::net::{
    self, Address, Listener, Memory, Peer, Setup, Stats, Strangers, TlsReload, Workers,
};
use crate::store::local::{self, LocalStore};
use crate::wire::access::Access;
use crate::wire::cors::Cors;
use crate::wire::{self, Caller, Surface, Wire};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The server could not start; the text says what would be right.
#[derive(Debug)]
pub struct StartError(String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl StartError {
    /// Something that the start needs did not work.
    pub fn new(what: impl fmt::Display, error: impl fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// A server whose sockets are bound and which is ready to be run.
pub struct Server {
    settings: Settings,
    engine: Arc<Engine>,
    wire: Arc<Wire>,
    workers: Workers,
    /// Of the backend's own listener: health and its calls answer while all others wait for a disk.
    backend_workers: Workers,
    stats: Arc<Stats>,
    sockets: Vec<Socket>,
    drain: CancellationToken,
    memory: Arc<Memory>,
    /// Files and connections that may be open at once.
    descriptors: usize,
}

/// A bound socket and what it serves.
pub struct Socket {
    /// The socket.
    pub listener: Listener,
    /// Its certificates; none: plain HTTP.
    pub tls: Option<Arc<TlsReload>>,
    /// The paths it serves.
    pub surface: Surface,
}

impl Server {
    /// Opens the storage and binds the sockets. Must be called inside a runtime.
    ///
    /// Errors: one line that names what is wrong.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let engine = open_engine(&settings)?;
        let sockets = bind(&settings)?;
        Self::assemble(settings, engine, sockets)
    }

    /// As [`Self::start`], on sockets bound by the caller instead of those the settings name: for a
    /// program that serves [`Self::wire`] on listeners of its own beside something else.
    ///
    /// Errors: one line that names what is wrong.
    pub fn start_on(settings: Settings, sockets: Vec<Socket>) -> Result<Self, StartError> {
        let engine = open_engine(&settings)?;
        Self::assemble(settings, engine, sockets)
    }

    fn assemble(
        settings: Settings,
        engine: Arc<Engine>,
        sockets: Vec<Socket>,
    ) -> Result<Self, StartError> {
        let descriptors = raise_file_limit();
        if settings.max_connections > descriptors / 2 {
            let most = descriptors / 2;
            tracing::warn!(
                most,
                "the limit of open files allows fewer connections than max_connections"
            );
        }
        let stats = Arc::new(Stats::default());
        let render = metrics::renderer(Arc::clone(&engine), Arc::clone(&stats));
        let wire = Wire::new(Arc::clone(&engine), wire_options(&settings), Arc::new(render));
        let failed = |error| StartError::new("workers", error);
        let workers = Workers::start(settings.workers).map_err(failed)?;
        let backend_workers = Workers::named("incoming-backend", 1).map_err(failed)?;
        let memory = Memory::new(settings.connection_memory(), settings.max_connections);
        Ok(Self {
            memory,
            settings,
            engine,
            wire,
            workers,
            backend_workers,
            stats,
            sockets,
            drain: CancellationToken::new(),
            descriptors,
        })
    }

    /// Where the server listens, ports resolved.
    pub fn addresses(&self) -> Vec<(Surface, Address)> {
        self.sockets.iter().map(|s| (s.surface, s.listener.local_address().clone())).collect()
    }

    /// The HTTP surface, for a program that serves it beside something else.
    pub fn wire(&self) -> Arc<Wire> {
        Arc::clone(&self.wire)
    }

    /// The workers, for listeners of such a program.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// How such a listener is to be served.
    pub fn setup(&self, tls: Option<Arc<TlsReload>>) -> Setup {
        Setup {
            tls,
            options: Arc::new(net::Options {
                max_connections: self.settings.max_connections.min(self.descriptors / 2),
                shutdown_grace: self.settings.shutdown_grace,
                memory: Arc::clone(&self.memory),
                ..net::Options::default()
            }),
            stats: Arc::clone(&self.stats),
            drain: self.drain.clone(),
        }
    }

    /// Cancelled when the server begins to stop.
    pub fn drain(&self) -> CancellationToken {
        self.drain.clone()
    }

    /// Serves until `stop` is cancelled, then lets everything end; `beside` is served as well and
    /// ends by the same drain.
    ///
    /// Cancel: dropping the future ends connections where they stand; what was acknowledged holds.
    pub async fn run(
        mut self,
        stop: CancellationToken,
        beside: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ) {
        let serving = TaskTracker::new();
        let reloads: Vec<_> = self.sockets.iter().filter_map(|socket| socket.tls.clone()).collect();
        for socket in std::mem::take(&mut self.sockets) {
            let (wire, surface) = (Arc::clone(&self.wire), socket.surface);
            tracing::info!(address = %socket.listener.local_address(), ?surface, tls = socket.tls.is_some(), "listening");
            let mut setup = self.setup(socket.tls);
            if surface == Surface::Backend {
                // Strangers who fill the public listener take nothing from this one.
                let options = Arc::make_mut(&mut setup.options);
                options.max_connections = options.max_connections.min(BACKEND_CONNECTIONS);
                let connections = options.max_connections;
                options.memory = Memory::new(Memory::least(connections), connections);
            }
            let make = move |peer: &Peer| wire.service(surface, caller(peer));
            let workers = match surface {
                Surface::Backend => &self.backend_workers,
                Surface::Public | Surface::Shared => &self.workers,
            };
            serving.spawn(net::serve(socket.listener, setup, workers, make));
        }
        for service in beside {
            serving.spawn(service);
        }
        for reload in &reloads {
            serving.spawn(Arc::clone(reload).watch(CERTIFICATE_PERIOD, self.drain.clone()));
        }
        let calls = TaskTracker::new();
        let client = Arc::new(Client::new(client_options(&self.settings)));
        let cut = CancellationToken::new();
        let engine = Arc::clone(&self.engine);
        let calling = worker::run(engine, client, self.drain.clone(), cut.clone(), calls.clone());
        calls.spawn(calling);
        serving.spawn(Arc::clone(&self.engine).sweep());
        serving.close();

        hangups(&reloads, &stop).await;
        tracing::info!("stopping");
        self.engine.draining().cancel();
        self.drain.cancel();
        serving.wait().await;
        let grace = self.settings.shutdown_grace;
        let ended = tokio::time::timeout(grace.max(LAST_COMMITS), async {
            self.wire.drained().await;
            self.engine.settle_for_good().await;
        });
        if ended.await.is_err() {
            tracing::warn!("transfers were cut off at the end of their grace");
        }
        calls.close();
        if tokio::time::timeout(LAST_CALLS, calls.wait()).await.is_err() {
            tracing::info!("calls to backends were cut off; they are repeated after the start");
            cut.cancel();
            calls.wait().await;
        }
        let (workers, backend_workers) = (self.workers, self.backend_workers);
        // The workers' own runtimes cannot be ended from inside this one.
        let ended = tokio::task::spawn_blocking(move || {
            workers.shutdown(LAST_COMMITS);
            backend_workers.shutdown(LAST_COMMITS);
        });
        if ended.await.is_err() {
            tracing::warn!("the workers did not end");
        }
        tracing::info!("stopped");
    }
}

/// Waits for `stop`; a hang-up signal meanwhile reloads certificates.
async fn hangups(reloads: &[Arc<TlsReload>], stop: &CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return stop.cancelled().await };
    while stop.run_until_cancelled(hangup.recv()).await.is_some() {
        for reload in reloads {
            match reload.reload() {
                Ok(()) => tracing::info!("certificates reloaded"),
                Err(error) => {
                    tracing::error!(%error, "certificates not reloaded, the old ones stay")
                }
            }
        }
    }
}

/// A token that the first SIGTERM or SIGINT cancels; the second ends the process at once.
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told.is_cancelled() {
                std::process::exit(SECOND_SIGNAL);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

/// The wire's view of a peer. A unix socket's peer is on this machine.
pub fn caller(peer: &Peer) -> Caller {
    Caller {
        address: peer.address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip()),
        client_certificate: peer.client_certificate,
    }
}

fn open_engine(settings: &Settings) -> Result<Arc<Engine>, StartError> {
    let directory = &settings.storage_dir;
    let access = local::Access {
        group: settings.storage_gid,
        file_mode: settings.storage_file_mode,
        directory_mode: settings.storage_dir_mode,
    };
    let refused = |error| {
        StartError::new(format!("storage_dir {:?}", directory.display().to_string()), error)
    };
    let store = LocalStore::open(directory, access).map_err(refused)?;
    let journals = LocalJournals::open(store.directory()).map_err(refused)?;
    let options = engine::Options {
        ack: match settings.ack {
            Ack::Durable => Durability::Durable,
            Ack::Written => Durability::Written,
        },
        limits: Limits {
            max_chunk_bytes: settings.max_chunk_size,
            max_upload_bytes: settings.max_upload_size,
        },
        max_uploads: settings.max_uploads,
        min_free_bytes: settings.min_free_space,
        max_idle: settings.max_idle,
        retain_finished: settings.retain_finished,
        failed_retention: settings.failed_retention,
        calls: Policy {
            confirm_timeout: settings.handover_confirm_timeout,
            retry_for: settings.handover_retry_for,
        },
        body_timeout: settings.body_timeout,
        min_rate: settings.min_rate,
        strides: engine::strides::Strides::default(),
        waiting_bytes: settings.batch_memory(),
    };
    Ok(Engine::new(options, Arc::new(store), Arc::new(journals), Arc::new(SystemClock)))
}

fn wire_options(settings: &Settings) -> wire::Options {
    let any = settings.cors_origins.iter().any(|origin| origin == "*");
    wire::Options {
        chunk_size: settings.chunk_size,
        send_ahead: settings.send_ahead,
        cors: if any { Cors::Any } else { Cors::Only(settings.cors_origins.clone()) },
        access: Access {
            allow: settings.backend_allow_effective(),
            trusted_proxies: settings.trusted_proxies.clone(),
            token: settings.backend_token.as_ref().map(|token| token.expose().to_owned()),
            client_certificate: settings.backend_tls_client_ca.is_some(),
        },
    }
}

fn client_options(settings: &Settings) -> client::Options {
    let rules = settings.callback_allow.iter().map(|rule| match rule {
        CallbackRule::Host(host) => client::Rule::Host(host.clone()),
        CallbackRule::Net(net) => client::Rule::Net(*net),
    });
    client::Options { timeout: settings.handover_timeout, allow: rules.collect() }
}

fn bind(settings: &Settings) -> Result<Vec<Socket>, StartError> {
    let socket = |key: &str, address: &Address, tls: Option<&TlsFiles>, surface: Surface| {
        let client_ca = match surface {
            Surface::Public => None,
            Surface::Backend | Surface::Shared => settings.backend_tls_client_ca.clone(),
        };
        let files = tls.map(|files| net::TlsFiles {
            cert: files.cert.clone(),
            key: files.key.clone(),
            client_ca,
            // Browsers on a shared socket have no certificate; the wire asks backends for theirs.
            strangers: if surface == Surface::Shared {
                Strangers::LetIn
            } else {
                Strangers::Refused
            },
        });
        let tls = files
            .map(TlsReload::load)
            .transpose()
            .map_err(|error| StartError::new("tls", error))?;
        let listener = Listener::bind(address).map_err(|error| {
            let flag = key.replace('_', "-");
            let what = format!("{key} {:?}", address.to_string());
            StartError(format!("{what}: {error}; choose another address with --{flag}"))
        })?;
        Ok(Socket { listener, tls: tls.map(Arc::new), surface })
    };
    if settings.shared() {
        return Ok(vec![socket(
            "listen",
            &settings.listen,
            settings.tls.as_ref(),
            Surface::Shared,
        )?]);
    }
    Ok(vec![
        socket("listen", &settings.listen, settings.tls.as_ref(), Surface::Public)?,
        socket(
            "backend_listen",
            &settings.backend_listen,
            settings.backend_tls.as_ref(),
            Surface::Backend,
        )?,
    ])
}

/// Every connection and every running upload holds a descriptor or two; take what the system
/// gives, and say how many that is.
fn raise_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let most = getrlimit(Resource::Nofile).current;
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}

/// Connections of the backend's listener at once: it has few clients, and memory of its own for them (56 MiB).
const BACKEND_CONNECTIONS: usize = 512;
/// How often certificate files are looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(5);
/// Commits under way get at least this long at the end.
const LAST_COMMITS: Duration = Duration::from_secs(10);
/// Calls under way get this long at the end; they are repeated after the start.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// Exit code after the second signal, as after the first one of a program that handles none.
const SECOND_SIGNAL: i32 = 130;
