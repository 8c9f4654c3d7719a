//! The names and the text format of what is counted on the floors below.
//!
//! Each is told of in docs/operations/metrics.md, and a test holds that file against this one. No label
//! takes a value from outside.

mod text;

use super::telemetry;
use crate::engine::Engine;
use crate::engine::histogram::{Histogram, Times};
use crate::engine::status::StateName;
use crate::net::{HeaderFailure, MemoryBudget, Stats as NetStats, TlsReload};
use crate::wire::refusals::Refusals;
use crate::wire::{MetricsFormat, Scrape};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use text::Writer;

/// Where the figures come from.
#[derive(Clone)]
pub(super) struct Sources {
    /// Uploads, chunks, the disk.
    pub engine: Arc<Engine>,
    /// Connections.
    pub net: Arc<NetStats>,
    /// Memory for what clients send ahead.
    pub memory: Arc<MemoryBudget>,
    /// Answers that said no.
    pub refusals: Arc<Refusals>,
    /// Certificates, by the word for their listener.
    pub certificates: Vec<(&'static str, Arc<TlsReload>)>,
    /// Connections of the public listener, at most.
    pub max_connections: usize,
    /// When the server started.
    pub started: SystemTime,
}

impl Sources {
    /// The text of `/metrics` at this moment.
    pub(super) fn render(&self, scrape: Scrape) -> String {
        let mut registry = Registry::with_prefix("incoming");
        let sources = self.clone();
        registry.register_collector(Box::new(Counted { sources, free: scrape.free_bytes }));
        let mut text = String::new();
        // Writing to a string fails only if a metric is named wrongly, which a test would see.
        let _ = encode(&mut text, &registry);
        match scrape.format {
            MetricsFormat::OpenMetrics => text,
            MetricsFormat::Plain => text::plain(&text),
        }
    }
}

struct Counted {
    sources: Sources,
    /// Bytes free on the disk, where it said so in time.
    free: Option<u64>,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl Collector for Counted {
    fn encode(&self, to: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Writer(to);
        self.bytes(&mut to)?;
        self.uploads(&mut to)?;
        self.handovers(&mut to)?;
        self.disk(&mut to)?;
        self.connections(&mut to)?;
        self.process(&mut to)
    }
}

impl Counted {
    fn bytes(&self, to: &mut Writer<'_>) -> fmt::Result {
        let stats = self.sources.engine.stats();
        to.counter("received_bytes", "Body bytes read from clients", stats.received_bytes.value())?;
        let help = "Bytes acknowledged for the first time";
        to.counter("acknowledged_bytes", help, stats.acknowledged_bytes.value())?;
        let help = "Body bytes that had been acknowledged before";
        to.counter("repeated_bytes", help, stats.repeated_bytes.value())?;
        let help = "Chunks being received";
        to.gauge("chunks_in_flight", help, stats.chunks_in_flight.value())?;
        let help = "Seconds from a chunk's head to its acknowledgement";
        seconds(to, "chunk_seconds", help, &stats.chunk_times)?;
        let help = "Seconds from a chunk's last byte to its acknowledgement";
        seconds(to, "chunk_commit_seconds", help, &stats.commit_times)?;
        let help = "Bytes of acknowledged chunks";
        spread(to, "chunk_bytes", help, &stats.chunk_bytes, |bytes| bytes as f64)?;
        let help = "Requests ended by a newer one for the same bytes";
        to.counter("superseded_requests", help, stats.superseded.value())?;
        let refusals = self.sources.refusals.counts().map(|(code, count)| {
            let (status, word, _) = code.facts();
            (vec![("code", word.to_owned()), ("status", status.to_string())], count)
        });
        to.counters("refusals", "Requests refused", refusals)
    }

    fn uploads(&self, to: &mut Writer<'_>) -> fmt::Result {
        let stats = self.sources.engine.stats();
        let states = StateName::ALL.iter().map(|state| {
            (vec![("state", state.word().to_owned())], stats.uploads.of(*state).value())
        });
        to.gauges("uploads", "Known uploads by state", states)?;
        let help = "Uploads that take disk space or have a pending call to their backend";
        to.gauge("uploads_open", help, stats.uploads_open.value())?;
        let most = self.sources.engine.options().max_uploads;
        to.gauge("uploads_open_max", "Such uploads allowed (max_uploads)", most)?;
        let help = "Uploads found that could not be read yet";
        to.gauge("uploads_unread", help, self.sources.engine.uploads_unread())?;
        to.counter("tickets", "Tickets given out", stats.tickets.value())?;
        to.counter("published", "Files published", stats.published.value())?;
        to.counter("finished", "Uploads that the backend has taken", stats.finished.value())?;
        to.counter("cancelled", "Uploads cancelled or expired", stats.cancelled.value())?;
        to.counter("failed", "Handovers given up", stats.failed.value())
    }

    fn handovers(&self, to: &mut Writer<'_>) -> fmt::Result {
        let stats = self.sources.engine.stats();
        to.counter("handover_calls", "Calls to backends begun", stats.calls.value())?;
        let help = "Calls to backends without a valid answer";
        to.counter("handover_calls_unanswered", help, stats.calls_unanswered.value())?;
        let help = "Calls to backends in progress";
        to.gauge("handover_calls_running", help, stats.calls_running.value())?;
        let help = "Calls that are due and wait for a slot";
        to.gauge("handover_calls_waiting", help, stats.calls_waiting.value())?;
        let (count, oldest) = self.sources.engine.handovers_owed();
        to.gauge("handovers_owed", "Uploads with a pending call to their backend", count as u64)?;
        let help = "Seconds since the oldest pending call became due";
        to.gauge("handover_oldest_owed_seconds", help, oldest.as_secs_f64())
    }

