//! The servers that share the uploads: this one tells the others how it is, and an overview shows all.

use super::Wire;
use super::backend::rfc3339;
use crate::core::time::Timestamp;
use crate::engine::servers::{Presence, SeenServer};
use crate::storage::servers::{ServerLoad, ServerReport, ServerState};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{MissedTickBehavior, interval};

/// Whether a server takes uploads, and why not.
pub(super) type Condition = (ServerState, Vec<String>);

/// A server in an overview.
#[derive(Serialize)]
pub(super) struct ServerBody<D> {
    id: Option<String>,
    name: String,
    address: String,
    version: String,
    started: String,
    uptime_s: u64,
    seen_s: Option<u64>,
    state: &'static str,
    problems: Vec<String>,
    load: LoadBody,
    /// Of the one that answers.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    detail: Option<D>,
}

#[derive(Serialize)]
struct LoadBody {
    chunks: u64,
    connections: u64,
    received_per_s: u64,
    acknowledged_per_s: u64,
}

impl Wire {
    /// Tells the servers that share the uploads how this one is, for as long as it is polled: to the end of a stop. Without
    /// such servers it does nothing. Dropping the future leaves its last word.
    pub async fn announce(self: Arc<Self>) {
        if !self.engine.is_shared() {
            return std::future::pending().await;
        }
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let draining = self.engine.draining();
        let mut stops = false;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = draining.cancelled(), if !stops => stops = true,
            }
            let condition = self.condition(self.known_health().await);
            self.engine.report(self.own_report(condition)).await;
        }
    }

    fn own_report(&self, (state, problems): Condition) -> ServerReport {
        let figures = (self.hooks.figures)();
        ServerReport {
            name: self.options.load().access.hosts.machine.clone(),
            address: self.hooks.address.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime: figures.started.elapsed().unwrap_or_default(),
            state,
            problems,
            load: self.engine.load(figures.accepted),
        }
    }

    /// All servers, this one first.
    pub(super) fn server_bodies<D>(&self, condition: Condition, detail: D) -> Vec<ServerBody<D>> {
        let own = self.own_report(condition);
        let known = self.engine.servers();
        let number = known.first().map(|first| first.number);
        let own = ServerBody {
            id: number.map(id),
            name: own.name,
            address: own.address,
            version: own.version,
            started: date((self.hooks.figures)().started),
            uptime_s: own.uptime.as_secs(),
            seen_s: known.first().map(|first| first.silent.as_secs()),
            state: word(own.state),
            problems: own.problems,
            load: load_body(own.load),
            detail: Some(detail),
        };
        std::iter::once(own).chain(known.into_iter().skip(1).map(other_body)).collect()
    }
}

fn other_body<D>(server: SeenServer) -> ServerBody<D> {
    let SeenServer { number, started, silent, presence, report } = server;
    ServerBody {
        id: Some(id(number)),
        name: report.name,
        address: report.address,
        version: report.version,
        started: rfc3339(started),
        uptime_s: report.uptime.as_secs(),
        seen_s: Some(silent.as_secs()),
        state: match presence {
            Presence::Here => word(report.state),
            Presence::Away => "away",
            Presence::Stopped => "stopped",
            Presence::Unknown => "unknown",
        },
        problems: report.problems,
        load: load_body(report.load),
        detail: None,
    }
}

fn load_body(load: ServerLoad) -> LoadBody {
    let ServerLoad { chunks, connections, received_per_s, acknowledged_per_s } = load;
    LoadBody { chunks, connections, received_per_s, acknowledged_per_s }
}

pub(super) fn date(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    rfc3339(Timestamp::default().after(since))
}

fn id(number: u64) -> String {
    format!("{number:016x}")
}

fn word(state: ServerState) -> &'static str {
    match state {
        ServerState::Ready => "ready",
        ServerState::NotReady => "not_ready",
        ServerState::Stopping => "stopping",
        ServerState::Stopped => "stopped",
    }
}

/// How often a server says how it is.
const PERIOD: Duration = Duration::from_secs(5);
