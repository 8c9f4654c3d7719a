//! Parts as files of a directory: written on the worker while the page cache takes it, sealed before they are published
//! or removed.

use super::files::{Allocated, PartFile, is_full, store_error};
use super::shared::Shared;
use super::space::{Reservation, Reserved};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::id::TicketId;
use crate::storage::promised::Promised;
use crate::storage::store::{Announced, Part, Permit, PieceSink, StoreError, WriteError, Writer};
use bytes::Bytes;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use tokio::task::JoinError;
use tokio::time::Instant;

/// The part of one upload.
#[derive(Clone)]
pub(super) struct LocalPart(Arc<Inner>);

struct Inner {
    id: TicketId,
    shared: Arc<Shared>,
    /// Opened by the first that needs it, and kept.
    file: Mutex<Option<Arc<dyn PartFile>>>,
    /// Set before the part is published or removed; a writer holds it for reading, so nothing is written to a part that
    /// is no longer one.
    sealed: RwLock<bool>,
    /// Since it was sealed, all of the file of this length but its place was made durable.
    prepared: Mutex<Option<u64>>,
    /// A sync failed: what was written before it may be gone, and neither the next sync nor a concurrent one would say so. So
    /// each sync holds this lock.
    failed: Mutex<bool>,
}

impl Inner {
    fn file(&self) -> MutexGuard<'_, Option<Arc<dyn PartFile>>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepared(&self) -> MutexGuard<'_, Option<u64>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave to change the part, as long as it is held; `None` where it is sealed. Never waits: where the lock is not to
    /// be had, sealing has begun.
    fn open(&self) -> Option<RwLockReadGuard<'_, bool>> {
        self.sealed.try_read().ok().filter(|sealed| !**sealed)
    }

    /// Its file, which is not kept open if it was not; `None` where there is none. Blocks.
    fn existing(&self) -> io::Result<Option<Arc<dyn PartFile>>> {
        if let Some(file) = &*self.file() {
            return Ok(Some(Arc::clone(file)));
        }
        self.shared.files.open(self.id)
    }

    /// Its file, made if there is none; `None` where it is sealed. Blocks.
    fn created(&self) -> Option<io::Result<Arc<dyn PartFile>>> {
        // Not beside a publish or removal: either would leave a part behind that is none.
        let _open = self.open()?;
        let created = self.shared.files.create(self.id);
        Some(created.map(|file| Arc::clone(self.file().get_or_insert(file))))
    }

    /// Blocks.
    fn copy_from(&self, source: TicketId, extent: Extent, at: u64) -> Result<(), WriteError> {
        let refused = |what| move |error| WriteError::Refused { what, error: store_error(error) };
        let file =
            self.created().ok_or(WriteError::Sealed)?.map_err(refused("opening the part"))?;
        let Shared { files, space, .. } = &*self.shared;
        let source = files.open(source).map_err(refused("opening the part to copy"))?;
        let gone = || io::Error::new(io::ErrorKind::NotFound, "the part to copy is missing");
        let source = source.ok_or_else(gone).map_err(refused("opening the part to copy"))?;
        let _open = self.open().ok_or(WriteError::Sealed)?;
        let reserved = space.reserve(&**files, extent.len());
        let reserved = reserved.map_err(refused("asking for free space"))?;
        let mut reservation = reserved.ok_or(WriteError::Reserve)?;
        file.copy_from(&*source, extent, at).map_err(|error| failed("copy", error))?;
        reservation.written(extent.len());
        Ok(())
    }

    /// Keeps other syncs of the part out, and lets this one note that it has failed. Errors: an earlier one has. Blocks.
    fn lock_syncs(&self) -> Result<MutexGuard<'_, bool>, StoreError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match *failed {
            true => Err(StoreError::Fault(io::Error::other("an earlier sync of the part failed"))),
            false => Ok(failed),
        }
    }

    /// Whether there was one to sync. Blocks.
    fn sync(&self) -> Result<bool, StoreError> {
        let mut failed = self.lock_syncs()?;
        let Some(file) = self.existing().map_err(store_error)? else { return Ok(false) };
        let synced = self.shared.counted.syncs.during(|| file.sync(), |_| true);
        // Whatever the system calls it: what was not synced may be forgotten.
        *failed = synced.is_err();
        synced.map_err(StoreError::Fault)?;
        Ok(true)
    }

    /// Whether it was. Blocks.
    fn prepare(&self, length: u64) -> Result<bool, StoreError> {
        let mut failed = self.lock_syncs()?;
        let Shared { files, counted, .. } = &*self.shared;
        let file = if length == 0 { files.create(self.id).map(Some) } else { self.existing() };
        let Some(file) = file.map_err(store_error)? else { return Ok(false) };
        if file.length().map_err(StoreError::Fault)? > length {
            return Ok(false);
        }
        let prepared = counted.syncs.during(|| file.prepare(length), |error| !is_full(error));
        let prepared = prepared.map_err(store_error);
        *failed = matches!(prepared, Err(StoreError::Fault(_)));
        prepared?;
        *self.prepared() = Some(length);
        Ok(true)
    }
}

