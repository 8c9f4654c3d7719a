//! Where the backend listener of a running server is.
//!
//! Absent: TLS. An operator on the server's machine has loopback or a Unix socket; a backend
//! listener with TLS needs a client certificate or a CA here, for which there are no flags yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use hyper::Uri;

use crate::config::{Address, Settings};

/// A place to connect to, and the name to call it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A host (name or address, without brackets) and its port.
    Tcp { host: String, port: u16 },
    /// A Unix socket.
    Unix(PathBuf),
}

impl Target {
    /// From `--backend`: `http://host[:port]`, or a listener's address as in the settings.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const RIGHT: &str = "must be http://host:port or unix:/path/to.sock";
        let wrong = || format!("--backend = {text:?}: {RIGHT}");
        if let Ok(address) = text.parse() {
            return Self::at(&address);
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(format!(
                    "--backend = {text:?}: TLS is not spoken here; {RIGHT}, on the server's machine"
                ));
            }
            _ => return Err(wrong()),
        }
        let credentials = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        if credentials || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong());
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self::Tcp { host, port: uri.port_u16().unwrap_or(80) })
    }

    /// The backend listener of a server with these settings on this machine.
    pub(super) fn of(settings: &Settings) -> Result<Self, String> {
        if settings.backend_surface_tls().is_some() {
            return Err(format!(
                "the backend listener {} speaks TLS, which is not spoken here: use curl, or give \
                 the server a backend_listen on a unix socket",
                settings.backend_listen
            ));
        }
        Self::at(&settings.backend_listen)
    }

    fn at(address: &Address) -> Result<Self, String> {
        let tcp = match address {
            Address::Unix(path) => return Ok(Self::Unix(path.clone())),
            Address::Tcp(tcp) if tcp.port() == 0 => {
                return Err(format!("the port of {tcp} is not known: name it with --backend"));
            }
            Address::Tcp(tcp) => tcp,
        };
        // A listener on all addresses is reached over loopback.
        let ip = match tcp.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Ok(Self::Tcp { host: ip.to_string(), port: tcp.port() })
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".into(),
            Self::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => SocketAddr::new(ip, *port).to_string(),
                Err(_) => format!("{host}:{port}"),
            },
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Tcp { .. } => write!(out, "http://{}", self.authority()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsFiles;

    #[test]
    fn reads_addresses() {
        fn check(text: &str, expected: Option<&str>) {
            let shown = Target::parse(text).map(|target| target.to_string());
            assert_eq!(shown.as_deref().ok(), expected, "{shown:?}");
        }
        check("http://localhost:4001", Some("http://localhost:4001"));
        check("http://backend.example/", Some("http://backend.example:80"));
        check("http://[::1]:4001", Some("http://[::1]:4001"));
        check("unix:/run/b.sock", Some("unix:/run/b.sock"));
        check("127.0.0.1:4001", Some("http://127.0.0.1:4001"));
        check(":4001", Some("http://127.0.0.1:4001"));
        for wrong in [
            "",
            "https://a:1",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u:p@a",
            "a",
            "127.0.0.1:0",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn follows_the_settings() {
        fn check(listen: &str, expected: &str) {
            let backend_listen = listen.parse().unwrap();
            let settings = Settings { backend_listen, ..Settings::default() };
            assert_eq!(Target::of(&settings).unwrap().to_string(), expected);
        }
        check("127.0.0.1:4001", "http://127.0.0.1:4001");
        check("0.0.0.0:4001", "http://127.0.0.1:4001");
        check("[::]:4001", "http://[::1]:4001");
        check("10.0.0.1:4001", "http://10.0.0.1:4001");
        check("unix:/b", "unix:/b");
        let tls = Some(TlsFiles { cert: "c".into(), key: "k".into() });
        let settings = Settings { backend_tls: tls, ..Settings::default() };
        assert!(Target::of(&settings).unwrap_err().contains("speaks TLS"));
    }
}
