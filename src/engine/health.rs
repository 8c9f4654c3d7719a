//! Whether the disk is well, for probes and metrics: however many ask, one asks the disk. A disk that hangs holds one
//! thread then, and those who ask wait as long as they like.

use super::Engine;
use crate::storage::store::Unready;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What is known of the disk by looking at it for those who look after the server: one look of a kind
/// at a time.
#[derive(Default)]
pub(super) struct HealthProbes {
    storage: SingleFlight<Result<(), Unready>>,
    free: SingleFlight<Option<u64>>,
    thread: SingleFlight<()>,
}

/// Why no new uploads can be taken.
#[derive(Clone, Debug, Error)]
pub enum NotReady {
    /// It drains.
    #[error("the server is stopping")]
    Stopping,
    /// A disk that has failed once is not trusted before a restart.
    #[error("the disk failed an upload; see the log")]
    Fault,
    /// Of the store.
    #[error(transparent)]
    Store(#[from] Unready),
}

impl Engine {
    /// Whether new uploads can be taken: not draining, no failed disk, the storage in its place,
    /// space above the reserve, a file written there and synced.
    ///
    /// Takes as long as the disk takes: who asks has a deadline, and however many ask, one thread
    /// waits. Errors: why not, for people.
    pub async fn readiness(self: &Arc<Self>) -> Result<(), NotReady> {
        if self.draining.is_cancelled() {
            return Err(NotReady::Stopping);
        }
        if self.stats.faults.get() > 0 {
            return Err(NotReady::Fault);
        }
        let engine = Arc::clone(self);
        let probe =
            self.probes.storage.ask(|| tokio::spawn(async move { engine.store.ready().await }));
        Ok(probe.await.unwrap_or(Err(Unready::Panicked))?)
    }

    /// Waits until a blocking thread of this runtime has had its turn, as all work with the disk has
    /// to.
    pub async fn disk_thread(self: &Arc<Self>) {
        let engine = Arc::clone(self);
        let turn = || tokio::spawn(async move { engine.store.turn().await });
        self.probes.thread.ask(turn).await;
    }

    /// Bytes free for this server; `None` where the disk does not say. Takes as long as the disk
    /// takes.
    pub async fn free_bytes(self: &Arc<Self>) -> Option<u64> {
        let engine = Arc::clone(self);
        let free = || tokio::spawn(async move { engine.store.free_bytes().await });
        self.probes.free.ask(free).await.flatten()
    }

    /// Bytes promised to running chunks that the disk does not count yet.
    pub fn reserved_bytes(&self) -> u64 {
        self.store.reserved_bytes()
    }

    /// Bytes of batches that wait for a slow disk, and how many may.
    pub fn waiting_bytes(&self) -> (u64, u64) {
        self.store.waiting_bytes()
    }

    /// Uploads that have a delivery pending, and for how long the oldest has had it.
    pub fn pending_deliveries(&self) -> (usize, Duration) {
        let (count, since) = match &self.sharing {
            Some(sharing) => sharing.calls(),
            None => self.outbox.pending(),
        };
        (count, since.map_or(Duration::ZERO, |since| self.uptime().since(since)))
    }
}

/// A question that is asked once at a time.
#[derive(Debug)]
pub struct SingleFlight<T>(Mutex<Option<watch::Receiver<Option<T>>>>);

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Clone + Send + Sync + 'static> SingleFlight<T> {
    /// The answer of `start`, or of one that was started before and is still under way; `None` where
    /// it panicked. Begins now, waits when polled, and has no deadline of its own. Cancel: the look
    /// goes on for others.
    pub fn ask<F: FnOnce() -> JoinHandle<T>>(
        &self,
        start: F,
    ) -> impl Future<Output = Option<T>> + Send + use<T, F> {
        let mut receiver = self.join(start);
        async move { receiver.wait_for(Option::is_some).await.ok()?.clone() }
    }

    fn join(&self, start: impl FnOnce() -> JoinHandle<T>) -> watch::Receiver<Option<T>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without its sender it is over, and its answer is old.
        if let Some(receiver) = running.as_ref().filter(|receiver| receiver.has_changed().is_ok()) {
            return receiver.clone();
        }
        let (sender, receiver) = watch::channel(None);
        let look = start();
        tokio::spawn(async move {
            if let Ok(answer) = look.await {
                sender.send_replace(Some(answer));
            }
        });
        *running = Some(receiver.clone());
        receiver
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn those_who_ask_at_once_share_a_look_and_later_ones_do_not() {
        let (look, looks) = (SingleFlight::<u32>::default(), Arc::new(AtomicU32::new(0)));
        let (go, wait) = watch::channel(false);
        let ask = || {
            look.ask(|| {
                let (looks, mut wait) = (Arc::clone(&looks), wait.clone());
                tokio::spawn(async move {
                    wait.wait_for(|go| *go).await.unwrap();
                    looks.fetch_add(1, Ordering::Relaxed) + 1
                })
            })
        };
        let waiting = async {
            // All have asked when this is polled.
            go.send_replace(true);
        };
        let (a, b, c, ()) = tokio::join!(ask(), ask(), ask(), waiting);
        assert_eq!([a, b, c], [Some(1); 3]);
        // Until the task that answered has ended, its answer is that of this moment.
        while ask().await != Some(2) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_look_that_panics_is_no_answer_and_is_made_again() {
        let look = SingleFlight::<u32>::default();
        assert_eq!(look.ask(|| tokio::spawn(async { panic!("on purpose") })).await, None);
        while look.ask(|| tokio::spawn(async { 3 })).await != Some(3) {
            tokio::task::yield_now().await;
        }
    }
}
