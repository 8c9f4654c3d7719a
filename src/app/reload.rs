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

use super::options::{engine_options, handover_client, log_warnings, wire_options};
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
    ReadTimeout(#[from] ReadTimeout),
    #[error(transparent)]
    Certificates(#[from] TlsError),
    #[error("certificates ({0}; they take effect when it ends)")]
    CertificatesTimeout(ReadTimeout),
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Self>),
}

/// Files are still being read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading takes longer than {READ_DEADLINE:?}")]
pub(super) struct ReadTimeout;

/// The settings in force, and the parts of the server that use them.
pub(super) struct Reloadable {
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

impl Reloadable {
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
        let change = fresh.and_then(|fresh| Ok(compare(&self.settings, &fresh, &self.bound())?));
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
        self.engine.set_options(&engine_options(&settings));
        self.wire.set_options(wire_options(&settings));
        self.client.store(Arc::new(handover_client(&settings)));
        self.grace.set(settings.shutdown_grace);
        for (_, protocol) in &self.reloads.proxies {
            protocol.trust(settings.trusted_proxies.clone());
        }
        if changed.contains(&"trusted_proxies") {
            log_warnings(&settings);
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
fn compare(old: &Settings, fresh: &Settings, bound: &Bound) -> Result<Change, MissingGuard> {
    let (mut changed, mut fixed) = (Vec::new(), Vec::new());
    for setting in old.differing(fresh) {
        if setting.reloadable { &mut changed } else { &mut fixed }.push(setting.key);
    }
    let settings = old.reloaded(fresh);
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
            Err(ReloadError::CertificatesTimeout(late))
        }
    }
}

/// What comes of reading, unless that hangs.
async fn in_time<T>(read: impl Future<Output = T>) -> Result<T, ReadTimeout> {
    timeout(READ_DEADLINE, read).await.map_err(|_| ReadTimeout)
}

/// Some small files are read at once; with a disk that takes so long it is better to go on with what is there.
const READ_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
