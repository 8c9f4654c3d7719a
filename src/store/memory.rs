//! Blobs in memory, for tests: they split what is live from what is durable and fail on demand.

use super::{Allocated, Blob, Store, failed_sync, too_short};
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::run::RunIdentity;
use bytes::Bytes;
use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A store that lives as long as this value and its clones.
#[derive(Clone)]
pub struct MemoryStore(Arc<Shared>);

struct Shared {
    disk: Mutex<Disk>,
    /// Told when writes are no longer held.
    let_go: Condvar,
}

struct Disk {
    parts: HashMap<TicketId, Content>,
    published: HashMap<TicketId, Vec<u8>>,
    free_bytes: u64,
    run: RunIdentity,
    failing: Option<(Step, io::ErrorKind)>,
    /// What hangs, and how often it does.
    held: Option<(TicketId, Step)>,
    waiting: usize,
}

#[derive(Clone, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
}

/// A step that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Preallocating for a blob.
    Allocate,
    /// Writing to a blob.
    Write,
    /// Syncing a blob.
    Sync,
    /// Publishing, at its rename.
    Publish,
    /// Publishing, at its sync of the data.
    PublishSync,
}

impl Default for MemoryStore {
    fn default() -> Self {
        let disk = Mutex::new(Disk {
            parts: HashMap::new(),
            published: HashMap::new(),
            free_bytes: 1 << 40,
            run: RunIdentity { boot: [1; 16], mount: 1 },
            failing: None,
            held: None,
            waiting: 0,
        });
        Self(Arc::new(Shared { disk, let_go: Condvar::new() }))
    }
}

impl MemoryStore {
    /// Every such step fails with `kind` from now on; `None` makes the disk well again.
    pub fn fail(&self, failing: Option<(Step, io::ErrorKind)>) {
        self.disk().failing = failing;
    }

    /// This step of this upload hangs from now on (only [`Step::Allocate`] and [`Step::Write`] can);
    /// `None` lets it go on. What hangs for too long fails, so that a test does.
    pub fn hold(&self, held: Option<(TicketId, Step)>) {
        self.disk().held = held;
        self.0.let_go.notify_all();
    }

    /// How many steps hang.
    pub fn waiting(&self) -> usize {
        self.disk().waiting
    }

    /// How much space the disk says it has.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.disk().free_bytes = bytes;
    }

    /// The power goes and comes: only what was synced is left, in another run.
    pub fn cut_power(&self) {
        let mut disk = self.disk();
        for content in disk.parts.values_mut() {
            // What was not synced reads as zeros, as after a write whose data never arrived.
            let mut live = vec![0; content.live.len()];
            live[..content.durable.len()].copy_from_slice(&content.durable);
            content.live = live;
        }
        disk.run.mount += 1;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.disk.lock().expect("no holder of this lock panics")
    }
}

/// Longer than any test lets a write hang.
const HELD: Duration = Duration::from_secs(10);

impl Disk {
    fn check(&self, step: Step) -> io::Result<()> {
        match self.failing {
            Some((failing, kind)) if failing == step => Err(kind.into()),
            Some(_) | None => Ok(()),
        }
    }
}

impl Store for MemoryStore {
    fn create(&self, id: TicketId) -> io::Result<Arc<dyn Blob>> {
        self.disk().parts.entry(id).or_default();
        Ok(Arc::new(MemoryBlob { store: self.clone(), id }))
    }

    fn open(&self, id: TicketId) -> io::Result<Option<Arc<dyn Blob>>> {
        let held = self.disk().parts.contains_key(&id);
        Ok(held.then(|| Arc::new(MemoryBlob { store: self.clone(), id }) as Arc<dyn Blob>))
    }

    fn publish(&self, id: TicketId, length: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check(Step::PublishSync).map_err(|error| failed_sync(&error))?;
        disk.check(Step::Publish)?;
        if length == 0 {
            disk.parts.entry(id).or_default();
        }
        if let Some(part) = disk.parts.remove(&id) {
            let length = usize::try_from(length).expect("a test's file fits into memory");
            if part.live.len() < length {
                disk.parts.insert(id, part);
                return Err(too_short());
            }
            let mut bytes = part.live;
            bytes.truncate(length);
            disk.published.insert(id, bytes);
            return Ok(());
        }
        match disk.published.get(&id) {
            Some(bytes) if bytes.len() as u64 == length => Ok(()),
            Some(_) | None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn published(&self, id: TicketId) -> io::Result<Option<u64>> {
        Ok(self.disk().published.get(&id).map(|bytes| bytes.len() as u64))
    }

    fn read(&self, id: TicketId) -> io::Result<Box<dyn Read + Send>> {
        let bytes = self.disk().published.get(&id).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Cursor::new(bytes)))
    }

    fn path(&self, id: TicketId) -> PathBuf {
        Path::new("/memory").join(id.to_string())
    }

    fn discard(&self, id: TicketId) -> io::Result<()> {
        self.disk().parts.remove(&id);
        Ok(())
    }

    fn withdraw(&self, id: TicketId) -> io::Result<()> {
        self.disk().published.remove(&id);
        Ok(())
    }

    fn parts(&self) -> io::Result<Vec<TicketId>> {
        Ok(self.disk().parts.keys().copied().collect())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.disk().free_bytes)
    }

    fn writable(&self) -> io::Result<()> {
        Ok(())
    }

    fn run(&self) -> RunIdentity {
        self.disk().run
    }
}

struct MemoryBlob {
    store: MemoryStore,
    id: TicketId,
}

impl MemoryBlob {
    /// Comes to a step: waits while it is held, fails if it is to.
    fn reach(&self, step: Step) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.store.disk();
        let here = Some((self.id, step));
        if disk.held == here {
            disk.waiting += 1;
            let shared = &self.store.0;
            let waited = shared.let_go.wait_timeout_while(disk, HELD, |disk| disk.held == here);
            let outcome;
            (disk, outcome) = waited.expect("no holder of this lock panics");
            disk.waiting -= 1;
            if outcome.timed_out() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        disk.check(step)?;
        Ok(disk)
    }
}

impl Blob for MemoryBlob {
    fn write_at(&self, frames: &[Bytes], offset: u64) -> io::Result<()> {
        let mut disk = self.reach(Step::Write)?;
        let part = disk.parts.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
        let mut at = usize::try_from(offset).expect("a test's file fits into memory");
        for frame in frames {
            let end = at + frame.len();
            if part.live.len() < end {
                part.live.resize(end, 0);
            }
            part.live[at..end].copy_from_slice(frame);
            at = end;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.store.disk();
        disk.check(Step::Sync)?;
        let part = disk.parts.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
        part.durable = part.live.clone();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        let disk = self.store.disk();
        Ok(disk.parts.get(&self.id).map_or(0, |part| part.live.len() as u64))
    }

    fn allocate(&self, _extent: Extent) -> io::Result<Allocated> {
        drop(self.reach(Step::Allocate)?);
        Ok(Allocated::No)
    }

    fn release(&self, extent: Extent) -> io::Result<()> {
        let mut disk = self.store.disk();
        let part = disk.parts.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let end = place(extent.end()).min(part.live.len());
        if let Some(gone) = part.live.get_mut(place(extent.start())..end) {
            gone.fill(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        super::super::conformance::check(&MemoryStore::default());
    }
}
