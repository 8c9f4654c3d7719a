//! Bytes at offsets: the part files of running uploads, and the published files.
//!
//! Knows no journal and no rules. All calls block; who calls decides on which thread. What is
//! absent: nothing here remembers which bytes count.

#[cfg(test)]
pub(in crate::storage) mod conformance;

use crate::core::extent::Extent;
use crate::core::id::RunIdentity;
use crate::core::id::TicketId;
use crate::storage::location::Location;
use crate::storage::store::StoreError;
use bytes::Bytes;
use std::io::{self, Read};
use std::sync::Arc;

/// A place for the bytes of uploads, one blob for each. All calls block.
pub trait Files: Send + Sync {
    /// Opens the part of `id`, making it if there is none.
    fn create(&self, id: TicketId) -> io::Result<Arc<dyn PartFile>>;

    /// Opens the part of `id`, or `None` if there is none.
    fn open(&self, id: TicketId) -> io::Result<Option<Arc<dyn PartFile>>>;

    /// Puts the part of `id` in its place as the finished file of `length` bytes, prepared ([`PartFile::prepare`]) and
    /// placed. Publishing again is fine.
    ///
    /// Durability: whole when this returns `Ok`. Errors: any of the disk; the part is then still
    /// a part, or already in its place.
    fn publish(&self, id: TicketId, length: u64) -> io::Result<()> {
        let part = if length == 0 { Some(self.create(id)?) } else { self.open(id)? };
        if let Some(part) = part {
            part.prepare(length)?;
        }
        self.place(id, length)
    }

    /// Renames the prepared part of `id` to the finished file of `length` bytes, and syncs the directory of finished files:
    /// that makes the whole rename durable where a file system renames atomically. Elsewhere a power cut may bring the
    /// part's name back beside the file.
    ///
    /// Durability: whole when this returns `Ok`. Errors: as [`Files::publish`].
    fn place(&self, id: TicketId, length: u64) -> io::Result<()>;

    /// The length in bytes of the published file, or `None` if there is none.
    fn published(&self, id: TicketId) -> io::Result<Option<u64>>;

    /// Reads the published file from an offset on.
    fn read(&self, id: TicketId, from: u64) -> io::Result<Box<dyn Read + Send>>;

    /// Where the backend finds the published file.
    fn location(&self, id: TicketId) -> Location;

    /// Removes the part; removing none is fine.
    fn discard(&self, id: TicketId) -> io::Result<()>;

    /// Removes the published file; removing none is fine.
    fn withdraw(&self, id: TicketId) -> io::Result<()>;

    /// The ids of all parts, in no order.
    fn parts(&self) -> io::Result<Vec<TicketId>>;

    /// Bytes free for this server; `None` where the file system does not say.
    fn free_bytes(&self) -> io::Result<Option<u64>>;

    /// Whether the place is there and takes writes, as far as can be told without writing. Errors: why
    /// not.
    fn writable(&self) -> io::Result<()>;

    /// Writes a small file, syncs and removes it. Errors: what that met with; a full disk is one.
    fn probe(&self) -> io::Result<()>;

    /// Which run of machine and mount holds what is written now.
    fn run(&self) -> RunIdentity;
}

/// The bytes of one upload while it runs. All calls block.
pub trait PartFile: Send + Sync {
    /// Writes all of `frames`, one behind the other, from `offset` on. Into the page cache; not
    /// durable.
    fn write_at(&self, frames: &[Bytes], offset: u64) -> io::Result<()>;

    /// Copies the bytes `extent` of `source` to `at` on, through no memory of this program where the file system can. Into
    /// the page cache; not durable. Errors: `UnexpectedEof` where the source is shorter; some may have been copied.
    fn copy_from(&self, source: &dyn PartFile, extent: Extent, at: u64) -> io::Result<()>;

    /// The file that it is, where the kernel knows it as one.
    fn as_file(&self) -> Option<&std::fs::File> {
        None
    }

    /// Fills `buffer` with the bytes from `offset` on. Errors: `UnexpectedEof` where the part is
    /// shorter.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Makes every byte written before this call durable, and the part's name with it.
    fn sync(&self) -> io::Result<()>;

    /// Makes it what the finished file of `length` bytes is to be, but for its place: cut to length (never made longer: a
    /// part that is too short is an error), readable for who may read finished files, and durable with the part's name.
    fn prepare(&self, length: u64) -> io::Result<()>;

    /// The file's length in bytes, holes counted.
    fn length(&self) -> io::Result<u64>;

    /// Reserves space for `extent` without changing the file's length. A store that cannot does
    /// nothing. Errors: `StorageFull` and the like.
    fn allocate(&self, extent: Extent) -> io::Result<Allocated>;

    /// Gives back the space of `extent`: what was in it is lost. The file may end behind it
    /// then, never before its present end, so its length says less about what it holds from then on. A store that cannot does nothing.
    fn release(&self, extent: Extent) -> io::Result<()>;
}

/// Whether space was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocated {
    /// It is: the free space is smaller by it.
    Yes,
    /// The store cannot; the space is taken by the writes.
    No,
}

/// A failed sync, which is a fault whatever the system calls it: what it did not write may be
/// forgotten, and the next sync of another handle would not say so again.
pub(in crate::storage) fn failed_sync(error: &io::Error) -> io::Error {
    io::Error::other(format!("sync: {error}"))
}

/// Bytes that were stored are no longer there.
pub(in crate::storage) fn too_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the part is shorter than the file")
}

/// What an error of the disk means for who asked.
pub fn store_error(error: io::Error) -> StoreError {
    if is_full(&error) {
        StoreError::NoSpace
    } else if is_exhausted(&error) {
        StoreError::Exhausted
    } else {
        StoreError::Fault(error)
    }
}

/// Whether opening a file failed because the process or the machine has as many files open as it may:
/// nothing has failed, and with fewer connections the same works.
pub fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| code == Some(errno.raw_os_error()))
}

/// Whether an error of a disk means that it is full, not that it failed.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_want_of_descriptors_are_told_from_faults() {
        let check = |errno: rustix::io::Errno, full: bool, exhausted: bool| {
            let error = io::Error::from(errno);
            assert_eq!((is_full(&error), is_exhausted(&error)), (full, exhausted), "{error}");
        };
        check(rustix::io::Errno::NOSPC, true, false);
        check(rustix::io::Errno::DQUOT, true, false);
        check(rustix::io::Errno::MFILE, false, true);
        check(rustix::io::Errno::NFILE, false, true);
        check(rustix::io::Errno::IO, false, false);
        check(rustix::io::Errno::ROFS, false, false);
    }
}
