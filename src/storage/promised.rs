//! What a call to storage comes to: at once where that is quick, or later.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The outcome of a call to storage. It is there already where storage is quick, so that nothing is allocated and no
/// thread is changed for it; else it is waited for. Dropping it does not undo what has begun.
#[must_use = "what storage says is lost"]
pub enum Promised<'a, T> {
    /// Already there; `None` once it was taken.
    Ready(Option<T>),
    /// Under way.
    Later(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<'a, T> Promised<'a, T> {
    /// It is there.
    pub fn ready(outcome: T) -> Self {
        Self::Ready(Some(outcome))
    }

    /// It comes with the end of `work`.
    pub fn later(work: impl Future<Output = T> + Send + 'a) -> Self {
        Self::Later(Box::pin(work))
    }
}

// An outcome is only moved out, never pinned.
impl<T> Unpin for Promised<'_, T> {}

impl<T> Future for Promised<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.get_mut() {
            Self::Ready(outcome) => Poll::Ready(outcome.take().expect("not polled after its end")),
            Self::Later(work) => work.as_mut().poll(cx),
        }
    }
}

impl<'a, T: Send + 'a> Promised<'a, T> {
    /// Its outcome, turned into another one where it is there.
    pub fn map<U>(self, turn: impl FnOnce(T) -> U + Send + 'a) -> Promised<'a, U> {
        match self {
            Self::Ready(outcome) => Promised::Ready(outcome.map(turn)),
            Self::Later(work) => Promised::later(async move { turn(work.await) }),
        }
    }
}
