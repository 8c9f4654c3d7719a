//! Who may write which bytes: a claim on bytes that nobody else writes and that are not
//! acknowledged.
//!
//! The newest request wins. A claim that overlaps an older one fences the older off and waits until
//! it has let go, so two requests never mix their bytes. Dropping a claim gives it back: no lock
//! can stick.

use super::Engine;
use super::error::TransferError;
use super::live::Live;
use crate::core::extent::ExtentSet;
use crate::core::refusal::{Over, Refusal};
use crate::core::upload::Phase;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All claims on one upload, oldest first.
#[derive(Debug, Default)]
pub(super) struct Claims {
    held: Vec<Held>,
    next: u64,
}

#[derive(Debug)]
struct Held {
    number: u64,
    bytes: ExtentSet,
    fence: CancellationToken,
}

impl Claims {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// Claims `bytes`, fencing off every older claim on any of them.
    pub(super) fn add(&mut self, bytes: ExtentSet) -> (u64, CancellationToken) {
        for older in &self.held {
            if older.bytes.overlaps(&bytes) {
                older.fence.cancel();
            }
        }
        let number = self.next;
        self.next += 1;
        let fence = CancellationToken::new();
        self.held.push(Held { number, bytes, fence: fence.clone() });
        (number, fence)
    }

    /// Whether an older claim on some of the same bytes is still held.
    pub(super) fn must_wait(&self, number: u64) -> bool {
        let Some(mine) = self.held.iter().find(|held| held.number == number) else { return false };
        self.held.iter().any(|held| held.number < number && held.bytes.overlaps(&mine.bytes))
    }

    /// Narrows a claim to `bytes`.
    pub(super) fn narrow(&mut self, number: u64, bytes: ExtentSet) {
        if let Some(held) = self.held.iter_mut().find(|held| held.number == number) {
            held.bytes = bytes;
        }
    }

    fn remove(&mut self, number: u64) {
        self.held.retain(|held| held.number != number);
    }

    /// Ends every claim: the upload takes no more bytes.
    pub(super) fn fence_all(&self) {
        for held in &self.held {
            held.fence.cancel();
        }
    }
}

/// A claim on bytes of an upload. Given back when dropped.
pub(super) struct Claim {
    pub(super) live: Arc<Live>,
    pub(super) number: u64,
    /// Cancelled when a newer request wants the bytes, or the upload takes no more.
    pub(super) fence: CancellationToken,
}

impl Claim {
    /// Waits until no older claim on the same bytes is held. Dropping the future changes nothing.
    pub(super) async fn turn(&self) {
        loop {
            let changed = self.live.released.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.live.lock().claims.must_wait(self.number) {
                return;
            }
            changed.await;
        }
    }
}

impl Engine {
    /// Why a claim was fenced off.
    pub(super) fn fenced(&self, live: &Arc<Live>) -> TransferError {
        let state = live.lock();
        if let Some(fault) = &state.fault {
            return TransferError::Fault(fault.clone());
        }
        match state.upload.phase() {
            Phase::Cancelled { .. } => TransferError::Refused(Refusal::UploadOver(Over::Cancelled)),
            Phase::Failed { .. } => TransferError::Refused(Refusal::UploadOver(Over::Failed)),
            Phase::New | Phase::Uploading | Phase::HandingOver(_) | Phase::Finished { .. } => {
                self.stats.superseded.add(1);
                TransferError::Superseded
            }
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Also while a panic unwinds: it must not become a second one.
        self.live.lock_poisoned().claims.remove(self.number);
        self.live.released.notify_waiters();
    }
}

/// Wakes claims that wait for an older one.
pub(super) type Released = Notify;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::extent::Extent;

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
        claims.fence_all();
        assert!(third_fence.is_cancelled());
        assert_eq!(claims.count(), 2);
    }
}
