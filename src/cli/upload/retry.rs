//! How long to wait before the next try.

use std::time::Duration;

/// The first pause: a server that is being restarted is often back in a second.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause: an upload goes on within half a minute of the line's return.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest pause that a server may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// Pauses that grow while nothing gets on.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// Something got on: the next pause is the first one again.
    pub(super) fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next pause, at least what the server asked for; half of it is by chance, so that many
    /// clients of a server that comes back do not all ask at once.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let mut chance = [0; 4];
        // Without randomness the pauses are whole.
        let chance = match getrandom::fill(&mut chance) {
            Ok(()) => f64::from(u32::from_ne_bytes(chance)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        let whole = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        let pause = whole.mul_f64(0.5 + chance / 2.0);
        asked.map_or(pause, |asked| pause.max(asked.min(LONGEST_ASKED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let mut backoff = Backoff::default();
        for expected in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let pause = backoff.pause(None).as_millis();
            assert!((expected / 2..=expected).contains(&pause), "{pause} is not near {expected}");
        }
        for _ in 0..100 {
            assert!(backoff.pause(None) <= LONGEST);
        }
        assert!(backoff.pause(Some(Duration::from_secs(100))) >= Duration::from_secs(100));
        assert!(backoff.pause(Some(Duration::from_secs(10_000))) <= LONGEST_ASKED);
        backoff.reset();
        assert!(backoff.pause(None) <= FIRST);
    }
}
