//! Joining partial uploads into a final one: the store copies their bytes in order, the file is published as any other,
//! then the parts go.
//!
//! Recorded in this order: of each part for which final upload it is kept; of which parts that is made; that their bytes
//! are in it, durable; that it is published; of each part that it is joined. So a crash leaves either all parts with their
//! bytes, and a final upload that joins them anew as soon as it is in memory, or the published file. For whom a part is
//! kept is void where that is no final upload, or was cancelled. That a part is being joined, and is not cancelled
//! meanwhile, is known in memory alone.

use super::Engine;
use super::context::RequestContext;
use super::deadline::within;
use super::error::{ChangeError, Fault, JoinError, LookupError, PartError};
use super::handle::{Join, Op, UploadHandle};
use super::transfer::Detached;
use crate::core::command::Command;
use crate::core::event::Notice;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::{BYTES_A_PIECE, MAX_JOINED_PIECES, MAX_PARTS, is_scattered};
use crate::core::refusal::{Refusal, Terminal};
use crate::core::state::StateName;
use crate::core::upload::{Phase, Role};
use crate::storage::store::WriteError;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What a final upload of some parts would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joinable {
    /// A new one of so many bytes.
    New(u64),
    /// There is one of exactly these parts already.
    Joined(TicketId),
}

impl Engine {
    /// Whether partial uploads can be joined.
    pub fn joins(&self) -> bool {
        self.store.copies()
    }

