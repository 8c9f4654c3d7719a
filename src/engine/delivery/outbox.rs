//! The outbox: which uploads have a delivery pending, since when, where it goes, and when it is due. In memory only;
//! after a restart it is made again from what the journals say.

use crate::core::host::Destination;
use crate::core::id::TicketId;
use crate::core::retry::{Calls, LastCall};
use crate::core::time::Uptime;
use crate::core::upload::{Phase, Upload};
use crate::engine::context::RequestContext;
use crate::engine::timers::{Due, Timers};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Uploads that have a delivery pending, one at a time for each.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Those that wait, by when they are due.
    timers: Timers,
    /// All of them, also those that are being made.
    pending: Mutex<Pending>,
    marks: Mutex<Marks>,
}

#[derive(Debug, Default)]
struct Pending {
    by_time: BTreeSet<(Uptime, TicketId)>,
    by_id: HashMap<TicketId, Entry>,
}

#[derive(Debug)]
struct Entry {
    since: Uptime,
    /// Of the file.
    name: Option<Box<str>>,
    destination: Destination,
    kind: CallKind,
    attempts: u32,
    /// What came of the last call, where it had no valid answer; the beginning of it.
    reason: Option<Box<str>>,
    context: Option<RequestContext>,
}

/// A pending delivery, to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingCall {
    /// The upload.
    pub id: TicketId,
    /// The file's harmless name.
    pub name: Option<Box<str>>,
    /// What the backend is called for.
    pub kind: CallKind,
    /// Where it goes.
    pub destination: Destination,
    /// Calls begun so far.
    pub attempts: u32,
    /// For how long it has been pending.
    pub pending: Duration,
    /// Time until the next call; `None` while one runs or waits for a slot.
    pub next: Option<Duration>,
    /// Why the last call did not end it.
    pub reason: Option<Box<str>>,
}

#[derive(Debug, Default)]
struct Marks {
    /// Taken out to be made; nothing is set for these until that is over.
    calling: HashSet<TicketId>,
    /// Of those that wait: their backend said `wait`, and they do so for the time that the settings give it.
    confirming: HashSet<TicketId>,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// The file is there: `done` or `wait`.
    Handover,
    /// The upload was cancelled: any sign that the backend knows.
    CancelNotice,
}

impl CallKind {
    /// What the pending call of this upload is for.
    pub(in crate::engine) fn of(upload: &Upload) -> Self {
        match upload.phase() {
            Phase::Cancelled { .. } => Self::CancelNotice,
            Phase::New
            | Phase::Uploading
            | Phase::HandingOver(_)
            | Phase::Finished { .. }
            | Phase::Failed { .. } => Self::Handover,
        }
    }
}

/// What a delivery waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Wait {
    /// A call, the first one or the next one after some without an answer.
    Call,
    /// The end of the time that a backend which said `wait` has.
    Confirm,
}

impl Wait {
    pub(in crate::engine) fn of(calls: &Calls) -> Self {
        match calls.last {
            LastCall::Waiting { .. } => Self::Confirm,
            LastCall::None | LastCall::Begun | LastCall::Unanswered { .. } => Self::Call,
        }
    }
}

impl Entry {
    fn shown(&self, id: TicketId, now: Uptime) -> PendingCall {
        PendingCall {
            id,
            name: self.name.clone(),
            kind: self.kind,
            destination: self.destination.clone(),
            attempts: self.attempts,
            pending: now.since(self.since),
            next: None,
            reason: self.reason.clone(),
        }
    }
}

/// The beginning of the reason why the last call did not end a delivery, if there is one.
fn reason(last: &LastCall) -> Option<Box<str>> {
    last.reason().map(|reason| reason.chars().take(REASON_CHARS).collect::<String>().into())
}

/// Of a reason, as much is kept in memory.
const REASON_CHARS: usize = 200;

impl Outbox {
    /// Deliveries that wait, and when the earliest is due.
    pub fn waiting(&self) -> (usize, Option<Uptime>) {
        self.timers.summary()
    }

