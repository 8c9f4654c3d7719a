//! Where a server listens, and how to get there.

use std::net::IpAddr;
use std::path::PathBuf;

use hyper::Uri;

use crate::config::Address;
use crate::core::host::{HostPort, HostPortError, bracketed};

/// What is wrong with the address of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidEndpoint {
    /// It cannot be read as a URL.
    #[error("is not a URL: it must begin with http:// or https://")]
    NotUrl,
    /// Another scheme.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// `user@host`.
    #[error("must not contain a user name")]
    UserName,
    /// No host.
    #[error("has no host")]
    NoHost,
    /// The host or the port.
    #[error("is not valid: {0}")]
    HostPort(#[from] HostPortError),
    /// Neither an origin nor a listener's address.
    #[error("must be http://host:port, https://host:port or unix:/path/to.sock")]
    NotListener,
}

/// A listener: TCP or unix, with TLS or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) tls: bool,
    pub(crate) transport: Transport,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A host (name or address, without brackets) and its port.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Endpoint {
    /// From `http(s)://host[:port]`, with the path and query behind it.
    pub(crate) fn of_url(text: &str) -> Result<(Self, String), InvalidEndpoint> {
        let uri: Uri = text.parse().map_err(|_| InvalidEndpoint::NotUrl)?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(InvalidEndpoint::Scheme),
        };
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            return Err(InvalidEndpoint::UserName);
        }
        if authority.is_empty() {
            return Err(InvalidEndpoint::NoHost);
        }
        let HostPort { host, port } = HostPort::parse(authority)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok((Self { tls, transport: Transport::Tcp { host, port } }, path))
    }

    /// From an origin, or from a listener's address as in the settings.
    pub(crate) fn of_listener(text: &str) -> Result<Self, InvalidEndpoint> {
        if let Ok(address) = text.parse::<Address>() {
            return Ok(Self::at(&address, false));
        }
        match Self::of_url(text) {
            Ok((endpoint, path)) if path == "/" => Ok(endpoint),
            _ => Err(InvalidEndpoint::NotListener),
        }
    }

    pub(crate) fn at(address: &Address, tls: bool) -> Self {
        let transport = match address {
            Address::Unix(path) => Transport::Unix(path.clone()),
            Address::Tcp(tcp) => {
                // A listener on all addresses is reached over loopback.
                let host = match tcp.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".into(),
                    IpAddr::V6(ip) if ip.is_unspecified() => "::1".into(),
                    ip => ip.to_string(),
                };
                Transport::Tcp { host, port: tcp.port() }
            }
        };
        Self { tls, transport }
    }

    /// The `Host` header.
    pub(crate) fn authority(&self) -> String {
        match &self.transport {
            Transport::Unix(_) => "localhost".into(),
            Transport::Tcp { host, port } => format!("{}:{port}", bracketed(host)),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.transport {
            Transport::Unix(path) => write!(out, "unix:{}", path.display()),
            Transport::Tcp { .. } => {
                write!(out, "http{}://{}", if self.tls { "s" } else { "" }, self.authority())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let read = Endpoint::of_url(text).map(|(endpoint, path)| (endpoint.to_string(), path));
            let expected = expected.map(|(endpoint, path)| (endpoint.to_owned(), path.to_owned()));
            assert_eq!(read.ok(), expected, "{text}");
        };
        check("https://a/incoming/x?y", Some(("https://a:443", "/incoming/x?y")));
        check("http://[::1]:4000/u", Some(("http://[::1]:4000", "/u")));
        check("http://a", Some(("http://a:80", "/")));
        for wrong in [
            "",
            "a",
            "/u",
            "ftp://a/u",
            "http:///u",
            "http://u:p@a/",
            "http://a b/",
            "http://a:70000/",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn listeners() {
        let check = |text: &str, expected: Option<&str>| {
            let read = Endpoint::of_listener(text);
            assert_eq!(read.as_ref().ok().map(ToString::to_string).as_deref(), expected, "{text}");
        };
        check("http://b:4001", Some("http://b:4001"));
        check("https://b/", Some("https://b:443"));
        check("unix:/b.sock", Some("unix:/b.sock"));
        check(":4001", Some("http://127.0.0.1:4001"));
        check("http://[::1]:4001", Some("http://[::1]:4001"));
        for wrong in ["", "ftp://a", "http://", "http://a?b", "http://u:p@a"] {
            check(wrong, None);
        }
        check("http://b/c", None);
        check("b", None);
    }
}
