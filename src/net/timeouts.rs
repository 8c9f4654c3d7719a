//! The clock of a connection: finds out that a peer keeps it waiting.
//!
//! hyper has one clock for this (`header_read_timeout`): it starts with the connection, before the
//! first byte, and again after each answer, so it cannot tell a silent peer, a half-sent head and a
//! connection that rests between two requests apart, and HTTP/2 has none at all. This one watches the
//! bytes and the requests from outside and serves both.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Limits, Protocol};
use crate::engine::deadline::is_late;

/// Which limit a peer overstepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    FirstByte,
    Head,
    Idle,
    Write,
    Closing,
}

/// What is known of one connection; shared by its socket, its requests and its clock.
#[derive(Debug)]
pub(super) struct ConnectionTimeouts {
    protocol: Protocol,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Since when the peer has taken none of our bytes.
    stalled: Option<Instant>,
    /// Since when the connection has been asked to end.
    closing: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    /// No byte has come.
    Silent { since: Instant },
    /// A request's head has begun.
    Head { since: Instant },
    /// Requests are being served; never zero. Of them, so many are answered, and the peer has yet to
    /// take all of the answer; the last sign of that was then.
    Busy { requests: usize, answered: usize, taken: Instant },
    /// Between two requests.
    Idle { since: Instant },
}

/// A request being served, until its answer's body is over or dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest {
    timeouts: Arc<ConnectionTimeouts>,
    answered: bool,
}

/// Completes when a limit is overstepped. Polled in the connection's own task, after the connection.
#[derive(Debug)]
pub(super) struct TimeoutClock {
    timeouts: Arc<ConnectionTimeouts>,
    sleep: Pin<Box<Sleep>>,
    /// A limit that was found overstepped too late to be the peer's fault, and until when it counts anew.
    extension: Option<Extension>,
}

#[derive(Clone, Copy, Debug)]
struct Extension {
    due: Instant,
    until: Instant,
}

impl ConnectionTimeouts {
    pub(super) fn new(protocol: Protocol, limits: Limits, now: Instant) -> Arc<Self> {
        let state = State { phase: Phase::Silent { since: now }, stalled: None, closing: None };
        Arc::new(Self { protocol, limits, state: Mutex::new(state) })
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> ActiveRequest {
        let phase = &mut self.state().phase;
        match phase {
            Phase::Busy { requests, .. } => *requests += 1,
            Phase::Silent { .. } | Phase::Head { .. } | Phase::Idle { .. } => {
                *phase = Phase::Busy { requests: 1, answered: 0, taken: Instant::now() };
            }
        }
        ActiveRequest { timeouts: Arc::clone(self), answered: false }
    }

    /// An answer was given, or a part of one was taken: on HTTP/2 that is the only sign of a peer that
    /// reads, since one that lets no answer through takes the protocol's own frames all the same.
    fn taken(&self, now: Instant, more_answered: usize) {
        if let Phase::Busy { answered, taken, .. } = &mut self.state().phase {
            *answered += more_answered;
            *taken = now;
        }
    }

    /// The connection was asked to end.
    pub(super) fn closing(&self, now: Instant) {
        self.state().closing.get_or_insert(now);
    }

    /// No byte has come yet: nothing is lost by dropping the connection.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.state().phase, Phase::Silent { .. })
    }

    pub(super) fn clock(self: &Arc<Self>) -> TimeoutClock {
        let first = Instant::now() + self.limits.first_byte;
        TimeoutClock {
            timeouts: Arc::clone(self),
            sleep: Box::pin(sleep_until(first)),
            extension: None,
        }
    }

    /// When the next limit is overstepped if nothing more happens, and which; none while requests are
    /// served and our bytes are taken.
    fn due(&self) -> Option<(Instant, Overdue)> {
        let limits = &self.limits;
        let state = self.state();
        let by_phase = match (&state.phase, state.closing) {
            (Phase::Busy { requests, answered, taken }, _) => {
                (answered == requests).then(|| (*taken + limits.stalled_write, Overdue::Write))
            }
            (_, Some(since)) => Some((since + limits.closing, Overdue::Closing)),
            (Phase::Silent { since }, None) => {
                Some((*since + limits.first_byte, Overdue::FirstByte))
            }
            (Phase::Head { since }, None) => Some((*since + limits.head, Overdue::Head)),
            (Phase::Idle { since }, None) => Some((*since + limits.idle, Overdue::Idle)),
        };
        let by_write = state.stalled.map(|since| (since + limits.stalled_write, Overdue::Write));
        match (by_phase, by_write) {
            (Some(phase), Some(write)) => Some(if write.0 < phase.0 { write } else { phase }),
            (phase, write) => phase.or(write),
        }
    }

