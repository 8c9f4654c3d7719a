//! Timers for hyper's pings that do not expire while this process was stopped ([`crate::engine::deadline`]).
//!
//! hyper checks whether a ping is overdue before it reads the socket, so a connection whose answer is
//! there already would end with every upload on it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::engine::deadline::Deadline;

/// Makes them.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeadlineTimer;

#[derive(Debug)]
struct DeadlineSleep(Deadline);

impl Timer for DeadlineTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(DeadlineSleep(Deadline::new(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl Future for DeadlineSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Sleep for DeadlineSleep {}
