//! Memory for bytes that were received and not yet taken: a share for each connection when it begins, in all
//! never more than there is.
//!
//! How much a peer may send ahead is announced when its connection begins (a read buffer, HTTP/2's
//! windows), so that is when a connection gets its share: all it can use while there are few, less as
//! they become many, and always [`LEAST_BYTES`]. What it does not fill costs nothing; what it may
//! fill is reserved.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
}
