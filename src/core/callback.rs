//! The URL that a finished file is handed over to. It is read once, where a ticket or a record comes in; the text stays
//! as it was given, since the backend is called at exactly that path.
//!
//! Not by the crate `url`: that one follows browsers, which rewrite paths (`/a/../b`), hosts (`0x7f.1`) and back
//! slashes, so the backend would be called elsewhere than its ticket says.

use super::host::{Destination, HostPort, HostPortError, bracketed};
use std::ops::Range;

/// A callback URL, as the ticket has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackUrl {
    text: String,
    parts: Result<Parts, CallbackUrlError>,
}

/// Why a text is not a callback URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackUrlError {
    /// A character that no URL has, or none after the `@`.
    #[error("not a URL")]
    Syntax,
    /// Not absolute, or of another scheme.
    #[error("expected an http or https URL")]
    Scheme,
    /// There is nothing where the host should be.
    #[error("there is no host")]
    NoHost,
    /// The host is not valid.
    #[error("the host is not valid")]
    Host,
    /// Readers differ in which of them ends the user name.
    #[error("it has two @ before its path")]
    TwoAts,
    /// Not between 1 and 65535.
    #[error("the port is not valid")]
    Port,
}

/// Where the parts of a URL lie in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    tls: bool,
    credentials: Option<Range<usize>>,
    /// An IPv6 address in brackets.
    host: Range<usize>,
    port: u16,
    /// Path and query; may be empty.
    path: Range<usize>,
}

/// Whom to call, and how. Has no `Debug`: it holds credentials.
pub struct CallbackTarget<'a> {
    url: &'a CallbackUrl,
    /// The call goes over TLS.
    pub tls: bool,
    /// User name and password as they stand in the URL, percent-encoded.
    pub credentials: Option<&'a str>,
    /// A name or an address; an IPv6 address without brackets.
    pub host: &'a str,
    /// Between 1 and 65535.
    pub port: u16,
}

impl CallbackUrl {
    /// Reads a URL that a handover can go to: absolute, http or https, with a host, in ASCII.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: String) -> Result<Self, CallbackUrlError> {
        let parts = parts(&text)?;
        Ok(Self { text, parts: Ok(parts) })
    }

    /// As the ticket has it: may hold credentials.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whom to call.
    ///
    /// # Errors
    /// Where a journal holds what is not a callback URL.
    pub fn target(&self) -> Result<CallbackTarget<'_>, CallbackUrlError> {
        let Parts { tls, credentials, host, port, .. } = self.parts.as_ref().map_err(|why| *why)?;
        Ok(CallbackTarget {
            url: self,
            tls: *tls,
            credentials: credentials.clone().map(|range| &self.text[range]),
            host: self.text[host.clone()].trim_start_matches('[').trim_end_matches(']'),
            port: *port,
        })
    }

    /// Host and port. All texts that are not a callback URL have one destination, whose calls fail before anything is
    /// sent.
    pub fn destination(&self) -> Destination {
        self.target().map_or_else(|_| Destination::none(), |to| Destination::of(to.host, to.port))
    }

    /// Whether this URL is a prefix of another: same scheme, host and port, and the path begins with this one's, up to a
    /// slash or its end. A path that a server could read as another one, by `..`, is only below `/`.
    pub fn covers(&self, other: &Self) -> bool {
        let (Ok(prefix), Ok(to)) = (self.target(), other.target()) else { return false };
        let (start, path) = (prefix.path(), to.path());
        let path = path.split_once('?').map_or(&*path, |(path, _)| path);
        let below = path
            .strip_prefix(&*start)
            .is_some_and(|rest| rest.is_empty() || start.ends_with('/') || rest.starts_with('/'));
        let plain = !path.contains("..") && !path.to_ascii_lowercase().contains("%2e");
        (prefix.tls, prefix.port) == (to.tls, to.port)
            && to.is_host(prefix.host)
            && below
            && (start == "/" || plain)
    }

    /// For logs and people: without credentials, query and fragment.
    pub fn shown(&self) -> String {
        let url = self.text.trim_ascii();
        let url = url.split_once(['?', '#']).map_or(url, |(front, _)| front);
        let (scheme, rest) =
            url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
        let authority = rest.split('/').next().unwrap_or_default();
        let shown = match authority.rsplit_once('@') {
            Some((credentials, _)) => &rest[credentials.len() + 1..],
            None => rest,
        };
        if scheme.is_empty() { shown.to_owned() } else { format!("{scheme}://{shown}") }
    }
}

