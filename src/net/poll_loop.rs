//! Polls a connection again at once while it wakes itself, before other connections run.
//!
//! hyper ends a poll after each piece of a body that was taken, and wakes the task in the same breath. Through the
//! scheduler's queue all connections of a worker then move on by one buffer each, and the buffers push
//! each other out of the processor's cache: with 64 uploads a GiB cost 0.45 CPU seconds instead of
//! 0.36 (`benches/compare/run`; with 8 uploads 0.32 instead of 0.31). Whom it cannot keep waiting: [`super::io`] still
//! ends a connection's run by its bytes, and [`STEPS`] by its polls.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls in a row. 16: a read budget of 1 MiB is three buffers of 408 KiB; the rest is for smaller ones.
const STEPS: usize = 16;

/// Nobody polls; the next wake goes out.
const IDLE: u8 = 0;
/// Being polled; a wake asks for another poll.
const POLLING: u8 = 1;
/// Woken: a poll is due, here or by the task's own waker.
const WOKEN: u8 = 2;

/// A future that is polled on while it wakes itself, [`STEPS`] times at most.
///
/// Cancel: as the future within.
pub(super) struct PollLoop<F> {
    future: Pin<Box<F>>,
    state: Arc<State>,
    waker: Waker,
}

struct State {
    now: AtomicU8,
    task: Mutex<Waker>,
}

impl<F> PollLoop<F> {
    pub(super) fn new(future: F) -> Self {
        let task = Mutex::new(Waker::noop().clone());
        let state = Arc::new(State { now: AtomicU8::new(IDLE), task });
        let waker = Waker::from(Arc::clone(&state));
        Self { future: Box::pin(future), state, waker }
    }

    /// The future within.
    pub(super) fn inner(&mut self) -> Pin<&mut F> {
        self.future.as_mut()
    }
}

impl<F: Future> Future for PollLoop<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.state.belongs_to(cx.waker());
        let mut inner = Context::from_waker(&this.waker);
        for _ in 0..STEPS {
            // What woke it until now is answered by the poll that follows.
            this.state.now.store(POLLING, Ordering::SeqCst);
            let polled = this.future.as_mut().poll(&mut inner);
            let still =
                this.state.now.compare_exchange(POLLING, IDLE, Ordering::SeqCst, Ordering::SeqCst);
            if polled.is_ready() || still.is_ok() {
                return polled;
            }
        }
        // Woken during the last poll, and nobody but this tells the task.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl State {
    fn belongs_to(&self, task: &Waker) {
        let mut known = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.will_wake(task) {
            known.clone_from(task);
        }
    }
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.now.swap(WOKEN, Ordering::SeqCst) == IDLE {
            self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;
    use std::time::Duration;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How often a future that wakes itself `times` times is polled in one poll, and whether the task is
    /// woken afterwards.
    fn check(times: usize, polls: usize, woken: usize) {
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let mut polled = 0;
        let mut poll_loop = Box::pin(PollLoop::new(poll_fn(|cx| {
            polled += 1;
            if polled <= times {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        })));
        assert!(poll_loop.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(poll_loop);
        assert_eq!((polled, count.0.load(Ordering::SeqCst)), (polls, woken), "{times}");
    }

    #[test]
    fn polls_on_while_it_is_woken() {
        check(0, 1, 0);
        check(1, 2, 0);
        check(STEPS - 1, STEPS, 0);
        check(STEPS, STEPS, 1);
        check(10 * STEPS, STEPS, 1);
    }

    /// Wakes come from another thread at every moment of a poll; none may be lost.
    #[test]
    fn no_wake_is_lost() {
        const ROUNDS: usize = 20_000;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (ask, asked) = mpsc::channel::<Waker>();
        let given = Arc::new(AtomicUsize::new(0));
        let gives = Arc::clone(&given);
        let other = std::thread::spawn(move || {
            for waker in asked {
                gives.fetch_add(1, Ordering::SeqCst);
                waker.wake();
            }
        });
        let mut taken = 0;
        let work = poll_fn(|cx| {
            while taken < given.load(Ordering::SeqCst) {
                taken += 1;
            }
            if taken == ROUNDS {
                return Poll::Ready(());
            }
            // Nothing else wakes it: a wake that is lost leaves it here for ever.
            ask.send(cx.waker().clone()).unwrap();
            Poll::Pending
        });
        let deadline = Duration::from_secs(60);
        let ended = runtime
            .block_on(async { tokio::time::timeout(deadline, PollLoop::new(work)).await.is_ok() });
        assert!(ended);
        drop(ask);
        other.join().unwrap();
    }
}
