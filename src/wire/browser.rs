//! Keeps web pages out of the backend surface. A browser on this machine, or in its network, sends requests for
//! every page that it shows: a page of any site may post a form or load an image, whatever the origin.
//!
//! Two checks, since neither sees everything. Browsers name the page in `Sec-Fetch-Site` and `Origin`; programs send
//! neither. A page whose own host name was pointed at this server (DNS rebinding) is of the same origin, and such a
//! request is known by its `Host` alone.
//!
//! Absent: `Sec-Fetch-Mode`, which the `fetch` of Node sends from every backend.

use super::head::{self, host_port};
use super::problem::{Code, Problem};
use super::reply::shown;
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use std::net::{IpAddr, Ipv6Addr};

/// The names in `Host` that mean this server.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// As the operator has them, in lower case and without a final dot.
    pub named: Vec<String>,
    /// The machine's own host name, in lower case.
    pub machine: String,
}

impl Hosts {
    /// Checks the host that a request names, if it names one: HTTP/1.0 need not, and no browser speaks that.
    pub(super) fn check(&self, head: &Parts) -> Result<(), Problem> {
        for text in head::named(head) {
            let host = host_port("header Host", text)?.host;
            if !self.has(host) {
                return Err(Problem::new(
                    Code::Forbidden,
                    format!(
                        "header Host {}: not a known name of this server; call it by address or as \
                         localhost, add the name to backend_hosts, or set backend_token",
                        shown(text)
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Whether a host, IPv6 in brackets, is an address or a name of this server. Nobody else can point an address
    /// elsewhere, nor `localhost`, nor what the machine calls itself.
    fn has(&self, host: &str) -> bool {
        let address = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
            None => host.parse::<IpAddr>().is_ok(),
        };
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let short = self.machine.split('.').next().unwrap_or_default();
        address
            || name == "localhost"
            || name.ends_with(".localhost")
            || !name.is_empty() && (name == self.machine || name == short)
            || self.named.contains(&name)
    }
}

/// Refuses what a browser says it sends for a page of another origin.
pub(super) fn check_page(head: &Parts) -> Result<(), Problem> {
    let read = matches!(head.method, Method::GET | Method::HEAD);
    for value in head.headers.get_all(SEC_FETCH_SITE) {
        match value.as_bytes() {
            b"same-origin" => {}
            // Typed into the address bar.
            b"none" if read => {}
            other => return Err(refused("Sec-Fetch-Site", other)),
        }
    }
    for value in head.headers.get_all(ORIGIN) {
        let same = value.to_str().is_ok_and(|origin| is_own(head, origin));
        if !same {
            return Err(refused("Origin", value.as_bytes()));
        }
    }
    Ok(())
}

fn refused(name: &str, value: &[u8]) -> Problem {
    let value = String::from_utf8_lossy(value);
    Problem::new(
        Code::Forbidden,
        format!(
            "header {name} {}: a web page of another origin may not call the backend API; a web app \
             that calls it must not copy the headers Origin and Sec-Fetch-* of its visitor",
            shown(&value)
        ),
    )
}

/// Whether an origin is the host and port that the request is for. Not the scheme: TLS may end before us.
fn is_own(head: &Parts, origin: &str) -> bool {
    let Some((scheme, rest)) = origin.split_once("://") else { return false };
    let usual = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return false,
    };
    let Ok(page) = host_port("header Origin", rest) else { return false };
    let mut hosts = head::named(head).map(|text| host_port("header Host", text)).peekable();
    hosts.peek().is_some() && hosts.all(|host| host.is_ok_and(|host| host.same(&page, usual)))
}

/// A header that no program sends to a server that it calls directly.
pub(super) fn sign_of_proxy(headers: &HeaderMap) -> Option<&HeaderName> {
    headers.keys().find(|name| {
        let name = name.as_str();
        SIGNS.contains(&name) || ["x-forwarded", "sec-ch-"].iter().any(|it| name.starts_with(it))
    })
}

const SEC_FETCH_SITE: &str = "sec-fetch-site";
/// What proxies add, and what browsers send; without the families that are known by how they begin.
const SIGNS: [&str; 11] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "origin",
    SEC_FETCH_SITE,
    "sec-fetch-dest",
    "sec-fetch-user",
    "upgrade-insecure-requests",
];

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn issue_13_names_of_this_server() {
        let hosts = Hosts { named: vec!["app.internal".into()], machine: "m1.example.org".into() };
        let check = |uri: &str, host: &[&str], expected: bool| {
            let headers: Vec<_> = host.iter().map(|host| ("host", *host)).collect();
            let checked = hosts.check(&head("GET", uri, &headers));
            assert_eq!(checked.is_ok(), expected, "{uri} {host:?}");
        };
        for good in [
            "127.0.0.1",
            "127.0.0.1:4001",
            "192.0.2.7:80",
            "[::1]:4001",
            "[2001:db8::1]",
            "localhost",
            "LocalHost:4001",
            "localhost.:4001",
            "app.localhost",
            "m1",
            "M1.example.org:4001",
            "app.internal:1",
            "App.Internal.",
        ] {
            check("/", &[good], true);
        }
        for bad in [
            "evil.example:4001",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "m1.evil.example",
            "example.org",
            "x.app.internal",
            "2130706433",
            "0x7f000001",
            "127.1",
            ".",
        ] {
            check("/", &[bad], false);
        }
        check("/", &[], true);
        check("http://evil.example/", &["localhost"], false);
        check("http://localhost/", &["evil.example"], false);
        check("https://localhost:4001/", &[], true);
        // A machine without a name has none.
        assert!(Hosts::default().check(&head("GET", "/", &[("host", "m1")])).is_err());
        let refused = hosts.check(&head("GET", "/", &[("host", "evil.example")])).unwrap_err();
        assert!(format!("{refused:?}").contains("backend_hosts"), "{refused:?}");
    }

    #[test]
    fn issue_13_pages_of_other_origins() {
        let check = |method: &str, host: &str, headers: &[(&str, &str)], expected: bool| {
            let mut all = headers.to_vec();
            if !host.is_empty() {
                all.push(("host", host));
            }
            let checked = check_page(&head(method, "/", &all));
            assert_eq!(checked.is_ok(), expected, "{method} {host} {headers:?}");
        };
        for method in ["GET", "POST"] {
            check(method, "localhost:4001", &[], true);
            check(method, "localhost:4001", &[("sec-fetch-mode", "cors")], true);
            check(method, "localhost:4001", &[("sec-fetch-site", "same-origin")], true);
            for site in ["cross-site", "same-site", "", "Same-Origin", "nonsense"] {
                check(method, "localhost:4001", &[("sec-fetch-site", site)], false);
            }
            let twice = [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")];
            check(method, "localhost:4001", &twice, false);
            for (host, origin, expected) in [
                ("localhost:4001", "http://localhost:4001", true),
                ("LOCALHOST:4001", "https://localhost:4001", true),
                ("a.example", "https://a.example", true),
                ("a.example:443", "https://a.example", true),
                ("a.example", "http://a.example:80", true),
                ("[::1]:4001", "http://[::1]:4001", true),
                ("a.example:80", "https://a.example", false),
                ("localhost:4001", "http://localhost:4002", false),
                ("localhost:4001", "http://localhost", false),
                ("localhost:4001", "http://evil.example", false),
                ("localhost:4001", "http://evil.example:4001", false),
                ("localhost:4001", "null", false),
                ("localhost:4001", "", false),
                ("localhost:4001", "localhost:4001", false),
                ("localhost:4001", "file://localhost:4001", false),
                ("localhost:4001", "http://localhost:4001/", false),
                ("localhost:4001", "http://user@localhost:4001", false),
                ("", "http://localhost", false),
            ] {
                check(method, host, &[("origin", origin)], expected);
            }
            let twice = [("origin", "http://a"), ("origin", "http://evil.example")];
            check(method, "a", &twice, false);
        }
        check("GET", "localhost", &[("sec-fetch-site", "none")], true);
        check("HEAD", "localhost", &[("sec-fetch-site", "none")], true);
        check("POST", "localhost", &[("sec-fetch-site", "none")], false);
        let refused = check_page(&head("POST", "/", &[("origin", "null"), ("host", "a")]));
        let refused = format!("{:?}", refused.unwrap_err());
        assert!(refused.contains("must not copy") && refused.contains("Origin"), "{refused}");
    }
}
