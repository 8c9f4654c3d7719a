//! The bytes of one upload on their way into the bucket: collected into pieces, which are stored when they are whole.
//!
//! A piece never crosses a cell. The bytes of a whole cell are sent as its direct part, all others as fragments. A body
//! that runs ahead of the bucket waits: for one of its few requests, and for [`super::memory`].

use super::memory::{Collecting, Filling, Held};
use super::{InMemory, lock, unavailable};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::grid::{BeyondTheGrid, Cell, Grid};
use crate::core::id::TicketId;
use crate::core::object_command::StoredPiece;
use crate::core::piece_event::{ClaimId, Purpose};
use crate::core::refusal::Refusal;
use crate::engine::objects::generation::{PartSlot, Slots};
use crate::engine::objects::{Backing, ObjectChangeError};
use crate::storage::objects::{Key, Payload};
use crate::storage::promised::Promised;
use crate::storage::store::{Announced, Part, Permit, PieceSink, StoreError, WriteError, Writer};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

pub(super) struct BucketPart<B: Backing + 'static>(pub(super) Arc<InMemory<B>>);

impl<B: Backing + 'static> BucketPart<B> {
    /// A writer of the bytes `missing`; `file` is the length of the whole file, where it is said.
    pub(super) async fn begin(
        &self,
        missing: ExtentSet,
        file: Option<u64>,
    ) -> Result<BucketWriter<B>, WriteError> {
        let refused = |error| WriteError::Refused {
            what: "reading the log of the upload",
            error: unavailable(error),
        };
        let (engine, id) = (&self.0.shared.engine, self.0.id);
        if engine.is_aged(&engine.view(id).await.map_err(refused)?) {
            // The store may remove its multipart upload any time.
            engine.advance(id).await.map_err(refused)?;
        }
        let view = engine.view(id).await.map_err(refused)?;
        if !view.upload.takes_bytes() {
            return Err(WriteError::Sealed);
        }
        let grid = view.upload.grid(file, &engine.backing().limits());
        let grid = grid.map_err(|refusal| match refusal {
            Refusal::BeyondTheGrid(beyond) => WriteError::BeyondTheGrid(beyond),
            _ => WriteError::TooLarge,
        })?;
        fits(grid, missing.end())?;
        let is_small = view.upload.is_small(grid, file);
        let claim = ClaimId(engine.backing().random());
        self.0.staging.enter(claim);
        let body = Body {
            upload: Arc::clone(&self.0),
            claim,
            filling: Mutex::default(),
            requests: Arc::new(Semaphore::new(REQUESTS)),
        };
        Ok(BucketWriter {
            body: Arc::new(body),
            missing,
            grid,
            file: view.upload.upload().length().or(file),
            is_small,
            slots: Vec::new(),
            is_kept: false,
        })
    }

    async fn complete(&self) -> Result<(), StoreError> {
        let engine = &self.0.shared.engine;
        let known = engine.remembered(self.0.id);
        if known.is_some_and(|view| view.upload.pieces().published().is_some()) {
            // The record of its bytes said so.
            return Ok(());
        }
        let end_ms = engine.backing().local_ms() + OTHERS_COMPLETE_MS;
        loop {
            engine.advance(self.0.id).await.map_err(unavailable)?;
            let view = self.0.shared.view(self.0.id).await?;
            if view.upload.pieces().published().is_some() {
                // What it was made of goes when the upload is tidied.
                return Ok(());
            }
            if !view.upload.awaits_publish() {
                // Bytes were lost. The log says so to who reads on.
                return Ok(());
            }
            if engine.backing().local_ms() >= end_ms {
                return Err(StoreError::Unavailable);
            }
            // Another server holds it.
            engine.pause().await;
        }
    }
}

