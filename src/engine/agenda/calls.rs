//! Calls to backends where several servers share that: by one at a time, which has the leave of the log for it.

use crate::core::id::TicketId;
use crate::core::retry::{Calls, LastCall};
use crate::core::time::Uptime;
use crate::core::upload::Upload;
use crate::engine::Engine;
use crate::engine::context::RequestContext;
use crate::engine::delivery::outbox::Wait;
use crate::engine::error::ChangeError;
use crate::storage::agenda::{Agenda, Taken, Work};
use crate::storage::event_log::{CallMarks, LogError};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

impl Engine {
    /// Takes calls that are due, as many as may wait here for their turn.
    pub(super) async fn take_calls(self: &Arc<Self>, agenda: &dyn Agenda) -> Result<(), LogError> {
        let (waiting, _) = self.outbox.pending();
        let room = CALLS_TAKEN.saturating_sub(waiting);
        if room == 0 {
            return Ok(());
        }
        let mut reading = JoinSet::new();
        for Taken { id, .. } in agenda.take(Work::Call, room, CALL_HOLD).await? {
            if reading.len() == CALLS_READ {
                reading.join_next().await;
            }
            let engine = Arc::clone(self);
            reading.spawn(async move { engine.take_call(id).await });
        }
        while reading.join_next().await.is_some() {}
        Ok(())
    }

    /// Has a call made that was taken, unless it is due later: settings may be others than those its moment was set by.
    async fn take_call(self: &Arc<Self>, id: TicketId) {
        let Ok(handle) = self.find(id).await else { return };
        let upload = handle.upload();
        match (upload.pending_calls(), self.agenda()) {
            (Some(calls), _) if self.calls_now(calls) => self.call_now(&upload, calls, None),
            (Some(calls), Some(agenda)) => {
                let due = calls.due(&self.options().calls, self.clock.jitter());
                // Without an answer it is taken again when the hold is over.
                let _ = agenda.end_call(id, Some(CallMarks { since: calls.since, due })).await;
            }
            (Some(_) | None, _) => {}
        }
    }

    /// Backends that have said `wait` are called again after `confirm` at the latest.
    pub(in crate::engine) fn hurry_calls(self: &Arc<Self>, confirm: Duration) {
        if self.sharing.is_some() {
            self.ask_agenda(move |agenda| agenda.hurry_calls(confirm));
        }
    }

    /// Has the first call made at once by the server that saw to it that one is due. All others are found by what stands
    /// beside the log.
    pub(in crate::engine) fn enqueue_first(
        &self,
        id: TicketId,
        before: &Upload,
        after: &Upload,
        context: Option<&RequestContext>,
    ) {
        match after.pending_calls() {
            Some(calls)
                if calls.last == LastCall::None && before.pending_calls() != Some(calls) =>
            {
                self.call_now(after, calls, context);
            }
            Some(_) => {}
            None => self.outbox.clear(id),
        }
    }

    /// Has a call made as soon as a slot is free.
    fn call_now(&self, upload: &Upload, calls: &Calls, context: Option<&RequestContext>) {
        let (id, now) = (upload.ticket().id, self.uptime());
        self.outbox.add(upload, calls, context);
        self.outbox.set(id, Wait::Call, || now);
    }

    /// Whether this server may call the backend of an upload now.
    pub(in crate::engine) async fn may_call(&self, id: TicketId) -> Result<bool, ChangeError> {
        let (Some(agenda), Some(_)) = (self.agenda(), &self.sharing) else { return Ok(true) };
        agenda.hold_for(Work::Call, id, CALL_HOLD).await.map_err(|_| ChangeError::Busy)
    }

    /// Renews the hold for a call that was taken or renewed at `since`, by this server's own clock. Ends where another server
    /// has it, or may have it soon: then this one must not call any more.
    pub(in crate::engine) async fn keep_call(&self, id: TicketId, mut since: Duration) {
        let (Some(agenda), Some(_)) = (self.agenda(), &self.sharing) else {
            return std::future::pending().await;
        };
        loop {
            let now = self.clock.since_boot();
            let left = CALL_KEPT.saturating_sub(now.saturating_sub(since));
            if left.is_zero() {
                return;
            }
            let renewed = async {
                tokio::time::sleep(CALL_HOLD / 4).await;
                let asked = self.clock.since_boot();
                (asked, agenda.hold_for(Work::Call, id, CALL_HOLD).await)
            };
            match timeout(left, renewed).await {
                Ok((asked, Ok(true))) => since = asked,
                Ok((_, Ok(false))) => return,
                // It is asked again as long as the hold is this server's without an answer.
                Ok((_, Err(_))) | Err(_) => {}
            }
        }
    }

    /// Leaves everything that this server holds to the others, since it stops, and tells them. Without an answer that
    /// ends by itself.
    pub async fn release_holds(&self) {
        if let (Some(agenda), Some(_)) = (self.agenda(), &self.sharing) {
            let _ = agenda.release().await;
            self.report_stop().await;
        }
    }

    /// Whether a call that was set is due: another server may have made it meanwhile.
    pub(in crate::engine) fn calls_now(&self, calls: &Calls) -> bool {
        self.sharing.is_none() || calls.due(&self.options().calls, 0.0) <= self.uptime()
    }

    /// A call that was pending since `since` is over. The next one comes after a pause, unless it was asked for meanwhile.
    pub(in crate::engine) async fn shared_call_over(
        &self,
        id: TicketId,
        since: Option<Uptime>,
        pause: Duration,
    ) {
        if let Some(agenda) = self.agenda() {
            let due = self.uptime().after(pause);
            // Without an answer others have it when the leave ends by itself.
            let _ = agenda.end_call(id, since.map(|since| CallMarks { since, due })).await;
        }
        self.outbox.clear(id);
        self.outbox.over(id);
    }
}

/// Calls that wait here for their turn.
const CALLS_TAKEN: usize = 256;
/// Of these, uploads that are read at once.
const CALLS_READ: usize = 8;
/// No other server makes a call that was taken for so long; that is renewed while it is made.
const CALL_HOLD: Duration = Duration::from_secs(12);
/// A call that was not renewed for so long ends: before another server can make it.
const CALL_KEPT: Duration = Duration::from_secs(10);
