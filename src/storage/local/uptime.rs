//! How long servers have run on a storage directory: counted on by the time since boot, so no clock that is set, and no
//! time in which nothing ran, makes anything due.
//!
//! It is written down now and then. After a crash it is behind by what was not written yet, never ahead: things
//! are due some seconds later. A count that was lost begins anew in another era, and so does all that was counted.

use super::journal_files::JournalFiles;
use crate::core::time::Uptime;
use crate::storage::clock::Clock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The count of this process.
pub(super) struct Count {
    clock: Arc<dyn Clock>,
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
    pub(super) fn resume(journals: &dyn JournalFiles, clock: Arc<dyn Clock>) -> Self {
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
        let origin = clock.since_boot();
        Self { clock, from, origin, failing: AtomicBool::default(), writing: Mutex::default() }
    }

    /// How long servers have run on this storage directory.
    pub(super) fn now(&self) -> Uptime {
        self.from.after(self.clock.since_boot().saturating_sub(self.origin))
    }

    /// Writes the count down. What fails is logged, once: the count then lacks a little more after a crash. Blocks.
    pub(super) fn persist(&self, journals: &dyn JournalFiles) {
        // An earlier one may run still, its future dropped. Then the count never goes back either.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = journals.write_uptime(self.now());
        let failed = self.failing.swap(kept.is_err(), Ordering::Relaxed);
        if let Err(error) = kept
            && !failed
        {
            tracing::warn!(%error, "could not write uptime count");
        }
    }
}
