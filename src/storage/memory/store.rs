//! Blobs in memory, for tests: they split what is live from what is durable, and fail on demand.
//!
//! Each server that uses the store has a handle of its own ([`MemoryStore::judged`]), so that what is
//! left of a dead one does nothing any more.

mod step;

pub use step::Step;

pub use super::file::Fate;
use super::file::{Draw, MemoryFile, is_dead};
use crate::core::extent::Extent;
use crate::core::id::RunIdentity;
use crate::core::id::TicketId;
use crate::storage::local::files::{Allocated, Files, PartFile, failed_sync, too_short};
use crate::storage::local::store::copy::through_memory;
use crate::storage::location::Location;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A store that lives as long as this value and its clones.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    judge: Option<Arc<Judge>>,
    /// A sync of names failed: none succeeds any more, as with a directory on a disk.
    names_failed: Arc<AtomicBool>,
}

/// Says what becomes of a step with so many bytes, before it happens.
pub type Judge = dyn Fn(TicketId, Step, usize) -> Fate + Send + Sync;

#[derive(Default)]
struct Shared {
    disk: Mutex<Disk>,
    /// Told when writes are no longer held.
    let_go: Condvar,
}

struct Disk {
    parts: BTreeMap<TicketId, MemoryFile>,
    published: BTreeMap<TicketId, MemoryFile>,
    /// What was done to names since they were last synced, in order.
    unsynced_names: Vec<Naming>,
    free_bytes: u64,
    allocates: Allocated,
    run: RunIdentity,
    failing: Option<(Step, io::ErrorKind)>,
    /// What hangs, and how often it does.
    held: Option<(TicketId, Step)>,
    waiting: usize,
}

enum Naming {
    PartMade(TicketId),
    Renamed(TicketId),
    PartRemoved(TicketId, MemoryFile),
    FileRemoved(TicketId, MemoryFile),
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            parts: BTreeMap::new(),
            published: BTreeMap::new(),
            unsynced_names: Vec::new(),
            free_bytes: 1 << 40,
            allocates: Allocated::No,
            run: RunIdentity { boot: [1; 16], mount: 1 },
            failing: None,
            held: None,
            waiting: 0,
        }
    }
}

impl MemoryStore {
    /// The same store for another server, each of whose steps is judged.
    pub fn judged(&self, judge: Arc<Judge>) -> Self {
        Self { shared: Arc::clone(&self.shared), judge: Some(judge), names_failed: Arc::default() }
    }

    /// Every such step fails with `kind` from now on; `None` makes the disk well again.
    pub fn fail(&self, failing: Option<(Step, io::ErrorKind)>) {
        self.disk().failing = failing;
    }

    /// This step of this upload hangs from now on (only steps of a part can);
    /// `None` lets it go on. What hangs for too long fails, so that a test does.
    pub fn hold(&self, held: Option<(TicketId, Step)>) {
        self.disk().held = held;
        self.shared.let_go.notify_all();
    }

    /// How many steps hang.
    pub fn waiting(&self) -> usize {
        self.disk().waiting
    }

    /// How much space the disk says it has.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.disk().free_bytes = bytes;
    }

    /// Whether it says that it sets space aside.
    pub fn set_allocates(&self, allocates: Allocated) {
        self.disk().allocates = allocates;
    }

    /// The bytes of a part as a reader sees them.
    pub fn part(&self, id: TicketId) -> Option<Vec<u8>> {
        self.disk().parts.get(&id).map(|part| part.live().to_vec())
    }

    /// The bytes of a published file as a reader sees them.
    pub fn file(&self, id: TicketId) -> Option<Vec<u8>> {
        self.disk().published.get(&id).map(|file| file.live().to_vec())
    }

    /// Somebody else, who may, moves the published file away for good.
    pub fn take(&self, id: TicketId) {
        self.disk().published.remove(&id);
    }

    /// The power goes and comes: only what was synced is left, in another run.
    pub fn cut_power(&self) {
        self.cut_power_with(&mut |_| 0);
    }

    /// The power goes and comes: what was synced is left, and as much of the rest as is drawn. Names
    /// come true in the order in which they were made.
    pub fn cut_power_with(&self, draw: &mut Draw<'_>) {
        let mut disk = self.disk();
        let kept = usize::try_from(draw(disk.unsynced_names.len() as u64 + 1)).unwrap_or_default();
        for naming in disk.unsynced_names.split_off(kept).into_iter().rev() {
            match naming {
                Naming::PartMade(id) => drop(disk.parts.remove(&id)),
                Naming::Renamed(id) => {
                    if let Some(file) = disk.published.remove(&id) {
                        disk.parts.insert(id, file);
                    }
                }
                Naming::PartRemoved(id, file) => drop(disk.parts.insert(id, file)),
                Naming::FileRemoved(id, file) => drop(disk.published.insert(id, file)),
            }
        }
        disk.unsynced_names.clear();
        let Disk { parts, published, .. } = &mut *disk;
        for file in parts.values_mut().chain(published.values_mut()) {
            file.cut_power(draw);
        }
        disk.run.mount += 1;
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.shared.disk.lock().expect("no holder of this lock panics")
    }

    /// Comes to a step: fails if it is to. `Some` is how many bytes of it happen before it fails.
    fn reach(&self, id: TicketId, step: Step, bytes: usize) -> io::Result<Option<Stop>> {
        let fate = match &self.judge {
            Some(judge) => judge(id, step, bytes),
            None => Fate::Happens,
        };
        match self.disk().failing {
            Some((failing, kind)) if failing == step => return Err(kind.into()),
            Some(_) | None => {}
        }
        match fate {
            Fate::Happens => Ok(None),
            Fate::Fails(kind) => Err(kind.into()),
            Fate::Exhausted => Err(rustix::io::Errno::MFILE.into()),
            Fate::Stops(bytes, kind) => Ok(Some(Stop { bytes, kind })),
        }
    }

    /// Makes all names durable.
    fn sync_names(&self, id: TicketId, step: Step) -> io::Result<()> {
        let synced = self.reach(id, step, 0).map(drop);
        if synced.is_err() || self.names_failed.load(Ordering::Relaxed) {
            self.names_failed.store(true, Ordering::Relaxed);
            return Err(synced.err().unwrap_or_else(|| io::Error::other("an earlier sync failed")));
        }
        self.disk().unsynced_names.clear();
        Ok(())
    }
}

