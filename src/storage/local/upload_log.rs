//! The log of one upload as a journal file: appended to on the worker while the page cache takes it, rewritten when it
//! has grown, and told which bytes of the part have been synced behind the acknowledgements.

use super::ahead::Ahead;
use super::blocking::Blocking;
use super::compaction::{Compacted, Compaction, is_transient, next_try};
use super::files::store_error;
use super::format::record::{Record, encode};
use super::format::replay::Replayed;
use super::log::{Log as End, LogError};
use super::resync::Unsynced;
use super::shared::Shared;
use crate::core::event::{Durability, Event};
use crate::core::id::TicketId;
use crate::core::limits::MAX_JOURNAL_BYTES;
use crate::core::time::Uptime;
use crate::core::upload::Upload;
use crate::storage::journal::{
    Append, Appended, Claims, LoadError, Log, Read, UpkeepError, Version,
};
use crate::storage::promised::Promised;
use crate::storage::store::{Part, StoreError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The log of one upload.
pub(super) struct LocalLog(Arc<Inner>);

struct Inner {
    id: TicketId,
    shared: Arc<Shared>,
    /// What was read, until it holds whatever happens.
    unsynced: Mutex<Option<Unsynced>>,
    /// The journal's end; locked by the thread that runs the commit queue, and by no other for long.
    end: Mutex<End>,
    /// Bytes of the journal, as far as it was written in this process or read.
    bytes: AtomicU64,
    /// With how many it is looked at whether it is to be replaced by a shorter one.
    compact_at: AtomicU64,
    /// Held by each sync of the part whose outcome the journal is to note at an offset that was taken before: it is not
    /// replaced meanwhile, so that the offset means what it meant.
    flushing: Arc<()>,
    flushes: Mutex<Flushes>,
}

struct Flushes {
    /// Bytes recorded as only written.
    ahead: Ahead,
    /// What was synced and is not noted yet.
    synced: Option<Synced>,
    /// From when on a refused chunk may have the journal replaced.
    room_again: Uptime,
}

/// The bytes of all records before an offset of the journal have been synced.
struct Synced {
    before: u64,
    _flushing: Arc<()>,
}

impl Inner {
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().expect("no holder of this lock panics")
    }

    fn flushes(&self) -> MutexGuard<'_, Flushes> {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a sync is under way. Says so for sure while the end is locked.
    fn is_flushing(&self) -> bool {
        Arc::strong_count(&self.flushing) > 1
    }

    /// Blocks.
    fn make_durable(&self) -> Result<(), LoadError> {
        let mut slot = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(unsynced) = &mut *slot else { return Ok(()) };
        self.shared.make_durable(self.id, unsynced)?;
        let end = End::of(self.id, &unsynced.replayed, self.shared.files.run());
        self.bytes.store(end.end(), Ordering::Relaxed);
        *self.end() = end;
        *slot = None;
        Ok(())
    }

    /// Blocks.
    fn append(&self, records: &[u8], sync: Durability) -> Result<(), StoreError> {
        let mut end = self.end();
        end.open(&*self.shared.journals).map_err(store_error)?;
        let appended = end.append(records);
        let failed = |error: &LogError| matches!(error, LogError::Fault(_));
        let synced = |()| match sync {
            Durability::Durable => self.shared.counted.syncs.during(|| end.sync(), failed),
            Durability::Written => Ok(()),
        };
        appended.and_then(synced).map_err(|error| match error {
            LogError::NoSpace => StoreError::NoSpace,
            LogError::Fault(error) => StoreError::Fault(error),
        })?;
        self.bytes.store(end.end(), Ordering::Relaxed);
        Ok(())
    }

    /// Has the journal say that bytes were synced. Blocks.
    fn note_synced(&self, synced: &Synced) -> Result<(), UpkeepError> {
        let mut record = Vec::new();
        encode(&Record::Synced { before: synced.before }, &mut record);
        match self.append(&record, Durability::Durable) {
            Ok(()) => Ok(()),
            Err(StoreError::Fault(error)) => Err(UpkeepError { what: "journal", error }),
            // They stay unsynced until the next time.
            Err(StoreError::NoSpace | StoreError::Exhausted | StoreError::Unavailable) => Ok(()),
        }
    }

    /// Blocks.
    fn compact(&self, upload: &Upload) -> Result<(), UpkeepError> {
        let mut end = self.end();
        let passed = |error: std::io::Error| {
            tracing::debug!(upload = %self.id.short(), %error, "could not compact journal");
        };
        if let Err(error) = end.open(&*self.shared.journals) {
            // If it is more than a transient error, the next append says so.
            self.compact_at(next_try(end.end()));
            passed(error);
            return Ok(());
        }
        // A sync under way has taken its offset from the old one.
        if self.is_flushing() {
            return Ok(());
        }
        self.compact_at(next_try(end.end()));
        let failed = |error| UpkeepError { what: "replacing the journal", error };
        match self.shared.compact(self.id, &mut end, upload) {
            Ok(Compacted::NotBefore(bytes)) => self.compact_at(bytes),
            Ok(Compacted::Done(bytes, named)) => {
                self.bytes.store(bytes as u64, Ordering::Relaxed);
                self.compact_at(self.shared.compact_above(bytes));
                named.map_err(failed)?;
            }
            Err(error) if is_transient(&error) => passed(error),
            Err(error) => return Err(failed(error)),
        }
        Ok(())
    }

    /// The journal is looked at again when it has so many bytes.
    fn compact_at(&self, bytes: u64) {
        self.compact_at.store(bytes, Ordering::Relaxed);
    }

    fn may_compact(&self) -> bool {
        let grown = self.bytes.load(Ordering::Relaxed) > self.compact_at.load(Ordering::Relaxed);
        grown && !self.is_flushing()
    }
}