    /// Deliveries pending, those being made among them, and since when the oldest is.
    pub fn pending(&self) -> (usize, Option<Uptime>) {
        let pending = self.lock();
        (pending.by_id.len(), pending.by_time.first().map(|(since, _)| *since))
    }

    /// A delivery to the backend of `upload` is pending, whenever it is due. Without a context, the one that was known
    /// stays.
    pub(in crate::engine) fn add(
        &self,
        upload: &Upload,
        calls: &Calls,
        context: Option<&RequestContext>,
    ) {
        let (id, kind) = (upload.ticket().id, CallKind::of(upload));
        let name = upload.name().map(Box::from);
        let mut pending = self.lock();
        let before = pending.by_id.remove(&id);
        if let Some(before) = &before {
            pending.by_time.remove(&(before.since, id));
        }
        // An upload's URL stays what it is.
        let (destination, known) = match before {
            Some(Entry { destination, context, .. }) => (destination, context),
            None => (upload.ticket().finish_url.destination(), None),
        };
        let since = calls.since;
        pending.by_time.insert((since, id));
        let context = context.cloned().or(known);
        let (attempts, reason) = (calls.begun, reason(&calls.last));
        let entry = Entry { since, name, destination, kind, attempts, reason, context };
        pending.by_id.insert(id, entry);
    }

    /// Those that have been pending for longest, at most `limit`, at `now`.
    pub(in crate::engine) fn oldest(&self, limit: usize, now: Uptime) -> Vec<PendingCall> {
        let mut oldest: Vec<_> = {
            let pending = self.lock();
            let ids = pending.by_time.iter().take(limit).map(|(_, id)| *id);
            let entry = |id| Some(pending.by_id.get(&id)?.shown(id, now));
            ids.filter_map(entry).collect()
        };
        for call in &mut oldest {
            call.next = self.timers.at(call.id).map(|at| at.since(now));
        }
        oldest
    }

    /// Where a pending delivery goes.
    pub(in crate::engine) fn destination(&self, id: TicketId) -> Option<Destination> {
        self.lock().by_id.get(&id).map(|entry| entry.destination.clone())
    }

    /// Since when a pending delivery is.
    pub(in crate::engine) fn since(&self, id: TicketId) -> Option<Uptime> {
        self.lock().by_id.get(&id).map(|entry| entry.since)
    }

    /// What brought a pending delivery about, where this process has seen it.
    pub(in crate::engine) fn context(&self, id: TicketId) -> Option<RequestContext> {
        self.lock().by_id.get(&id).and_then(|entry| entry.context.clone())
    }

    /// A delivery is due when `at` says, or, where one is being made, decided on when that is over. Settings that
    /// `at` reads are not replaced between that and the queue.
    pub(in crate::engine) fn set(&self, id: TicketId, wait: Wait, at: impl FnOnce() -> Uptime) {
        let mut marks = self.marks();
        if marks.calling.contains(&id) {
            return;
        }
        match wait {
            Wait::Call => marks.confirming.remove(&id),
            Wait::Confirm => marks.confirming.insert(id),
        };
        self.timers.set(id, at());
    }

    /// Backends that said `wait` have another time from now on, those that have said it already too. `put` puts it in
    /// force: each moment in the queue was set before that and is moved, or after it and by the new time.
    pub(in crate::engine) fn set_confirm_timeout(
        &self,
        before: Duration,
        now: Duration,
        put: impl FnOnce(),
    ) {
        let marks = self.marks();
        put();
        if before != now {
            self.timers.shift(&marks.confirming, before, now);
        }
    }

    /// Waits for the next delivery that is due, and takes it out, so that nobody else takes it until [`Outbox::over`].
    /// Dropping the future takes none.
    pub(in crate::engine) async fn next(&self, uptime: impl Fn() -> Uptime) -> TicketId {
        self.timers.next(uptime, |now| self.take(now)).await
    }

    fn take(&self, now: Uptime) -> Due {
        let mut marks = self.marks();
        let due = self.timers.due(now);
        if let Due::Now(id) = due {
            marks.confirming.remove(&id);
            marks.calling.insert(id);
        }
        due
    }

