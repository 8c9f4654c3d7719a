//! A moment of wall-clock time, given to the rules from outside; and how a time that passed is told.

use std::time::Duration;

/// A time that something took, in milliseconds as the log tells them: to the microsecond.
pub fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// Milliseconds since the Unix epoch. Wall-clock time, since it has to mean the same after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment moved on by `pause`; stops at the end of time instead of wrapping.
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to this moment; zero if the clock went backwards.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_three_decimals() {
        let check = |nanos: u64, shown: &str| {
            assert_eq!(ms(Duration::from_nanos(nanos)).to_string(), shown, "{nanos}");
        };
        check(0, "0");
        check(147_750, "0.148");
        check(147_750_000, "147.75");
        check(1_000_000_499, "1000");
        check(55_000_000_500, "55000.001");
        check(86_400_123_456_789, "86400123.457");
    }
}
