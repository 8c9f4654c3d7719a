//! The composition root: settings become a running server, and a signal ends it.
//!
//! Order of start: storage, engine, certificates, sockets, workers. Order of stop: listeners, chunks
//! under way, commits, calls to backends. Nothing is decided here but order.

mod acme;
mod admin;
#[cfg(feature = "cluster")]
mod bucket_health;
#[cfg(feature = "cluster")]
mod bucket_sweep;
mod exposed_paths;
mod metrics;
#[cfg(test)]
#[cfg(feature = "cluster")]
mod object_campaign;
#[cfg(feature = "cluster")]
pub mod object_storage;
mod options;
mod preflight;
mod redirect;
mod reload;
#[cfg(feature = "cluster")]
mod shared_log;
mod sockets;
mod stop;
mod storage_directory;
pub mod systemd;
pub mod telemetry;

use crate::config::{Settings, word_of};
use crate::engine::Engine;
use crate::handover::worker;
use crate::net::{
    self, Address, Grace, Listener, MemoryBudget, Peer, PeerAddress, Setup, Stats, Workers,
};
use crate::tls::TlsReload;
use crate::wire::{Caller, Surface, Wire};
use arc_swap::ArcSwap;
use metrics::Sources;
pub use options::wait_for_storage;
use options::{
    handover_client, log_warnings, open_engine, proxy_protocol, warn_of_open_backend, wire_options,
};
pub use preflight::check_settings;
pub use reload::Load;
use reload::{Reader, Reloadable, Reloads};
use sockets::Purpose;
pub use sockets::{Inherited, MissingGuard, PassedSocketError, Socket};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use stop::Shutdown;
pub use stop::{exit_at_second, stop_on_signal};
pub use storage_directory::StorageDirectory;
use systemd::Notifier;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why the server could not start; the text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that the start needs did not work.
    #[error("{what}: {source}")]
    Failed {
        /// What was tried.
        what: String,
        /// Why it did not work.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A listener could not be bound.
    #[error("{key} {:?}: {source}; choose another address with --{}", .address.to_string(), .key.replace('_', "-"))]
    Bind {
        /// The setting that names the address.
        key: &'static str,
        /// The address.
        address: Address,
        /// Why it could not be bound.
        source: io::Error,
    },
    /// A passed socket cannot be used.
    #[error(transparent)]
    Passed(#[from] PassedSocketError),
    /// A passed socket needs settings that are absent.
    #[error("the passed socket {0}")]
    Unguarded(#[from] MissingGuard),
    /// Certificates are to be ordered, and the program was built without that.
    #[error("acme_domains: this program was built without the feature acme")]
    NoAcme,
}

impl StartError {
    fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
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
    redirect: Option<Listener>,
    orders: Option<acme::Orders>,
    drain: CancellationToken,
    notifier: Notifier,
    load: Option<Load>,
    grace: Grace,
    memory: Arc<MemoryBudget>,
    /// Files and connections that may be open at once.
    descriptors: usize,
}

impl Server {
    /// Opens the storage and binds the sockets. Must be called inside a runtime.
    ///
    /// Errors: one line that names what is wrong.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_with(settings, Inherited::default())
    }

    /// As [`Self::start`], on the sockets that were passed and, for the rest, those the settings name.
    ///
    /// Errors: one line that names what is wrong.
    pub fn start_with(settings: Settings, inherited: Inherited) -> Result<Self, StartError> {
        let engine = open_engine(&settings)?;
        let mut passed = inherited.listeners(settings.shared())?;
        let orders = acme::orders(&settings)?;
        let sockets = sockets::bind(&settings, &mut passed, orders.as_ref())?;
        let redirect = redirect::bind(&settings, passed.take(Purpose::Redirect))?;
        Ok(Self { redirect, orders, ..Self::assemble(settings, engine, sockets)? })
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
        disable_huge_pages();
        log_warnings(&settings);
        for socket in sockets.iter().filter(|socket| socket.surface != Surface::Public) {
            warn_of_open_backend(&settings, socket.listener.local_address());
        }
        let descriptors = sockets::raise_file_limit();
        if settings.max_connections > descriptors / 2 {
            let most = descriptors / 2;
            tracing::warn!(
                most,
                "the limit of open files allows fewer connections than max_connections"
            );
        }
        let stats = Arc::new(Stats::default());
        let failed = |error| StartError::new("workers", error);
        let workers = Workers::start(settings.workers).map_err(failed)?;
        let backend_workers = Workers::named("incoming-backend", 1).map_err(failed)?;
        let memory = MemoryBudget::new(settings.connection_memory(), settings.max_connections);
        let sources = Sources {
            engine: Arc::clone(&engine),
            net: Arc::clone(&stats),
            memory: Arc::clone(&memory),
            refusals: Arc::default(),
            certificates: admin::certificates(&sockets),
            max_connections: settings.max_connections.min(descriptors / 2),
            started: SystemTime::now(),
        };
        let backend = admin::backend_address(&sockets);
        let hooks = admin::hooks(sources, backend, [&workers, &backend_workers]);
        let wire = Wire::new(Arc::clone(&engine), wire_options(&settings), hooks);
        let grace = Grace::new(settings.shutdown_grace);
        Ok(Self {
            memory,
            grace,
            settings,
            engine,
            wire,
            workers,
            backend_workers,
            stats,
            sockets,
            redirect: None,
            orders: None,
            drain: CancellationToken::new(),
            notifier: Notifier::default(),
            load: None,
            descriptors,
        })
    }

    /// Reports the server's state to this service manager.
    #[must_use]
    pub fn with_notifier(self, notifier: Notifier) -> Self {
        Self { notifier, ..self }
    }

    /// Has settings read anew by `load` when a hang-up signal comes.
    #[must_use]
    pub fn reloading_by(self, load: Load) -> Self {
        Self { load: Some(load), ..self }
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
            proxy_protocol: None,
            options: Arc::new(net::Options {
                max_connections: self.settings.max_connections.min(self.descriptors / 2),
                shutdown_grace: self.grace.clone(),
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

    /// What is said of it while it serves.
    fn status(&self) -> String {
        let at = |(surface, address): &(Surface, Address)| match surface {
            Surface::Public => format!("uploads on {address}"),
            Surface::Backend => format!("backends on {address}"),
            Surface::Shared => format!("uploads and backends on {address}"),
        };
        let places: Vec<_> = self.addresses().iter().map(at).collect();
        format!("serving {}", places.join(", "))
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
        let notifier = std::mem::take(&mut self.notifier);
        let liveness = self.workers.liveness().and(self.backend_workers.liveness());
        let counting = Arc::clone(&self.engine).keep_uptime();
        let announcing = Arc::clone(&self.wire).announce();
        tokio::select! {
            biased;
            () = notifier.with_watchdog(liveness, self.serve(&notifier, stop, beside)) => {}
            () = counting => {}
            () = announcing => {}
        }
    }

    async fn serve(
        mut self,
        notifier: &Notifier,
        stop: CancellationToken,
        beside: Vec<Pin<Box<dyn Future<Output = ()> + Send>>>,
    ) {
        let status = self.status();
        let addresses = self.addresses();
        let backend = addresses.into_iter().find(|(surface, _)| *surface != Surface::Public);
        let serving = TaskTracker::new();
        let reloads = self.serve_sockets(&serving);
        for service in beside {
            serving.spawn(service);
        }
        for reload in &reloads.certificates {
            serving.spawn(Arc::clone(reload).watch(CERTIFICATE_PERIOD, self.drain.clone()));
        }
        let calls = TaskTracker::new();
        let client = Arc::new(ArcSwap::from_pointee(handover_client(&self.settings)));
        let cut_calls = CancellationToken::new();
        let engine = Arc::clone(&self.engine);
        let calling = worker::run(
            engine,
            Arc::clone(&client),
            // The files that may be open are the connections' first.
            worker::MAX_CALLS.min(self.descriptors / 8),
            self.drain.clone(),
            cut_calls.clone(),
            calls.clone(),
        );
        calls.spawn(calling);
        serving.spawn(Arc::clone(&self.engine).sweep());
        serving.spawn(Arc::clone(&self.engine).sample());
        serving.close();

        let mut reloadable = Reloadable {
            reader: self.load.take().map(Reader::new),
            backend: backend.map(|(_, address)| address),
            engine: Arc::clone(&self.engine),
            wire: Arc::clone(&self.wire),
            client,
            grace: self.grace.clone(),
            reloads,
            settings: self.settings,
        };
        on_sighup(&mut reloadable, notifier, &status, &stop).await;
        let shutdown = Shutdown {
            engine: self.engine,
            drain: self.drain,
            serving,
            calls,
            cut_calls,
            workers: self.workers,
            backend_workers: self.backend_workers,
        };
        shutdown.run(reloadable.settings.shutdown_grace, notifier).await;
    }

    /// Tells where a passed socket is not where its setting says.
    fn compare(&self, listener: &Listener, surface: Surface) {
        let (setting, says) = match surface {
            Surface::Public | Surface::Shared => ("listen", &self.settings.listen),
            Surface::Backend => ("backend_listen", &self.settings.backend_listen),
        };
        let address = listener.local_address();
        if listener.is_passed() && address != says {
            tracing::warn!(setting, %says, %address, "inherited socket overrides the setting");
        }
    }

    /// Serves the sockets, each on its workers; answers what of them a reload changes.
    fn serve_sockets(&mut self, serving: &TaskTracker) -> Reloads {
        let certificates: Vec<_> =
            self.sockets.iter().filter_map(|socket| socket.tls.clone()).collect();
        serving.spawn(redirect::serve(self));
        serving.spawn(acme::serve(self));
        let storage_dir = self.settings.uses_directory().then_some(&self.settings.storage_dir);
        let storage_dir =
            storage_dir.map(|it| std::path::absolute(it).unwrap_or_else(|_| it.clone()));
        let storage_dir = storage_dir.map(|it| it.display().to_string());
        let (ack, bucket) = (word_of(&self.settings.ack), self.settings.s3_bucket.as_deref());
        tracing::info!(storage_dir, bucket, ack, "storage ready");
        let mut proxies = Vec::new();
        for socket in std::mem::take(&mut self.sockets) {
            let (wire, surface) = (Arc::clone(&self.wire), socket.surface);
            tracing::info!(address = %socket.listener.local_address(), ?surface, tls = socket.tls.is_some(), "listening");
            self.compare(&socket.listener, surface);
            let mut setup = self.setup(socket.tls);
            setup.proxy_protocol = proxy_protocol(&self.settings, surface);
            let address = socket.listener.local_address().clone();
            proxies.extend(setup.proxy_protocol.clone().map(|protocol| (address, protocol)));
            if surface == Surface::Backend {
                // Clients that fill the public listener take nothing from this one.
                let options = Arc::make_mut(&mut setup.options);
                options.max_connections = options.max_connections.min(BACKEND_CONNECTIONS);
                let connections = options.max_connections;
                options.memory = MemoryBudget::new(MemoryBudget::least(connections), connections);
            }
            let hsts = redirect::hsts(&self.settings, surface);
            let make = move |peer: &Peer| {
                wire.service(surface, caller(peer)).strict(hsts.clone().filter(|_| peer.tls))
            };
            let workers = match surface {
                Surface::Backend => &self.backend_workers,
                Surface::Public | Surface::Shared => &self.workers,
            };
            serving.spawn(net::serve(socket.listener, setup, workers, make));
        }
        Reloads { certificates, proxies }
    }
}

/// Tells that all is ready and waits for `stop`; a hang-up signal meanwhile reloads.
async fn on_sighup(
    reloadable: &mut Reloadable,
    notifier: &Notifier,
    status: &str,
    stop: &CancellationToken,
) {
    use tokio::signal::unix::{SignalKind, signal};
    // Before anybody can know that it is ready: the signal's default is to end the process.
    let hangup = signal(SignalKind::hangup());
    notifier.ready(&status);
    let Ok(mut hangup) = hangup else { return stop.cancelled().await };
    while stop.run_until_cancelled(hangup.recv()).await.is_some() {
        notifier.reloading();
        // A file that hangs must not keep the server from stopping. Nothing is half in force then.
        match stop.run_until_cancelled(reloadable.reload()).await {
            None => return,
            Some(Ok(())) => notifier.ready(&status),
            Some(Err(error)) => notifier.ready(&format_args!("{status}; not reloaded: {error}")),
        }
    }
}

/// Asks the kernel for small pages only, for the whole process and for good.
///
/// The allocator invites huge ones; a burst of uploads then clears and holds 2 MiB for a frame of a few hundred KiB. Measured
/// with huge pages and without: 64 uploads 0.54 and 0.43 CPU s/GiB, 8 uploads 0.39 and 0.35; 1000 uploads over TLS
/// with `receive_memory = 300MiB` 271 to 384 MiB of memory and 157 to 283 (`benches/compare/run`; prctl(2), `PR_SET_THP_DISABLE`).
/// A kernel that refuses costs that much and no more.
fn disable_huge_pages() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "could not disable huge pages");
    }
}

/// The wire's view of a peer. A unix socket's peer is on this machine.
pub fn caller(peer: &Peer) -> Caller {
    let caller = match peer.address {
        PeerAddress::Ip(address) => Caller::tcp(address),
        PeerAddress::Unix => Caller::unix(),
        PeerAddress::Unknown => Caller::unknown(),
    };
    let certificate = peer.client_certificate.clone();
    Caller { certificate: certificate.map(|it| Arc::new(move || it.is_good()) as _), ..caller }
}

/// Connections of the backend's listener at once: it has few clients, and memory of its own for them (56 MiB).
const BACKEND_CONNECTIONS: usize = 512;
/// How often certificate files are looked at.
const CERTIFICATE_PERIOD: Duration = Duration::from_secs(5);
