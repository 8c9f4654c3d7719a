//! The hot loop: one chunk from the network to the disk, and its acknowledgement.
//!
//! Frames are collected, never copied, into batches, and each batch is written at its offset: on
//! the worker while the page cache takes it at once, on a blocking thread while the disk is slow.
//! A transfer runs detached from the request that brought it: when the client goes away the good
//! prefix is still counted.

use super::Engine;
use super::claim::Claim;
use super::error::{ChangeError, ClientFault, Fault, TransferError};
use super::lane::{Pending, Task};
use super::live::{Live, LogPlace};
use super::space::Reservation;
use super::status::Status;
use crate::core::digest::{ChunkDigest, Hasher};
use crate::core::event::Durability;
use crate::core::extent::{Extent, ExtentSet};
use crate::core::id::TicketId;
use crate::core::limits::MAX_CHUNKS_IN_FLIGHT;
use crate::core::refusal::{Over, Refusal};
use crate::core::upload::{Command, Offer, Phase, Reach};
use crate::store::{self, Blob};
use bytes::Bytes;
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// The body of a PUT: frames in order, then the end.
pub trait Source: Stream<Item = Result<Bytes, ClientFault>> + Send + Unpin + 'static {}

impl<S: Stream<Item = Result<Bytes, ClientFault>> + Send + Unpin + 'static> Source for S {}

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
            engine.stats.chunks_in_flight.add(1);
            let result = engine.transfer(id, offer, digest, source).await;
            engine.stats.chunks_in_flight.add(-1);
            result
        };
        let task = tokio::spawn(self.tracker.track_future(transfer));
        let lost = |error| TransferError::Fault(Fault::new("the transfer was lost", &error));
        task.await.map_err(lost)?
    }

    async fn transfer<S: Source>(
        self: &Arc<Self>,
        id: TicketId,
        offer: Offer,
        digest: Option<ChunkDigest>,
        source: S,
    ) -> Result<Status, TransferError> {
        let live = self.find(id).await?;
        if self.draining.is_cancelled() {
            return Err(TransferError::Draining);
        }
        let (claim, missing) = self.claim(&live, &offer).await?;
        let blob = if missing.is_empty() { None } else { Some(self.blob(&live)?) };
        let mut chunk = Chunk {
            engine: self,
            live: &live,
            offer,
            missing,
            blob,
            reservation: None,
            hasher: digest.map(Hasher::new),
            position: offer.extent.map_or(0, Extent::start),
            written: offer.extent.map_or(0, Extent::start),
            committed: offer.extent.map_or(0, Extent::start),
            checkpoint: None,
            pace: Pace::new(),
        };
        let ended = chunk.receive(source, claim.as_ref()).await;
        let result = chunk.conclude(ended).await;
        drop(claim);
        result?;
        self.publish_if_complete(&live).await?;
        Ok(self.status_of(&live))
    }

    /// Admits the offer and claims what is missing of it: the older requests for the same bytes
    /// have let go when this returns.
    async fn claim(
        self: &Arc<Self>,
        live: &Arc<Live>,
        offer: &Offer,
    ) -> Result<(Option<Claim>, ExtentSet), TransferError> {
        let limits = &self.options.limits;
        let claim = {
            let mut state = live.lock();
            if let Some(fault) = &state.fault {
                return Err(TransferError::Fault(fault.clone()));
            }
            let missing = state.upload.admit(offer, limits).map_err(TransferError::Refused)?;
            if missing.is_empty() {
                return Ok((None, missing));
            }
            if state.claims.count() >= MAX_CHUNKS_IN_FLIGHT {
                return Err(TransferError::TooManyInFlight { limit: MAX_CHUNKS_IN_FLIGHT });
            }
            let (number, fence) = state.claims.add(missing);
            Claim { live: Arc::clone(live), number, fence }
        };
        tokio::select! {
            () = claim.turn() => {}
            () = claim.fence.cancelled() => return Err(self.fenced(live)),
            () = tokio::time::sleep(TURN_DEADLINE) => {
                return Err(TransferError::Fault(Fault("an older request did not let go".into())));
            }
        }
        let mut state = live.lock();
        let missing = state.upload.admit(offer, limits).map_err(TransferError::Refused)?;
        state.claims.narrow(claim.number, missing.clone());
        drop(state);
        Ok(if missing.is_empty() { (None, missing) } else { (Some(claim), missing) })
    }

    /// Why a claim was fenced off.
    fn fenced(&self, live: &Arc<Live>) -> TransferError {
        let state = live.lock();
        if let Some(fault) = &state.fault {
            return TransferError::Fault(fault.clone());
        }
        match state.upload.phase() {
            Phase::Cancelled { .. } => TransferError::Refused(Refusal::UploadOver(Over::Cancelled)),
            Phase::Failed { .. } => TransferError::Refused(Refusal::UploadOver(Over::Failed)),
            Phase::New | Phase::Uploading | Phase::HandingOver(_) | Phase::Finished { .. } => {
                self.stats.superseded.add(1);
                TransferError::Superseded
            }
        }
    }

    /// The part of the upload, opened once and kept while the upload is in memory.
    fn blob(&self, live: &Arc<Live>) -> Result<Arc<dyn Blob>, TransferError> {
        let mut state = live.lock();
        if let Some(blob) = &state.blob {
            return Ok(Arc::clone(blob));
        }
        if !matches!(state.upload.phase(), Phase::New | Phase::Uploading) {
            drop(state);
            return Err(self.fenced(live));
        }
        let blob = self.store.create(live.id).map_err(|error| disk("opening the part", &error))?;
        state.blob = Some(Arc::clone(&blob));
        Ok(blob)
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

/// How the body of a chunk ended.
enum End {
    /// With its last byte.
    Whole,
    /// Before that, or wrongly; the error says how.
    Short(TransferError),
}

struct Chunk<'a> {
    engine: &'a Arc<Engine>,
    live: &'a Arc<Live>,
    offer: Offer,
    /// What of the chunk is to be stored; fixed, since nobody else writes there.
    missing: ExtentSet,
    blob: Option<Arc<dyn Blob>>,
    reservation: Option<Reservation>,
    hasher: Option<Hasher>,
    /// Offset of the next byte of the body.
    position: u64,
    /// Every byte of the body below this offset is written.
    written: u64,
    /// Every byte of the body below this offset has been submitted to be counted.
    committed: u64,
    /// The last count that was submitted on the way.
    checkpoint: Option<Pending>,
    pace: Pace,
}

