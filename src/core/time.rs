//! The two times: a date, which people read and nothing is decided by, and the time for which servers
//! have run on a storage directory, which every rule counts in. Both are given to the rules from outside.

use std::time::Duration;

/// A time that something took, in milliseconds as the log tells them: to the microsecond.
pub fn ms(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// A date: milliseconds since the Unix epoch, by the wall clock. For people alone: somebody may set that
/// clock at any time, in either direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This date moved on by `pause`; stops at the end of time instead of wrapping.
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(whole_ms(pause)))
    }
}

/// The time for which servers have run on a storage directory so far: a count that goes on from one
/// process to the next and stands still between them. No clock that is set moves it.
///
/// The lower 44 bits are milliseconds, the upper 20 the era: a count that was lost begins again in another era, so that
/// what was counted in the old one is known to be no time of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uptime(pub u64);

impl Uptime {
    /// In a record of a version that wrote dates alone. No count has this value.
    pub const NONE: Self = Self(0);

    /// Where the count of an era begins. Only the lower 20 bits of `era` count.
    pub fn first_of(era: u32) -> Self {
        Self(u64::from(era) << ERA_SHIFT | 1)
    }

    /// This moment moved on by `pause`; stops at the end of time instead of wrapping.
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(whole_ms(pause)))
    }

    /// This moment moved back by `time`; stops at zero.
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(whole_ms(time)))
    }

    /// Time from `earlier` to this moment; zero if that comes later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// What a record says, read at `now`, so that nothing ends early by it: of another era, the moment at which
    /// the present one began; ahead of `now`, which a crash has set back by some seconds, `now`.
    pub fn as_of(self, now: Self) -> Self {
        let era = |count: Self| count.0 >> ERA_SHIFT;
        if era(self) != era(now) {
            return Self(era(now) << ERA_SHIFT | 1).min(now);
        }
        self.min(now)
    }
}

/// A moment in both times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// For people.
    pub date: Timestamp,
    /// For the rules.
    pub uptime: Uptime,
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Above the milliseconds of a count: 2^44 of them are 557 years.
const ERA_SHIFT: u32 = 44;

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

    #[test]
    fn no_record_is_older_than_its_count_shows() {
        let at = |era, ms| Uptime::first_of(era).after(Duration::from_millis(ms));
        let check = |record: Uptime, now: Uptime, expected: Uptime| {
            assert_eq!(record.as_of(now), expected, "{record:?} {now:?}");
        };
        check(at(3, 500), at(3, 700), at(3, 500));
        check(at(3, 500), at(3, 500), at(3, 500));
        // Ahead: the crash of a server has cost some seconds of its count.
        check(at(3, 900), at(3, 700), at(3, 700));
        // A count that was lost: from the beginning of this one.
        check(at(2, 900), at(3, 700), at(3, 0));
        check(at(4, 100), at(3, 700), at(3, 0));
        assert_eq!(at(3, 5).after(Duration::MAX), Uptime(u64::MAX), "never");
        assert_eq!(Uptime::first_of(u32::MAX).0 >> ERA_SHIFT, (1 << 20) - 1);
    }
}
