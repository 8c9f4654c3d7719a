//! What brings browsers to https and keeps them there: the listener that redirects, and HSTS.

use super::{PassedSocketError, Server, StartError};
use crate::config::Settings;
use crate::net::{self, Address, LingerLimits, Listener, MemoryBudget, Peer};
use crate::wire::Surface;
use crate::wire::redirect::Redirect;
use hyper::header::HeaderValue;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The listener that redirects, if the settings name one: the one that was passed, else bound here.
///
/// Errors: one line that names the setting.
pub(super) fn bind(
    settings: &Settings,
    passed: Option<Listener>,
) -> Result<Option<Listener>, StartError> {
    let Some(address) = &settings.redirect_listen else {
        return passed.map_or(Ok(None), |_| Err(PassedSocketError::NoRedirect.into()));
    };
    if passed.is_some() {
        return Ok(passed);
    }
    let bound = Listener::bind(address).map_err(|source| {
        let address = address.clone();
        StartError::Bind { key: "redirect_listen", address, source }
    });
    bound.map(Some)
}

/// Serves it until the drain; at once over where there is none.
///
/// Its connections are few, short and in memory of their own: whoever fills it takes nothing from uploads.
pub(super) fn serve(server: &mut Server) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let Some(listener) = server.redirect.take() else { return Box::pin(async {}) };
    let redirect = target(server);
    tracing::info!(address = %listener.local_address(), port = redirect.port, "redirecting to https");
    let mut setup = server.setup(None);
    let options = Arc::make_mut(&mut setup.options);
    options.max_connections = options.max_connections.min(CONNECTIONS);
    options.memory =
        MemoryBudget::new(MemoryBudget::least(options.max_connections), options.max_connections);
    options.linger = LINGER;
    Box::pin(net::serve(listener, setup, &server.workers, move |_: &Peer| redirect.clone()))
}

/// What is told to browsers by answers of this surface over TLS.
pub(super) fn hsts(settings: &Settings, surface: Surface) -> Option<HeaderValue> {
    let told = match surface {
        Surface::Public | Surface::Shared => settings.hsts?,
        // No browser comes here.
        Surface::Backend => return None,
    };
    HeaderValue::try_from(format!("max-age={}", told.as_secs())).ok()
}

/// Where https is: as the settings say, else where the public listener is bound.
fn target(server: &Server) -> Redirect {
    let host = server.settings.redirect_host.as_ref();
    let bound = server.addresses().into_iter().find_map(|(surface, address)| match address {
        Address::Tcp(address) if surface != Surface::Backend => Some(address.port()),
        Address::Tcp(_) | Address::Unix(_) => None,
    });
    let port = host.and_then(|host| host.port).or(bound).unwrap_or(HTTPS);
    Redirect { host: host.map(|host| host.host.as_str().into()), port }
}

/// The port that https URLs need not name.
const HTTPS: u16 = 443;
/// Connections at once: each is one answer long.
const CONNECTIONS: usize = 256;
/// An upload that comes by mistake reads its answer between two writes; nothing of it is worth more.
const LINGER: LingerLimits = LingerLimits {
    quiet: Duration::from_millis(500),
    total: Duration::from_secs(2),
    bytes: 4 << 20,
};
