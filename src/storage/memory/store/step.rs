//! The steps of a disk, as tests name them.

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
    /// Syncing a blob, also where that prepares it for its publish.
    Sync,
    /// Publishing, at its rename.
    Publish,
    /// Publishing, at its sync of the names.
    PublishNames,
    /// Looking for a published file.
    Look,
    /// Reading a published file.
    Read,
    /// Removing a part.
    Discard,
    /// Removing a published file.
    Withdraw,
}