    /// Makes an unused upload a partial one; repeating it is fine.
    ///
    /// Durability: as acknowledgements. Dropping the future does not undo it.
    pub async fn make_partial(self: &Arc<Self>, id: TicketId) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        self.change(&handle, Command::MakePartial).await
    }

    /// What a final upload of `parts` would be. Where exactly these are being joined already, that is waited for.
    /// Dropping the future changes nothing.
    ///
    /// Errors: why there can be none.
    pub async fn check_parts(self: &Arc<Self>, parts: &[TicketId]) -> Result<Joinable, JoinError> {
        check_list(parts)?;
        let mut tries = 0;
        loop {
            tries += 1;
            if let Some(done) = self.joined_already(parts).await? {
                return Ok(Joinable::Joined(done));
            }
            let (taken, under_way) = match self.bytes_of(parts).await {
                Ok(bytes) => return Ok(Joinable::New(bytes)),
                Err((error, under_way)) => (error, under_way),
            };
            match under_way.filter(|join| *join.parts == *parts) {
                Some(join) => tokio::select! {
                    biased;
                    () = self.draining.cancelled() => return Err(JoinError::Draining),
                    ended = within(TURN, join.ended.cancelled()) => {
                        ended.map_err(|_| ChangeError::Busy)?;
                    }
                },
                // It may have ended between the two looks.
                None if taken.is_taken() && tries < MOST_TRIES => {}
                None => return Err(taken),
            }
        }
    }

    /// The bytes of all parts together. Errors: why one cannot be joined, and what it is being joined with.
    async fn bytes_of(
        self: &Arc<Self>,
        parts: &[TicketId],
    ) -> Result<u64, (JoinError, Option<Arc<Join>>)> {
        let (mut pieces, mut bytes) = (0_u64, 0_u64);
        for number in 0..parts.len() {
            let part = self.part(parts, number).await.map_err(|error| (error, None))?;
            pieces = pieces.saturating_add(part.log.pieces());
            let (length, joining, claim) = {
                let state = part.lock();
                if let Some(fault) = &state.fault {
                    return Err((ChangeError::Fault(fault.clone()).into(), None));
                }
                (state.upload.check_part(), state.joining.clone(), state.upload.taken_by())
            };
            let void = self.void(&part, None).await.map_err(|error| (error, None))?;
            let length = match joining.is_some() || claim != void {
                true => Err(Refusal::PartTaken),
                false => length,
            };
            let refused = |refusal| (PartError::refused(number, refusal).into(), joining);
            bytes = bytes.saturating_add(length.map_err(refused)?);
        }
        are_scattered(pieces, bytes).map_err(|error| (error, None))?;
        Ok(bytes)
    }

    /// Makes the unused upload `id` the final one of `parts`, with all their bytes, and publishes it. Answers which upload
    /// has them: another one where exactly these parts were joined meanwhile. Where `id` does not get them for good, it is
    /// cancelled, with this notice, unless it is in use for something else.
    ///
    /// Durability: published when this is `Ok`. Errors: the parts are as they were; after a fault and while the server
    /// stops the join is taken up again later. Dropping the future does not undo it.
    pub async fn join(
        self: &Arc<Self>,
        id: TicketId,
        parts: &[TicketId],
        notice: Notice,
    ) -> Result<TicketId, JoinError> {
        check_list(parts)?;
        let (engine, parts) = (Arc::clone(self), Arc::from(parts));
        let join = async move { engine.join_or_cancel(id, parts, notice).await };
        let join = self.tracker.track_future(join);
        let ended = match RequestContext::current() {
            Some(context) => Detached::new(context.during(join)).await,
            None => Detached::new(join).await,
        };
        ended.map_err(|_| ChangeError::Fault(Fault("the join panicked".into())))?
    }

    async fn join_or_cancel(
        self: &Arc<Self>,
        id: TicketId,
        parts: Arc<[TicketId]>,
        notice: Notice,
    ) -> Result<TicketId, JoinError> {
        let handle = self.find(id).await.map_err(ChangeError::from)?;
        for _ in 0..MOST_TRIES {
            let error = match self.join_parts(&handle, &parts).await {
                Ok(()) => return Ok(id),
                Err(error) => error,
            };
            let other = match error.is_taken() {
                true => self.check_parts(&parts).await,
                false => Err(error),
            };
            let reason = match &other {
                Ok(Joinable::Joined(other)) if *other == id => return Ok(id),
                Ok(Joinable::Joined(_)) => "the same parts were joined before".to_owned(),
                // Those who had them have let go.
                Ok(Joinable::New(_)) => continue,
                Err(error) if error.is_final() => format!("its parts were not joined: {error}"),
                Err(_) => {
                    self.reschedule(id);
                    // Who waits for it looks whether a fault keeps it from being joined.
                    handle.stands.send_modify(|_| {});
                    return other.map(|_| id);
                }
            };
            drop(self.change(&handle, Command::GiveUpJoin { parts, reason, notice }).await);
            return other.map(|other| match other {
                Joinable::Joined(other) => other,
                Joinable::New(_) => id,
            });
        }
        self.reschedule(id);
        Err(ChangeError::Busy.into())
    }

    /// Takes up a join that a crash or fault has left. What fails is logged, and tried again in a while.
    pub(super) fn resume_join(self: &Arc<Self>, id: TicketId, role: &Role) {
        let Role::Final { parts } = role else { return };
        let (engine, parts) = (Arc::clone(self), Arc::clone(parts));
        drop(tokio::spawn(self.tracker.track_future(async move {
            if let Err(error) = engine.join_or_cancel(id, parts, Notice::Due).await {
                tracing::warn!(upload = %id.short(), %error, "could not join partial uploads");
            }
        })));
    }

    async fn join_parts(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        parts: &Arc<[TicketId]>,
    ) -> Result<(), JoinError> {
        let check = || {
            let state = handle.lock();
            if let Some(fault) = &state.fault {
                return Err(JoinError::from(ChangeError::Fault(fault.clone())));
            }
            Ok(state.upload.check_final(parts)?)
        };
        check()?;
        let (mut pieces, mut bytes) = (0_u64, 0_u64);
        for number in 0..parts.len() {
            let part = self.part(parts, number).await?;
            pieces = pieces.saturating_add(part.log.pieces());
            bytes = bytes.saturating_add(part.upload().received().bytes());
        }
        let scattered = are_scattered(pieces, bytes)?;
        let turn = async {
            // All others have a turn beside it.
            let before = match scattered {
                true => Some(self.joining_scattered.acquire().await),
                false => None,
            };
            (before, self.joining.acquire().await)
        };
        let _turn = tokio::select! {
            biased;
            () = self.draining.cancelled() => return Err(JoinError::Draining),
            turn = within(TURN, turn) => turn.map_err(|_| ChangeError::Busy)?,
        };
        check()?;
        let ended = CancellationToken::new();
        let join = Arc::new(Join { into: handle.id, parts: Arc::clone(parts), ended });
        let mut taken = Taken { join, parts: Vec::new() };
        let mut length = 0_u64;
        for number in 0..parts.len() {
            let part = self.part(parts, number).await?;
            // It may be taken also where the answer is an error.
            taken.parts.push(Arc::clone(&part));
            let void = self.void(&part, Some(handle.id)).await?;
            let take = Op::Take(Arc::clone(&taken.join), void);
            let answer = self.submit(&part, take).done().await;
            answer.map_err(|error| PartError::of(number, error))?;
            length = length.saturating_add(part.upload().length().unwrap_or_default());
        }
        let parts = Arc::clone(parts);
        self.change(handle, Command::MakeFinal { parts, length }).await?;
        self.writers_gone(handle).await?;
        self.copy(handle, &taken).await?;
        self.change(handle, Command::Join).await?;
        self.release_parts(handle.id, &taken.join.parts).await;
        Ok(())
    }

    /// Waits until the last request has stopped writing to an upload that takes no more bytes of clients.
    async fn writers_gone(&self, handle: &UploadHandle) -> Result<(), ChangeError> {
        let gone = handle.when_released(|state| (state.claims.fence_all() == 0).then_some(()));
        within(RELEASE, gone).await.map_err(|_| ChangeError::Busy)
    }

    /// Copies the bytes of all parts, a stretch at a time, so that a stop has not to wait for all of it.
    async fn copy(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        taken: &Taken,
    ) -> Result<(), JoinError> {
        let mut at = 0;
        for part in &taken.parts {
            let length = part.upload().length().unwrap_or_default();
            let mut from = 0;
            while let Some(extent) = Extent::new(from, length.min(from + STRETCH_BYTES)) {
                if self.draining.is_cancelled() {
                    return Err(JoinError::Draining);
                }
                let copied = handle.part.copy_from(part.id, extent, at).await;
                copied.map_err(|error| self.not_copied(handle, error, at + extent.len()))?;
                (from, at) = (extent.end(), at + extent.len());
            }
        }
        Ok(())
    }

    fn not_copied(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        error: WriteError,
        end: u64,
    ) -> ChangeError {
        let (what, error) = match error {
            WriteError::Sealed => {
                let fault = handle.lock().fault.clone();
                let over = ChangeError::Refused(Refusal::UploadOver(Terminal::Cancelled));
                return fault.map_or(over, ChangeError::Fault);
            }
            WriteError::Reserve => return ChangeError::NoSpace,
            WriteError::TooLarge => return ChangeError::Refused(Refusal::BeyondTheDisk { end }),
            WriteError::BeyondTheGrid(beyond) => {
                return ChangeError::Refused(Refusal::BeyondTheGrid(beyond));
            }
            WriteError::Refused { what, error } | WriteError::Failed { what, error } => {
                (what, error)
            }
        };
        let error = ChangeError::store(what, error);
        if let ChangeError::Fault(fault) = &error {
            self.latch(handle, fault.clone());
        }
        error
    }

    /// Has the parts of a published final upload let go of their bytes. What fails is logged; those keep them until they
    /// expire, or the next start.
    pub(super) async fn release_parts(self: &Arc<Self>, into: TicketId, parts: &[TicketId]) {
        for id in parts {
            let Ok(part) = self.find(*id).await else { continue };
            match self.change(&part, Command::Release { into }).await {
                // It is over by itself.
                Ok(()) | Err(ChangeError::Unknown | ChangeError::Refused(_)) => {}
                Err(error) => {
                    tracing::warn!(upload = %id.short(), %error, "could not release partial upload");
                }
            }
        }
    }

    /// As [`Engine::release_parts`], beside the commit that has published it.
    pub(super) fn release_later(self: &Arc<Self>, into: TicketId, parts: &Arc<[TicketId]>) {
        let (engine, parts) = (Arc::clone(self), Arc::clone(parts));
        drop(tokio::spawn(self.tracker.track_future(async move {
            engine.release_parts(into, &parts).await;
        })));
    }

    /// The final upload that has the bytes of exactly these parts. One that a crash has left unfinished is waited for.
    async fn joined_already(
        self: &Arc<Self>,
        parts: &[TicketId],
    ) -> Result<Option<TicketId>, JoinError> {
        let first = self.part(parts, 0).await?;
        let (under_way, claim) = {
            let state = first.lock();
            (state.joining.is_some(), state.upload.taken_by())
        };
        let Some(into) = claim.filter(|_| !under_way) else { return Ok(None) };
        let Ok(handle) = self.find(into).await else { return Ok(None) };
        let same = |role: &Role| matches!(role, Role::Final { parts: known } if **known == *parts);
        if !same(handle.upload().role()) {
            return Ok(None);
        }
        // While it is joined a fault of a part keeps it from that as well.
        let mut needed = vec![Arc::clone(&handle)];
        if handle.upload().awaits_join() {
            for id in parts {
                needed.extend(self.find(*id).await.ok());
            }
        }
        let mut stands = handle.stands.subscribe();
        let fault = || needed.iter().find_map(|upload| upload.lock().fault.clone());
        let over = |state: &StateName| *state != StateName::Uploading || fault().is_some();
        let ended = stands.wait_for(over);
        let stands = tokio::select! {
            biased;
            () = self.draining.cancelled() => return Err(JoinError::Draining),
            ended = within(TURN, ended) => match ended.map_err(|_| ChangeError::Busy)? {
                Ok(state) => *state,
                Err(_) => return Err(ChangeError::Busy.into()),
            },
        };
        match (stands, fault()) {
            // It is joined, or published, after a restart.
            (StateName::Uploading, Some(fault)) => Err(ChangeError::Fault(fault).into()),
            (StateName::Cancelled, _) => Ok(None),
            _ => Ok(Some(into)),
        }
    }

    /// What a part was kept for and is no more: a final upload that was cancelled, or never was one. Not `own`.
    async fn void(
        self: &Arc<Self>,
        part: &UploadHandle,
        own: Option<TicketId>,
    ) -> Result<Option<TicketId>, JoinError> {
        let claim = part.upload().taken_by();
        let Some(claim) = claim.filter(|claim| Some(*claim) != own) else { return Ok(None) };
        let void = match self.find(claim).await {
            Ok(handle) => {
                let upload = handle.upload();
                !matches!(upload.role(), Role::Final { .. })
                    || matches!(upload.phase(), Phase::Cancelled { .. })
            }
            Err(LookupError::Unknown) => true,
            Err(error) => return Err(ChangeError::from(error).into()),
        };
        Ok(void.then_some(claim))
    }

    async fn part(
        self: &Arc<Self>,
        parts: &[TicketId],
        number: usize,
    ) -> Result<Arc<UploadHandle>, JoinError> {
        let found = self.find(parts[number]).await;
        found.map_err(|error| PartError::of(number, error.into()))
    }
}

