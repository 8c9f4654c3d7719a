//! Journals in memory, for tests: they split what is live from what is durable and fail on demand.

use super::{JournalFile, JournalStore, SyncWhen};
use crate::core::id::TicketId;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// Journals that live as long as this value and its clones.
#[derive(Clone, Default)]
pub struct MemoryJournals(Arc<Mutex<HashMap<TicketId, Journal>>>);

#[derive(Clone, Default)]
struct Journal {
    live: Vec<u8>,
    durable: Option<Vec<u8>>,
    failure: Option<(usize, io::ErrorKind)>,
}

impl MemoryJournals {
    /// The next write to the journal of `id` stops after `written` bytes with `kind`.
    pub fn fail_next(&self, id: TicketId, written: usize, kind: io::ErrorKind) {
        if let Some(journal) = self.journals().get_mut(&id) {
            journal.failure = Some((written, kind));
        }
    }

    /// The power goes: only what was synced is left.
    pub fn cut_power(&self) {
        let mut journals = self.journals();
        journals.retain(|_, journal| journal.durable.is_some());
        for journal in journals.values_mut() {
            journal.live = journal.durable.clone().unwrap_or_default();
        }
    }

    fn journals(&self) -> MutexGuard<'_, HashMap<TicketId, Journal>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl JournalStore for MemoryJournals {
    fn create(&self, id: TicketId, bytes: &[u8], sync: SyncWhen) -> io::Result<()> {
        let mut journals = self.journals();
        let durable = (sync == SyncWhen::Now).then(|| bytes.to_vec());
        journals.insert(id, Journal { live: bytes.to_vec(), durable, failure: None });
        Ok(())
    }

    fn read(&self, id: TicketId) -> io::Result<Option<Vec<u8>>> {
        Ok(self.journals().get(&id).map(|journal| journal.live.clone()))
    }

    fn open(&self, id: TicketId) -> io::Result<Box<dyn JournalFile>> {
        if !self.journals().contains_key(&id) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Box::new(MemoryJournal { store: self.clone(), id }))
    }

    fn remove(&self, id: TicketId) -> io::Result<()> {
        self.journals().remove(&id);
        Ok(())
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<TicketId>> {
        Ok(self.journals().keys().copied().collect())
    }
}

struct MemoryJournal {
    store: MemoryJournals,
    id: TicketId,
}

impl MemoryJournal {
    fn with<T>(&self, act: impl FnOnce(&mut Journal) -> io::Result<T>) -> io::Result<T> {
        let mut journals = self.store.journals();
        act(journals.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?)
    }
}

impl JournalFile for MemoryJournal {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.with(|journal| {
            let failure = journal.failure.take();
            let count = failure.map_or(bytes.len(), |(written, _)| written.min(bytes.len()));
            let at = usize::try_from(offset).expect("a test's journal fits into memory");
            if journal.live.len() < at + count {
                journal.live.resize(at + count, 0);
            }
            journal.live[at..at + count].copy_from_slice(&bytes[..count]);
            failure.map_or(Ok(()), |(_, kind)| Err(kind.into()))
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.with(|journal| {
            journal.durable = Some(journal.live.clone());
            Ok(())
        })
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.with(|journal| {
            journal
                .live
                .truncate(usize::try_from(length).expect("a test's journal fits into memory"));
            Ok(())
        })
    }
}
