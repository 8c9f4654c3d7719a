//! A queue of uploads by the moment at which something is due for them.

use crate::core::id::TicketId;
use crate::core::time::Uptime;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// At most one moment for each upload; earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    by_time: BTreeSet<(Uptime, TicketId)>,
    by_id: HashMap<TicketId, Uptime>,
}

/// What the queue says now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// This upload; it has left the queue.
    Now(TicketId),
    /// Nothing before this moment.
    At(Uptime),
    /// Nothing.
    Never,
}

impl Timers {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no holder of this lock panics")
    }

    /// Something is due for `id` at `at`, instead of any earlier or later moment set before.
    pub(super) fn set(&self, id: TicketId, at: Uptime) {
        let mut queue = self.lock();
        if let Some(before) = queue.by_id.insert(id, at) {
            queue.by_time.remove(&(before, id));
        }
        queue.by_time.insert((at, id));
        drop(queue);
        self.changed.notify_one();
    }

    /// As [`Timers::set`], unless something is due for `id` already; tells whether it was set.
    pub(super) fn set_first(&self, id: TicketId, at: Uptime) -> bool {
        let mut queue = self.lock();
        if queue.by_id.contains_key(&id) {
            return false;
        }
        queue.by_id.insert(id, at);
        queue.by_time.insert((at, id));
        drop(queue);
        self.changed.notify_one();
        true
    }

    /// Everything is due earlier by this much.
    pub(super) fn hurry(&self, by: Duration) {
        if by.is_zero() {
            return;
        }
        let mut queue = self.lock();
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        for at in queue.by_id.values_mut() {
            *at = Uptime(at.0.saturating_sub(by));
        }
        queue.by_time = queue.by_id.iter().map(|(id, at)| (*at, *id)).collect();
        drop(queue);
        self.changed.notify_one();
    }

    /// What is due for these is due as much earlier or later as `now` is shorter or longer than `before`.
    pub(super) fn shift(&self, ids: &HashSet<TicketId>, before: Duration, now: Duration) {
        let mut queue = self.lock();
        for id in ids {
            let Some(old) = queue.by_id.get(id).copied() else { continue };
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            let at = Uptime(old.0.saturating_add(ms(now)).saturating_sub(ms(before)));
            queue.by_id.insert(*id, at);
            queue.by_time.remove(&(old, *id));
            queue.by_time.insert((at, *id));
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// When something is due for `id`.
    pub(super) fn at(&self, id: TicketId) -> Option<Uptime> {
        self.lock().by_id.get(&id).copied()
    }

    /// Whether something is due for `id` at any time.
    pub(super) fn holds(&self, id: TicketId) -> bool {
        self.at(id).is_some()
    }

    /// Nothing is due for `id` any more.
    pub(super) fn clear(&self, id: TicketId) {
        let mut queue = self.lock();
        if let Some(before) = queue.by_id.remove(&id) {
            queue.by_time.remove(&(before, id));
        }
    }

    /// What is due at `now`.
    pub(super) fn due(&self, now: Uptime) -> Due {
        let mut queue = self.lock();
        match queue.by_time.first().copied() {
            Some((at, id)) if at <= now => {
                queue.by_time.remove(&(at, id));
                queue.by_id.remove(&id);
                Due::Now(id)
            }
            Some((at, _)) => Due::At(at),
            None => Due::Never,
        }
    }

    /// Waits for the next upload that something is due for, taken out by `take`. Wakes at least every
    /// `LONGEST_SLEEP`, since the clock of sleeps stands still while the machine is suspended, and `uptime` goes on.
    /// Dropping the future takes none.
    pub(super) async fn next(
        &self,
        uptime: impl Fn() -> Uptime,
        take: impl Fn(Uptime) -> Due,
    ) -> TicketId {
        loop {
            let now = uptime();
            let pause = match take(now) {
                Due::Now(id) => return id,
                Due::At(at) => at.since(now).min(LONGEST_SLEEP),
                Due::Never => LONGEST_SLEEP,
            };
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Uploads in the queue, and the earliest moment.
    pub(super) fn summary(&self) -> (usize, Option<Uptime>) {
        let queue = self.lock();
        (queue.by_id.len(), queue.by_time.first().map(|(at, _)| *at))
    }
}

const LONGEST_SLEEP: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_for_each_upload_earliest_first() {
        let (a, b) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let timers = Timers::default();
        assert_eq!(timers.due(Uptime(9)), Due::Never);
        timers.set(a, Uptime(5));
        timers.set(b, Uptime(3));
        timers.set(a, Uptime(2));
        assert_eq!(timers.due(Uptime(1)), Due::At(Uptime(2)));
        assert_eq!(timers.due(Uptime(9)), Due::Now(a));
        assert_eq!(timers.summary(), (1, Some(Uptime(3))));
        assert!(!timers.set_first(b, Uptime(1)));
        timers.clear(b);
        assert!(timers.set_first(b, Uptime(1)));
        timers.clear(b);
        assert_eq!(timers.due(Uptime(9)), Due::Never);
    }

    #[test]
    fn hurried_ones_come_earlier() {
        let (a, b) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let timers = Timers::default();
        timers.set(a, Uptime(5));
        timers.set(b, Uptime(300));
        timers.hurry(Duration::from_millis(100));
        assert_eq!(timers.due(Uptime(0)), Due::Now(a));
        assert_eq!(timers.due(Uptime(199)), Due::At(Uptime(200)));
        timers.set(b, Uptime(7));
        assert_eq!(timers.summary(), (1, Some(Uptime(7))));
    }
}
