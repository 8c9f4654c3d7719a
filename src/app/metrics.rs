//! The names and the text format of what the modules below count.
//!
//! docs/operations/metrics.md describes each metric, and a test compares that file with this one. No label takes a value
//! from outside.
//!
//! The encoder writes OpenMetrics, which Prometheus asks for first. For older servers, curl and people the same text is
//! turned into the plain format, where a counter's family has the name of its samples.
//! Sources: the OpenMetrics 1.0 specification; Prometheus, "Exposition formats", version 0.0.4.

use super::telemetry;
use crate::core::dialect::Dialect;
use crate::core::state::StateName;
use crate::engine::Engine;
use crate::engine::stats::ByDialect;
use crate::net::{HeaderFailure, MemoryBudget, Stats as NetStats};
use crate::tls::TlsReload;
use crate::wire::admin::{MetricsFormat, Scrape};
use crate::wire::problem::Refusals;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the figures come from.
#[derive(Clone)]
pub(super) struct Sources {
    /// Uploads, chunks, the disk.
    pub(super) engine: Arc<Engine>,
    /// Connections.
    pub(super) net: Arc<NetStats>,
    /// Memory for what clients send ahead.
    pub(super) memory: Arc<MemoryBudget>,
    /// Refusals.
    pub(super) refusals: Arc<Refusals>,
    /// Certificates, by the word for their listener.
    pub(super) certificates: Vec<(&'static str, Arc<TlsReload>)>,
    /// Connections of the public listener, at most.
    pub(super) max_connections: usize,
    /// When the server started.
    pub(super) started: SystemTime,
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
            MetricsFormat::Plain => plain(&text),
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

/// Name (a counter's without `_total`, an info's without `_info`), help, values.
type Metric<'a> = (&'a str, &'a str, &'a dyn EncodeMetric);

impl Collector for Counted {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let mut put = |metrics: &[Metric<'_>]| -> fmt::Result {
            metrics.iter().try_for_each(|(name, help, values)| {
                values.encode(to.encode_descriptor(name, help, None, values.metric_type())?)
            })
        };
        self.chunks(&mut put)?;
        self.uploads(&mut put)?;
        self.handovers(&mut put)?;
        self.disk(&mut put)?;
        self.connections(&mut put)?;
        self.process(&mut put)
    }
}