    /// Bytes came. The clock is read only where they begin something.
    pub(super) fn arrived(&self) {
        self.arrived_at(Instant::now);
    }

    fn arrived_at(&self, now: impl FnOnce() -> Instant) {
        let phase = &mut self.state().phase;
        match (&phase, self.protocol) {
            (Phase::Silent { .. } | Phase::Idle { .. }, Protocol::Http1) => {
                *phase = Phase::Head { since: now() };
            }
            (Phase::Silent { .. }, Protocol::Http2) => *phase = Phase::Idle { since: now() },
            (Phase::Idle { .. }, Protocol::Http2)
            | (Phase::Busy { .. } | Phase::Head { .. }, _) => {}
        }
    }

    fn end(&self, now: Instant, was_answered: bool) {
        let mut state = self.state();
        state.phase = match state.phase {
            Phase::Busy { requests, answered, .. } if requests > 1 => Phase::Busy {
                requests: requests - 1,
                answered: answered - usize::from(was_answered),
                taken: now,
            },
            Phase::Busy { .. } | Phase::Silent { .. } | Phase::Head { .. } | Phase::Idle { .. } => {
                // Whoever was asked to end in the meantime has its full time from the answer on.
                state.closing = state.closing.map(|_| now);
                Phase::Idle { since: now }
            }
        };
    }

    /// A write, flush or shutdown was tried.
    pub(super) fn wrote<T>(&self, outcome: &Poll<io::Result<T>>) {
        let stalled = &mut self.state().stalled;
        match outcome {
            Poll::Pending => {
                stalled.get_or_insert_with(Instant::now);
            }
            Poll::Ready(_) => *stalled = None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the state")
    }
}

impl ActiveRequest {
    /// The answer was given; from now on the peer is to take it.
    pub(super) fn answered(&mut self) {
        let more = usize::from(!std::mem::replace(&mut self.answered, true));
        self.timeouts.taken(Instant::now(), more);
    }

