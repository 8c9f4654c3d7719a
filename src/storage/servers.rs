//! What the servers that share a log say of themselves, for people alone: no byte and no call depends on it.

use crate::core::time::Timestamp;
use std::time::Duration;

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerReport {
    /// What its machine is called.
    pub name: String,
    /// Where its backend API listens. Tells servers of one machine apart.
    pub address: String,
    /// Of the program.
    pub version: String,
    /// For how long it has run.
    pub uptime: Duration,
    /// Whether it takes uploads.
    pub state: ServerState,
    /// Why not.
    pub problems: Vec<String>,
    /// What it does.
    pub load: ServerLoad,
}

/// Whether a server takes uploads, by its own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// It does.
    Ready,
    /// Something is in its way.
    NotReady,
    /// It lets running transfers end.
    Stopping,
    /// It has stopped, and will say nothing more.
    Stopped,
}

/// What a server does at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLoad {
    /// Chunks in flight.
    pub chunks: u64,
    /// Open connections.
    pub connections: u64,
    /// Body bytes read each second.
    pub received_per_s: u64,
    /// Bytes acknowledged each second, for the first time.
    pub acknowledged_per_s: u64,
}

/// A server as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownServer {
    /// As in what it holds.
    pub number: u64,
    /// When it started, by the clock that all share.
    pub started: Timestamp,
    /// How long ago it last said so, by that clock.
    pub silent: Duration,
    /// What it said.
    pub report: ServerReport,
}

impl ServerReport {
    /// The same with texts that any log takes: without NUL, and no longer than people read.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.problems.truncate(PROBLEMS);
        let texts = [&mut self.name, &mut self.address, &mut self.version];
        for text in texts.into_iter().chain(&mut self.problems) {
            *text = text.chars().filter(|&c| c != '\0').take(TEXT).collect();
        }
        self
    }
}

/// Servers that are listed, at most.
pub const LISTED: usize = 100;
/// One that was silent for longer is away.
pub const AWAY: Duration = Duration::from_secs(15);
/// A silent server at whose place another one has started is forgotten after this.
pub const REPLACED_AFTER: Duration = Duration::from_secs(20);
/// One that has stopped is.
pub const STOPPED_KEPT: Duration = Duration::from_secs(10 * 60);
/// Any other is.
pub const AWAY_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Problems of a server, at most, and characters of a text.
const PROBLEMS: usize = 8;
const TEXT: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_bounded_and_have_no_nul() {
        let report = ServerReport {
            name: "n\0\u{e9}".repeat(400),
            address: "unix:/run/\0x".into(),
            version: "1".into(),
            uptime: Duration::ZERO,
            state: ServerState::NotReady,
            problems: vec!["why".repeat(200); 20],
            load: ServerLoad::default(),
        };
        let ServerReport { name, address, problems, .. } = report.bounded();
        assert_eq!((name.chars().count(), &*address), (300, "unix:/run/x"));
        assert!(problems.len() == 8 && problems.iter().all(|text| text.len() == 300));
    }
}
