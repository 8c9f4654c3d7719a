//! Notices that the peer of an HTTP/1.1 connection is gone while its request waits for something else.
//!
//! hyper reads nothing between a request's last byte and its answer, so a connection whose peer has vanished would be
//! held until a long poll is over. Letting hyper look (`half_close(false)`) would drop requests of peers that
//! have only ended their own direction, before they got their answer. So this looks, and only while
//! somebody asks ([`Presence`]).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::through::shutdown_goes_through;
use crate::engine::presence::Presence;

/// A socket that is looked at when it is flushed, which hyper does at the end of each poll.
#[derive(Debug)]
pub(super) struct Attended<IO> {
    io: IO,
    peer: Presence,
    /// What came instead of an end: the first byte of the next request.
    early: Option<u8>,
}

impl<IO> Attended<IO> {
    pub(super) fn new(io: IO, peer: Presence) -> Self {
        Self { io, peer, early: None }
    }
}

impl<IO: AsyncRead + Unpin> Attended<IO> {
    fn look(&mut self, cx: &mut Context<'_>) {
        let mut byte = [0];
        let mut space = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.io).poll_read(cx, &mut space) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) if !space.filled().is_empty() => self.early = Some(byte[0]),
            Poll::Ready(Ok(()) | Err(_)) => self.peer.tell_gone(),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Attended<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if out.remaining() > 0
            && let Some(byte) = self.early.take()
        {
            out.put_slice(&[byte]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, out)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Attended<IO> {
    shutdown_goes_through!(io);

    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.early.is_none() && self.peer.is_asked() {
            self.look(cx);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::pin;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn an_end_is_noticed_and_a_next_request_kept() {
        let (near, mut far) = tokio::io::duplex(100);
        let peer = Presence::default();
        let mut io = Attended::new(near, peer.clone());
        let mut gone = pin!(peer.gone());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(gone.as_mut().poll(&mut cx).is_pending());
        io.flush().await.unwrap();
        assert!(gone.as_mut().poll(&mut cx).is_pending());
        far.write_all(b"GET").await.unwrap();
        io.flush().await.unwrap();
        io.flush().await.unwrap();
        let mut next = [0; 3];
        io.read_exact(&mut next).await.unwrap();
        assert_eq!(&next, b"GET");
        drop(far);
        io.flush().await.unwrap();
        assert!(gone.as_mut().poll(&mut cx).is_ready());
        assert_eq!(io.read(&mut next).await.unwrap(), 0, "the end is still there for who reads");
    }
}