    fn disk(&self, to: &mut Writer<'_>) -> fmt::Result {
        let engine = &self.sources.engine;
        let syncs = &engine.stats().disk_syncs;
        let help = "Seconds of each wait for the disk to have bytes or records";
        seconds(to, "disk_sync_seconds", help, &syncs.times)?;
        to.counter("disk_sync_errors", "Syncs that failed", syncs.errors.value())?;
        let help = "Uploads stopped and tickets refused because the disk failed";
        to.counter("faults", help, engine.stats().faults.value())?;
        let help = "Journals read for uploads that were not in memory";
        to.counter("journal_loads", help, engine.stats().loads.value())?;
        let help = "Journals compacted";
        to.counter("journal_compactions", help, engine.stats().compactions.value())?;
        if let Some(free) = self.free {
            to.gauge("free_bytes", "Free space of the storage directory", free)?;
        }
        let help = "Space reserved for running chunks and not yet used";
        to.gauge("reserved_bytes", help, engine.reserved_bytes())?;
        let least = engine.options().min_free_bytes;
        to.gauge("free_bytes_min", "Space that uploads leave free (min_free_space)", least)
    }

    fn connections(&self, to: &mut Writer<'_>) -> fmt::Result {
        let net = &self.sources.net;
        let protocols = [("http1", net.http1()), ("http2", net.http2())];
        let label = |protocol: &str| vec![("protocol", protocol.to_owned())];
        let total = protocols.iter().map(|(word, kind)| (label(word), kind.total()));
        to.counters("connections", "Connections by protocol", total)?;
        let spoken: u64 = protocols.iter().map(|(_, kind)| kind.now()).sum();
        let silent = ("none", net.accepted().now().saturating_sub(spoken));
        let now = protocols.iter().map(|(word, kind)| (*word, kind.now())).chain([silent]);
        let help = "Open connections; without a protocol during the handshake";
        to.gauges("connections_open", help, now.map(|(word, count)| (label(word), count)))?;
        let most = self.sources.max_connections as u64;
        let help = "Connections that the public listener may have";
        to.gauge("connections_open_max", help, most)?;
        to.counter("tls_failures", "TLS handshakes that failed", net.tls_failures())?;
        to.counter("accept_errors", "Connections that could not be accepted", net.accept_errors())?;
        let failures = HeaderFailure::ALL
            .map(|why| (vec![("reason", why.word().to_owned())], net.header_failures(why)));
        let help = "Connections closed for lack of a valid PROXY header";
        to.counters("proxy_header_failures", help, failures.into_iter())?;
        let help = "Connections ended by a time limit";
        to.counter("connections_overdue", help, net.overdue())?;
        let ends = self.sources.certificates.iter().filter_map(|(listener, tls)| {
            let ends = tls.ends()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Some((vec![("listener", (*listener).to_owned())], ends.as_secs()))
        });
        let help = "When the first certificate of a listener expires, in seconds since 1970";
        to.gauges("certificate_expiry_timestamp_seconds", help, ends)
    }

    fn process(&self, to: &mut Writer<'_>) -> fmt::Result {
        let memory = &self.sources.memory;
        let (waiting, may_wait) = self.sources.engine.waiting_bytes();
        let label = |pool: &str| vec![("pool", pool.to_owned())];
        let used = [("connections", memory.used_bytes()), ("slow_disk", waiting)];
        let help = "Bytes reserved of the memory budget (receive_memory)";
        let used = used.into_iter().map(|(pool, bytes)| (label(pool), bytes));
        to.gauges("memory_used_bytes", help, used)?;
        let most = [("connections", memory.all_bytes()), ("slow_disk", may_wait)];
        let most = most.into_iter().map(|(pool, bytes)| (label(pool), bytes));
        to.gauges("memory_max_bytes", "Bytes of the memory budget", most)?;
        let help = "Log lines dropped because standard error was blocked";
        to.counter("log_lines_dropped", help, telemetry::dropped_lines())?;
        let started = self.sources.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let help = "When the server started, in seconds since 1970";
        to.gauge("start_timestamp_seconds", help, started.as_secs())?;
        to.info("build", "The server's version", &[("version", env!("CARGO_PKG_VERSION"))])
    }
}

fn seconds(to: &mut Writer<'_>, name: &str, help: &str, times: &Times) -> fmt::Result {
    spread(to, name, help, times.nanoseconds(), |nanoseconds| nanoseconds as f64 / 1e9)
}

fn spread(
    to: &mut Writer<'_>,
    name: &str,
    help: &str,
    values: &Histogram,
    unit: impl Fn(u64) -> f64,
) -> fmt::Result {
    let buckets = values.buckets();
    let buckets: Vec<(f64, u64)> =
        buckets.map(|(bound, count)| (bound.map_or(f64::INFINITY, &unit), count)).collect();
    to.histogram(name, help, unit(values.sum()), &buckets)
}
