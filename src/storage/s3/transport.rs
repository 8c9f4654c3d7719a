//! What carries requests to a store, and to the services that give out credentials for it.

use crate::storage::objects::Payload;
use crate::storage::promised::Promised;
use bytes::Bytes;
use hyper::{Request, Response};
use std::fmt;

/// Sends one request and reads its answer whole. Every wait has an end.
///
/// Requests and answers hold credentials: neither is logged.
pub trait Transport: Send + Sync + fmt::Debug + 'static {
    /// Sends `request`, whose target is a whole URL, and reads an answer of at most `most_bytes`. It is sent once: again on
    /// another connection only where no byte of it has left.
    ///
    /// Cancel: the request may have its effect.
    fn send(
        &self,
        request: Request<Payload>,
        most_bytes: usize,
    ) -> Promised<'_, Result<Response<Bytes>, SendError>>;
}

/// There is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// No byte of the request has left.
    #[error("{0}")]
    NotSent(String),
    /// Some or all of it may have arrived.
    #[error("{0}")]
    Broken(String),
}
