//! The bytes of uploads, by what can be done with them: written while they arrive ([`Part`], [`Writer`]), completed
//! into a file that has a [`Location`] ([`Part::publish`]), read back ([`Published`]), and the space that they take
//! ([`Space`]).
//!
//! Every call is answered at once where the store is quick, and later where it has to wait ([`Promised`]). Dropping an
//! outcome that is waited for does not undo the call. Knows no journal and no rules; nothing here remembers which bytes
//! count.

#[cfg(test)]
pub(in crate::storage) mod conformance;

use super::location::Location;
use super::promised::Promised;
use super::rounds::Rounds;
use super::syncs::Counted;
use crate::core::extent::{Extent, ExtentSet};
use crate::core::grid::BeyondTheGrid;
use crate::core::id::TicketId;
use crate::core::upload::Upload;
use bytes::Bytes;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use thiserror::Error;
use tokio::sync::OwnedSemaphorePermit;

/// All that a place for the bytes of uploads can do.
pub trait Store: Parts + Published + Space + Rounds {}

impl<S: Parts + Published + Space + Rounds> Store for S {}

/// Bytes on their way in.
pub trait Parts: Send + Sync {
    /// The part of `id`. Nothing is opened or made yet. One upload in memory has one.
    fn part(&self, id: TicketId) -> Arc<dyn Part>;

    /// Bytes of `upload` are taken best in pieces that end at multiples of this; `None` where that is all the same.
    fn align(&self, upload: &Upload) -> Option<u64> {
        let _ = upload;
        None
    }

    /// Whether parts take bytes of other parts ([`Part::copy_from`]).
    fn copies(&self) -> bool {
        false
    }
}

/// The bytes of one upload while they arrive: a part until it is published or removed.
pub trait Part: Send + Sync {
    /// A writer of the bytes `missing`, which no other writer may write meanwhile; the part is made if there is none.
    /// `length` says whether it is known how many bytes will come; `file` is the length of the whole file, where the chunk
    /// says it.
    ///
    /// Errors: [`WriteError::Sealed`] where it is a part no more.
    fn writer(
        &self,
        missing: ExtentSet,
        length: Announced,
        file: Option<u64>,
    ) -> Promised<'_, Result<Box<dyn Writer>, WriteError>>;

    /// Makes every byte written before this call durable, and the part's name with it. Where there is no part there is
    /// nothing to do.
    ///
    /// Errors: [`StoreError::Exhausted`] where it could not be opened; else a fault, after which nothing is known of
    /// what was written.
    fn sync(&self) -> Promised<'_, Result<(), StoreError>>;

    /// As [`Part::sync`], beside writers: it is not sealed meanwhile. Answers `false` where there was nothing to
    /// do: it is sealed already, or there is none.
    fn flush(&self) -> Promised<'_, Result<bool, StoreError>>;

    /// Waits for writes that are under way, and lets no other begin.
    fn seal(&self) -> Promised<'_, ()>;

    /// Lets writes begin again.
    fn unseal(&self);

    /// Nothing is written any more: what is kept open for it is closed. It is sealed already.
    fn close(&self);

    /// Makes all of the finished file of `length` bytes durable but its place, as [`Part::publish`] would, so that this has
    /// only a name to change. Answers whether it did: not where it would have to cut bytes off, which may be some that a
    /// writer counts later if it is unsealed again. Only while it is sealed.
    ///
    /// Errors: as [`Part::sync`], and [`StoreError::NoSpace`].
    fn prepare(&self, length: u64) -> Promised<'_, Result<bool, StoreError>> {
        let _ = length;
        Promised::ready(Ok(false))
    }

    /// Completes it into the finished file of `length` bytes: cut to length (never made longer: a part that is too short
    /// is an error), durable, in its place. Completing it again is fine. Only while it is sealed.
    ///
    /// Durability: whole when this is `Ok`. Errors: any; it is then still a part, or already in its place.
    fn publish(&self, length: u64) -> Promised<'_, Result<(), StoreError>>;

    /// Takes the bytes `extent` of the part of `source` to offset `at` on, as the store itself copies best; the part is made
    /// if there is none. Only where the store can ([`Parts::copies`]) and no writer is about. `source` stays as it is. Not
    /// durable.
    ///
    /// Errors: [`WriteError::Sealed`] where it is a part no more; some of the bytes may have been copied.
    fn copy_from(
        &self,
        source: TicketId,
        extent: Extent,
        at: u64,
    ) -> Promised<'_, Result<(), WriteError>> {
        let _ = (source, extent, at);
        let error = StoreError::Fault(io::ErrorKind::Unsupported.into());
        Promised::ready(Err(WriteError::Refused { what: "copying a part", error }))
    }

    /// Gives the bytes of `extents` to `sink`, one extent after the other, a piece at a time, until it breaks off; the
    /// sink runs where computing holds nobody up. Of an extent that nobody can read yet it gets nothing. Answers whether
    /// there was a part.
    ///
    /// Errors: the part is shorter, or cannot be read.
    fn read(
        &self,
        extents: Vec<Extent>,
        sink: Box<PieceSink>,
    ) -> Promised<'_, Result<bool, StoreError>>;
}

