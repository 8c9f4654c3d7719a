//! The headers of resumable uploads: structured fields (RFC 9651), of which one that is not what it should be counts as
//! absent.

use crate::core::command::FileFacts;
use crate::core::name;
use crate::core::refusal::Refusal;
use crate::wire::dialect::native::json::short_type;
use crate::wire::header::{media_type, once};
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::shown;
use crate::wire::upload_metadata;
use hyper::Method;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use sfv::{BareItem, Item, Parser};

/// The version of the draft that a client speaks: what it names, or none, which is the text that will be the RFC. One that is
/// not spoken is taken as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version(Option<u8>);

impl Version {
    /// What a request names, if that is one of `spoken`.
    pub(super) fn of(headers: &HeaderMap, spoken: &[u8]) -> Self {
        let named = item(headers, INTEROP).and_then(|item| match item {
            BareItem::Integer(value) => u8::try_from(i64::from(value)).ok(),
            _ => None,
        });
        Self(named.filter(|version| spoken.contains(version)))
    }

    /// Whether the client named a version that is spoken.
    pub(super) fn is_named(self) -> bool {
        self.0.is_some()
    }

    /// Version 3 says the opposite, in another field, and leaves it out where the upload is complete.
    fn is_negated(self) -> bool {
        self.0 == Some(3)
    }

    /// Whether appends are of the media type `application/partial-upload`.
    fn has_media_type(self) -> bool {
        self.0.is_none_or(|version| version >= 6)
    }

    /// The status of an append after which the upload goes on.
    pub(super) fn appended(self) -> StatusCode {
        match self.0 {
            Some(3..=6) => super::status::CREATED,
            _ => super::status::NO_CONTENT,
        }
    }

    /// Says whether the upload is complete.
    pub(super) fn add_complete(self, complete: bool, headers: &mut HeaderMap) {
        let (name, value) = match self.is_negated() {
            true => ("upload-incomplete", !complete),
            false => ("upload-complete", complete),
        };
        headers.insert(name, HeaderValue::from_static(if value { "?1" } else { "?0" }));
    }

    /// Says that this version is spoken.
    pub(super) fn echo(self, headers: &mut HeaderMap) {
        if let Some(version) = self.0 {
            headers.insert(INTEROP, HeaderValue::from(u16::from(version)));
        }
    }

    /// Whether the body is the rest of the file; `None` where it is not said.
    fn complete(self, headers: &HeaderMap) -> Option<bool> {
        let field = |name| match item(headers, name) {
            Some(BareItem::Boolean(value)) => Some(value),
            _ => None,
        };
        match self.is_negated() {
            true => field("upload-incomplete").map(|incomplete| !incomplete),
            false => field("upload-complete"),
        }
    }
}

/// Whether a request for an upload's native URL is one of this dialect. A creation whose field says nothing valid is not.
pub(in crate::wire::dialect) fn names_resumable(head: &Parts, spoken: &[u8]) -> bool {
    let creates = head.method == Method::POST || head.method == Method::PUT;
    let appends = head.method == Method::PATCH
        && APPEND_FIELDS.iter().any(|name| head.headers.contains_key(*name));
    appends || creates && Version::of(&head.headers, spoken).complete(&head.headers).is_some()
}

/// What a request with bytes says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Whether the body is the rest of the file.
    pub(super) complete: bool,
    /// The file's length in bytes.
    pub(super) length: Option<u64>,
}

impl Request {
    pub(super) fn creation(headers: &HeaderMap, version: Version) -> Result<Self, Problem> {
        let complete = version.complete(headers).ok_or_else(|| not_said(version))?;
        Ok(Self { complete, length: integer(headers, "upload-length") })
    }

    pub(super) fn append(headers: &HeaderMap, version: Version) -> Result<Self, Problem> {
        let given = media_type(headers);
        if version.has_media_type() && !given.eq_ignore_ascii_case(PARTIAL_UPLOAD) {
            let detail = format!("header Content-Type {}: expected {PARTIAL_UPLOAD}", shown(given));
            return Err(Problem::new(Code::UnsupportedMediaType, detail));
        }
        let complete = match version.complete(headers) {
            Some(complete) => complete,
            None if version.is_negated() => true,
            None => return Err(not_said(version)),
        };
        Ok(Self { complete, length: integer(headers, "upload-length") })
    }

    /// Whether the last bytes of a file end where the request says that the file does. What was cut on the way, with its
    /// `Content-Length` made to fit, is no file.
    pub(super) fn check_end(&self, start: u64, body_length: Option<u64>) -> Result<(), Problem> {
        match (body_length.and_then(|bytes| start.checked_add(bytes)), self.length) {
            (Some(offered), Some(known)) if self.complete && offered != known => {
                Err(Refusal::LengthChanged { known, offered }.into())
            }
            _ => Ok(()),
        }
    }

    /// `Upload-Offset`.
    pub(super) fn offset(headers: &HeaderMap) -> Option<u64> {
        integer(headers, "upload-offset")
    }
}

fn not_said(version: Version) -> Problem {
    let name = if version.is_negated() { "Upload-Incomplete" } else { "Upload-Complete" };
    Problem::bad_request(format!("header {name}: expected ?0 or ?1"))
}

