//! Headers that change what a request or its body means, and that this server does not follow: such a request
//! is refused before its body is read. Passed over, they would make it do something that the client did not ask for.
//!
//! Ignored are headers that only add something which a server may leave out: `Digest`, `Repr-Digest`,
//! `Content-MD5`, `Trailer`, `Upgrade`, conditions on a date, `Range` of a `GET`.

use super::header::{media_type, once};
use super::problem::{Code, Problem};
use super::reply::shown;
use crate::core::coding::content_coding;
use hyper::Method;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_RANGE, EXPECT, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_NONE_MATCH,
};
use hyper::http::request::Parts;

/// What holds for every request.
pub(super) fn check(head: &Parts) -> Result<(), Problem> {
    check_content_encoding(&head.headers)?;
    check_expect(&head.headers)?;
    check_method(head)?;
    let safe = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe { Ok(()) } else { check_conditions(&head.headers) }
}

/// What holds for a PUT: its body is the bytes of the file themselves, and where they belong is told by
/// `Content-Range` alone.
pub(super) fn check_put(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = media_type(headers);
    let why = if kind.eq_ignore_ascii_case("multipart/form-data") {
        Some("PUT takes the bytes themselves, not a form (curl -T, not curl -F)")
    } else if kind.eq_ignore_ascii_case("multipart/byteranges") {
        Some("PUT takes the bytes of one range, named by Content-Range")
    } else {
        None
    };
    if let Some(why) = why {
        return Err(Problem::bad_request(format!("header Content-Type {}: {why}", shown(kind))));
    }
    if headers.contains_key(CONTENT_RANGE) {
        return Ok(());
    }
    // Without Content-Range the body would be taken for the whole file.
    match PART_HEADERS.iter().find(|name| headers.contains_key(**name)) {
        Some(name) => Err(Problem::bad_request(format!(
            "header {name}: PUT takes a part of a file with header Content-Range only"
        ))),
        None => Ok(()),
    }
}

/// What holds for calls that take no bytes of the file.
pub(super) fn check_no_range(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    match joined(headers, &CONTENT_RANGE) {
        Some(value) => Err(Problem::bad_request(format!(
            "header Content-Range {}: not on {method}; it is for PUT to /incoming/frontend/uploads/ID",
            shown(&value)
        ))),
        None => Ok(()),
    }
}

/// The text of a body is UTF-8, whatever its media type. Source: RFC 8259, section 8.1, for JSON.
pub(super) fn check_charset(content_type: &str) -> Result<(), Problem> {
    let parameters = content_type.split(';').skip(1).filter_map(|part| part.split_once('='));
    let charset = parameters
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .map(|(_, value)| value.trim().trim_matches('"'))
        .next();
    let Some(charset) = charset else { return Ok(()) };
    if ["utf-8", "utf8", "us-ascii"].iter().any(|known| known.eq_ignore_ascii_case(charset)) {
        return Ok(());
    }
    Err(encoded(format!("header Content-Type {}: the charset must be utf-8", shown(content_type))))
}

/// A body in a form that is not read; it says which one is.
pub(super) fn encoded(detail: String) -> Problem {
    Problem::new(Code::UnsupportedEncoding, detail)
}

/// Source: RFC 9110, section 8.4: the body is the bytes after that coding, and this server undoes none.
fn check_content_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let lines = headers.get_all(CONTENT_ENCODING).iter().map(HeaderValue::as_bytes);
    let Some(value) = content_coding(lines) else { return Ok(()) };
    Err(encoded(format!(
        "header Content-Encoding {}: only identity; send the bytes as they are",
        shown(&value)
    )))
}

/// Source: RFC 9110, section 10.1.1.
fn check_expect(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(value) = joined(headers, &EXPECT) else { return Ok(()) };
    let known = |member: &str| member.is_empty() || member.eq_ignore_ascii_case("100-continue");
    if value.split(',').map(str::trim).all(known) {
        return Ok(());
    }
    let detail = format!("header Expect {}: only 100-continue", shown(&value));
    Err(Problem::new(Code::ExpectationFailed, detail))
}

/// A client that names another method in a header means that one: a cancel would be taken for a bind.
fn check_method(head: &Parts) -> Result<(), Problem> {
    for (header, name) in &METHOD_HEADERS {
        // Cheaper than by a name that has to be parsed: this is asked for every chunk.
        if !head.headers.contains_key(header) {
            continue;
        }
        let Some(value) = once(&head.headers, name)? else { continue };
        if !value.trim().eq_ignore_ascii_case(head.method.as_str()) {
            return Err(Problem::bad_request(format!(
                "header {name} {}: send that method itself, not {}",
                shown(value),
                head.method
            )));
        }
    }
    Ok(())
}

/// Nothing here that can be changed has an entity tag: no condition on one holds but those that ask for none,
/// and everything that exists meets `*`. Source: RFC 9110, sections 13.1.1 and 13.1.2.
fn check_conditions(headers: &HeaderMap) -> Result<(), Problem> {
    let any = |value: &str| value.trim() == "*";
    let failed = |name: &str, value: &str| {
        let detail = format!(
            "header {name} {}: nothing here has an entity tag, so this condition does not hold",
            shown(value)
        );
        Err(Problem::new(Code::WrongState, detail))
    };
    if let Some(value) = joined(headers, &IF_MATCH).filter(|value| !any(value)) {
        return failed("If-Match", &value);
    }
    if let Some(value) = joined(headers, &IF_NONE_MATCH).filter(|value| any(value)) {
        return failed("If-None-Match", &value);
    }
    Ok(())
}

