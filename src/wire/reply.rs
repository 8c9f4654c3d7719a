//! The parts that answers are made of.

use super::Answer;
use crate::core::digest::ChunkDigest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full};
use hyper::body::Body as _;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::sync::Arc;

/// An answer with a JSON body.
pub fn json_answer(value: &impl Serialize) -> Answer {
    let mut answer = Response::new(Full::new(json(value)));
    describe(answer.headers_mut(), "application/json");
    answer
}

/// An answer with exactly this text.
pub fn text_answer(text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    describe(answer.headers_mut(), "text/plain; charset=utf-8");
    answer
}

/// Says what a body is, and to a browser that shows it as a page all the same, that it may do nothing:
/// texts repeat, escaped, what clients sent.
pub(super) fn describe(headers: &mut HeaderMap, media_type: &'static str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
}

/// The way to the same thing elsewhere, which may be another way tomorrow.
pub fn moved(location: HeaderValue) -> Answer {
    moved_to(location, "only https is served here\n")
}

/// The same, with a line of text for people.
pub(super) fn moved_to(location: HeaderValue, text: &str) -> Answer {
    let mut answer = text_answer(text.into());
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// 204, without a body.
pub fn no_content() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

pub(super) fn json(value: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).expect("these types have only string keys");
    // For people at a terminal.
    text.push(b'\n');
    text.into()
}

/// A digest as it stands in `Content-Digest`.
pub fn digest_value(digest: &ChunkDigest) -> String {
    let (algorithm, bytes) = match digest {
        ChunkDigest::Sha256(bytes) => ("sha-256", bytes.as_slice()),
        ChunkDigest::Sha512(bytes) => ("sha-512", bytes.as_slice()),
        ChunkDigest::Sha1(bytes) => ("sha", bytes.as_slice()),
    };
    format!("{algorithm}=:{}:", BASE64_STANDARD.encode(bytes))
}

/// A value from outside as it may stand in a text: escaped, and not longer than a line.
pub fn shown(value: &str) -> String {
    let short: String = value.chars().take(SHOWN_CHARS).collect();
    let more = if short.len() < value.len() { "..." } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}

/// The answer, whose body and long headers keep `held` until they were sent, or its request was given up.
pub(super) async fn hold_until_sent<H: Send + Sync + 'static>(answer: Answer, held: H) -> Answer {
    let held = Arc::new(held);
    let (mut head, body) = answer.into_parts();
    // Nothing holds back a head on HTTP/2: flow control is for bodies. Source: RFC 9113, section 5.2.1.
    for value in head.headers.values_mut().filter(|value| value.len() >= LONG_VALUE_BYTES) {
        let untaken = Untaken { bytes: value.clone(), _held: Arc::clone(&held) };
        if let Ok(mut untaken) = HeaderValue::from_maybe_shared(Bytes::from_owner(untaken)) {
            // Else the table of compressed headers keeps a copy for as long as the connection lasts.
            untaken.set_sensitive(true);
            *value = untaken;
        }
    }
    let bytes = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body = match bytes.is_empty() {
        true => Full::default(),
        false => Full::new(Bytes::from_owner(Untaken { bytes, _held: held })),
    };
    Answer::from_parts(head, body)
}

/// The bytes that an answer keeps in memory: its body, and the values of its headers.
pub(super) fn answer_bytes(answer: &Answer) -> u64 {
    let values = answer.headers().values().map(|value| value.len() as u64).sum::<u64>();
    values + answer.body().size_hint().exact().unwrap_or(0)
}

/// Bytes that are sent, and what is held as long as there is a copy of them.
struct Untaken<B, H> {
    bytes: B,
    _held: Arc<H>,
}

impl<B: AsRef<[u8]>, H> AsRef<[u8]> for Untaken<B, H> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// No script, style, image or request, and in no frame.
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// A value of a header that is long; what this server says by itself is shorter.
const LONG_VALUE_BYTES: usize = 512;
/// Characters of a foreign value that are shown.
const SHOWN_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_values_are_escaped_and_short() {
        assert_eq!(shown("a\r\nb\u{0}"), "\"a\\r\\nb\\0\"");
        assert_eq!(shown(&"x".repeat(1000)).len(), 105);
    }
}
