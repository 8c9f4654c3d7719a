//! The hot loop: the body of one chunk, from the network to the disk.
//!
//! Frames are collected, never copied, into batches, and each batch is written at its offset: on
//! the worker while the page cache takes it at once, on a blocking thread while the disk is slow.
//! Long bodies are counted on the way. Nothing is durable here: what was written is submitted to the commit queue
//! (`commit.rs`), which syncs it and appends the record (`commit/group.rs`) before it is acknowledged.

pub mod batch;

use super::Engine;
use super::deadline;
use super::digest::Checkout;
use super::error::{ChangeError, ClientFault, TransferError};
use super::handle::{Op, PendingCommit, UploadHandle};
use super::options::Options;
use super::pace::BodyPace;

use crate::core::command::{BodyScope, Command, Offer};
use crate::core::digest::{ExpectedDigest, Hasher};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::refusal::Refusal;
use crate::storage::store::{Permit, WriteError, Writer};
use batch::{Batch, Broken, MinRateMeter, Source};
use bytes::Bytes;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How the body of a chunk ended.
pub(super) enum End {
    /// With its last byte.
    Whole,
    /// Before that, or wrongly; the error says how.
    Short(TransferError),
}

/// A chunk under way.
pub(super) struct Chunk<'a> {
    engine: &'a Arc<Engine>,
    /// As they were when it began.
    options: Arc<Options>,
    handle: &'a Arc<UploadHandle>,
    offer: Offer,
    /// What of the chunk is to be stored; fixed, since nobody else writes there.
    missing: ExtentSet,
    /// Writes it; `None` where nothing is missing.
    writer: Option<Box<dyn Writer>>,
    hasher: Option<Hasher>,
    /// The digest of the whole file, where this chunk goes on with it.
    prefix: Option<Checkout>,
    /// Offset of the next byte of the body.
    position: u64,
    /// Every byte of the body below this offset is written.
    written: u64,
    /// Every byte of the body below this offset has been submitted to be counted.
    committed: u64,
    /// The last count that was submitted on the way.
    checkpoint: Option<PendingCommit>,
    pace: BodyPace<'a>,
    rate_meter: MinRateMeter,
}

impl<'a> Chunk<'a> {
    /// A chunk of which `missing` is to be stored by `writer`.
    pub(super) fn new(
        engine: &'a Arc<Engine>,
        handle: &'a Arc<UploadHandle>,
        offer: Offer,
        missing: ExtentSet,
        writer: Option<Box<dyn Writer>>,
        digest: ExpectedDigest,
    ) -> Self {
        let start = offer.extent.map_or(0, Extent::start);
        Self {
            engine,
            options: engine.options(),
            handle,
            offer,
            prefix: missing
                .as_slice()
                .first()
                .and_then(|e| handle.lock().prefix.checkout(e.start())),
            missing,
            writer,
            hasher: Hasher::new(digest),
            position: start,
            written: start,
            committed: start,
            checkpoint: None,
            pace: handle.pace.body(),
            rate_meter: MinRateMeter::new(),
        }
    }
}