impl LocalPart {
    pub(super) fn new(id: TicketId, shared: Arc<Shared>) -> Self {
        let (file, sealed) = (Mutex::new(None), RwLock::new(false));
        let (prepared, failed) = Default::default();
        Self(Arc::new(Inner { id, shared, file, sealed, prepared, failed }))
    }

    /// Does `work` with it where waiting is allowed; a panic is a fault.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Promised<'static, Result<T, StoreError>> {
        let inner = Arc::clone(&self.0);
        self.0.shared.run(move || work(&inner))
    }

    fn write_with(
        &self,
        file: Arc<dyn PartFile>,
        missing: ExtentSet,
        length: Announced,
    ) -> Box<dyn Writer> {
        let part = Arc::clone(&self.0);
        let (reservation, allocated) = (None, None);
        Box::new(LocalWriter { part, file, missing, length, reservation, allocated })
    }
}

impl Part for LocalPart {
    fn writer(
        &self,
        missing: ExtentSet,
        length: Announced,
        _file: Option<u64>,
    ) -> Promised<'_, Result<Box<dyn Writer>, WriteError>> {
        if let Some(file) = &*self.0.file() {
            return Promised::ready(Ok(self.write_with(Arc::clone(file), missing, length)));
        }
        let inner = Arc::clone(&self.0);
        let created = self.0.shared.blocking.run(move || inner.created());
        created.map(move |created| {
            let refused = |error| WriteError::Refused { what: "opening the part", error };
            match created {
                Ok(Some(Ok(file))) => Ok(self.write_with(file, missing, length)),
                Ok(Some(Err(error))) => Err(refused(store_error(error))),
                Ok(None) => Err(WriteError::Sealed),
                Err(panicked) => Err(refused(StoreError::Fault(panicked.into()))),
            }
        })
    }

    fn sync(&self) -> Promised<'_, Result<(), StoreError>> {
        self.run(|inner| inner.sync().map(drop))
    }

    fn flush(&self) -> Promised<'_, Result<bool, StoreError>> {
        self.run(|inner| {
            let Some(_open) = inner.open() else { return Ok(false) };
            inner.sync()
        })
    }

    fn seal(&self) -> Promised<'_, ()> {
        // As each commit behind the end of the file asks for: a thread for it would be woken for nothing.
        if self.0.sealed.try_read().is_ok_and(|sealed| *sealed) {
            return Promised::ready(());
        }
        let inner = Arc::clone(&self.0);
        let sealed = self.0.shared.blocking.run(move || {
            *inner.sealed.write().unwrap_or_else(PoisonError::into_inner) = true;
        });
        sealed.map(|sealed| sealed.expect("sealing does not panic"))
    }

    fn unseal(&self) {
        *self.0.prepared() = None;
        *self.0.sealed.write().unwrap_or_else(PoisonError::into_inner) = false;
    }

    fn close(&self) {
        *self.0.file() = None;
    }

    fn prepare(&self, length: u64) -> Promised<'_, Result<bool, StoreError>> {
        self.run(move |inner| inner.prepare(length))
    }

    fn publish(&self, length: u64) -> Promised<'_, Result<(), StoreError>> {
        self.run(move |inner| {
            let _locked = inner.lock_syncs()?;
            let Shared { files, counted, .. } = &*inner.shared;
            let prepared = *inner.prepared() == Some(length);
            let publish = || match prepared {
                true => files.place(inner.id, length),
                false => files.publish(inner.id, length),
            };
            counted.syncs.during(publish, |error| !is_full(error)).map_err(store_error)
        })
    }

    fn copy_from(
        &self,
        source: TicketId,
        extent: Extent,
        at: u64,
    ) -> Promised<'_, Result<(), WriteError>> {
        let inner = Arc::clone(&self.0);
        let copied = self.0.shared.blocking.run(move || inner.copy_from(source, extent, at));
        copied.map(|copied| copied.unwrap_or_else(|panicked| Err(failed("copy", panicked.into()))))
    }

    fn read(
        &self,
        extents: Vec<Extent>,
        mut sink: Box<PieceSink>,
    ) -> Promised<'_, Result<bool, StoreError>> {
        self.run(move |inner| {
            let Some(file) = inner.existing().map_err(StoreError::Fault)? else { return Ok(false) };
            let mut buffer = vec![0; PIECE_BYTES];
            for (number, extent) in extents.iter().enumerate() {
                let mut at = extent.start();
                while at < extent.end() {
                    let left = usize::try_from(extent.end() - at).unwrap_or(usize::MAX);
                    let piece = &mut buffer[..left.min(PIECE_BYTES)];
                    file.read_at(piece, at).map_err(StoreError::Fault)?;
                    if sink(number, piece).is_break() {
                        return Ok(true);
                    }
                    at += piece.len() as u64;
                }
            }
            Ok(true)
        })
    }
}

