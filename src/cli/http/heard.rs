//! The first bytes that a peer says: they tell which protocol it speaks where it is not the one that
//! was expected, which no error of a parser says in words that help.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::through::{shutdown_goes_through, writes_go_through};

/// Bytes kept of what is heard.
const KEPT: usize = 7;

/// The first bytes of a peer, as soon as they came, and what TLS failed for: HTTP/2 tells of that in text alone.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Heard(Arc<AtomicU64>, Arc<OnceLock<rustls::Error>>);

impl Heard {
    /// Whether it speaks TLS: a record of an alert or a handshake, version 3.
    pub(in crate::cli) fn is_tls(&self) -> bool {
        matches!(self.bytes()[..], [0x15 | 0x16, 0x03, ..])
    }

    /// What TLS failed for.
    pub(in crate::cli) fn fault(&self) -> Option<&rustls::Error> {
        self.1.get()
    }

    /// Whether it speaks HTTP/1.
    pub(super) fn is_http1(&self) -> bool {
        self.bytes().starts_with(b"HTTP/1")
    }

    /// Whether it has said nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// The count in the first byte, the bytes behind it.
    fn bytes(&self) -> Vec<u8> {
        let [count, bytes @ ..] = self.0.load(Ordering::Relaxed).to_be_bytes();
        bytes[..usize::from(count).min(KEPT)].to_vec()
    }

    fn hear(&self, fresh: &[u8]) {
        let mut all = self.bytes();
        if all.len() == KEPT || fresh.is_empty() {
            return;
        }
        all.extend(fresh.iter().take(KEPT - all.len()));
        let mut packed = [0; 8];
        packed[0] = u8::try_from(all.len()).unwrap_or(0);
        packed[1..=all.len()].copy_from_slice(&all);
        self.0.store(u64::from_be_bytes(packed), Ordering::Relaxed);
    }
}

/// A stream that is listened to.
pub(in crate::cli) struct Listening<S> {
    stream: S,
    heard: Heard,
}

impl<S> Listening<S> {
    pub(in crate::cli) fn to(stream: S) -> (Self, Heard) {
        let heard = Heard::default();
        (Self { stream, heard: heard.clone() }, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.heard.hear(&buf.filled()[before..]);
        if let Poll::Ready(Err(error)) = &polled
            && let Some(fault) = error.get_ref().and_then(|inner| inner.downcast_ref())
        {
            // The first one counts.
            let _ = self.heard.1.set(rustls::Error::clone(fault));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    writes_go_through!(stream);
    shutdown_goes_through!(stream);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_known_by_their_first_bytes() {
        fn check(pieces: &[&[u8]], tls: bool, http1: bool) {
            let heard = Heard::default();
            pieces.iter().for_each(|piece| heard.hear(piece));
            assert_eq!((heard.is_tls(), heard.is_http1()), (tls, http1), "{pieces:?}");
        }
        check(&[], false, false);
        check(&[b"HT", b"", b"TP/1.1 400 Bad Request"], false, true);
        check(&[b"HTTP/1.0"], false, true);
        check(&[b"HTTP/2"], false, false);
        check(&[&[0x15, 3, 3, 0, 2, 2, 70]], true, false);
        check(&[&[0x16], &[3, 1]], true, false);
        check(&[&[0, 0, 18, 4, 0, 0, 0, 0]], false, false);
    }
}