/// Where a step stops, and with which error.
struct Stop {
    bytes: usize,
    kind: io::ErrorKind,
}

/// Longer than any test lets a write hang.
const HELD: Duration = Duration::from_secs(10);

impl Disk {
    fn make_part(&mut self, id: TicketId) {
        if let std::collections::btree_map::Entry::Vacant(free) = self.parts.entry(id) {
            free.insert(MemoryFile::default());
            self.unsynced_names.push(Naming::PartMade(id));
        }
    }
}

impl Files for MemoryStore {
    fn create(&self, id: TicketId) -> io::Result<Arc<dyn PartFile>> {
        self.reach(id, Step::Create, 0)?;
        self.disk().make_part(id);
        Ok(Arc::new(MemoryBlob::new(self, id)))
    }

    fn open(&self, id: TicketId) -> io::Result<Option<Arc<dyn PartFile>>> {
        self.reach(id, Step::Open, 0)?;
        let held = self.disk().parts.contains_key(&id);
        Ok(held.then(|| Arc::new(MemoryBlob::new(self, id)) as Arc<dyn PartFile>))
    }

    fn place(&self, id: TicketId, length: u64) -> io::Result<()> {
        self.reach(id, Step::Publish, 0)?;
        let mut disk = self.disk();
        match disk.parts.remove(&id) {
            Some(part) => {
                disk.published.insert(id, part);
                disk.unsynced_names.push(Naming::Renamed(id));
            }
            None => {
                let placed = disk.published.get(&id).map(|file| file.live().len() as u64);
                if placed != Some(length) {
                    return Err(io::ErrorKind::NotFound.into());
                }
            }
        }
        drop(disk);
        self.sync_names(id, Step::PublishNames).map_err(|error| failed_sync(&error))
    }

    fn published(&self, id: TicketId) -> io::Result<Option<u64>> {
        self.reach(id, Step::Look, 0)?;
        Ok(self.disk().published.get(&id).map(|file| file.live().len() as u64))
    }

    fn read(&self, id: TicketId, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let at = usize::try_from(from).unwrap_or(usize::MAX);
        let left = |file: Vec<u8>| file.len().saturating_sub(at);
        self.reach(id, Step::Read, self.file(id).map_or(0, left))?;
        let mut bytes = Cursor::new(self.file(id).ok_or(io::ErrorKind::NotFound)?);
        bytes.set_position(from);
        Ok(Box::new(bytes))
    }

    fn location(&self, id: TicketId) -> Location {
        Location::Path(Path::new("/memory").join(id.to_string()))
    }

    fn discard(&self, id: TicketId) -> io::Result<()> {
        self.reach(id, Step::Discard, 0)?;
        let mut disk = self.disk();
        if let Some(part) = disk.parts.remove(&id) {
            disk.unsynced_names.push(Naming::PartRemoved(id, part));
        }
        Ok(())
    }

    fn withdraw(&self, id: TicketId) -> io::Result<()> {
        self.reach(id, Step::Withdraw, 0)?;
        let mut disk = self.disk();
        if let Some(file) = disk.published.remove(&id) {
            disk.unsynced_names.push(Naming::FileRemoved(id, file));
        }
        Ok(())
    }

    fn parts(&self) -> io::Result<Vec<TicketId>> {
        Ok(self.disk().parts.keys().copied().collect())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(Some(self.disk().free_bytes))
    }

