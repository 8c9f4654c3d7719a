//! What is due for the uploads of a log in memory.

use super::{Log, MemoryEventLog};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::storage::agenda::{Census, Taken, Work};
use crate::storage::event_log::{CallMarks, Marks};
use std::ops::Bound;
use std::time::Duration;

/// Each call has its effect at once, at `now_ms`.
impl MemoryEventLog {
    /// Takes what is due.
    pub fn take(
        &mut self,
        work: Work,
        limit: usize,
        holder: u64,
        (now_ms, time_ms): (u64, u64),
    ) -> Vec<Taken> {
        let due = |log: &Log| match work {
            Work::Look => Some(log.marks?.due),
            Work::Call => Some(log.marks?.call?.due),
        };
        let mut all: Vec<_> = self.logs.iter_mut().collect();
        all.retain(|(_, log)| {
            let hold = match work {
                Work::Look => log.hold,
                Work::Call => log.call_hold,
            };
            let is_held = hold.is_some_and(|(_, until)| until > now_ms);
            due(log).is_some_and(|due| due.0 <= now_ms) && !is_held
        });
        all.sort_by_key(|(_, log)| due(log));
        let mut taken = Vec::new();
        for (id, log) in all.into_iter().take(limit) {
            let hold = Some((holder, now_ms + time_ms));
            match work {
                Work::Look => log.hold = hold,
                Work::Call => log.call_hold = hold,
            }
            taken.extend(due(log).map(|due| Taken { id: *id, due }));
        }
        taken
    }

    /// An upload was looked at.
    pub fn looked(&mut self, taken: Taken, holder: u64, next: Uptime) {
        let Some(log) = self.logs.get_mut(&taken.id) else { return };
        if log.hold.is_some_and(|(by, _)| by == holder) {
            log.hold = None;
            if let Some(marks) = log.marks.as_mut().filter(|marks| marks.due == taken.due) {
                marks.due = next;
            }
        }
    }

    /// Takes or renews the leave to call a backend.
    pub fn hold_call(&mut self, id: TicketId, holder: u64, now_ms: u64, time_ms: u64) -> bool {
        let Some(log) = self.logs.get_mut(&id) else { return false };
        if log.call_hold.is_some_and(|(by, until)| by != holder && until > now_ms) {
            return false;
        }
        log.call_hold = Some((holder, now_ms + time_ms));
        true
    }

    /// Ends that leave.
    pub fn end_call(&mut self, id: TicketId, holder: u64, next: Option<CallMarks>) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        if log.call_hold.is_some_and(|(by, _)| by == holder) {
            log.call_hold = None;
            if let (Some(Marks { call: Some(call), .. }), Some(next)) = (&mut log.marks, next)
                && call.since == next.since
            {
                call.due = call.due.max(next.due);
            }
        }
    }

    /// Ends what a server holds.
    pub fn release(&mut self, holder: u64) {
        for log in self.logs.values_mut() {
            log.hold.take_if(|(by, _)| *by == holder);
            log.call_hold.take_if(|(by, _)| *by == holder);
        }
    }

    /// Where an upload stands by its marks.
    pub fn state(&self, id: TicketId) -> Option<StateName> {
        Some(self.logs.get(&id)?.marks?.state)
    }

    /// Uploads behind `after`.
    pub fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Vec<TicketId> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = self.logs.range((from, Bound::Unbounded)).filter(|(_, log)| {
            state.is_none_or(|state| log.marks.is_some_and(|marks| marks.state == state))
        });
        found.map(|(id, _)| *id).take(limit).collect()
    }

    /// What there is.
    pub fn census(&self) -> Census {
        let mut census = Census::default();
        for marks in self.logs.values().filter_map(|log| log.marks) {
            census.states[marks.state as usize] += 1;
            census.open += u64::from(marks.occupies);
            census.calls += u64::from(marks.call.is_some());
            let since = marks.call.map(|call| call.since);
            census.oldest_call = census.oldest_call.into_iter().chain(since).min();
        }
        census
    }

    /// All are looked at earlier.
    pub fn hurry(&mut self, by: Duration) {
        for marks in self.logs.values_mut().filter_map(|log| log.marks.as_mut()) {
            marks.due = marks.due.before(by);
        }
    }

    /// No call is due later after its begin.
    pub fn hurry_calls(&mut self, within: Duration) {
        let marks = self.logs.values_mut().filter_map(|log| log.marks.as_mut());
        for call in marks.filter_map(|marks| marks.call.as_mut()) {
            call.due = call.due.min(call.since.after(within));
        }
    }
}
