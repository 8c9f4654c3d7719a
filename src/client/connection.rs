//! HTTP on one connection alone: for who counts connections, or looks at one.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use super::connect::PeerStream;
use super::endpoint::Endpoint;

/// What is collected before it is written: several of the largest frames of HTTP/1.1.
const SEND_BYTES: usize = 1 << 20;
/// No large bodies are received here.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// A connection that requests are sent on. Its task ends with the last of its clones.
pub(crate) struct Connection<B> {
    sender: Sender<B>,
    task: Arc<AbortOnDropHandle<()>>,
}

enum Sender<B> {
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins HTTP on a stream; its task runs on the runtime that polls this.
    pub(crate) async fn start(stream: PeerStream) -> hyper::Result<Self> {
        let http2 = stream.http2;
        let io = TokioIo::new(stream);
        // Errors of a connection reach those who wait for an answer.
        let (sender, task) = if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .initial_stream_window_size(RECEIVE_WINDOW)
                .initial_connection_window_size(RECEIVE_WINDOW)
                .max_send_buf_size(SEND_BYTES);
            let (sender, connection) = builder.handshake(io).await?;
            (Sender::Http2(sender), tokio::spawn(async { _ = connection.await }))
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(SEND_BYTES).writev(true);
            let (sender, connection) = builder.handshake(io).await?;
            (Sender::Http1(sender), tokio::spawn(async { _ = connection.await }))
        };
        Ok(Self { sender, task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// A further sender on the same connection, where the protocol has such a thing.
    pub(crate) fn sibling(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        Some(Self { sender: Sender::Http2(sender.clone()), task: Arc::clone(&self.task) })
    }

    /// Sends a request to `endpoint`, whose target is a path, as soon as the connection takes one.
    ///
    /// Cancel: the request is dropped; the server may have acted on it.
    pub(crate) async fn send(
        &mut self,
        endpoint: &Endpoint,
        mut request: Request<B>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                request.headers_mut().entry(HOST).or_insert_with(|| host(endpoint));
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                *request.uri_mut() = absolute(endpoint, request.uri());
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// The `Host` header of requests to `endpoint`.
pub(super) fn host(endpoint: &Endpoint) -> HeaderValue {
    HeaderValue::try_from(endpoint.authority()).unwrap_or(HeaderValue::from_static("localhost"))
}

/// The path and query of `target` at `endpoint`.
pub(super) fn absolute(endpoint: &Endpoint, target: &Uri) -> Uri {
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let url = Uri::builder()
        .scheme(if endpoint.tls { "https" } else { "http" })
        .authority(endpoint.authority())
        .path_and_query(path);
    // An authority that is no URL's was refused when the endpoint was read.
    url.build().unwrap_or_else(|_| target.clone())
}
