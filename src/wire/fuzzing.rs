//! Fuzz targets of everything that reads a request: each takes any bytes, and panics where what was
//! read could be read another way.

use super::Surface;
use super::backend;
use super::content_digest::content_digest as digest_of;
use super::dialect::native::json;
use super::dialect::tus::header as tus;
use super::doctor::{MOST_ANSWER_BYTES, MOST_WAIT, observed, probe_params};
use super::head;
use super::header::{accepts, content_length, content_range as range_of};
use super::params::Params;
use super::problem::Problem;
use super::reply::{digest_value, shown};
use super::route::{BackendCall, Route};
use super::upload_metadata as metadata;
use crate::core::callback::CallbackUrl;
use crate::core::digest::ChunkDigest;
use crate::core::extent::Extent;
use crate::core::fuzzing::Source;
use crate::core::limits::MAX_FILE_BYTES;
use crate::core::name;
use crate::diagnosis::Findings;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
pub use forwarded::forwarded;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Version};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

mod forwarded;

/// One or more `Content-Range` lines, and the same bytes as `Content-Length`.
pub fn content_range(data: &[u8]) {
    let Some(headers) = lines("content-range", data) else { return };
    let read = told(range_of(&headers));
    let text = String::from_utf8_lossy(data);
    let expected = naive_range(&text);
    if let Some(Some(range)) = read {
        let length = range.length.map_or_else(|| "*".to_owned(), |length| length.to_string());
        let last = range.extent.end() - 1;
        let again = format!("bytes {}-{last}/{length}", range.extent.start());
        let again = lines("content-range", again.as_bytes()).expect("digits");
        assert_eq!(told(range_of(&again)), Some(Some(range)));
        assert_eq!(expected, Some((range.extent, range.length)), "{text:?}");
    } else {
        assert_eq!(expected, None, "{text:?} is a range");
    }
    let headers = lines("content-length", data).expect("the same bytes");
    if let Some(Some(length)) = told(content_length(&headers)) {
        assert!(length < MAX_FILE_BYTES && text.bytes().all(|b| b.is_ascii_digit()), "{text:?}");
    }
    let headers = lines("accept", data).expect("the same bytes");
    let _ = accepts(&headers, "accept", "application/json");
}

/// The same header read in another way: number by number.
fn naive_range(text: &str) -> Option<(Extent, Option<u64>)> {
    if text.contains('\n') {
        return None;
    }
    let text = text.trim();
    if !text.get(..6)?.eq_ignore_ascii_case("bytes ") {
        return None;
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let value = text.bytes().try_fold(0_u64, |value, digit| {
            value.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0')))
        });
        value.filter(|value| digits && *value < MAX_FILE_BYTES)
    };
    let parts: Vec<&str> = text[6..].split(['-', '/']).collect();
    let [first, last, length] = parts[..] else { return None };
    if !text[6..].starts_with(&format!("{first}-{last}/")) {
        return None;
    }
    let length = if length == "*" { None } else { Some(number(length)?) };
    let extent = Extent::new(number(first)?, number(last)? + 1)?;
    length.is_none_or(|length| extent.end() <= length).then_some((extent, length))
}

/// One or more `Content-Digest` lines: never is a digest that is there taken for none.
pub fn content_digest(data: &[u8]) {
    let Some(headers) = lines("content-digest", data) else { return };
    let Some(read) = told(digest_of(&headers)) else { return };
    let text = String::from_utf8_lossy(data);
    let joined = text.split('\n').collect::<Vec<_>>().join(", ");
    let whole = lines("content-digest", joined.as_bytes()).expect("the same characters");
    assert_eq!(told(digest_of(&whole)), Some(read.clone()), "{text:?}");
    if let Some(digest) = read {
        let again = lines("content-digest", digest_value(&digest).as_bytes()).expect("base64");
        assert_eq!(told(digest_of(&again)), Some(Some(digest)));
    } else {
        let named = joined.starts_with("sha-256=") || joined.starts_with("sha-512=");
        assert!(!named, "a digest passed for none: {text:?}");
    }
    let spoilt = lines("content-digest", format!("{joined},").as_bytes()).expect("as before");
    assert!(digest_of(&spoilt).is_err(), "{text:?}");
}

/// One or more `Upload-Metadata` lines: what is read of them is fit to be kept and shown, and one odd pair more changes none
/// of it.
pub fn upload_metadata(data: &[u8]) {
    let Some(headers) = lines("upload-metadata", data) else { return };
    let Some(raw) = told(tus::metadata(&headers)) else { return };
    let raw = raw.unwrap_or_default();
    let Some(named) = told(metadata::read(raw)) else {
        let visible = raw.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        assert!(raw.len() > metadata::MAX_BYTES || !visible, "{raw:?} is refused");
        return;
    };
    if let Some(name) = &named.name {
        assert_eq!(name::harmless(name), *name);
    }
    assert!(named.media_type.as_ref().is_none_or(|text| text.chars().count() <= 255));
    assert!(HeaderValue::from_str(raw).is_ok(), "{raw:?} cannot be echoed");
    if let Some(again) = told(metadata::read(&format!("{raw},odd ?,"))) {
        assert_eq!(again, named, "{raw:?}");
    }
}

