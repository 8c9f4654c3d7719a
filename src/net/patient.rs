//! Timers for hyper that a process which stood still does not hold against its peers ([`crate::engine::deadline`]).
//!
//! hyper looks whether a ping is overdue before it reads what lies in the socket, so a connection whose answer is
//! there already would end with every upload on it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use crate::engine::deadline::Deadline;

/// The timers.
#[derive(Clone, Copy, Debug)]
pub(super) struct PatientTimer;

#[derive(Debug)]
struct PatientSleep(Deadline);

impl Timer for PatientTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(PatientSleep(Deadline::new(duration)))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.now()))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

impl Future for PatientSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl Sleep for PatientSleep {}