/// Takes pieces of the extent with this number, in order.
pub type PieceSink = dyn FnMut(usize, &[u8]) -> ControlFlow<()> + Send;

/// Whether the length of a body is known before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// All that is missing will come, unless the body breaks off.
    Yes,
    /// It may end anywhere.
    No,
}

/// Writes the bytes of one chunk to a part. Space is set aside for them a bounded stretch ahead.
pub trait Writer: Send + Sync {
    /// Leave to hold up to `bytes` that wait for a slow store; `None` where it is quick and none is needed. Cancel:
    /// nothing is taken.
    fn permit(&self, bytes: usize) -> Option<Promised<'_, Permit>>;

    /// With so many bytes a batch is whole, where `usual` is what costs least: frames of it lie in memory while the write
    /// waits. One frame is a batch in any case.
    fn batch_bytes(&self, usual: usize) -> usize {
        usual
    }

    /// Writes all of `frames`, one behind the other, to `extent`, which they fill; `came` bytes of the body have come so
    /// far. Not durable.
    ///
    /// Errors: none of it counts.
    fn write(
        &mut self,
        extent: Extent,
        frames: Vec<Bytes>,
        came: u64,
    ) -> Promised<'_, Result<(), WriteError>>;

    /// What may be counted on the way, of a body that is written up to `written`: all bytes below the answer.
    fn countable(&self, written: u64) -> u64 {
        written
    }

    /// No byte follows, and all that were written are about to be counted: hands on what still waits for more.
    fn settle(&mut self) -> Promised<'_, ()> {
        Promised::ready(())
    }

    /// The chunk has broken off: gives back what was set aside for bytes from `from` on. What fails has been logged.
    fn release(&mut self, from: u64) -> Promised<'_, ()>;
}

/// Leave to wait for a slow store, given back when dropped.
pub struct Permit {
    pub(super) _units: Option<OwnedSemaphorePermit>,
}

/// Bytes were not written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// It is a part no more: published, removed, or about to be.
    #[error("the part takes no more bytes")]
    Sealed,
    /// They would eat into what must stay free; nothing was written.
    #[error("the space that is free is to stay free")]
    Reserve,
    /// Nothing was written, and the part is as it was.
    #[error("{what}: {error}")]
    Refused {
        /// What was being done.
        what: &'static str,
        /// The error.
        error: StoreError,
    },
    /// The part took no bytes at that offset, whatever becomes of them; a fault here is one of the part.
    #[error("{what}: {error}")]
    Failed {
        /// What was being done.
        what: &'static str,
        /// The error.
        error: StoreError,
    },
    /// No file can have a byte there.
    #[error("beyond what the store can hold")]
    TooLarge,
    /// No object can have a byte there.
    #[error("{0}")]
    BeyondTheGrid(BeyondTheGrid),
}

/// What was asked of a store did not happen.
#[derive(Debug, Error)]
pub enum StoreError {
    /// It is full; the same may be tried again.
    #[error("the storage is full")]
    NoSpace,
    /// As many files are open as may be; the same may be tried again.
    #[error("no file descriptor is left")]
    Exhausted,
    /// It cannot be reached, or said nothing clear; the same may be tried again.
    #[error("the store cannot be reached")]
    Unavailable,
    /// It failed.
    #[error("{0}")]
    Fault(io::Error),
}

