//! Listening sockets of a server, each with its certificates and the paths it serves.

use super::StartError;
use super::acme::Orders;
use super::inherited::{Listeners, Purpose};
use crate::config::{Settings, TlsFiles};
use crate::net::{self, Address, Listener, Strangers, TlsPair, TlsReload};
use crate::wire::Surface;
use std::sync::Arc;

/// A bound socket and what it serves.
pub struct Socket {
    /// The socket.
    pub listener: Listener,
    /// Its certificates; none: plain HTTP.
    pub tls: Option<Arc<TlsReload>>,
    /// The paths it serves.
    pub surface: Surface,
}

/// Binds the sockets that the settings name and that were not passed, and puts all to their certificates.
///
/// Errors: one line that names the setting.
pub(super) fn bind(
    settings: &Settings,
    passed: &mut Listeners,
    orders: Option<&Orders>,
) -> Result<Vec<Socket>, StartError> {
    let mut listener = |purpose: Purpose, key: &str, address: &Address| {
        if let Some(passed) = passed.take(purpose) {
            return Ok(passed);
        }
        Listener::bind(address).map_err(|error| {
            let flag = key.replace('_', "-");
            let what = format!("{key} {:?}", address.to_string());
            StartError(format!("{what}: {error}; choose another address with --{flag}"))
        })
    };
    let public = listener(Purpose::Public, "listen", &settings.listen)?;
    let backend = if settings.shared() {
        None
    } else {
        Some(listener(Purpose::Backend, "backend_listen", &settings.backend_listen)?)
    };
    // The settings were judged by the addresses they name; a passed socket may be elsewhere.
    let exposed = backend.as_ref().unwrap_or(&public).local_address();
    if !exposed.is_local() && !settings.guards_backend() {
        let missing = Settings::BACKEND_GUARDS;
        return Err(StartError(format!(
            "the passed socket {exposed}: other machines can reach the backend API there; set one of {missing}"
        )));
    }
    let socket = |listener: Listener, tls: &[TlsFiles], surface: Surface| {
        let client_ca = match surface {
            Surface::Public => None,
            Surface::Backend | Surface::Shared => settings.backend_tls_client_ca.clone(),
        };
        let pair = |files: &TlsFiles| TlsPair { cert: files.cert.clone(), key: files.key.clone() };
        let mut pairs: Vec<_> = tls.iter().map(pair).collect();
        let mut challenges = None;
        if surface != Surface::Backend
            && let Some(ordered) = orders
        {
            pairs.push(ordered.pair());
            challenges = Some(ordered.challenges());
        }
        let files = (!pairs.is_empty()).then(|| net::TlsFiles {
            pairs,
            client_ca,
            challenges,
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
        Ok(Socket { listener, tls: tls.map(Arc::new), surface })
    };
    let Some(backend) = backend else {
        return Ok(vec![socket(public, &settings.tls, Surface::Shared)?]);
    };
    Ok(vec![
        socket(public, &settings.tls, Surface::Public)?,
        socket(backend, settings.backend_tls.as_slice(), Surface::Backend)?,
    ])
}

/// Every connection and every running upload holds a descriptor or two; take what the system
/// gives, and say how many that is.
pub(super) fn raise_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let most = getrlimit(Resource::Nofile).current;
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}
