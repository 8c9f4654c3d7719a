//! One PUT, from its offer to its acknowledgement: admitted, claimed, received, counted.
//!
//! A transfer outlives the request that brought it: when the client goes away the good prefix is
//! still counted.

use super::Engine;
use super::batch::Source;
use super::cause::Cause;
use super::chunk::Chunk;
use super::claim::Claim;
use super::deadline;
use super::detached::{Detached, Panicked};
use super::error::{Fault, TransferError};
use super::lane::Task;
use super::live::Live;
use super::status::Status;
use crate::core::command::Offer;
use crate::core::digest::ChunkDigest;
use crate::core::extent::ExtentSet;
use crate::core::id::TicketId;
use crate::core::limits::{MAX_CHUNKS, MAX_CHUNKS_IN_FLIGHT, MAX_JOURNAL_BYTES};
use crate::core::refusal::Refusal;
use crate::store::Blob;
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Engine {
    /// Stores the body of one PUT at its offset and acknowledges it.
    ///
    /// Durability: with `ack = durable` data and record are synced when this returns `Ok`. If the
    /// chunk completes the file, the file is in its place then. Errors: whatever could be kept of
    /// the chunk has been acknowledged before the error is returned. Cancel: dropping the future
    /// loses nothing; the transfer goes on until its source ends, and counts what it got.
    pub async fn receive<S: Source>(
        self: &Arc<Self>,
        id: TicketId,
        offer: Offer,
        digest: Option<ChunkDigest>,
        source: S,
    ) -> Result<Status, TransferError> {
        let engine = Arc::clone(self);
        let transfer = async move {
            // Before it is counted: a chunk that shows as in flight is let end by a stop.
            if engine.draining.is_cancelled() {
                return Err(TransferError::Draining);
            }
            let _counted = engine.stats.chunks_in_flight.up();
            let in_flight = usize::try_from(engine.stats.chunks_in_flight.value()).unwrap_or(0);
            if in_flight > MAX_CHUNKS {
                return Err(TransferError::TooManyInFlight { limit: MAX_CHUNKS });
            }
            engine.transfer(id, offer, digest, source).await
        };
        let transfer = self.tracker.track_future(transfer);
        // It takes its cause along where it goes on alone.
        let ended = match Cause::current() {
            Some(cause) => Detached::new(cause.during(transfer)).await,
            None => Detached::new(transfer).await,
        };
        let lost = |Panicked| TransferError::Fault(Fault("the transfer ended by a panic".into()));
        ended.map_err(lost)?
    }

    async fn transfer<S: Source>(
        self: &Arc<Self>,
        id: TicketId,
        offer: Offer,
        digest: Option<ChunkDigest>,
        source: S,
    ) -> Result<Status, TransferError> {
        let began = Instant::now();
        let live = self.find(id).await?;
        let (claim, missing) = self.claim(&live, &offer).await?;
        let blob = if missing.is_empty() { None } else { Some(self.blob(&live).await?) };
        let mut chunk = Chunk::new(self, &live, offer, missing, blob, digest);
        let ended = chunk.receive(source, claim.as_ref()).await;
        let (bytes, arrived) = (chunk.body_bytes(), Instant::now());
        let result = chunk.conclude(ended).await;
        drop(claim);
        result?;
        self.publish_if_complete(&live).await?;
        self.stats.commit_times.since(arrived);
        self.stats.chunk_times.since(began);
        self.stats.chunk_bytes.note(bytes);
        Ok(self.status_of(&live))
    }

    /// Admits the offer and claims what is missing of it: the older requests for the same bytes
    /// have let go when this returns.
    async fn claim(
        self: &Arc<Self>,
        live: &Arc<Live>,
        offer: &Offer,
    ) -> Result<(Option<Claim>, ExtentSet), TransferError> {
        let limits = &self.options().limits;
        let claim = {
            let mut state = live.lock();
            if let Some(fault) = &state.fault {
                return Err(TransferError::Fault(fault.clone()));
            }
            let missing = state.upload.admit(offer, limits).map_err(TransferError::Refused)?;
            if missing.is_empty() {
                return Ok((None, missing));
            }
            // The queue compacts it long before, unless the disk is full or hangs.
            if live.journal_bytes() > MAX_JOURNAL_BYTES {
                let refusal = Refusal::JournalFull { limit: MAX_JOURNAL_BYTES };
                return Err(TransferError::Refused(refusal));
            }
            if state.claims.count() >= MAX_CHUNKS_IN_FLIGHT {
                return Err(TransferError::TooManyInFlight { limit: MAX_CHUNKS_IN_FLIGHT });
            }
            let (number, fence) = state.claims.add(missing);
            Claim { live: Arc::clone(live), number, fence }
        };
        tokio::select! {
            biased;
            () = claim.fence.cancelled() => return Err(self.fenced(live)),
            () = claim.turn() => {}
            () = deadline::passed(TURN_DEADLINE) => {
                return Err(TransferError::Fault(Fault("an older request did not let go".into())));
            }
        }
        let mut state = live.lock();
        let missing = state.upload.admit(offer, limits).map_err(TransferError::Refused)?;
        state.claims.narrow(claim.number, missing.clone());
        drop(state);
        Ok(if missing.is_empty() { (None, missing) } else { (Some(claim), missing) })
    }

    /// The part of the upload, opened once and kept while the upload is in memory.
    async fn blob(self: &Arc<Self>, live: &Arc<Live>) -> Result<Arc<dyn Blob>, TransferError> {
        if let Some(blob) = &live.lock().blob {
            return Ok(Arc::clone(blob));
        }
        let (engine, of) = (Arc::clone(self), Arc::clone(live));
        let opened = self.blocking.spawn(move || {
            // Not beside a publish or removal: either would leave a part behind that is none.
            let sealed = of.open()?;
            let created = engine.store.create(of.id);
            let mut state = of.lock();
            let blob = created.map(|blob| Arc::clone(state.blob.get_or_insert(blob)));
            drop(state);
            drop(sealed);
            Some(blob)
        });
        let opened =
            opened.await.map_err(|error| TransferError::Fault(Fault::new("opening", &error)))?;
        let Some(blob) = opened else { return Err(self.fenced(live)) };
        blob.map_err(|error| TransferError::disk("opening the part", &error))
    }

    /// A complete file that is not in its place yet (its publish found the disk full, say) is put
    /// there now.
    async fn publish_if_complete(self: &Arc<Self>, live: &Arc<Live>) -> Result<(), TransferError> {
        if live.lock().upload.awaits_publish() {
            self.submit(live, Task::Publish).done().await?;
        }
        Ok(())
    }
}

/// An older request that was told to let go does so when its current write ends.
const TURN_DEADLINE: Duration = Duration::from_secs(30);
