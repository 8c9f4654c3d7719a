//! A storage directory as a store: parts and finished files, the space of its file system, and whether it is well.

use super::ahead::AheadLimits;
use super::blocking::Blocking;
use super::durable_journals::DurableJournals;
use super::files::{Files, store_error};
use super::journal_files::JournalFiles;
use super::options::LocalOptions;
use super::part::LocalPart;
use super::shared::Shared;
use super::slow_disk::SlowDisk;
use super::space::Space as FreeSpace;
use super::uptime::Count;
use crate::core::id::TicketId;
use crate::storage::catalog::Catalog;
use crate::storage::clock::Clock;
use crate::storage::location::Location;
use crate::storage::promised::Promised;
use crate::storage::rounds::{Rounds, Weight};
use crate::storage::store::{ByteSink, Part, Parts, Published, Reader, Space, StoreError, Unready};
use crate::storage::syncs::Counted;
use std::io::Read;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A storage directory.
pub struct LocalStorage {
    pub(super) shared: Arc<Shared>,
    /// When a probe went well for the last time.
    probed: Arc<Mutex<Option<Instant>>>,
}

impl LocalStorage {
    /// Over `files` and `journals`, with work that waits for them done where `blocking` says. Blocks for one small read.
    pub fn new(
        files: Arc<dyn Files>,
        journals: Arc<dyn JournalFiles>,
        clock: Arc<dyn Clock>,
        tuning: LocalOptions,
        blocking: Blocking,
    ) -> Arc<Self> {
        let began = tokio::time::Instant::now();
        let slow_disk = SlowDisk::new(began, tuning.waiting_bytes, blocking.clone());
        let shared = Shared {
            count: Count::resume(&*journals, clock),
            files,
            journals,
            blocking,
            slow_disk: Arc::new(slow_disk),
            space: FreeSpace::new(tuning.min_free_bytes),
            durable_journals: DurableJournals::default(),
            catalog: Catalog::default(),
            counted: Counted::default(),
            ahead: AheadLimits::new(&tuning),
            tuning,
        };
        Arc::new(Self { shared: Arc::new(shared), probed: Arc::default() })
    }

    /// What is known of the disk's pace.
    pub fn slow_disk(&self) -> &SlowDisk {
        &self.shared.slow_disk
    }

    /// One over empty memory.
    #[cfg(test)]
    pub fn of_memory() -> Arc<Self> {
        let store = Arc::new(crate::storage::memory::store::MemoryStore::default());
        let journals = Arc::new(crate::storage::memory::journals::MemoryJournals::default());
        let options = LocalOptions::new(crate::core::event::Durability::Written, 0, 1 << 20);
        let clock = Arc::new(crate::storage::clock::SystemClock);
        Self::new(store, journals, clock, options, Blocking::Threads)
    }

    /// Whether the journal of an upload holds whatever happens.
    #[cfg(test)]
    pub fn is_settled(&self, id: TicketId) -> bool {
        self.shared.durable_journals.has(id)
    }

    /// Does `work` with the files where waiting is allowed; a panic is a fault.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Promised<'static, Result<T, StoreError>> {
        let shared = Arc::clone(&self.shared);
        self.shared.run(move || work(&shared))
    }
}

impl Parts for LocalStorage {
    fn part(&self, id: TicketId) -> Arc<dyn Part> {
        Arc::new(LocalPart::new(id, Arc::clone(&self.shared)))
    }

    fn copies(&self) -> bool {
        true
    }
}

impl Published for LocalStorage {
    fn location(&self, id: TicketId) -> Location {
        self.shared.files.location(id)
    }

    fn published(&self, id: TicketId) -> Promised<'_, Result<Option<u64>, StoreError>> {
        self.ask(move |shared| shared.files.published(id).map_err(StoreError::Fault))
    }

    fn reader(&self, id: TicketId, from: u64) -> Box<dyn Reader> {
        Box::new(LocalReader { shared: Arc::clone(&self.shared), id, from, file: None })
    }

    fn has_part(&self, id: TicketId) -> Promised<'_, bool> {
        let found = self.ask(move |shared| shared.files.open(id).map_err(StoreError::Fault));
        found.map(|found| !matches!(found, Ok(None)))
    }

    fn discard(&self, id: TicketId) -> Promised<'_, Result<(), StoreError>> {
        self.ask(move |shared| shared.files.discard(id).map_err(store_error))
    }

    fn withdraw(&self, id: TicketId) -> Promised<'_, Result<(), StoreError>> {
        self.ask(move |shared| shared.files.withdraw(id).map_err(store_error))
    }
}

