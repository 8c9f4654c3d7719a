//! The server that a callback URL leads to: its host and port, whatever the scheme, path and credentials.

use std::sync::Arc;

/// Host and port of a callback URL. Calls to one destination share what one destination may take, so
/// that a destination that does not answer delays no other one.
///
/// Names are compared as DNS does. Two spellings of one address are two destinations, as two names of
/// one address are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    host: Arc<str>,
    port: u16,
}

impl Destination {
    /// The destination of an absolute URL. All texts that are not an http or https URL have one destination,
    /// whose calls fail before anything is sent.
    pub fn of(url: &str) -> Self {
        Self::parse(url.trim_ascii()).unwrap_or_else(|| Self { host: "".into(), port: 0 })
    }

    fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let default_port = match scheme.to_ascii_lowercase().as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
        // The colons of an IPv6 address stand in brackets.
        let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => place.split_once(':').unwrap_or((place, "")),
        };
        let port = if port.is_empty() { default_port } else { port.parse().ok()? };
        let host = host.strip_suffix('.').unwrap_or(host);
        (!host.is_empty()).then(|| Self { host: host.to_ascii_lowercase().into(), port })
    }

    /// Host and port; an IPv6 address without brackets.
    pub fn parts(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_alone_make_a_destination() {
        let check = |url: &str, host: &str, port: u16| {
            assert_eq!(Destination::of(url).parts(), (host, port), "{url}");
        };
        check("http://app", "app", 80);
        check("https://App.Example./done?x=1", "app.example", 443);
        check("HTTP://app:443/", "app", 443);
        check(" http://me:p@ss@app:8080?x=/@b ", "app", 8080);
        check("http://app:/", "app", 80);
        check("http://[FD00::1]:81/a", "fd00::1", 81);
        check("https://[::1]", "::1", 443);
        for none in ["", "app", "ftp://app/", "http://", "http://app:x/", "http://app:99999/"] {
            check(none, "", 0);
        }
        assert_eq!(Destination::of("http://a:443/x"), Destination::of("https://A/y"));
    }
}