    fn writable(&self) -> io::Result<()> {
        Ok(())
    }

    fn probe(&self) -> io::Result<()> {
        Ok(())
    }

    fn run(&self) -> RunIdentity {
        self.disk().run
    }
}

/// Syncs a file, if there is one, as the step turned out. A failed one loses what it can.
fn sync(file: Option<&mut MemoryFile>, outcome: io::Result<Option<Stop>>) -> io::Result<()> {
    let file = file.ok_or(io::ErrorKind::NotFound)?;
    match outcome {
        Ok(None) => {
            file.sync();
            Ok(())
        }
        Ok(Some(Stop { bytes, kind })) => {
            // As many of its pieces as bytes are durable, in a pattern that depends on nothing else.
            let mut left = bytes as u64;
            file.fail_sync(&mut |below| {
                let drawn = left % below;
                left = (left / below) ^ left.rotate_left(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                drawn
            });
            Err(kind.into())
        }
        Err(error) if is_dead(&error) => Err(error),
        Err(error) => {
            file.fail_sync(&mut |_| 0);
            Err(error)
        }
    }
}

struct MemoryBlob {
    store: MemoryStore,
    id: TicketId,
    /// The part's name is not known to be durable yet.
    unnamed: AtomicBool,
}

impl MemoryBlob {
    fn new(store: &MemoryStore, id: TicketId) -> Self {
        Self { store: store.clone(), id, unnamed: AtomicBool::new(true) }
    }

    /// Comes to a step that can hang.
    fn reach(&self, step: Step, bytes: usize) -> io::Result<Option<Stop>> {
        let mut disk = self.store.disk();
        let here = Some((self.id, step));
        if disk.held == here {
            disk.waiting += 1;
            let shared = &self.store.shared;
            let waited = shared.let_go.wait_timeout_while(disk, HELD, |disk| disk.held == here);
            let outcome;
            (disk, outcome) = waited.expect("no holder of this lock panics");
            disk.waiting -= 1;
            if outcome.timed_out() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        drop(disk);
        self.store.reach(self.id, step, bytes)
    }
}

impl PartFile for MemoryBlob {
    fn write_at(&self, frames: &[Bytes], offset: u64) -> io::Result<()> {
        let stop = self.reach(Step::Write, frames.iter().map(Bytes::len).sum())?;
        let mut left = stop.as_ref().map_or(usize::MAX, |stop| stop.bytes);
        let mut disk = self.store.disk();
        let part = disk.parts.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
        let mut at = usize::try_from(offset).expect("a test's file fits into memory");
        for frame in frames.iter().filter(|frame| !frame.is_empty()) {
            let count = frame.len().min(left);
            part.write_at(&frame[..count], at);
            (at, left) = (at + count, left - count);
        }
        stop.map_or(Ok(()), |stop| Err(stop.kind.into()))
    }

    fn copy_from(&self, source: &dyn PartFile, extent: Extent, at: u64) -> io::Result<()> {
        through_memory(self, source, extent, at)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.store.disk();
        let part = disk.parts.get(&self.id).ok_or(io::ErrorKind::NotFound)?;
        let at = usize::try_from(offset).expect("a test's file fits into memory");
        let held = part.live().get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(held);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let reached = self.reach(Step::Sync, 0);
        let mut disk = self.store.disk();
        let Disk { parts, published, .. } = &mut *disk;
        // An open file is the same under another name.
        sync(parts.get_mut(&self.id).or_else(|| published.get_mut(&self.id)), reached)?;
        drop(disk);
        if self.unnamed.load(Ordering::Relaxed) {
            self.store.sync_names(self.id, Step::Sync)?;
            self.unnamed.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn prepare(&self, length: u64) -> io::Result<()> {
        if self.length()? < length {
            return Err(too_short());
        }
        if let Some(part) = self.store.disk().parts.get_mut(&self.id) {
            part.cut(usize::try_from(length).expect("a test's file fits into memory"));
        }
        self.sync().map_err(|error| failed_sync(&error))
    }

    fn length(&self) -> io::Result<u64> {
        let disk = self.store.disk();
        Ok(disk.parts.get(&self.id).map_or(0, |part| part.live().len() as u64))
    }

    fn allocate(&self, _extent: Extent) -> io::Result<Allocated> {
        self.reach(Step::Allocate, 0)?;
        Ok(self.store.disk().allocates)
    }

    fn release(&self, extent: Extent) -> io::Result<()> {
        self.reach(Step::Release, 0)?;
        let mut disk = self.store.disk();
        let allocates = disk.allocates;
        let part = disk.parts.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (start, mut end) = (place(extent.start()), place(extent.end()));
        if allocates == Allocated::No {
            end = end.min(part.live().len());
        }
        // Where space can be set aside, the file ends behind it then.
        if start < end {
            part.write_at(&vec![0; end - start], start);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