/// All lines of a header as one list; `None` where it does not come.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let lines = headers.get_all(name).iter();
    let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Headers by which other protocols send a part of a file: a range of requests as some servers take it, and the
/// IETF's and tus' resumable uploads.
const PART_HEADERS: [&str; 4] = ["Range", "Upload-Offset", "Upload-Complete", "Upload-Length"];
/// Headers by which frameworks let a POST stand for another method.
const METHOD_HEADERS: [(HeaderName, &str); 3] = [
    (HeaderName::from_static("x-http-method-override"), "X-HTTP-Method-Override"),
    (HeaderName::from_static("x-http-method"), "X-HTTP-Method"),
    (HeaderName::from_static("x-method-override"), "X-Method-Override"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn head(method: &Method, lines: &[(&'static str, &'static str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn issue_13_what_changes_a_requests_meaning_is_refused() {
        let judge = |method: Method, lines: &[(&'static str, &'static str)]| {
            check(&head(&method, lines)).map_err(|problem| problem.code())
        };
        let good = |method: Method, lines: &[(&'static str, &'static str)]| {
            assert_eq!(judge(method.clone(), lines), Ok(()), "{method} {lines:?}");
        };
        let bad = |method: Method, lines: &[(&'static str, &'static str)], code| {
            assert_eq!(judge(method.clone(), lines), Err(code), "{method} {lines:?}");
        };
        good(Method::PUT, &[]);
        good(Method::PUT, &[("content-encoding", "identity")]);
        good(Method::PUT, &[("content-encoding", "")]);
        good(Method::PUT, &[("content-encoding", "Identity, identity")]);
        for coding in ["gzip", "identity, gzip", "br", "aws-chunked", "deflate,", "x", "\u{e4}"] {
            for method in [Method::PUT, Method::POST, Method::GET, Method::DELETE] {
                bad(method, &[("content-encoding", coding)], Code::UnsupportedEncoding);
            }
        }
        let two = [("content-encoding", "identity"), ("content-encoding", "gzip")];
        bad(Method::PUT, &two, Code::UnsupportedEncoding);
        good(Method::PUT, &[("expect", "100-Continue")]);
        good(Method::PUT, &[("expect", "")]);
        bad(Method::PUT, &[("expect", "200-ok")], Code::ExpectationFailed);
        bad(Method::PUT, &[("expect", "100-continue, x=y")], Code::ExpectationFailed);
        good(Method::POST, &[("x-http-method-override", "post")]);
        bad(Method::POST, &[("x-http-method-override", "DELETE")], Code::BadRequest);
        bad(Method::POST, &[("x-http-method", "PUT")], Code::BadRequest);
        bad(Method::GET, &[("x-method-override", "DELETE")], Code::BadRequest);
        good(Method::PUT, &[("if-match", "*"), ("if-none-match", "\"a\"")]);
        good(Method::GET, &[("if-match", "\"a\""), ("if-none-match", "*")]);
        bad(Method::PUT, &[("if-match", "\"a\"")], Code::WrongState);
        bad(Method::PUT, &[("if-none-match", "*")], Code::WrongState);
        bad(Method::DELETE, &[("if-match", "\"a\", \"b\"")], Code::WrongState);
        // What may be left out.
        for name in ["digest", "repr-digest", "content-md5", "trailer", "upgrade", "if-range"] {
            good(Method::PUT, &[(name, "x")]);
        }
        good(Method::PUT, &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT")]);
    }

    #[test]
    fn issue_13_a_put_says_in_one_way_where_its_bytes_belong() {
        let judge = |lines: &[(&'static str, &'static str)]| {
            check_put(&head(&Method::PUT, lines).headers).map_err(|problem| problem.code())
        };
        let range = ("content-range", "bytes 0-9/10");
        assert_eq!(judge(&[]), Ok(()));
        assert_eq!(judge(&[("content-type", "multipart/related; boundary=a"), range]), Ok(()));
        for kind in ["multipart/form-data; boundary=a", "Multipart/Byteranges; boundary=a"] {
            assert_eq!(judge(&[("content-type", kind), range]), Err(Code::BadRequest), "{kind}");
        }
        for name in ["range", "upload-offset", "upload-complete", "upload-length"] {
            assert_eq!(judge(&[(name, "bytes=0-9")]), Err(Code::BadRequest), "{name}");
            assert_eq!(judge(&[(name, "bytes=0-9"), range]), Ok(()), "{name}");
        }
        let post = head(&Method::POST, &[range]).headers;
        assert!(check_no_range(&Method::POST, &post).is_err());
        assert!(check_no_range(&Method::POST, &HeaderMap::new()).is_ok());
    }

    #[test]
    fn issue_13_text_is_utf_8() {
        let check = |text: &str, good: bool| {
            assert_eq!(check_charset(text).is_ok(), good, "{text}");
        };
        check("", true);
        check("application/json", true);
        check("application/json; charset=UTF-8", true);
        check("application/x-www-form-urlencoded;charset=\"utf-8\"", true);
        check("multipart/form-data; boundary=charset; charset=us-ascii", true);
        check("application/x-www-form-urlencoded; charset=iso-8859-1", false);
        check("application/json; Charset = utf-16", false);
    }
}