    /// No delivery is pending any more.
    pub(in crate::engine) fn clear(&self, id: TicketId) {
        {
            let mut pending = self.lock();
            if let Some(entry) = pending.by_id.remove(&id) {
                pending.by_time.remove(&(entry.since, id));
            }
        }
        self.marks().confirming.remove(&id);
        self.timers.clear(id);
    }

    /// The call is over; what is set from now on counts.
    pub(in crate::engine) fn over(&self, id: TicketId) {
        self.marks().calling.remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().expect("no holder of this lock panics")
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dialect::Client;
    use crate::core::event::{Event, Notice, Ticket};
    use crate::core::time::{Stamp, Timestamp};

    #[test]
    fn settings_change_while_nobody_computes_a_moment() {
        let outbox = Outbox::default();
        let id = TicketId::from_random([1; 16]);
        let (mut computed, mut put) = (false, false);
        outbox.set(id, Wait::Confirm, || {
            computed = outbox.marks.try_lock().is_err();
            Uptime(5_000)
        });
        let (before, now) = (Duration::from_secs(4), Duration::from_secs(2));
        outbox.set_confirm_timeout(before, now, || put = outbox.marks.try_lock().is_err());
        assert!(computed && put, "both under the one lock");
        assert_eq!(outbox.waiting(), (1, Some(Uptime(3_000))));
    }

    const AT: Stamp = Stamp { date: Timestamp(1), uptime: Uptime(1) };

    fn upload(id: TicketId, url: &str) -> Upload {
        Upload::new(Ticket::new(id, AT, url.into()))
    }

    #[test]
    fn the_oldest_counts_and_the_cause_stays() {
        let (a, b) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let (first, mut second) = (upload(a, "http://a/"), upload(b, "http://b/"));
        let name = Some("letter.pdf".to_owned());
        second.apply(&Event::Bound {
            at: AT,
            length: None,
            name,
            media_type: None,
            last_modified: None,
            client_metadata: None,
        });
        second.apply(&Event::Cancelled { at: AT, reason: String::new(), notice: Notice::Due });
        let outbox = Outbox::default();
        assert_eq!(outbox.pending(), (0, None));
        let context = RequestContext::new("first".into(), None, Client::default());
        outbox.add(&first, &Calls::pending(Uptime(5)), Some(&context));
        let failed = Calls {
            begun: 4,
            last: LastCall::Unanswered { at: Uptime(4), reason: "é".repeat(900) },
            ..Calls::pending(Uptime(3))
        };
        outbox.add(&second, &failed, None);
        assert_eq!(outbox.pending(), (2, Some(Uptime(3))));
        outbox.add(&first, &Calls::pending(Uptime(2)), None);
        assert_eq!(outbox.pending(), (2, Some(Uptime(2))));
        assert_eq!(outbox.context(a).unwrap().request(), "first");
        assert!(outbox.context(b).is_none());
        assert_eq!(outbox.destination(a), Some(Destination::of("a", 80)));
        outbox.set(b, Wait::Call, || Uptime(2_010));
        let oldest = outbox.oldest(2, Uptime(1_010));
        assert_eq!(oldest.iter().map(|call| call.id).collect::<Vec<_>>(), [a, b]);
        assert_eq!(oldest[0].next, None);
        let reason = Some("é".repeat(REASON_CHARS).into());
        let expected = PendingCall {
            id: b,
            name: Some("letter.pdf".into()),
            kind: CallKind::CancelNotice,
            destination: Destination::of("b", 80),
            attempts: 4,
            pending: Duration::from_millis(1_007),
            next: Some(Duration::from_secs(1)),
            reason,
        };
        assert_eq!(oldest[1], expected);
        assert_eq!(outbox.oldest(1, Uptime(9)).len(), 1);
        outbox.clear(a);
        outbox.clear(a);
        assert_eq!(outbox.pending(), (1, Some(Uptime(3))));
        assert!(outbox.context(a).is_none());
    }
}
