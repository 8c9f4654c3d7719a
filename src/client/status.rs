//! What the server's answers mean for an upload.
//!
//! What a server suggests is taken within bounds: whatever it says, an upload holds a bounded number of connections and
//! bytes of memory.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::call::{Answer, refusal};
use super::error::CallError;
use crate::core::escape;
use crate::core::extent::{Extent, ExtentSet};
use crate::core::state::StateName;

/// Chunks in flight that a server may suggest, as on the command line: each holds a connection and two blocks.
const MOST_AHEAD: u64 = 64;
/// The smallest chunk that a server may suggest: the head of a request is half of that.
const LEAST_SUGGESTED: u64 = 1 << 10;
/// The largest: what breaks in it is seen late.
const MOST_SUGGESTED: u64 = 4 << 30;
/// Ranges of a status that are looked at, four times what this server has at most. What further ones hold is sent
/// again.
const MOST_RANGES: usize = 16 << 10;

/// The status object.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    #[serde(deserialize_with = "state")]
    pub(crate) state: StateName,
    #[serde(deserialize_with = "ranges")]
    received: Vec<[u64; 2]>,
    chunk_size: u64,
    max_chunk_size: Option<u64>,
    /// The server's parts begin at multiples of it.
    #[serde(default)]
    align: Option<u64>,
    send_ahead: u64,
    /// Which digest the web app asked for.
    digest: Option<String>,
    reason: Option<String>,
}

/// The status object with the verdicts on pieces: the same, another, not held.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Verified {
    #[serde(flatten)]
    pub(crate) status: Status,
    pub(crate) verified: Vec<Option<bool>>,
}

impl Verified {
    /// Whether the server has one of the compared `pieces` no more. One that was not compared and is acknowledged lies where
    /// the server cannot read it yet: a part of an object in a bucket.
    pub(crate) fn lacks(&self, pieces: &[Extent], length: u64) -> bool {
        let received = self.status.received(length);
        let has = |piece: &Extent| self.status.is_open() && received.contains(*piece);
        pieces.iter().zip(&self.verified).any(|(piece, verdict)| verdict.is_none() && !has(piece))
    }
}

/// Why a request about an upload did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestError {
    Call(CallError),
    /// The server knows no such upload, any more.
    Unknown(String),
    /// The body is larger than the server or a proxy accepts.
    TooLarge(String),
    /// Too many at a time.
    TooMany {
        why: String,
        after: Option<Duration>,
    },
    /// Another client sends the same bytes.
    Superseded(String),
}

impl From<CallError> for RequestError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl RequestError {
    /// For requests that carry nothing that could be too large, or taken over.
    pub(crate) fn into_call_error(self) -> CallError {
        match self {
            Self::Call(error) => error,
            Self::Unknown(why) | Self::TooLarge(why) => CallError::Permanent(why),
            Self::TooMany { why, after } => CallError::Transient { why, after },
            Self::Superseded(why) => CallError::transient(why),
        }
    }
}

impl Status {
    /// What the server has of a file of so many bytes; whatever else it says to have is not ours.
    pub(crate) fn received(&self, length: u64) -> ExtentSet {
        let mut set = ExtentSet::new();
        let within = |&[start, end]: &[u64; 2]| Extent::new(start, end.min(length));
        // In order, so that each is added at the end.
        for extent in self.received.iter().filter_map(within) {
            set.insert(extent);
        }
        set
    }

    /// Bytes of a chunk, as the server suggests and at most as it allows.
    pub(crate) fn chunk_bytes(&self) -> u64 {
        let most = self.max_chunk_size.unwrap_or(MOST_SUGGESTED).max(LEAST_SUGGESTED);
        self.chunk_size.clamp(LEAST_SUGGESTED, MOST_SUGGESTED).min(most)
    }

    /// The most bytes that the server takes in a chunk.
    pub(crate) fn most_chunk_bytes(&self) -> u64 {
        self.max_chunk_size.map_or(u64::MAX, |most| most.max(LEAST_SUGGESTED))
    }

