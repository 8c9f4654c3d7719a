//! When the backend is called: how long to wait between calls, and when to give up.

use super::time::Uptime;
use std::time::Duration;

/// The state of the calls to the backend of one upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Since when the next answer is pending: published, cancelled, retried by hand, or answered with `wait`.
    pub since: Uptime,
    /// When the first call after `since` was begun, if one was; [`RetryPolicy::retry_for`] counts from here. It may be
    /// long after `since`: calls wait their turn where a destination does not answer.
    pub first: Option<Uptime>,
    /// Calls begun so far, over restarts.
    pub begun: u32,
    /// Calls begun since the backend last answered, or since `since`: sets the pause.
    pub unanswered: u32,
    /// What is known of the last one.
    pub last: LastCall,
}

/// The last call to the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastCall {
    /// None was made yet.
    None,
    /// Begun; its end is not known (it runs, or the server died meanwhile).
    Begun,
    /// Answered with `wait`.
    Waiting {
        /// When that answer came.
        at: Uptime,
    },
    /// Ended without a valid answer.
    Unanswered {
        /// Uptime at which the call ended.
        at: Uptime,
        /// The reason, as text for people.
        reason: String,
    },
}

impl LastCall {
    /// Why it did not end the delivery, as text for people, where that is known.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Unanswered { reason, .. } => Some(reason),
            Self::Waiting { .. } => {
                Some("the backend answered wait and has not called finish_upload yet")
            }
            Self::None | Self::Begun => None,
        }
    }
}

/// The server's settings for calling backends.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// A backend that said `wait` is called again after this long.
    pub confirm_timeout: Duration,
    /// Unanswered calls are repeated until this long after the first of them was begun.
    pub retry_for: Duration,
}

impl Calls {
    /// Nothing called yet; calling begins at `since`.
    pub fn pending(since: Uptime) -> Self {
        Self { since, first: None, begun: 0, unanswered: 0, last: LastCall::None }
    }

    /// When the next call is due. `jitter` is a random number from 0 to 1, drawn by the caller.
    /// A call whose end is not known is due at once: after a restart no task waits for it.
    pub fn due(&self, policy: &RetryPolicy, jitter: f64) -> Uptime {
        match &self.last {
            LastCall::None | LastCall::Begun => self.since,
            LastCall::Waiting { at } => at.after(policy.confirm_timeout),
            LastCall::Unanswered { at, .. } => at.after(pause(self.unanswered, jitter)),
        }
    }

    /// Whether calls have gone unanswered for so long that they end at `now`.
    pub fn exhausted(&self, policy: &RetryPolicy, now: Uptime) -> bool {
        match &self.last {
            LastCall::None | LastCall::Begun | LastCall::Waiting { .. } => false,
            LastCall::Unanswered { .. } => {
                now.since(self.first.unwrap_or(self.since)) >= policy.retry_for
            }
        }
    }
}

/// The pause after `unanswered` calls without an answer: 1 s, doubled each time up to 5 min, 20 %
/// shorter or longer by `jitter` (0 to 1), so that many uploads do not call in step.
pub fn pause(unanswered: u32, jitter: f64) -> Duration {
    let doublings = unanswered.saturating_sub(1).min(16);
    let plain = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
    plain.mul_f64(0.8 + 0.4 * jitter.clamp(0.0, 1.0))
}

/// Pause after the first unanswered call (contract, "fine points").
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// No pause is longer before jitter (contract, "fine points").
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let check = |calls, jitter, expected_ms| {
            assert_eq!(
                pause(calls, jitter),
                Duration::from_millis(expected_ms),
                "{calls} {jitter}"
            );
        };
        check(1, 0.5, 1_000);
        check(2, 0.5, 2_000);
        check(9, 0.5, 256_000);
        check(10, 0.5, 300_000);
        check(u32::MAX, 0.5, 300_000);
        check(1, 0.0, 800);
        check(1, 1.0, 1_200);
    }

    #[test]
    fn a_backend_that_says_wait_is_never_given_up() {
        let policy = RetryPolicy {
            confirm_timeout: Duration::from_secs(600),
            retry_for: Duration::from_secs(60),
        };
        let mut calls = Calls::pending(Uptime(0));
        calls.last = LastCall::Waiting { at: Uptime(5_000) };
        assert!(!calls.exhausted(&policy, Uptime(u64::MAX)));
        assert_eq!(calls.due(&policy, 0.5), Uptime(605_000));
        calls.last = LastCall::Unanswered { at: Uptime(5_000), reason: String::new() };
        assert!(!calls.exhausted(&policy, Uptime(59_999)));
        assert!(calls.exhausted(&policy, Uptime(60_000)));
    }

    #[test]
    fn issue_13_time_in_the_queue_before_the_first_call_is_no_time_of_retries() {
        let policy = RetryPolicy {
            confirm_timeout: Duration::from_secs(600),
            retry_for: Duration::from_secs(60),
        };
        let last = LastCall::Unanswered { at: Uptime(155_000), reason: String::new() };
        let first = Some(Uptime(100_000));
        let calls = Calls { first, begun: 1, unanswered: 1, last, ..Calls::pending(Uptime(0)) };
        assert!(!calls.exhausted(&policy, Uptime(159_999)));
        assert!(calls.exhausted(&policy, Uptime(160_000)));
    }
}
