//! Since when each upload owes its backend a call, where that goes, and which request brought it about.

use super::context::RequestContext;
use crate::core::destination::Destination;
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard};

/// Uploads that owe a call, oldest first, those that are being called among them.
#[derive(Debug, Default)]
pub(super) struct Owed(Mutex<Index>);

#[derive(Debug, Default)]
struct Index {
    by_time: BTreeSet<(Uptime, TicketId)>,
    by_id: HashMap<TicketId, Entry>,
}

#[derive(Debug)]
struct Entry {
    since: Uptime,
    destination: Destination,
    context: Option<RequestContext>,
}

impl Owed {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// A call to the backend at `url` is owed since then. Without a context, the one that was known stays.
    pub(super) fn set(
        &self,
        id: TicketId,
        since: Uptime,
        url: &str,
        context: Option<&RequestContext>,
    ) {
        let mut index = self.lock();
        let before = index.by_id.remove(&id);
        if let Some(before) = &before {
            index.by_time.remove(&(before.since, id));
        }
        // An upload's URL stays what it is.
        let (destination, known) = match before {
            Some(Entry { destination, context, .. }) => (destination, context),
            None => (Destination::of(url), None),
        };
        index.by_time.insert((since, id));
        index.by_id.insert(id, Entry { since, destination, context: context.cloned().or(known) });
    }

    /// None is owed any more.
    pub(super) fn clear(&self, id: TicketId) {
        let mut index = self.lock();
        if let Some(entry) = index.by_id.remove(&id) {
            index.by_time.remove(&(entry.since, id));
        }
    }

    /// Where the call goes that is owed.
    pub(super) fn destination(&self, id: TicketId) -> Option<Destination> {
        self.lock().by_id.get(&id).map(|entry| entry.destination.clone())
    }

    /// What brought the call about, where this process has seen it.
    pub(super) fn context(&self, id: TicketId) -> Option<RequestContext> {
        self.lock().by_id.get(&id).and_then(|entry| entry.context.clone())
    }

    /// How many, and since when the oldest.
    pub(super) fn summary(&self) -> (usize, Option<Uptime>) {
        let index = self.lock();
        (index.by_id.len(), index.by_time.first().map(|(since, _)| *since))
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
        owed.set(a, Uptime(5), "http://a/", Some(&RequestContext::new("first".into(), None)));
        owed.set(b, Uptime(3), "http://b/", None);
        assert_eq!(owed.summary(), (2, Some(Uptime(3))));
        owed.set(a, Uptime(2), "http://a/", None);
        assert_eq!(owed.summary(), (2, Some(Uptime(2))));
        assert_eq!(owed.context(a).unwrap().request(), "first");
        assert!(owed.context(b).is_none());
        assert_eq!(owed.destination(a), Some(Destination::of("https://a:80/x")));
        owed.clear(a);
        owed.clear(a);
        assert_eq!(owed.summary(), (1, Some(Uptime(3))));
        assert!(owed.context(a).is_none());
    }
}
