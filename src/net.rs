//! Connections: from a listening socket to a [`Service`](hyper::service::Service) that is asked
//! one request at a time.
//!
//! The promises of this module:
//! - **A permit comes before a connection.** No more than [`Options::max_connections`] are open; the
//!   next one waits in the kernel's queue.
//! - **What peers send ahead has a bound**, all connections together: each gets its share of [`MemoryBudget`].
//! - **Every wait on a peer has a limit**: the handshake, the first byte, a request's head, the time
//!   between two requests, a peer that reads nothing. What a request itself may take (a body that
//!   stands still) is the service's business.
//! - **An early answer arrives.** A connection is closed in one direction first, and what the peer
//!   still sends is thrown away for a while, so that no reset destroys an answer under way.
//! - **Shutdown ends.** Running requests get their grace, then the rest is dropped.
//!
//! What is absent: protocol sniffing (ALPN alone chooses HTTP/2, plain sockets speak HTTP/1.1),
//! upgrades, routing, and any knowledge of uploads.

mod address;
mod body;
mod budget;
mod conn;
mod disconnect;
mod heads;
mod interim;
mod io;
mod listener;
mod options;
mod poll_loop;
pub mod proxy_protocol;
mod serve;
mod sizes;
mod stats;
mod timeouts;
mod timer;
mod workers;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use crate::tls::ClientCertificate;

pub use address::{Address, AddressError};
pub use body::{CheckTrailers, Ended, HttpService, RequestBody};
pub use budget::MemoryBudget;
pub use disconnect::PeerDisconnect;
pub use interim::{InterimAnswers, InterimTo};
pub use listener::Listener;
pub use options::{Grace, Http1, Http2, Limits, LingerLimits, Options};
pub use proxy_protocol::ProxyProtocol;
pub use serve::{Setup, serve};
pub use stats::{Connections, HeaderFailure, Stats};
pub use workers::{WorkerLiveness, Workers, control_runtime};

/// Who is at the other end of a connection, as far as the transport knows.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where it is.
    pub address: PeerAddress,
    /// The connection is encrypted by this server's own TLS.
    pub tls: bool,
    /// What the peer proved itself with at the handshake: a certificate of the configured client CA.
    pub client_certificate: Option<ClientCertificate>,
    /// What the connection speaks.
    pub protocol: Protocol,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, or 1.0. A byte between two requests begins a head.
    Http1,
    /// HTTP/2. Bytes between two requests are the protocol's own.
    Http2,
}

/// Where a peer is: the one connected from or, on a listener with the PROXY protocol, the client that the proxy names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PeerAddress {
    /// There; an IPv4 address is never mapped to IPv6.
    Ip(SocketAddr),
    /// On this machine, on a unix socket.
    Unix,
    /// Behind a proxy that did not say where.
    Unknown,
}

/// As logs show it.
impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}
