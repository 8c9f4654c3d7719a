//! All uploads of one server in order of their ids, in memory or not, each with the state it was last seen in: a page of
//! the list costs reading its own journals and no others.
//!
//! Filled from a listing of the journals, by the startup scan or by an earlier request for the list, and kept
//! up to date by what creates, changes and forgets uploads. An entry takes about 30 bytes.

use crate::core::id::TicketId;
use crate::core::state::StateName;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard};

/// The uploads that there are.
#[derive(Debug, Default)]
pub struct Catalog(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// No state: not read yet, or not readable.
    states: BTreeMap<TicketId, Option<StateName>>,
    /// Whether all journals have been listed.
    is_complete: bool,
}

impl Catalog {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// This upload is in this state.
    pub fn set(&self, id: TicketId, state: StateName) {
        self.lock().states.insert(id, Some(state));
    }

    /// This upload was read in this state. Whoever changes it knows better.
    pub fn see(&self, id: TicketId, state: StateName) {
        self.lock().states.entry(id).or_default().get_or_insert(state);
    }

    /// There is no such upload any more.
    pub fn remove(&self, id: TicketId) {
        self.lock().states.remove(&id);
    }

    /// These are all journals that there were when they were listed. One that is gone since is removed by who
    /// finds it missing.
    pub fn add_listed(&self, ids: &[TicketId]) {
        let mut entries = self.lock();
        for id in ids {
            entries.states.entry(*id).or_default();
        }
        entries.is_complete = true;
    }

    /// Whether all journals have been listed.
    pub fn is_complete(&self) -> bool {
        self.lock().is_complete
    }

    /// At most `limit` uploads behind `after`, in order, that are in `state` or whose state is not known; all states
    /// where it is `None`.
    pub fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Vec<TicketId> {
        let entries = self.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let wanted = |held: Option<StateName>| state.is_none() || held.is_none() || held == state;
        let behind = entries.states.range((from, Bound::Unbounded));
        behind.filter(|(_, held)| wanted(**held)).map(|(id, _)| *id).take(limit).collect()
    }

    /// All uploads that are in one of `states` or whose state is not known, in order.
    pub fn in_any(&self, states: &[StateName]) -> Vec<TicketId> {
        let entries = self.lock();
        let wanted = |held: Option<StateName>| held.is_none_or(|held| states.contains(&held));
        entries.states.iter().filter(|(_, held)| wanted(**held)).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> TicketId {
        TicketId::from_random([number; 16])
    }

    #[test]
    fn pages_follow_each_other_in_order() {
        let catalog = Catalog::default();
        catalog.set(id(5), StateName::New);
        assert!(!catalog.is_complete());
        catalog.add_listed(&[id(9), id(1), id(5), id(3)]);
        assert!(catalog.is_complete());
        assert_eq!(catalog.page(None, None, 2), [id(1), id(3)]);
        assert_eq!(catalog.page(None, Some(id(3)), 9), [id(5), id(9)]);
        catalog.set(id(3), StateName::Failed);
        catalog.set(id(9), StateName::New);
        // What is not known may be in any state.
        assert_eq!(catalog.page(Some(StateName::New), None, 9), [id(1), id(5), id(9)]);
        assert_eq!(catalog.page(Some(StateName::Failed), Some(id(1)), 9), [id(3)]);
        let open = [StateName::Uploading, StateName::New];
        assert_eq!(catalog.in_any(&open), [id(1), id(5), id(9)]);
        // One that is not there any more is a place in the order as well.
        catalog.remove(id(3));
        assert_eq!(catalog.page(None, Some(id(3)), 1), [id(5)]);
        catalog.set(id(5), StateName::Finished);
        assert_eq!(catalog.page(Some(StateName::New), Some(id(1)), 9), [id(9)]);
    }
}