impl Chunk<'_> {
    /// Reads the body to its end and writes it. What is written stands, however this ends.
    async fn receive<S: Source>(&mut self, mut source: S, claim: Option<&Claim>) -> End {
        let limit = self.limit();
        let mut batch = Batch::default();
        loop {
            let first = match self.next(&mut source, claim).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return self.ended(limit),
                Err(error) => return End::Short(error),
            };
            batch.push(first);
            // What is there already joins the batch; nothing is waited for.
            let broken = loop {
                if batch.bytes >= BATCH_BYTES {
                    break None;
                }
                let ready = poll_fn(|cx| Poll::Ready(Pin::new(&mut source).poll_next(cx))).await;
                match ready {
                    Poll::Ready(Some(Ok(frame))) => batch.push(frame),
                    Poll::Ready(Some(Err(fault))) => break Some(Broken::Client(fault)),
                    Poll::Ready(None) => break Some(Broken::Ended),
                    Poll::Pending => break None,
                }
            };
            if let Err(error) = self.store(&mut batch, limit).await {
                return End::Short(error);
            }
            match broken {
                Some(Broken::Client(fault)) => return End::Short(TransferError::Client(fault)),
                Some(Broken::Ended) => return self.ended(limit),
                None => {}
            }
        }
    }

    /// The body may not reach past this offset.
    fn limit(&self) -> u64 {
        let end = self.offer.extent.map_or(self.position, Extent::end);
        match self.offer.reach {
            Reach::Chunk => end,
            Reach::WholeFile => {
                let upload = &self.live.lock().upload;
                let file = upload.max_file_bytes(&self.engine.options.limits);
                end.min(upload.length().unwrap_or(file))
            }
        }
    }

    /// The next frame, or why there is none: the end, the fence, the clock.
    async fn next<S: Source>(
        &mut self,
        source: &mut S,
        claim: Option<&Claim>,
    ) -> Result<Option<Bytes>, TransferError> {
        let options = &self.engine.options;
        if self.pace.too_slow(options.min_rate) {
            return Err(TransferError::Client(ClientFault::TooSlow));
        }
        let frame = poll_fn(|cx| Pin::new(&mut *source).poll_next(cx));
        let fenced = async {
            match claim {
                Some(claim) => claim.fence.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = fenced => Err(self.engine.fenced(self.live)),
            frame = frame => match frame {
                Some(Ok(frame)) => Ok(Some(frame)),
                Some(Err(fault)) => Err(TransferError::Client(fault)),
                None => Ok(None),
            },
            () = tokio::time::sleep(options.body_timeout) => {
                Err(TransferError::Client(ClientFault::StoodStill))
            }
        }
    }

    /// The body ended by itself: at its last byte, or elsewhere.
    fn ended(&self, limit: u64) -> End {
        let start = self.offer.extent.map_or(0, Extent::start);
        let open = self.offer.reach == Reach::WholeFile && self.offer.length.is_none();
        if open || self.position == limit {
            return End::Whole;
        }
        End::Short(TransferError::Refused(Refusal::RangeMismatch {
            range: limit - start,
            body: self.position - start,
        }))
    }

    /// Hashes and writes a batch, and counts what is written now and then.
    async fn store(&mut self, batch: &mut Batch, limit: u64) -> Result<(), TransferError> {
        let (start, bytes) = (self.position, batch.bytes as u64);
        self.engine.stats.received_bytes.add(bytes);
        self.pace.moved(bytes);
        let Some(extent) = Extent::new(start, start + bytes) else { return Ok(()) };
        if extent.end() > limit {
            return Err(self.too_long(limit, extent.end()));
        }
        if let Some(hasher) = &mut self.hasher {
            for frame in &batch.frames {
                hasher.update(frame);
            }
        }
        self.position = extent.end();
        let fresh = self.missing.within(extent);
        self.engine.stats.repeated_bytes.add(bytes - fresh.bytes());
        for part in fresh.as_slice() {
            self.reserve(*part).await?;
            let frames = if *part == extent {
                std::mem::take(&mut batch.frames)
            } else {
                batch.cut(part.start() - start, part.end() - start)
            };
            self.write(frames, part.start()).await?;
            if let Some(reservation) = &mut self.reservation {
                reservation.written(part.len());
            }
        }
        batch.clear();
        self.written = extent.end();
        self.checkpoint().await
    }

    fn too_long(&self, limit: u64, end: u64) -> TransferError {
        let start = self.offer.extent.map_or(0, Extent::start);
        TransferError::Refused(match (self.offer.reach, self.live.lock().upload.length()) {
            (Reach::Chunk, _) => Refusal::RangeMismatch { range: limit - start, body: end - start },
            (Reach::WholeFile, Some(known)) => Refusal::LengthChanged { known, offered: end },
            (Reach::WholeFile, None) => Refusal::FileTooLarge { file: end, limit },
        })
    }

    /// Sees that space is reserved for the bytes from `part` on: for the chunk, or a bounded
    /// stretch of it, so that a declared length alone does not take the disk.
    async fn reserve(&mut self, part: Extent) -> Result<(), TransferError> {
        if self.reservation.as_ref().is_some_and(|reservation| reservation.covers(part.len())) {
            return Ok(());
        }
        let end =
            self.missing.end().min(part.start().saturating_add(STRETCH_BYTES)).max(part.end());
        let known = self.offer.length.is_some() || self.offer.reach == Reach::Chunk;
        let stretch = if known { Extent::new(part.start(), end).unwrap_or(part) } else { part };
        self.reservation = None;
        let space = self.engine.space.reserve(&*self.engine.store, stretch.len());
        let reservation = space.map_err(|error| disk("asking for free space", &error))?;
        self.reservation = Some(reservation.ok_or(TransferError::NoSpace)?);
        match &self.blob {
            Some(blob) if known => {
                blob.allocate(stretch).map_err(|error| self.failed("preallocation", &error))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Writes frames at an offset: here while that is quick, on a blocking thread while the disk
    /// is slow, so that other connections of this worker go on.
    async fn write(&self, frames: Vec<Bytes>, offset: u64) -> Result<(), TransferError> {
        let Some(blob) = self.blob.clone() else { return Ok(()) };
        let slow = &self.engine.slow_disk;
        let began = Instant::now();
        let written = if slow.load(Ordering::Relaxed) {
            let live = Arc::clone(self.live);
            let write = tokio::task::spawn_blocking(move || live.write(&*blob, &frames, offset));
            match write.await {
                Ok(written) => written,
                Err(error) => Some(Err(std::io::Error::other(error))),
            }
        } else {
            self.live.write(&*blob, &frames, offset)
        };
        slow.store(began.elapsed() >= SLOW_WRITE, Ordering::Relaxed);
        let Some(written) = written else { return Err(self.engine.fenced(self.live)) };
        written.map_err(|error| self.failed("write", &error))
    }

    /// A full disk may have space again; any other error stops the upload.
    fn failed(&self, what: &str, error: &std::io::Error) -> TransferError {
        let error = disk(what, error);
        if let TransferError::Fault(fault) = &error {
            self.engine.latch(self.live, fault.clone());
        }
        error
    }

    /// Counts a long body on the way, so that a broken connection or a crash costs little. A body
    /// with a digest counts only when the digest has been seen to match.
    async fn checkpoint(&mut self) -> Result<(), TransferError> {
        let ahead = self.written - self.committed;
        if self.hasher.is_some() || ahead < CHECKPOINT_BYTES {
            return Ok(());
        }
        if let Some(mut pending) = self.checkpoint.take() {
            match pending.poll() {
                Some(answer) => answer?,
                // The disk does not keep up: the client has to wait for it.
                None if ahead >= MAX_AHEAD_BYTES => pending.done().await?,
                None => {
                    self.checkpoint = Some(pending);
                    return Ok(());
                }
            }
        }
        self.checkpoint = self.count(None);
        self.sync_point();
        Ok(())
    }

    /// Submits what is written but not yet submitted.
    fn count(&mut self, length: Option<u64>) -> Option<Pending> {
        let extent = Extent::new(self.committed, self.written);
        let extents = extent.map(|extent| self.missing.within(extent)).unwrap_or_default();
        self.committed = self.written;
        if extents.is_empty() && length.is_none() {
            return None;
        }
        let durability = self.engine.options.ack;
        let command = Command::Store { extents, length, durability };
        Some(self.engine.submit(self.live, Task::Change(command)))
    }

    /// With `ack = written`, syncs in the background now and then, so that a power cut costs
    /// little and the sync at completion is short.
    fn sync_point(&self) {
        let engine = self.engine;
        let due = {
            let mut state = self.live.lock();
            let due = engine.options.ack == Durability::Written
                && state.unsynced_bytes >= SYNC_POINT_BYTES;
            if due {
                state.unsynced_bytes = 0;
            }
            due
        };
        let Some(blob) = self.blob.clone().filter(|_| due) else { return };
        let (engine, live) = (Arc::clone(engine), Arc::clone(self.live));
        let token = engine.tracker.token();
        tokio::task::spawn_blocking(move || {
            let _token = token;
            let before = match &*live.log.lock().expect("no holder of this lock panics") {
                LogPlace::Open { log, .. } => log.end(),
                LogPlace::Closed { .. } => return,
            };
            match blob.sync() {
                Ok(()) => drop(engine.submit(&live, Task::NoteSync(before))),
                Err(error) => engine.latch(&live, Fault::new("sync of the part", &error)),
            }
        });
    }

    /// Counts what may be counted and waits until that is so.
    async fn conclude(mut self, ended: End) -> Result<(), TransferError> {
        let digest = self.hasher.take().map(Hasher::matches);
        let (counts, error) = match (&ended, digest) {
            (End::Whole, Some(false)) => (false, Some(TransferError::DigestMismatch)),
            (End::Whole, Some(true) | None) => (true, None),
            (End::Short(_), Some(_)) => (false, None),
            // Not the file that the rest of the upload is of.
            (End::Short(TransferError::Refused(Refusal::LengthChanged { .. })), None) => {
                (false, None)
            }
            (End::Short(_), None) => (true, None),
        };
        let mut counted = Ok(());
        if counts {
            let length = match (&ended, self.offer.reach) {
                (End::Whole, Reach::WholeFile) => Some(self.position),
                (End::Whole, Reach::Chunk) => self.offer.length,
                (End::Short(_), _) => self.offer.length.filter(|_| self.written > self.committed),
            };
            if let Some(pending) = self.count(length) {
                counted = pending.done().await;
            }
        }
        if let Some(pending) = self.checkpoint.take() {
            counted = counted.and(pending.done().await);
        }
        self.sync_point();
        match (ended, error) {
            (End::Short(error), _) => Err(error),
            (End::Whole, Some(error)) => Err(error),
            (End::Whole, None) => counted.map_err(|error: ChangeError| error.into()),
        }
    }
}

enum Broken {
    Client(ClientFault),
    Ended,
}

/// Frames that are written together.
#[derive(Default)]
struct Batch {
    frames: Vec<Bytes>,
    bytes: usize,
}

impl Batch {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }

    /// The frames between two positions of the batch, sharing its memory.
    fn cut(&self, from: u64, to: u64) -> Vec<Bytes> {
        let mut at = 0;
        let mut cut = Vec::new();
        for frame in &self.frames {
            let end = at + frame.len() as u64;
            if let Some(part) = Extent::new(from.max(at), to.min(end)) {
                let inside = |offset: u64| usize::try_from(offset - at).unwrap_or(frame.len());
                cut.push(frame.slice(inside(part.start())..inside(part.end())));
            }
            at = end;
        }
        cut
    }
}

/// How fast the body comes.
struct Pace {
    began: Instant,
    bytes: u64,
}

impl Pace {
    fn new() -> Self {
        Self { began: Instant::now(), bytes: 0 }
    }

    fn moved(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn too_slow(&self, min_rate: u64) -> bool {
        if min_rate == 0 {
            return false;
        }
        let elapsed = self.began.elapsed();
        elapsed > RATE_GRACE && self.bytes < min_rate.saturating_mul(elapsed.as_secs())
    }
}

fn disk(what: &str, error: &std::io::Error) -> TransferError {
    if store::is_full(error) {
        TransferError::NoSpace
    } else {
        TransferError::Fault(Fault::new(what, error))
    }
}

/// Bytes of a batch: HTTP/2 brings 16 KiB frames, and one write for each would cost more than the
/// bytes; HTTP/1 frames of several hundred KiB go through as they come.
const BATCH_BYTES: usize = 256 * 1024;
/// A write that takes this long has met a full dirty budget, not the page cache.
const SLOW_WRITE: Duration = Duration::from_millis(20);
/// Space is reserved and preallocated this far ahead, at most.
const STRETCH_BYTES: u64 = 256 << 20;
/// A long body is counted after this many bytes.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// A body runs ahead of its last count by this many bytes, at most.
const MAX_AHEAD_BYTES: u64 = 4 * CHECKPOINT_BYTES;
/// With `ack = written`, bytes between two sync points.
const SYNC_POINT_BYTES: u64 = 256 << 20;
/// An older request that was told to let go does so when its current write ends.
const TURN_DEADLINE: Duration = Duration::from_secs(30);
/// A body is given this long before its rate is judged.
const RATE_GRACE: Duration = Duration::from_secs(10);
