//! Where rounds of work with storage run: many calls, one after the other, that would each change the thread.

use std::future::Future;
use std::pin::Pin;

/// Runs rounds of work.
pub trait Rounds: Send + Sync {
    /// Whether a round of this weight ends at once where it is begun, without holding up anybody else there.
    fn is_quick(&self, weight: Weight) -> bool;

    /// Runs `round` to its end beside the caller, with as few changes of thread as there can be.
    fn run(&self, round: Pin<Box<dyn Future<Output = ()> + Send>>);
}

/// What a round waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Writes at most: nothing that it does has to be durable at its end.
    Writes,
    /// It syncs, renames or reads.
    Syncs,
}