impl<B: Backing + 'static> Part for BucketPart<B> {
    fn writer(
        &self,
        missing: ExtentSet,
        _: Announced,
        file: Option<u64>,
    ) -> Promised<'_, Result<Box<dyn Writer>, WriteError>> {
        Promised::later(
            async move { Ok(Box::new(self.begin(missing, file).await?) as Box<dyn Writer>) },
        )
    }

    /// What the bucket did not take is found missing when it is to be counted.
    fn sync(&self) -> Promised<'_, Result<(), StoreError>> {
        if self.0.staging.is_quiet() {
            return Promised::ready(Ok(()));
        }
        Promised::later(async move {
            self.0.staging.settled().await;
            Ok(())
        })
    }

    fn flush(&self) -> Promised<'_, Result<bool, StoreError>> {
        Promised::ready(Ok(false))
    }

    /// Names are written once: nothing that comes late changes what counts.
    fn seal(&self) -> Promised<'_, ()> {
        Promised::ready(())
    }

    fn unseal(&self) {}

    fn close(&self) {}

    /// Where it came whole, as one object that may be the file.
    fn prepare(&self, length: u64) -> Promised<'_, Result<bool, StoreError>> {
        Promised::later(async move {
            self.0.staging.settled().await;
            let known = self.0.shared.engine.remembered(self.0.id);
            let is_first = known.is_some_and(|view| view.upload.upload().received().is_empty());
            Ok(is_first && self.0.staging.is_file(length))
        })
    }

    fn publish(&self, _: u64) -> Promised<'_, Result<(), StoreError>> {
        Promised::later(self.complete())
    }

    fn copy_from(
        &self,
        source: TicketId,
        extent: Extent,
        at: u64,
    ) -> Promised<'_, Result<(), WriteError>> {
        Promised::later(self.copy(source, extent, at))
    }

    fn read(
        &self,
        extents: Vec<Extent>,
        sink: Box<PieceSink>,
    ) -> Promised<'_, Result<bool, StoreError>> {
        Promised::later(self.read_all(extents, sink))
    }
}

pub(super) struct BucketWriter<B: Backing + 'static> {
    body: Arc<Body<B>>,
    missing: ExtentSet,
    grid: Grid,
    file: Option<u64>,
    is_small: bool,
    slots: Vec<Slots>,
    /// Whether its pieces may come to count after it has ended.
    is_kept: bool,
}

/// A body, as far as its bytes have come.
struct Body<B: Backing + 'static> {
    upload: Arc<InMemory<B>>,
    claim: ClaimId,
    /// Of the writer, and of others that need room.
    filling: Mutex<Option<Filling>>,
    requests: Arc<Semaphore>,
}

/// What is sent to the bucket.
struct Collected<B: Backing + 'static> {
    extent: Extent,
    bytes: Payload,
    held: Held,
    under_way: UnderWay<B>,
}

impl<B: Backing + 'static> Body<B> {
    /// What is collected, on its way from now on.
    fn collected(&self) -> Option<Collected<B>> {
        let mut filling = lock(&self.filling);
        let (start, bytes, held) = self.upload.shared.memory.end(filling.take()?);
        let extent = Extent::new(start, start + bytes.len())?;
        Some(Collected { extent, bytes, held, under_way: UnderWay::new(&self.upload) })
    }

    /// Where what is collected begins.
    fn start(&self) -> Option<u64> {
        lock(&self.filling).as_ref().map(|filling| filling.start)
    }

    /// Sends it, when the body has a turn.
    async fn store(&self, collected: Collected<B>, slot: Option<PartSlot>, purpose: Purpose) {
        let turn = Arc::clone(&self.requests).acquire_owned().await;
        let claim = self.claim;
        tokio::spawn(async move {
            let Collected { extent, bytes, held, under_way } = collected;
            let InMemory { id, shared, staging, requests, .. } = &*under_way.upload;
            let id = *id;
            let own = requests.acquire().await;
            let stored = shared.engine.store_piece(id, bytes, slot, purpose).await;
            drop((held, turn, own));
            match stored {
                Ok(piece) => {
                    if let Some(name) = staging.add(claim, StoredPiece { extent, piece }) {
                        shared.engine.delete(Key { id, name }).await;
                    }
                }
                Err(error) => tracing::warn!(upload = %id.short(), %error, "could not store bytes"),
            }
        });
    }
}

