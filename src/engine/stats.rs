//! What the engine counts. Plain counters; a floor above gives them names and a format.

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

    /// The number now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
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
}