/// One or more `Upload-Checksum` lines: never is a digest that is there taken for none or for another one.
pub fn upload_checksum(data: &[u8]) {
    let Some(headers) = lines("upload-checksum", data) else { return };
    let text = String::from_utf8_lossy(data);
    if let Some(read) = told(tus::checksum(&headers)) {
        let (algorithm, bytes) = match read.as_ref().expect("a checksum passed for none") {
            ChunkDigest::Sha1(bytes) => ("sha1", &bytes[..]),
            ChunkDigest::Sha256(bytes) => ("sha256", &bytes[..]),
            ChunkDigest::Sha512(bytes) => ("sha512", &bytes[..]),
        };
        let again = format!("{algorithm} {}", BASE64_STANDARD.encode(bytes));
        let again = lines("upload-checksum", again.as_bytes()).expect("base64");
        assert_eq!(told(tus::checksum(&again)), Some(read.clone()), "{text:?}");
        assert!(text.trim_start().starts_with(algorithm), "{text:?}");
    }
    // The same bytes as numbers.
    for name in ["upload-offset", "upload-length"] {
        let headers = lines(name, data).expect("the same bytes");
        let read = match name {
            "upload-offset" => told(tus::upload_offset(&headers)),
            _ => told(tus::upload_length(&headers)).flatten(),
        };
        let digits = text.trim();
        let digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        assert!(read.is_none_or(|number| digits && number < MAX_FILE_BYTES), "{text:?}");
    }
}

/// A version, a target and `Host` lines.
pub fn host(data: &[u8]) {
    let mut source = Source::new(data);
    let version =
        [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2][usize::from(source.below(3))];
    let text = source.text();
    let Some(hosts) = lines("host", source.rest()) else { return };
    let Ok(mut request) = Request::builder().version(version).uri(&text).body(()) else { return };
    if !source.is_empty() {
        return;
    }
    *request.headers_mut() = hosts;
    let head = request.into_parts().0;
    if told(head::check(&head)).is_none() {
        return;
    }
    let hosts: Vec<_> = head.headers.get_all("host").iter().collect();
    assert!(hosts.len() <= 1 && (version != Version::HTTP_11 || hosts.len() == 1));
    let authority = head.uri.authority().map(|authority| authority.as_str().as_bytes());
    for host in hosts.iter().map(|host| host.as_bytes()).chain(authority) {
        let strange = |b: &u8| b"@/?#,\\ \t".contains(b) || !b.is_ascii_graphic();
        assert!(!host.is_empty() && !host.iter().any(strange), "{host:?}");
    }
}

/// A path: what names an upload names it in one spelling.
pub fn route(data: &[u8]) {
    let path = String::from_utf8_lossy(data);
    let route = Route::of(&path);
    let named = match route {
        Route::Upload(Some(id)) => Some((id, "frontend")),
        Route::Backend(BackendCall::Show(Some(id))) => Some((id, "backend")),
        _ => None,
    };
    if let Some((id, surface)) = named {
        let spellings = ["/incoming/", "/incoming/0.1/"]
            .map(|prefix| format!("{prefix}{surface}/uploads/{id}"));
        assert!(spellings.iter().any(|spelling| **spelling == path), "{path:?}");
    }
    let on = |surface| route.on_surface(surface).is_ok();
    assert!(!(on(Surface::Public) && on(Surface::Backend)), "{path:?} is on both");
    assert!(!on(Surface::Public) || path.contains("/frontend/"), "{path:?}");
}

/// Backend parameters in each of their four forms.
pub fn params(data: &[u8]) {
    let mut source = Source::new(data);
    let pairs = source.flip();
    if pairs {
        return same_in_all_forms(&mut source);
    }
    let types = [
        "",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-8",
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=\"a b\"",
    ];
    let text = source.text();
    let given = types.get(usize::from(source.below(6))).copied().unwrap_or(&text);
    let body = Bytes::copy_from_slice(source.rest());
    let mut params = Params::default();
    if told(ready(params.add_body(given, body))).is_none() {
        return;
    }
    for name in ["maxBytes", "length", "a"] {
        if let Some(Some(bytes)) = told(params.bytes(name)) {
            assert!(bytes < MAX_FILE_BYTES);
        }
        told(params.boolean(name));
        if let Some(text) = params.text(name) {
            assert!(!text.is_empty());
            let most = Duration::from_secs(1 << 32);
            if let Some(Some(time)) = told(params.duration(name, most)) {
                assert!(!time.is_zero() && time <= most);
            }
        }
    }
}