/// Finished files.
pub trait Published: Send + Sync {
    /// Where the backend finds the finished file of `id`.
    fn location(&self, id: TicketId) -> Location;

    /// A URL that reads the finished file of `id` for some time without any other right, where the store gives one out. It is
    /// a secret.
    fn link(&self, id: TicketId) -> Promised<'_, Result<Option<String>, StoreError>> {
        let _ = id;
        Promised::ready(Ok(None))
    }

    /// The length in bytes of the finished file, or `None` if there is none.
    fn published(&self, id: TicketId) -> Promised<'_, Result<Option<u64>, StoreError>>;

    /// The finished file, to be read from an offset on. Nothing is opened yet.
    fn reader(&self, id: TicketId, from: u64) -> Box<dyn Reader>;

    /// Whether there is a part of `id`; what cannot be looked at may be there.
    fn has_part(&self, id: TicketId) -> Promised<'_, bool>;

    /// Whether something may be left of an upload that is published or over, as by a server that was killed, so that
    /// [`Published::tidy`] is due some time after.
    fn tidies(&self) -> bool {
        false
    }

    /// Removes what is left of an upload that is published or over, but the file where that stays.
    fn tidy(&self, id: TicketId) -> Promised<'_, Result<(), StoreError>> {
        let _ = id;
        Promised::ready(Ok(()))
    }

    /// Removes the part; removing none is fine.
    fn discard(&self, id: TicketId) -> Promised<'_, Result<(), StoreError>>;

    /// Removes the finished file; removing none is fine.
    fn withdraw(&self, id: TicketId) -> Promised<'_, Result<(), StoreError>>;
}

/// Takes pieces of a file, in order.
pub type ByteSink = dyn FnMut(&[u8]) + Send;

/// Reads one finished file in order.
pub trait Reader: Send {
    /// Gives the next `bytes` of it to `sink`, a piece at a time, where computing holds nobody up. Answers the reader, or
    /// `None` where the file has ended.
    ///
    /// Cancel: the slice is read to its end.
    fn next(
        self: Box<Self>,
        bytes: u64,
        sink: Box<ByteSink>,
    ) -> Promised<'static, Result<Option<Box<dyn Reader>>, StoreError>>;
}

/// The space that uploads take, and whether the store is well.
pub trait Space: Send + Sync {
    /// From now on writers must leave this many bytes free.
    fn keep_free(&self, bytes: u64);

    /// Bytes free for this server; `None` where the store does not say.
    fn free_bytes(&self) -> Promised<'_, Option<u64>>;

    /// Bytes promised to writers that [`Space::free_bytes`] does not count yet.
    fn reserved_bytes(&self) -> u64;

    /// Whether a writer would get any space at all now.
    fn has_room(&self) -> Promised<'_, Result<bool, StoreError>>;

    /// Bytes that wait for a slow store, and how many may.
    fn waiting_bytes(&self) -> (u64, u64);

    /// Whether the store takes new uploads: it is in its place, has space above what must stay free, and takes a write
    /// and a sync. Takes as long as the store takes. Errors: why not.
    fn ready(&self) -> Promised<'_, Result<(), Unready>>;

    /// Waits until the store has had its turn on whatever its calls that wait have to wait for.
    fn turn(&self) -> Promised<'_, ()>;

    /// What is counted; a clone counts with the original.
    fn counted(&self) -> Counted;
}

/// Why a store takes no new uploads.
#[derive(Clone, Debug, Error)]
pub enum Unready {
    /// It is not in its place, or may not be written.
    #[error("the storage directory cannot be used: {0}")]
    Unusable(Arc<io::Error>),
    /// What is free is reserved.
    #[error("the disk is full")]
    Full,
    /// Nothing could be written and synced.
    #[error("no file can be written to the storage directory: {0}")]
    Unwritable(Arc<io::Error>),
    /// The log is in a database, which does not do what is asked of it.
    #[error("the database cannot be used: {0}")]
    Log(Arc<str>),
    /// It is elsewhere, and does not do what is asked of it.
    #[error("the bucket cannot be used: {0}")]
    Remote(Arc<str>),
    /// A bug.
    #[error("checking the storage directory panicked")]
    Panicked,
}
