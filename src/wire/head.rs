//! What every request's head must be, whatever it asks for: one Host that can be one, and a body in
//! no coding but the chunked one.
//!
//! hyper judges what it needs to find the end of a request; this is what it lets through. Absent:
//! `Content-Length` beside `Transfer-Encoding`. hyper drops the former before anybody sees it and
//! closes the connection after the request, so that nothing can hide behind it.

use super::header::once;
use super::problem::Problem;
use super::reply::shown;
use crate::core::host::HostPort;
use hyper::Version;
use hyper::header::{HOST, HeaderMap, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;

/// Checks Host and the body's coding.
pub(super) fn check(head: &Parts) -> Result<(), Problem> {
    check_host(head)?;
    check_coding(&head.headers)
}

/// The chunked coding once, or none: any other one would be stored as if it were the file.
/// Source: RFC 9112, section 6.1.
fn check_coding(headers: &HeaderMap) -> Result<(), Problem> {
    let lines: Vec<_> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    if lines.is_empty() {
        return Ok(());
    }
    if let [line] = lines[..]
        && line.as_bytes().eq_ignore_ascii_case(b"chunked")
    {
        return Ok(());
    }
    let lines: Vec<_> = lines.iter().map(|l| String::from_utf8_lossy(l.as_bytes())).collect();
    let value = shown(&lines.join(", "));
    Err(Problem::bad_request(format!("header Transfer-Encoding {value}: only chunked, and once")))
}

/// HTTP/1.1 demands exactly one Host, HTTP/2 `:authority` or Host, and no difference between them.
/// Sources: RFC 9112, section 3.2; RFC 9113, section 8.3.1.
fn check_host(head: &Parts) -> Result<(), Problem> {
    let host = once(&head.headers, "Host")?;
    let hosted = host.map(|text| host_port("header Host", text)).transpose()?;
    let named = head.uri.authority().map(Authority::as_str);
    let named = named.map(|text| host_port("the authority", text)).transpose()?;
    let http2 = head.version >= Version::HTTP_2;
    match (host, hosted, named) {
        (None, _, _) if head.version == Version::HTTP_11 => {
            Err(Problem::bad_request("header Host is missing"))
        }
        (None, _, None) if http2 => {
            Err(Problem::bad_request(":authority is missing, and header Host too"))
        }
        // On HTTP/1.1 a target that names a host has the last word.
        (Some(text), Some(hosted), Some(named)) if http2 => {
            let usual = if head.uri.scheme_str() == Some("http") { 80 } else { 443 };
            if hosted.same(&named, usual) {
                return Ok(());
            }
            let authority = shown(head.uri.authority().map_or("", Authority::as_str));
            let text = shown(text);
            Err(Problem::bad_request(format!("header Host {text} is not :authority {authority}")))
        }
        (_, _, _) => Ok(()),
    }
}

/// The names that a request has for this server: of its target, where that has one, and `Host`.
pub(super) fn named(head: &Parts) -> impl Iterator<Item = &str> {
    let hosts = head.headers.get_all(HOST).iter().filter_map(|value| value.to_str().ok());
    head.uri.authority().map(Authority::as_str).into_iter().chain(hosts)
}

/// The host and port that this text is; `what` names it in an error.
pub(super) fn host_port<'a>(what: &str, text: &'a str) -> Result<HostPort<&'a str>, Problem> {
    HostPort::parse(text)
        .map_err(|error| Problem::bad_request(format!("{what} {}: {error}", shown(text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use hyper::header::HeaderValue;

    fn judge(version: Version, uri: &str, hosts: &[&'static str]) -> Result<(), String> {
        let mut request = Request::builder().version(version).uri(uri).body(()).unwrap();
        for host in hosts {
            request.headers_mut().append(HOST, HeaderValue::from_static(host));
        }
        check(&request.into_parts().0).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn hosts() {
        let good = |version, uri, hosts: &[&'static str]| {
            assert_eq!(judge(version, uri, hosts), Ok(()), "{version:?} {uri} {hosts:?}");
        };
        let bad = |version, uri, hosts: &[&'static str]| {
            assert!(judge(version, uri, hosts).is_err(), "{version:?} {uri} {hosts:?}");
        };
        let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        good(v10, "/", &[]);
        good(v10, "/", &["a"]);
        bad(v10, "/", &["a", "a"]);
        bad(v10, "/", &["a b"]);
        good(v11, "/", &["a"]);
        bad(v11, "/", &[]);
        bad(v11, "http://a/", &[]);
        good(v11, "http://a/", &["b"]);
        bad(v11, "http://user@a/", &["a"]);
        good(v2, "https://a/", &[]);
        good(v2, "/", &["a"]);
        bad(v2, "/", &[]);
        good(v2, "https://a/", &["A:443"]);
        good(v2, "https://a:/", &["a"]);
        good(v2, "https://[::1]:80/", &["[::1]:80"]);
        bad(v2, "https://a/", &["b"]);
        bad(v2, "https://a/", &["a:80"]);
        bad(v2, "https://a/", &["a", "a"]);
        bad(v2, "https://user@a/", &[]);
        bad(v2, "https://a:99999/", &[]);
    }

    #[test]
    fn codings() {
        let check = |lines: &[&'static str], expected: bool| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_static(line));
            }
            assert_eq!(check_coding(&headers).is_ok(), expected, "{lines:?}");
        };
        check(&[], true);
        check(&["chunked"], true);
        check(&["CHUNKED"], true);
        check(&[""], false);
        check(&["gzip"], false);
        check(&["gzip, chunked"], false);
        check(&["chunked, chunked"], false);
        check(&["chunked", "chunked"], false);
        check(&["chunked;a=1"], false);
    }
}