/// Whether bytes lie in so many small pieces that reading them takes long. Errors: in more than are joined.
fn are_scattered(pieces: u64, bytes: u64) -> Result<bool, JoinError> {
    let limit = MAX_JOINED_PIECES.saturating_add(bytes / BYTES_A_PIECE);
    match pieces <= limit {
        true => Ok(is_scattered(pieces, bytes)),
        false => Err(JoinError::TooManyPieces { pieces, limit }),
    }
}

/// Parts that are neither cancelled nor joined elsewhere until this is dropped.
struct Taken {
    join: Arc<Join>,
    parts: Vec<Arc<UploadHandle>>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        for part in &self.parts {
            let mut state = part.lock_poisoned();
            state.joining.take_if(|join| Arc::ptr_eq(join, &self.join));
        }
        self.join.ended.cancel();
    }
}

/// Errors: no list of parts, whatever they are.
fn check_list(parts: &[TicketId]) -> Result<(), JoinError> {
    if parts.is_empty() {
        return Err(JoinError::NoParts);
    }
    if parts.len() > MAX_PARTS {
        return Err(JoinError::TooManyParts { parts: parts.len() });
    }
    let mut seen = BTreeSet::new();
    match parts.iter().position(|id| !seen.insert(*id)) {
        Some(number) => Err(JoinError::Repeated { number: number + 1 }),
        None => Ok(()),
    }
}

/// How often a join is tried anew because another one had its parts, and let go of them.
const MOST_TRIES: u32 = 4;
/// Joins at once, one of them of many small pieces. Each keeps the disk busy by itself.
pub(super) const MAX_JOINS: usize = 2;
/// A join waits so long for those before it, at most, and who asks for the same one for its end.
const TURN: Duration = Duration::from_secs(600);
/// A request that writes has to let go in this time: its last batch is written and counted.
const RELEASE: Duration = Duration::from_secs(30);
/// Copied between two looks whether the server stops.
const STRETCH_BYTES: u64 = 64 << 20;
