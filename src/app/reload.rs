//! What a hang-up signal changes while the server runs: settings that can be changed, and certificates.
//!
//! Settings are all or nothing: a file that is wrong anywhere changes none, and the log says what is wrong.
//! Those that cannot be changed in a running server keep their values, and the log names them. Certificates
//! are read again whatever becomes of the settings, and settings are taken whatever becomes of the certificates;
//! each bad one of these leaves its old one in force.
//!
//! A file that hangs is waited for no longer than 30 s. Settings that are read later than that are dropped, since they
//! are all or nothing and another signal may have come; none are read while an earlier reading hangs. Certificates
//! that are read later are taken then, as the watch takes them.
//!
//! Requests see new settings from their next step on; a chunk under way keeps its pace, time-outs and limits.

use super::options::{caution, client_options, engine_options, wire_options};
use super::sockets::{MissingGuard, check_backend_guard, check_trusted_proxies};
use super::telemetry;
use crate::config::{ConfigError, Settings};
use crate::engine::Engine;
use crate::handover::client::Client;
use crate::net::{Address, Grace, ProxyProtocol};
use crate::tls::{TlsError, TlsReload};
use crate::wire::Wire;
use crate::wire::admin::FilterError;
use arc_swap::ArcSwap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

/// Reads and checks the settings anew. Blocks.
pub type Load = Arc<dyn Fn() -> Result<Settings, ConfigError> + Send + Sync>;

