//! Which uploads are in memory. They come to life by replaying their journal when somebody asks,
//! and leave again when idle; nothing is lost by that.

use super::Engine;
use super::error::{Fault, LookupError};
use super::lane::Task;
use super::live::{Live, LogPlace};
use crate::core::id::TicketId;
use crate::core::upload::{Phase, Upload};
use crate::journal::replay::{Replayed, Unreadable, replay};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The uploads in memory.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<TicketId, Arc<Live>>>);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<TicketId, Arc<Live>>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    pub(super) fn held(&self, id: TicketId) -> Option<Arc<Live>> {
        self.lock().get(&id).cloned()
    }

    pub(super) fn remove(&self, id: TicketId) {
        self.lock().remove(&id);
    }
}

impl Engine {
    /// The upload of `id`, brought to life if need be. Blocks for one small read at most when it
    /// was not in memory, so that runs on a blocking thread. Dropping the future changes nothing.
    pub(super) async fn find(self: &Arc<Self>, id: TicketId) -> Result<Arc<Live>, LookupError> {
        if let Some(live) = self.registry.held(id) {
            return Ok(live);
        }
        let engine = Arc::clone(self);
        let loaded = tokio::task::spawn_blocking(move || engine.load(id)).await;
        let replayed = loaded
            .map_err(|error| LookupError::Fault(Fault::new("reading the journal", &error)))??;
        Ok(self.adopt(id, replayed))
    }

    /// Takes a replayed upload into memory, unless another has been faster.
    pub(super) fn adopt(self: &Arc<Self>, id: TicketId, replayed: Replayed) -> Arc<Live> {
        let note_run = replayed.run != Some(self.store.run()) || replayed.faulted;
        let log = LogPlace::Closed { valid_bytes: replayed.valid_bytes, note_run };
        let publish = replayed.upload.awaits_publish();
        let live = {
            let mut registry = self.registry.lock();
            let now = self.clock.now();
            let entry = registry.entry(id);
            Arc::clone(entry.or_insert_with(|| {
                self.first_sight(id, &replayed.upload);
                Live::new(id, replayed.upload, log, now)
            }))
        };
        if publish {
            // Completed just before a crash. Whoever asks sees it handed over in a moment.
            drop(self.submit(&live, Task::Publish));
        }
        live
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
        let replayed = match replay(&bytes, id, self.store.run()) {
            Ok(replayed) => replayed,
            Err(Unreadable::Unborn) => {
                let part =
                    self.store.open(id).map_err(|error| fault("opening the part", &error))?;
                let placed =
                    self.store.published(id).map_err(|error| fault("opening the file", &error))?;
                return Err(if part.is_none() && placed.is_none() {
                    LookupError::Unknown
                } else {
                    fault("journal", &Unreadable::Unborn)
                });
            }
            Err(error) => return Err(fault("journal", &error)),
        };
        self.check_bytes(id, &replayed.upload)?;
        Ok(replayed)
    }

    /// What the journal claims must be there.
    fn check_bytes(&self, id: TicketId, upload: &Upload) -> Result<(), LookupError> {
        if !matches!(upload.phase(), Phase::New | Phase::Uploading) || upload.received().is_empty()
        {
            return Ok(());
        }
        let fault =
            |error: &dyn std::fmt::Display| LookupError::Fault(Fault::new("stored bytes", error));
        if let Some(part) = self.store.open(id).map_err(|error| fault(&error))? {
            let (held, claimed) =
                (part.length().map_err(|error| fault(&error))?, upload.received().end());
            return if held >= claimed {
                Ok(())
            } else {
                Err(fault(&format_args!("the part has {held} bytes, the journal claims {claimed}")))
            };
        }
        let placed = upload.awaits_publish()
            && self.store.published(id).map_err(|error| fault(&error))? == upload.length();
        if placed { Ok(()) } else { Err(fault(&"the part is missing")) }
    }

    /// Lets uploads leave memory that nobody has asked for lately.
    pub(super) fn evict_idle(&self) {
        let now = self.clock.now();
        self.registry.lock().retain(|_, live| {
            // Whoever works on an upload holds a second reference; under this lock none is added.
            if Arc::strong_count(live) > 1 {
                return true;
            }
            let state = live.lock();
            let busy = !state.lane.is_idle() || state.claims.count() > 0 || state.fault.is_some();
            busy || state.upload.awaits_publish() || now.since(state.touched) < IDLE_IN_MEMORY
        });
    }
}

/// An upload stays in memory this long after it was last asked for: longer than the pause between
/// two chunks of a slow client, so that it is not read again for each.
const IDLE_IN_MEMORY: Duration = Duration::from_secs(60);
