//! The calls to the backend about an upload: which are pending, and how each of them ended.

use super::{Phase, Upload};
use crate::core::event::{CallOutcome, Event};
use crate::core::retry::{Calls, LastCall, RetryPolicy};
use crate::core::time::Uptime;

impl Upload {
    /// The calls to the backend that are pending, if any.
    pub fn pending_calls(&self) -> Option<&Calls> {
        match &self.phase {
            Phase::HandingOver(calls) | Phase::Cancelled { calls: Some(calls), .. } => Some(calls),
            Phase::New
            | Phase::Uploading
            | Phase::Finished { .. }
            | Phase::Cancelled { calls: None, .. }
            | Phase::Failed { .. } => None,
        }
    }

    /// Whether the pending calls have gone unanswered for too long.
    pub fn calls_exhausted(&self, policy: &RetryPolicy, now: Uptime) -> bool {
        self.pending_calls().is_some_and(|calls| calls.exhausted(policy, now))
    }

    /// Whether a call to the backend has ever been begun.
    pub fn was_called(&self) -> bool {
        self.pending_calls().is_some_and(|calls| calls.begun > 0)
    }

    /// Whether that a call was begun decides more than how many there were: where the file is gone then, the backend has
    /// moved it. So it must be durable before the call.
    pub fn call_decides(&self) -> bool {
        matches!(self.phase, Phase::HandingOver(_)) && !self.removes_file()
    }

    pub(super) fn apply_call(&mut self, event: &Event) {
        let (Phase::HandingOver(calls) | Phase::Cancelled { calls: Some(calls), .. }) =
            &mut self.phase
        else {
            return;
        };
        match event {
            Event::CallBegun { at } => {
                calls.first.get_or_insert(at.uptime);
                calls.begun = calls.begun.saturating_add(1);
                calls.unanswered = calls.unanswered.saturating_add(1);
                calls.last = LastCall::Begun;
            }
            Event::CallEnded { at, outcome: CallOutcome::Wait } => {
                calls.since = at.uptime;
                calls.first = None;
                calls.unanswered = 0;
                calls.last = LastCall::Waiting { at: at.uptime };
            }
            Event::CallEnded { at, outcome: CallOutcome::Retry(reason) } => {
                calls.last = LastCall::Unanswered { at: at.uptime, reason: reason.clone() };
            }
            Event::Created(_)
            | Event::Bound { .. }
            | Event::SentBy(_)
            | Event::Stored { .. }
            | Event::Published { .. }
            | Event::Digested { .. }
            | Event::Finished { .. }
            | Event::Failed { .. }
            | Event::RetryAsked { .. }
            | Event::Cancelled { .. }
            | Event::NoticeEnded { .. }
            | Event::Partial { .. }
            | Event::Final { .. }
            | Event::Taken { .. }
            | Event::Joined { .. } => {}
        }
    }
}
