//! Room on the disk for a chunk: reserved and preallocated a bounded stretch ahead, and what was not
//! written given back.

use super::Chunk;
use crate::core::command::BodyScope;
use crate::core::extent::Extent;
use crate::engine::error::TransferError;
use crate::storage::local::files::{Allocated, is_full};
use crate::storage::local::space::Reserved;
use std::sync::Arc;

impl Chunk<'_> {
    /// Sees that space is reserved for the bytes from `part` on: for the chunk, or a bounded
    /// stretch of it, so that a declared length alone does not take the disk.
    pub(super) async fn reserve(&mut self, part: Extent) -> Result<(), TransferError> {
        if self.reservation.as_ref().is_some_and(|reservation| reservation.covers(part.len())) {
            return Ok(());
        }
        let came = self.position - self.offer.extent.map_or(0, Extent::start);
        let stretch = came.clamp(self.options.tuning.first_stretch_bytes, STRETCH_BYTES);
        let end = self.missing.end().min(part.start().saturating_add(stretch)).max(part.end());
        let known = self.offer.length.is_some() || self.offer.scope == BodyScope::Range;
        let stretch = if known { Extent::new(part.start(), end).unwrap_or(part) } else { part };
        self.reservation = None;
        let (engine, handle) = (Arc::clone(self.engine), Arc::clone(self.handle));
        let blob = self.blob.clone().filter(|_| known);
        let work = move || {
            // Never beside a publish: what is set aside behind a file's end would stay there.
            let _open = handle.open()?;
            Some(engine.space.reserve_and_allocate(&*engine.store, blob.as_deref(), stretch))
        };
        let space = self.engine.slow_disk.run(work).await;
        let space = space.unwrap_or_else(|error| Some(Err(error.into())));
        let Some(space) = space else { return Err(self.engine.fenced(self.handle)) };
        let space = space.map_err(|error| TransferError::disk("asking for free space", &error))?;
        let Reserved { reservation, allocated } = space.ok_or(TransferError::NoSpace)?;
        // A full disk may have given a part of it.
        let taken = match &allocated {
            Ok(allocated) => *allocated == Allocated::Yes,
            Err(error) => is_full(error),
        };
        self.allocated = taken.then_some(stretch).or(self.allocated);
        allocated.map_err(|error| self.failed("preallocation", &error))?;
        self.reservation = Some(reservation);
        Ok(())
    }

    /// Gives back what was preallocated and not written: a chunk that breaks leaves nothing behind
    /// but its bytes. Nobody else writes there, since the claim is still held; a publish does not ask
    /// for claims, so its seal is respected: what is published keeps its length.
    pub(super) async fn release(&mut self) {
        let (Some(blob), Some(stretch)) = (self.blob.clone(), self.allocated.take()) else {
            return;
        };
        let Some(rest) = Extent::new(self.written.max(stretch.start()), stretch.end()) else {
            return;
        };
        let unwritten = self.missing.within(rest);
        let handle = Arc::clone(self.handle);
        let released = self.engine.blocking.spawn(move || {
            let Some(_open) = handle.open() else { return Ok(()) };
            unwritten.as_slice().iter().try_for_each(|extent| blob.release(*extent))
        });
        match released.await.map_err(std::io::Error::other) {
            Ok(Ok(())) => {}
            // Nothing is lost by it but the space, until the upload is over.
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(upload = %self.handle.id.short(), %error, "could not release preallocated space");
            }
        }
    }
}

/// Space is reserved and preallocated this far ahead, at most.
const STRETCH_BYTES: u64 = 256 << 20;
