//! What came out: figures, a table for people, JSON for programs.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

use super::plan::{Plan, ServerUnderTest};
use super::process::{Cpu, MemoryUse};
use super::target::Usage;
use crate::cli::terminal;
use crate::client::Offer;
use crate::core::units::size;

/// A stretch of the measurement.
pub(super) struct Phase {
    pub(super) wall: Duration,
    /// Sorted.
    pub(super) acks: Vec<Duration>,
    pub(super) client: Cpu,
    /// Of all programs, where the system tells.
    pub(super) machine: Option<Duration>,
    pub(super) before: Usage,
    pub(super) after: Usage,
}

/// The figures. Sizes in bytes, times in seconds, costs in CPU seconds for each GiB.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    protocol: &'static str,
    tls: bool,
    ack: Option<String>,
    uploads: u32,
    parallel: u32,
    chunk_bytes: u64,
    bytes: u64,
    seconds: f64,
    gib_per_second: f64,
    acknowledgements: Times,
    server_cpu: Option<Cost>,
    client_cpu: Cost,
    server_memory: Option<MemoryUse>,
    disk_syncs: Option<Syncs>,
    completion: Option<Completion>,
    limit: Limit,
}

#[derive(Debug, Serialize)]
pub(super) struct Times {
    count: usize,
    p50: f64,
    p99: f64,
    p999: f64,
    most: f64,
}

#[derive(Debug, Serialize)]
struct Cost {
    per_gib: f64,
    user_per_gib: f64,
    system_per_gib: f64,
}

#[derive(Debug, Serialize)]
struct Syncs {
    count: f64,
    seconds: f64,
}

/// The last chunk of each file, until the backend has them all.
#[derive(Debug, Serialize)]
struct Completion {
    seconds: f64,
    acknowledgements: Times,
}

impl Report {
    /// Of the bytes, and of the end of the files where they end.
    pub(super) fn new(plan: &Plan, bytes: &Phase, end: Option<&Phase>, senders: usize) -> Self {
        let measured = plan.measured_bytes();
        let gib = measured as f64 / f64::from(1 << 30);
        let seconds = bytes.wall.as_secs_f64();
        let server = bytes.before.cpu.zip(bytes.after.cpu).map(|(from, to)| to.since(from));
        let syncs = bytes.before.syncs.zip(bytes.after.syncs).map(|(from, to)| to.since(from));
        let limit = limit(&Measured {
            wall: bytes.wall,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            client_threads: plan.client_threads,
            client: bytes.client.total(),
            server: server.map(Cpu::total),
            machine: bytes.machine,
            // Chunks of one upload share their syncs.
            in_flight: senders.min(plan.uploads as usize),
            syncs: syncs.map_or(Duration::ZERO, |syncs| syncs.time),
        });
        Self {
            protocol: match plan.protocol {
                Offer::Http2 => "h2",
                Offer::Http1 | Offer::Both => "http/1.1",
            },
            tls: plan.tls(),
            ack: match &plan.server {
                ServerUnderTest::Own { ack, .. } => Some(ack.clone()),
                ServerUnderTest::Other { .. } => None,
            },
            uploads: plan.uploads,
            parallel: plan.parallel,
            chunk_bytes: plan.chunk,
            bytes: measured,
            seconds,
            gib_per_second: gib / seconds,
            acknowledgements: Times::of(&bytes.acks),
            server_cpu: server.map(|cpu| Cost::of(cpu, gib)),
            client_cpu: Cost::of(bytes.client, gib),
            server_memory: bytes.after.memory,
            disk_syncs: syncs
                .map(|syncs| Syncs { count: syncs.count, seconds: syncs.time.as_secs_f64() }),
            completion: end.map(|end| Completion {
                seconds: end.wall.as_secs_f64(),
                acknowledgements: Times::of(&end.acks),
            }),
            limit,
        }
    }

