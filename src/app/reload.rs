//! What a hang-up signal changes while the server runs: settings that can be changed, and certificates.
//!
//! Settings are all or nothing: a file that is wrong anywhere changes none, and the log says what is wrong.
//! Those that cannot be changed in a running server keep their values, and the log names them. Certificates
//! are read again whatever becomes of the settings; each bad one leaves its old one in force.
//!
//! Requests see new settings from their next step on; a chunk under way keeps its pace, time-outs and limits.

use super::options::{caution, client_options, engine_options, wire_options};
use crate::config::Settings;
use crate::engine::Engine;
use crate::engine::swap::Swap;
use crate::handover::client::Client;
use crate::net::{Address, Grace, ProxyProtocol, TlsReload};
use crate::telemetry;
use crate::wire::Wire;
use std::sync::Arc;

/// Reads and checks the settings anew; the error is one line. Blocks.
pub type Load = Arc<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// What is in force, and the rooms where it is.
pub(super) struct Running {
    pub(super) settings: Settings,
    /// Where settings come from; none: they never change.
    pub(super) load: Option<Load>,
    /// Where the backend surface really is.
    pub(super) backend: Option<Address>,
    pub(super) engine: Arc<Engine>,
    pub(super) wire: Arc<Wire>,
    pub(super) client: Arc<Swap<Client>>,
    pub(super) grace: Grace,
    pub(super) reloads: Reloads,
}

/// What of the listeners a reload changes.
pub(super) struct Reloads {
    pub(super) certificates: Vec<Arc<TlsReload>>,
    /// Who may say on a connection whom it is from.
    pub(super) proxies: Vec<Arc<ProxyProtocol>>,
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
    backend_allow, backend_open, backend_token, chunk_size, max_chunk_size, send_ahead, max_upload_size,
    max_uploads, min_free_space, max_idle, retain_finished, failed_retention, handover_timeout,
    handover_confirm_timeout, handover_retry_for, callback_allow, cors_origins, trusted_proxies,
    body_timeout, min_rate, shutdown_grace, log, doctor,
}

impl Running {
    /// Reads settings and certificates again and puts in force what can be. The error is what kept the
    /// settings from it; it has been logged.
    ///
    /// Cancel: what has been read so far is forgotten; nothing is half in force.
    pub(super) async fn reload(&mut self) -> Result<(), String> {
        let (load, certificates) = (self.load.clone(), self.reloads.certificates.clone());
        let read = tokio::task::spawn_blocking(move || {
            reload_certificates(&certificates);
            load.map(|load| load())
        });
        let fresh = match read.await {
            Ok(None) => return Ok(()),
            Ok(Some(fresh)) => fresh,
            Err(error) => Err(error.to_string()),
        };
        let change = fresh.and_then(|fresh| judge(&self.settings, fresh, self.backend.as_ref()));
        let put = change.and_then(|change| self.put(change));
        if let Err(error) = &put {
            tracing::error!(%error, "settings not reloaded, the old ones stay");
        }
        put
    }

    fn put(&mut self, change: Change) -> Result<(), String> {
        let Change { settings, changed, fixed } = change;
        // The only step that can fail comes first.
        if changed.contains(&"log") {
            telemetry::configure_filter(&settings.log).map_err(|error| format!("log: {error}"))?;
        }
        self.engine.retune(&engine_options(&settings));
        self.wire.retune(wire_options(&settings));
        self.client.put(Client::new(client_options(&settings)));
        self.grace.set(settings.shutdown_grace);
        for protocol in &self.reloads.proxies {
            protocol.trust(settings.trusted_proxies.clone());
        }
        if changed.contains(&"trusted_proxies") {
            caution(&settings);
        }
        self.settings = settings;
        tracing::info!(changed = changed.join(", "), "settings reloaded");
        if !fixed.is_empty() {
            tracing::warn!(settings = fixed.join(", "), "these need a restart to change");
        }
        Ok(())
    }
}

/// What `fresh` comes to in a server that runs with `old`, its backend surface at `backend`.
fn judge(old: &Settings, fresh: Settings, backend: Option<&Address>) -> Result<Change, String> {
    let differing = old.differing(&fresh);
    let (changed, fixed): (Vec<_>, Vec<_>) =
        differing.into_iter().partition(|key| CHANGEABLE.contains(key));
    let settings = merged(old, fresh);
    // The new settings were judged by the address they name, which is in force after a restart only.
    if let Some(address) = backend
        && !address.is_local()
        && !settings.guards_backend()
    {
        return Err(format!(
            "other machines can reach the backend API at {address} until a restart; keep one of {}",
            Settings::BACKEND_GUARDS
        ));
    }
    let asks = settings.proxy_protocol || settings.backend_proxy_protocol;
    if asks && settings.trusted_proxies.is_empty() && !old.trusted_proxies.is_empty() {
        let right = "a listener asks for PROXY headers until a restart, and needs the proxies that send them";
        return Err(format!("trusted_proxies = []: {right}"));
    }
    Ok(Change { settings, changed, fixed })
}

fn reload_certificates(certificates: &[Arc<TlsReload>]) {
    for reload in certificates {
        match reload.reload() {
            Ok(()) => tracing::info!("certificates reloaded"),
            Err(error) => tracing::error!(%error, "certificates not reloaded, the old ones stay"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

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
        let change = judge(&old, fresh, Some(&old.backend_listen)).unwrap();
        assert_eq!(change.changed, ["backend_token", "chunk_size"]);
        assert_eq!(change.fixed, ["listen", "workers"]);
        assert_eq!(change.settings.listen, old.listen);
        assert_eq!(change.settings.chunk_size, 1 << 20);
        let same = judge(&change.settings, change.settings.clone(), None).unwrap();
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
        let line = judge(&guarded, fresh, Some(&everywhere)).unwrap_err();
        assert!(line.contains("0.0.0.0:4001 until a restart"), "{line}");
    }

    #[test]
    fn operators_are_told_what_can_change() {
        let told = include_str!("../../docs/operations/upgrade.md");
        for key in CHANGEABLE {
            assert!(
                told.contains(&format!("`{key}`")),
                "{key} is not in docs/operations/upgrade.md"
            );
        }
    }
}
