//! How far acknowledgements are ahead of the disk (`ack = written`): bytes that were recorded as only written and are not
//! synced yet, of one upload and of all. They are synced while a file comes, so that its end finds little to do.

use super::options::LocalOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes may be ahead, and how many are.
#[derive(Debug)]
pub(super) struct AheadLimits {
    /// A sync is worth it for so many bytes of an upload.
    sync_point_bytes: u64,
    /// Of one upload, at most.
    upload_bytes: u64,
    /// Of all, at most, not counting a sync point of each: so small or idle uploads delay no other upload.
    shared_bytes: u64,
    /// How many of these are taken.
    taken_bytes: AtomicU64,
}

impl AheadLimits {
    pub(super) fn new(tuning: &LocalOptions) -> Arc<Self> {
        let sync_point_bytes = tuning.sync_point_bytes.max(1);
        // An upload that is too far ahead has enough for a sync, which ends the wait.
        let upload_bytes = tuning.max_ahead_bytes.max(sync_point_bytes);
        let shared_bytes = upload_bytes.saturating_mul(SHARING_UPLOADS);
        let taken_bytes = AtomicU64::new(0);
        Arc::new(Self { sync_point_bytes, upload_bytes, shared_bytes, taken_bytes })
    }
}

/// The bytes of one upload that are ahead of the disk.
#[derive(Debug)]
pub(super) struct Ahead {
    limits: Arc<AheadLimits>,
    /// Bytes that no sync covers yet.
    waiting: u64,
    /// Bytes that a running sync covers.
    syncing: u64,
}

impl Ahead {
    /// Of an upload whose log says that so many bytes were only written.
    pub(super) fn new(limits: &Arc<AheadLimits>, bytes: u64) -> Self {
        let mut ahead = Self { limits: Arc::clone(limits), waiting: 0, syncing: 0 };
        ahead.wrote(bytes);
        ahead
    }

    /// So many more were recorded.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.set(self.waiting + bytes, self.syncing);
    }

    /// None wait any more: another sync covers them, or they are never synced.
    pub(super) fn clear_waiting(&mut self) {
        self.set(0, self.syncing);
    }

    /// Whether bytes wait for a sync.
    pub(super) fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Whether a sync is worth it.
    pub(super) fn sync_is_due(&self) -> bool {
        self.waiting >= self.limits.sync_point_bytes
    }

    /// Whether the client has to wait for the disk. A sync is due then, or under way.
    pub(super) fn is_too_far(&self) -> bool {
        let ahead = self.waiting + self.syncing;
        let limits = &*self.limits;
        let crowded = limits.taken_bytes.load(Ordering::Relaxed) > limits.shared_bytes;
        ahead > if crowded { limits.sync_point_bytes } else { limits.upload_bytes }
    }

    /// A sync begins that covers all that wait; answers how many bytes.
    pub(super) fn begin_sync(&mut self) -> u64 {
        let bytes = self.waiting;
        self.set(0, self.syncing + bytes);
        bytes
    }

    /// A sync of so many has ended, well or not.
    pub(super) fn end_sync(&mut self, bytes: u64) {
        self.set(self.waiting, self.syncing - bytes);
    }

    /// A sync of so many did not take place: they wait for another.
    pub(super) fn requeue(&mut self, bytes: u64) {
        self.set(self.waiting + bytes, self.syncing - bytes);
    }

    fn set(&mut self, waiting: u64, syncing: u64) {
        // One upload takes no more of the shared bytes than its own limit, however large its last body was.
        let AheadLimits { sync_point_bytes, upload_bytes, .. } = *self.limits;
        let taken = |bytes: u64| bytes.min(upload_bytes).saturating_sub(sync_point_bytes);
        let (before, after) = (taken(self.waiting + self.syncing), taken(waiting + syncing));
        // A difference below zero wraps around.
        self.limits.taken_bytes.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        (self.waiting, self.syncing) = (waiting, syncing);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

/// So many uploads may be as far ahead as one may.
const SHARING_UPLOADS: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Durability;

    fn limits() -> Arc<AheadLimits> {
        let mut tuning = LocalOptions::new(Durability::Written, 0, 0);
        (tuning.sync_point_bytes, tuning.max_ahead_bytes) = (10, 30);
        AheadLimits::new(&tuning)
    }

    #[test]
    fn one_upload_is_ahead_by_so_much_alone() {
        let mut ahead = Ahead::new(&limits(), 9);
        assert!(ahead.has_waiting() && !ahead.sync_is_due());
        ahead.wrote(1);
        assert!(ahead.sync_is_due() && !ahead.is_too_far());
        let first = ahead.begin_sync();
        ahead.wrote(20);
        assert!(first == 10 && ahead.sync_is_due() && !ahead.is_too_far());
        ahead.wrote(1);
        assert!(ahead.is_too_far(), "what a sync is under way for counts too");
        ahead.requeue(first);
        assert!(
            ahead.is_too_far()
                && ahead.begin_sync() == 31
                && ahead.is_too_far()
                && !ahead.has_waiting()
        );
        ahead.wrote(5);
        ahead.end_sync(31);
        assert!(ahead.has_waiting() && !ahead.is_too_far());
        ahead.clear_waiting();
        assert!(!ahead.has_waiting());
    }

    #[test]
    fn all_together_are_ahead_by_a_sync_point_each_and_so_much_alone() {
        let limits = limits();
        let idle: Vec<Ahead> = (0..100).map(|_| Ahead::new(&limits, 10)).collect();
        let mut one = Ahead::new(&limits, 30);
        assert!(!one.is_too_far(), "bytes below a sync point delay no other upload");
        let huge = Ahead::new(&limits, 100_000);
        assert!(
            huge.is_too_far() && !one.is_too_far(),
            "an upload that is far ahead delays no other"
        );
        drop(huge);
        let mut far: Vec<Ahead> = (0..11).map(|_| Ahead::new(&limits, 30)).collect();
        assert!(!one.is_too_far());
        far.push(Ahead::new(&limits, 11));
        assert!(one.is_too_far() && !idle[0].is_too_far());
        let bytes = one.begin_sync();
        assert!(one.is_too_far());
        one.end_sync(bytes);
        one.wrote(10);
        assert!(!one.is_too_far());
        one.wrote(20);
        assert!(one.is_too_far());
        far.pop();
        assert!(!one.is_too_far());
        drop((idle, one, far));
        assert_eq!(limits.taken_bytes.load(Ordering::Relaxed), 0);
    }
}
