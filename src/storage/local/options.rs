//! How a storage directory is used, and what only benches and simulations change.

use crate::core::event::Durability;

/// How a storage directory is used. The server changes the first three alone.
#[derive(Clone, Copy, Debug)]
pub struct LocalOptions {
    /// What an acknowledgement promises.
    pub ack: Durability,
    /// Space that chunks must leave free, in bytes.
    pub min_free_bytes: u64,
    /// Bytes of batches that may wait for a slow disk at once; beyond them bodies wait.
    pub waiting_bytes: u64,
    /// Space is reserved and preallocated as far ahead as a body has come already, but at least this far: a declared
    /// range costs no more than that.
    pub first_stretch_bytes: u64,
    /// With `ack = written` this many bytes of an upload are synced together, at least: what a sync
    /// is worth.
    pub sync_point_bytes: u64,
    /// With `ack = written` acknowledgements of an upload are ahead of the disk by this many bytes, at most; those of all
    /// by as much as eight uploads may, and a sync point of each.
    pub max_ahead_bytes: u64,
    /// A journal with more bytes is replaced where it has [`LocalOptions::compact_factor`] times as many as it needs.
    pub compact_bytes: u64,
    /// At least 1.
    pub compact_factor: u64,
}

impl LocalOptions {
    /// With these settings.
    pub fn new(ack: Durability, min_free_bytes: u64, waiting_bytes: u64) -> Self {
        Self {
            ack,
            min_free_bytes,
            waiting_bytes,
            // The suggested chunk size, which takes one preallocation.
            first_stretch_bytes: 8 << 20,
            sync_point_bytes: 64 << 20,
            max_ahead_bytes: 256 << 20,
            // Some 1,900 ranges, replayed in less than a millisecond.
            compact_bytes: 64 << 10,
            compact_factor: 4,
        }
    }
}
