//! What holds whatever happens, of what earlier processes may have left unsynced.

use crate::core::id::TicketId;
use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};

/// Which journals hold whatever happens.
#[derive(Default)]
pub(super) struct DurableJournals(Mutex<Index>);

#[derive(Default)]
struct Index {
    /// Their journals hold nothing that an earlier process may have left unsynced.
    journals: HashSet<TicketId>,
    /// Whether the names are durable that an earlier process gave, and that this one gave at a load.
    names: bool,
}

impl DurableJournals {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// The journal of `id` was born in this process, or made sure of.
    pub(super) fn add(&self, id: TicketId) {
        self.lock().journals.insert(id);
    }

    pub(super) fn remove(&self, id: TicketId) {
        self.lock().journals.remove(&id);
    }

    pub(super) fn has(&self, id: TicketId) -> bool {
        self.lock().journals.contains(&id)
    }

    /// The journal of `id` has a name that a power cut may give back to the one before: no load ends well before a sync of
    /// the names does.
    pub(super) fn unnamed(&self, id: TicketId) {
        let mut index = self.lock();
        index.journals.remove(&id);
        index.names = false;
    }

    /// Whether all names are durable.
    pub(super) fn has_names(&self) -> bool {
        self.lock().names
    }

    /// All names are durable now.
    pub(super) fn add_names(&self) {
        self.lock().names = true;
    }
}
