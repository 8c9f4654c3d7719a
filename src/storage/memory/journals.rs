//! Journals in memory, for tests: they split what is live from what is durable and fail on demand.
//!
//! Each server that uses them has a handle of its own ([`MemoryJournals::judged`]), so that what is
//! left of a dead one does nothing any more.

use super::file::{Draw, Fate, MemoryFile, is_dead};
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use crate::storage::local::journal_files::{JournalFile, JournalFiles, Replaced, SyncWhen};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Journals that live as long as this value and its clones.
#[derive(Clone, Default)]
pub struct MemoryJournals {
    disk: Arc<Mutex<Disk>>,
    judge: Option<Arc<Judge>>,
    /// A sync of the names failed: this server promises none any more, as with [`crate::storage::local::directory::SyncedDirectory`].
    names_failed: Arc<AtomicBool>,
}

/// Says what becomes of a step with so many bytes, before it happens.
pub type Judge = dyn Fn(TicketId, Step, usize) -> Fate + Send + Sync;

/// A step that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making a journal.
    Create,
    /// Reading one.
    Read,
    /// Opening one for appending.
    Open,
    /// Writing to one.
    Write,
    /// Syncing one.
    Sync,
    /// Cutting one.
    Cut,
    /// Removing one.
    Remove,
    /// Writing the count of running time down.
    Count,
    /// Making one whole under another name, in order to replace one.
    Remake,
    /// Giving it the name of the one it replaces.
    Rename,
    /// Making names durable.
    SyncName,
}

#[derive(Default)]
struct Disk {
    journals: BTreeMap<TicketId, Journal>,
    /// Removed, and not known to stay so after a power cut.
    removed: Vec<(TicketId, MemoryFile)>,
    listing_fails: Option<io::ErrorKind>,
    uptime: Option<Uptime>,
    /// What may be found in place of that after a power cut.
    uptime_before: Option<Uptime>,
}

#[derive(Clone, Default)]
struct Journal {
    file: MemoryFile,
    name: Name,
    /// The one that it has replaced, where a power cut may bring that back.
    replaced: Option<MemoryFile>,
    failure: Option<(usize, io::ErrorKind)>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Name {
    #[default]
    Durable,
    /// After a power cut there may be no such file, or an empty one.
    Unsynced,
}

impl Disk {
    /// What was removed and renamed is so whatever happens.
    fn sync_names(&mut self) {
        self.removed.clear();
        for journal in self.journals.values_mut().filter(|journal| journal.replaced.is_some()) {
            // Its bytes were synced before it was given the name.
            journal.replaced = None;
            journal.name = Name::Durable;
        }
    }
}

impl Journal {
    fn of(bytes: &[u8]) -> Self {
        Self { file: MemoryFile::of(bytes), ..Self::default() }
    }
}

impl MemoryJournals {
    /// The same journals for another server, each of whose steps is judged.
    pub fn judged(&self, judge: Arc<Judge>) -> Self {
        Self { disk: Arc::clone(&self.disk), judge: Some(judge), names_failed: Arc::default() }
    }

    /// The next write to the journal of `id` stops after `written` bytes with `kind`.
    pub fn fail_next(&self, id: TicketId, written: usize, kind: io::ErrorKind) {
        if let Some(journal) = self.disk().journals.get_mut(&id) {
            journal.failure = Some((written, kind));
        }
    }

    /// The journals cannot be listed from now on; `None` makes that well again.
    pub fn fail_listing(&self, kind: Option<io::ErrorKind>) {
        self.disk().listing_fails = kind;
    }

    /// The count of running time is gone.
    pub fn lose_uptime(&self) {
        let mut disk = self.disk();
        (disk.uptime, disk.uptime_before) = (None, None);
    }

    /// The bytes of a journal that are on the disk whatever happens, if there is one for sure.
    pub fn durable(&self, id: TicketId) -> Option<Vec<u8>> {
        let disk = self.disk();
        let journal = disk.journals.get(&id).filter(|journal| journal.name == Name::Durable);
        journal.map(|Journal { file, replaced, .. }| {
            replaced.as_ref().unwrap_or(file).durable().to_vec()
        })
    }

    /// The bytes of a journal as a reader sees them.
    pub fn live(&self, id: TicketId) -> Option<Vec<u8>> {
        self.disk().journals.get(&id).map(|journal| journal.file.live().to_vec())
    }

    /// The power goes: only what was synced is left.
    pub fn cut_power(&self) {
        self.cut_power_with(&mut |_| 0);
    }

    /// The power goes: what was synced is left, and as much of the rest as is drawn.
    pub fn cut_power_with(&self, draw: &mut Draw<'_>) {
        let mut disk = self.disk();
        disk.journals.retain(|_, journal| {
            if journal.name == Name::Unsynced {
                match draw(3) {
                    0 => return false,
                    1 => journal.file = MemoryFile::default(),
                    _ => {}
                }
            }
            journal.name = Name::Durable;
            if let Some(replaced) = journal.replaced.take()
                && draw(2) == 0
            {
                journal.file = replaced;
            }
            journal.file.cut_power(draw);
            true
        });
        if draw(2) == 1 {
            disk.uptime = disk.uptime_before;
        }
        for (id, mut file) in std::mem::take(&mut disk.removed) {
            if draw(2) == 1 {
                file.cut_power(draw);
                disk.journals.insert(id, Journal { file, ..Journal::default() });
            }
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().expect("no holder of this lock panics")
    }

    /// Makes names durable; after a failure never again.
    fn make_names_durable(&self, id: TicketId) -> io::Result<()> {
        if self.names_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier sync of the names failed"));
        }
        self.reach(id, Step::SyncName, 0).inspect_err(|_| {
            self.names_failed.store(true, Ordering::Relaxed);
        })?;
        self.disk().sync_names();
        Ok(())
    }

