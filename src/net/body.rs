//! A request's body, as its connection hands it to the service; and what such a service is.
//!
//! It counts for what is unread of it: with it goes a share of the connection's permit and memory, also when the
//! connection is gone. A body that is not read to its end is read on and discarded for a while after an HTTP/1.1
//! answer, since a connection closed at once would take the answer with it.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::EXPECT;
use hyper::service::Service;
use hyper::{HeaderMap, Request, Response, Version};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::TaskTracker;

use super::Protocol;
use super::budget::Share;
use super::disconnect::PeerDisconnect;
use super::interim::InterimAnswers;
use crate::engine::deadline::within;
use crate::engine::error::ClientFault;

/// Asked of the trailer section of a body.
pub type CheckTrailers = Box<dyn FnOnce(&HeaderMap) -> Result<(), ClientFault> + Send>;

/// The body of one request. When dropped before its end, what is left is discarded as the protocol wants it.
pub struct RequestBody {
    incoming: Option<Incoming>,
    ended: Ended,
    awaits_continue: bool,
    takes_interim: bool,
    /// What is to be asked of the trailer section, if anything.
    at_end: Option<CheckTrailers>,
    /// The trailer section, where it is asked for.
    trailers: Option<Box<HeaderMap>>,
    context: Arc<ConnectionContext>,
}

/// What the requests of a connection share; held until the last of their bodies is dropped.
#[derive(Debug)]
pub(super) struct ConnectionContext {
    pub(super) protocol: Protocol,
    pub(super) tls: bool,
    /// Tells whether the peer is still there; none on HTTP/2, where the request is dropped instead.
    pub(super) disconnect: Option<PeerDisconnect>,
    /// Sends interim answers; none on HTTP/2.
    pub(super) interim: Option<InterimAnswers>,
    /// Owns the tasks that discard what nobody reads.
    pub(super) tasks: TaskTracker,
    pub(super) _held: (Share, OwnedSemaphorePermit),
}

/// Whether a body has been read to its end; outlives it.
#[derive(Clone)]
pub struct Ended(Arc<AtomicBool>);

impl Ended {
    /// Whether the whole body has been read.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl RequestBody {
    /// The request, with a body that holds the context of its connection.
    pub(super) fn attach(
        request: Request<Incoming>,
        context: &Arc<ConnectionContext>,
    ) -> Request<Self> {
        let awaits_continue = context.protocol == Protocol::Http1 && expects(request.headers());
        let takes_interim = request.version() == Version::HTTP_11;
        request.map(|incoming| Self {
            ended: Ended(Arc::new(AtomicBool::new(incoming.is_end_stream()))),
            incoming: Some(incoming),
            awaits_continue,
            takes_interim,
            at_end: None,
            trailers: None,
            context: Arc::clone(context),
        })
    }

    /// Tells, also later, whether the body was read to its end.
    #[must_use]
    pub fn ended(&self) -> Ended {
        self.ended.clone()
    }

    /// What its connection speaks.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.context.protocol
    }

    /// Whether its connection is encrypted by this server's own TLS.
    #[must_use]
    pub fn is_over_tls(&self) -> bool {
        self.context.tls
    }

    /// Whether an HTTP/1.1 client waits for `100 Continue`, which it gets when the body is first read.
    #[must_use]
    pub fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    /// Whether the peer is still there.
    #[must_use]
    pub fn disconnect(&self) -> Option<PeerDisconnect> {
        self.context.disconnect.clone()
    }

    /// Asks this of the trailer section when the body has come to its end, empty where there is none. An error is the
    /// body's last item.
    pub fn check_trailers(&mut self, check: CheckTrailers) {
        self.at_end = Some(check);
    }

    /// What sends interim answers to this request; none where its protocol has none.
    #[must_use]
    pub fn interim(&self) -> Option<InterimAnswers> {
        self.context.interim.clone().filter(|_| self.takes_interim)
    }
}

fn expects(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

/// The frames with data, none of them empty. The trailer section is dropped, unless it is asked for.
impl Stream for RequestBody {
    type Item = Result<Bytes, ClientFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
            match ready!(Pin::new(incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let data = match frame.into_data() {
                        Ok(data) => data,
                        Err(frame) => {
                            let trailers = frame.into_trailers().ok();
                            self.trailers =
                                trailers.filter(|_| self.at_end.is_some()).map(Box::new);
                            continue;
                        }
                    };
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
                Some(Err(error)) => {
                    self.incoming = None;
                    return Poll::Ready(Some(Err(ClientFault::BrokeOff(error.to_string()))));
                }
                None => {
                    let ended = self.incoming.take().is_some_and(|body| body.is_end_stream());
                    if !ended && self.context.protocol == Protocol::Http2 {
                        // hyper makes a clean end of a reset without an error (RFC 9113, section
                        // 8.1); a client that means the end says END_STREAM.
                        let how = "the stream was reset".to_owned();
                        return Poll::Ready(Some(Err(ClientFault::BrokeOff(how))));
                    }
                    self.ended.0.store(true, Ordering::Release);
                    let Some(check) = self.at_end.take() else { return Poll::Ready(None) };
                    let trailers = self.trailers.take().unwrap_or_default();
                    return Poll::Ready(check(&trailers).err().map(Err));
                }
            }
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = ClientFault;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientFault>>> {
        self.poll_next(cx).map(|next| next.map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // On HTTP/2 the stream is reset. A client that waits for `100 Continue` has not begun to send.
        let discards = self.context.protocol == Protocol::Http1 && !self.awaits_continue;
        let left = self.incoming.take().filter(|body| discards && !body.is_end_stream());
        let Some(incoming) = left else { return };
        if tokio::runtime::Handle::try_current().is_ok() {
            let context = Arc::clone(&self.context);
            tokio::spawn(self.context.tasks.track_future(async move {
                discard(incoming).await;
                drop(context);
            }));
        }
    }
}

/// Reads and discards what still comes, within bounds.
async fn discard(mut incoming: Incoming) {
    let discard = async {
        let mut left = DISCARD_BYTES;
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx));
            let Ok(Some(Ok(frame))) = within(DISCARD_QUIET, frame).await else {
                return;
            };
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Past the deadline the connection is closed, answered or not.
    let _ = within(DISCARD_DEADLINE, discard).await;
}

/// Bytes read after an early answer, at most (contract, section 2).
const DISCARD_BYTES: usize = 64 << 20;
/// Time spent on that, at most (contract, section 2).
const DISCARD_DEADLINE: Duration = Duration::from_secs(10);
/// Time waited for the next of those bytes. 1 s: longer than a round trip, and a peer that is refused
/// and sends nothing more has no use for the connection; each would hold one for the whole deadline.
const DISCARD_QUIET: Duration = Duration::from_secs(1);

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