impl LocalLog {
    pub(super) fn new(id: TicketId, shared: Arc<Shared>, unsynced: Unsynced) -> Self {
        let now = shared.count.now();
        let replayed = &unsynced.replayed;
        Self(Arc::new(Inner {
            id,
            end: Mutex::new(End::of(id, replayed, shared.files.run())),
            bytes: AtomicU64::new(replayed.valid_bytes),
            compact_at: AtomicU64::new(shared.tuning.compact_bytes),
            flushing: Arc::default(),
            flushes: Mutex::new(Flushes {
                ahead: Ahead::new(&shared.ahead, replayed.unsynced_bytes),
                synced: None,
                room_again: now,
            }),
            shared,
            unsynced: Mutex::new(Some(unsynced)),
        }))
    }
}

impl LocalLog {
    /// The log of an upload whose journal this process has just made, with so many bytes.
    pub(super) fn begun(upload: Upload, shared: Arc<Shared>, valid_bytes: u64) -> Self {
        let id = upload.ticket().id;
        let compaction = Compaction::At(shared.compact_above(0));
        let (run, faulted, unsynced_bytes, uncounted) = (None, false, 0, None);
        let replayed = Replayed { upload, valid_bytes, run, faulted, unsynced_bytes, uncounted };
        let end = End::begun(id, valid_bytes, shared.files.run());
        let log = Self::new(id, shared, Unsynced { replayed, compaction });
        *log.0.end() = end;
        // Nothing of an earlier process is in it.
        *log.0.unsynced.lock().unwrap_or_else(PoisonError::into_inner) = None;
        log
    }
}

