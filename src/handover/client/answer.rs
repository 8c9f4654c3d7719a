//! What a backend answered: its status, and its body as one word where it can be read as one. Or why there is no answer.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};

use crate::core::callback::CallbackUrlError;
use crate::core::coding::content_coding;

/// What a backend answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body without byte order marks, white space and one pair of quotes around it, in lower case,
    /// at most 64 characters; what was cut off, or not read because it lay beyond 64 KiB, shows as `…` at the end.
    pub word: Result<String, Unreadable>,
    /// When the backend wants to be called again, where it says so with 429 or 503.
    pub retry_after: Option<Duration>,
    /// How far its clock (the header `Date`) is from this machine's.
    pub clock_off: Option<Duration>,
}

/// What a backend answered, as it came.
#[derive(Debug)]
pub struct RawAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`, without its parameters, in lower case; empty where there is none.
    pub media_type: String,
    /// The first 64 KiB of the body.
    pub body: Result<Vec<u8>, Unreadable>,
    /// The header `Retry-After` of 429 and 503, if it counts seconds.
    pub(super) retry_after: Option<Duration>,
    /// How far the header `Date` is from this machine's clock.
    pub(super) clock_off: Option<Duration>,
    /// Whether there was more of it.
    pub(super) rest: Rest,
}

impl RawAnswer {
    /// Whether `body` is all of it.
    pub fn is_whole(&self) -> bool {
        matches!(self.rest, Rest::None)
    }
}

impl From<RawAnswer> for Answer {
    fn from(raw: RawAnswer) -> Self {
        let rest = raw.rest;
        let (status, retry_after, clock_off) = (raw.status, raw.retry_after, raw.clock_off);
        let word = raw.body.and_then(|bytes| word(&bytes, rest));
        Self { status, word, retry_after, clock_off }
    }
}

/// Why a body is not read as text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is compressed or otherwise encoded, although nothing of the kind was accepted.
    #[error("it has header Content-Encoding {0:?}, but only identity is accepted")]
    Coded(String),
    /// It begins with the byte order mark of UTF-16.
    #[error("it is UTF-16, expected UTF-8")]
    Utf16,
}

/// Reads an answer to its end, or as much as may be read of it.
pub(super) async fn read(answer: Response<Incoming>) -> Result<RawAnswer, hyper::Error> {
    let status = answer.status().as_u16();
    let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let asks = matches!(status, 429 | 503);
    let retry_after = answer.headers().get(RETRY_AFTER).filter(|_| asks);
    let retry_after = retry_after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after = retry_after.map(Duration::from_secs);
    let clock_off = answer.headers().get(DATE).and_then(off);
    let codings = answer.headers().get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let (body, rest) = match content_coding(codings) {
        Some(coding) => {
            let coding = coding.chars().take(WORD_CHARS).collect();
            (Err(Unreadable::Coded(coding)), Rest::None)
        }
        None => {
            let (bytes, rest) = first_bytes(answer.into_body()).await?;
            (Ok(bytes), rest)
        }
    };
    Ok(RawAnswer { status, media_type, body, retry_after, clock_off, rest })
}

/// As much as may be read of a body.
async fn first_bytes(mut body: Incoming) -> Result<(Vec<u8>, Rest), hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = BODY_BYTES - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((bytes, Rest::Unread));
        }
    }
    Ok((bytes, Rest::None))
}

/// How far a date is from now.
fn off(date: &HeaderValue) -> Option<Duration> {
    let date = httpdate::parse_http_date(date.to_str().ok()?).ok()?;
    Some(SystemTime::now().duration_since(date).unwrap_or_else(|error| error.duration()))
}

/// Whether more came than was read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    None,
    Unread,
}

pub(super) fn word(bytes: &[u8], rest: Rest) -> Result<String, Unreadable> {
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(Unreadable::Utf16);
    }
    let bare = match rest {
        Rest::None => unquoted(bare(bytes)),
        Rest::Unread => bare(bytes),
    };
    // A list would be read as the fields in order.
    let object = matches!(rest, Rest::None) && bare.starts_with(b"{");
    let json = object.then(|| serde_json::from_slice::<InJson>(bare).ok());
    let text = match json.flatten() {
        Some(InJson { answer }) => answer.to_lowercase(),
        None => String::from_utf8_lossy(bare).to_lowercase(),
    };
    Ok(match rest {
        Rest::None if text.chars().count() <= WORD_CHARS => text,
        Rest::None | Rest::Unread => {
            text.chars().take(WORD_CHARS - 1).chain(std::iter::once('…')).collect()
        }
    })
}

/// An answer in JSON; other fields do not matter.
#[derive(serde::Deserialize)]
struct InJson {
    answer: String,
}

/// Without white space and byte order marks at either end, in any order: a script whose file begins with a
/// mark sends it, and so does each file that it includes.
fn bare(mut bytes: &[u8]) -> &[u8] {
    loop {
        let rest = bytes.trim_ascii();
        let rest = rest.strip_prefix(MARK).unwrap_or(rest);
        let rest = rest.strip_suffix(MARK).unwrap_or(rest);
        if rest.len() == bytes.len() {
            return rest;
        }
        bytes = rest;
    }
}

/// Without the quotes that a framework puts around a text which it sends as JSON.
fn unquoted(bytes: &[u8]) -> &[u8] {
    let inner = bytes.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(bytes)
}

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";
/// Bytes read of an answer's body. The word is the first few; error pages are larger and not worth
/// the memory.
pub(super) const BODY_BYTES: usize = 64 * 1024;
/// Characters kept of an answer's word: enough to recognise an error page in a log.
pub(super) const WORD_CHARS: usize = 64;

/// Why there is no answer. Each names the called URL without its credentials and query.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The URL is none, or not of http or https.
    #[error("cannot call {0:?}: {1}")]
    BadUrl(String, #[source] CallbackUrlError),
    /// No rule allows any of the addresses it has.
    #[error("not allowed to call {0} at {1:?}")]
    NotAllowed(String, Vec<IpAddr>),
    /// Its host has no address.
    #[error("cannot resolve the host of {0}: {1}")]
    Resolve(String, #[source] io::Error),
    /// None of its addresses takes a connection; the last one's reason.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, #[source] io::Error),
    /// No TLS with it, or it is not who it should be.
    #[error("TLS failed with {0}: {1}")]
    Tls(String, #[source] io::Error),
    /// It does not speak HTTP, or broke off.
    #[error("no HTTP answer from {}: {}", .0, with_source(.1))]
    Http(String, #[source] hyper::Error),
    /// It sent more interim answers (1xx) than this before the final one.
    #[error("{0} sent more than {1} interim answers")]
    Interim(String, usize),
    /// It took longer than this.
    #[error("no answer from {0} within {1:?}")]
    Timeout(String, Duration),
}

/// hyper's errors say the kind; what happened is their source.
fn with_source(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let check = |body: &[u8], expected: &str| {
            assert_eq!(word(body, Rest::None).unwrap(), expected, "{body:?}");
        };
        check(b"done", "done");
        check(b"\xEF\xBB\xBFdone", "done");
        check(b"\r\n\xEF\xBB\xBF \xEF\xBB\xBFDone\n\xEF\xBB\xBF", "done");
        check(b"\"done\"\n", "done");
        check(b"\xEF\xBB\xBF\"WAIT\"", "wait");
        check(b"\xEF\xBB\xBF", "");
        check(b"", "");
        check(b"\"\"done\"\"", "\"done\"");
        check(b"'done'", "'done'");
        check(b"\" done\"", " done");
        check(b"{\"status\":\"done\"}", "{\"status\":\"done\"}");
        check(b"{\"answer\": \"Done\", \"x\": 1}\n", "done");
        check(b"{\"answer\": \" done\"}", " done");
        check(b"{\"answer\": 1}", "{\"answer\": 1}");
        check(b"[\"done\"]", "[\"done\"]");
        check(b"do\xEF\xBB\xBFne", "do\u{FEFF}ne");
        check(b"d\0o\0n\0e\0", "d\0o\0n\0e\0");
        for utf16 in [&b"\xFF\xFEd\0o\0n\0e\0"[..], b"\xFE\xFF\0d\0o\0n\0e"] {
            assert_eq!(word(utf16, Rest::None), Err(Unreadable::Utf16));
        }
        assert_eq!(word(b"\"done\"", Rest::Unread).unwrap(), "\"done\"…");
    }
}
