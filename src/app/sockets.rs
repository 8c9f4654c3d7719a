//! Listening sockets of a server, each with its certificates and the paths it serves.

use super::StartError;
use super::acme::Orders;
use super::inherited::{Listeners, Purpose};
use super::options::proxy_protocol;
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
    let proxied = |listener: &Listener, surface: Surface| {
        let place = listener.local_address();
        proxy_protocol(settings, surface).and_then(|_| proxies_missing(settings, place))
    };
    let missing = guards_missing(settings, backend.as_ref().unwrap_or(&public).local_address())
        .or_else(|| proxied(&public, Surface::Public))
        .or_else(|| backend.as_ref().and_then(|backend| proxied(backend, Surface::Backend)));
    if let Some(missing) = missing {
        return Err(StartError(format!("the passed socket {missing}")));
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

/// What these settings lack for a backend surface at this place, in words for people.
pub(super) fn guards_missing(settings: &Settings, place: &Address) -> Option<String> {
    let guarded = place.is_local() || settings.guards_backend();
    let guards = Settings::BACKEND_GUARDS;
    let missing =
        || format!("{place}: other machines can reach the backend API there; set one of {guards}");
    (!guarded).then(missing)
}

/// What these settings lack for a listener at this place that asks for PROXY headers, in words for people.
pub(super) fn proxies_missing(settings: &Settings, place: &Address) -> Option<String> {
    let heard = matches!(place, Address::Unix(_)) || !settings.trusted_proxies.is_empty();
    let missing = || {
        format!(
            "{place}: a listener that asks for PROXY headers needs trusted_proxies, the addresses of \
             the proxies that may connect; all others are closed"
        )
    };
    (!heard).then(missing)
}

/// Every connection and every running upload holds a descriptor or two; take what the system
/// gives, and say how many that is.
pub(super) fn raise_file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "could not raise the limit of open files");
    }
    let most = getrlimit(Resource::Nofile).current;
    most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX)
}
