//! The use cases: everything the outside may do with uploads, and nothing about how it asked.
//!
//! Requests enter by [`tickets`], `transfer` (whose bytes go through [`chunk`]), [`status`] and [`verify`]. An upload
//! is brought into memory by `registry` (which has its journal read by `load`) as an upload handle (`handle`). Every
//! change of it waits in its commit queue (`queue`) and is decided, made durable and applied by a group commit
//! (`commit`); then `effects` sees to what follows. Bytes flow beside that, many writers at once, each in a claim of
//! its own (`claims`). In the background: the startup scan (`scan`), expiry and the end of retention (`retention`),
//! and the deliveries that [`crate::handover`] would call backends for ([`delivery`]).
//!
//! Absent: HTTP, sockets, the calls to backends.

mod catalog;
pub mod chunk;
mod claims;
pub mod clock;
mod commit;
mod compaction;
pub mod context;
pub mod deadline;
pub mod delivery;
mod digest;
mod effects;
pub mod error;
mod handle;
pub mod health;
mod load;
pub mod options;
mod queue;
mod registry;
mod retention;
mod scan;
mod slots;
pub mod stats;
pub mod status;
mod sync_point;
pub mod tickets;
mod timers;
mod transfer;
pub mod verify;

use crate::core::time::Uptime;
use crate::storage::local::blocking::Blocking;
use crate::storage::local::files::Files;
use crate::storage::local::journal_files::JournalFiles;
use crate::storage::local::storage::{LocalOptions, LocalStorage};
use crate::storage::store::Store;
use arc_swap::ArcSwap;
use clock::Clock;
use options::Options;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The engine: all uploads of one storage directory.
pub struct Engine {
    options: ArcSwap<Options>,
    store: Arc<dyn Store>,
    local: Arc<LocalStorage>,
    files: Arc<dyn Files>,
    journals: Arc<dyn JournalFiles>,
    clock: Arc<dyn Clock>,
    count: clock::Count,
    /// The count at the start of this process.
    started: Uptime,
    registry: registry::Registry,
    loads: registry::Loads,
    outbox: delivery::outbox::Outbox,
    timers: timers::Timers,
    catalog: catalog::Catalog,
    /// What the startup scan has still to do.
    scan: scan::Scan,
    stats: stats::Stats,
    blocking: Blocking,
    /// What the disk is asked by those who look after the server.
    probes: health::HealthProbes,
    /// Turns at reading published files for their digests.
    hashing: tokio::sync::Semaphore,
    /// Turns at reading parts for comparison.
    readers: verify::Readers,
    /// Chunks over known bytes that are let pass.
    passing: stats::Gauge,
    /// Long polls of all uploads.
    polls: stats::Gauge,
    /// Small calls about all uploads.
    small_calls: stats::Gauge,
    /// Bytes of large answers that peers have not taken.
    answer_bytes: stats::Gauge,
    tracker: TaskTracker,
    draining: CancellationToken,
}

impl Engine {
    /// An engine over what lies in `files` and `journals`. Reads no journal: uploads are loaded
    /// when they are asked for, and by [`Engine::sweep`].
    pub fn new(
        options: Options,
        files: Arc<dyn Files>,
        journals: Arc<dyn JournalFiles>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Self::with_blocking(options, files, journals, clock, Blocking::Threads)
    }

    /// As [`Engine::new`], with blocking work done where `blocking` says.
    pub fn with_blocking(
        options: Options,
        files: Arc<dyn Files>,
        journals: Arc<dyn JournalFiles>,
        clock: Arc<dyn Clock>,
        blocking: Blocking,
    ) -> Arc<Self> {
        let count = clock::Count::resume(&*journals, &*clock);
        let local = LocalOptions {
            min_free_bytes: options.min_free_bytes,
            waiting_bytes: options.waiting_bytes,
            first_stretch_bytes: options.tuning.first_stretch_bytes,
        };
        let local = LocalStorage::new(Arc::clone(&files), local, blocking.clone());
        let local = Arc::new(local);
        let store = Arc::clone(&local) as Arc<dyn Store>;
        Arc::new(Self {
            started: count.from(),
            count,
            options: ArcSwap::from_pointee(options),
            stats: stats::Stats::new(store.syncs()),
            store,
            local,
            files,
            journals,
            clock,
            registry: registry::Registry::default(),
            loads: registry::Loads::default(),
            outbox: delivery::outbox::Outbox::default(),
            timers: timers::Timers::default(),
            catalog: catalog::Catalog::default(),
            scan: scan::Scan::default(),
            blocking,
            probes: health::HealthProbes::default(),
            hashing: tokio::sync::Semaphore::new(delivery::hash::HASHING),
            readers: verify::Readers::default(),
            passing: stats::Gauge::default(),
            polls: stats::Gauge::default(),
            small_calls: stats::Gauge::default(),
            answer_bytes: stats::Gauge::default(),
            tracker: TaskTracker::new(),
            draining: CancellationToken::new(),
        })
    }

    /// The settings in force.
    pub fn options(&self) -> Arc<Options> {
        self.options.load_full()
    }

    /// Puts other settings in force. What an acknowledgement promises, tuning and the memory for a slow disk stay
    /// as they were at the start; chunks under way keep all settings they began with.
    ///
    /// Where uploads now end earlier, each is looked at once more, soon; backends that said `wait` have the new time.
    pub fn retune(&self, options: &Options) {
        let before = self.options();
        let fixed = Options {
            ack: before.ack,
            tuning: before.tuning,
            waiting_bytes: before.waiting_bytes,
            ..options.clone()
        };
        self.store.keep_free(fixed.min_free_bytes);
        let sooner = [
            (before.max_idle, fixed.max_idle),
            (before.retain_finished, fixed.retain_finished),
            (before.failed_retention, fixed.failed_retention),
        ];
        let sooner = sooner.map(|(before, now)| before.saturating_sub(now));
        let confirm = (before.calls.confirm_timeout, fixed.calls.confirm_timeout);
        self.outbox.retune(confirm.0, confirm.1, || self.options.store(Arc::new(fixed)));
        self.timers.hurry(sooner.into_iter().max().unwrap_or_default());
    }

    /// Has storage run a round of work, to its end though nobody waits; `None` where it panicked.
    async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        self.store.run(Box::pin(async move { drop(sender.send(work.await)) }));
        receiver.await.ok()
    }

    /// What has been counted since the start.
    pub fn stats(&self) -> &stats::Stats {
        &self.stats
    }

    /// The deliveries that are pending.
    pub fn outbox(&self) -> &delivery::outbox::Outbox {
        &self.outbox
    }

    /// Cancelled when the server begins to stop: long polls answer at once, new chunks are
    /// refused, running ones may end.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// The end: waits until every transfer has ended, makes what was only written durable, and waits for
    /// the records of that. Dropping the future leaves the rest undone.
    pub async fn settle_for_good(self: &Arc<Self>) {
        // First: a transfer whose connection is gone still counts what it got.
        self.settled().await;
        self.sync_all_written().await;
        self.settled().await;
        self.persist_uptime().await;
    }

    /// Waits until every commit and transfer has ended. New ones may still begin; who calls this
    /// has stopped the listeners. Dropping the future leaves them running.
    pub async fn settled(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests;
