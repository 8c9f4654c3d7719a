//! What a backend answered: its status, and its body as one word where it can be read as one.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{Error, Response};

use crate::core::coding::content_coding;

/// What a backend answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body without byte order marks, white space and one pair of quotes around it, in lower case,
    /// at most 64 characters; what was cut off, or not read because it lay beyond 64 KiB, shows as `…` at the end.
    pub word: Result<String, Unreadable>,
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
        Self { status: raw.status, word: raw.body.and_then(|bytes| word(&bytes, rest)) }
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
pub(super) async fn read(answer: Response<Incoming>) -> Result<RawAnswer, Error> {
    let status = answer.status().as_u16();
    let media_type = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    let codings = answer.headers().get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    if let Some(coding) = content_coding(codings) {
        let coding = coding.chars().take(WORD_CHARS).collect();
        let body = Err(Unreadable::Coded(coding));
        return Ok(RawAnswer { status, media_type, body, rest: Rest::None });
    }
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = BODY_BYTES - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok(RawAnswer { status, media_type, body: Ok(bytes), rest: Rest::Unread });
        }
    }
    Ok(RawAnswer { status, media_type, body: Ok(bytes), rest: Rest::None })
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
    let text = String::from_utf8_lossy(bare).to_lowercase();
    Ok(match rest {
        Rest::None if text.chars().count() <= WORD_CHARS => text,
        Rest::None | Rest::Unread => {
            text.chars().take(WORD_CHARS - 1).chain(std::iter::once('…')).collect()
        }
    })
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
        check(b"do\xEF\xBB\xBFne", "do\u{FEFF}ne");
        check(b"d\0o\0n\0e\0", "d\0o\0n\0e\0");
        for utf16 in [&b"\xFF\xFEd\0o\0n\0e\0"[..], b"\xFE\xFF\0d\0o\0n\0e"] {
            assert_eq!(word(utf16, Rest::None), Err(Unreadable::Utf16));
        }
        assert_eq!(word(b"\"done\"", Rest::Unread).unwrap(), "\"done\"…");
    }
}
