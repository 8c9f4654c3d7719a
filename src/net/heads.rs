//! How many bytes of heads of answers an HTTP/2 connection may have handed on and not sent.
//!
//! Flow control holds back bodies alone, and h2 bounds neither its queue of heads nor the buffer that it encodes them
//! into: that one grows by doubling as long as its peer asks and reads nothing, and the stream of an encoded head
//! counts as closed. A peer held 120 MB so with 10,000 requests of 60 bytes on one connection. So a head is handed to
//! hyper when those before it have gone to the socket; until then it waits in its request, of which there are as many as
//! streams.

use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::HeaderMap;
use tokio::sync::Notify;

/// Heads of one connection that were handed on since the socket last took everything.
#[derive(Debug, Default)]
pub(super) struct UnsentHeads {
    bytes: AtomicUsize,
    sent: Notify,
}

impl UnsentHeads {
    /// Waits until the head of an answer may be handed on, and counts it. Who is the first never waits.
    ///
    /// It ends with the connection, which is closed where the socket takes nothing for long. Cancel: nothing is counted.
    pub(super) async fn hand_on(&self, head: &HeaderMap) {
        let bytes: usize = head.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        loop {
            let sent = self.sent.notified();
            if self.count(bytes) {
                return;
            }
            sent.await;
        }
    }

    fn count(&self, bytes: usize) -> bool {
        let add = |unsent: usize| match unsent {
            0 => Some(bytes),
            unsent => Some(unsent + bytes).filter(|sum| *sum <= MOST_BYTES),
        };
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// The socket has taken all that was written.
    pub(super) fn flushed(&self) {
        // One at rest costs a look.
        if self.bytes.load(Ordering::Relaxed) > 0 {
            self.bytes.store(0, Ordering::Relaxed);
            self.sent.notify_waiters();
        }
    }
}

/// Bytes of heads on their way. Some tens of answers, since each has a KiB of what pages may read.
const MOST_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    fn head(bytes: usize) -> HeaderMap {
        let value = HeaderValue::from_bytes(&vec![b'a'; bytes - 1]).unwrap();
        HeaderMap::from_iter([(hyper::header::HeaderName::from_static("a"), value)])
    }

    #[tokio::test]
    async fn heads_wait_for_those_before_them() {
        let heads = UnsentHeads::default();
        let mut cx = Context::from_waker(Waker::noop());
        heads.flushed();
        heads.hand_on(&head(MOST_BYTES + 1)).await;
        let small = head(1000);
        let mut waits = [pin!(heads.hand_on(&small)), pin!(heads.hand_on(&small))];
        let mut look = |number: usize| waits[number].as_mut().poll(&mut cx);
        assert_eq!((look(0), look(1)), (Poll::Pending, Poll::Pending));
        heads.flushed();
        assert_eq!((look(1), look(0)), (Poll::Ready(()), Poll::Ready(())));
        let mut many = 2;
        while pin!(heads.hand_on(&small)).poll(&mut cx).is_ready() {
            many += 1;
        }
        assert_eq!(many, MOST_BYTES / 1000);
        heads.flushed();
        heads.hand_on(&small).await;
    }
}
