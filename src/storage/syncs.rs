//! Waits for storage to have bytes or records, counted: one observation a sync, none a frame.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// What storage counts since the start of the process. A clone counts with the original.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Syncs of parts and journals, and publishes, which sync.
    pub syncs: Syncs,
    /// Journals replaced by shorter ones.
    pub compactions: Counter,
}

/// Waits for the disk to have bytes or records. A clone counts with the original.
#[derive(Clone, Debug)]
pub struct Syncs {
    /// Seconds of each, the failed ones too.
    pub seconds: Histogram,
    /// Those that failed; a full disk is no failure.
    pub errors: Counter,
    totals: Arc<Totals>,
}

#[derive(Debug, Default)]
struct Totals {
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Default for Syncs {
    fn default() -> Self {
        Self {
            seconds: Histogram::new(SYNC_SECONDS),
            errors: Counter::default(),
            totals: Arc::default(),
        }
    }
}

impl Syncs {
    /// Waits, and counts it; `failed` says which errors are failures of the disk.
    pub fn during<T, E>(
        &self,
        sync: impl FnOnce() -> Result<T, E>,
        failed: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        let began = Instant::now();
        let outcome = sync();
        let took = began.elapsed();
        self.seconds.observe(took.as_secs_f64());
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.totals.count.fetch_add(1, Ordering::Relaxed);
        self.totals.nanos.fetch_add(nanos, Ordering::Relaxed);
        if outcome.as_ref().is_err_and(failed) {
            self.errors.inc();
        }
        outcome
    }

    /// How many there were, and their nanoseconds together.
    pub fn totals(&self) -> (u64, u64) {
        (self.totals.count.load(Ordering::Relaxed), self.totals.nanos.load(Ordering::Relaxed))
    }
}

/// A sync takes a tenth of a millisecond where the drive has a cache that survives a power cut, ten on
/// a turning disk, and seconds where something is wrong.
pub const SYNC_SECONDS: [f64; 14] =
    [0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