    /// Comes to a step: fails if it is to. `Some` is how many bytes of it happen before it fails.
    fn reach(
        &self,
        id: TicketId,
        step: Step,
        bytes: usize,
    ) -> io::Result<Option<(usize, io::ErrorKind)>> {
        match self.judge.as_ref().map_or(Fate::Happens, |judge| judge(id, step, bytes)) {
            Fate::Happens => Ok(None),
            Fate::Fails(kind) => Err(kind.into()),
            Fate::Exhausted => Err(rustix::io::Errno::MFILE.into()),
            Fate::Stops(bytes, kind) => Ok(Some((bytes, kind))),
        }
    }
}

impl JournalFiles for MemoryJournals {
    fn create(&self, id: TicketId, bytes: &[u8], sync: SyncWhen) -> io::Result<()> {
        if let Some((_, kind)) = self.reach(id, Step::Create, bytes.len())? {
            return Err(kind.into());
        }
        if sync == SyncWhen::Now && self.names_failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("an earlier sync of the names failed"));
        }
        let mut disk = self.disk();
        let name = match sync {
            SyncWhen::Now => {
                disk.sync_names();
                Name::Durable
            }
            SyncWhen::Later => Name::Unsynced,
        };
        disk.journals.insert(id, Journal { name, ..Journal::of(bytes) });
        Ok(())
    }

    fn read(&self, id: TicketId) -> io::Result<Option<Box<dyn Read + Send>>> {
        self.reach(id, Step::Read, 0)?;
        Ok(self.live(id).map(|bytes| Box::new(io::Cursor::new(bytes)) as Box<dyn Read + Send>))
    }

    fn replace(&self, id: TicketId, bytes: &[u8]) -> io::Result<Replaced> {
        if let Some((_, kind)) = self.reach(id, Step::Remake, bytes.len())? {
            return Err(kind.into());
        }
        self.reach(id, Step::Rename, 0)?;
        {
            let mut disk = self.disk();
            let old = disk.journals.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
            let replaced = old.replaced.take().unwrap_or_else(|| old.file.clone());
            let name = old.name;
            *old = Journal { name, replaced: Some(replaced), ..Journal::of(bytes) };
        }
        let named = self.make_names_durable(id);
        Ok(Replaced { file: Box::new(MemoryJournal { store: self.clone(), id }), named })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.make_names_durable(TicketId::from_random([0; 16]))
    }

    fn open(&self, id: TicketId) -> io::Result<Box<dyn JournalFile>> {
        self.reach(id, Step::Open, 0)?;
        if !self.disk().journals.contains_key(&id) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(MemoryJournal { store: self.clone(), id }))
    }

    fn remove(&self, id: TicketId) -> io::Result<()> {
        self.reach(id, Step::Remove, 0)?;
        let mut disk = self.disk();
        if let Some(journal) = disk.journals.remove(&id)
            && journal.name == Name::Durable
        {
            disk.removed.push((id, journal.file));
        }
        Ok(())
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<TicketId>> {
        let disk = self.disk();
        match disk.listing_fails {
            Some(kind) => Err(kind.into()),
            None => Ok(disk.journals.keys().copied().collect()),
        }
    }

    fn read_uptime(&self) -> io::Result<Option<Uptime>> {
        Ok(self.disk().uptime)
    }

    fn write_uptime(&self, uptime: Uptime) -> io::Result<()> {
        // Of no upload: the id that stands for none.
        let none = TicketId::from_random([0; 16]);
        if let Some((_, kind)) = self.reach(none, Step::Count, 0)? {
            return Err(kind.into());
        }
        let mut disk = self.disk();
        disk.uptime_before = disk.uptime.replace(uptime);
        Ok(())
    }
}

struct MemoryJournal {
    store: MemoryJournals,
    id: TicketId,
}

impl MemoryJournal {
    fn with<T>(&self, act: impl FnOnce(&mut Journal) -> io::Result<T>) -> io::Result<T> {
        let mut disk = self.store.disk();
        act(disk.journals.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl JournalFile for MemoryJournal {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let stop = self.store.reach(self.id, Step::Write, bytes.len())?;
        self.with(|journal| {
            let failure = journal.failure.take().or(stop);
            let count = failure.map_or(bytes.len(), |(written, _)| written.min(bytes.len()));
            let at = usize::try_from(offset).expect("a test's journal fits into memory");
            journal.file.write_at(&bytes[..count], at);
            failure.map_or(Ok(()), |(_, kind)| Err(kind.into()))
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let reached = self.store.reach(self.id, Step::Sync, 0);
        self.with(|journal| match reached {
            Ok(None) => {
                journal.file.sync();
                // The file systems that are used keep the name of a new file that is synced.
                journal.name = Name::Durable;
                Ok(())
            }
            Ok(Some((_, kind))) => {
                journal.file.fail_sync(&mut |below| below - 1);
                Err(kind.into())
            }
            Err(error) if is_dead(&error) => Err(error),
            Err(error) => {
                journal.file.fail_sync(&mut |_| 0);
                Err(error)
            }
        })
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.store.reach(self.id, Step::Cut, 0)?;
        let length = usize::try_from(length).expect("a test's journal fits into memory");
        self.with(|journal| {
            journal.file.cut(length);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        crate::storage::local::journal_files::conformance::check(&MemoryJournals::default());
        let judged = MemoryJournals::default().judged(Arc::new(|_, _, _| Fate::Happens));
        crate::storage::local::journal_files::conformance::check(&judged);
    }
}
