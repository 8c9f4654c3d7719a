//! Who may write which bytes: a claim on bytes that no other request writes and that are not
//! acknowledged.
//!
//! The newest request wins. A claim that overlaps an older one fences the older off and waits until
//! it has let go, so two requests never mix their bytes. The guard of a claim is [`super::transfer`]'s.

use crate::core::extent::{Extent, ExtentSet};
use tokio_util::sync::CancellationToken;

/// All claims on one upload, oldest first.
#[derive(Debug, Default)]
pub(super) struct Claims {
    entries: Vec<Entry>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    bytes: ExtentSet,
    fence: CancellationToken,
}

impl Claims {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Claims `bytes`, fencing off every older claim on any of them.
    pub(super) fn add(&mut self, bytes: ExtentSet) -> (u64, CancellationToken) {
        for older in &self.entries {
            if older.bytes.overlaps(&bytes) {
                older.fence.cancel();
            }
        }
        let number = self.next;
        self.next += 1;
        let fence = CancellationToken::new();
        self.entries.push(Entry { number, bytes, fence: fence.clone() });
        (number, fence)
    }

    /// Fences off whoever claims this byte; whether there is one.
    pub(super) fn fence_at(&self, byte: u64) -> bool {
        let Some(byte) = Extent::new(byte, byte.saturating_add(1)) else { return false };
        let mut found = false;
        for entry in self.entries.iter().filter(|entry| !entry.bytes.within(byte).is_empty()) {
            entry.fence.cancel();
            found = true;
        }
        found
    }

    /// Whether an older claim on some of the same bytes is still held.
    pub(super) fn must_wait(&self, number: u64) -> bool {
        let Some(mine) = self.entries.iter().find(|entry| entry.number == number) else {
            return false;
        };
        self.entries.iter().any(|entry| entry.number < number && entry.bytes.overlaps(&mine.bytes))
    }

    /// Narrows a claim to `bytes`.
    pub(super) fn narrow(&mut self, number: u64, bytes: ExtentSet) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) {
            entry.bytes = bytes;
        }
    }

    /// Gives a claim back.
    pub(super) fn remove(&mut self, number: u64) {
        self.entries.retain(|entry| entry.number != number);
    }

    /// Ends every claim: the upload takes no more bytes. Answers how many are still held.
    pub(super) fn fence_all(&self) -> usize {
        for entry in &self.entries {
            entry.fence.cancel();
        }
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(start: u64, end: u64) -> ExtentSet {
        ExtentSet::of(Extent::new(start, end).unwrap())
    }

    #[test]
    fn the_newest_fences_and_waits() {
        let mut claims = Claims::default();
        let (first, first_fence) = claims.add(bytes(0, 10));
        let (second, second_fence) = claims.add(bytes(10, 20));
        assert!(!first_fence.is_cancelled() && !claims.must_wait(second));
        let (third, third_fence) = claims.add(bytes(5, 15));
        assert!(first_fence.is_cancelled() && second_fence.is_cancelled());
        assert!(claims.must_wait(third) && !claims.must_wait(first));
        claims.remove(first);
        assert!(claims.must_wait(third));
        claims.remove(second);
        assert!(!claims.must_wait(third));
        claims.narrow(third, bytes(12, 15));
        let (_, _) = claims.add(bytes(5, 12));
        assert!(!third_fence.is_cancelled());
        assert!(!claims.fence_at(20) && claims.fence_at(13));
        claims.fence_all();
        assert!(third_fence.is_cancelled());
        assert_eq!(claims.count(), 2);
    }
}
