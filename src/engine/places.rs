//! Places that uploads hold and share: chunks in flight, long polls, small calls.

use super::Engine;
use super::error::LookupError;
use super::live::Live;
use super::stats::{Gauge, Up};
use crate::core::id::TicketId;
use crate::core::limits::{ANSWER_BYTES, SMALL_CALLS, SharedLimit};
use std::sync::Arc;

/// One place, given back when dropped.
pub(super) struct Place<'a> {
    _own: Up<'a>,
    _all: Up<'a>,
}

/// How many places there are for a holder that got none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// As many as it may hold now; 0 where all places are taken.
    pub limit: u64,
}

/// Too many bytes of large answers about an upload are untaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread;

/// Why a small call does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmallCallError {
    /// As many are under way as may.
    Taken(Taken),
    /// Answers to earlier ones were not taken.
    Unread,
}

impl From<Unread> for SmallCallError {
    fn from(_: Unread) -> Self {
        Self::Unread
    }
}

/// Takes a place for the holder that counts in `own`, of those that `all` counts.
pub(super) fn take<'a>(
    limit: SharedLimit,
    own: &'a Gauge,
    all: &'a Gauge,
) -> Result<Place<'a>, Taken> {
    let share = limit.share(u64::try_from(all.value()).unwrap_or(0));
    let own = own.up_below(share).ok_or(Taken { limit: share })?;
    let all = all.up_below(limit.all).ok_or(Taken { limit: 0 })?;
    Ok(Place { _own: own, _all: all })
}

/// Something of an upload that is held for a request, given back when dropped.
pub struct Held {
    engine: Arc<Engine>,
    live: Arc<Live>,
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
    fn own(self, live: &Live) -> &Gauge {
        match self {
            Self::SmallCalls => &live.small_calls,
            Self::AnswerBytes => &live.answer_bytes,
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
    ) -> Result<Result<Held, SmallCallError>, LookupError> {
        let live = self.find(id).await?;
        if let Err(unread) = self.check_answers(&live) {
            return Ok(Err(unread.into()));
        }
        Ok(self.hold(live, Counted::SmallCalls, SMALL_CALLS, 1).map_err(SmallCallError::Taken))
    }

    /// Counts the bytes of an answer about an upload until its peer has taken them.
    ///
    /// Errors: there is no such upload; or, within, too much is untaken. Dropping the future changes nothing.
    pub async fn hold_answer(
        self: &Arc<Self>,
        id: TicketId,
        bytes: u64,
    ) -> Result<Result<Held, Taken>, LookupError> {
        let live = self.find(id).await?;
        Ok(self.hold(live, Counted::AnswerBytes, ANSWER_BYTES, bytes))
    }

    /// The same, however much is untaken: the answer tells of something that was done.
    pub async fn hold_outcome(
        self: &Arc<Self>,
        id: TicketId,
        bytes: u64,
    ) -> Result<Held, LookupError> {
        let live = self.find(id).await?;
        let counted = Counted::AnswerBytes;
        for gauge in [counted.own(&live), counted.all(self)] {
            gauge.add(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        Ok(Held { engine: Arc::clone(self), live, counted, amount: bytes })
    }

    /// Refuses something new of an upload of whose large answers too many bytes are untaken. Its own outcome is
    /// counted, never refused ([`Engine::hold_outcome`]); what is under way already bounds how far that goes beyond.
    pub(super) fn check_answers(&self, live: &Live) -> Result<(), Unread> {
        let own = u64::try_from(live.answer_bytes.value()).unwrap_or(0);
        let all = || u64::try_from(self.answer_bytes.value()).unwrap_or(0);
        if own > 0 && own >= ANSWER_BYTES.share(all()) { Err(Unread) } else { Ok(()) }
    }

    fn hold(
        self: &Arc<Self>,
        live: Arc<Live>,
        counted: Counted,
        limit: SharedLimit,
        amount: u64,
    ) -> Result<Held, Taken> {
        let (own, all) = (counted.own(&live), counted.all(self));
        let share = limit.share(u64::try_from(all.value()).unwrap_or(0));
        if !own.add_within(amount, share) {
            return Err(Taken { limit: share });
        }
        if !all.add_within(amount, limit.all) {
            own.take(amount);
            return Err(Taken { limit: 0 });
        }
        Ok(Held { engine: Arc::clone(self), live, counted, amount })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counted.own(&self.live).take(self.amount);
        self.counted.all(&self.engine).take(self.amount);
    }
}
