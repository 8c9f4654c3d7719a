//! Whether the peer of a connection is still there, for work that waits on its behalf. The connection tells; it
//! probes only while someone asks, since a probe is a read of its socket.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A connection's peer. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    /// A [`Departure`], or 0 while the peer is there.
    departure: AtomicU8,
    departed: Notify,
}

/// How a peer left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Departure {
    /// It has ended its own direction in good order. It may have closed the connection, or still read.
    Ended = 1,
    /// The connection broke: nobody reads an answer.
    Broken = 2,
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Presence {
    /// Completes when the peer has ended its direction, or the connection broke. Dropping the future ends the
    /// question.
    pub async fn departed(&self) -> Departure {
        let departed = self.0.departed.notified();
        tokio::pin!(departed);
        departed.as_mut().enable();
        self.0.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.0.waiting);
        loop {
            if let Some(departure) = self.departure() {
                return departure;
            }
            departed.as_mut().await;
        }
    }

    /// As [`Presence::departed`], of a connection that may tell nothing: then never. HTTP/2 drops the request
    /// instead.
    pub async fn gone(peer: Option<&Self>) {
        match peer {
            Some(peer) => _ = peer.departed().await,
            None => pending().await,
        }
    }

    /// Completes when the connection broke, so that nobody can read an answer. A peer that has only ended its own
    /// direction gets one.
    pub async fn broken(peer: Option<&Self>) {
        match peer {
            Some(peer) if peer.departed().await == Departure::Broken => {}
            Some(_) | None => pending().await,
        }
    }

    /// Whether someone waits for [`Presence::departed`], and there is no answer yet.
    pub(super) fn is_asked(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0 && self.departure().is_none()
    }

    /// The peer has left.
    pub(super) fn set(&self, departure: Departure) {
        self.0.departure.store(departure as u8, Ordering::Release);
        self.0.departed.notify_waiters();
    }

    fn departure(&self) -> Option<Departure> {
        match self.0.departure.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Departure::Ended),
            _ => Some(Departure::Broken),
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
        let peer = Presence::default();
        assert!(!peer.is_asked());
        let waiting = tokio::spawn({
            let peer = peer.clone();
            async move { peer.departed().await }
        });
        while !peer.is_asked() {
            tokio::task::yield_now().await;
        }
        peer.set(Departure::Ended);
        assert_eq!(waiting.await.unwrap(), Departure::Ended);
        Presence::gone(Some(&peer)).await;
        assert!(!peer.is_asked());
        let mut broken = pin!(Presence::broken(Some(&peer)));
        assert!(broken.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        peer.set(Departure::Broken);
        Presence::broken(Some(&peer)).await;
    }

    #[tokio::test]
    async fn a_question_ends_with_who_asked() {
        let peer = Presence::default();
        tokio::select! { biased; _ = peer.departed() => {} () = std::future::ready(()) => {} }
        assert!(!peer.is_asked());
    }
}
