//! Slots that uploads hold and share: chunks in flight, long polls, small calls.

use super::Engine;
use super::error::{Full, LookupError, SmallCallError, Unread};
use super::handle::UploadHandle;
use super::stats::{Gauge, Up};
use crate::core::id::TicketId;
use crate::core::limits::{ANSWER_BYTES, SMALL_CALLS, SharedLimit};
use std::sync::Arc;

/// One slot, given back when dropped.
pub(super) struct Slot<'a> {
    _own: Up<'a>,
    _all: Up<'a>,
}

/// Takes a slot for the holder that counts in `own`, of those that `all` counts.
pub(super) fn take<'a>(
    limit: SharedLimit,
    own: &'a Gauge,
    all: &'a Gauge,
) -> Result<Slot<'a>, Full> {
    let share = limit.share(all.count());
    let own = own.up_below(share).ok_or(Full { limit: share })?;
    let all = all.up_below(limit.all).ok_or(Full { limit: 0 })?;
    Ok(Slot { _own: own, _all: all })
}

/// Something of an upload that is held for a request, given back when dropped.
pub struct InUse {
    engine: Arc<Engine>,
    handle: Arc<UploadHandle>,
    counted: Counted,
    amount: u64,
}

/// What is counted, for an upload and in all.
#[derive(Clone, Copy)]
enum Counted {
    SmallCalls,
    AnswerBytes,
}

impl Counted {
    fn own(self, handle: &UploadHandle) -> &Gauge {
        match self {
            Self::SmallCalls => &handle.small_calls,
            Self::AnswerBytes => &handle.answer_bytes,
        }
    }

    fn all(self, engine: &Engine) -> &Gauge {
        match self {
            Self::SmallCalls => &engine.small_calls,
            Self::AnswerBytes => &engine.answer_bytes,
        }
    }
}

impl Engine {
    /// Begins a small call about an upload, before its body is read.
    ///
    /// Errors: there is no such upload; or, within, as many calls about it are under way as may, or too many bytes of
    /// its answers are untaken. Dropping the future changes nothing.
    pub async fn small_call(
        self: &Arc<Self>,
        id: TicketId,
    ) -> Result<Result<InUse, SmallCallError>, LookupError> {
        let handle = self.find(id).await?;
        if let Err(unread) = self.check_answers(&handle) {
            return Ok(Err(unread.into()));
        }
        Ok(self.hold(handle, Counted::SmallCalls, SMALL_CALLS, 1).map_err(SmallCallError::Full))
    }

    /// Counts the bytes of an answer about an upload until its peer has taken them.
    ///
    /// Errors: there is no such upload; or, within, too much is untaken. Dropping the future changes nothing.
    pub async fn hold_answer(
        self: &Arc<Self>,
        id: TicketId,
        bytes: u64,
    ) -> Result<Result<InUse, Full>, LookupError> {
        let handle = self.find(id).await?;
        Ok(self.hold(handle, Counted::AnswerBytes, ANSWER_BYTES, bytes))
    }

    /// The same, however much is untaken: the answer tells of something that was done.
    pub async fn hold_outcome(
        self: &Arc<Self>,
        id: TicketId,
        bytes: u64,
    ) -> Result<InUse, LookupError> {
        let handle = self.find(id).await?;
        let counted = Counted::AnswerBytes;
        for gauge in [counted.own(&handle), counted.all(self)] {
            gauge.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        Ok(InUse { engine: Arc::clone(self), handle, counted, amount: bytes })
    }

    /// Refuses something new of an upload of whose large answers too many bytes are untaken. Its own outcome is
    /// counted, never refused ([`Engine::hold_outcome`]); what is under way already bounds how far that goes beyond.
    pub(super) fn check_answers(&self, handle: &UploadHandle) -> Result<(), Unread> {
        let own = handle.answer_bytes.count();
        let all = || self.answer_bytes.count();
        if own > 0 && own >= ANSWER_BYTES.share(all()) { Err(Unread) } else { Ok(()) }
    }

    fn hold(
        self: &Arc<Self>,
        handle: Arc<UploadHandle>,
        counted: Counted,
        limit: SharedLimit,
        amount: u64,
    ) -> Result<InUse, Full> {
        let (own, all) = (counted.own(&handle), counted.all(self));
        let share = limit.share(all.count());
        if !own.add_within(amount, share) {
            return Err(Full { limit: share });
        }
        if !all.add_within(amount, limit.all) {
            own.take(amount);
            return Err(Full { limit: 0 });
        }
        Ok(InUse { engine: Arc::clone(self), handle, counted, amount })
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.counted.own(&self.handle).take(self.amount);
        self.counted.all(&self.engine).take(self.amount);
    }
}
