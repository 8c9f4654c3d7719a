//! Space on the disk: a chunk is refused before its first byte if it would eat the reserve.

use crate::core::extent::Extent;
use crate::storage::local::files::{Allocated, Files, PartFile};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes promised to running chunks but not yet written.
#[derive(Debug)]
pub struct Space {
    min_free_bytes: AtomicU64,
    reserved: Arc<AtomicU64>,
}

/// A promise of space; given back bit by bit as bytes are written, the rest when dropped.
#[derive(Debug)]
pub struct Reservation {
    reserved: Arc<AtomicU64>,
    /// Bytes that may still be written.
    left: u64,
    /// Those of them that the disk does not count yet.
    uncounted: u64,
}

impl Space {
    /// Chunks must leave `min_free_bytes` free.
    pub fn new(min_free_bytes: u64) -> Self {
        Self { min_free_bytes: AtomicU64::new(min_free_bytes), reserved: Arc::default() }
    }

    /// From now on chunks must leave this much free.
    pub fn keep_free(&self, bytes: u64) {
        self.min_free_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes promised to running chunks that the disk does not count yet.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Reserves `bytes`, or `None` where they would eat into what must stay free.
    pub fn reserve(&self, store: &dyn Files, bytes: u64) -> io::Result<Option<Reservation>> {
        let before = self.reserved.fetch_add(bytes, Ordering::Relaxed);
        let reservation =
            Reservation { reserved: Arc::clone(&self.reserved), left: bytes, uncounted: bytes };
        let needed = self
            .min_free_bytes
            .load(Ordering::Relaxed)
            .saturating_add(before)
            .saturating_add(bytes);
        // What is not known is not full: the writes find out.
        let fits = store.free_bytes()?.is_none_or(|free| free >= needed);
        Ok(fits.then_some(reservation))
    }

    /// Reserves the bytes of `extent` and preallocates them in `blob`, if there is one; `None` where
    /// they would eat into what must stay free. A preallocation that failed on a full disk may have
    /// taken a part of it.
    pub fn reserve_and_allocate(
        &self,
        store: &dyn Files,
        blob: Option<&dyn PartFile>,
        extent: Extent,
    ) -> io::Result<Option<Reserved>> {
        let Some(mut reservation) = self.reserve(store, extent.len())? else { return Ok(None) };
        let allocated = blob.map_or(Ok(Allocated::No), |blob| blob.allocate(extent));
        if matches!(allocated, Ok(Allocated::Yes)) {
            reservation.allocated();
        }
        Ok(Some(Reserved { reservation, allocated }))
    }
}

/// Space that was reserved, and what the disk said to preallocating it.
pub struct Reserved {
    /// The promise.
    pub reservation: Reservation,
    /// Whether it was preallocated.
    pub allocated: io::Result<Allocated>,
}

impl Reservation {
    /// Whether this many bytes are still reserved.
    pub fn covers(&self, bytes: u64) -> bool {
        self.left >= bytes
    }

    /// These bytes are written: the disk itself counts them now.
    pub fn written(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
        let used = bytes.min(self.uncounted);
        self.uncounted -= used;
        self.reserved.fetch_sub(used, Ordering::Relaxed);
    }

    /// The space is set aside: the disk itself counts it now.
    pub fn allocated(&mut self) {
        self.reserved.fetch_sub(std::mem::take(&mut self.uncounted), Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reserved.fetch_sub(self.uncounted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::memory::store::MemoryStore;

    #[test]
    fn the_reserve_is_never_promised() {
        let store = MemoryStore::default();
        let space = Space::new(100);
        store.set_free_bytes(150);
        let mut first = space.reserve(&store, 30).unwrap().unwrap();
        assert!(space.reserve(&store, 21).unwrap().is_none());
        let second = space.reserve(&store, 20).unwrap().unwrap();
        first.written(30);
        store.set_free_bytes(120);
        drop(second);
        assert!(space.reserve(&store, 21).unwrap().is_none());
        assert!(space.reserve(&store, 20).unwrap().is_some());
        // What the disk has set aside is not counted twice.
        let mut set_aside = space.reserve(&store, 20).unwrap().unwrap();
        store.set_free_bytes(100 + 20);
        assert!(space.reserve(&store, 20).unwrap().is_none());
        set_aside.allocated();
        assert!(set_aside.covers(20) && space.reserve(&store, 20).unwrap().is_some());
        set_aside.written(20);
        assert!(!set_aside.covers(1));
        drop(set_aside);
        assert!(space.reserve(&store, 21).unwrap().is_none());
    }
}
