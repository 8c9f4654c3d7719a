//! Which uploads are in memory. They come there by replaying their journal when somebody asks (`loads.rs`),
//! and leave again when idle; nothing is lost by that.

use super::Engine;
use super::compaction::Compaction;
use super::error::{Fault, LookupError};
use super::handle::UploadHandle;
use super::integrity::{self, Mismatch, Siblings};
use super::queue::Op;
use crate::core::id::TicketId;
use crate::storage::journal::JournalFile;
use crate::storage::local::format::replay::{JournalState, Replayed, Unreadable};
use crate::storage::local::format::tail::Tail;
use crate::storage::local::log::Log;
use crate::storage::local::settle::{SettleError, Settled, settle};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The uploads in memory.
#[derive(Default)]
pub(super) struct Registry(Mutex<Index>);

#[derive(Default)]
struct Index {
    handles: HashMap<TicketId, Arc<UploadHandle>>,
    /// Whose journals hold nothing that an earlier process may have left unsynced.
    settled: HashSet<TicketId>,
    /// Whether the names are durable that an earlier process gave, and that this one gave at a load.
    names_settled: bool,
}

/// A journal that was read.
pub(super) struct Loaded {
    pub(super) replayed: Replayed,
    pub(super) compaction: Compaction,
    /// What lies behind the good bytes.
    pub(super) tail: Tail,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().expect("no holder of this lock panics")
    }

    pub(super) fn loaded(&self, id: TicketId) -> Option<Arc<UploadHandle>> {
        self.lock().handles.get(&id).cloned()
    }

    /// All of them, ordered by id.
    pub(super) fn all(&self) -> Vec<Arc<UploadHandle>> {
        let mut all: Vec<_> = self.lock().handles.values().cloned().collect();
        all.sort_by_key(|handle| handle.id);
        all
    }

    pub(super) fn remove(&self, id: TicketId) {
        let mut index = self.lock();
        index.handles.remove(&id);
        index.settled.remove(&id);
    }

    /// The journal of `id` was born in this process, or made sure of.
    pub(super) fn settled(&self, id: TicketId) {
        self.lock().settled.insert(id);
    }

    /// The journal of `id` has a name that a power cut may give back to the one before: no load ends well before a sync of
    /// the names does.
    pub(super) fn unnamed(&self, id: TicketId) {
        let mut index = self.lock();
        index.settled.remove(&id);
        index.names_settled = false;
    }

    /// Whether names are still to be made durable.
    fn names_unsettled(&self) -> bool {
        !self.lock().names_settled
    }

    pub(super) fn is_settled(&self, id: TicketId) -> bool {
        self.lock().settled.contains(&id)
    }
}

impl Engine {
    /// Takes an upload into memory whose journal was just read. Only under [`super::loads::Loads::exclusive`]: then
    /// nobody has appended to that journal since.
    pub(super) fn adopt(self: &Arc<Self>, id: TicketId, replayed: Replayed) -> Arc<UploadHandle> {
        let log = Log::of(id, &replayed, self.store.run());
        let publish = replayed.upload.awaits_publish();
        self.register(id, &replayed.upload);
        let handle = UploadHandle::new(id, replayed.upload, log, self.uptime());
        handle.compact_at(self.options().tuning.compact_bytes);
        handle.lock().unsynced_bytes = replayed.unsynced_bytes;
        self.registry.lock().handles.insert(id, Arc::clone(&handle));
        if publish {
            // Completed just before a crash. Whoever asks sees it handed over in a moment.
            drop(self.submit(&handle, Op::Publish));
        }
        handle
    }

    /// Has what the journal of `id` says hold whatever happens, unless that is so. Blocks.
    pub(super) fn settle(&self, id: TicketId) -> Result<(), LookupError> {
        let _exclusive = self.loads.exclusive(id);
        // In memory its commit queue appends to the journal; a later load settles what is left then.
        if self.registry.is_settled(id) || self.registry.loaded(id).is_some() {
            return Ok(());
        }
        let mut loaded = self.load(id)?;
        self.make_sure_of(id, &mut loaded)
    }

