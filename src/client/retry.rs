//! How long to wait before the next try.

use std::time::{Duration, Instant};

use crate::storage::clock::fill_random;

/// The first pause: a server that is being restarted is often back in a second.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause: an upload goes on within half a minute of the line's return.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest pause that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Pauses that grow while nothing gets on.
#[derive(Debug)]
pub(crate) struct Backoff {
    tries: u32,
    /// Since when nothing gets on.
    since: Option<Instant>,
    /// After so long it is given up; `None` never.
    limit: Option<Duration>,
}

impl Backoff {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { tries: 0, since: None, limit }
    }

    /// Something got on: the next pause is the first one again.
    pub(crate) fn reset(&mut self) {
        (self.tries, self.since) = (0, None);
    }

    /// The next pause, at least what the server asked for; half of it is by chance, so that many
    /// clients of a server that comes back do not all ask at once. `None`: it is given up.
    pub(crate) fn pause(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if self.limit.is_some_and(|limit| since.elapsed() >= limit) {
            return None;
        }
        let mut chance = [0; 4];
        // Without randomness the pauses are whole.
        let chance = match fill_random(&mut chance) {
            Ok(()) => f64::from(u32::from_ne_bytes(chance)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        let whole = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        let pause = whole.mul_f64(0.5 + chance / 2.0);
        let pause = asked.map_or(pause, |asked| pause.max(asked.min(LONGEST_ASKED)));
        // The last try comes at the limit and not long after it.
        let left = self.limit.map(|limit| limit.saturating_sub(since.elapsed()));
        Some(left.map_or(pause, |left| pause.min(left)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::new(None);
        for expected in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let pause = backoff.pause(None).unwrap().as_millis();
            assert!((expected / 2..=expected).contains(&pause), "{pause} is not near {expected}");
        }
        for _ in 0..100 {
            assert!(backoff.pause(None).unwrap() <= LONGEST);
        }
        assert!(backoff.pause(Some(Duration::from_secs(100))).unwrap() >= Duration::from_secs(100));
        assert!(backoff.pause(Some(Duration::from_secs(10_000))).unwrap() <= LONGEST_ASKED);
        backoff.reset();
        assert!(backoff.pause(None).unwrap() <= FIRST);
    }
    #[test]
    fn gives_up_after_the_limit() {
        assert_eq!(Backoff::new(Some(Duration::ZERO)).pause(None), None);
        let mut backoff = Backoff::new(Some(Duration::from_millis(5)));
        assert!(backoff.pause(Some(Duration::from_secs(60))).unwrap() <= Duration::from_millis(5));
        backoff.since = Instant::now().checked_sub(Duration::from_secs(1));
        assert_eq!(backoff.pause(None), None);
        backoff.reset();
        assert!(backoff.pause(None).is_some());
    }
}
