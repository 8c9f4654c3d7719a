//! One PUT, from its offer to its acknowledgement: admitted, claimed, received, counted.
//!
//! A transfer outlives the request that brought it: when the client goes away the good prefix is
//! still counted.

use super::Engine;
use super::chunk::batch::Source;
use super::chunk::{Chunk, End};
use super::context::RequestContext;
use super::deadline;
use super::error::{Fault, TransferError};
use super::handle::Op;
use super::handle::{State, UploadHandle};
use super::slots::{self, Slot};
use super::status::Status;
use crate::core::command::{At, BodyScope, Offer};
use crate::core::dialect::Dialect;
use crate::core::digest::ExpectedDigest;
use crate::core::extent::{Extent, ExtentSet};
use crate::core::id::TicketId;
use crate::core::limits::{CHUNKS, DUPLICATE_CHUNKS, Limits, MAX_JOURNAL_BYTES};
use crate::core::refusal::{Refusal, Terminal};
use crate::core::upload::Phase;
use crate::storage::store::{Announced, WriteError, Writer};
use futures_core::Stream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

impl Engine {
    /// Stores the body of one PUT at its offset and acknowledges it.
    ///
    /// Durability: with `ack = durable` data and record are synced when this returns `Ok`. If the
    /// chunk completes the file, the file is published then. Errors: whatever could be kept of
    /// the chunk has been acknowledged before the error is returned. Cancel: dropping the future
    /// loses nothing; the transfer goes on until its source ends, and counts what it got.
    ///
    /// A range that is acknowledged already is answered without its body, unless that is there in a moment.
    pub async fn receive<S: Source + 'static>(
        self: &Arc<Self>,
        id: TicketId,
        offer: Offer,
        digest: impl Into<ExpectedDigest>,
        source: S,
    ) -> Result<Status, TransferError> {
        let (engine, digest) = (Arc::clone(self), digest.into());
        let transfer = async move {
            // Before it is counted: a chunk that shows as in flight is let end by a stop.
            if engine.draining.is_cancelled() {
                return Err(TransferError::Draining);
            }
            engine.transfer(id, offer, digest, source).await
        };
        let transfer = self.tracker.track_future(transfer);
        // It takes its context along where it goes on alone.
        let ended = match RequestContext::current() {
            Some(context) => Detached::new(context.during(transfer)).await,
            None => Detached::new(transfer).await,
        };
        let lost = |Panicked| TransferError::Fault(Fault("the transfer panicked".into()));
        ended.map_err(lost)?
    }

    async fn transfer<S: Source>(
        self: &Arc<Self>,
        id: TicketId,
        offer: Offer,
        digest: ExpectedDigest,
        source: S,
    ) -> Result<Status, TransferError> {
        let began = Instant::now();
        let handle = self.find(id).await?;
        self.check_answers(&handle)?;
        let slot = slots::take(CHUNKS, &handle.chunks, &self.stats.chunks_in_flight)?;
        let (claim, missing) = self.claim(&handle, &offer).await?;
        let known = missing.is_empty() && handle.knows(&offer);
        let writer = match missing.is_empty() {
            true => None,
            false => Some(self.writer(&handle, &offer, &missing).await?),
        };
        let mut chunk = Chunk::new(self, &handle, offer, missing, writer, digest);
        let ended = if known {
            // Boxed: every other transfer would carry the space of a second receiver.
            let drain_duplicate = Box::pin(self.drain_duplicate(&handle, &mut chunk, source, slot));
            let Some(ended) = drain_duplicate.await else {
                self.publish_if_complete(&handle).await?;
                return Ok(self.status_of(&handle));
            };
            ended
        } else {
            chunk.receive(source, claim.as_ref().map(|claim| &claim.fence)).await
        };
        let (bytes, arrived) = (chunk.body_bytes(), Instant::now());
        let result = chunk.conclude(ended).await;
        drop(claim);
        match result {
            // The newer request waits, if one has to.
            Err(TransferError::Superseded) => return Err(TransferError::Superseded),
            // A body that breaks off has brought bytes as well.
            ended => self.keep_pace(&handle, None).await.and(ended)?,
        };
        self.publish_if_complete(&handle).await?;
        let dialect =
            RequestContext::current().map_or(Dialect::Native, |context| context.client().dialect);
        self.stats.chunks.acknowledged(bytes, dialect, began, arrived);
        Ok(self.status_of(&handle))
    }

    /// Reads a body of which nothing is needed as long as it comes quickly, and judges it if it comes to its end: not
    /// every client takes an answer for a success that comes before it has sent all. `None` where it trickles: then it
    /// is let go. After a moment it holds no place of a chunk any more.
    async fn drain_duplicate<S: Source>(
        &self,
        handle: &UploadHandle,
        chunk: &mut Chunk<'_>,
        source: S,
        slot: Slot<'_>,
    ) -> Option<End> {
        let moved = AtomicU64::new(0);
        let mut receive = pin!(chunk.receive(Metered { source, moved: &moved }, None));
        let quick = || moved.swap(0, Ordering::Relaxed) >= DUPLICATE_CHECK_BYTES;
        if let Ok(ended) = timeout(IN_PLACE, receive.as_mut()).await {
            return Some(ended);
        }
        drop(slot);
        let _slot =
            slots::take(DUPLICATE_CHUNKS, &handle.duplicate_chunks, &self.duplicate_chunks).ok()?;
        loop {
            if let Ok(ended) = timeout(DUPLICATE_CHECK, receive.as_mut()).await {
                return Some(ended);
            }
            if !quick() {
                return None;
            }
        }
    }

    /// Admits the offer and claims what is missing of it: the older requests for the same bytes
    /// have let go when this returns.
    async fn claim(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        offer: &Offer,
    ) -> Result<(Option<Claim>, ExtentSet), TransferError> {
        let limits = &self.options().limits;
        let claim = {
            let mut state = handle.lock();
            let missing = state.admit(offer, limits)?;
            if missing.is_empty() {
                return Ok((None, missing));
            }
            // The queue compacts it long before, unless the disk is full or hangs; where that is over, the client need
            // only come again.
            if handle.log.is_full() {
                drop(state);
                // No append follows that would have it looked at.
                if handle.log.make_room() {
                    drop(self.submit(handle, Op::Upkeep));
                }
                let refusal = Refusal::JournalFull { limit: MAX_JOURNAL_BYTES };
                return Err(TransferError::Refused(refusal));
            }
            let fits = handle.log.check_pieces(&missing, offer.length);
            fits.map_err(TransferError::Refused)?;
            let (number, fence) = state.claims.add(missing);
            Claim { handle: Arc::clone(handle), number, fence }
        };
        tokio::select! {
            biased;
            () = claim.fence.cancelled() => return Err(self.fenced(handle)),
            () = claim.granted() => {}
            () = deadline::passed(CLAIM_DEADLINE) => {
                return Err(TransferError::Fault(Fault("an older request did not release its range".into())));
            }
        }
        let mut state = handle.lock();
        // The older request may have moved the prefix; what it brought is dropped from this one.
        let missing = state.admit(&Offer { at: At::Anywhere, ..*offer }, limits)?;
        if let At::Prefix(offered) = offer.at
            && missing.is_empty()
        {
            let expected = state.upload.received().contiguous_from_zero();
            return Err(TransferError::Refused(Refusal::OffsetMismatch { expected, offered }));
        }
        state.claims.narrow(claim.number, missing.clone());
        drop(state);
        Ok(if missing.is_empty() { (None, missing) } else { (Some(claim), missing) })
    }

    async fn writer(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        offer: &Offer,
        missing: &ExtentSet,
    ) -> Result<Box<dyn Writer>, TransferError> {
        let announced = offer.length.is_some() || offer.scope == BodyScope::Range;
        let length = if announced { Announced::Yes } else { Announced::No };
        let end = offer.extent.map_or(0, Extent::end);
        let writer = handle.part.writer(missing.clone(), length, offer.length).await;
        writer.map_err(|error| self.not_written(handle, error, end))
    }

    /// Why bytes of a chunk that ends at `end` were not written. A full disk may have space again, and an offset may be too
    /// large; any other error of changing the part stops the upload.
    pub(super) fn not_written(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        error: WriteError,
        end: u64,
    ) -> TransferError {
        match error {
            WriteError::Sealed => self.fenced(handle),
            WriteError::Reserve => TransferError::NoSpace,
            // The client chose the offset; that the file system knows none so large is no fault of it.
            WriteError::TooLarge => TransferError::Refused(Refusal::BeyondTheDisk { end }),
            WriteError::BeyondTheGrid(beyond) => {
                TransferError::Refused(Refusal::BeyondTheGrid(beyond))
            }
            WriteError::Refused { what, error } => TransferError::store(what, error),
            WriteError::Failed { what, error } => {
                let error = TransferError::store(what, error);
                if let TransferError::Fault(fault) = &error {
                    self.latch(handle, fault.clone());
                }
                error
            }
        }
    }

    /// Why a claim was fenced off.
    pub(super) fn fenced(&self, handle: &Arc<UploadHandle>) -> TransferError {
        let state = handle.lock();
        if let Some(fault) = &state.fault {
            return TransferError::Fault(fault.clone());
        }
        match state.upload.phase() {
            Phase::Cancelled { .. } => {
                TransferError::Refused(Refusal::UploadOver(Terminal::Cancelled))
            }
            Phase::New | Phase::Uploading if state.upload.awaits_join() => {
                TransferError::Refused(Refusal::MadeOfParts)
            }
            Phase::Failed { .. } => TransferError::Refused(Refusal::UploadOver(Terminal::Failed)),
            Phase::New | Phase::Uploading | Phase::HandingOver(_) | Phase::Finished { .. } => {
                self.stats.superseded.inc();
                TransferError::Superseded
            }
        }
    }

    /// A complete file that is not published yet (its publish found the disk full, say) is
    /// published now.
    async fn publish_if_complete(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
    ) -> Result<(), TransferError> {
        if handle.lock().upload.awaits_publish() {
            self.submit(handle, Op::Publish).done().await?;
        }
        Ok(())
    }
}

