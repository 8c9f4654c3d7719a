//! Since when each upload owes its backend a call, and which request brought that about.

use super::cause::Cause;
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

/// Uploads that owe a call, oldest first, those that are being called among them.
#[derive(Debug, Default)]
pub(super) struct Owed(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    by_time: BTreeSet<(Uptime, TicketId)>,
    by_id: HashMap<TicketId, (Uptime, Option<Cause>)>,
}

impl Owed {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// A call is owed since then. Without a cause, the one that was known stays.
    pub(super) fn set(&self, id: TicketId, since: Uptime, cause: Option<&Cause>) {
        let mut held = self.lock();
        let before = held.by_id.remove(&id);
        let mut known = None;
        if let Some((before, cause)) = before {
            held.by_time.remove(&(before, id));
            known = cause;
        }
        held.by_time.insert((since, id));
        held.by_id.insert(id, (since, cause.cloned().or(known)));
    }

    /// None is owed any more.
    pub(super) fn clear(&self, id: TicketId) {
        let mut held = self.lock();
        if let Some((since, _)) = held.by_id.remove(&id) {
            held.by_time.remove(&(since, id));
        }
    }

    /// What brought the call about, where this process has seen it.
    pub(super) fn cause(&self, id: TicketId) -> Option<Cause> {
        self.lock().by_id.get(&id).and_then(|(_, cause)| cause.clone())
    }

    /// How many, and since when the oldest.
    pub(super) fn summary(&self) -> (usize, Option<Uptime>) {
        let held = self.lock();
        (held.by_id.len(), held.by_time.first().map(|(since, _)| *since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_counts_and_the_cause_stays() {
        let (a, b) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let owed = Owed::default();
        assert_eq!(owed.summary(), (0, None));
        owed.set(a, Uptime(5), Some(&Cause::new("first".into(), None)));
        owed.set(b, Uptime(3), None);
        assert_eq!(owed.summary(), (2, Some(Uptime(3))));
        owed.set(a, Uptime(2), None);
        assert_eq!(owed.summary(), (2, Some(Uptime(2))));
        assert_eq!(owed.cause(a).unwrap().request(), "first");
        assert!(owed.cause(b).is_none());
        owed.clear(a);
        owed.clear(a);
        assert_eq!(owed.summary(), (1, Some(Uptime(3))));
        assert!(owed.cause(a).is_none());
    }
}
