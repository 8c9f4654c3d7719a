//! A moment of wall-clock time, given to the rules from outside.

use std::time::Duration;

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
