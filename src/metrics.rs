//! The names and the text format of what is counted on the floors below.

use crate::engine::Engine;
use crate::net::Stats as NetStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::fmt;
use std::sync::Arc;

/// Makes the text of `/metrics` from what `engine` and the listeners have counted.
pub fn renderer(engine: Arc<Engine>, net: Arc<NetStats>) -> impl Fn() -> String + Send + Sync {
    let mut registry = Registry::with_prefix("incoming");
    registry.register_collector(Box::new(Counted { engine, net }));
    move || {
        let mut text = String::new();
        // Writing to a string fails only if a metric is named wrongly, which a test would see.
        let _ = encode(&mut text, &registry);
        text
    }
}

struct Counted {
    engine: Arc<Engine>,
    net: Arc<NetStats>,
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}

impl Collector for Counted {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.engine.stats();
        let counters = [
            ("received_bytes", "Body bytes read from clients", stats.received_bytes.value()),
            (
                "acknowledged_bytes",
                "Bytes acknowledged for the first time",
                stats.acknowledged_bytes.value(),
            ),
            ("repeated_bytes", "Body bytes that were known already", stats.repeated_bytes.value()),
            ("tickets", "Tickets given out", stats.tickets.value()),
            ("published", "Files put in their place", stats.published.value()),
            ("finished", "Uploads that the backend has taken", stats.finished.value()),
            ("cancelled", "Uploads cancelled or expired", stats.cancelled.value()),
            ("failed", "Handovers given up", stats.failed.value()),
            ("calls", "Calls to backends begun", stats.calls.value()),
            (
                "calls_unanswered",
                "Calls to backends without an answer that counts",
                stats.calls_unanswered.value(),
            ),
            (
                "superseded",
                "Requests ended by a newer one for the same bytes",
                stats.superseded.value(),
            ),
            ("faults", "Uploads stopped by a failing disk", stats.faults.value()),
            ("connections_http1", "HTTP/1.1 connections", self.net.http1().total()),
            ("connections_http2", "HTTP/2 connections", self.net.http2().total()),
            ("disk_syncs", "Waits for the disk to have bytes or records", stats.disk_syncs.count()),
            ("tls_failures", "TLS handshakes that failed", self.net.tls_failures()),
            ("accept_errors", "Times the system gave no connection", self.net.accept_errors()),
            ("connections_overdue", "Connections ended by a time limit", self.net.overdue()),
        ];
        for (name, help, value) in counters {
            metric(&mut to, name, help, &ConstCounter::new(value))?;
        }
        let waited = stats.disk_syncs.time().as_secs_f64();
        let help = "Seconds of those waits, all threads together";
        metric(&mut to, "disk_sync_seconds", help, &ConstCounter::new(waited))?;
        let (owed, _) = self.engine.outbox().summary();
        let gauges = [
            ("chunks_in_flight", "Chunks being received", stats.chunks_in_flight.value()),
            ("uploads_open", "Uploads that are not over", stats.uploads_open.value()),
            (
                "handovers_owed",
                "Uploads that wait for a call to their backend",
                i64::try_from(owed).unwrap_or(i64::MAX),
            ),
            (
                "connections_open",
                "Connections now",
                i64::try_from(self.net.accepted().now()).unwrap_or(i64::MAX),
            ),
        ];
        for (name, help, value) in gauges {
            metric(&mut to, name, help, &ConstGauge::new(value))?;
        }
        Ok(())
    }
}

fn metric(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: &impl EncodeMetric,
) -> fmt::Result {
    value.encode(to.encode_descriptor(name, help, None, value.metric_type())?)
}
