//! Which uploads are in memory. They come to life by replaying their journal when somebody asks,
//! and leave again when idle; nothing is lost by that.

use super::Engine;
use super::error::{Fault, LookupError};
use super::held::{self, Beside};
use super::lane::Task;
use super::live::{Live, LogPlace};
use crate::core::id::TicketId;
use crate::journal::record::{MAGIC, Record, encode};
use crate::journal::replay::{Replayed, Unreadable, replay};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The uploads in memory.
#[derive(Default)]
pub(super) struct Registry(Mutex<Held>);

#[derive(Default)]
struct Held {
    lives: HashMap<TicketId, Arc<Live>>,
    /// How many have left. What was read from a journal may be old if one has left since.
    departures: u64,
    /// Whose journals hold nothing that an earlier process may have left unsynced.
    settled: HashSet<TicketId>,
}

/// The moment at which a journal is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(u64);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().expect("no holder of this lock panics")
    }

    pub(super) fn held(&self, id: TicketId) -> Option<Arc<Live>> {
        self.lock().lives.get(&id).cloned()
    }

    /// All of them, ordered by id.
    pub(super) fn all(&self) -> Vec<Arc<Live>> {
        let mut all: Vec<_> = self.lock().lives.values().cloned().collect();
        all.sort_by_key(|live| live.id);
        all
    }

    pub(super) fn moment(&self) -> Moment {
        Moment(self.lock().departures)
    }

    pub(super) fn remove(&self, id: TicketId) {
        let mut held = self.lock();
        held.lives.remove(&id);
        held.settled.remove(&id);
        held.departures += 1;
    }

    /// The journal of `id` was born in this process, or made sure of.
    pub(super) fn settled(&self, id: TicketId) {
        self.lock().settled.insert(id);
    }

    fn is_settled(&self, id: TicketId) -> bool {
        self.lock().settled.contains(&id)
    }
}

impl Engine {
    /// The upload of `id`, brought to life if need be. Blocks for one small read at most when it
    /// was not in memory, so that runs on a blocking thread. Dropping the future changes nothing.
    pub(super) async fn find(self: &Arc<Self>, id: TicketId) -> Result<Arc<Live>, LookupError> {
        loop {
            if let Some(live) = self.registry.held(id) {
                return Ok(live);
            }
            let moment = self.registry.moment();
            let engine = Arc::clone(self);
            let loaded = self.blocking.spawn(move || engine.load_settled(id)).await;
            let replayed = loaded
                .map_err(|error| LookupError::Fault(Fault::new("reading the journal", &error)))??;
            if let Some(live) = self.adopt(id, replayed, moment) {
                return Ok(live);
            }
        }
    }

    /// Takes an upload into memory whose journal was read at `moment`, unless another has been
    /// faster. `None`: what was read may be old by now; it has to be read again.
    pub(super) fn adopt(
        self: &Arc<Self>,
        id: TicketId,
        replayed: Replayed,
        moment: Moment,
    ) -> Option<Arc<Live>> {
        let note_run = replayed.run != Some(self.store.run()) || replayed.faulted;
        let log = LogPlace::Closed { valid_bytes: replayed.valid_bytes, note_run };
        let publish = replayed.upload.awaits_publish();
        let live = {
            let mut registry = self.registry.lock();
            let now = self.uptime();
            if let Some(live) = registry.lives.get(&id) {
                return Some(Arc::clone(live));
            }
            if moment != Moment(registry.departures) {
                return None;
            }
            self.first_sight(id, &replayed.upload);
            let live = Live::new(id, replayed.upload, log, now);
            live.lock().unsynced_bytes = replayed.unsynced_bytes;
            registry.lives.insert(id, Arc::clone(&live));
            live
        };
        if publish {
            // Completed just before a crash. Whoever asks sees it handed over in a moment.
            drop(self.submit(&live, Task::Publish));
        }
        Some(live)
    }

    /// As [`Engine::load`], and what it says may be told: it holds whatever happens.
    pub(super) fn load_settled(&self, id: TicketId) -> Result<Replayed, LookupError> {
        let mut replayed = self.load(id)?;
        self.settle_journal(id, &mut replayed)?;
        Ok(replayed)
    }

