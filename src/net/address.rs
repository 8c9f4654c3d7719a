//! Where a listener listens: a TCP address or a Unix socket.
//!
//! No name service is asked. `localhost` is the one name understood, since an address in a
//! configuration must mean the same thing at every start.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// The longest path a Unix socket may have on Linux, in bytes (`sun_path` without its final zero).
const SOCKET_PATH_BYTES: usize = 107;

/// The address of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A TCP socket; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix stream socket at this path.
    Unix(PathBuf),
}

impl Address {
    /// Whether only this machine can connect: a Unix socket, or TCP on a loopback address
    /// (also one written as an IPv4-mapped IPv6 address).
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether both claim one port of one machine address without being the same address, as
    /// `0.0.0.0:4000` and `127.0.0.1:4000` do. Binding the second one would fail.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => {
                one != two
                    && one.port() != 0
                    && one.port() == two.port()
                    && one.is_ipv4() == two.is_ipv4()
                    && (one.ip().is_unspecified() || two.ip().is_unspecified())
            }
            _ => false,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(tcp) => tcp.fmt(out),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path.len() {
                0 => Err(AddressError::NoPath),
                1..=SOCKET_PATH_BYTES => Ok(Self::Unix(PathBuf::from(path))),
                _ => Err(AddressError::PathTooLong),
            };
        }
        if let Ok(tcp) = text.parse() {
            return Ok(Self::Tcp(tcp));
        }
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::Malformed)?;
        let ip = match host {
            "" => Ipv4Addr::UNSPECIFIED,
            "localhost" => Ipv4Addr::LOCALHOST,
            _ => return Err(AddressError::Malformed),
        };
        let port = port.parse().map_err(|_| AddressError::Malformed)?;
        Ok(Self::Tcp(SocketAddr::new(IpAddr::V4(ip), port)))
    }
}

/// Why a text is no [`Address`]; its text says what would be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither a TCP address nor `unix:`.
    #[error("must be IP:PORT, [IPV6]:PORT, localhost:PORT, :PORT or unix:/path/to.sock")]
    Malformed,
    /// `unix:` and nothing behind it.
    #[error("needs a path behind unix:, as in unix:/path/to.sock")]
    NoPath,
    /// A socket path that the system cannot bind.
    #[error("must have a socket path of at most {SOCKET_PATH_BYTES} bytes")]
    PathTooLong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_shows() {
        fn check(text: &str, shown: Result<&str, AddressError>) {
            let read = text.parse::<Address>().map(|address| address.to_string());
            assert_eq!(read, shown.map(str::to_owned), "{text}");
        }
        check("0.0.0.0:4000", Ok("0.0.0.0:4000"));
        check("[::]:4000", Ok("[::]:4000"));
        check("127.0.0.1:0", Ok("127.0.0.1:0"));
        check(":4000", Ok("0.0.0.0:4000"));
        check("localhost:4001", Ok("127.0.0.1:4001"));
        check("unix:/run/incoming.sock", Ok("unix:/run/incoming.sock"));
        check("unix:", Err(AddressError::NoPath));
        check(&format!("unix:/{}", "x".repeat(107)), Err(AddressError::PathTooLong));
        for wrong in ["", "4000", "example.org:80", "1.2.3.4", ":", ":70000", "::1", "http://a:1"] {
            check(wrong, Err(AddressError::Malformed));
        }
    }

    #[test]
    fn knows_what_is_local() {
        fn check(text: &str, local: bool) {
            assert_eq!(text.parse::<Address>().unwrap().is_local(), local, "{text}");
        }
        check("127.0.0.1:1", true);
        check("127.8.8.8:1", true);
        check("[::1]:1", true);
        check("[::ffff:127.0.0.1]:1", true);
        check("unix:/x", true);
        check("0.0.0.0:1", false);
        check("[::]:1", false);
        check("10.0.0.1:1", false);
        check("[::ffff:10.0.0.1]:1", false);
    }

    #[test]
    fn sees_collisions() {
        fn check(one: &str, two: &str, collide: bool) {
            let (one, two): (Address, Address) = (one.parse().unwrap(), two.parse().unwrap());
            assert_eq!(one.collides(&two), collide, "{one} {two}");
            assert_eq!(two.collides(&one), collide, "{two} {one}");
        }
        check("0.0.0.0:1", "127.0.0.1:1", true);
        check("[::]:1", "[::1]:1", true);
        check("0.0.0.0:1", "0.0.0.0:1", false);
        check("0.0.0.0:1", "127.0.0.1:2", false);
        check("0.0.0.0:0", "127.0.0.1:0", false);
        check("10.0.0.1:1", "127.0.0.1:1", false);
        check("unix:/a", "127.0.0.1:1", false);
    }
}
