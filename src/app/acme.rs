//! Certificates that the server orders by itself, where the settings ask for them and the program was
//! built with the feature `acme`.

use super::{Server, StartError};
use crate::config::Settings;
use crate::wire::Surface;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

#[cfg(feature = "acme")]
pub(super) use crate::tls::acme::Acme as Orders;

/// Without the feature there are none, and the settings ask for none (`config/rules.rs`).
#[cfg(not(feature = "acme"))]
pub(super) enum Orders {}

/// What the settings have ordered; nothing is asked of anybody yet.
///
/// Errors: one line that names the setting.
#[cfg(feature = "acme")]
pub(super) fn orders(settings: &Settings) -> Result<Option<Orders>, StartError> {
    if settings.acme_domains.is_empty() {
        return Ok(None);
    }
    let options = crate::tls::acme::Options {
        domains: settings.acme_domains.clone(),
        contact: settings.acme_contact.iter().map(|mail| format!("mailto:{mail}")).collect(),
        directory: settings.acme_directory.clone(),
        directory_ca: settings.acme_directory_ca.clone(),
        cache: settings.acme_cache.clone(),
    };
    Orders::new(options).map(Some).map_err(|error| StartError::new("acme", error))
}

#[cfg(not(feature = "acme"))]
pub(super) fn orders(settings: &Settings) -> Result<Option<Orders>, StartError> {
    if settings.acme_domains.is_empty() {
        return Ok(None);
    }
    Err(StartError::NoAcme)
}

/// Makes the orders until the drain; at once over where there are none.
pub(super) fn serve(server: &mut Server) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let public = server.sockets.iter().find(|socket| socket.surface != Surface::Backend);
    let tls = public.and_then(|socket| socket.tls.as_ref()).map(Arc::clone);
    match (server.orders.take(), tls) {
        #[cfg(feature = "acme")]
        (Some(orders), Some(tls)) => Box::pin(orders.run(tls, server.drain.clone())),
        _ => Box::pin(async {}),
    }
}

#[cfg(not(feature = "acme"))]
impl Orders {
    pub(super) fn pair(&self) -> crate::tls::CertificateFiles {
        match *self {}
    }

    pub(super) fn challenges(&self) -> crate::tls::Challenges {
        match *self {}
    }
}
