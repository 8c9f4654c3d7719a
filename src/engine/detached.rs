//! Work that is done where it was asked for, and goes on alone when whoever asked goes away.
//!
//! A task of its own from the start would cost a switch for each frame, and other connections' bytes
//! would push this one's out of the processor's cache before they are written.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Polled by its owner while that one waits; spawned when the owner drops it unfinished.
///
/// A panic of the work is an error to its owner. Outside of a runtime, and while a runtime ends, dropping
/// it drops the work.
pub(super) struct Detached<F: Future<Output: Send> + Send + 'static> {
    work: Option<Pin<Box<F>>>,
}

/// The work ended by a panic, which the panic hook has told of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panicked;

impl<F: Future<Output: Send> + Send + 'static> Detached<F> {
    pub(super) fn new(work: F) -> Self {
        Self { work: Some(Box::pin(work)) }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Detached<F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Out of its place while it runs: what has panicked is not polled again.
        let mut work = self.work.take().expect("not polled after its end");
        // What it leaves behind is released by its drop, as in a task of its own.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Ok(Poll::Pending) => {
                self.work = Some(work);
                Poll::Pending
            }
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Detached<F> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Owned by the tracker inside the work.
            runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn goes_on_when_its_owner_goes_away() {
        let (sender, receiver) = oneshot::channel();
        let (go, wait) = oneshot::channel::<()>();
        let mut work = Box::pin(Detached::new(async move {
            wait.await.unwrap();
            sender.send(7).unwrap();
        }));
        assert!(poll_once(&mut work).await.is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(receiver.await, Ok(7));
    }

    #[tokio::test]
    async fn answers_where_it_was_asked() {
        assert_eq!(Detached::new(async { 3 }).await, Ok(3));
        drop(Detached::new(async { 3 }));
    }

    #[tokio::test]
    async fn a_panic_is_an_error() {
        assert_eq!(Detached::new(async { panic!("on purpose") }).await, Err::<(), _>(Panicked));
    }

    async fn poll_once<F: Future + Unpin>(work: &mut F) -> Poll<F::Output> {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *work).poll(cx))).await
    }
}