/// Writes one chunk.
struct LocalWriter {
    part: Arc<Inner>,
    file: Arc<dyn PartFile>,
    /// What of the chunk is to be stored; fixed, since nobody else writes there.
    missing: ExtentSet,
    length: Announced,
    reservation: Option<Reservation>,
    /// The stretch that was preallocated last.
    allocated: Option<Extent>,
}

/// What asking for space came to; `None` where the part is sealed, within where the reserve would be touched.
type Asked = Result<Option<io::Result<Option<Reserved>>>, JoinError>;

impl LocalWriter {
    /// Has space reserved and preallocated for the bytes from `part` on: for the chunk, or a bounded stretch of it, so
    /// that a declared length alone does not take the disk.
    fn ask(&mut self, part: Extent, came: u64) -> (Extent, Promised<'static, Asked>) {
        let shared = &self.part.shared;
        let stretch = came.clamp(shared.tuning.first_stretch_bytes, STRETCH_BYTES);
        let end = self.missing.end().min(part.start().saturating_add(stretch)).max(part.end());
        let known = self.length == Announced::Yes;
        let stretch = if known { Extent::new(part.start(), end).unwrap_or(part) } else { part };
        self.reservation = None;
        let (inner, file) = (Arc::clone(&self.part), Arc::clone(&self.file));
        let asked = shared.slow_disk.run(move || {
            // Never beside a publish: what is set aside behind a file's end would stay there.
            let _open = inner.open()?;
            let Shared { space, files, .. } = &*inner.shared;
            let file = known.then_some(&*file);
            Some(space.reserve_and_allocate(&**files, file, stretch))
        });
        (stretch, asked)
    }

