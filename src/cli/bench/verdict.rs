//! Where the limit lies, judged from what was measured and from nothing else.

use std::time::Duration;

use serde::Serialize;

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Limit {
    /// The processor, by the measuring client.
    Client,
    /// The processor, by the server.
    Server,
    /// The processor, by somebody else.
    Others,
    /// The disk, which syncs without a pause.
    Disk,
    /// None of these: acknowledgements are waited for.
    RoundTrips,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) wall: Duration,
    pub(super) processors: usize,
    pub(super) client_threads: usize,
    pub(super) client: Duration,
    /// The server's, where it runs on the same processors.
    pub(super) server: Option<Duration>,
    /// All that the processors did, whoever for.
    pub(super) machine: Option<Duration>,
    /// Chunks in flight.
    pub(super) in_flight: usize,
    /// Waits for the disk, all threads together.
    pub(super) syncs: Duration,
}

/// This share of something is all of it: clocks tick, and nothing is ever quite full.
const FULL: f64 = 0.85;
/// The largest share of what is full.
const MOST: f64 = 0.5;

/// The first that fits.
pub(super) fn limit(measured: &Measured) -> Limit {
    let wall = measured.wall.as_secs_f64().max(f64::MIN_POSITIVE);
    let busy = |time: Duration| time.as_secs_f64() / wall;
    if busy(measured.client) >= FULL * measured.client_threads.min(measured.processors) as f64 {
        return Limit::Client;
    }
    let server = measured.server.unwrap_or_default();
    if busy(measured.client + server) >= FULL * measured.processors as f64 {
        return if measured.client > server { Limit::Client } else { Limit::Server };
    }
    // Many wait for one sync; each upload's own is waited for too.
    if busy(measured.syncs) >= FULL.min(MOST * measured.in_flight as f64) {
        return Limit::Disk;
    }
    if measured.machine.is_some_and(|all| busy(all) >= FULL * measured.processors as f64) {
        return Limit::Others;
    }
    Limit::RoundTrips
}

impl Limit {
    /// In words.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Client => "the measuring client uses all CPU time",
            Self::Server => "the server uses all its CPU time",
            Self::Disk => "the disk is busy: at any time a chunk waits for a sync",
            Self::Others => "other programs use all CPU time of this machine",
            Self::RoundTrips => {
                "no resource is used up: chunks wait for their answers; try more in flight \
                 (--uploads, --parallel)"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_used_up() {
        let idle = Measured {
            wall: Duration::from_secs(10),
            processors: 2,
            client_threads: 2,
            client: Duration::from_secs(1),
            server: Some(Duration::from_secs(1)),
            machine: Some(Duration::from_secs(3)),
            in_flight: 8,
            syncs: Duration::ZERO,
        };
        let check = |measured: Measured, expected: Limit| {
            assert_eq!(limit(&measured), expected, "{measured:?}")
        };
        let seconds = Duration::from_secs;
        check(idle, Limit::RoundTrips);
        check(Measured { server: None, ..idle }, Limit::RoundTrips);
        check(Measured { client: seconds(18), ..idle }, Limit::Client);
        check(Measured { client: seconds(9), client_threads: 1, ..idle }, Limit::Client);
        check(Measured { client: seconds(8), server: Some(seconds(10)), ..idle }, Limit::Server);
        check(Measured { syncs: seconds(50), ..idle }, Limit::Disk);
        check(Measured { syncs: seconds(8), ..idle }, Limit::RoundTrips);
        check(Measured { syncs: seconds(5), in_flight: 1, ..idle }, Limit::Disk);
        check(Measured { machine: Some(seconds(18)), ..idle }, Limit::Others);
        check(Measured { machine: Some(seconds(18)), syncs: seconds(50), ..idle }, Limit::Disk);
    }
}
