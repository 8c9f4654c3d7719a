//! Carries requests to an object store: a pool of connections for each origin.
//!
//! One request is sent once. hyper-util's pool sends it again on another connection only where it was handed back before
//! a byte of it was written; anything else is [`SendError::Broken`].

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use super::connect::{ConnectError, Connector, Offer};
use super::endpoint::Endpoint;
use super::error::{broke, cause};
use crate::storage::objects::Payload;
use crate::storage::promised::Promised;
use crate::storage::s3::transport::{SendError, Transport};

/// Connections to object stores, and to what gives out credentials for them.
pub(crate) struct ObjectTransport {
    tls: Option<Arc<ClientConfig>>,
    /// By origin. There are few: the store, and one or two services of credentials.
    pools: Mutex<BTreeMap<String, Pool>>,
    patience: Patience,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a byte in either direction.
    pub(crate) still: Duration,
    /// In all.
    pub(crate) whole: Duration,
}

type Pool = legacy::Client<Connector, Outgoing>;

impl ObjectTransport {
    /// No connection is made yet.
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>, patience: Patience) -> Self {
        Self { tls, pools: Mutex::default(), patience }
    }

    fn pool(&self, origin: &str) -> Result<Pool, SendError> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(origin) {
            return Ok(pool.clone());
        }
        let endpoint = Endpoint::of_url(origin);
        let (endpoint, _) = endpoint.map_err(|error| SendError::NotSent(error.to_string()))?;
        if endpoint.tls && self.tls.is_none() {
            return Err(SendError::NotSent("no trusted root certificates".to_owned()));
        }
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            // Stores close after 5 s and more of rest; a break is to be rarely their doing.
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MOST_IDLE)
            .http1_max_buf_size(BUFFER_BYTES)
            .http1_writev(true)
            .build(Connector::new(endpoint, self.tls.clone(), Offer::Http1));
        pools.insert(origin.to_owned(), pool.clone());
        Ok(pool)
    }

    async fn exchange(
        &self,
        request: Request<Payload>,
        most_bytes: usize,
    ) -> Result<Response<Bytes>, SendError> {
        let url = request.uri();
        let origin = match (url.scheme_str(), url.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
            _ => return Err(SendError::NotSent("not a whole URL".to_owned())),
        };
        let pool = self.pool(&origin)?;
        let moved = Arc::new(AtomicU64::new(0));
        let (mut head, body) = request.into_parts();
        head.headers.insert(USER_AGENT, CALLER);
        if body.is_empty() && matches!(head.method, Method::PUT | Method::POST) {
            // hyper leaves it out, and stores insist on it.
            head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let body = Outgoing::new(body, Arc::clone(&moved));
        let exchange = async {
            let answer = pool.request(Request::from_parts(head, body)).await;
            let (head, mut body) = answer.map_err(|error| sent(&error))?.into_parts();
            let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
            let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(most_bytes));
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| SendError::Broken(broke(&error)))?;
                let Ok(data) = frame.into_data() else { continue };
                if whole.len() + data.len() > most_bytes {
                    return Err(SendError::Broken(format!(
                        "the answer has over {most_bytes} bytes"
                    )));
                }
                moved.fetch_add(data.len() as u64, Ordering::Relaxed);
                whole.extend_from_slice(&data);
            }
            Ok(Response::from_parts(head, whole.freeze()))
        };
        tokio::select! {
            answer = exchange => answer,
            () = self.patience.ends(&moved) => {
                Err(SendError::Broken("the object store is too slow".to_owned()))
            }
        }
    }
}

impl Transport for ObjectTransport {
    fn send(
        &self,
        request: Request<Payload>,
        most_bytes: usize,
    ) -> Promised<'_, Result<Response<Bytes>, SendError>> {
        Promised::later(self.exchange(request, most_bytes))
    }
}

impl fmt::Debug for ObjectTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectTransport").finish_non_exhaustive()
    }
}

impl Patience {
    async fn ends(self, moved: &AtomicU64) {
        let (mut before, mut rest, mut whole) = (0, Duration::ZERO, Duration::ZERO);
        while rest < self.still && whole < self.whole {
            let tick = TICK.min(self.still).min(self.whole);
            tokio::time::sleep(tick).await;
            let now = moved.load(Ordering::Relaxed);
            rest = if now == before { rest + tick } else { Duration::ZERO };
            (before, whole) = (now, whole + tick);
        }
    }
}

/// Whether something of the request may have left.
fn sent(error: &legacy::Error) -> SendError {
    match cause::<ConnectError>(error) {
        Some(why) => SendError::NotSent(why.to_string()),
        None if error.is_connect() => SendError::NotSent(broke(error)),
        None => SendError::Broken(broke(error)),
    }
}

/// A body in pieces, so that it is seen how far it has come.
struct Outgoing {
    payload: Payload,
    /// The first of its buffers that was not begun yet.
    next: usize,
    /// What is left of the one before.
    rest: Bytes,
    left: u64,
    moved: Arc<AtomicU64>,
}

impl Outgoing {
    fn new(payload: Payload, moved: Arc<AtomicU64>) -> Self {
        Self { left: payload.len(), payload, next: 0, rest: Bytes::new(), moved }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            let Some(buffer) = this.payload.buffers().get(this.next) else {
                return Poll::Ready(None);
            };
            (this.rest, this.next) = (buffer.clone(), this.next + 1);
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        this.moved.fetch_add(piece.len() as u64, Ordering::Relaxed);
        this.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

const CALLER: HeaderValue =
    HeaderValue::from_static(concat!("incoming/", env!("CARGO_PKG_VERSION")));
/// How long a connection rests before it is used no more.
const IDLE: Duration = Duration::from_secs(4);
/// Connections that rest, for each origin.
const MOST_IDLE: usize = 64;
/// What hyper collects before it writes.
const BUFFER_BYTES: usize = 512 << 10;
/// What is given to hyper at a time.
const PIECE_BYTES: usize = 256 << 10;
/// How often it is looked whether anything has moved.
const TICK: Duration = Duration::from_millis(500);

#[cfg(test)]
#[path = "object_transport/tests.rs"]
mod tests;