impl Log for LocalLog {
    fn make_durable(&self) -> Promised<'_, Result<(), LoadError>> {
        let inner = Arc::clone(&self.0);
        let durable = self.0.shared.blocking.run(move || inner.make_durable());
        durable.map(|durable| {
            let lost =
                |lost| LoadError::Fault { what: "syncing the journal", error: Box::new(lost) };
            durable.unwrap_or_else(|panicked| Err(lost(panicked)))
        })
    }

    fn append(
        &self,
        expected: Version,
        append: Append,
    ) -> Promised<'_, Result<Appended, StoreError>> {
        let Append { events, durability, claims, state } = append;
        let mut records = Vec::with_capacity((events.len() + 1) * 48);
        let (mut written, mut over) = (0, claims == Claims::Durable);
        for event in events {
            match &event {
                Event::Stored { extent, durability: Durability::Written, .. } => {
                    written += extent.len();
                }
                Event::Published { .. } | Event::Cancelled { .. } => over = true,
                _ => {}
            }
            encode(&Record::Event(event), &mut records);
        }
        match claims {
            Claims::AsEachSays => {}
            Claims::Durable => encode(&Record::Synced { before: u64::MAX }, &mut records),
        }
        let (inner, shared) = (Arc::clone(&self.0), &self.0.shared);
        let work = move || inner.append(&records, durability);
        let appended = match durability {
            Durability::Durable => shared.blocking.run(work),
            Durability::Written if Blocking::may_wait() => Promised::ready(Ok(work())),
            Durability::Written => shared.slow_disk.run(work),
        };
        appended.map(move |appended| {
            appended.unwrap_or_else(|panicked| Err(StoreError::Fault(panicked.into())))?;
            if let Some(state) = state {
                self.0.shared.catalog.set(self.0.id, state);
            }
            let ahead = &mut self.0.flushes().ahead;
            if over {
                ahead.clear_waiting()
            } else {
                ahead.wrote(written)
            }
            Ok(Appended::At(Version::of(expected.number + 1)))
        })
    }

    fn records_publish_first(&self) -> bool {
        true
    }

    fn read(&self, since: Version) -> Promised<'_, Result<Read, StoreError>> {
        // Nobody else writes here: the directory is locked.
        Promised::ready(Ok(Read::More(Vec::new(), since)))
    }

    fn wants_upkeep(&self) -> bool {
        self.0.flushes().synced.is_some() || self.0.may_compact()
    }

    fn upkeep(&self, upload: Arc<Upload>) -> Promised<'_, Result<(), UpkeepError>> {
        let inner = Arc::clone(&self.0);
        let kept = self.0.shared.blocking.run(move || {
            let synced = inner.flushes().synced.take();
            if let Some(synced) = synced {
                inner.note_synced(&synced)?;
            }
            if inner.may_compact() { inner.compact(&upload) } else { Ok(()) }
        });
        let lost = |panicked: tokio::task::JoinError| UpkeepError {
            what: "replacing the journal",
            error: panicked.into(),
        };
        kept.map(move |kept| kept.unwrap_or_else(|panicked| Err(lost(panicked))))
    }

    fn is_full(&self) -> bool {
        self.0.bytes.load(Ordering::Relaxed) > MAX_JOURNAL_BYTES
    }

    fn make_room(&self) -> bool {
        let now = self.0.shared.count.now();
        let mut flushes = self.0.flushes();
        if now < flushes.room_again {
            return false;
        }
        flushes.room_again = now.after(TRY_AGAIN);
        drop(flushes);
        self.0.compact_at(0);
        true
    }

    fn has_unflushed(&self) -> bool {
        self.0.flushes().ahead.has_waiting()
    }

    fn flush_is_due(&self) -> bool {
        // One sync is noted before the next begins, so that the journal can be compacted between the two.
        self.0.flushes().ahead.sync_is_due() && !self.0.is_flushing()
    }

    fn flush_is_late(&self) -> bool {
        self.0.flushes().ahead.is_too_far()
    }

    fn flush<'a>(&'a self, part: &'a dyn Part) -> Promised<'a, Result<(), StoreError>> {
        let inner = &*self.0;
        let bytes = inner.flushes().ahead.begin_sync();
        if bytes == 0 {
            return Promised::ready(Ok(()));
        }
        let (before, flushing) = {
            let end = inner.end();
            (end.end(), Arc::clone(&inner.flushing))
        };
        part.flush().map(move |flushed| {
            let mut flushes = inner.flushes();
            if matches!(flushed, Err(StoreError::Exhausted)) {
                // No file descriptor just now: nothing has failed.
                flushes.ahead.requeue(bytes);
                return Ok(());
            }
            flushes.ahead.end_sync(bytes);
            // `false`: a publish has begun, which syncs the part itself.
            if flushed? && flushes.synced.as_ref().is_none_or(|other| other.before < before) {
                flushes.synced = Some(Synced { before, _flushing: flushing });
            }
            Ok(())
        })
    }

    fn note_fault(&self) -> Promised<'_, ()> {
        let inner = Arc::clone(&self.0);
        // An upload that has failed is not synced any more.
        inner.flushes().ahead.clear_waiting();
        let note = move || inner.end().note_fault(&*inner.shared.journals);
        self.0.shared.blocking.run(note).map(|_| ())
    }
}

/// Between two tries for chunks that are refused: each reads a journal of 16 MiB.
const TRY_AGAIN: Duration = Duration::from_secs(5);
