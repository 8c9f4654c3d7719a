//! Whether interim answers (`104 Upload Resumption Supported`) come through a path.

use serde::{Deserialize, Serialize};

/// What became of an interim answer that the server sent before its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterimOutcome {
    /// It came, and then the answer.
    Passed,
    /// The answer came alone.
    Dropped,
    /// The request failed, or the connection was of no use afterwards.
    Broken,
}

/// What was tried; none where the server was reached by a protocol without interim answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InterimTried {
    /// By a client of HTTP/1.1.
    pub http1: Option<InterimOutcome>,
    /// Whether a request of an HTTP/2 client fails. Whether it gets the 104 was not looked at.
    pub http2_fails: Option<bool>,
}

impl InterimTried {
    /// Whether uploads of clients that name a version of resumable uploads fail where the server sends one.
    pub fn breaks(self) -> bool {
        self.http1 == Some(InterimOutcome::Broken) || self.http2_fails == Some(true)
    }

    /// For people; none where nothing was seen.
    pub fn word(self) -> Option<&'static str> {
        match self.http1 {
            _ if self.breaks() => Some("104 is taken for the answer: iOS cannot resume uploads"),
            Some(InterimOutcome::Passed) => Some("104 passes"),
            Some(InterimOutcome::Dropped) => Some("104 is dropped: iOS cannot resume uploads"),
            Some(InterimOutcome::Broken) | None => None,
        }
    }
}
