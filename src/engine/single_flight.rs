//! One look at a time: however many ask how the disk is, one asks the disk. A disk that hangs holds one
//! thread then, and those who ask wait as long as they like.

use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

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
        let mut told = self.join(start);
        async move { told.wait_for(Option::is_some).await.ok()?.clone() }
    }

    fn join(&self, start: impl FnOnce() -> JoinHandle<T>) -> watch::Receiver<Option<T>> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Without its sender it is over, and what it told is old.
        if let Some(told) = running.as_ref().filter(|told| told.has_changed().is_ok()) {
            return told.clone();
        }
        let (tell, told) = watch::channel(None);
        let look = start();
        tokio::spawn(async move {
            if let Ok(answer) = look.await {
                tell.send_replace(Some(answer));
            }
        });
        *running = Some(told.clone());
        told
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
        // Until the task that told has ended, its answer is that of this moment.
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
