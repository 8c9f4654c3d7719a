//! What a connection needs of the service that answers its requests: the bound that would stand at every function
//! of `net` otherwise.

use super::body::RequestBody;
use bytes::Bytes;
use hyper::body::Body;
use hyper::service::Service;
use hyper::{Request, Response};
use std::convert::Infallible;
use std::error::Error;

/// What answers the requests of a connection: a hyper service whose answers can be sent.
pub trait HttpService:
    Service<
        Request<RequestBody>,
        Response = Response<<Self as HttpService>::Sent>,
        Error = Infallible,
        Future: Send,
    > + Send
    + Sync
    + 'static
{
    /// The body of an answer.
    type Sent: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send>
        + Send
        + Sync
        + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
{
    type Sent = B;
}