    /// Makes durable what an earlier process has recorded. It may have died before the sync, or
    /// with one that failed: then the records are read, and the next power cut takes them. So they
    /// are written again, which no earlier failure can make void, and synced. Once for each
    /// upload and process; blocks.
    ///
    /// Where records have no count it is also noted from when they count; older programs leave the journal alone then.
    pub(super) fn settle_journal(
        &self,
        id: TicketId,
        replayed: &mut Replayed,
    ) -> Result<(), LookupError> {
        if self.registry.is_settled(id) {
            return Ok(());
        }
        let mut settle = || {
            let Some(mut held) = self.journals.read(id)? else { return Ok(()) };
            held.truncate(usize::try_from(replayed.valid_bytes).unwrap_or(usize::MAX));
            if let Some(from) = replayed.uncounted {
                held[..MAGIC.len()].copy_from_slice(MAGIC);
                encode(&Record::Counted { from }, &mut held);
            }
            let mut file = self.journals.open(id)?;
            match file.write_at(&held, 0) {
                // A full disk keeps what it has.
                Err(error) if crate::store::is_full(&error) => {}
                written => {
                    written?;
                    replayed.valid_bytes = held.len() as u64;
                }
            }
            self.stats.disk_syncs.during(|| file.sync(), |_| true)
        };
        let settled: std::io::Result<()> = settle();
        settled.map_err(|error| LookupError::Fault(Fault::new("syncing the journal", &error)))?;
        self.registry.settled(id);
        Ok(())
    }

    /// Reads and replays the journal of `id`. Blocks.
    ///
    /// Errors: a journal that cannot be read, or bytes that it claims and the store does not hold,
    /// are a fault; nothing is removed then.
    pub(super) fn load(&self, id: TicketId) -> Result<Replayed, LookupError> {
        let fault =
            |what: &str, error: &dyn std::fmt::Display| LookupError::Fault(Fault::new(what, error));
        let bytes = self.journals.read(id).map_err(|error| fault("reading the journal", &error))?;
        let Some(bytes) = bytes else { return Err(LookupError::Unknown) };
        let replayed = match replay(&bytes, id, self.store.run(), self.uptime()) {
            Ok(replayed) => replayed,
            Err(Unreadable::Unborn) => {
                let part =
                    self.store.open(id).map_err(|error| fault("opening the part", &error))?;
                let placed =
                    self.store.published(id).map_err(|error| fault("opening the file", &error))?;
                let beside = Beside { part: part.is_some(), published: placed.is_some() };
                return Err(if held::is_forgotten(&bytes, beside, self.options().ack) {
                    LookupError::Unknown
                } else {
                    fault("journal", &Unreadable::Unborn)
                });
            }
            Err(error) => return Err(fault("journal", &error)),
        };
        held::check(&*self.store, id, &replayed.upload)
            .map_err(|lack| fault("stored bytes", &lack))?;
        Ok(replayed)
    }

    /// Lets uploads leave memory that nobody has asked for lately. Tells which would leave if their
    /// bytes were durable, ordered by id.
    pub(super) fn evict_idle(&self) -> Vec<Arc<Live>> {
        let now = self.uptime();
        let mut unsynced = Vec::new();
        let mut held = self.registry.lock();
        let before = held.lives.len();
        held.lives.retain(|_, live| {
            // Whoever works on an upload holds a second reference; under this lock none is added.
            if Arc::strong_count(live) > 1 {
                return true;
            }
            let state = live.lock();
            let busy = !state.lane.is_idle() || state.claims.count() > 0 || state.fault.is_some();
            if busy || state.upload.awaits_publish() || now.since(state.touched) < IDLE_IN_MEMORY {
                return true;
            }
            if state.unsynced_bytes > 0 {
                unsynced.push(Arc::clone(live));
                return true;
            }
            false
        });
        held.departures += (before - held.lives.len()) as u64;
        drop(held);
        unsynced.sort_by_key(|live| live.id);
        unsynced
    }
}

/// An upload stays in memory this long after it was last asked for: longer than the pause between
/// two chunks of a slow client, so that it is not read again for each.
const IDLE_IN_MEMORY: Duration = Duration::from_secs(60);