impl<B: Backing + 'static> Collecting for Body<B> {
    fn store_as_it_is(self: Arc<Self>) -> usize {
        let Some(collected) = self.collected() else { return 0 };
        let units = collected.held.units();
        tokio::spawn(async move { self.store(collected, None, Purpose::Fragment).await });
        units
    }
}

impl<B: Backing + 'static> BucketWriter<B> {
    /// One whose pieces may come to count after it has ended, as long as the upload is in memory.
    pub(super) fn kept(mut self) -> Self {
        self.is_kept = true;
        self
    }

    /// Where the piece with the byte at `at` ends: with its cell, or with what is missing.
    fn cut(&self, at: u64) -> u64 {
        let cell = self.grid.cell_bytes();
        let cell_end = (at / cell + 1).saturating_mul(cell);
        let all = self.missing.as_slice().iter();
        let end = all.map(|extent| extent.end()).find(|end| *end > at).unwrap_or(cell_end);
        end.min(cell_end)
    }

    /// Collects bytes for `at` on; answers how many there are.
    pub(super) async fn take(&mut self, start: u64, frames: Vec<Bytes>) -> u64 {
        let mut at = start;
        for mut frame in frames {
            while !frame.is_empty() {
                let cut = self.cut(at);
                let count = self.collect(at, cut, &mut frame).await;
                at += count;
                if at == cut {
                    self.hand_on().await;
                }
            }
        }
        at - start
    }

    /// Moves bytes of `frame` to `at`, of a piece that ends at `cut`, as many as there is leave for; answers how many. None
    /// where it was waited for: meanwhile others may have needed what this body had collected.
    async fn collect(&mut self, at: u64, cut: u64, frame: &mut Bytes) -> u64 {
        let units = {
            let mut filling = lock(&self.body.filling);
            match filling.as_mut() {
                None => Some(1),
                Some(filling) if filling.end() != at => None,
                Some(filling) if filling.room() == 0 => Some(filling.next_units(cut - at)),
                Some(filling) => {
                    let count = (frame.len() as u64).min(cut - at).min(filling.room());
                    let piece = frame.split_to(usize::try_from(count).unwrap_or(usize::MAX));
                    filling.take(&piece, cut - at);
                    return count;
                }
            }
        };
        let Some(units) = units else {
            self.hand_on().await;
            return 0;
        };
        let InMemory { id, shared, memory, .. } = &*self.body.upload;
        let held = shared.memory.hold((*id, memory), units).await;
        let mut filling = lock(&self.body.filling);
        match filling.as_mut() {
            Some(filling) => filling.grow(held),
            None => {
                let body: Arc<dyn Collecting> = self.body.clone();
                *filling = Some(shared.memory.begin(*id, at, held, Arc::downgrade(&body)));
            }
        }
        0
    }

    /// Sends what is collected to the bucket, beside the body.
    pub(super) async fn hand_on(&mut self) {
        let Some(collected) = self.body.collected() else { return };
        let extent = collected.extent;
        let whole = self.is_small && extent.start() == 0 && Some(extent.end()) == self.file;
        let purpose = if whole { Purpose::File } else { Purpose::Fragment };
        let slot = match self.grid.direct_cell(extent).filter(|_| !self.is_small) {
            Some(cell) => self.slot(cell, extent).await,
            None => None,
        };
        self.body.store(collected, slot, purpose).await;
    }

    /// Leave to send the direct part of `cell`. It is asked for some cells at a time.
    async fn slot(&mut self, cell: Cell, extent: Extent) -> Option<PartSlot> {
        if let Some(slot) = self.slots.iter().find_map(|slots| slots.take(cell)) {
            return Some(slot);
        }
        let ahead = extent.start().saturating_add(self.grid.cell_bytes() * CLAIMED_AHEAD);
        let cells = self.missing.within(Extent::new(extent.start(), ahead)?);
        let claimed = async {
            let InMemory { id, shared, .. } = &*self.body.upload;
            let view = shared.engine.view(*id).await?;
            let sizes = (self.grid, self.file);
            shared.engine.slots(*id, &view, self.body.claim, &cells, sizes).await
        };
        match claimed.await {
            Ok(slots) => self.slots.push(slots),
            Err(ObjectChangeError::Unknown | ObjectChangeError::Refused(_)) => return None,
            Err(error @ (ObjectChangeError::Unsure | ObjectChangeError::Store(_))) => {
                tracing::warn!(upload = %self.body.upload.id.short(), %error, "could not claim parts");
                return None;
            }
        }
        self.slots.last()?.take(cell)
    }
}

