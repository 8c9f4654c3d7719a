//! A body on its way in: where its frames come from, those of one write, and the meter of their rate.

use crate::core::extent::Extent;
use crate::engine::error::ClientFault;
use bytes::Bytes;
use futures_core::Stream;
use std::time::Duration;
use tokio::time::Instant;

/// The body of a PUT: frames in order, then the end.
pub trait Source: Stream<Item = Result<Bytes, ClientFault>> + Send + Unpin {}

impl<S: Stream<Item = Result<Bytes, ClientFault>> + Send + Unpin> Source for S {}

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

/// How a body ends between two batches.
pub(super) enum Broken {
    Client(ClientFault),
    Ended,
}

/// How fast the body comes.
pub(super) struct MinRateMeter {
    began: Instant,
    /// When the last bytes had been stored.
    now: Instant,
    /// Time that our own disk took; the client is not measured by it.
    storing: Duration,
    bytes: u64,
    /// It was too slow and is measured anew, and no whole minute has been good since.
    again: bool,
    minute: Minute,
}

/// The minute under way, of the client's own time.
#[derive(Default)]
struct Minute {
    /// Its begin.
    from: Duration,
    /// Bytes that had come before.
    before: u64,
}

impl MinRateMeter {
    pub(super) fn new() -> Self {
        Self::starting(Instant::now())
    }

    fn starting(now: Instant) -> Self {
        let (storing, minute) = (Duration::ZERO, Minute::default());
        Self { began: now, now, storing, bytes: 0, again: false, minute }
    }

    /// So many bytes have come and are stored now; storing them began at `storing_since`.
    pub(super) fn moved(&mut self, bytes: u64, storing_since: Instant) {
        self.now = Instant::now();
        self.bytes += bytes;
        self.storing += self.now.saturating_duration_since(storing_since);
    }

    /// Whether the body is slower than `min_rate` bytes a second, twice in a row: from its beginning until the last move,
    /// once it is old enough to tell, or in a whole minute of it. Asked after each move. The first time may be that of a
    /// process that stood still, whose bytes wait in the socket.
    pub(super) fn too_slow(&mut self, min_rate: u64) -> bool {
        if min_rate == 0 {
            return false;
        }
        let elapsed = (self.now - self.began).saturating_sub(self.storing);
        let slower = |bytes: u64, time: Duration| bytes < min_rate.saturating_mul(time.as_secs());
        let minute = elapsed.saturating_sub(self.minute.from);
        let mut slow = elapsed > grace(min_rate) && slower(self.bytes, elapsed);
        if minute >= MINUTE {
            slow |= slower(self.bytes - self.minute.before, minute);
            self.minute = Minute { from: elapsed, before: self.bytes };
            // A good minute: the one before was a bad moment.
            self.again &= slow;
        }
        if slow && !self.again {
            *self = Self { again: true, ..Self::starting(self.now) };
            return false;
        }
        slow
    }
}

/// A body is given this long before its rate is checked: 10 s, and longer for a low rate, which a line that has
/// stalled for a moment falls below as well.
fn grace(min_rate: u64) -> Duration {
    Duration::from_secs((GRACE_BYTES / min_rate).clamp(10, MINUTE.as_secs()))
}

const GRACE_BYTES: u64 = 64 << 10;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    /// The second at which a body ends that brings `bytes(second)` each second.
    async fn ends(min_rate: u64, bytes: impl Fn(u64) -> u64) -> Option<u64> {
        let mut meter = MinRateMeter::new();
        for second in 1..1000 {
            tokio::time::advance(Duration::from_secs(1)).await;
            meter.moved(bytes(second), Instant::now());
            if meter.too_slow(min_rate) {
                return Some(second);
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn slow_bodies_end_and_bad_lines_do_not() {
        // The default: what each of 64 bodies gets of a line of 1 KiB/s, and a body that trickles.
        assert_eq!(ends(16, |_| 16).await, None);
        assert_eq!(ends(16, |second| if second % 29 == 0 { 1 } else { 0 }).await, Some(120));
        // A line that is silent for half a minute, then brings what a modem brings.
        assert_eq!(ends(1024, |second| if second % 60 < 30 { 0 } else { 4000 }).await, None);
        assert_eq!(ends(1024, |_| 1024).await, None);
        assert_eq!(ends(1024, |_| 1).await, Some(120));
        // Whoever sends all but the last bytes at once has no credit for hours.
        assert_eq!(ends(1024, |second| if second == 1 { 8 << 20 } else { 1 }).await, Some(180));
        // A rate that was asked for is checked sooner.
        assert_eq!(ends(10_000, |_| 100).await, Some(22));
        assert_eq!(ends(10_000, |second| if second < 12 { 9000 } else { 1 << 20 }).await, None);
        assert_eq!(ends(0, |_| 0).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_good_minute_forgives_a_bad_one() {
        let bad_minute = |second: u64, of: u64| if second % of < 60 { 1 } else { 4000 };
        assert_eq!(ends(1024, |second| bad_minute(second, 180)).await, None);
        assert_eq!(ends(1024, |second| bad_minute(second, 900)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_disk_s_time_is_not_the_client_s() {
        let mut meter = MinRateMeter::new();
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(40)).await;
            meter.moved(2048, Instant::now() - Duration::from_secs(39));
            assert!(!meter.too_slow(1024));
        }
    }
}