    /// One object on one line.
    pub(super) fn json(&self) -> String {
        terminal::json(self).unwrap_or_default()
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows = Rows::default();
        let mut row = |name: &str, value: String| rows.add(name, &value);
        let tls = if self.tls { " + TLS" } else { "" };
        let ack = self.ack.as_ref().map(|ack| format!(", ack = {ack}")).unwrap_or_default();
        row(
            "work",
            format!(
                "{}{tls}, {} uploads x {} in flight, chunks of {}{ack}",
                self.protocol,
                self.uploads,
                self.parallel,
                size(self.chunk_bytes)
            ),
        );
        // Of a slow line, MiB.
        let throughput = match self.gib_per_second {
            slow if slow < 0.1 => format!("{:.2} MiB/s", slow * 1024.0),
            fast => format!("{fast:.3} GiB/s"),
        };
        row("throughput", format!("{throughput} ({} in {:.2} s)", size(self.bytes), self.seconds));
        row("acknowledgements", self.acknowledgements.text());
        match &self.server_cpu {
            Some(cost) => row("server CPU", cost.text()),
            None => row("server CPU", "unknown: name its process with --server-pid".into()),
        }
        row("client CPU", self.client_cpu.text());
        if let Some(memory) = self.server_memory {
            row(
                "server memory",
                format!("{} now, {} at most", size(memory.now), size(memory.peak)),
            );
        }
        if let Some(syncs) = &self.disk_syncs {
            let mean = syncs.seconds * 1e3 / syncs.count.max(1.0);
            row("disk syncs", format!("{:.0}, {mean:.2} ms each", syncs.count));
        }
        if let Some(end) = &self.completion {
            row(
                "completion",
                format!("{:.2} s for all files; {}", end.seconds, end.acknowledgements.text()),
            );
        }
        row("limit", self.limit.text().into());
        rows.text()
    }
}

/// A table for people: a name and a value in each line.
#[derive(Default)]
pub(super) struct Rows(String);

impl Rows {
    pub(super) fn add(&mut self, name: &str, value: &str) {
        // A string takes every line.
        let _ = writeln!(self.0, "{name:<20} {value}");
    }

    /// All lines, the last one without its end.
    pub(super) fn text(mut self) -> String {
        self.0.truncate(self.0.trim_end().len());
        self.0
    }
}

impl Times {
    /// Of sorted times. The nearest rank: a time that was really seen.
    pub(super) fn of(sorted: &[Duration]) -> Self {
        let at = |thousandths: usize| {
            let rank = (sorted.len() * thousandths).div_ceil(1000).max(1);
            sorted.get(rank - 1).map_or(0.0, Duration::as_secs_f64)
        };
        Self { count: sorted.len(), p50: at(500), p99: at(990), p999: at(999), most: at(1000) }
    }

    pub(super) fn text(&self) -> String {
        let Self { count, p50, p99, p999, most } = self;
        let [p50, p99, p999, most] = [p50, p99, p999, most].map(|time| time * 1e3);
        format!("p50 {p50:.1} ms, p99 {p99:.1}, p99.9 {p999:.1}, longest {most:.1} ({count})")
    }
}

impl Cost {
    fn of(cpu: Cpu, gib: f64) -> Self {
        Self {
            per_gib: cpu.total().as_secs_f64() / gib,
            user_per_gib: cpu.user.as_secs_f64() / gib,
            system_per_gib: cpu.system.as_secs_f64() / gib,
        }
    }

    fn text(&self) -> String {
        let Self { per_gib, user_per_gib, system_per_gib } = self;
        format!("{per_gib:.3} s/GiB (user {user_per_gib:.3}, system {system_per_gib:.3})")
    }
}

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
    fn ranks_are_times_that_were_seen() {
        let check = |count: u64, expected: [u64; 4]| {
            let times: Vec<Duration> = (1..=count).map(Duration::from_secs).collect();
            let Times { p50, p99, p999, most, .. } = Times::of(&times);
            assert_eq!([p50, p99, p999, most], expected.map(|time| time as f64), "{count}");
        };
        check(0, [0, 0, 0, 0]);
        check(1, [1, 1, 1, 1]);
        check(4, [2, 4, 4, 4]);
        check(1000, [500, 990, 999, 1000]);
    }

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