impl<B: Backing + 'static> Writer for BucketWriter<B> {
    fn permit(&self, _: usize) -> Option<Promised<'_, Permit>> {
        None
    }

    /// As many as there is leave to hold: all that waits for more is one frame.
    fn batch_bytes(&self, usual: usize) -> usize {
        let room = lock(&self.body.filling).as_ref().map_or(0, Filling::room);
        usize::try_from(room).map_or(usual, |room| room.min(usual))
    }

    fn write(
        &mut self,
        extent: Extent,
        frames: Vec<Bytes>,
        _came: u64,
    ) -> Promised<'_, Result<(), WriteError>> {
        Promised::later(async move {
            fits(self.grid, extent.end())?;
            self.take(extent.start(), frames).await;
            Ok(())
        })
    }

    /// Cells that have left.
    fn countable(&self, written: u64) -> u64 {
        self.body.start().unwrap_or(written)
    }

    fn settle(&mut self) -> Promised<'_, ()> {
        Promised::later(self.hand_on())
    }

    fn release(&mut self, _: u64) -> Promised<'_, ()> {
        Promised::ready(())
    }
}

impl<B: Backing + 'static> Drop for BucketWriter<B> {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        let view = self.body.upload.shared.engine.remembered(self.body.upload.id);
        let counts = |name| view.as_ref().is_none_or(|it| it.upload.pieces().refers_to(name));
        let mut left = self.body.upload.staging.leave(self.body.claim);
        left.retain(|name| !counts(*name));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !left.is_empty() {
            let (shared, id) = (Arc::clone(&self.body.upload.shared), self.body.upload.id);
            runtime.spawn(async move {
                for name in left {
                    shared.engine.delete(Key { id, name }).await;
                }
            });
        }
    }
}

/// Bytes of a body whose length is not known may come for a place that no grid of their upload has.
fn fits(grid: Grid, end: u64) -> Result<(), WriteError> {
    let limit = grid.capacity();
    match end > limit {
        true => Err(WriteError::BeyondTheGrid(BeyondTheGrid { file: end, limit })),
        false => Ok(()),
    }
}

/// A request under way, in a task of its own.
struct UnderWay<B: Backing + 'static> {
    upload: Arc<InMemory<B>>,
    number: u64,
}

impl<B: Backing + 'static> UnderWay<B> {
    fn new(upload: &Arc<InMemory<B>>) -> Self {
        Self { number: upload.staging.begin(), upload: Arc::clone(upload) }
    }
}

impl<B: Backing + 'static> Drop for UnderWay<B> {
    fn drop(&mut self) {
        self.upload.staging.end(self.number);
    }
}

/// Requests of one body at once.
const REQUESTS: usize = 4;
/// Cells that a body asks leave for at a time.
const CLAIMED_AHEAD: u64 = 8;
/// How long it is waited for another server that publishes the upload.
const OTHERS_COMPLETE_MS: u64 = 10_000;
