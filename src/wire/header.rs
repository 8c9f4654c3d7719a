//! Reading request headers strictly, above all those that say where bytes belong.

use super::problem::{Code, Problem};
use super::reply::shown;
use crate::core::extent::Extent;
use crate::core::limits::MAX_FILE_BYTES;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

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

/// The value of a header that may come once; `None` where it does not come. `name` as people spell it.
pub fn once<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request(format!("header {name} comes more than once")));
    }
    text(name, value).map(Some)
}

/// A header's value as text.
pub fn text<'a>(name: &str, value: &'a HeaderValue) -> Result<&'a str, Problem> {
    value.to_str().map_err(|_| {
        let value = String::from_utf8_lossy(value.as_bytes());
        Problem::bad_request(format!("header {name} is not plain text: {}", shown(&value)))
    })
}

/// The range of a chunk, if the request has one.
pub fn content_range(headers: &HeaderMap) -> Result<Option<ContentRange>, Problem> {
    let Some(text) = once(headers, "Content-Range")? else { return Ok(None) };
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

/// The media type of the body, without parameters; empty where there is none, or no text.
pub fn media_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

/// The length of the body, if the request has one.
pub fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(text) = once(headers, "Content-Length")? else { return Ok(None) };
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

/// Whether a list of weighted values, such as `Accept`, has this one and does not weigh it nothing.
///
/// Source: RFC 9110, section 12.4.2.
pub fn accepts(headers: &HeaderMap, name: &str, wanted: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|member| {
        let mut parts = member.split(';').map(str::trim);
        let named = parts.next().is_some_and(|value| value.eq_ignore_ascii_case(wanted));
        let nothing = |part: &str| {
            let weight = part.split_once('=').filter(|(key, _)| key.eq_ignore_ascii_case("q"));
            weight.is_some_and(|(_, weight)| weight.parse() == Ok(0.0))
        };
        named && !parts.any(nothing)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::CONTENT_RANGE;

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
    fn weights() {
        let check = |lines: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("accept", HeaderValue::from_static(line));
            }
            assert_eq!(accepts(&headers, "accept", "application/json"), expected, "{lines:?}");
        };
        check(&[], false);
        check(&["*/*"], false);
        check(&["Application/JSON"], true);
        check(&["text/html", "a/b, application/json ; q=0.1"], true);
        check(&["application/json;q=0"], false);
        check(&["application/json; Q=0.000"], false);
        check(&["application/json;q=0, application/json"], true);
        check(&["text/html;q=0, application/json"], true);
    }
}
