//! The use cases: everything the outside may do with uploads, and nothing about how it asked.
//!
//! Requests enter by [`tickets`], `transfer` (whose bytes go through [`chunk`]), [`status`] and [`verify`]. An upload
//! is brought into memory by `registry` as an upload handle (`handle`). Every
//! change of it waits in its commit queue (in its handle) and is decided, made durable and applied by a group commit
//! (`commit`); then `effects` sees to what follows. Bytes flow beside that, many writers at once, each in a claim of
//! its own (`claims`). In the background: syncs of what has only been written (`flush`), the startup scan (`scan`),
//! expiry and the end of retention (`retention`), the samples that [`overview`] shows, and the deliveries that
//! [`crate::handover`] would call backends for ([`delivery`]). Where several servers share the
//! uploads, what is due stands in `agenda`, and what is in memory is read on before it is used.
//!
//! Absent: HTTP, sockets, the calls to backends.

pub mod agenda;
pub mod chunk;
mod claims;
mod commit;
pub mod context;
pub mod deadline;
pub mod delivery;
mod digest;
mod effects;
pub mod error;
mod flush;
mod handle;
pub mod health;
pub mod join;
pub mod objects;
mod offset;
pub mod options;
pub mod overview;
mod pace;
mod registry;
mod retention;
mod scan;
pub mod servers;
pub mod slots;
pub mod stats;
pub mod status;
pub mod tickets;
mod timers;
mod transfer;
pub mod verify;

use crate::core::time::Stamp;
use crate::core::time::Uptime;
use crate::storage::clock::Clock;
use crate::storage::journal::Journal;
use crate::storage::store::Store;
use options::{Options, SharedOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The engine: all uploads of one storage directory.
pub struct Engine {
    options: SharedOptions,
    store: Arc<dyn Store>,
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    /// The count at the start of this process.
    started: Uptime,
    registry: registry::Registry,
    loads: registry::Loads,
    outbox: delivery::outbox::Outbox,
    timers: timers::Timers,
    /// What the startup scan has still to do.
    scan: scan::Scan,
    /// What other servers share in it, if any do.
    sharing: Option<agenda::Sharing>,
    stats: stats::Stats,
    sampler: overview::Sampler,
    /// What the disk is asked by those who look after the server.
    probes: health::HealthProbes,
    /// Turns at joining partial uploads.
    joining: tokio::sync::Semaphore,
    /// The turn of those whose bytes lie in many small pieces, before one of these.
    joining_scattered: tokio::sync::Semaphore,
    /// Turns at reading published files for their digests.
    hashing: tokio::sync::Semaphore,
    /// Turns at syncing what has only been written.
    flushing: tokio::sync::Semaphore,
    /// Turns at reading parts for comparison.
    readers: verify::Readers,
    /// Chunks over known bytes that are let pass.
    duplicate_chunks: stats::Gauge,
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
    /// An engine over what lies in `store` and `journal`. Reads nothing: uploads are loaded when they are asked for, and
    /// by [`Engine::sweep`].
    pub fn new(
        options: impl Into<SharedOptions>,
        store: Arc<dyn Store>,
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let sharing = journal.agenda().map(|_| agenda::Sharing::default());
        Arc::new(Self {
            started: journal.now(),
            stats: stats::Stats::new(store.counted()),
            options: options.into(),
            store,
            journal,
            clock,
            registry: registry::Registry::default(),
            loads: registry::Loads::default(),
            outbox: delivery::outbox::Outbox::default(),
            timers: timers::Timers::default(),
            scan: scan::Scan::default(),
            sampler: overview::Sampler::default(),
            sharing,
            probes: health::HealthProbes::default(),
            joining: tokio::sync::Semaphore::new(join::MAX_JOINS),
            joining_scattered: tokio::sync::Semaphore::new(1),
            hashing: tokio::sync::Semaphore::new(delivery::HASHING),
            flushing: tokio::sync::Semaphore::new(flush::MAX_UPLOADS),
            readers: verify::Readers::default(),
            duplicate_chunks: stats::Gauge::default(),
            polls: stats::Gauge::default(),
            small_calls: stats::Gauge::default(),
            answer_bytes: stats::Gauge::default(),
            tracker: TaskTracker::new(),
            draining: CancellationToken::new(),
        })
    }

    /// The settings in force.
    pub fn options(&self) -> Arc<Options> {
        self.options.load()
    }

    /// Puts other settings in force. What an acknowledgement promises and tuning stay as they were at the start; chunks under way keep all settings they began with.
    ///
    /// Where uploads now end earlier, each is looked at once more, soon; backends that said `wait` have the new time.
    pub fn set_options(self: &Arc<Self>, options: &Options) {
        let before = self.options();
        let fixed = Options { ack: before.ack, tuning: before.tuning, ..options.clone() };
        self.store.keep_free(fixed.min_free_bytes);
        let sooner = [
            (before.max_idle, fixed.max_idle),
            (before.retain_finished, fixed.retain_finished),
            (before.failed_retention, fixed.failed_retention),
        ];
        let sooner = sooner.map(|(before, now)| before.saturating_sub(now));
        let confirm = (before.calls.confirm_timeout, fixed.calls.confirm_timeout);
        self.outbox.set_confirm_timeout(confirm.0, confirm.1, || self.options.store(fixed));
        if confirm.1 < confirm.0 {
            self.hurry_calls(confirm.1);
        }
        self.hurry(sooner.into_iter().max().unwrap_or_default());
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

    /// How long servers have run on this storage.
    fn uptime(&self) -> Uptime {
        self.journal.now()
    }

    /// The present moment.
    fn now(&self) -> Stamp {
        Stamp { date: self.clock.date(), uptime: self.uptime() }
    }

    /// Writes the count of running time down now and then, for as long as it is polled: to the end of a stop, since a kill
    /// may come until then. Dropping the future may lose what the last time would have written.
    pub async fn keep_uptime(self: Arc<Self>) {
        let mut tick = tokio::time::interval(KEPT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.journal.keep_time().await;
        }
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
    pub async fn shut_down(self: &Arc<Self>) {
        // First: a transfer whose connection is gone still counts what it got.
        self.wait_idle().await;
        self.sync_all_written().await;
        self.wait_idle().await;
        self.journal.keep_time().await;
    }

    /// Waits until every commit and transfer has ended. New ones may still begin; who calls this
    /// has stopped the listeners. Dropping the future leaves them running.
    pub async fn wait_idle(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// What a crash costs the count of running time, at most.
const KEPT_EVERY: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests;
