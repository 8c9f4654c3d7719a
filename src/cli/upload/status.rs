//! What the server's answers mean for an upload.

use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;

use super::client::Answer;
use crate::core::extent::{Extent, ExtentSet};
use crate::core::name;

/// Characters of a server's reason that are shown.
const REASON_CHARS: usize = 300;

/// The status object.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Status {
    pub(super) state: State,
    received: Vec<[u64; 2]>,
    pub(super) chunk_size: u64,
    pub(super) max_chunk_size: Option<u64>,
    pub(super) send_ahead: u32,
    reason: Option<String>,
}

/// Where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    New,
    Uploading,
    HandingOver,
    Finished,
    Cancelled,
    Failed,
}

/// Why a request did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It may later.
    Passing { why: String, after: Option<Duration> },
    /// It never will.
    Final(String),
}

impl Trouble {
    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self::Passing { why: why.into(), after: None }
    }
}

impl Status {
    /// What the server has.
    pub(super) fn received(&self) -> ExtentSet {
        let mut set = ExtentSet::new();
        for extent in self.received.iter().filter_map(|&[start, end]| Extent::new(start, end)) {
            set.insert(extent);
        }
        set
    }

    /// Why it was cancelled or failed, or what the handover waits for.
    pub(super) fn reason(&self) -> Option<String> {
        self.reason.as_deref().map(shown)
    }
}

#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
    title: Option<String>,
    code: Option<String>,
    upload: Option<Status>,
}

/// The status that an answer brings, or what is wrong.
pub(super) fn judge(answer: &Answer) -> Result<Status, Trouble> {
    if answer.status == StatusCode::OK {
        return serde_json::from_slice(&answer.body)
            .map_err(|_| Trouble::Final("the server at this URL is not an upload server".into()));
    }
    let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    let code = problem.as_ref().and_then(|problem| problem.code.as_deref());
    let why = refusal(answer);
    match answer.status.as_u16() {
        408 | 425 | 429 | 500..=599 => Err(Trouble::Passing { why, after: answer.retry_after }),
        // A chunk of ours that was thought lost, or another client of this ticket.
        409 if code == Some("superseded") => Err(Trouble::passing(why)),
        // Cancelled, failed or expired: the status says which.
        410 => problem.and_then(|problem| problem.upload).ok_or(Trouble::Final(why)),
        _ => Err(Trouble::Final(why)),
    }
}

/// A refusal as one line: problem+json's detail, or the text itself.
pub(super) fn refusal(answer: &Answer) -> String {
    let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    let said = problem.and_then(|problem| problem.detail.or(problem.title));
    let text = said.unwrap_or_else(|| {
        let text = String::from_utf8_lossy(&answer.body);
        text.trim().lines().next().unwrap_or_default().to_owned()
    });
    format!("{}: {}", answer.status, shown(&text))
}

/// Text of a server without what a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    text.chars().filter(|c| !name::is_hidden(*c)).take(REASON_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPLOAD: &str = r#"{"state":"cancelled","length":9,"offset":2,"received":[[0,2],[4,6]],
        "chunk_size":4,"max_chunk_size":null,"send_ahead":4,"name":null,"reason":"too\u001b late"}"#;

    fn answer(status: u16, body: &str, after: Option<u64>) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: after.map(Duration::from_secs),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn statuses() {
        let status = judge(&answer(200, UPLOAD, None)).unwrap();
        assert_eq!(status.state, State::Cancelled);
        assert_eq!(status.received().bytes(), 4);
        assert_eq!(status.reason().unwrap(), "too late");
        let over = format!(r#"{{"code":"upload-over","upload":{UPLOAD}}}"#);
        assert_eq!(judge(&answer(410, &over, None)).unwrap().state, State::Cancelled);
    }

    #[test]
    fn troubles() {
        let passing =
            |status: u16, body: &str, after: Option<u64>| match judge(&answer(status, body, after))
                .unwrap_err()
            {
                Trouble::Passing { after: asked, .. } => {
                    assert_eq!(asked, after.map(Duration::from_secs), "{status}");
                }
                Trouble::Final(why) => panic!("{status} {why}"),
            };
        passing(503, "", Some(2));
        passing(429, "{}", Some(7));
        passing(507, r#"{"code":"no-space"}"#, None);
        passing(500, "<html>", None);
        passing(502, "", None);
        passing(409, r#"{"code":"superseded"}"#, None);
        let fatal = |status: u16, body: &str, line: &str| {
            let trouble = judge(&answer(status, body, None)).unwrap_err();
            assert_eq!(trouble, Trouble::Final(line.into()));
        };
        fatal(404, r#"{"detail":"no such upload"}"#, "404 Not Found: no such upload");
        fatal(409, r#"{"code":"length-changed","title":"x"}"#, "409 Conflict: x");
        fatal(400, "wrong\nlines\u{1b}", "400 Bad Request: wrong");
        fatal(410, "", "410 Gone: ");
        fatal(200, "<html>", "the server at this URL is not an upload server");
    }
}