/// The same parameters mean the same however they are sent.
fn same_in_all_forms(source: &mut Source<'_>) {
    let mut pairs = Vec::new();
    while !source.is_empty() {
        let name: String = source.text().chars().filter(char::is_ascii_alphanumeric).collect();
        // A mark for the byte order is none of the value in multipart bodies.
        let value = source.text().trim_start_matches('\u{feff}').to_owned();
        pairs.push((name, value));
    }
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&pairs).finish();
    let object = pairs.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    let json = serde_json::Value::Object(object.collect()).to_string();
    let mut multipart = String::new();
    for (name, value) in &pairs {
        multipart += "--=a boundary=\r\nContent-Disposition: form-data; name=\"";
        multipart += &format!("{name}\"\r\n\r\n{value}\r\n");
    }
    multipart += "--=a boundary=--\r\n";
    let read = |given: &str, body: String| {
        let mut params = Params::default();
        let read = ready(params.add_body(given, body.into()));
        read.map(|()| params).unwrap_or_else(|problem| panic!("{given}: {problem:?}"))
    };
    let expected = read("", form);
    assert_eq!(read("application/json", json), expected);
    let given = "multipart/form-data; boundary=\"=a boundary=\"";
    assert_eq!(read(given, multipart), expected);
}

/// The body of a bind.
pub fn file_facts(data: &[u8]) {
    let Some(facts) = told(json::facts(data)) else { return };
    assert!(facts.length.is_none_or(|length| length < MAX_FILE_BYTES));
    if let Some(name) = facts.name {
        assert_eq!(name::harmless(&name), name);
    }
    assert!(facts.media_type.is_none_or(|text| text.chars().count() <= 255));
}

/// A callback URL as it is kept, where a ticket takes it.
pub fn callback_url(text: &str) -> Option<CallbackUrl> {
    let url = told(backend::callback_url(text))?;
    assert!(url.as_str().bytes().all(|b| b.is_ascii_graphic()), "{url:?}");
    assert_eq!(told(backend::callback_url(url.as_str())), Some(url.clone()), "not its own form");
    Some(url)
}

/// Any foreign value in a text: one line, visible, short.
pub fn foreign_value(data: &[u8]) {
    let value = shown(&String::from_utf8_lossy(data));
    assert!(value.starts_with('"') && value.ends_with('"') && value.len() < 1100, "{value:?}");
    assert!(!value.contains(name::is_hidden), "{value:?}");
    let inner = &value[1..value.len() - 1];
    let quotes = inner.replace("\\\\", "").replace("\\\"", "");
    assert!(!quotes.contains('"'), "{value:?}");
}

/// A refusal is one line without commands to whatever shows it.
fn told<T>(read: Result<T, Problem>) -> Option<T> {
    read.map_err(|problem| {
        let text = format!("{:?}", problem.detail());
        let hidden = |c: char| name::is_hidden(c) && c != '\n';
        assert!(!problem.detail().contains(hidden), "{text}");
        assert!(problem.detail().len() < 2_000, "{text}");
    })
    .ok()
}

/// Header lines from text lines; `None` where hyper would not let one through.
pub(super) fn lines(name: &'static str, data: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(line).ok()?);
    }
    Some(headers)
}

/// The end of a future that has nothing to wait for.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..POLLS {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("a body in memory is waited for")
}

/// More than any body here needs.
const POLLS: usize = 1000;

/// A query, and what was read of it written again in one spelling.
pub fn doctor_query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = |query: &str| {
        let request = Request::get(format!("/d?{query}")).body(()).ok()?;
        told(probe_params(&request.into_parts().0))
    };
    let Some(read_once) = read(&text) else { return };
    assert!(read_once.wait <= MOST_WAIT, "{text:?}");
    let mut again = form_urlencoded::Serializer::new(String::new());
    again.append_pair("probe", &read_once.probe.to_string());
    let wait = read_once.wait;
    again.append_pair("wait", &format!("{}.{:09}", wait.as_secs(), wait.subsec_nanos()));
    if let Some(caller) = read_once.caller {
        again.append_pair("caller", &caller.to_string());
    }
    let read_again = read(&again.finish()).expect("a spelling of what was taken");
    assert_eq!(read_again.probe, read_once.probe, "{text:?}");
    assert_eq!(read_again.caller, read_once.caller, "{text:?}");
    assert_eq!(read_again.wait, read_once.wait, "{text:?}");
}

/// What a client has seen: it is judged as what it is written as, and the judgement is no flood.
pub fn doctor_findings(data: &[u8]) {
    let Some(seen) = told(observed(data)) else { return };
    let judged = Findings::of(&seen);
    let written = serde_json::to_vec(&seen).expect("these types have only string keys");
    let again = told(observed(&written)).expect("what was read can be written");
    // A number may have lost its last bit on the way, and is part of what is said.
    let codes = |judged: &Findings| judged.findings.iter().map(|one| one.code).collect::<Vec<_>>();
    assert_eq!(codes(&Findings::of(&again)), codes(&judged));
    let answer = serde_json::to_vec(&judged).expect("these types have only string keys");
    assert!(answer.len() < MOST_ANSWER_BYTES, "{} bytes of {}", answer.len(), data.len());
}
