//! Whether the peer of a connection has disconnected, for work that waits on its behalf. The connection reports it, and
//! probes only while someone waits, since a probe is a read of its socket.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A connection's peer. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct PeerDisconnect(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    /// A [`Disconnect`], or 0 while the peer is there.
    disconnect: AtomicU8,
    disconnected: Notify,
}

/// How a peer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Disconnect {
    /// It has ended its own direction in good order. It may have closed the connection, or still read.
    Ended = 1,
    /// The connection broke: nobody reads an answer.
    Broken = 2,
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl PeerDisconnect {
    /// Completes when the peer has ended its direction, or the connection broke. Dropping the future ends the
    /// question.
    pub async fn disconnected(&self) -> Disconnect {
        let disconnected = self.0.disconnected.notified();
        tokio::pin!(disconnected);
        disconnected.as_mut().enable();
        self.0.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.0.waiting);
        loop {
            if let Some(disconnect) = self.disconnect() {
                return disconnect;
            }
            disconnected.as_mut().await;
        }
    }

    /// As [`PeerDisconnect::disconnected`], of a connection that may tell nothing: then never. HTTP/2 drops the request
    /// instead.
    pub async fn gone(peer: Option<&Self>) {
        match peer {
            Some(peer) => _ = peer.disconnected().await,
            None => pending().await,
        }
    }

    /// Completes when the connection broke, so that nobody can read an answer. A peer that has only ended its own
    /// direction gets one.
    pub async fn broken(peer: Option<&Self>) {
        match peer {
            Some(peer) if peer.disconnected().await == Disconnect::Broken => {}
            Some(_) | None => pending().await,
        }
    }

    /// Whether someone waits for [`PeerDisconnect::disconnected`], and there is no answer yet.
    pub(super) fn is_asked(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0 && self.disconnect().is_none()
    }

    /// The peer has left.
    pub(super) fn set(&self, disconnect: Disconnect) {
        self.0.disconnect.store(disconnect as u8, Ordering::Release);
        self.0.disconnected.notify_waiters();
    }

    fn disconnect(&self) -> Option<Disconnect> {
        match self.0.disconnect.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Disconnect::Ended),
            _ => Some(Disconnect::Broken),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Waker};

    #[tokio::test]
    async fn tells_who_waits_and_who_comes_later() {
        let peer = PeerDisconnect::default();
        assert!(!peer.is_asked());
        let waiting = tokio::spawn({
            let peer = peer.clone();
            async move { peer.disconnected().await }
        });
        while !peer.is_asked() {
            tokio::task::yield_now().await;
        }
        peer.set(Disconnect::Ended);
        assert_eq!(waiting.await.unwrap(), Disconnect::Ended);
        PeerDisconnect::gone(Some(&peer)).await;
        assert!(!peer.is_asked());
        let mut broken = pin!(PeerDisconnect::broken(Some(&peer)));
        assert!(broken.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        peer.set(Disconnect::Broken);
        PeerDisconnect::broken(Some(&peer)).await;
    }

    #[tokio::test]
    async fn a_question_ends_with_who_asked() {
        let peer = PeerDisconnect::default();
        tokio::select! { biased; _ = peer.disconnected() => {} () = std::future::ready(()) => {} }
        assert!(!peer.is_asked());
    }
}
