//! What the engine counts; `app/metrics.rs` names each of them.
//!
//! Counters and gauges are one relaxed addition. A histogram takes a lock, so it gets one value for each chunk or sync
//! and never one for each frame.

use crate::core::dialect::Dialect;
use crate::core::state::StateName;
use crate::storage::syncs::{Counted, SYNC_SECONDS, Syncs};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// A number that goes up and down and can have a limit: what a metrics gauge lacks.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `count`, which may be negative.
    pub fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// One more, unless there are `limit` already; says whether. Never more than `limit`, however many
    /// ask at once.
    pub fn add_below(&self, limit: u64) -> bool {
        self.add_within(1, limit)
    }

    /// Adds `amount`, unless there are more than `limit` then; says whether.
    pub fn add_within(&self, amount: u64, limit: u64) -> bool {
        let more = |now: i64| {
            let then = u64::try_from(now).unwrap_or(0).saturating_add(amount);
            let more = i64::try_from(amount).ok()?;
            (then <= limit).then_some(now + more)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes `amount` away again.
    pub fn take(&self, amount: u64) {
        self.add(i64::try_from(amount).map_or(i64::MIN, |amount| -amount));
    }

    /// One more, until what this gives is dropped.
    pub fn up(&self) -> Up<'_> {
        self.add(1);
        Up(self)
    }

    /// One more until what this gives is dropped, unless there are `limit` already.
    pub fn up_below(&self, limit: u64) -> Option<Up<'_>> {
        self.add_below(limit).then(|| Up(self))
    }

    /// The number from now on.
    pub fn set(&self, count: u64) {
        self.0.store(i64::try_from(count).unwrap_or(i64::MAX), Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The number now, of what cannot be below zero.
    pub fn count(&self) -> u64 {
        u64::try_from(self.value()).unwrap_or(0)
    }
}

/// One in a [`Gauge`].
#[derive(Debug)]
pub struct Up<'a>(&'a Gauge);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// Acknowledged chunks.
#[derive(Debug)]
pub struct Chunks {
    /// From the head of a chunk to its acknowledgement.
    pub seconds: Histogram,
    /// From the last byte of a chunk to its acknowledgement: what the server itself takes.
    pub commit_seconds: Histogram,
    /// Body bytes.
    pub bytes: Histogram,
    /// How many there were.
    pub count: ByDialect,
    /// Body bytes of all of them.
    pub body_bytes: ByDialect,
}

/// Counters by the protocol of the requests.
#[derive(Debug, Default)]
pub struct ByDialect([Counter; Dialect::ALL.len()]);

impl ByDialect {
    /// What is counted of that one.
    pub fn of(&self, dialect: Dialect) -> &Counter {
        &self.0[dialect as usize]
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            seconds: Histogram::new(CHUNK_SECONDS),
            commit_seconds: Histogram::new(SYNC_SECONDS),
            bytes: Histogram::new(CHUNK_BYTES),
            count: ByDialect::default(),
            body_bytes: ByDialect::default(),
        }
    }
}

impl Chunks {
    /// Counts a chunk of `bytes` that is acknowledged now; its head came at `began`, its last byte at `arrived`.
    pub fn acknowledged(&self, bytes: u64, dialect: Dialect, began: Instant, arrived: Instant) {
        let now = Instant::now();
        self.commit_seconds.observe((now - arrived).as_secs_f64());
        self.seconds.observe((now - began).as_secs_f64());
        self.bytes.observe(bytes as f64);
        self.count.of(dialect).inc();
        self.body_bytes.of(dialect).inc_by(bytes);
    }
}

/// Uploads that are known, by where they stand. After a start each is known once it was read by the
/// first pass of the sweep, or asked for.
#[derive(Debug, Default)]
pub struct ByState([Gauge; StateName::ALL.len()]);

impl ByState {
    /// How many stand there.
    pub fn of(&self, state: StateName) -> &Gauge {
        &self.0[state as usize]
    }

    /// One has moved.
    pub fn moved(&self, from: StateName, to: StateName) {
        self.of(from).add(-1);
        self.of(to).add(1);
    }
}

impl Stats {
    /// Nothing yet, and what storage counts.
    pub fn new(storage: Counted) -> Self {
        let Counted { syncs: disk_syncs, compactions } = storage;
        Self { disk_syncs, compactions, ..Self::default() }
    }
}

/// Counted since the start of the process.
#[derive(Debug, Default)]
pub struct Stats {
    /// Requests for uploads, whatever is answered.
    pub requests: ByDialect,
    /// Body bytes read from clients, also those thrown away.
    pub received_bytes: Counter,
    /// Bytes acknowledged for the first time.
    pub acknowledged_bytes: Counter,
    /// Body bytes that were known already.
    pub repeated_bytes: Counter,
    /// Chunks in flight.
    pub chunks_in_flight: Gauge,
    /// Acknowledged chunks.
    pub chunks: Chunks,
    /// Known uploads by state.
    pub uploads: ByState,
    /// Uploads that count against `max_uploads`: they take disk, or have a delivery pending.
    pub uploads_open: Gauge,
    /// Tickets given out.
    pub tickets: Counter,
    /// Files put in their place.
    pub published: Counter,
    /// Uploads that the backend has taken.
    pub finished: Counter,
    /// Uploads cancelled or expired.
    pub cancelled: Counter,
    /// Handovers given up.
    pub failed: Counter,
    /// Calls to backends begun.
    pub calls: Counter,
    /// Calls to backends that ended without an answer that counts.
    pub calls_unanswered: Counter,
    /// Calls to backends that run.
    pub calls_running: Gauge,
    /// Calls that are due and wait for a place.
    pub calls_waiting: Gauge,
    /// Requests ended by a newer one for the same bytes.
    pub superseded: Counter,
    /// Uploads stopped and tickets refused by a failing disk.
    pub faults: Counter,
    /// Syncs of parts and journals, and publishes, which sync.
    pub disk_syncs: Syncs,
    /// Journals read because somebody asked for an upload that was not in memory.
    pub loads: Counter,
    /// Journals replaced by shorter ones.
    pub compactions: Counter,
}

/// A chunk of 8 MiB takes 7 ms at 10 Gbit/s and a minute at 1 Mbit/s.
const CHUNK_SECONDS: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// From 4 KiB to 1 GiB: around the suggested 8 MiB, and what clients of other kinds send.
const CHUNK_BYTES: [f64; 9] = [
    4096.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
    67_108_864.0,
    1_073_741_824.0,
];
