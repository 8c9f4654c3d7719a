//! Why a call to a backend has no answer.

use crate::core::callback::CallbackUrlError;
use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Why there is no answer. Each names the called URL without its credentials and query.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The URL is none, or not of http or https.
    #[error("cannot call {0:?}: {1}")]
    BadUrl(String, #[source] CallbackUrlError),
    /// No rule allows any of the addresses it has.
    #[error("not allowed to call {0} at {1:?}")]
    NotAllowed(String, Vec<IpAddr>),
    /// Its host has no address.
    #[error("cannot resolve the host of {0}: {1}")]
    Resolve(String, #[source] io::Error),
    /// None of its addresses takes a connection; the last one's reason.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, #[source] io::Error),
    /// No TLS with it, or it is not who it should be.
    #[error("TLS failed with {0}: {1}")]
    Tls(String, #[source] io::Error),
    /// It does not speak HTTP, or broke off.
    #[error("no HTTP answer from {}: {}", .0, with_source(.1))]
    Http(String, #[source] hyper::Error),
    /// It sent more interim answers (1xx) than this before the final one.
    #[error("{0} sent more than {1} interim answers")]
    Interim(String, usize),
    /// It took longer than this.
    #[error("no answer from {0} within {1:?}")]
    Timeout(String, Duration),
}

/// hyper's errors say the kind; what happened is their source.
fn with_source(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