/// A claim on bytes of an upload. Given back when dropped.
struct Claim {
    handle: Arc<UploadHandle>,
    number: u64,
    /// Cancelled when a newer request wants the bytes, or the upload takes no more.
    fence: CancellationToken,
}

impl Claim {
    /// Waits until no older claim on the same bytes is held. Dropping the future changes nothing.
    async fn granted(&self) {
        let free = |state: &mut State| (!state.claims.must_wait(self.number)).then_some(());
        self.handle.when_released(free).await;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Also while a panic unwinds: it must not become a second one.
        self.handle.lock_poisoned().claims.remove(self.number);
        self.handle.released.notify_waiters();
    }
}

impl State {
    /// What of the offer is missing and may be stored now.
    fn admit(&self, offer: &Offer, limits: &Limits) -> Result<ExtentSet, TransferError> {
        match &self.fault {
            Some(fault) => Err(TransferError::Fault(fault.clone())),
            None => self.upload.admit(offer, limits).map_err(TransferError::Refused),
        }
    }
}

impl UploadHandle {
    /// Whether an offer of which nothing is missing says nothing new either: its range is named, and the length
    /// it gives is known.
    fn knows(&self, offer: &Offer) -> bool {
        let named = match offer.scope {
            BodyScope::Range => true,
            BodyScope::ToEnd => offer.length.is_some(),
            BodyScope::Open => false,
        };
        let known = offer.length.is_none() || offer.length == self.lock().upload.length();
        named && offer.extent.is_some() && known
    }
}

