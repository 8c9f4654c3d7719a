//! What metrics read about connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one listener, or of several that share it. Read at any time, exact to the moment.
#[derive(Debug, Default)]
pub struct Stats {
    accepted: Connections,
    http1: Connections,
    http2: Connections,
    tls_failures: AtomicU64,
    accept_errors: AtomicU64,
    header_failures: [AtomicU64; HeaderFailure::ALL.len()],
    overdue: AtomicU64,
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
    /// Every connection that holds a permit, also while it shakes hands.
    #[must_use]
    pub fn accepted(&self) -> &Connections {
        &self.accepted
    }

    /// Connections that speak HTTP/1.1.
    #[must_use]
    pub fn http1(&self) -> &Connections {
        &self.http1
    }

    /// Connections that speak HTTP/2.
    #[must_use]
    pub fn http2(&self) -> &Connections {
        &self.http2
    }

    /// Handshakes that failed or did not end in time.
    #[must_use]
    pub fn tls_failures(&self) -> u64 {
        self.tls_failures.load(Ordering::Relaxed)
    }

    /// Connections closed for want of a PROXY header that counts.
    #[must_use]
    pub fn header_failures(&self, why: HeaderFailure) -> u64 {
        self.header_failures[why as usize].load(Ordering::Relaxed)
    }

    /// Times the system refused to hand over a connection (out of descriptors, mostly).
    #[must_use]
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    /// Connections ended because their peer kept silent or stopped reading beyond a limit; idle ones
    /// that were closed in good order do not count.
    #[must_use]
    pub fn overdue(&self) -> u64 {
        self.overdue.load(Ordering::Relaxed)
    }

    pub(super) fn open(self: &Arc<Self>, kind: fn(&Self) -> &Connections) -> Open {
        let connections = kind(self);
        connections.now.fetch_add(1, Ordering::Relaxed);
        connections.total.fetch_add(1, Ordering::Relaxed);
        Open { stats: Arc::clone(self), kind }
    }

    pub(super) fn tls_failed(&self) {
        self.tls_failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn accept_failed(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn header_failed(&self, why: HeaderFailure) {
        self.header_failures[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn was_overdue(&self) {
        self.overdue.fetch_add(1, Ordering::Relaxed);
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
