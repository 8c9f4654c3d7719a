//! The steps of a disk, as tests name them, and what they do to names.

use crate::core::id::TicketId;
use crate::storage::memory::file::MemoryFile;

/// What was done to a name, as long as that is not durable.
pub(super) enum Naming {
    PartMade(TicketId),
    Renamed(TicketId),
    Unpublished(TicketId),
    PartRemoved(TicketId, MemoryFile),
    FileRemoved(TicketId, MemoryFile),
}

/// A step that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making or opening a blob for writing.
    Create,
    /// Opening a blob.
    Open,
    /// Preallocating for a blob.
    Allocate,
    /// Giving preallocated space back.
    Release,
    /// Writing to a blob.
    Write,
    /// Syncing a blob.
    Sync,
    /// Publishing, at its sync of the data.
    PublishSync,
    /// Publishing, at its rename.
    Publish,
    /// Publishing, at its sync of the names.
    PublishNames,
    /// Making a published file a part again.
    Unpublish,
    /// Looking for a published file.
    Look,
    /// Reading a published file.
    Read,
    /// Removing a part.
    Discard,
    /// Removing a published file.
    Withdraw,
}