/// A body, and how many bytes of it have come.
struct Metered<'a, S> {
    source: S,
    moved: &'a AtomicU64,
}

impl<S: Source> Stream for Metered<'_, S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let polled = Pin::new(&mut self.source).poll_next(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.moved.fetch_add(frame.len() as u64, Ordering::Relaxed);
        }
        polled
    }
}

/// Work that is done where it was asked for, and goes on alone when whoever asked goes away. A task of its own from the
/// start would cost a switch for each frame, and other connections' bytes would push this one's out of the processor's
/// cache before they are written.
///
/// Polled by its owner while that one waits; spawned when the owner drops it unfinished.
///
/// A panic of the work is an error to its owner. Outside of a runtime, and while a runtime ends, dropping
/// it drops the work.
pub(super) struct Detached<F: Future<Output: Send> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
}

/// The work ended by a panic, which the panic hook has told of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panicked;

impl<F: Future<Output: Send> + Send + 'static> Detached<F> {
    pub(super) fn new(work: F) -> Self {
        Self { work: Some(Box::pin(work)) }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Detached<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Out of its place while it runs: what has panicked is not polled again.
        let mut work = self.work.take().expect("not polled after its end");
        // What it leaves behind is released by its drop, as in a task of its own.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                self.work = Some(work);
                Poll::Pending
            }
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Detached<F> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Owned by the tracker inside the work.
            runtime.spawn(work);
        }
    }
}

/// A body that nobody needs counts with the chunks in flight for so long.
const IN_PLACE: Duration = Duration::from_millis(250);
/// Then it is read as long as it brings [`DUPLICATE_CHECK_BYTES`] in each such time: 16 KiB a second. Long enough for a proxy or a
/// client to pause: over HTTP/2 one that is cut off in its body may not see the answer.
const DUPLICATE_CHECK: Duration = Duration::from_secs(5);
const DUPLICATE_CHECK_BYTES: u64 = 80 << 10;
/// An older request that was told to let go does so when its current write ends.
const CLAIM_DEADLINE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn goes_on_when_its_owner_goes_away() {
        let (sender, receiver) = oneshot::channel();
        let (go, wait) = oneshot::channel::<()>();
        let mut work = Box::pin(Detached::new(async move {
            wait.await.unwrap();
            sender.send(7).unwrap();
        }));
        assert!(poll_once(&mut work).await.is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(receiver.await, Ok(7));
    }

    #[tokio::test]
    async fn answers_where_it_was_asked() {
        assert_eq!(Detached::new(async { 3 }).await, Ok(3));
        drop(Detached::new(async { 3 }));
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        assert_eq!(Detached::new(async { panic!("on purpose") }).await, Err::<(), _>(Panicked));
    }

    async fn poll_once<F: Future + Unpin>(work: &mut F) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *work).poll(cx))).await
    }
}
