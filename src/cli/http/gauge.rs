//! What became of a request's body so far; who sends it notes, who waits for the answer looks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// One body on its way.
#[derive(Debug, Default)]
pub(in crate::cli) struct Gauge {
    moved: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl Gauge {
    /// Bytes handed to the network.
    pub(in crate::cli) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// So many more were.
    pub(in crate::cli) fn add(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Why the body could not be made, if so.
    pub(in crate::cli) fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The body cannot be made.
    pub(in crate::cli) fn fail(&self, why: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}
