//! What the engine counts. Plain counters; a floor above gives them names and a format.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
        let more = |now: i64| {
            let full = u64::try_from(now).is_ok_and(|now| now >= limit);
            (!full).then_some(now + 1)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// One more, until what this gives is dropped.
    pub fn up(&self) -> Up<'_> {
        self.add(1);
        Up(self)
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

/// How often something was waited for, and how long all together.
#[derive(Debug, Default)]
pub struct Waits {
    count: Counter,
    nanoseconds: Counter,
}

impl Waits {
    /// Does what is waited for, and counts it.
    pub fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let outcome = wait();
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.add(took);
        self.count.add(1);
        outcome
    }

    /// How often.
    pub fn count(&self) -> u64 {
        self.count.value()
    }

    /// How long; several waits at once count each.
    pub fn time(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds.value())
    }
}

/// Counted since the start of the process.
#[derive(Debug, Default)]
pub struct Stats {
    /// Body bytes read from clients, also those thrown away.
    pub received_bytes: Counter,
    /// Bytes acknowledged for the first time.
    pub acknowledged_bytes: Counter,
    /// Body bytes that were known already.
    pub repeated_bytes: Counter,
    /// Chunks in flight.
    pub chunks_in_flight: Gauge,
    /// Uploads that are not over.
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
    /// Requests ended by a newer one for the same bytes.
    pub superseded: Counter,
    /// Uploads stopped and tickets refused by a failing disk.
    pub faults: Counter,
    /// Syncs of parts and journals, and publishes, which sync.
    pub disk_syncs: Waits,
}
