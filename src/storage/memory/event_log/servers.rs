//! What servers have said of themselves to a log in memory.

use super::MemoryEventLog;
use crate::core::time::Timestamp;
use crate::storage::servers::{
    AWAY, AWAY_KEPT, KnownServer, LISTED, REPLACED_AFTER, STOPPED_KEPT, ServerReport, ServerState,
};
use std::time::Duration;

/// The last word of a server.
pub(super) struct Reported {
    started_ms: u64,
    seen_ms: u64,
    report: ServerReport,
}

impl MemoryEventLog {
    /// A server says how it is at `now_ms`; answers how all are.
    pub fn report(&mut self, server: u64, now_ms: u64, report: ServerReport) -> Vec<KnownServer> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (name, address) = (report.name.clone(), report.address.clone());
        let started_ms = now_ms.saturating_sub(ms(report.uptime));
        let started_ms = self.servers.get(&server).map_or(started_ms, |known| known.started_ms);
        self.servers.insert(server, Reported { started_ms, seen_ms: now_ms, report });
        self.servers.retain(|number, known| {
            let kept = match &known.report {
                report if report.name == name && report.address == address => REPLACED_AFTER,
                report if report.state == ServerState::Stopped => STOPPED_KEPT,
                _ => AWAY_KEPT,
            };
            *number == server || now_ms.saturating_sub(known.seen_ms) <= ms(kept)
        });
        let mut all: Vec<_> = self
            .servers
            .iter()
            .map(|(number, Reported { started_ms, seen_ms, report })| KnownServer {
                number: *number,
                started: Timestamp(*started_ms),
                silent: Duration::from_millis(now_ms - seen_ms),
                report: ServerReport {
                    uptime: Duration::from_millis(seen_ms - started_ms),
                    ..report.clone()
                },
            })
            .collect();
        all.sort_by_key(|known| {
            let KnownServer { number, report, started, silent } = known;
            let (stopped, away) = (report.state == ServerState::Stopped, *silent > AWAY);
            let (name, address) = (report.name.clone(), report.address.clone());
            (*number != server, stopped, away, name, address, *started)
        });
        all.truncate(LISTED);
        all
    }
}
