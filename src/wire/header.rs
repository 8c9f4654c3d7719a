//! The request headers that say where bytes belong, parsed strictly.

use super::reply::{Code, Problem, shown};
use crate::core::digest::ChunkDigest;
use crate::core::extent::Extent;
use crate::core::limits::MAX_FILE_BYTES;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName};

/// `Content-Range: bytes A-B/LEN`.
///
/// Source: RFC 9110, section 14.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The bytes.
    pub extent: Extent,
    /// Total length, unless given as `*`.
    pub length: Option<u64>,
}

/// The value of a header that may come once; `None` where it does not come.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request(format!("header {name} comes more than once")));
    }
    let text = value.to_str().map_err(|_| {
        let value = String::from_utf8_lossy(value.as_bytes());
        Problem::bad_request(format!("header {name} is not plain text: {}", shown(&value)))
    })?;
    Ok(Some(text))
}

/// The range of a chunk, if the request has one.
pub fn content_range(headers: &HeaderMap) -> Result<Option<ContentRange>, Problem> {
    let Some(text) = once(headers, &CONTENT_RANGE)? else { return Ok(None) };
    let bad =
        |why: &str| Problem::bad_request(format!("header Content-Range {}: {why}", shown(text)));
    let (unit, rest) =
        text.trim().split_once(' ').ok_or_else(|| bad("expected bytes A-B/LENGTH"))?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return Err(bad("the unit must be bytes"));
    }
    let (range, length) = rest.split_once('/').ok_or_else(|| bad("expected bytes A-B/LENGTH"))?;
    let (first, last) = range.split_once('-').ok_or_else(|| bad("expected bytes A-B/LENGTH"))?;
    let number =
        |text: &str| offset(text).ok_or_else(|| bad("expected decimal offsets below 2^63 - 1"));
    let (first, last) = (number(first)?, number(last)?);
    let length = if length == "*" { None } else { Some(number(length)?) };
    let extent =
        Extent::new(first, last + 1).ok_or_else(|| bad("the range ends before it begins"))?;
    if length.is_some_and(|length| extent.end() > length) {
        let detail =
            format!("header Content-Range {}: the range reaches past the length", shown(text));
        return Err(Problem::new(Code::RangeInvalid, detail));
    }
    Ok(Some(ContentRange { extent, length }))
}

/// The length of the body, if the request has one.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(text) = once(headers, &CONTENT_LENGTH)? else { return Ok(None) };
    offset(text).map(Some).ok_or_else(|| {
        Problem::bad_request(format!(
            "header Content-Length {}: expected a decimal number",
            shown(text)
        ))
    })
}

/// Digits only, below the largest file.
fn offset(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|value| *value < MAX_FILE_BYTES)
}

/// The digest that a chunk promises, if it promises one that the server knows. Other algorithms
/// are ignored, as the source demands.
///
/// Source: RFC 9530, section 2; RFC 8941 for the dictionary and its byte sequences.
pub fn content_digest(headers: &HeaderMap) -> Result<Option<ChunkDigest>, Problem> {
    let mut found = None;
    for value in headers.get_all("content-digest") {
        let text = value.to_str().map_err(|_| {
            let value = String::from_utf8_lossy(value.as_bytes());
            Problem::bad_request(format!(
                "header Content-Digest is not plain text: {}",
                shown(&value)
            ))
        })?;
        for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
            let bad = |why: &str| {
                Problem::bad_request(format!("header Content-Digest {}: {why}", shown(member)))
            };
            let (algorithm, bytes) =
                member.split_once('=').ok_or_else(|| bad("expected ALGORITHM=:BASE64:"))?;
            let digest = match algorithm {
                "sha-256" => decode(bytes).and_then(|b| b.try_into().ok()).map(ChunkDigest::Sha256),
                "sha-512" => decode(bytes)
                    .and_then(|b| b.try_into().ok())
                    .map(|b| ChunkDigest::Sha512(Box::new(b))),
                _ => continue,
            };
            let digest = digest.ok_or_else(|| bad("expected :BASE64: of the digest's length"))?;
            found = match (found, digest) {
                // The stronger one decides where both come.
                (Some(strong @ ChunkDigest::Sha512(_)), ChunkDigest::Sha256(_)) => Some(strong),
                (_, digest) => Some(digest),
            };
        }
    }
    Ok(found)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let inner = text.strip_prefix(':')?.strip_suffix(':')?;
    BASE64_STANDARD.decode(inner).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn range(text: &str) -> Result<Option<ContentRange>, Code> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, HeaderValue::from_str(text).unwrap());
        content_range(&headers).map_err(|problem| problem.code())
    }

    #[test]
    fn content_ranges() {
        let good = |text, start, end, length| {
            let extent = Extent::new(start, end).unwrap();
            assert_eq!(range(text), Ok(Some(ContentRange { extent, length })), "{text}");
        };
        good("bytes 0-0/1", 0, 1, Some(1));
        good("bytes 5-9/*", 5, 10, None);
        good("Bytes 0-9/10", 0, 10, Some(10));
        let bad = |text, code| assert_eq!(range(text), Err(code), "{text}");
        for text in [
            "",
            "bytes",
            "bytes 0-",
            "bytes 0-9",
            "bytes -9/10",
            "bytes 9-0/10",
            "bytes */10",
            "items 0-9/10",
            "bytes 0-9/10, 10-19/20",
            "bytes +0-9/10",
            "bytes 0-9/ 10",
            "bytes 0x0-9/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-9223372036854775807/*",
        ] {
            bad(text, Code::BadRequest);
        }
        bad("bytes 0-10/10", Code::RangeInvalid);
    }

    #[test]
    fn content_digests() {
        let parse = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-digest", HeaderValue::from_str(text).unwrap());
            content_digest(&headers).map_err(|problem| problem.code())
        };
        let zeros = format!("sha-256=:{}:", BASE64_STANDARD.encode([0; 32]));
        let long = format!("sha-512=:{}:", BASE64_STANDARD.encode([0; 64]));
        let sha512 = ChunkDigest::Sha512(Box::new([0; 64]));
        assert_eq!(parse(&zeros), Ok(Some(ChunkDigest::Sha256([0; 32]))));
        assert_eq!(super::super::reply::digest_value(&ChunkDigest::Sha256([0; 32])), zeros);
        assert_eq!(super::super::reply::digest_value(&sha512), long);
        assert_eq!(parse(&format!("{long}, {zeros}")), Ok(Some(sha512.clone())));
        assert_eq!(parse(&format!("{zeros}, {long}")), Ok(Some(sha512)));
        assert_eq!(parse("md5=:AAAA:"), Ok(None));
        for bad in ["sha-256", "sha-256=AAAA", "sha-256=:AAAA:", "sha-256=:!:", "sha-256=::"] {
            assert_eq!(parse(bad), Err(Code::BadRequest), "{bad}");
        }
    }
}