    fn asked(&mut self, stretch: Extent, asked: Asked) -> Result<(), WriteError> {
        let refused = |error| WriteError::Refused {
            what: "asking for free space",
            error: store_error(error),
        };
        let asked = asked.unwrap_or_else(|panicked| Some(Err(panicked.into())));
        let reserved = asked.ok_or(WriteError::Sealed)?.map_err(refused)?;
        let Reserved { reservation, allocated } = reserved.ok_or(WriteError::Reserve)?;
        // A full disk may have given a part of it.
        let taken = match &allocated {
            Ok(allocated) => *allocated == Allocated::Yes,
            Err(error) => is_full(error),
        };
        self.allocated = taken.then_some(stretch).or(self.allocated);
        allocated.map_err(|error| failed("preallocation", error))?;
        self.reservation = Some(reservation);
        Ok(())
    }

    /// Writes frames: here while that is quick, on a blocking thread while the disk is slow, so that other connections of
    /// this worker go on.
    fn put(&mut self, extent: Extent, frames: Vec<Bytes>) -> Promised<'_, Result<(), WriteError>> {
        let (inner, file) = (Arc::clone(&self.part), Arc::clone(&self.file));
        let written = self.part.shared.slow_disk.run(move || {
            let _open = inner.open()?;
            Some(file.write_at(&frames, extent.start()))
        });
        written.map(move |written| {
            let written = written.unwrap_or_else(|panicked| Some(Err(panicked.into())));
            written.ok_or(WriteError::Sealed)?.map_err(|error| failed("write", error))?;
            if let Some(reservation) = &mut self.reservation {
                reservation.written(extent.len());
            }
            Ok(())
        })
    }
}

impl Writer for LocalWriter {
    fn permit(&self, bytes: usize) -> Option<Promised<'_, Permit>> {
        let disk = &self.part.shared.slow_disk;
        if !disk.is_slow(Instant::now()) {
            return None;
        }
        Some(Promised::later(async move { Permit { _units: disk.permit(bytes).await } }))
    }

    fn write(
        &mut self,
        extent: Extent,
        frames: Vec<Bytes>,
        came: u64,
    ) -> Promised<'_, Result<(), WriteError>> {
        if self.reservation.as_ref().is_some_and(|reservation| reservation.covers(extent.len())) {
            return self.put(extent, frames);
        }
        match self.ask(extent, came) {
            (stretch, Promised::Ready(Some(asked))) => match self.asked(stretch, asked) {
                Ok(()) => self.put(extent, frames),
                Err(error) => Promised::ready(Err(error)),
            },
            (stretch, later) => Promised::later(async move {
                self.asked(stretch, later.await)?;
                self.put(extent, frames).await
            }),
        }
    }

    fn release(&mut self, from: u64) -> Promised<'_, ()> {
        let Some(stretch) = self.allocated.take() else { return Promised::ready(()) };
        let Some(rest) = Extent::new(from.max(stretch.start()), stretch.end()) else {
            return Promised::ready(());
        };
        let unwritten = self.missing.within(rest);
        let (inner, file) = (Arc::clone(&self.part), Arc::clone(&self.file));
        let released = self.part.shared.blocking.run(move || {
            // Nobody else writes there, since the claim is still held; a publish does not ask for claims, so its seal is
            // respected: what is published keeps its length.
            let Some(_open) = inner.open() else { return Ok(()) };
            unwritten.as_slice().iter().try_for_each(|extent| file.release(*extent))
        });
        let upload = self.part.id.short();
        released.map(move |released| match released.map_err(io::Error::other) {
            Ok(Ok(())) => {}
            // Nothing is lost by it but the space, until the upload is over.
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(%upload, %error, "could not release preallocated space");
            }
        })
    }
}

/// An error of changing the part: a full disk may have space again, and an offset may be too large.
fn failed(what: &'static str, error: io::Error) -> WriteError {
    if error.kind() == io::ErrorKind::FileTooLarge {
        return WriteError::TooLarge;
    }
    WriteError::Failed { what, error: store_error(error) }
}

/// Space is reserved and preallocated this far ahead, at most.
const STRETCH_BYTES: u64 = 256 << 20;
/// Read in one go: so much is still read when the caller has gone.
const PIECE_BYTES: usize = 256 << 10;

#[cfg(test)]
#[path = "part/tests.rs"]
mod tests;