/// What was not reloaded, in one line.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    #[error("{}", .0.to_string().replace('\n', "; "))]
    Settings(#[from] ConfigError),
    #[error("until a restart {0}")]
    Unguarded(#[from] MissingGuard),
    #[error("log: {0}")]
    Log(#[from] FilterError),
    #[error("an earlier reload is still reading its files")]
    StillReading,
    #[error("cannot start a thread: {0}")]
    NoThread(io::Error),
    #[error("reading the settings panicked")]
    Panicked,
    #[error(transparent)]
    Late(#[from] Late),
    #[error(transparent)]
    Certificates(#[from] TlsError),
    #[error("certificates ({0}; they take effect when it ends)")]
    CertificatesLate(Late),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Self>),
}

/// Files are still being read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading takes longer than {READ_DEADLINE:?}")]
pub(super) struct Late;

/// What is in force, and the rooms where it is.
pub(super) struct Running {
    pub(super) settings: Settings,
    /// Reads settings; none: they never change.
    pub(super) reader: Option<Reader>,
    /// Where the backend surface really is.
    pub(super) backend: Option<Address>,
    pub(super) engine: Arc<Engine>,
    pub(super) wire: Arc<Wire>,
    pub(super) client: Arc<ArcSwap<Client>>,
    pub(super) grace: Grace,
    pub(super) reloads: Reloads,
}

/// What of the listeners a reload changes.
pub(super) struct Reloads {
    pub(super) certificates: Vec<Arc<TlsReload>>,
    /// Listeners that ask for PROXY headers, and who may send them.
    pub(super) proxies: Vec<(Address, Arc<ProxyProtocol>)>,
}

/// What a reload comes to.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// The old settings, and of the new ones those that can be changed.
    settings: Settings,
    /// Keys that change.
    changed: Vec<&'static str>,
    /// Keys that differ and cannot be changed.
    fixed: Vec<&'static str>,
}

/// The settings that can be changed in a running server, in one list for what is done and what is said.
macro_rules! changeable {
    ($($key:ident),* $(,)?) => {
        /// Their keys.
        const CHANGEABLE: &[&str] = &[$(stringify!($key)),*];

        /// `old` with the values of `new` where they can be changed.
        fn merged(old: &Settings, new: Settings) -> Settings {
            Settings { $($key: new.$key,)* ..old.clone() }
        }
    };
}

changeable! {
    backend_allow, backend_hosts, backend_open, backend_token, chunk_size, max_chunk_size, send_ahead, max_upload_size,
    max_uploads, min_free_space, max_idle, retain_finished, failed_retention, handover_timeout,
    handover_confirm_timeout, handover_retry_for, callback_allow, cors_origins, trusted_proxies,
    body_timeout, min_rate, shutdown_grace, log, doctor,
}

impl Running {
    /// Reads settings and certificates again, each for itself, and puts in force what can be. The error is what
    /// was not taken; it has been logged.
    ///
    /// Cancel: settings that have not been read yet are forgotten, certificates that are being read are taken when
    /// that ends; nothing is half in force.
    pub(super) async fn reload(&mut self) -> Result<(), ReloadError> {
        // Settings first: certificates that hang keep nothing else from changing.
        let settings = self.reload_settings().await;
        let mut errors: Vec<_> = settings.err().into_iter().collect();
        for certificates in &self.reloads.certificates {
            errors.extend(reload_certificates(certificates).await.err());
        }
        if errors.is_empty() { Ok(()) } else { Err(ReloadError::Several(errors)) }
    }

    async fn reload_settings(&mut self) -> Result<(), ReloadError> {
        let Some(reader) = &self.reader else { return Ok(()) };
        let fresh = reader.read().await;
        let change = fresh.and_then(|fresh| Ok(compare(&self.settings, fresh, &self.bound())?));
        let put = change.and_then(|change| self.put(change));
        if let Err(error) = &put {
            tracing::error!(%error, "settings not reloaded; the previous ones stay in force");
        }
        put
    }

    fn bound(&self) -> Bound {
        let proxied = self.reloads.proxies.iter().map(|(address, _)| address.clone());
        Bound { backend: self.backend.clone(), proxied: proxied.collect() }
    }

    fn put(&mut self, change: Change) -> Result<(), ReloadError> {
        let Change { settings, changed, fixed } = change;
        if !fixed.is_empty() {
            tracing::warn!(settings = fixed.join(", "), "changed settings need a restart");
        }
        if changed.is_empty() {
            tracing::info!("settings reread; no reloadable setting has changed");
            return Ok(());
        }
        // The only step that can fail comes first.
        if changed.contains(&"log") {
            telemetry::configure_filter(&settings.log)?;
        }
        self.engine.retune(&engine_options(&settings));
        self.wire.retune(wire_options(&settings));
        self.client.store(Arc::new(Client::new(client_options(&settings))));
        self.grace.set(settings.shutdown_grace);
        for (_, protocol) in &self.reloads.proxies {
            protocol.trust(settings.trusted_proxies.clone());
        }
        if changed.contains(&"trusted_proxies") {
            caution(&settings);
        }
        self.settings = settings;
        tracing::info!(changed = changed.join(", "), "settings reloaded");
        Ok(())
    }
}

/// Reads settings, one reading at a time.
pub(super) struct Reader {
    load: Load,
    permit: Arc<Semaphore>,
}

impl Reader {
    pub(super) fn new(load: Load) -> Self {
        Self { load, permit: Arc::new(Semaphore::new(1)) }
    }

    /// Reads on a thread of its own: those that disks are waited for on are not for what may hang for ever.
    ///
    /// Cancel: the reading goes on, and nobody has its end.
    async fn read(&self) -> Result<Settings, ReloadError> {
        let permit = Arc::clone(&self.permit).try_acquire_owned();
        // It would hang as well, and so would one for each signal to come.
        let permit = permit.map_err(|_| ReloadError::StillReading)?;
        let load = Arc::clone(&self.load);
        let (send, read) = oneshot::channel();
        let thread = std::thread::Builder::new().name("incoming-settings".into());
        let started = thread.spawn(move || {
            let settings = load();
            drop(permit);
            // Who gave up waiting goes by the old settings.
            let _ = send.send(settings);
        });
        started.map_err(ReloadError::NoThread)?;
        Ok(in_time(read).await?.map_err(|_| ReloadError::Panicked)??)
    }
}

/// The addresses of a running server's sockets, whatever the settings name by now.
#[derive(Debug, Default)]
struct Bound {
    /// Of the backend surface.
    backend: Option<Address>,
    /// Of listeners that ask for PROXY headers.
    proxied: Vec<Address>,
}

/// What `fresh` changes in a server that runs with `old` on sockets at these addresses.
fn compare(old: &Settings, fresh: Settings, bound: &Bound) -> Result<Change, MissingGuard> {
    let differing = old.differing(&fresh);
    let (changed, fixed): (Vec<_>, Vec<_>) =
        differing.into_iter().partition(|key| CHANGEABLE.contains(key));
    let settings = merged(old, fresh);
    // The new settings were checked with the addresses they name, which are in force after a restart only.
    bound.backend.iter().try_for_each(|address| check_backend_guard(&settings, address))?;
    bound.proxied.iter().try_for_each(|address| check_trusted_proxies(&settings, address))?;
    Ok(Change { settings, changed, fixed })
}

async fn reload_certificates(certificates: &Arc<TlsReload>) -> Result<(), ReloadError> {
    match in_time(certificates.reload()).await {
        Ok(Ok(0)) => {
            tracing::info!("certificates reread; none has changed");
            Ok(())
        }
        // Each was told, and so was the error.
        Ok(Ok(1..)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(late) => {
            tracing::warn!(
                "certificate reload still running; it takes effect when the files are read"
            );
            Err(ReloadError::CertificatesLate(late))
        }
    }
}

/// What comes of reading, unless that hangs.
async fn in_time<T>(read: impl Future<Output = T>) -> Result<T, Late> {
    timeout(READ_DEADLINE, read).await.map_err(|_| Late)
}

/// Some small files are read at once; with a disk that takes so long it is better to go on with what is there.
const READ_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, Secret};
    use crate::tls::{CertificateFiles, ClientAuth, TlsFiles};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::{Mutex, mpsc};

    fn at(backend: &Address) -> Bound {
        Bound { backend: Some(backend.clone()), proxied: Vec::new() }
    }

    /// Time is paused: it jumps to the next deadline.
    #[tokio::test(start_paused = true)]
    async fn a_file_that_hangs_is_not_waited_for_without_end() {
        let hangs = in_time(std::future::pending::<()>());
        let ended = timeout(Duration::from_secs(24 * 60 * 60), hangs).await.unwrap();
        assert!(ended.unwrap_err().to_string().contains("longer than 30s"));
        assert_eq!(in_time(async { 5 }).await, Ok(5));
    }

    /// One thread hangs then, whoever sends how many signals.
    #[tokio::test(start_paused = true)]
    async fn settings_are_not_read_while_an_earlier_reading_hangs() {
        let (release, released) = mpsc::channel::<()>();
        let (released, begun) = (Mutex::new(released), Arc::new(AtomicU64::new(0)));
        let times = Arc::clone(&begun);
        let reader = Reader::new(Arc::new(move || {
            times.fetch_add(1, Ordering::Relaxed);
            let _ = released.lock().unwrap().recv();
            Ok(Settings::default())
        }));
        assert!(reader.read().await.unwrap_err().to_string().contains("longer than 30s"));
        for _ in 0..3 {
            assert!(reader.read().await.unwrap_err().to_string().contains(
                "an earlier reload is still \
                    reading its files"
            ));
        }
        tokio::time::resume();
        // From here on nothing hangs.
        drop(release);
        while reader.read().await.is_err_and(|error| error.to_string().contains("earlier")) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        assert_eq!(reader.read().await.unwrap(), Settings::default());
    }

    /// The certificate stands in a pipe that nobody writes to, as on a network disk that hangs.
    #[tokio::test(start_paused = true)]
    async fn certificates_that_are_late_are_said_to_be_taken_and_are() {
        let dir = tempfile::tempdir().unwrap();
        let [cert, key] = ["c", "k"].map(|name| dir.path().join(name));
        let make = || {
            let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            made.cert.pem()
        };
        std::fs::write(&cert, make()).unwrap();
        let pairs = vec![CertificateFiles { cert: cert.clone(), key: key.clone() }];
        let client_auth = ClientAuth::Required;
        let files = TlsFiles { pairs, client_ca: None, client_auth, challenges: None };
        let tls = Arc::new(TlsReload::load(files).unwrap());
        let old = tls.current();
        std::fs::remove_file(&cert).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &cert, mode).unwrap();
        let fresh = make();
        // Time stands still while a thread reads: it is moved on by hand.
        let passes = async {
            tokio::task::yield_now().await;
            tokio::time::advance(READ_DEADLINE + Duration::from_secs(1)).await;
        };
        let (said, ()) = tokio::join!(reload_certificates(&tls), passes);
        let said = said.unwrap_err().to_string();
        assert!(said.contains("longer than 30s; they take effect when it ends"), "{said}");
        assert!(Arc::ptr_eq(&old, &tls.current()));
        // Opens once somebody reads.
        tokio::task::spawn_blocking(move || std::fs::write(cert, fresh)).await.unwrap().unwrap();
        let begun = std::time::Instant::now();
        while Arc::ptr_eq(&old, &tls.current()) {
            assert!(begun.elapsed() < Duration::from_secs(20), "not taken");
            tokio::task::yield_now().await;
        }
    }

    /// As at a start: on TCP somebody must be trusted, on a unix socket whoever may open it is.
    #[test]
    fn a_listener_that_asks_for_proxy_headers_hears_somebody() {
        let old = Settings {
            proxy_protocol: true,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Settings::default()
        };
        let fresh = Settings { trusted_proxies: Vec::new(), ..old.clone() };
        let (tcp, unix) = ("0.0.0.0:4000".parse().unwrap(), "unix:/s".parse().unwrap());
        let judged = |proxied: &Address| {
            let bound = Bound { backend: None, proxied: vec![proxied.clone()] };
            compare(&old, fresh.clone(), &bound).map(|change| change.changed)
        };
        let line = judged(&tcp).unwrap_err().to_string();
        assert!(line.contains("0.0.0.0:4000") && line.contains("trusted_proxies"), "{line}");
        assert_eq!(judged(&unix).unwrap(), ["trusted_proxies"]);
    }

    #[test]
    fn what_can_change_changes_and_the_rest_is_named() {
        let old = Settings::default();
        let fresh = Settings {
            chunk_size: 1 << 20,
            backend_token: Some(Secret::new("t")),
            workers: old.workers + 1,
            listen: ":80".parse().unwrap(),
            ..old.clone()
        };
        let change = compare(&old, fresh, &at(&old.backend_listen)).unwrap();
        assert_eq!(change.changed, ["backend_token", "chunk_size"]);
        assert_eq!(change.fixed, ["listen", "workers"]);
        assert_eq!(change.settings.listen, old.listen);
        assert_eq!(change.settings.chunk_size, 1 << 20);
        let same = compare(&change.settings, change.settings.clone(), &Bound::default()).unwrap();
        assert!(same.changed.is_empty() && same.fixed.is_empty());
    }

    #[test]
    fn the_backend_is_never_left_open() {
        let everywhere: Address = "0.0.0.0:4001".parse().unwrap();
        let guarded = Settings {
            backend_listen: everywhere.clone(),
            backend_token: Some(Secret::new("t")),
            ..Settings::default()
        };
        // Good for a start; but this server's listener stays where it is.
        let fresh = Settings::default();
        let missing = compare(&guarded, fresh, &at(&everywhere)).unwrap_err();
        let line = ReloadError::from(missing).to_string();
        assert!(line.starts_with("until a restart ") && line.contains("0.0.0.0:4001"), "{line}");
    }

    /// Each key with another value than its default, beside those that it cannot be without.
    const OTHERS: [(&str, &[&str]); 48] = [
        ("listen = ':1'", &["listen"]),
        ("backend_listen = ':1'", &["backend_listen"]),
        ("tls_cert = 'c'\ntls_key = 'k'", &["tls_cert", "tls_key"]),
        ("backend_tls_cert = 'c'\nbackend_tls_key = 'k'", &["backend_tls_cert", "backend_tls_key"]),
        ("backend_tls_client_ca = 'c'", &["backend_tls_client_ca"]),
        ("redirect_listen = ':2'", &["redirect_listen"]),
        ("redirect_host = 'a'", &["redirect_host"]),
        ("hsts = '1d'", &["hsts"]),
        ("acme_domains = 'a.example'", &["acme_domains"]),
        ("acme_contact = 'a@b.example'", &["acme_contact"]),
        ("acme_directory = 'https://a'", &["acme_directory"]),
        ("acme_directory_ca = 'c'", &["acme_directory_ca"]),
        ("acme_cache = 'c'", &["acme_cache"]),
        ("backend_allow = '::1'", &["backend_allow"]),
        ("backend_hosts = 'a'", &["backend_hosts"]),
        ("backend_open = true", &["backend_open"]),
        ("backend_token = 't'", &["backend_token"]),
        ("storage_dir = 'd'", &["storage_dir"]),
        ("storage_must_exist = true", &["storage_must_exist"]),
        ("lock_wait = '1s'", &["lock_wait"]),
        ("storage_group = 'g'", &["storage_group"]),
        ("storage_file_mode = '640'", &["storage_file_mode"]),
        ("storage_dir_mode = '750'", &["storage_dir_mode"]),
        ("ack = 'written'", &["ack"]),
        ("chunk_size = 1", &["chunk_size"]),
        ("max_chunk_size = '1GiB'", &["max_chunk_size"]),
        ("send_ahead = 1", &["send_ahead"]),
        ("max_upload_size = 1", &["max_upload_size"]),
        ("max_uploads = 1", &["max_uploads"]),
        ("max_connections = 1", &["max_connections"]),
        ("receive_memory = '9GiB'", &["receive_memory"]),
        ("min_free_space = 1", &["min_free_space"]),
        ("max_idle = '1s'", &["max_idle"]),
        ("retain_finished = '1s'", &["retain_finished"]),
        ("failed_retention = '1s'", &["failed_retention"]),
        ("handover_timeout = '1s'", &["handover_timeout"]),
        ("handover_confirm_timeout = '1s'", &["handover_confirm_timeout"]),
        ("handover_retry_for = '1s'", &["handover_retry_for"]),
        ("callback_allow = '::1'", &["callback_allow"]),
        ("cors_origins = 'https://a'", &["cors_origins"]),
        ("trusted_proxies = '::1'", &["trusted_proxies"]),
        ("proxy_protocol = true", &["proxy_protocol"]),
        ("backend_proxy_protocol = true", &["backend_proxy_protocol"]),
        ("doctor = false", &["doctor"]),
        ("body_timeout = '1s'", &["body_timeout"]),
        ("min_rate = 1", &["min_rate"]),
        ("shutdown_grace = '1s'", &["shutdown_grace"]),
        ("log = 'off'\nlog_format = 'json'\nworkers = 1000", &["log", "log_format", "workers"]),
    ];

    #[test]
    fn every_setting_changes_or_is_said_to_need_a_restart() {
        let told = include_str!("../../docs/operations/upgrade.md");
        let (_, told) = told.split_once("the log names it (\"settings reloaded\"): ").unwrap();
        let (told, _) = told.split_once("\n- ").unwrap();
        let told: Vec<_> = told.split('`').skip(1).step_by(2).collect();
        let mut met = Vec::new();
        for (file, keys) in OTHERS {
            let fresh = Settings::read(&Layers::of_text(file).unwrap()).unwrap();
            let old = Settings::default();
            let change = compare(&old, fresh, &Bound::default()).unwrap();
            let (can, cannot): (Vec<_>, Vec<_>) =
                keys.iter().copied().partition(|key| told.contains(key));
            assert_eq!(change.changed, can, "{file}");
            assert_eq!(change.fixed, cannot, "{file}");
            assert_eq!(old.differing(&change.settings), can, "{file}");
            met.extend(keys.iter().map(|key| (*key).to_owned()));
        }
        let mut all = crate::config::keys();
        all.sort();
        met.sort();
        assert_eq!(met, all);
        assert!(told.iter().all(|key| CHANGEABLE.contains(key)), "{told:?}");
    }
}
