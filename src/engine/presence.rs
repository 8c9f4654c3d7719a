//! Whether the peer of a connection is still there, for who waits on its behalf. The connection tells; it looks only
//! while someone asks, since looking is a read of its socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A connection's peer. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct Presence(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: AtomicUsize,
    gone: AtomicBool,
    left: Notify,
}

/// One that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Presence {
    /// Completes when the peer has ended its side of the connection, or the connection broke. A peer that
    /// has only ended its own direction still reads: it is to get an answer. Dropping the future ends
    /// the question.
    pub async fn gone(&self) {
        let left = self.0.left.notified();
        tokio::pin!(left);
        left.as_mut().enable();
        self.0.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.0.waiting);
        if !self.0.gone.load(Ordering::Acquire) {
            left.await;
        }
    }

    /// The same, of a connection that may tell nothing: then never. HTTP/2 drops the request instead.
    pub async fn gone_from(peer: Option<&Self>) {
        match peer {
            Some(peer) => peer.gone().await,
            None => std::future::pending().await,
        }
    }

    /// Whether somebody waits for an answer to [`Presence::gone`], and there is none yet.
    pub fn is_asked(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire) > 0 && !self.0.gone.load(Ordering::Acquire)
    }

    /// The peer has ended.
    pub fn tell_gone(&self) {
        self.0.gone.store(true, Ordering::Release);
        self.0.left.notify_waiters();
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

    #[tokio::test]
    async fn tells_who_waits_and_who_comes_later() {
        let peer = Presence::default();
        assert!(!peer.is_asked());
        let waiting = tokio::spawn({
            let peer = peer.clone();
            async move { peer.gone().await }
        });
        while !peer.is_asked() {
            tokio::task::yield_now().await;
        }
        peer.tell_gone();
        waiting.await.unwrap();
        peer.gone().await;
        assert!(!peer.is_asked());
    }

    #[tokio::test]
    async fn a_question_ends_with_who_asked() {
        let peer = Presence::default();
        tokio::select! { biased; () = peer.gone() => {} () = std::future::ready(()) => {} }
        assert!(!peer.is_asked());
    }
}
