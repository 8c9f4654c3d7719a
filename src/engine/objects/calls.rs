//! Calls to the backend: one server at a time, each recorded before its first byte.

use super::{Backing, CallEnd, ObjectChangeError, ObjectEngine};
use crate::core::command::Command;
use crate::core::event::Event;
use crate::core::id::TicketId;
use crate::core::object_command::ObjectCommand;
use crate::core::piece_event::{ObjectEvent, ObjectName};

/// Leave to call the backend once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The file; `None` for the notice of a cancel.
    pub object: Option<ObjectName>,
    /// By this server's own clock: a call that has not begun then is not made. A server that stood still in between knows
    /// nothing of what has been recorded since.
    pub begin_before_ms: u64,
}

impl<B: Backing> ObjectEngine<B> {
    /// Records that a call begins, if one is due and no other server holds the upload.
    ///
    /// Cancel: it may have been recorded; the call is then due again when the hold is over.
    pub async fn begin_call(&self, id: TicketId) -> Result<Option<Call>, ObjectChangeError> {
        // From before the hold: a server that stands still behind it no longer has it.
        let begin_before_ms = self.backing.local_ms() + CALL_BEGINS_WITHIN_MS;
        let held = self.backing.hold(id, self.server, self.tuning.call_hold).await;
        if !matches!(held, Ok(true)) {
            return Ok(None);
        }
        let begun = self.change(id, ObjectCommand::Upload(Command::BeginCall)).await?;
        let is_begun = begun
            .events
            .iter()
            .any(|event| matches!(event, ObjectEvent::Upload(Event::CallBegun { .. })));
        let object = begun.view.upload.kept_object();
        Ok(is_begun.then_some(Call { object, begin_before_ms }))
    }

    /// Records what a call came to.
    pub async fn end_call(&self, id: TicketId, end: CallEnd) -> Result<(), ObjectChangeError> {
        let command = match end {
            CallEnd::Delivered => Command::Delivered,
            CallEnd::Open(outcome) => Command::EndCall(outcome),
            CallEnd::GivenUp(reason) => Command::GiveUp(reason),
        };
        self.change(id, ObjectCommand::Upload(command)).await.map(|_| ())
    }
}

/// Between the record of a call and its first byte.
const CALL_BEGINS_WITHIN_MS: u64 = 5000;