    /// The server's parts begin at multiples of this.
    pub(crate) fn align(&self) -> Option<u64> {
        self.align
    }

    /// Chunks in flight, as the server suggests.
    pub(crate) fn send_ahead(&self) -> usize {
        usize::try_from(self.send_ahead.clamp(1, MOST_AHEAD)).unwrap_or(1)
    }

    /// Why it was cancelled or failed, or what the handover waits for.
    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.as_deref().map(escape::excerpt)
    }

    /// Whether chunks should carry a digest: the web app wants to be sure of every byte.
    pub(crate) fn wants_digests(&self) -> bool {
        self.digest.as_deref() == Some("sha-256")
    }

    /// Whether it takes bytes.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, StateName::New | StateName::Uploading)
    }
}

fn state<'de, D: Deserializer<'de>>(from: D) -> Result<StateName, D::Error> {
    let word = String::deserialize(from)?;
    StateName::of_word(&word).ok_or_else(|| D::Error::custom("unknown state"))
}

/// The first ranges, in order of their beginning; the others are read and let go.
fn ranges<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<[u64; 2]>, D::Error> {
    struct First;
    impl<'de> Visitor<'de> for First {
        type Value = Vec<[u64; 2]>;

        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("a list of ranges")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut ranges = Vec::new();
            while ranges.len() < MOST_RANGES {
                let Some(range) = list.next_element()? else { break };
                ranges.push(range);
            }
            while list.next_element::<IgnoredAny>()?.is_some() {}
            ranges.sort_unstable();
            Ok(ranges)
        }
    }
    from.deserialize_seq(First)
}

#[derive(Deserialize)]
struct Problem {
    code: Option<String>,
    upload: Option<Status>,
}

/// The status that an answer brings, or what is wrong.
pub(crate) fn of_answer(answer: &Answer) -> Result<Status, RequestError> {
    let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    let over = problem.and_then(|problem| problem.upload);
    match (answer.status, over) {
        // Cancelled, failed or expired: the status says which.
        (StatusCode::GONE, Some(status)) => Ok(status),
        _ => read(answer),
    }
}

