//! Time and randomness, as the engine gets them: from outside, so that tests can give their own.
//!
//! The uptime is the count of time in which servers ran on this storage directory. Every rule counts in it:
//! idle time, retention, pauses between calls. A process resumes it where the last one left it and goes on
//! by the time since boot, so no clock that is set, and no time in which nothing ran, makes anything due.
//!
//! It is written down now and then. After a crash it is behind by what was not written yet, never ahead: things
//! are due some seconds later. A count that was lost begins anew in another era, and so does all that was counted.

use super::Engine;
use crate::core::time::{Stamp, Timestamp, Uptime};
use crate::storage::local::journal_files::JournalFiles;
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the engine reads the time and draws random numbers.
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
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(bytes)
    }
}

/// The count of this process.
#[derive(Debug)]
pub(super) struct Count {
    /// Where it was resumed,
    from: Uptime,
    /// and the time since boot at that moment.
    origin: Duration,
    /// Whether the last attempt to write it down failed, so that this is told once.
    failing: AtomicBool,
    /// Held while it is written down: one file at a time is written and renamed.
    writing: Mutex<()>,
}

impl Count {
    /// Resumes the count where the last process left it. Blocks for one small read.
    pub(super) fn resume(journals: &dyn JournalFiles, clock: &dyn Clock) -> Self {
        let begin = || {
            // Without randomness two eras may be taken for one; then what the older one counted ends no earlier either.
            let [a, b, c, ..] = clock.random().unwrap_or_default();
            Uptime::first_of(u32::from_le_bytes([a, b, c, 0]))
        };
        let from = match journals.read_uptime() {
            Ok(Some(from)) => from,
            Ok(None) => begin(),
            Err(error) => {
                tracing::warn!(
                    %error,
                    "uptime count unreadable: idle times and retention start over"
                );
                begin()
            }
        };
        Self {
            from,
            origin: clock.since_boot(),
            failing: AtomicBool::default(),
            writing: Mutex::default(),
        }
    }

    /// Where it was resumed.
    pub(super) fn from(&self) -> Uptime {
        self.from
    }

    fn at(&self, since_boot: Duration) -> Uptime {
        self.from.after(since_boot.saturating_sub(self.origin))
    }
}

impl Engine {
    /// How long servers have run on this storage directory.
    pub(super) fn uptime(&self) -> Uptime {
        self.count.at(self.clock.since_boot())
    }

    /// The present moment.
    pub(super) fn now(&self) -> Stamp {
        Stamp { date: self.clock.date(), uptime: self.uptime() }
    }

    /// Writes the count down now and then, for as long as it is polled: to the end of a stop, since a kill may come until
    /// then. Dropping the future may lose what the last time would have written.
    pub async fn keep_uptime(self: Arc<Self>) {
        let mut tick = tokio::time::interval(KEPT_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.persist_uptime().await;
        }
    }

    /// Writes the count down. What fails is logged, once: the count then lacks a little more after a crash.
    pub(super) async fn persist_uptime(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        let work = self.blocking.spawn(move || {
            // An earlier one may run still, its future dropped. Then `uptime` never goes back either.
            let _writing = engine.count.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let uptime = engine.uptime();
            let kept = engine.journals.write_uptime(uptime);
            let failed = engine.count.failing.swap(kept.is_err(), Ordering::Relaxed);
            if let Err(error) = kept
                && !failed
            {
                tracing::warn!(%error, "could not write uptime count");
            }
        });
        // It panicked, or the runtime ends: the next process lacks a few seconds.
        let _ = work.await;
    }
}

/// What a crash costs the count, at most.
const KEPT_EVERY: Duration = Duration::from_secs(20);