impl CallbackTarget<'_> {
    /// For the `Host` header: the port only where it is not the scheme's own.
    pub fn authority(&self) -> String {
        let host = bracketed(self.host);
        let port = Some(self.port).filter(|port| *port != usual(self.tls));
        HostPort { host, port }.to_string()
    }

    /// Path and query of the request, beginning with a slash.
    pub fn path(&self) -> String {
        let path = self.url.parts.as_ref().map_or("", |parts| &self.url.text[parts.path.clone()]);
        if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
    }

    /// See [`CallbackUrl::shown`].
    pub fn shown(&self) -> String {
        self.url.shown()
    }

    /// Whether the host is this one, in any case, with or without a final dot or brackets.
    pub fn is_host(&self, name: &str) -> bool {
        fn bare(host: &str) -> &str {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.strip_suffix('.').unwrap_or(host)
        }
        bare(self.host).eq_ignore_ascii_case(bare(name))
    }
}

/// As a journal holds it: whatever it is, it stays.
impl<T: Into<String>> From<T> for CallbackUrl {
    fn from(text: T) -> Self {
        let text = text.into();
        Self { parts: parts(&text), text }
    }
}

fn parts(text: &str) -> Result<Parts, CallbackUrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(CallbackUrlError::Scheme)?;
    let tls = match scheme {
        _ if scheme.eq_ignore_ascii_case("http") => false,
        _ if scheme.eq_ignore_ascii_case("https") => true,
        _ => return Err(CallbackUrlError::Scheme),
    };
    let start = text.len() - rest.len();
    let authority_end = start + rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &text[start..authority_end];
    let path_end = text[authority_end..].find('#').map_or(text.len(), |at| authority_end + at);
    let tail = &text[authority_end..path_end];
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    if !path.bytes().all(in_path) || !query.bytes().all(in_query) {
        return Err(CallbackUrlError::Syntax);
    }
    let (credentials, place) = match authority.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, authority),
    };
    let credentials = match credentials {
        Some(credentials) if credentials.contains('@') => return Err(CallbackUrlError::TwoAts),
        Some(credentials) if !credentials.bytes().all(in_credentials) => {
            return Err(CallbackUrlError::Syntax);
        }
        Some(credentials) => Some(start..start + credentials.len()),
        None => None,
    };
    if place.is_empty() {
        return Err(CallbackUrlError::NoHost);
    }
    let HostPort { host, port } = HostPort::parse(place).map_err(|error| match error {
        HostPortError::Syntax => CallbackUrlError::Syntax,
        HostPortError::Host => CallbackUrlError::Host,
        HostPortError::Port => CallbackUrlError::Port,
    })?;
    if port == Some(0) || place.ends_with(':') {
        return Err(CallbackUrlError::Port);
    }
    let host_start = authority_end - place.len();
    Ok(Parts {
        tls,
        credentials,
        host: host_start..host_start + host.len(),
        port: port.unwrap_or_else(|| usual(tls)),
        path: authority_end..path_end,
    })
}