/// What the head of a creation says of the file.
///
/// Errors: `Upload-Metadata` that is too long or no ASCII.
pub(super) fn file(headers: &HeaderMap) -> Result<FileFacts, Problem> {
    let client_metadata = once(headers, "Upload-Metadata")?;
    let named = upload_metadata::read(client_metadata.unwrap_or_default())?;
    let disposition = headers.get(CONTENT_DISPOSITION).and_then(|value| value.to_str().ok());
    let partial = media_type(headers).eq_ignore_ascii_case(PARTIAL_UPLOAD);
    let own_type = headers.get(CONTENT_TYPE).filter(|_| !partial);
    let own_type = own_type.and_then(|value| value.to_str().ok());
    Ok(FileFacts {
        length: None,
        name: disposition.and_then(file_name).map(|it| name::harmless(&it)).or(named.name),
        media_type: named.media_type.or_else(|| own_type.map(short_type)),
        last_modified: None,
        client_metadata: client_metadata.map(str::to_owned),
    })
}

/// The name in a `Content-Disposition`: `filename*` before `filename`.
///
/// Sources: RFC 6266, section 4.3; RFC 8187, section 3.2.
fn file_name(disposition: &str) -> Option<String> {
    let parameter = |wanted: &str| {
        let mut rest = disposition.split_once(';')?.1;
        loop {
            let (key, after) = rest.split_once('=')?;
            let after = after.trim_start();
            let (value, left) = match after.strip_prefix('"') {
                Some(quoted) => unquoted(quoted)?,
                None => {
                    let end = after.find(';').unwrap_or(after.len());
                    (after[..end].trim().to_owned(), &after[end..])
                }
            };
            if key.trim().trim_start_matches(';').trim().eq_ignore_ascii_case(wanted) {
                return Some(value);
            }
            rest = left;
        }
    };
    let extended = parameter("filename*").and_then(|value| {
        let mut parts = value.splitn(3, '\'');
        let charset = parts.next()?;
        let coded = parts.nth(1)?;
        charset
            .eq_ignore_ascii_case("utf-8")
            .then(|| percent_encoding::percent_decode_str(coded).decode_utf8_lossy().into_owned())
    });
    extended.or_else(|| parameter("filename")).filter(|name| !name.is_empty())
}

/// The text of a quoted string up to its closing quote, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

/// A structured field that is one item; `None` where it is absent, repeated or malformed. Parameters are ignored.
fn item(headers: &HeaderMap, name: &str) -> Option<BareItem> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next().filter(|_| lines.next().is_none())?;
    let item: Item = Parser::new(line.as_bytes()).parse().ok()?;
    Some(item.bare_item)
}

fn integer(headers: &HeaderMap, name: &str) -> Option<u64> {
    match item(headers, name)? {
        BareItem::Integer(value) => u64::try_from(i64::from(value)).ok(),
        _ => None,
    }
}

/// Fields by which a `PATCH` names this dialect.
const APPEND_FIELDS: [&str; 4] = [INTEROP, "upload-offset", "upload-complete", "upload-incomplete"];
const INTEROP: &str = "upload-draft-interop-version";
const PARTIAL_UPLOAD: &str = "application/partial-upload";

#[cfg(test)]
mod tests {
    use super::*;

    const SPOKEN: &[u8] = &[3, 4, 5, 6, 7, 8, 9, 10];

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn versions_differ_in_how_they_say_complete() {
        let check = |version: &str, lines: &[(&'static str, &str)], expected: Option<bool>| {
            let mut all = lines.to_vec();
            all.push((INTEROP, version));
            let all = headers(&all);
            assert_eq!(Version::of(&all, SPOKEN).complete(&all), expected, "{version} {lines:?}");
        };
        check("3", &[("upload-incomplete", "?1")], Some(false));
        check("3", &[("upload-incomplete", "?0")], Some(true));
        check("3", &[("upload-complete", "?1")], None);
        for version in ["4", "6", "10", "11", "x"] {
            check(version, &[("upload-complete", "?1;a=1")], Some(true));
            check(version, &[("upload-complete", "?0")], Some(false));
            check(version, &[("upload-incomplete", "?0")], None);
            for bad in ["1", "true", "?2", "", "?1, ?1"] {
                check(version, &[("upload-complete", bad)], None);
            }
            check(version, &[("upload-complete", "?1"), ("upload-complete", "?1")], None);
        }
        let of = |text: &str, spoken: &[u8]| Version::of(&headers(&[(INTEROP, text)]), spoken);
        assert_eq!(of("2", SPOKEN), Version(None));
        assert_eq!(of("10", SPOKEN), Version(Some(10)));
        assert_eq!(of("10", &[6, 8]), Version(None));
        assert_eq!(of("8", &[6, 8]), Version(Some(8)));
    }

    #[test]
    fn integers() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(Request::offset(&headers(&[("upload-offset", text)])), expected, "{text}");
        };
        check("0", Some(0));
        check("999999999999999;x", Some(999_999_999_999_999));
        for bad in ["-1", "1.0", "abc", "", "1, 1", "9999999999999999", "\"1\""] {
            check(bad, None);
        }
    }

    #[test]
    fn file_names() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(file_name(text).as_deref(), expected, "{text}");
        };
        check("attachment; filename=a.txt", Some("a.txt"));
        check("attachment; filename=\"a;b \\\"c\\\".txt\"; x=y", Some("a;b \"c\".txt"));
        check("attachment; filename=\"a\"; filename*=UTF-8''%c3%a4.txt", Some("ä.txt"));
        check("attachment; filename*=iso-8859-1''%e4; filename=b", Some("b"));
        for none in ["attachment", "attachment; filename=\"a", "filename=a", "a; filename=", ""] {
            check(none, None);
        }
    }
}
