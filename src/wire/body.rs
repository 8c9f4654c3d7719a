//! Small bodies, collected in whole in memory that is counted.

use super::problem::{Code, Problem};
use crate::engine::deadline::within;
use crate::net::RequestBody;
use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream as _;
use hyper::body::Body;
use std::future::poll_fn;
use std::ops::Deref;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The whole body as text, without a byte order mark at its beginning, at most `limit` bytes of it, within a
/// deadline, within what is left of `memory`. One that says itself that it is larger is not read, nor asked for.
pub async fn collect(
    mut body: RequestBody,
    limit: usize,
    memory: &BodyMemory,
) -> Result<Collected<'_>, Problem> {
    let too_large = || {
        let detail = format!("the body has more than the {limit} bytes allowed here");
        Problem::new(Code::TooLarge, detail)
    };
    if Body::size_hint(&body).lower() > limit as u64 {
        return Err(too_large());
    }
    let collect = async {
        let (mut whole, mut taken) = (BytesMut::new(), memory.0.try_acquire_many(0).ok());
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
            let frame = frame.map_err(|fault| Problem::bad_request(fault.to_string()))?;
            if whole.len() + frame.len() > limit {
                return Err(too_large());
            }
            let more = u32::try_from(frame.len()).ok();
            let more = more.and_then(|bytes| memory.0.try_acquire_many(bytes).ok());
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

/// Memory for bodies that are collected, in bytes.
#[derive(Debug)]
pub struct BodyMemory(Semaphore);

/// A body that was collected. Its memory counts until it is dropped.
#[derive(Debug)]
pub struct Collected<'a> {
    bytes: Bytes,
    _taken: Option<SemaphorePermit<'a>>,
}

impl BodyMemory {
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

/// That of UTF-8, which editors and scripts put before a text. JSON parsers may pass it over (RFC 8259, section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// A small body has to arrive within this time: 64 KiB on a line of 100 kbit/s, and a few resends.
const COLLECT_DEADLINE: Duration = Duration::from_secs(10);