type Put<'a> = &'a mut dyn FnMut(&[Metric<'_>]) -> fmt::Result;

impl Counted {
    #[rustfmt::skip] // a metric a line
    fn chunks(&self, put: Put<'_>) -> fmt::Result {
        let stats = self.sources.engine.stats();
        let in_flight = ConstGauge::new(stats.chunks_in_flight.value());
        // Of the other dialects only what there was: each code of each would be a series.
        let refusals = self.sources.refusals.counts();
        let refusals = refusals.filter(|(_, dialect, count)| *dialect == Dialect::Native || *count > 0);
        let refusals = refusals.map(|(code, dialect, count)| {
            let (status, word, _) = code.facts();
            let labels = vec![("code", word.to_owned()), ("status", status.to_string()), ("dialect", dialect.word().to_owned())];
            (labels, count)
        });
        put(&[
            ("received_bytes", "Body bytes read from clients", &stats.received_bytes),
            ("acknowledged_bytes", "Bytes acknowledged for the first time", &stats.acknowledged_bytes),
            ("repeated_bytes", "Body bytes that had been acknowledged before", &stats.repeated_bytes),
            ("chunks_in_flight", "Chunks being received", &in_flight),
            ("chunk_seconds", "Seconds from a chunk's head to its acknowledgement", &stats.chunks.seconds),
            ("chunk_commit_seconds", "Seconds from a chunk's last byte to its acknowledgement", &stats.chunks.commit_seconds),
            ("chunk_bytes", "Bytes of acknowledged chunks", &stats.chunks.bytes),
            ("superseded_requests", "Requests ended by a newer one for the same bytes", &stats.superseded),
            ("refusals", "Requests refused", &Series::counters(refusals)),
            ("upload_requests", "Requests for uploads by protocol", &by_dialect(&stats.requests)),
            ("chunks", "Chunks acknowledged by protocol", &by_dialect(&stats.chunks.count)),
            ("chunk_body_bytes", "Body bytes of acknowledged chunks by protocol", &by_dialect(&stats.chunks.body_bytes)),
        ])
    }

    #[rustfmt::skip] // a metric a line
    fn uploads(&self, put: Put<'_>) -> fmt::Result {
        let engine = &self.sources.engine;
        let stats = engine.stats();
        let states = StateName::ALL.iter().map(|state| {
            (label("state", state.word()), stats.uploads.of(*state).count())
        });
        let open = ConstGauge::new(stats.uploads_open.value());
        let most = ConstGauge::new(engine.options().max_uploads);
        let unread = ConstGauge::new(engine.uploads_unread());
        put(&[
            ("uploads", "Known uploads by state", &Series::gauges(states)),
            ("uploads_open", "Uploads that take disk space or have a pending call to their backend", &open),
            ("uploads_open_max", "Such uploads allowed (max_uploads)", &most),
            ("uploads_unread", "Uploads found that could not be read yet", &unread),
            ("tickets", "Tickets given out", &stats.tickets),
            ("published", "Files published", &stats.published),
            ("finished", "Uploads that the backend has taken", &stats.finished),
            ("cancelled", "Uploads cancelled or expired", &stats.cancelled),
            ("failed", "Handovers given up", &stats.failed),
        ])
    }

    #[rustfmt::skip] // a metric a line
    fn handovers(&self, put: Put<'_>) -> fmt::Result {
        let stats = self.sources.engine.stats();
        let running = ConstGauge::new(stats.calls_running.value());
        let waiting = ConstGauge::new(stats.calls_waiting.value());
        let (count, oldest) = self.sources.engine.pending_deliveries();
        let (pending, oldest) =
            (ConstGauge::new(count as u64), ConstGauge::new(oldest.as_secs_f64()));
        put(&[
            ("handover_calls", "Calls to backends begun", &stats.calls),
            ("handover_calls_unanswered", "Calls to backends without a valid answer", &stats.calls_unanswered),
            ("handover_calls_running", "Calls to backends in progress", &running),
            ("handover_calls_waiting", "Calls that are due and wait for a slot", &waiting),
            ("handovers_owed", "Uploads with a pending call to their backend", &pending),
            ("handover_oldest_owed_seconds", "Seconds since the oldest pending call became due", &oldest),
        ])
    }

    #[rustfmt::skip] // a metric a line
    fn disk(&self, put: Put<'_>) -> fmt::Result {
        let engine = &self.sources.engine;
        let stats = engine.stats();
        put(&[
            ("disk_sync_seconds", "Seconds of each wait for the disk to have bytes or records", &stats.disk_syncs.seconds),
            ("disk_sync_errors", "Syncs that failed", &stats.disk_syncs.errors),
            ("faults", "Uploads stopped and tickets refused because the disk failed", &stats.faults),
            ("journal_loads", "Journals read for uploads that were not in memory", &stats.loads),
            ("journal_compactions", "Journals compacted", &stats.compactions),
        ])?;
        if let Some(free) = self.free.map(ConstGauge::new) {
            put(&[("free_bytes", "Free space of the storage directory", &free)])?;
        }
        let reserved = ConstGauge::new(engine.reserved_bytes());
        let least = ConstGauge::new(engine.options().min_free_bytes);
        put(&[
            ("reserved_bytes", "Space reserved for running chunks and not yet used", &reserved),
            ("free_bytes_min", "Space that uploads leave free (min_free_space)", &least),
        ])
    }

    #[rustfmt::skip] // a metric a line
    fn connections(&self, put: Put<'_>) -> fmt::Result {
        let net = &self.sources.net;
        let protocols = [("http1", &net.http1), ("http2", &net.http2)];
        let total = protocols.iter().map(|(word, kind)| (label("protocol", word), kind.total()));
        let spoken: u64 = protocols.iter().map(|(_, kind)| kind.now()).sum();
        let silent = ("none", net.accepted.now().saturating_sub(spoken));
        let now = protocols.iter().map(|(word, kind)| (*word, kind.now())).chain([silent]);
        let now = now.map(|(word, count)| (label("protocol", word), count));
        let most = ConstGauge::new(self.sources.max_connections as u64);
        let failures = HeaderFailure::ALL
            .map(|why| (label("reason", why.word()), net.header_failures(why).get()))
            .into_iter();
        let ends = self.sources.certificates.iter().filter_map(|(listener, tls)| {
            let ends = tls.ends()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Some((label("listener", listener), ends.as_secs()))
        });
        put(&[
            ("connections", "Connections by protocol", &Series::counters(total)),
            ("connections_open", "Open connections; without a protocol during the handshake", &Series::gauges(now)),
            ("connections_open_max", "Connections that the public listener may have", &most),
            ("tls_failures", "TLS handshakes that failed", &net.tls_failures),
            ("accept_errors", "Connections that could not be accepted", &net.accept_errors),
            ("proxy_header_failures", "Connections closed for lack of a valid PROXY header", &Series::counters(failures)),
            ("connections_overdue", "Connections ended by a time limit", &net.overdue),
            ("certificate_expiry_timestamp_seconds", "When the first certificate of a listener expires, in seconds since 1970", &Series::gauges(ends)),
        ])
    }

    #[rustfmt::skip] // a metric a line
    fn process(&self, put: Put<'_>) -> fmt::Result {
        let memory = &self.sources.memory;
        let (waiting, may_wait) = self.sources.engine.waiting_bytes();
        let pools = |connections: u64, slow_disk: u64| {
            let pools = [("connections", connections), ("slow_disk", slow_disk)];
            Series::gauges(pools.into_iter().map(|(pool, bytes)| (label("pool", pool), bytes)))
        };
        let used = pools(memory.used_bytes(), waiting);
        let most = pools(memory.all_bytes(), may_wait);
        let dropped = ConstCounter::new(telemetry::dropped_lines());
        let started = self.sources.started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = ConstGauge::new(started.as_secs());
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        put(&[
            ("memory_used_bytes", "Bytes reserved of the memory budget (receive_memory)", &used),
            ("memory_max_bytes", "Bytes of the memory budget", &most),
            ("log_lines_dropped", "Log lines dropped because standard error was blocked", &dropped),
            ("start_timestamp_seconds", "When the server started, in seconds since 1970", &started),
            ("build", "The server's version", &build),
        ])
    }
}

/// Labels of one series.
type Labels = Vec<(&'static str, String)>;

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn by_dialect(counts: &ByDialect) -> Series {
    let counts =
        Dialect::ALL.into_iter().map(|one| (label("dialect", one.word()), counts.of(one).get()));
    Series::counters(counts)
}

/// A value for each set of labels.
struct Series(MetricType, Vec<(Labels, u64)>);

impl Series {
    fn counters(values: impl Iterator<Item = (Labels, u64)>) -> Self {
        Self(MetricType::Counter, values.collect())
    }

    fn gauges(values: impl Iterator<Item = (Labels, u64)>) -> Self {
        Self(MetricType::Gauge, values.collect())
    }
}

impl EncodeMetric for Series {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in &self.1 {
            let mut series = encoder.encode_family(labels)?;
            match self.0 {
                MetricType::Counter => {
                    series.encode_counter::<NoLabelSet, _, u64>(value, None)?;
                }
                _ => series.encode_gauge(value)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.0
    }
}

/// OpenMetrics as the plain format.
fn plain(text: &str) -> String {
    let (mut plain, mut help) = (String::with_capacity(text.len() + 1024), "");
    for line in text.lines() {
        if line.starts_with("# HELP ") {
            // Its type follows.
            help = line.splitn(4, ' ').nth(3).unwrap_or_default();
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                // A type that the older format lacks becomes a gauge.
                "info" => ("_info", "gauge"),
                _ => ("", kind),
            };
            plain += &format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n");
        } else if line != "# EOF" {
            plain.extend([line, "\n"]);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_format_names_the_samples() {
        let given = "# HELP a_bytes What.\n# TYPE a_bytes counter\na_bytes_total{x=\"# EOF\"} 3\n\
                     # HELP b Info.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                     # HELP c One.\n# TYPE c gauge\nc 4\n# EOF\n";
        let expected = "# HELP a_bytes_total What.\n# TYPE a_bytes_total counter\n\
                        a_bytes_total{x=\"# EOF\"} 3\n\
                        # HELP b_info Info.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                        # HELP c One.\n# TYPE c gauge\nc 4\n";
        assert_eq!(plain(given), expected);
    }
}
