//! How far acknowledgements are ahead of the disk (`ack = written`): bytes that were recorded as only written and are not
//! synced yet, of one upload and of all. They are synced while a file comes, so that its end finds little to do.

use super::options::LocalOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is allowed, and what all uploads take of it.
#[derive(Debug)]
pub(super) struct Allowed {
    /// A sync is worth it for so many bytes.
    point: u64,
    /// Of one upload.
    one: u64,
    /// Of all, beyond a sync point of each: so small or idle uploads delay no other upload.
    all: u64,
    /// What they have beyond it now.
    beyond: AtomicU64,
}

impl Allowed {
    pub(super) fn new(tuning: &LocalOptions) -> Arc<Self> {
        let point = tuning.sync_point_bytes.max(1);
        // Who is too far ahead has enough for a sync, which ends the wait.
        let one = tuning.max_ahead_bytes.max(point);
        let all = one.saturating_mul(UPLOADS);
        Arc::new(Self { point, one, all, beyond: AtomicU64::new(0) })
    }
}

/// The bytes of one upload that are ahead of the disk.
#[derive(Debug)]
pub(super) struct Ahead {
    allowed: Arc<Allowed>,
    /// No sync has begun that covers them.
    waiting: u64,
    /// A sync is under way that covers them.
    syncing: u64,
}

impl Ahead {
    /// Of an upload whose log says that so many bytes were only written.
    pub(super) fn new(allowed: &Arc<Allowed>, bytes: u64) -> Self {
        let mut ahead = Self { allowed: Arc::clone(allowed), waiting: 0, syncing: 0 };
        ahead.wrote(bytes);
        ahead
    }

    /// So many more were recorded.
    pub(super) fn wrote(&mut self, bytes: u64) {
        self.set(self.waiting + bytes, self.syncing);
    }

    /// All are durable by other means.
    pub(super) fn is_over(&mut self) {
        self.set(0, self.syncing);
    }

    /// Whether bytes wait for a sync.
    pub(super) fn waits(&self) -> bool {
        self.waiting > 0
    }

    /// Whether a sync is worth it.
    pub(super) fn is_due(&self) -> bool {
        self.waiting >= self.allowed.point
    }

    /// Whether the client has to wait for the disk. A sync is due then, or under way.
    pub(super) fn is_far(&self) -> bool {
        let ahead = self.waiting + self.syncing;
        let crowded = self.allowed.beyond.load(Ordering::Relaxed) > self.allowed.all;
        ahead > if crowded { self.allowed.point } else { self.allowed.one }
    }

    /// A sync begins that covers all that wait; answers how many.
    pub(super) fn begin(&mut self) -> u64 {
        let bytes = self.waiting;
        self.set(0, self.syncing + bytes);
        bytes
    }

    /// It has ended.
    pub(super) fn synced(&mut self, bytes: u64) {
        self.set(self.waiting, self.syncing - bytes);
    }

    /// It did not happen: they wait for another.
    pub(super) fn put_back(&mut self, bytes: u64) {
        self.set(self.waiting + bytes, self.syncing - bytes);
    }

    fn set(&mut self, waiting: u64, syncing: u64) {
        // One alone takes no more of it than it is allowed, however large its last body was.
        let Allowed { point, one, .. } = *self.allowed;
        let beyond = |bytes: u64| bytes.min(one).saturating_sub(point);
        let (before, after) = (beyond(self.waiting + self.syncing), beyond(waiting + syncing));
        // Wraps around where it is less.
        self.allowed.beyond.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        (self.waiting, self.syncing) = (waiting, syncing);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.set(0, 0);
    }
}

/// So many uploads may be as far ahead as one may.
const UPLOADS: u64 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Durability;

    fn allowed() -> Arc<Allowed> {
        let mut tuning = LocalOptions::new(Durability::Written, 0, 0);
        (tuning.sync_point_bytes, tuning.max_ahead_bytes) = (10, 30);
        Allowed::new(&tuning)
    }

    #[test]
    fn one_upload_is_ahead_by_so_much_alone() {
        let mut ahead = Ahead::new(&allowed(), 9);
        assert!(ahead.waits() && !ahead.is_due());
        ahead.wrote(1);
        assert!(ahead.is_due() && !ahead.is_far());
        let first = ahead.begin();
        ahead.wrote(20);
        assert!(first == 10 && ahead.is_due() && !ahead.is_far());
        ahead.wrote(1);
        assert!(ahead.is_far(), "what a sync is under way for counts too");
        ahead.put_back(first);
        assert!(ahead.is_far() && ahead.begin() == 31 && ahead.is_far() && !ahead.waits());
        ahead.wrote(5);
        ahead.synced(31);
        assert!(ahead.waits() && !ahead.is_far());
        ahead.is_over();
        assert!(!ahead.waits());
    }

    #[test]
    fn all_together_are_ahead_by_a_sync_point_each_and_so_much_alone() {
        let allowed = allowed();
        let idle: Vec<Ahead> = (0..100).map(|_| Ahead::new(&allowed, 10)).collect();
        let mut one = Ahead::new(&allowed, 30);
        assert!(!one.is_far(), "bytes below a sync point delay no other upload");
        let huge = Ahead::new(&allowed, 100_000);
        assert!(huge.is_far() && !one.is_far(), "an upload that is far ahead delays no other");
        drop(huge);
        let mut far: Vec<Ahead> = (0..11).map(|_| Ahead::new(&allowed, 30)).collect();
        assert!(!one.is_far());
        far.push(Ahead::new(&allowed, 11));
        assert!(one.is_far() && !idle[0].is_far());
        let bytes = one.begin();
        assert!(one.is_far());
        one.synced(bytes);
        one.wrote(10);
        assert!(!one.is_far());
        one.wrote(20);
        assert!(one.is_far());
        far.pop();
        assert!(!one.is_far());
        drop((idle, one, far));
        assert_eq!(allowed.beyond.load(Ordering::Relaxed), 0);
    }
}
