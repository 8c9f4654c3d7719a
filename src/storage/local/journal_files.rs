//! The journal of an upload: a short append-only file of checksummed records, the only form in
//! which state is kept. Replaying it is the only way an upload is loaded.
//!
//! Knows no bytes of files (that is `store`) and takes no decisions (that is `core`).

#[cfg(test)]
pub(in crate::storage) mod conformance;

use crate::core::id::TicketId;
use crate::core::time::Uptime;
use std::io::{self, Read};

/// Where journals lie, one for each upload. All calls block.
pub trait JournalFiles: Send + Sync {
    /// Makes the journal of `id` holding `bytes`; durable when this returns if `sync` says so.
    ///
    /// It appears whole or not at all. Errors: any of the disk.
    fn create(&self, id: TicketId, bytes: &[u8], sync: SyncWhen) -> io::Result<()>;

    /// The journal from its beginning on, or `None` if there is none.
    fn read(&self, id: TicketId) -> io::Result<Option<Box<dyn Read + Send>>>;

    /// Puts a journal holding `bytes` in the place of the one of `id`. At every moment, also over a crash or power
    /// cut, there is either the old one or the new one, whole.
    ///
    /// Errors: the old one is in its place, untouched.
    fn replace(&self, id: TicketId, bytes: &[u8]) -> io::Result<Replaced>;

    /// Makes durable the names that journals have.
    fn sync_names(&self) -> io::Result<()>;

    /// Opens the journal for appending.
    fn open(&self, id: TicketId) -> io::Result<Box<dyn JournalFile>>;

    /// Removes the journal; removing none is fine. Not synced: it may come back after a power cut.
    fn remove(&self, id: TicketId) -> io::Result<()>;

    /// Removes what a crash in the middle of `create` left behind.
    fn remove_leftovers(&self) -> io::Result<()>;

    /// The ids of all journals, in no order.
    fn list(&self) -> io::Result<Vec<TicketId>>;

    /// The count of running time as it was last written down; `None` where it never was. Errors: it is damaged,
    /// or any of the disk.
    fn read_uptime(&self) -> io::Result<Option<Uptime>>;

    /// Writes the count of running time down; after a power cut it is this or an earlier one, whole.
    fn write_uptime(&self, uptime: Uptime) -> io::Result<()>;
}

/// A journal is in the place of another.
pub struct Replaced {
    /// The new one, open for appending.
    pub file: Box<dyn JournalFile>,
    /// Whether that is durable. An error: after a power cut either may be there, so nothing may be promised that
    /// only the new one says.
    pub named: io::Result<()>,
}

/// One open journal. All calls block.
pub trait JournalFile: Send {
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// Whether a call has to be durable before it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncWhen {
    /// On disk when the call returns.
    Now,
    /// In the page cache is enough.
    Later,
}
