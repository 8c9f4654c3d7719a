//! The servers that share the uploads, each by its own word, as of some seconds ago: for people who look after them. No byte
//! and no call depends on it.

use super::Engine;
use crate::core::time::Timestamp;
use crate::storage::servers::{AWAY, KnownServer, ServerLoad, ServerReport, ServerState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What the last report has brought.
#[derive(Default)]
pub(super) struct Reports(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// What this server said last; it says nothing more once it has stopped.
    own: Option<ServerReport>,
    read: Option<(Instant, Arc<[KnownServer]>)>,
}

impl Reports {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server, seen from this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenServer {
    /// As in what it holds in the log.
    pub number: u64,
    /// When it started.
    pub started: Timestamp,
    /// How long ago it last said something.
    pub silent: Duration,
    /// Whether it is there, as far as this server can know.
    pub presence: Presence,
    /// Its last word.
    pub report: ServerReport,
}

/// Whether a server is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It said so some seconds ago.
    Here,
    /// It has not for longer.
    Away,
    /// It has said that it stops, and did.
    Stopped,
    /// This server has no answer from the log, so it cannot know.
    Unknown,
}

impl Engine {
    /// Whether other servers share the uploads.
    pub fn is_shared(&self) -> bool {
        self.sharing.is_some()
    }

    /// What this server does now.
    pub fn load(&self, connections: u64) -> ServerLoad {
        let rate = self.mean_rate(LOAD_SECONDS);
        ServerLoad {
            chunks: self.stats.chunks_in_flight.count(),
            connections,
            received_per_s: rate.received,
            acknowledged_per_s: rate.acknowledged,
        }
    }

    /// Tells the other servers how this one is, and reads how they are. Dropping the future may leave either undone; without
    /// an answer from the log what was read before stays.
    pub async fn report(&self, report: ServerReport) {
        let (Some(agenda), Some(sharing)) = (self.journal.agenda(), &self.sharing) else { return };
        let reports = &sharing.reports;
        {
            let mut inner = reports.lock();
            if inner.own.as_ref().is_some_and(|own| own.state == ServerState::Stopped) {
                return;
            }
            inner.own = Some(report.clone());
        }
        let asked = Instant::now();
        if let Ok(known) = agenda.report(report).await {
            reports.lock().read = Some((asked, known.into()));
        }
    }

    /// Tells the other servers that this one has stopped.
    pub(super) async fn report_stop(&self) {
        let Some(sharing) = &self.sharing else { return };
        let own = sharing.reports.lock().own.clone();
        if let Some(own) = own {
            let load = ServerLoad::default();
            let stopped = ServerState::Stopped;
            self.report(ServerReport { state: stopped, problems: Vec::new(), load, ..own }).await;
        }
    }

    /// All servers, this one first; none where no other shares the uploads, or before the log has answered.
    pub fn servers(&self) -> Vec<SeenServer> {
        let Some(sharing) = &self.sharing else { return Vec::new() };
        let Some((asked, known)) = sharing.reports.lock().read.clone() else { return Vec::new() };
        let since = asked.elapsed();
        let seen = |KnownServer { number, started, silent, report }: &KnownServer| SeenServer {
            number: *number,
            started: *started,
            silent: *silent + since,
            presence: match report.state {
                ServerState::Stopped => Presence::Stopped,
                _ if *silent > AWAY => Presence::Away,
                _ if since > AWAY => Presence::Unknown,
                _ => Presence::Here,
            },
            report: report.clone(),
        };
        known.iter().map(seen).collect()
    }
}

/// Rates are means of so many seconds.
const LOAD_SECONDS: usize = 5;