impl Chunk<'_> {
    /// Bytes of the body so far.
    pub(super) fn body_bytes(&self) -> u64 {
        self.position - self.offer.extent.map_or(0, Extent::start)
    }

    /// While the disk is slow batches pile up, so each needs a permit.
    async fn permit(
        &self,
        fence: Option<&CancellationToken>,
        frame_bytes: usize,
    ) -> Result<Option<Permit>, TransferError> {
        let (Some(fence), Some(writer)) = (fence, &self.writer) else { return Ok(None) };
        let permit = writer.permit(self.options.tuning.batch_bytes + frame_bytes);
        let Some(permit) = permit else { return Ok(None) };
        tokio::select! {
            biased;
            () = fence.cancelled() => Err(self.engine.fenced(self.handle)),
            permit = permit => Ok(Some(permit)),
        }
    }

    /// Reads the body to its end and writes it. What is written stands, however this ends.
    pub(super) async fn receive<S: Source>(
        &mut self,
        mut source: S,
        fence: Option<&CancellationToken>,
    ) -> End {
        let limit = self.limit();
        let mut batch = Batch::default();
        loop {
            let first = match self.next(&mut source, fence).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return self.ended(limit),
                Err(error) => return End::Short(error),
            };
            batch.push(first);
            let began = Instant::now();
            let permit = match self.permit(fence, batch.bytes).await {
                Ok(permit) => permit,
                Err(error) => return End::Short(error),
            };
            // What is there already joins the batch; nothing is waited for.
            let usual = self.options.tuning.batch_bytes;
            let whole = self.writer.as_ref().map_or(usual, |writer| writer.batch_bytes(usual));
            let broken = loop {
                if batch.bytes >= whole {
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
            let bytes = batch.bytes as u64;
            if let Err(error) = self.store(&mut batch, limit).await {
                return End::Short(error);
            }
            drop(permit);
            if let Err(error) = self.checkpoint(limit, fence).await {
                return End::Short(error);
            }
            self.rate_meter.moved(bytes, began);
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
        match self.offer.scope {
            BodyScope::Range => end,
            BodyScope::ToEnd | BodyScope::Open => {
                let limits = &self.options.limits;
                let upload = &self.handle.lock().upload;
                let file = upload
                    .length()
                    .or(self.offer.length)
                    .unwrap_or_else(|| upload.max_file_bytes(limits));
                let start = self.offer.extent.map_or(0, Extent::start);
                let chunk = limits.max_chunk_bytes.unwrap_or(u64::MAX);
                // A reload may have set a limit below the begin.
                end.min(file).min(start.saturating_add(chunk)).max(start)
            }
        }
    }

    /// The next frame, or why there is none: the end, the fence, the clock.
    async fn next<S: Source>(
        &mut self,
        source: &mut S,
        fence: Option<&CancellationToken>,
    ) -> Result<Option<Bytes>, TransferError> {
        let Options { min_rate, body_timeout, .. } = *self.options;
        if self.rate_meter.too_slow(min_rate) {
            return Err(TransferError::Client(ClientFault::TooSlow));
        }
        let frame = poll_fn(|cx| Pin::new(&mut *source).poll_next(cx));
        tokio::select! {
            biased;
            () = super::flush::cancelled(fence) => Err(self.engine.fenced(self.handle)),
            frame = frame => match frame {
                Some(Ok(frame)) => Ok(Some(frame)),
                Some(Err(fault)) => Err(TransferError::Client(fault)),
                None => Ok(None),
            },
            () = deadline::passed(body_timeout) => {
                Err(TransferError::Client(ClientFault::StoodStill))
            }
        }
    }

    /// The body ended by itself: at its last byte, or elsewhere.
    fn ended(&self, limit: u64) -> End {
        let start = self.offer.extent.map_or(0, Extent::start);
        let open = match self.offer.scope {
            BodyScope::Range => false,
            BodyScope::ToEnd => self.offer.length.is_none(),
            BodyScope::Open => true,
        };
        if open || self.position == limit {
            return End::Whole;
        }
        End::Short(TransferError::Refused(Refusal::RangeMismatch {
            range: limit - start,
            body: self.position - start,
        }))
    }

    /// Stores a batch as far as the body may reach; what is beyond that is an error.
    async fn store(&mut self, batch: &mut Batch, limit: u64) -> Result<(), TransferError> {
        self.engine.stats.received_bytes.inc_by(batch.bytes as u64);
        self.pace.add(batch.bytes as u64);
        let end = self.position + batch.bytes as u64;
        if end <= limit {
            return self.keep(batch).await;
        }
        let error = self.too_long(limit, end);
        let mut good = Batch::of(batch.cut(0, limit - self.position));
        self.keep(&mut good).await?;
        Err(error)
    }

    /// Hashes and writes a batch.
    async fn keep(&mut self, batch: &mut Batch) -> Result<(), TransferError> {
        let (start, bytes) = (self.position, batch.bytes as u64);
        let Some(extent) = Extent::new(start, start + bytes) else { return Ok(()) };
        if let Some(hasher) = &mut self.hasher {
            for frame in &batch.frames {
                hasher.update(frame);
            }
        }
        self.position = extent.end();
        let fresh = self.missing.within(extent);
        self.engine.stats.repeated_bytes.inc_by(bytes - fresh.bytes());
        for part in fresh.as_slice() {
            let frames = if *part == extent {
                std::mem::take(&mut batch.frames)
            } else {
                batch.cut(part.start() - start, part.end() - start)
            };
            let hashed = self.prefix.is_some().then(|| frames.clone());
            let came = self.body_bytes();
            if let Some(writer) = &mut self.writer {
                let written = writer.write(*part, frames, came).await;
                written.map_err(|error| self.failed(error))?;
            }
            if let (Some(prefix), Some(frames)) = (&mut self.prefix, hashed) {
                prefix.wrote(*part, &frames);
            }
        }
        batch.clear();
        self.written = extent.end();
        Ok(())
    }

    fn too_long(&self, limit: u64, end: u64) -> TransferError {
        let start = self.offer.extent.map_or(0, Extent::start);
        let chunk_limit = self.options.limits.max_chunk_bytes;
        let known = self.handle.lock().upload.length();
        TransferError::Refused(match self.offer.scope {
            BodyScope::Range => Refusal::RangeMismatch { range: limit - start, body: end - start },
            BodyScope::ToEnd | BodyScope::Open if chunk_limit == Some(limit - start) => {
                Refusal::ChunkTooLarge { chunk: end - start, limit: limit - start }
            }
            BodyScope::Open => match known.or(self.offer.length) {
                Some(length) => Refusal::RangeOutside { end, length },
                None => self.options.limits.too_large(end, limit),
            },
            BodyScope::ToEnd => match known {
                Some(known) => Refusal::LengthChanged { known, offered: end },
                None => self.options.limits.too_large(end, limit),
            },
        })
    }

    fn failed(&self, error: WriteError) -> TransferError {
        let end = self.offer.extent.map_or(self.position, Extent::end);
        self.engine.not_written(self.handle, error, end)
    }

    /// Counts a long body on the way, so that a broken connection or a crash costs little. A body
    /// with a digest counts only when the digest has been seen to match, an unproven one only when
    /// its length has, and the last byte only when nothing wrong follows it.
    async fn checkpoint(
        &mut self,
        limit: u64,
        fence: Option<&CancellationToken>,
    ) -> Result<(), TransferError> {
        let tuning = self.options.tuning;
        let ahead = self.written - self.committed;
        if ahead < tuning.checkpoint_bytes || self.written == limit {
            return Ok(());
        }
        if self.hasher.is_some() || self.is_unproven() {
            return Ok(());
        }
        if let Some(mut pending) = self.checkpoint.take() {
            match pending.poll() {
                Some(answer) => answer?,
                // The disk does not keep up: the client has to wait for it.
                None if ahead >= tuning.max_ahead_bytes() => pending.done().await?,
                None => {
                    self.checkpoint = Some(pending);
                    return Ok(());
                }
            }
        }
        let countable = match &self.writer {
            Some(writer) => writer.countable(self.written).max(self.committed),
            None => self.written,
        };
        self.checkpoint = self.count(countable, None);
        match self.checkpoint {
            Some(_) => self.engine.keep_pace(self.handle, fence).await,
            None => Ok(()),
        }
    }

    /// A body without `Content-Range` and without a length, for an upload whose length is known: either
    /// the file, which its length will prove, or a chunk whose header was removed on the way. The bytes
    /// of the latter belong elsewhere, so nothing counts before the end.
    fn is_unproven(&self) -> bool {
        self.offer.scope == BodyScope::ToEnd
            && self.offer.length.is_none()
            && self.handle.lock().upload.length().is_some()
    }

    /// Submits what is written below `end` but not yet submitted.
    fn count(&mut self, end: u64, length: Option<u64>) -> Option<PendingCommit> {
        let extent = Extent::new(self.committed, end);
        let extents = extent.map(|extent| self.missing.within(extent)).unwrap_or_default();
        self.pace.settle(end - self.committed);
        self.committed = end;
        if extents.is_empty() && length.is_none() {
            return None;
        }
        let durability = self.options.ack;
        let command = Command::Store { extents, length, durability };
        Some(self.engine.submit(self.handle, Op::Change(command)))
    }

    /// What was set aside and not written is free again: a chunk that breaks off leaves nothing behind but its bytes.
    async fn release(&mut self) {
        if let Some(writer) = &mut self.writer {
            writer.release(self.written).await;
        }
    }

    /// Counts what may be counted and waits until that is so.
    pub(super) async fn conclude(mut self, ended: End) -> Result<(), TransferError> {
        if matches!(ended, End::Short(_)) {
            self.release().await;
        }
        let digest = self.hasher.take().map(Hasher::check);
        let (counts, error) = match (&ended, digest) {
            (End::Whole, Some(Err(found))) => {
                (false, Some(TransferError::DigestMismatch { found }))
            }
            (End::Whole, Some(Ok(())) | None) => (true, None),
            (End::Short(_), Some(_)) => (false, None),
            (End::Short(_), None) if self.is_unproven() => (false, None),
            // Refused as a whole, but for what was counted on the way.
            (End::Short(TransferError::Client(ClientFault::BadTrailers(_))), None) => (false, None),
            // Not the file that the rest of the upload is of.
            (End::Short(TransferError::Refused(Refusal::LengthChanged { .. })), None) => {
                (false, None)
            }
            // Longer than the file, which nothing announced: refused as a whole.
            (End::Short(TransferError::Refused(Refusal::RangeOutside { .. })), None)
                if self.offer.scope == BodyScope::Open =>
            {
                (false, None)
            }
            (End::Short(_), None) => (true, None),
        };
        let hashed = self.prefix.take().map(|prefix| {
            let end = prefix.end();
            // Before it is known whether it counts: the last chunk's answer begins the handover, which
            // wants the digest.
            self.handle.lock().prefix.checkin(prefix, counts);
            end
        });
        let mut counted = Ok(());
        if counts {
            let length = match (&ended, self.offer.scope) {
                // An empty body ends the file where it says that this ends.
                (End::Whole, BodyScope::ToEnd) if self.offer.extent.is_none() => self.offer.length,
                (End::Whole, BodyScope::ToEnd) => Some(self.position),
                (End::Whole, BodyScope::Range | BodyScope::Open) => self.offer.length,
                (End::Short(_), _) => self.offer.length.filter(|_| self.written > self.committed),
            };
            if let Some(writer) = &mut self.writer {
                writer.settle().await;
            }
            if let Some(pending) = self.count(self.written, length) {
                counted = pending.done().await;
            }
        }
        if let Some(pending) = self.checkpoint.take() {
            counted = counted.and(pending.done().await);
        }
        if let Some(hashed) = hashed.filter(|_| counts).and_then(|end| Extent::new(0, end)) {
            let mut state = self.handle.lock();
            // Our claim is still held: what is acknowledged now is what was hashed. What is not (a write
            // or a count on the way failed) others may send with other bytes.
            if !state.upload.received().contains(hashed) {
                state.prefix.forget();
            }
        }
        match (ended, error) {
            (End::Short(error), _) => Err(error),
            (End::Whole, Some(error)) => Err(error),
            (End::Whole, None) => counted.map_err(|error: ChangeError| error.into()),
        }
    }
}
