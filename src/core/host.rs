//! Host and port as URLs, `Host` headers and settings write them: the only reader of authorities. And the server that
//! they lead to.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A host and the port that is written with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort<H = String> {
    /// A name or an address; an IPv6 address in brackets.
    pub host: H,
    /// The port, where one is written.
    pub port: Option<u16>,
}

/// Why a text is not a host with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    /// Something else stands in it, such as a user name or a path.
    #[error("expected HOST or HOST:PORT")]
    Syntax,
    /// The host is empty, or its brackets hold no IPv6 address.
    #[error("the host is not valid")]
    Host,
    /// The port is not a decimal number up to 65535.
    #[error("the port is not a number up to 65535")]
    Port,
}

impl<'a> HostPort<&'a str> {
    /// Reads `HOST`, `HOST:PORT` or `HOST:`, without a user name. Source: RFC 3986, section 3.2; except the comma,
    /// by which proxies join two lines of a header.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn parse(text: &'a str) -> Result<Self, HostPortError> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+;=:[]".contains(c);
        if !text.chars().all(known) {
            return Err(HostPortError::Syntax);
        }
        let host_end = match text.strip_prefix('[') {
            // The colons of an IPv6 address stand in brackets.
            Some(rest) => rest.find(']').ok_or(HostPortError::Host)? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at(host_end);
        let valid = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<::core::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains(['[', ']']),
        };
        let port = match rest.strip_prefix(':') {
            _ if !valid => return Err(HostPortError::Host),
            None if rest.is_empty() => None,
            None => return Err(HostPortError::Host),
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| HostPortError::Port)?)
            }
            Some(_) => return Err(HostPortError::Port),
        };
        Ok(Self { host, port })
    }
}

impl<H: AsRef<str>> HostPort<H> {
    /// Whether both are the same, where the scheme's own port is this one.
    pub fn same<O: AsRef<str>>(&self, other: &HostPort<O>, usual: u16) -> bool {
        self.host.as_ref().eq_ignore_ascii_case(other.host.as_ref())
            && self.port.unwrap_or(usual) == other.port.unwrap_or(usual)
    }

    /// Whether the host is an IPv6 address or a DNS name ([`is_dns_name`]).
    pub fn is_dns_or_ipv6(&self) -> bool {
        let host = self.host.as_ref();
        host.starts_with('[') || is_dns_name(host)
    }
}

impl<H: AsRef<str>> fmt::Display for HostPort<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.host.as_ref())?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// A host as it stands before a port: an IPv6 address in brackets. Source: RFC 3986, section 3.2.2.
pub fn bracketed(host: &str) -> Cow<'_, str> {
    if host.contains(':') { format!("[{host}]").into() } else { host.into() }
}

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
    /// This host, an IPv6 address without brackets, and this port.
    pub fn of(host: &str, port: u16) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host);
        Self { host: host.to_ascii_lowercase().into(), port }
    }

    /// That of everything that cannot be called.
    pub fn none() -> Self {
        Self { host: "".into(), port: 0 }
    }

    /// Host and port; an IPv6 address without brackets.
    pub fn parts(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

/// Whether this is a host name of DNS. Underscores are accepted: DNS has them.
pub fn is_dns_name(host: &str) -> bool {
    host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        let check = |text: &str, host: &str, port: Option<u16>| {
            assert_eq!(HostPort::parse(text), Ok(HostPort { host, port }), "{text}");
        };
        check("a", "a", None);
        check("A.example.:", "A.example.", None);
        check("a:0", "a", Some(0));
        check("10.0.0.1:65535", "10.0.0.1", Some(65535));
        check("[::1]", "[::1]", None);
        check("[2001:db8::1]:443", "[2001:db8::1]", Some(443));
        for (wrong, why) in [
            ("", HostPortError::Host),
            (":80", HostPortError::Host),
            ("[::g]", HostPortError::Host),
            ("[::1", HostPortError::Host),
            ("[::1]2:80", HostPortError::Host),
            ("a]", HostPortError::Host),
            ("::1", HostPortError::Host),
            ("a:80:80", HostPortError::Port),
            ("a:+1", HostPortError::Port),
            ("a:65536", HostPortError::Port),
            ("user@a", HostPortError::Syntax),
            ("a,b", HostPortError::Syntax),
            ("a/b", HostPortError::Syntax),
            ("a b", HostPortError::Syntax),
            ("a%2e", HostPortError::Syntax),
            ("ü", HostPortError::Syntax),
        ] {
            assert_eq!(HostPort::parse(wrong), Err(why), "{wrong}");
        }
    }
}
