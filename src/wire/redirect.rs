//! Plain HTTP that sends everybody to the same path on https and serves nothing else.
//!
//! The host in the answer is the settings' own, or the one the request named, once it was found to be the
//! name of a host and nothing more: nothing else that a client says decides where a client goes. The answer is
//! 308, so that an upload stays an upload, and is not to be kept: what makes browsers stay on https is
//! HSTS, which the operator asks for by its name.

use super::Answer;
use super::head::{self, host_port};
use super::problem::Problem;
use super::reply::{moved, shown};
use crate::net::RequestBody;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;

/// Where the https listener is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The host to name; none: the one that the request names.
    pub host: Option<Arc<str>>,
    /// The port of https.
    pub port: u16,
}

impl Redirect {
    fn answer(&self, head: &Parts) -> Answer {
        let mut answer = match self.location(head) {
            Ok(location) => moved(location),
            Err(problem) => problem.into_text(),
        };
        // Nobody has anything else to ask for here.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        answer
    }

    /// The same place on https.
    fn location(&self, head: &Parts) -> Result<HeaderValue, Problem> {
        let path = head.uri.path_and_query().map_or("", |path| path.as_str());
        if head.method == Method::CONNECT || !path.starts_with('/') {
            return Err(Problem::bad_request(format!("target {}: no path", shown(path))));
        }
        let host = match &self.host {
            Some(host) => host,
            None => {
                head::check(head)?;
                named(head)?
            }
        };
        let port = if self.port == 443 { String::new() } else { format!(":{}", self.port) };
        HeaderValue::try_from(format!("https://{host}{port}{path}"))
            .map_err(|_| Problem::bad_request(format!("target {}: no path", shown(path))))
    }
}

/// The host that a request names, without its port: letters, digits, `-`, `_` and dots, or an IPv6 address in
/// brackets. A target with a host has the last word. Source: RFC 9112, section 3.2.2.
fn named(head: &Parts) -> Result<&str, Problem> {
    let header = || head.headers.get("host").and_then(|host| host.to_str().ok());
    let text = head.uri.authority().map(|authority| authority.as_str()).or_else(header);
    let text = text.ok_or_else(|| Problem::bad_request("header Host is missing"))?;
    let host = host_port("host", text)?.host;
    let part = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let good = host.starts_with('[')
        || host.len() <= MOST_NAME
            && host.bytes().all(part)
            && host.bytes().any(|b| b.is_ascii_alphanumeric());
    if good { Ok(host) } else { Err(Problem::bad_request(format!("invalid host {}", shown(text)))) }
}

impl hyper::service::Service<Request<RequestBody>> for Redirect {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        // The body is not looked at: an answer that comes before its end is read over by the connection.
        let (head, _) = request.into_parts();
        ready(Ok(self.answer(&head)))
    }
}

/// The longest name of a host, in bytes. Source: RFC 1035, section 2.3.4.
const MOST_NAME: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Version;

    fn told(
        redirect: &Redirect,
        ask: (&str, Version, &str),
        hosts: &[&str],
    ) -> Result<String, u16> {
        let (method, version, uri) = ask;
        let mut request = Request::builder().method(method).version(version).uri(uri);
        for host in hosts {
            request = request.header("Host", *host);
        }
        let answer = redirect.answer(&request.body(()).unwrap().into_parts().0);
        assert_eq!(answer.headers()["connection"], "close");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        match answer.status().as_u16() {
            308 => Ok(answer.headers()["location"].to_str().unwrap().to_owned()),
            other => Err(other),
        }
    }

    #[test]
    fn the_same_place_on_https() {
        let open = Redirect { host: None, port: 443 };
        let check = |uri: &str, host: &str, expected: &str| {
            for method in ["GET", "HEAD", "PUT", "OPTIONS"] {
                let told = told(&open, (method, Version::HTTP_11, uri), &[host]);
                assert_eq!(told.as_deref(), Ok(expected), "{method} {uri} {host}");
            }
        };
        check("/", "a.example", "https://a.example/");
        check("/x/y?z=1&w", "a.example:80", "https://a.example/x/y?z=1&w");
        check("/x", "A.example:8080", "https://A.example/x");
        check("/x", "[2001:db8::1]:80", "https://[2001:db8::1]/x");
        check("/x", "10.0.0.1", "https://10.0.0.1/x");
        check("//evil.example/x", "a.example", "https://a.example//evil.example/x");
        check("/%0d%0aX:%20y", "a.example", "https://a.example/%0d%0aX:%20y");
        check("http://b.example:80/x", "a.example", "https://b.example/x");
        let elsewhere = Redirect { host: None, port: 8443 };
        let told = told(&elsewhere, ("GET", Version::HTTP_11, "/x"), &["a.example:8080"]);
        assert_eq!(told.as_deref(), Ok("https://a.example:8443/x"));
    }

    #[test]
    fn what_is_no_host_is_not_repeated() {
        let open = Redirect { host: None, port: 443 };
        let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
        let check = |version, uri: &str, hosts: &[&str]| {
            assert_eq!(told(&open, ("GET", version, uri), hosts), Err(400), "{uri} {hosts:?}");
        };
        check(v11, "/", &[]);
        check(v10, "/", &[]);
        check(v11, "/", &["a.example", "b.example"]);
        let long = format!("{}.example", "a".repeat(250));
        let bad = [
            "",
            ":80",
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "a\\b",
            "user@a",
            "a@evil.example",
            "a,b",
            "a:b",
            "a:80:80",
            "a:99999",
            "[::1",
            "[evil]",
            "[::1]x",
            "..",
            "a%2fb",
            "a;b",
            "a\"b",
            "<a>",
            &long,
        ];
        for host in bad {
            check(v11, "/", &[host]);
        }
        check(v11, "http://user@a/", &["a"]);
        check(v11, "*", &["a"]);
        assert_eq!(told(&open, ("CONNECT", v11, "a.example:443"), &["a.example"]), Err(400));
    }

    #[test]
    fn a_host_of_the_settings_is_the_only_one() {
        let own = Redirect { host: Some("own.example".into()), port: 8443 };
        let check = |hosts: &[&str]| {
            let told = told(&own, ("GET", Version::HTTP_11, "/x?y"), hosts);
            assert_eq!(told.as_deref(), Ok("https://own.example:8443/x?y"), "{hosts:?}");
        };
        check(&["evil.example"]);
        check(&["own.example:80"]);
        check(&["no host"]);
        check(&[]);
    }
}
