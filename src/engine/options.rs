//! The settings of the engine, and what only benches and simulations change.

use crate::core::event::Durability;
use crate::core::limits::Limits;
use crate::core::retry::RetryPolicy;
use arc_swap::ArcSwap;
use std::sync::Arc;
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
    pub calls: RetryPolicy,
    /// How long one call may take.
    pub call_timeout: Duration,
    /// A body that stands still this long ends.
    pub body_timeout: Duration,
    /// A body slower than this many bytes a second ends; 0 lets every body go on.
    pub min_rate: u64,
    /// Distances; no setting of the server.
    pub tuning: Tuning,
}

/// The settings in force, which may be others at any time. Clones are the same.
#[derive(Clone)]
pub struct SharedOptions(Arc<ArcSwap<Options>>);

impl From<Options> for SharedOptions {
    fn from(options: Options) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(options)))
    }
}

impl SharedOptions {
    /// Those in force now.
    pub fn load(&self) -> Arc<Options> {
        self.0.load_full()
    }

    pub(super) fn store(&self, options: Options) {
        self.0.store(Arc::new(options));
    }
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
}

impl Tuning {
    /// A body runs ahead of its last count by this many bytes, at most.
    pub fn max_ahead_bytes(&self) -> u64 {
        self.checkpoint_bytes.saturating_mul(4)
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self { batch_bytes: super::chunk::batch::BATCH_BYTES, checkpoint_bytes: 64 << 20 }
    }
}