    /// The peer took a part of the answer: the next one was asked for.
    pub(super) fn took(&self) {
        self.timeouts.taken(Instant::now(), 0);
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.timeouts.end(Instant::now(), self.answered);
    }
}

impl Future for TimeoutClock {
    type Output = Overdue;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Overdue> {
        let this = self.get_mut();
        loop {
            let now = Instant::now();
            let next = match this.timeouts.due() {
                Some((at, overdue)) if at <= now => match this.extended(at, overdue, now) {
                    None => return Poll::Ready(overdue),
                    Some(until) => until,
                },
                Some((at, _)) => at,
                // An HTTP/2 request ends in another task, so look again before any limit that
                // begins with its answer or end can be over.
                None => {
                    let limits = &this.timeouts.limits;
                    now + limits.idle.min(limits.closing).min(limits.stalled_write)
                }
            };
            // The timer only moves forward when it fires: most requests do not touch it.
            if this.sleep.is_elapsed() || next < this.sleep.deadline() {
                this.sleep.as_mut().reset(next);
            }
            if this.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl TimeoutClock {
    /// Until when a limit that was due then counts anew, where this process stood still while it ended: what the
    /// peer sent meanwhile waits to be read.
    fn extended(&mut self, due: Instant, overdue: Overdue, now: Instant) -> Option<Instant> {
        if self.extension.is_none_or(|extension| extension.due != due) {
            let late = is_late(due, now);
            self.extension =
                late.then(|| Extension { due, until: now + self.timeouts.limits.of(overdue) });
        }
        self.extension.map(|extension| extension.until).filter(|until| *until > now)
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FirstByte => "no first byte in time",
            Self::Head => "no whole request head in time",
            Self::Idle => "no request in time",
            Self::Write => "peer read no bytes in time",
            Self::Closing => "connection did not end in time",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const LIMITS: Limits = Limits {
        first_byte: Duration::from_secs(10),
        head: Duration::from_secs(15),
        idle: Duration::from_secs(75),
        stalled_write: Duration::from_secs(30),
        closing: Duration::from_secs(12),
    };

    fn check(timeouts: &ConnectionTimeouts, start: Instant, due: Option<(u64, Overdue)>) {
        let found = timeouts.due().map(|(at, what)| ((at - start).as_secs(), what));
        assert_eq!(found, due, "{timeouts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_stood_still_gives_each_limit_once_more() {
        use std::future::poll_fn;
        let timeouts = ConnectionTimeouts::new(Protocol::Http1, LIMITS, Instant::now());
        let mut clock = timeouts.clock();
        let mut look = async |seconds: u64| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            poll_fn(|cx| Poll::Ready(Pin::new(&mut clock).poll(cx))).await
        };
        assert_eq!(look(0).await, Poll::Pending);
        assert_eq!(look(45).await, Poll::Pending, "stopped for 45 s");
        assert_eq!(look(9).await, Poll::Pending);
        // Its first byte was in the socket, and the head's limit is another one.
        timeouts.arrived();
        assert_eq!(look(14).await, Poll::Pending);
        assert_eq!(look(45).await, Poll::Pending, "stopped again");
        assert_eq!(look(14).await, Poll::Pending);
        assert_eq!(look(1).await, Poll::Ready(Overdue::Head));
    }

    #[test]
    fn http1_limits_follow_the_phases() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let timeouts = ConnectionTimeouts::new(Protocol::Http1, LIMITS, start);
        check(&timeouts, start, Some((10, Overdue::FirstByte)));
        timeouts.arrived_at(|| at(3));
        timeouts.arrived_at(|| at(4));
        check(&timeouts, start, Some((18, Overdue::Head)));
        let first = timeouts.begin();
        let second = timeouts.begin();
        timeouts.arrived_at(|| at(5));
        check(&timeouts, start, None);
        timeouts.state().stalled = Some(at(6));
        check(&timeouts, start, Some((36, Overdue::Write)));
        timeouts.wrote(&Poll::Ready(Ok(1)));
        timeouts.end(at(7), false);
        check(&timeouts, start, None);
        timeouts.end(at(20), false);
        check(&timeouts, start, Some((95, Overdue::Idle)));
        timeouts.arrived_at(|| at(30));
        check(&timeouts, start, Some((45, Overdue::Head)));
        std::mem::forget((first, second));
    }

    #[test]
    fn http2_bytes_between_requests_do_not_count() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let timeouts = ConnectionTimeouts::new(Protocol::Http2, LIMITS, start);
        assert!(timeouts.is_silent());
        timeouts.arrived_at(|| at(1));
        timeouts.arrived_at(|| at(50));
        check(&timeouts, start, Some((76, Overdue::Idle)));
        timeouts.closing(at(76));
        timeouts.closing(at(80));
        check(&timeouts, start, Some((88, Overdue::Closing)));
        let running = timeouts.begin();
        check(&timeouts, start, None);
        timeouts.end(at(90), false);
        check(&timeouts, start, Some((102, Overdue::Closing)));
        std::mem::forget(running);
    }

    #[test]
    fn answers_that_nobody_takes_are_waited_for_only_so_long() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let timeouts = ConnectionTimeouts::new(Protocol::Http2, LIMITS, start);
        let (first, second) = (timeouts.begin(), timeouts.begin());
        timeouts.taken(at(1), 1);
        // One is still being served: a long poll, or a body that has a limit of its own.
        check(&timeouts, start, None);
        timeouts.taken(at(5), 1);
        check(&timeouts, start, Some((35, Overdue::Write)));
        timeouts.taken(at(20), 0);
        check(&timeouts, start, Some((50, Overdue::Write)));
        timeouts.end(at(25), true);
        check(&timeouts, start, Some((55, Overdue::Write)));
        let third = timeouts.begin();
        check(&timeouts, start, None);
        timeouts.end(at(26), false);
        timeouts.end(at(27), true);
        check(&timeouts, start, Some((102, Overdue::Idle)));
        std::mem::forget((first, second, third));
    }
}
