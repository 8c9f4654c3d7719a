//! What the engine counts. Plain counters; a floor above gives them names and a format.

use super::histogram::{Histogram, Times};
use super::status::StateName;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
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

    /// The number now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
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

/// Waits for the disk to have bytes or records.
#[derive(Debug)]
pub struct Syncs {
    /// How long each took, the failed ones too.
    pub times: Times,
    /// Those that failed; a full disk is no failure.
    pub errors: Counter,
}

impl Syncs {
    /// Waits, and counts it; `failed` says which errors are failures of the disk.
    pub fn during<T, E>(
        &self,
        sync: impl FnOnce() -> Result<T, E>,
        failed: impl FnOnce(&E) -> bool,
    ) -> Result<T, E> {
        let outcome = self.times.during(sync);
        if outcome.as_ref().is_err_and(failed) {
            self.errors.add(1);
        }
        outcome
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

/// Counted since the start of the process.
#[derive(Debug)]
pub struct Stats {
    /// Body bytes read from clients, also those thrown away.
    pub received_bytes: Counter,
    /// Bytes acknowledged for the first time.
    pub acknowledged_bytes: Counter,
    /// Body bytes that were known already.
    pub repeated_bytes: Counter,
    /// Chunks in flight.
    pub chunks_in_flight: Gauge,
    /// From the head of a chunk to its acknowledgement.
    pub chunk_times: Times,
    /// From the last byte of a chunk to its acknowledgement: what the server itself takes.
    pub commit_times: Times,
    /// Bytes of acknowledged chunks.
    pub chunk_bytes: Histogram,
    /// Known uploads by state.
    pub uploads: ByState,
    /// Uploads that count against `max_uploads`: they take disk, or owe a call.
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

impl Default for Stats {
    fn default() -> Self {
        Self {
            received_bytes: Counter::default(),
            acknowledged_bytes: Counter::default(),
            repeated_bytes: Counter::default(),
            chunks_in_flight: Gauge::default(),
            chunk_times: Times::new(&CHUNK_TIMES),
            commit_times: Times::new(&SYNC_TIMES),
            chunk_bytes: Histogram::new(&CHUNK_BYTES),
            uploads: ByState::default(),
            uploads_open: Gauge::default(),
            tickets: Counter::default(),
            published: Counter::default(),
            finished: Counter::default(),
            cancelled: Counter::default(),
            failed: Counter::default(),
            calls: Counter::default(),
            calls_unanswered: Counter::default(),
            calls_running: Gauge::default(),
            calls_waiting: Gauge::default(),
            superseded: Counter::default(),
            faults: Counter::default(),
            disk_syncs: Syncs { times: Times::new(&SYNC_TIMES), errors: Counter::default() },
            loads: Counter::default(),
            compactions: Counter::default(),
        }
    }
}

const MS: u64 = 1_000_000;
const S: u64 = 1000 * MS;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A chunk of 8 MiB takes 7 ms at 10 Gbit/s and a minute at 1 Mbit/s.
const CHUNK_TIMES: [u64; 13] = [
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    5 * S / 2,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
];
/// A sync takes a tenth of a millisecond where the drive has a cache that survives a power cut, ten on
/// a turning disk, and seconds where something is wrong.
const SYNC_TIMES: [u64; 14] = [
    MS / 4,
    MS / 2,
    MS,
    5 * MS / 2,
    5 * MS,
    10 * MS,
    25 * MS,
    50 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    S,
    5 * S / 2,
    10 * S,
];
/// Around the suggested 8 MiB, and what clients of other kinds send.
const CHUNK_BYTES: [u64; 9] =
    [4 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB, 64 * MIB, 1024 * MIB];
