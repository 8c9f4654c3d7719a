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