/// An answer of any kind.
pub(crate) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, RequestError> {
    if answer.status == StatusCode::OK {
        return serde_json::from_slice(&answer.body).map_err(|_| {
            CallError::Permanent("the server at this URL is not an upload server".into()).into()
        });
    }
    let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    let code = problem.as_ref().and_then(|problem| problem.code.as_deref());
    let (why, after) = (refusal(answer), answer.retry_after);
    Err(match answer.status.as_u16() {
        404 => RequestError::Unknown(why),
        413 => RequestError::TooLarge(why),
        429 => RequestError::TooMany { why, after },
        409 if code == Some("superseded") => RequestError::Superseded(why),
        // Something on the way turned a bit. A file that has changed is found out by who reads it.
        400 if code == Some("digest-mismatch") => CallError::Transient { why, after }.into(),
        501 | 505 => CallError::Permanent(why).into(),
        408 | 425 | 500..=599 => CallError::Transient { why, after }.into(),
        _ => CallError::Permanent(why).into(),
    })
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
            location: None,
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn statuses() {
        let status = of_answer(&answer(200, UPLOAD, None)).unwrap();
        assert_eq!(status.state, StateName::Cancelled);
        assert_eq!(status.received(10).bytes(), 4);
        assert_eq!(status.received(5).bytes(), 3);
        assert_eq!(status.received(0).bytes(), 0);
        assert_eq!(status.reason().unwrap(), "too\\u{1b} late");
        assert!(!status.wants_digests());
        let asked = UPLOAD.replacen('{', r#"{"digest":"sha-256","#, 1);
        assert!(of_answer(&answer(200, &asked, None)).unwrap().wants_digests());
        let over = format!(r#"{{"code":"upload-over","upload":{UPLOAD}}}"#);
        assert_eq!(of_answer(&answer(410, &over, None)).unwrap().state, StateName::Cancelled);
        let verified = UPLOAD.replacen('{', r#"{"verified":[true,false,null],"#, 1);
        let verified: Verified = read(&answer(200, &verified, None)).unwrap();
        assert_eq!(verified.verified, [Some(true), Some(false), None]);
        assert_eq!(verified.status.received(10).bytes(), 4);
    }

    /// Whatever a server suggests, connections and memory are bounded.
    #[test]
    fn issue_13_what_a_server_suggests_is_taken_within_bounds() {
        let told = |key: &str, value: &str| {
            let old = match key {
                "chunk_size" | "send_ahead" => "4",
                _ => "null",
            };
            let text = UPLOAD.replace(&format!("\"{key}\":{old}"), &format!("\"{key}\":{value}"));
            assert!(old == value || text != UPLOAD);
            of_answer(&answer(200, &text, None)).unwrap()
        };
        let most = u64::MAX.to_string();
        for (value, ahead) in [("0", 1), ("1", 1), ("64", 64), ("65", 64), (&*most, 64)] {
            assert_eq!(told("send_ahead", value).send_ahead(), ahead, "{value}");
        }
        for (value, bytes) in [("0", 1 << 10), ("1048576", 1 << 20), (&*most, 4 << 30)] {
            assert_eq!(told("chunk_size", value).chunk_bytes(), bytes, "{value}");
        }
        for (value, bytes, allowed) in [
            ("0", 1 << 10, 1 << 10),
            (&*most, 1 << 10, u64::MAX),
            ("2000", 1 << 10, 2000),
            ("null", 1 << 10, u64::MAX),
        ] {
            let status = told("max_chunk_size", value);
            assert_eq!((status.chunk_bytes(), status.most_chunk_bytes()), (bytes, allowed));
        }
        let ranges = |count: u64| {
            let ranges: Vec<_> = (0..count).rev().map(|at| [2 * at, 2 * at + 1]).collect();
            let text = UPLOAD.replace("[[0,2],[4,6]]", &serde_json::to_string(&ranges).unwrap());
            of_answer(&answer(200, &text, None)).unwrap().received(u64::MAX)
        };
        assert_eq!(ranges(4096).as_slice().len(), 4096);
        assert_eq!(ranges(200_000).as_slice().len(), MOST_RANGES);
        let overflow = UPLOAD.replace("[4,6]", &format!("[{most},0],[7,7],[5,{most}]"));
        assert_eq!(of_answer(&answer(200, &overflow, None)).unwrap().received(9).bytes(), 6);
    }

    #[test]
    fn troubles() {
        let judged = |status: u16, body: &str, after: Option<u64>| {
            of_answer(&answer(status, body, after)).unwrap_err()
        };
        let passing = |status: u16, body: &str, after: Option<u64>| {
            let trouble = judged(status, body, after).into_call_error();
            let CallError::Transient { after: asked, .. } = trouble else { panic!("{trouble:?}") };
            assert_eq!(asked, after.map(Duration::from_secs), "{status}");
        };
        passing(503, "", Some(2));
        passing(429, "{}", Some(7));
        passing(507, r#"{"code":"no-space"}"#, None);
        passing(500, "<html>", None);
        passing(502, "", None);
        passing(409, r#"{"code":"superseded"}"#, None);
        passing(400, r#"{"code":"digest-mismatch"}"#, None);
        let fatal = |status: u16, body: &str, line: &str| {
            assert_eq!(
                judged(status, body, None).into_call_error(),
                CallError::Permanent(line.into())
            );
        };
        fatal(404, r#"{"detail":"no such upload"}"#, "404 Not Found: no such upload");
        fatal(409, r#"{"code":"length-changed","title":"x"}"#, "409 Conflict: x");
        fatal(400, "wrong\nlines\u{1b}", "400 Bad Request: wrong");
        fatal(410, "", "410 Gone: ");
        fatal(501, "", "501 Not Implemented: ");
        fatal(200, "<html>", "the server at this URL is not an upload server");
        assert!(matches!(judged(413, "", None), RequestError::TooLarge(_)));
        assert!(matches!(judged(404, "", None), RequestError::Unknown(_)));
    }
}