/// Reads a published file, a slice at a time.
struct LocalReader {
    shared: Arc<Shared>,
    id: TicketId,
    from: u64,
    /// Opened at the first slice.
    file: Option<Box<dyn Read + Send>>,
}

impl Reader for LocalReader {
    fn next(
        mut self: Box<Self>,
        bytes: u64,
        mut sink: Box<ByteSink>,
    ) -> Promised<'static, Result<Option<Box<dyn Reader>>, StoreError>> {
        let shared = Arc::clone(&self.shared);
        shared.run(move || {
            let fault = StoreError::Fault;
            let mut file = match self.file.take() {
                Some(file) => file,
                None => self.shared.files.read(self.id, self.from).map_err(fault)?,
            };
            let mut buffer = vec![0; READ_BYTES];
            let mut left = bytes;
            while left > 0 {
                match file.read(&mut buffer).map_err(fault)? {
                    0 => return Ok(None),
                    count => sink(&buffer[..count]),
                }
                left = left.saturating_sub(READ_BYTES as u64);
            }
            self.file = Some(file);
            Ok(Some(self as Box<dyn Reader>))
        })
    }
}

impl Rounds for LocalStorage {
    fn is_quick(&self, weight: Weight) -> bool {
        weight == Weight::Writes && !self.shared.slow_disk.is_slow(tokio::time::Instant::now())
    }

    fn run(&self, round: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.shared.blocking.drive(round);
    }
}

impl Space for LocalStorage {
    fn keep_free(&self, bytes: u64) {
        self.shared.space.keep_free(bytes);
    }

    fn free_bytes(&self) -> Promised<'_, Option<u64>> {
        let free = self.ask(|shared| shared.files.free_bytes().map_err(StoreError::Fault));
        free.map(|free| free.ok().flatten())
    }

    fn reserved_bytes(&self) -> u64 {
        self.shared.space.reserved_bytes()
    }

    fn has_room(&self) -> Promised<'_, Result<bool, StoreError>> {
        self.ask(|shared| {
            let reserved = shared.space.reserve(&*shared.files, 0).map_err(store_error)?;
            Ok(reserved.is_some())
        })
    }

    fn waiting_bytes(&self) -> (u64, u64) {
        self.shared.slow_disk.waiting_bytes()
    }

    fn ready(&self) -> Promised<'_, Result<(), Unready>> {
        let (shared, probed) = (Arc::clone(&self.shared), Arc::clone(&self.probed));
        let ready = self.shared.blocking.run(move || shared.probe(&probed));
        ready.map(|ready| ready.unwrap_or(Err(Unready::Panicked)))
    }

    fn turn(&self) -> Promised<'_, ()> {
        self.shared.blocking.run(|| ()).map(|_| ())
    }

    fn counted(&self) -> Counted {
        self.shared.counted.clone()
    }
}

impl Shared {
    fn probe(&self, probed: &Mutex<Option<Instant>>) -> Result<(), Unready> {
        let unusable = |error| Unready::Unusable(Arc::new(error));
        self.files.writable().map_err(unusable)?;
        if self.space.reserve(&*self.files, 0).map_err(unusable)?.is_none() {
            return Err(Unready::Full);
        }
        let last = || probed.lock().unwrap_or_else(PoisonError::into_inner);
        // Of many that ask, most need no sync of their own.
        let fresh = |at: &Instant| at.elapsed() < PROBE_LASTS;
        if last().as_ref().is_some_and(fresh) {
            return Ok(());
        }
        let outcome = self.files.probe();
        *last() = outcome.is_ok().then(Instant::now);
        outcome.map_err(|error| Unready::Unwritable(Arc::new(error)))
    }
}

/// A probe of the disk counts for so long: a balancer that asks often costs no sync each time.
const PROBE_LASTS: Duration = Duration::from_secs(1);
/// Bytes read of a published file at a time.
const READ_BYTES: usize = 256 * 1024;
