//! The settings of the engine, and what only benches and simulations change.

use crate::core::event::Durability;
use crate::core::handover::Policy;
use crate::core::limits::Limits;
use std::time::Duration;

/// The settings of the engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// What an acknowledgement promises.
    pub ack: Durability,
    /// Bounds on one upload.
    pub limits: Limits,
    /// Uploads that take disk or have a delivery pending, at most.
    pub max_uploads: u64,
    /// Space that chunks must leave free, in bytes.
    pub min_free_bytes: u64,
    /// Idle uploads are cancelled after this long.
    pub max_idle: Duration,
    /// Status stays readable this long after an upload is over.
    pub retain_finished: Duration,
    /// The file of a failed handover stays this long.
    pub failed_retention: Duration,
    /// How backends are called.
    pub calls: Policy,
    /// A body that stands still this long ends.
    pub body_timeout: Duration,
    /// A body slower than this many bytes a second ends; 0 lets every body go on.
    pub min_rate: u64,
    /// Distances; no setting of the server.
    pub tuning: Tuning,
    /// Bytes of batches that may wait for a slow disk at once; beyond them bodies wait.
    pub waiting_bytes: u64,
}

/// How far bodies go before something is done for them, in bytes. The server uses the defaults.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    /// Frames are collected up to this many bytes, and then written together; one larger frame is
    /// not split.
    pub batch_bytes: usize,
    /// A long body is counted after this many bytes; it runs at most [`Tuning::max_ahead_bytes`]
    /// ahead of its last count.
    pub checkpoint_bytes: u64,
    /// Space is reserved and preallocated as far ahead as the body has come already, but at least
    /// this far: a declared range costs no more than that.
    pub first_stretch_bytes: u64,
    /// With `ack = written` this many bytes of an upload are synced together, at least: what a sync
    /// is worth.
    pub sync_point_bytes: u64,
    /// A journal with more bytes is replaced where it has [`Tuning::compact_factor`] times as many as it needs.
    pub compact_bytes: u64,
    /// At least 1.
    pub compact_factor: u64,
}

impl Tuning {
    /// A body runs ahead of its last count by this many bytes, at most.
    pub fn max_ahead_bytes(&self) -> u64 {
        self.checkpoint_bytes.saturating_mul(4)
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            batch_bytes: super::chunk::batch::BATCH_BYTES,
            checkpoint_bytes: 64 << 20,
            // The suggested chunk size, which takes one preallocation.
            first_stretch_bytes: 8 << 20,
            sync_point_bytes: 256 << 20,
            // Some 1,900 ranges, replayed in less than a millisecond.
            compact_bytes: 64 << 10,
            compact_factor: 4,
        }
    }
}
