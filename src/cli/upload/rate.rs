//! How fast an upload is, and how long it takes yet: over the last seconds, so that it tells what is
//! and not what was.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Over so long: a few chunks of a slow line.
const SPAN: Duration = Duration::from_secs(20);
/// A sample at most this often.
const STEP: Duration = Duration::from_millis(200);

/// Bytes over time.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// So many bytes by now.
    pub(super) fn note(&mut self, now: Instant, bytes: u64) {
        // Less than before: a chunk has to go out again.
        if self.samples.back().is_some_and(|(_, before)| *before > bytes) {
            self.samples.clear();
        }
        let recent = |at: &(Instant, u64)| now.duration_since(at.0) < STEP;
        if self.samples.len() > 1 && self.samples.back().is_some_and(recent) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) > SPAN {
            self.samples.pop_front();
        }
    }

    /// Bytes per second, once there is something to tell.
    pub(super) fn per_second(&self) -> Option<u64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let millis = u64::try_from(last.0.duration_since(first.0).as_millis()).ok()?;
        let bytes = last.1 - first.1;
        (millis > 0).then(|| bytes.saturating_mul(1000) / millis)
    }

    /// How long so many bytes take at this rate.
    pub(super) fn left(&self, bytes: u64) -> Option<Duration> {
        let rate = self.per_second().filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(bytes.div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_that_of_the_last_seconds() {
        let begun = Instant::now();
        let mut rate = Rate::default();
        assert_eq!((rate.per_second(), rate.left(5)), (None, None));
        let mut note = |second: u64, bytes: u64| {
            rate.note(begun + Duration::from_secs(second), bytes);
            (rate.per_second(), rate.left(1000))
        };
        assert_eq!(note(0, 500), (None, None));
        assert_eq!(note(10, 1500), (Some(100), Some(Duration::from_secs(10))));
        // The fast beginning is forgotten.
        for second in 11..60 {
            note(second, 1500 + second);
        }
        assert_eq!(note(60, 1560), (Some(1), Some(Duration::from_secs(1000))));
        assert_eq!(note(61, 900), (None, None), "a chunk goes out again");
        assert_eq!(note(62, 900), (Some(0), None));
    }
}
