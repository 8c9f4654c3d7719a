//! Deadlines that are not held against a peer while the process itself stood still.
//!
//! A process that was stopped (SIGSTOP, a snapshot or a migration of its machine) wakes up with all its deadlines over
//! and with what the peers sent meanwhile unread. A timer that fires late proves that: the deadline then counts
//! anew, once, so that what waits is read before a peer is cut off.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// The time is over, and the process was there to see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed;

/// Waits until `limit` is over, or twice that where the process stood still. Cancel: nothing happens.
pub async fn passed(limit: Duration) {
    let mut due = due(limit);
    let mut again = false;
    loop {
        sleep_until(due).await;
        match anew(due, limit) {
            Some(next) if !again => (due, again) = (next, true),
            Some(_) | None => return,
        }
    }
}

/// The outcome of `work`, if it ends before `limit` is [`passed`]. Cancel: `work` is dropped.
///
/// The deadline is seen also when `work` has used up the budget of its task at each poll, as one that reads from a fast
/// peer does: tokio's timers are pending then.
///
/// # Errors
/// It did not.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Passed> {
    tokio::select! {
        biased;
        done = work => Ok(done),
        () = unconstrained(passed(limit)) => Err(Passed),
    }
}

/// Whether what was due then is found over too late for anything but a process that stood still, or a loop of it.
pub fn is_late(due: Instant, now: Instant) -> bool {
    now.saturating_duration_since(due) > LATE
}

/// As [`passed`], for who polls it by hand and may ask again after its end.
#[derive(Debug)]
pub struct Deadline {
    sleep: Pin<Box<Sleep>>,
    limit: Duration,
    again: bool,
}

impl Deadline {
    /// Over after `limit`.
    #[must_use]
    pub fn new(limit: Duration) -> Self {
        Self { sleep: Box::pin(sleep_until(due(limit))), limit, again: false }
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // Whatever else the task does at this poll: see `within`.
            ready!(Pin::new(&mut unconstrained(self.sleep.as_mut())).poll(cx));
            match anew(self.sleep.deadline(), self.limit) {
                Some(next) if !self.again => {
                    self.again = true;
                    self.sleep.as_mut().reset(next);
                }
                Some(_) | None => return Poll::Ready(()),
            }
        }
    }
}

/// When the deadline is over that counts from now on, where the one before was found over too late.
fn anew(before: Instant, limit: Duration) -> Option<Instant> {
    is_late(before, Instant::now()).then(|| due(limit))
}

fn due(limit: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(limit).unwrap_or_else(|| now + FAR)
}

/// Timers of a busy server are late by some tens of milliseconds.
const LATE: Duration = Duration::from_millis(250);
/// Thirty years: what does not fit the clock never comes.
const FAR: Duration = Duration::from_secs(30 * 365 * 86400);

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::pin::pin;
    use tokio::time::advance;

    const S: Duration = Duration::from_secs(1);

    async fn check(mut wait: Pin<&mut impl Future<Output = ()>>) {
        let mut over = async || poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx).is_ready())).await;
        assert!(!over().await);
        // Stopped for 45 s.
        advance(45 * S).await;
        assert!(!over().await, "it counts anew");
        advance(9 * S).await;
        assert!(!over().await);
        advance(S).await;
        assert!(over().await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_is_found_over_late_counts_anew_once() {
        check(pin!(passed(10 * S))).await;
        check(pin!(Deadline::new(10 * S))).await;
        check(pin!(async {
            assert_eq!(within(10 * S, std::future::pending::<()>()).await, Err(Passed));
        }))
        .await;
        let mut twice = Deadline::new(10 * S);
        let mut over =
            async || poll_fn(|cx| Poll::Ready(Pin::new(&mut twice).poll(cx).is_ready())).await;
        for expected in [false, true, true] {
            advance(45 * S).await;
            assert_eq!(over().await, expected, "once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_found_over_in_time_is_over() {
        let began = Instant::now();
        passed(10 * S).await;
        assert_eq!(began.elapsed(), 10 * S);
        assert_eq!(within(10 * S, passed(9 * S)).await, Ok(()));
        assert_eq!(within(Duration::MAX, passed(S)).await, Ok(()));
    }

    #[tokio::test]
    async fn work_that_uses_up_the_budget_of_its_task_is_ended() {
        let busy = async |pending: Pin<&mut (dyn Future<Output = ()> + Send)>| {
            let began = std::time::Instant::now();
            let mut pending = pending;
            // Without a budget of its own the deadline is not seen before this ends.
            while began.elapsed() < 20 * S {
                let over = poll_fn(|cx| {
                    let mut work = pin!(async {
                        while began.elapsed() < 20 * S {
                            tokio::task::consume_budget().await
                        }
                    });
                    let _ = work.as_mut().poll(cx);
                    Poll::Ready(pending.as_mut().poll(cx).is_ready())
                });
                if over.await {
                    return true;
                }
                tokio::task::yield_now().await;
            }
            false
        };
        assert!(busy(pin!(Deadline::new(S / 20))).await);
        let work = async {
            let began = std::time::Instant::now();
            while began.elapsed() < 20 * S {
                tokio::task::consume_budget().await;
            }
        };
        assert_eq!(within(S / 20, work).await, Err(Passed));
    }
}