/// The scheme's own port.
fn usual(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn in_credentials(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%".contains(&byte)
}

/// What a request line may hold as it is. Source: RFC 3986, section 3.3, and what backends are called with besides.
fn in_path(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"<>`#?".contains(&byte)
}

/// Source: RFC 3986, section 3.4, as for paths.
fn in_query(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"<>\"#".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let check = |text: &str, host: &str, port: u16, authority: &str, path: &str| {
            let url = CallbackUrl::parse(text.to_owned()).unwrap();
            let to = url.target().unwrap();
            let found = (to.host, to.port, &*to.authority(), &*to.path());
            assert_eq!(found, (host, port, authority, path), "{text}");
            assert_eq!(url, CallbackUrl::from(text), "{text}");
        };
        check("http://app", "app", 80, "app", "/");
        let long = "https://App.example/done?x=1&y=%20#top";
        check(long, "App.example", 443, "App.example", "/done?x=1&y=%20");
        check("http://app:8080?x=1", "app", 8080, "app:8080", "/?x=1");
        check("http://app:80/", "app", 80, "app", "/");
        check("HTTP://[::1]:81/a", "::1", 81, "[::1]:81", "/a");
        check("http://me:pass@app:81/a", "app", 81, "app:81", "/a");
        check("http://app/a/../b;{x}?\\`{}", "app", 80, "app", "/a/../b;{x}?\\`{}");
    }

    #[test]
    fn what_is_no_url_has_no_target() {
        use CallbackUrlError::{Host, NoHost, Port, Scheme, Syntax, TwoAts};
        for (text, why) in [
            ("", Scheme),
            ("app", Scheme),
            ("/path", Scheme),
            ("ftp://app/", Scheme),
            (" http://app/", Scheme),
            ("http://", NoHost),
            ("http:///x", NoHost),
            ("http://me@/x", NoHost),
            ("http://app:0/", Port),
            ("http://app:/", Port),
            ("http://app:x/", Port),
            ("http://app:99999/", Port),
            ("http://a b/", Syntax),
            ("http://a/b c", Syntax),
            ("http://a/ü", Syntax),
            ("http://a/<", Syntax),
            ("http://a/?\"", Syntax),
            ("http://[x]@a/", Syntax),
            ("http://a%2eb/", Syntax),
            ("http://[::1]2:80/", Host),
            ("http://[::g]/", Host),
            ("http://a@b@c/", TwoAts),
        ] {
            assert_eq!(CallbackUrl::parse(text.to_owned()).unwrap_err(), why, "{text}");
            let kept = CallbackUrl::from(text);
            assert_eq!((kept.as_str(), kept.target().err()), (text, Some(why)));
            assert_eq!(kept.destination(), Destination::none());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let check = |text: &str, shown: &str| assert_eq!(CallbackUrl::from(text).shown(), shown);
        check("http://me:x@app/p@th?q", "http://app/p@th");
        check("ftp://me:secret@app/path?key=secret", "ftp://app/path");
        check("http://me:secret@app:0/#secret", "http://app:0/");
    }

    #[test]
    fn host_and_port_alone_make_a_destination() {
        let of = |text: &str| CallbackUrl::from(text).destination();
        let check = |text: &str, host: &str, port: u16| assert_eq!(of(text).parts(), (host, port));
        check("https://App.Example./done?x=1", "app.example", 443);
        check("http://[FD00::1]:81/a", "fd00::1", 81);
        check("HTTP://app:443/", "app", 443);
        assert_eq!(of("http://a:443/x"), of("https://A/y"));
    }

    #[test]
    fn a_prefix_ends_where_a_part_of_the_path_does() {
        let covers =
            |prefix: &str, url: &str| CallbackUrl::from(prefix).covers(&CallbackUrl::from(url));
        for (prefix, url) in [
            ("https://app", "https://app"),
            ("https://app/", "https://App.:443/a?b#c"),
            ("https://app", "https://me:x@app/../a"),
            ("https://app/a", "https://app/a"),
            ("https://app/a", "https://app/a?b=.."),
            ("https://app/a", "https://app/a/b"),
            ("https://app/a/", "https://app/a/b"),
        ] {
            assert!(covers(prefix, url), "{prefix} {url}");
        }
        for (prefix, url) in [
            ("https://app", "https://app.evil"),
            ("https://app", "https://app:444/"),
            ("https://app", "http://app:443/"),
            ("https://app", "https://app@evil/"),
            ("https://app/a", "https://app/ab"),
            ("https://app/a", "https://app/"),
            ("https://app/a/", "https://app/a"),
            ("https://app/a", "https://app/a/../b"),
            ("https://app/a", "https://app/a/%2E%2e/b"),
            ("https://app", "x"),
            ("x", "x"),
        ] {
            assert!(!covers(prefix, url), "{prefix} {url}");
        }
    }

    #[test]
    fn hosts_compare_as_dns_does() {
        let url = CallbackUrl::from("http://App.Example./");
        let to = url.target().unwrap();
        assert!(to.is_host("app.example") && to.is_host("APP.EXAMPLE."));
        assert!(!to.is_host("example") && !to.is_host("app.example.org"));
        assert!(CallbackUrl::from("http://[::1]/").target().unwrap().is_host("::1"));
    }
}
