//! What a backend answered: its status, and its body as one word where it can be read as one.

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, HeaderMap};
use hyper::{Error, Response};

use std::fmt;

/// What a backend answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body without byte order marks, white space and one pair of quotes around it, in lower case,
    /// at most 64 characters; what was cut off, or not read because it lay beyond 64 KiB, shows as `…` at the end.
    pub word: Result<String, Unreadable>,
}

/// Why a body is not read as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is compressed or otherwise encoded, although nothing of the kind was accepted.
    Coded(String),
    /// It begins with the byte order mark of UTF-16.
    Utf16,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coded(coding) => {
                write!(
                    f,
                    "it has header Content-Encoding {coding:?}, but only identity is accepted"
                )
            }
            Self::Utf16 => f.write_str("it is UTF-16, expected UTF-8"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Reads an answer to its end, or as much as may be read of it.
pub(super) async fn read(answer: Response<Incoming>) -> Result<Answer, Error> {
    let status = answer.status().as_u16();
    if let Some(coding) = coding(answer.headers()) {
        return Ok(Answer { status, word: Err(Unreadable::Coded(coding)) });
    }
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = BODY_BYTES - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok(Answer { status, word: word(&bytes, Rest::Unread) });
        }
    }
    Ok(Answer { status, word: word(&bytes, Rest::None) })
}

/// The content coding of an answer, if it has one. Source: RFC 9110, section 8.4.
fn coding(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(CONTENT_ENCODING).iter();
    let lines = lines.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let line = lines.collect::<Vec<_>>().join(", ");
    let plain =
        |member: &str| matches!(member.trim().to_ascii_lowercase().as_str(), "" | "identity");
    let coded = !line.split(',').all(plain);
    coded.then(|| line.chars().take(WORD_CHARS).collect())
}

/// Whether more came than was read.
#[derive(Clone, Copy)]
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
    use hyper::header::HeaderValue;

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

    #[test]
    fn codings() {
        let check = |lines: &[&'static str], expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(coding(&headers).as_deref(), expected, "{lines:?}");
        };
        check(&[], None);
        check(&["identity"], None);
        check(&["", "Identity, identity"], None);
        check(&["gzip"], Some("gzip"));
        check(&["identity", "br"], Some("identity, br"));
    }
}
