//! Where the time and random numbers come from: the system, or a test.

use crate::core::time::Timestamp;
use rustix::io::retry_on_intr;
use rustix::rand::{GetRandomFlags, getrandom};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the server reads the time and draws random numbers.
pub trait Clock: Send + Sync {
    /// The date, for people: it may jump at any time, in either direction.
    fn date(&self) -> Timestamp;

    /// How long the machine has been up, time in which it was suspended included. Nobody can set it; it begins
    /// anew with each boot.
    fn since_boot(&self) -> Duration;

    /// Sixteen random bytes, from a source that cannot be guessed. Errors: the system has none.
    fn random(&self) -> std::io::Result<[u8; 16]>;

    /// A random number from 0 to 1, to spread retries; 0.5 where there is no randomness.
    fn jitter(&self) -> f64 {
        self.random()
            .map_or(0.5, |bytes| f64::from(u16::from_le_bytes([bytes[0], bytes[1]])) / 65_535.0)
    }
}

/// Fills all of it with random bytes, from a source that cannot be guessed. Errors: the system has none.
pub fn fill_random(mut bytes: &mut [u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        // The kernel may give less of what is long.
        let count = retry_on_intr(|| getrandom(&mut *bytes, GetRandomFlags::empty()))?;
        bytes = bytes.split_at_mut(count).1;
    }
    Ok(())
}

/// The system's clocks and random source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn date(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn since_boot(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        // Neither is ever below zero, by the kernel's word.
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
    }

    fn random(&self) -> std::io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        fill_random(&mut bytes)?;
        Ok(bytes)
    }
}
