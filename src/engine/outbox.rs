//! The calls owed to backends: which upload, and when. The only thing the handover floor sees.

use super::Engine;
use super::context::RequestContext;
use super::error::LookupError;
use super::owed::Owed;
use super::timers::{Due, Timers};
use crate::core::destination::Destination;
use crate::core::handover::{Calls, LastCall};
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use crate::core::upload::Upload;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Uploads that owe their backend a call, one call at a time for each.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Timers,
    /// All that owe one, and since when.
    owed: Owed,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Marks {
    /// Taken out to be called; nothing is set for these until the call is over.
    calling: HashSet<TicketId>,
    /// Of those that wait: their backend said `wait`, and they do so for the time that the settings give it.
    confirming: HashSet<TicketId>,
}

/// What a moment in the queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// That of a call, or of the next one after some without an answer.
    Call,
    /// The end of the time that a backend which said `wait` has.
    Confirm,
}

impl Turn {
    pub(super) fn of(calls: &Calls) -> Self {
        match calls.last {
            LastCall::Waiting { .. } => Self::Confirm,
            LastCall::None | LastCall::Begun | LastCall::Unanswered { .. } => Self::Call,
        }
    }
}

impl Outbox {
    /// Uploads that wait for a call, and when the earliest is due.
    pub fn summary(&self) -> (usize, Option<Uptime>) {
        self.waiting.summary()
    }

    /// Uploads that owe a call, those being called among them, and since when the oldest does.
    pub fn owed(&self) -> (usize, Option<Uptime>) {
        self.owed.summary()
    }

    /// What brought a call about that is owed, where this process has seen it.
    pub(super) fn context(&self, id: TicketId) -> Option<RequestContext> {
        self.owed.context(id)
    }

    /// A call to the backend at `url` is owed since then, whenever it is due.
    pub(super) fn owes(
        &self,
        id: TicketId,
        since: Uptime,
        url: &str,
        context: Option<&RequestContext>,
    ) {
        self.owed.set(id, since, url, context);
    }

    /// A call is due when `at` says, or, where one is under way, decided on when that is over. Settings that `at` reads
    /// are not replaced between that and the queue.
    pub(super) fn set(&self, id: TicketId, turn: Turn, at: impl FnOnce() -> Uptime) {
        let mut marks = self.marks();
        if marks.calling.contains(&id) {
            return;
        }
        match turn {
            Turn::Call => marks.confirming.remove(&id),
            Turn::Confirm => marks.confirming.insert(id),
        };
        self.waiting.set(id, at());
    }

    /// Backends that said `wait` have another time from now on, those that have said it already too. `put` puts it in
    /// force: each moment in the queue was set before that and is moved, or after it and by the new time.
    pub(super) fn retune(&self, before: Duration, now: Duration, put: impl FnOnce()) {
        let marks = self.marks();
        put();
        if before != now {
            self.waiting.shift(&marks.confirming, before, now);
        }
    }

    /// Takes out what is due at `now`, so that nobody else takes it until the call is over.
    fn take(&self, now: Uptime) -> Due {
        let mut marks = self.marks();
        let due = self.waiting.due(now);
        if let Due::Now(id) = due {
            marks.confirming.remove(&id);
            marks.calling.insert(id);
        }
        due
    }

    /// No call is owed any more.
    pub(super) fn clear(&self, id: TicketId) {
        self.owed.clear(id);
        self.marks().confirming.remove(&id);
        self.waiting.clear(id);
    }

    /// The call is over; what is set from now on counts.
    pub(super) fn over(&self, id: TicketId) {
        self.marks().calling.remove(&id);
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().expect("no holder of this lock panics")
    }
}

impl Engine {
    /// Waits for the next upload that is due to call its backend. It has left the queue then, and
    /// nothing more is due for it until [`Engine::call_over`]. Dropping the future loses nothing.
    pub async fn next_owed(self: &Arc<Self>) -> TicketId {
        next(&self.outbox.waiting, self, |now| self.outbox.take(now)).await
    }

    /// Where the call goes that an upload owes; one place for all that owe none any more.
    pub fn destination(&self, id: TicketId) -> Destination {
        self.outbox.owed.destination(id).unwrap_or_else(|| Destination::of(""))
    }

    /// The call of an upload is over, or was not needed: sets the next one if one is owed. What cannot be read
    /// now stays owed, and what is not there any more owes nothing.
    pub async fn call_over(self: &Arc<Self>, id: TicketId) {
        self.outbox.over(id);
        match self.find(id).await {
            Ok(handle) => {
                // Under the lock: a change that comes meanwhile sets what it owes after this.
                let state = handle.lock();
                self.owe(id, &state.upload, None);
            }
            Err(LookupError::Unknown) => self.call_void(id),
            Err(LookupError::Busy) => self.put_back(id),
            Err(LookupError::Fault(fault)) => {
                tracing::warn!(upload = %id.short(), %fault, "could not read upload");
                self.put_back(id);
            }
        }
    }

    /// There is no such upload any more, so nothing is owed.
    pub fn call_void(&self, id: TicketId) {
        self.outbox.clear(id);
        self.outbox.over(id);
    }

    /// A call could not be begun or its end not be recorded: it stays owed, after a pause.
    pub fn put_back(&self, id: TicketId) {
        self.outbox.over(id);
        let pause = crate::core::handover::pause(PUT_BACK_PAUSE, self.clock.jitter());
        let at = self.uptime().after(pause);
        self.outbox.set(id, Turn::Call, || at);
    }

    /// Sets when the next call of an upload is due, or that none is.
    pub(super) fn owe(&self, id: TicketId, upload: &Upload, context: Option<&RequestContext>) {
        match upload.owed() {
            Some(calls) => {
                self.outbox.owes(id, calls.since, &upload.ticket().finish_url, context);
                let jitter = self.clock.jitter();
                let due = || calls.due(&self.options().calls, jitter);
                self.outbox.set(id, Turn::of(calls), due);
            }
            None => self.outbox.clear(id),
        }
    }
}

/// Waits for the next upload due in `timers`, taken out by `take`. Wakes at least every [`LONGEST_SLEEP`], since the
/// clock of sleeps stands still while the machine is suspended, and the count goes on.
pub(super) async fn next(
    timers: &Timers,
    engine: &Engine,
    take: impl Fn(Uptime) -> Due,
) -> TicketId {
    loop {
        let now = engine.uptime();
        let pause = match take(now) {
            Due::Now(id) => return id,
            Due::At(at) => at.since(now).min(LONGEST_SLEEP),
            Due::Never => LONGEST_SLEEP,
        };
        tokio::select! {
            biased;
            () = timers.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// A call that our own disk kept from being made waits as after this many unanswered ones: about a
/// minute.
const PUT_BACK_PAUSE: u32 = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_change_while_nobody_computes_a_moment() {
        let outbox = Outbox::default();
        let id = TicketId::from_random([1; 16]);
        let (mut computed, mut put) = (false, false);
        outbox.set(id, Turn::Confirm, || {
            computed = outbox.marks.try_lock().is_err();
            Uptime(5_000)
        });
        let (before, now) = (Duration::from_secs(4), Duration::from_secs(2));
        outbox.retune(before, now, || put = outbox.marks.try_lock().is_err());
        assert!(computed && put, "both under the one lock");
        assert_eq!(outbox.summary(), (1, Some(Uptime(3_000))));
    }
}
