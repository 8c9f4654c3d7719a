//! A request's body: read frame by frame, or in whole where it is small, or thrown away.
//!
//! A body that nobody reads to its end is read on and thrown away for a while after an HTTP/1.1
//! answer, since a connection closed at once would take the answer with it.

use super::reply::{Code, Problem};
use crate::engine::deadline::within;
use crate::engine::error::ClientFault;
use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use hyper::Version;
use hyper::body::{Body, Incoming};
use hyper::header::{EXPECT, HeaderMap};
use hyper::http::Extensions;
use hyper::http::request::Parts;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::TaskTracker;

/// The body of one request. When dropped before its end, what is left is thrown away as the
/// transport wants it.
pub struct RequestBody {
    incoming: Option<Incoming>,
    ended: Ended,
    rest: Rest,
    drains: TaskTracker,
    http2: bool,
    /// What the transport lends to a request: the memory that its unread bytes take.
    lent: Extensions,
}

/// Whether a body has been read to its end; outlives it.
#[derive(Clone)]
pub struct Ended(Arc<AtomicBool>);

impl Ended {
    /// Whether the whole body has been read.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What to do with the rest of a body that nobody wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Read on for a while, so that the client gets to read the answer.
    Drain,
    /// Let go: the stream is reset, or the client has not begun to send.
    LetGo,
}

impl RequestBody {
    /// The body of the request with this head. Bodies that are drained are joined by `drains`.
    pub fn new(incoming: Incoming, head: &Parts, drains: &TaskTracker) -> Self {
        let rest = if head.version >= Version::HTTP_2 || waits(&head.headers) {
            Rest::LetGo
        } else {
            Rest::Drain
        };
        let ended = Ended(Arc::new(AtomicBool::new(incoming.is_end_stream())));
        let (drains, lent) = (drains.clone(), head.extensions.clone());
        let http2 = head.version >= Version::HTTP_2;
        Self { incoming: Some(incoming), ended, rest, drains, http2, lent }
    }

    /// Tells, also later, whether the body was read to its end.
    pub fn ended(&self) -> Ended {
        self.ended.clone()
    }

    /// The whole body as text, without a byte order mark at its beginning, at most `limit` bytes of it, within a
    /// deadline, in memory that `room` has. One that says itself that it is larger is not read, nor asked for.
    pub async fn collect(mut self, limit: usize, room: &Room) -> Result<Collected<'_>, Problem> {
        let too_large = || {
            let detail = format!("the body has more than the {limit} bytes allowed here");
            Problem::new(Code::TooLarge, detail)
        };
        let said = self.incoming.as_ref().map_or(0, |incoming| incoming.size_hint().lower());
        if said > limit as u64 {
            return Err(too_large());
        }
        let collect = async {
            let (mut whole, mut taken) = (BytesMut::new(), room.0.try_acquire_many(0).ok());
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut self).poll_next(cx)).await {
                let frame = frame.map_err(|fault| Problem::bad_request(fault.to_string()))?;
                if whole.len() + frame.len() > limit {
                    return Err(too_large());
                }
                let more = u32::try_from(frame.len()).ok();
                let more = more.and_then(|bytes| room.0.try_acquire_many(bytes).ok());
                match (&mut taken, more) {
                    (Some(taken), Some(more)) => taken.merge(more),
                    _ => return Err(no_room()),
                }
                whole.extend_from_slice(&frame);
            }
            let mut bytes = whole.freeze();
            if bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.advance(BYTE_ORDER_MARK.len());
            }
            Ok(Collected { bytes, _taken: taken })
        };
        within(COLLECT_DEADLINE, collect)
            .await
            .unwrap_or_else(|_| Err(Problem::new(Code::RequestTimeout, "the body took too long")))
    }
}

/// Memory for bodies that are collected, in bytes.
#[derive(Debug)]
pub struct Room(Semaphore);

/// A body that was collected. Its memory counts until it is dropped.
#[derive(Debug)]
pub struct Collected<'a> {
    bytes: Bytes,
    _taken: Option<SemaphorePermit<'a>>,
}

impl Room {
    /// So much memory.
    pub fn new(bytes: usize) -> Self {
        Self(Semaphore::new(bytes))
    }
}

impl Collected<'_> {
    /// The same bytes, not copied.
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }
}

impl Deref for Collected<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

fn no_room() -> Problem {
    Problem::new(Code::TooMany, "the server reads too many small bodies now; try again")
}

impl Stream for RequestBody {
    type Item = Result<Bytes, ClientFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(incoming) = self.incoming.as_mut() else { return Poll::Ready(None) };
            match ready!(Pin::new(incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // Trailers say nothing here.
                    let Ok(data) = frame.into_data() else { continue };
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
                    let whole = ended || !self.http2;
                    if !whole {
                        // hyper makes a clean end of a reset without an error (RFC 9113, section
                        // 8.1); a client that means the end says END_STREAM.
                        let how = "the stream was reset".to_owned();
                        return Poll::Ready(Some(Err(ClientFault::BrokeOff(how))));
                    }
                    self.ended.0.store(true, Ordering::Release);
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        if self.rest == Rest::Drain && tokio::runtime::Handle::try_current().is_ok() {
            let lent = std::mem::take(&mut self.lent);
            tokio::spawn(self.drains.track_future(async move {
                drain(incoming).await;
                drop(lent);
            }));
        }
    }
}

/// Whether the client waits for a word before it sends its body.
pub fn waits(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}

/// Reads and throws away what still comes, within bounds.
async fn drain(mut incoming: Incoming) {
    let drain = async {
        let mut left = DRAIN_BYTES;
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx));
            let Ok(Some(Ok(frame))) = within(DRAIN_QUIET, frame).await else {
                return;
            };
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Past the deadline the connection is closed, answered or not.
    let _ = within(DRAIN_DEADLINE, drain).await;
}

/// That of UTF-8, which editors and scripts put before a text. JSON parsers may pass it over (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Bytes read after an early answer, at most (contract, section 2).
const DRAIN_BYTES: usize = 64 << 20;
/// Time spent on that, at most (contract, section 2).
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Time waited for the next of those bytes. 1 s: longer than a round trip, and a peer that is told no
/// and says nothing more has no use for the connection; each would hold one for the whole deadline.
const DRAIN_QUIET: Duration = Duration::from_secs(1);
/// A small body has to arrive within this time: 64 KiB on a line of 100 kbit/s, and a few resends.
const COLLECT_DEADLINE: Duration = Duration::from_secs(10);
