//! A body on its way in: where its frames come from, those of one write, and their pace.

use super::error::ClientFault;
use crate::core::extent::Extent;
use bytes::Bytes;
use futures_core::Stream;
use std::time::Duration;
use tokio::time::Instant;

/// The body of a PUT: frames in order, then the end.
pub trait Source: Stream<Item = Result<Bytes, ClientFault>> + Send + Unpin + 'static {}

impl<S: Stream<Item = Result<Bytes, ClientFault>> + Send + Unpin + 'static> Source for S {}

/// The usual bytes of a batch. 256 KiB: HTTP/2 brings frames of 16 KiB, and one write for each would
/// cost more than the bytes; HTTP/1.1 frames of several hundred KiB go through as they come.
/// `benches/receive.rs` measures others: 1 MiB is a tenth to a quarter faster there, where all frames
/// lie in the cache already, and made no difference over connections (`benches/serve.rs`).
pub const BATCH_BYTES: usize = 256 * 1024;

/// Frames that are written together.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) frames: Vec<Bytes>,
    pub(super) bytes: usize,
}

impl Batch {
    pub(super) fn of(frames: Vec<Bytes>) -> Self {
        Self { bytes: frames.iter().map(Bytes::len).sum(), frames }
    }

    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// The frames between two positions of the batch, sharing its memory.
    pub(super) fn cut(&self, from: u64, to: u64) -> Vec<Bytes> {
        let mut at = 0;
        let mut cut = Vec::new();
        for frame in &self.frames {
            let end = at + frame.len() as u64;
            if let Some(part) = Extent::new(from.max(at), to.min(end)) {
                let inside = |offset: u64| usize::try_from(offset - at).unwrap_or(frame.len());
                cut.push(frame.slice(inside(part.start())..inside(part.end())));
            }
            at = end;
        }
        cut
    }
}

/// How fast the body comes.
pub(super) struct Pace {
    began: Instant,
    /// Time that our own disk took; the client is not judged by it.
    ours: Duration,
    bytes: u64,
    /// It has been measured anew.
    again: bool,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), ours: Duration::ZERO, bytes: 0, again: false }
    }

    /// So many bytes have come, and storing them took so long.
    pub(super) fn moved(&mut self, bytes: u64, storing: Duration) {
        self.bytes += bytes;
        self.ours += storing;
    }

    /// Whether so few bytes have come, twice in a row: the first time may be that of a process that stood still, whose
    /// bytes wait in the socket.
    pub(super) fn too_slow(&mut self, min_rate: u64) -> bool {
        if min_rate == 0 {
            return false;
        }
        let elapsed = self.began.elapsed().saturating_sub(self.ours);
        let slow = elapsed > RATE_GRACE && self.bytes < min_rate.saturating_mul(elapsed.as_secs());
        if slow && !self.again {
            *self = Self { again: true, ..Self::new() };
            return false;
        }
        slow
    }
}

/// A body is given this long before its rate is judged.
const RATE_GRACE: Duration = Duration::from_secs(10);