    /// Makes durable what an earlier process has recorded in a journal ([`settle()`]), once for each upload and process.
    /// Blocks; only where no other thread works on the journal.
    pub(super) fn settle_journal(
        &self,
        id: TicketId,
        replayed: &mut Replayed,
    ) -> Result<(), LookupError> {
        if self.registry.is_settled(id) {
            return Ok(());
        }
        let fault = |error| LookupError::Fault(Fault::new("syncing the journal", &error));
        let waits = &self.stats.disk_syncs;
        // It may also have died between giving a new journal the name of the old one and the sync of that.
        if self.registry.names_unsettled() {
            waits.during(|| self.journals.sync_names(), |_| true).map_err(fault)?;
            self.registry.lock().names_settled = true;
        }
        let sync = |file: &mut dyn JournalFile| waits.during(|| file.sync(), |_| true);
        match settle(&*self.journals, id, replayed, sync) {
            Ok(Settled::Whole) => self.registry.settled(id),
            Ok(Settled::Unnoted) => {}
            Err(SettleError::Opening(error)) => {
                return Err(LookupError::opening("opening the journal", &error));
            }
            // Records would follow that its version does not have.
            Err(SettleError::NoSpace) => return Err(LookupError::Busy),
            Err(SettleError::Failed(error)) => return Err(fault(error)),
        }
        Ok(())
    }

    /// Reads and replays the journal of `id`. Blocks.
    ///
    /// Errors: a journal that cannot be read, or bytes that it claims and the store does not hold,
    /// are a fault; nothing is removed then.
    pub(super) fn load(&self, id: TicketId) -> Result<Loaded, LookupError> {
        let unreadable = |error| LookupError::Fault(Fault::new("journal", &error));
        let read = |error: std::io::Error| LookupError::opening("reading the journal", &error);
        let source = self.journals.read(id).map_err(read)?.ok_or(LookupError::Unknown)?;
        let (state, tail) =
            match JournalState::read_whole(source, id, self.uptime()).map_err(read)? {
                Ok(read) => read,
                Err(error @ (Unreadable::Unborn | Unreadable::Blank)) => {
                    let part = self.store.open(id);
                    let part =
                        part.map_err(|error| LookupError::opening("opening the part", &error))?;
                    let placed = self.store.published(id);
                    let placed =
                        placed.map_err(|error| LookupError::opening("opening the file", &error))?;
                    let beside = Siblings { part: part.is_some(), published: placed.is_some() };
                    return Err(if integrity::is_forgotten(error, beside, self.options().ack) {
                        LookupError::Unknown
                    } else {
                        unreadable(error)
                    });
                }
                Err(error) => return Err(unreadable(error)),
            };
        let compaction = self.compaction_of(id, &state, tail);
        let mut replayed = state.seen_in(self.store.run());
        if !tail.is_torn_record() {
            // Nothing is written over what lies behind before something has to be appended; it is noted at a later load.
            replayed.uncounted = None;
        }
        integrity::check(&*self.store, id, &replayed.upload).map_err(
            |mismatch| match mismatch {
                Mismatch::Unreadable(error) => LookupError::opening("stored bytes", &error),
                mismatch @ (Mismatch::Short { .. } | Mismatch::NoPart) => {
                    LookupError::Fault(Fault::new("stored bytes", &mismatch))
                }
            },
        )?;
        Ok(Loaded { replayed, compaction, tail })
    }

    /// Says where whole records lie behind a damaged one. With `ack = written` a power cut leaves such a journal, and
    /// nothing that was to outlive it is lost; otherwise the disk, or somebody, has changed it.
    pub(super) fn report_damage(&self, id: TicketId, loaded: &Loaded) {
        if let Some(whole_from) = loaded.tail.hidden_record {
            let damaged_at = loaded.replayed.valid_bytes;
            tracing::error!(upload = %id.short(), damaged_at, whole_from, "journal record damaged; intact records follow it");
        }
    }

    /// Lets uploads leave memory that nobody has asked for lately. Tells which would leave if their
    /// bytes were durable, ordered by id.
    pub(super) fn evict_idle(&self) -> Vec<Arc<UploadHandle>> {
        let now = self.uptime();
        let mut unsynced = Vec::new();
        let mut index = self.registry.lock();
        index.handles.retain(|_, handle| {
            // Whoever works on an upload holds a second reference; under this lock none is added.
            if Arc::strong_count(handle) > 1 {
                return true;
            }
            let state = handle.lock();
            let busy = !state.queue.is_idle() || state.claims.count() > 0 || state.fault.is_some();
            if busy || state.upload.awaits_publish() || now.since(state.touched) < IDLE_IN_MEMORY {
                return true;
            }
            if state.unsynced_bytes > 0 {
                unsynced.push(Arc::clone(handle));
                return true;
            }
            false
        });
        drop(index);
        unsynced.sort_by_key(|handle| handle.id);
        unsynced
    }
}

/// An upload stays in memory this long after it was last asked for: longer than the pause between
/// two chunks of a slow client, so that it is not read again for each.
const IDLE_IN_MEMORY: Duration = Duration::from_secs(60);
