//! What metrics read about connections.

use prometheus_client::metrics::counter::Counter;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one listener, or of several that share it. Read at any time, exact to the moment.
#[derive(Debug, Default)]
pub struct Stats {
    /// Every connection that holds a permit, also while it shakes hands.
    pub accepted: Connections,
    /// Connections that speak HTTP/1.1.
    pub http1: Connections,
    /// Connections that speak HTTP/2.
    pub http2: Connections,
    /// Handshakes that failed or did not end in time.
    pub tls_failures: Counter,
    /// Times the system refused to hand over a connection (out of descriptors, mostly).
    pub accept_errors: Counter,
    header_failures: [Counter; HeaderFailure::ALL.len()],
    /// Connections ended because their peer kept silent or stopped reading beyond a limit; idle ones
    /// that were closed in good order do not count.
    pub overdue: Counter,
}

/// Why a connection to a listener with `proxy_protocol` was closed before its first request. One whose header did not
/// come in time is overdue instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFailure {
    /// No trusted proxy: whatever it sends is not read.
    UntrustedPeer,
    /// It went away without a byte, as health checks do.
    Silent,
    /// What it sent is no header of version 2, or not a whole one.
    Malformed,
}

impl HeaderFailure {
    /// Each of them, in the order of the declaration above.
    pub const ALL: [Self; 3] = [Self::UntrustedPeer, Self::Silent, Self::Malformed];

    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::UntrustedPeer => "untrusted_peer",
            Self::Silent => "silent",
            Self::Malformed => "malformed",
        }
    }
}

/// Connections of one kind.
#[derive(Debug, Default)]
pub struct Connections {
    now: AtomicU64,
    total: AtomicU64,
}

/// A connection that counts as open for as long as this lives.
#[derive(Debug)]
pub(super) struct Open {
    stats: Arc<Stats>,
    kind: fn(&Stats) -> &Connections,
}

impl Stats {
    /// Connections closed for lack of a valid PROXY header.
    #[must_use]
    pub fn header_failures(&self, why: HeaderFailure) -> &Counter {
        &self.header_failures[why as usize]
    }

    pub(super) fn open(self: &Arc<Self>, kind: fn(&Self) -> &Connections) -> Open {
        let connections = kind(self);
        connections.now.fetch_add(1, Ordering::Relaxed);
        connections.total.fetch_add(1, Ordering::Relaxed);
        Open { stats: Arc::clone(self), kind }
    }
}

impl Connections {
    /// Open at this moment.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Opened since the start.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        (self.kind)(&self.stats).now.fetch_sub(1, Ordering::Relaxed);
    }
}
