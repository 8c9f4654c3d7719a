//! The rate at which bytes of one upload come in, and how many of them are not acknowledged yet: a relaxed addition for
//! each batch, everything else when a sample is taken, or a body counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

/// Counts the bytes of one upload for its rate.
#[derive(Debug, Default)]
pub(super) struct Pace {
    received: AtomicU64,
    /// Of these, bytes that were counted or that ended with their body.
    settled: AtomicU64,
    sampled: Mutex<Option<Sampled>>,
}

#[derive(Clone, Copy, Debug)]
struct Sampled {
    at: Instant,
    received: u64,
    rate: u64,
}

/// The bytes of one body; at its end none of them is under way.
#[derive(Debug)]
pub(super) struct BodyPace<'a> {
    pace: &'a Pace,
    unsettled: u64,
}

impl BodyPace<'_> {
    /// Counts body bytes.
    pub(super) fn add(&mut self, bytes: u64) {
        self.pace.received.fetch_add(bytes, Ordering::Relaxed);
        self.unsettled += bytes;
    }

    /// So many of them are being recorded.
    pub(super) fn settle(&mut self, bytes: u64) {
        let bytes = bytes.min(self.unsettled);
        self.unsettled -= bytes;
        self.pace.settled.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for BodyPace<'_> {
    fn drop(&mut self) {
        self.settle(self.unsettled);
    }
}

impl Pace {
    /// For one body.
    pub(super) fn body(&self) -> BodyPace<'_> {
        BodyPace { pace: self, unsettled: 0 }
    }

    /// Body bytes that have come and are not being recorded yet.
    pub(super) fn under_way(&self) -> u64 {
        let settled = self.settled.load(Ordering::Relaxed);
        self.received.load(Ordering::Relaxed).saturating_sub(settled)
    }

    /// The rate at `now`, bytes per second, smoothed over some seconds; zero at the first call. One task calls it.
    pub(super) fn sample(&self, now: Instant) -> u64 {
        let received = self.received.load(Ordering::Relaxed);
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = match *sampled {
            Some(before) => {
                let ms = (now - before.at).as_millis();
                let bytes = u128::from(received - before.received);
                let smooth =
                    (u128::from(before.rate) * SMOOTHING_MS + bytes * 1000) / (SMOOTHING_MS + ms);
                u64::try_from(smooth).unwrap_or(u64::MAX)
            }
            None => 0,
        };
        *sampled = Some(Sampled { at: now, received, rate });
        rate
    }
}

/// The weight of what was before, as a time: batches of a slow line come seconds apart.
const SMOOTHING_MS: u128 = 3_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_rate_of_an_upload_follows_its_bytes() {
        let (pace, began) = (Pace::default(), Instant::now());
        let at = |ms: u64| began + Duration::from_millis(ms);
        let mut body = pace.body();
        body.add(1 << 30);
        assert_eq!(pace.sample(at(0)), 0, "one sample is no rate");
        for n in 1..=20 {
            body.add(1000);
            assert!(pace.sample(at(n * 1000)) <= 1000);
        }
        assert!((990..=1000).contains(&pace.sample(at(20_000))), "a second sample at one moment");
        assert!(pace.sample(at(120_000)) < 30);
    }

    #[test]
    fn bytes_are_under_way_until_they_are_recorded_or_their_body_ends() {
        let pace = Pace::default();
        let (mut one, mut other) = (pace.body(), pace.body());
        one.add(100);
        other.add(30);
        one.settle(60);
        assert_eq!(pace.under_way(), 70);
        // What was known already is settled with the rest.
        other.settle(40);
        assert_eq!(pace.under_way(), 40);
        drop((one, other));
        assert_eq!(pace.under_way(), 0);
    }
}
