//! Memory for bytes that were received and not yet taken: a share for each connection when it begins, in all
//! never more than there is; and the buffers and windows that fit into a share.
//!
//! How much a peer may send ahead is announced when its connection begins (a read buffer, HTTP/2's
//! windows), so that is when a connection gets its share: all it can use while there are few, less as
//! they become many, and always [`LEAST_BYTES`]. What it does not fill costs nothing; what it may
//! fill is reserved.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::io::READ_AHEAD;
use super::options::{Http1, Http2};

/// What every connection gets: HTTP/2's smallest window (64 KiB, RFC 9113 section 6.5.2) or two small
/// buffers of HTTP/1.1, a small read-ahead and a few records of TLS.
pub(super) const LEAST_BYTES: u64 = 112 << 10;

/// A share takes this part of what is left, at most: late ones find something too.
const PART: u64 = 32;

/// The memory of a server for such bytes, shared by its listeners.
#[derive(Debug)]
pub struct MemoryBudget {
    bytes: u64,
    /// Connections that are to find the least in any case.
    connections: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u64,
    open: u64,
}

/// A connection's part; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    memory: Arc<MemoryBudget>,
    bytes: u64,
}

impl MemoryBudget {
    /// What so many connections need at least, in bytes.
    #[must_use]
    pub fn least(connections: usize) -> u64 {
        LEAST_BYTES * connections as u64
    }

    /// `bytes` in all, for up to `connections`: [`MemoryBudget::least`] of them or more, or the
    /// last of them are turned away.
    pub fn new(bytes: u64, connections: usize) -> Arc<Self> {
        let state = Mutex::new(State { left: bytes, open: 0 });
        Arc::new(Self { bytes, connections: connections as u64, state })
    }

    /// A share for a new connection, which could use `want` bytes; `None` when there is not even the
    /// least.
    pub(super) fn share(self: &Arc<Self>, want: u64) -> Option<Share> {
        let mut state = self.state();
        state.left = state.left.checked_sub(LEAST_BYTES)?;
        state.open += 1;
        drop(state);
        let mut share = Share { memory: Arc::clone(self), bytes: LEAST_BYTES };
        share.grow(want);
        Some(share)
    }

    /// What is not reserved.
    #[cfg(test)]
    pub(super) fn left(&self) -> u64 {
        self.state().left
    }

    /// Bytes that are reserved now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.bytes - self.state().left
    }

    /// Bytes in all.
    #[must_use]
    pub fn all_bytes(&self) -> u64 {
        self.bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Grows towards `want` bytes as far as there is room beside what is kept for those to come.
    pub(super) fn grow(&mut self, want: u64) {
        let mut state = self.memory.state();
        let kept = LEAST_BYTES * self.memory.connections.saturating_sub(state.open);
        let room = state.left.saturating_sub(kept) / PART;
        let more = want.saturating_sub(self.bytes).min(room);
        state.left -= more;
        drop(state);
        self.bytes += more;
    }

    /// How much it is.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.left += self.bytes;
        state.open -= 1;
    }
}

/// How large a connection's buffers and windows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Read at once below TLS.
    pub(super) read_ahead: usize,
    /// HTTP/1.1's read buffer. There may be two: one is written while the next fills.
    pub(super) http1_buffer: usize,
    /// HTTP/2's window of the connection ...
    pub(super) connection_window: u32,
    /// ... and of each stream.
    pub(super) stream_window: u32,
}

/// Records that rustls holds of a connection, both ways: some 16 KiB each.
const TLS_BYTES: u64 = 32 << 10;
/// From this share on a connection reads far ahead; below, [`SMALL_READ_AHEAD`].
const ROOMY_BYTES: u64 = 512 << 10;
const SMALL_READ_AHEAD: usize = 16 << 10;
/// HTTP/2 knows no smaller window for a connection.
const SMALLEST_WINDOW: u32 = 65_535;

impl Sizes {
    /// What HTTP/1.1 can use at most.
    pub(super) fn most_http1(knobs: &Http1) -> u64 {
        2 * knobs.buffer_bytes as u64 + READ_AHEAD as u64 + TLS_BYTES
    }

    /// What HTTP/2 can use at most.
    pub(super) fn most_http2(knobs: &Http2) -> u64 {
        u64::from(knobs.connection_window_bytes) + READ_AHEAD as u64 + TLS_BYTES
    }

    /// What fits into `share` bytes.
    pub(super) fn of(share: u64, http1: &Http1, http2: &Http2) -> Self {
        let read_ahead = if share >= ROOMY_BYTES { READ_AHEAD } else { SMALL_READ_AHEAD };
        let room = share.saturating_sub(read_ahead as u64 + TLS_BYTES);
        let buffer = usize::try_from(room / 2).unwrap_or(usize::MAX);
        let window = u32::try_from(room).unwrap_or(u32::MAX);
        let connection_window = window.min(http2.connection_window_bytes).max(SMALLEST_WINDOW);
        Self {
            read_ahead,
            http1_buffer: buffer.min(http1.buffer_bytes),
            connection_window,
            stream_window: http2
                .stream_window_bytes
                .min(connection_window / 2)
                .max(SMALLEST_WINDOW),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_deals_more_than_there_is_and_always_the_least() {
        const WANT: u64 = 8 << 20;
        let total = 2000 * LEAST_BYTES + (100 << 20);
        let memory = MemoryBudget::new(total, 2000);
        let mut shares: Vec<Share> = Vec::new();
        let sum = |shares: &[Share]| shares.iter().map(Share::bytes).sum::<u64>();
        for _ in 0..2000 {
            shares.push(memory.share(WANT).unwrap());
            assert!(sum(&shares) <= total);
        }
        assert!(shares[0].bytes() > 3 << 20, "few get much");
        assert!(shares.iter().all(|share| share.bytes() >= LEAST_BYTES));
        assert!(shares.windows(2).all(|pair| pair[0].bytes() >= pair[1].bytes()));
        while let Some(share) = memory.share(WANT) {
            shares.push(share);
        }
        assert!(sum(&shares) <= total && sum(&shares) > total - LEAST_BYTES);
        shares.clear();
        assert_eq!(memory.state().left, total);
        assert_eq!(memory.share(1 << 20).unwrap().bytes(), 1 << 20, "no more than is of use");
    }

    #[test]
    fn sizes_stay_within_their_share() {
        let (http1, http2) = (Http1::default(), Http2::default());
        let full = Sizes::of(Sizes::most_http2(&http2), &http1, &http2);
        let (window, stream) = (http2.connection_window_bytes, http2.stream_window_bytes);
        assert_eq!((full.connection_window, full.stream_window), (window, stream));
        let full = Sizes::of(Sizes::most_http1(&http1), &http1, &http2);
        assert_eq!((full.http1_buffer, full.read_ahead), (http1.buffer_bytes, READ_AHEAD));
        let mut share = LEAST_BYTES;
        while share < 10 << 20 {
            let sizes = Sizes::of(share, &http1, &http2);
            let fixed = sizes.read_ahead as u64 + TLS_BYTES;
            assert!(2 * sizes.http1_buffer as u64 + fixed <= share, "{share}");
            assert!(u64::from(sizes.connection_window) + fixed <= share, "{share}");
            assert!(sizes.http1_buffer >= http1.max_head_bytes, "{share}: heads would not fit");
            assert!(sizes.stream_window <= sizes.connection_window);
            share += share / 7;
        }
    }
}
