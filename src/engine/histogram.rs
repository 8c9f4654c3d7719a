//! How values are spread: a count for each bucket, without a lock. Noting one costs two relaxed
//! additions, so it is done once a chunk or sync and never once a frame.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Values counted by size. What is read while others note may be ahead in one place and behind in
/// another by as much as they note.
#[derive(Debug)]
pub struct Histogram {
    /// The largest value of each bucket but the last, which has no bound.
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    /// Buckets up to each of `bounds`, which grow, and one for all that is larger.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn note(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// The sum of all values.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }

    /// Each bucket's bound, `None` for the last, and the values in it alone.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bounds = self.bounds.iter().copied().map(Some).chain([None]);
        bounds.zip(self.counts.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// How long something took, each time.
#[derive(Debug)]
pub struct Times(Histogram);

impl Times {
    /// Buckets up to each of `bounds`, in nanoseconds.
    pub fn new(bounds: &'static [u64]) -> Self {
        Self(Histogram::new(bounds))
    }

    /// Counts what began then and ends now.
    pub fn since(&self, began: Instant) {
        self.note(began.elapsed());
    }

    /// Counts what took so long.
    pub fn note(&self, took: Duration) {
        self.0.note(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Does what takes time, and counts it.
    pub fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let outcome = work();
        self.since(began);
        outcome
    }

    /// The values, in nanoseconds.
    pub fn nanoseconds(&self) -> &Histogram {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let spread = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21, 1000] {
            spread.note(value);
        }
        let found: Vec<_> = spread.buckets().collect();
        assert_eq!(found, [(Some(10), 2), (Some(20), 2), (None, 2)]);
        assert_eq!(spread.sum(), 1062);
    }
}
