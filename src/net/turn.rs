//! Takes turns: a connection whose bytes never end lets the others of its worker run in between.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use super::through::{shutdown_goes_through, writes_go_through};

/// Bytes read in one turn. 1 MiB: some 50,000 of HTTP/2's small frames, which cost ten milliseconds or
/// so, and of a body so much that giving way costs nothing against it.
const TURN_BYTES: usize = 1 << 20;

/// A socket that says after each [`TURN_BYTES`] that nothing is there yet, and at once that something is.
///
/// hyper reads on as long as something comes, and tokio's own budget counts reads, not bytes: with a read-ahead
/// below, 128 reads were 16 MiB. A flood of frames that ask for no request (SETTINGS, PING, PRIORITY)
/// then kept a worker for a quarter of a second at a time, and every other upload on it waited.
#[derive(Debug)]
pub(super) struct Turns<IO> {
    io: IO,
    /// Read since the socket last had nothing.
    read: usize,
}

impl<IO> Turns<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, read: 0 }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Turns<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= TURN_BYTES {
            self.read = 0;
            // Not simply woken again: the worker looks at its sockets first, else it would see what
            // comes to the others only once in sixty turns.
            return pin!(yield_now()).poll(cx).map(Ok);
        }
        let before = out.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, out);
        self.read = if polled.is_ready() { self.read + out.filled().len() - before } else { 0 };
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Turns<IO> {
    writes_go_through!(io);
    shutdown_goes_through!(io);
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    /// How often somebody else runs while a socket that is never empty is read.
    #[tokio::test]
    async fn others_run_between_turns() {
        const TURNS: usize = 5;
        let reading = async {
            let mut socket = Turns::new(tokio::io::repeat(7));
            let mut space = vec![0; 1 << 16];
            let mut left = TURNS * TURN_BYTES;
            while left > 0 {
                left -= socket.read(&mut space).await.unwrap();
            }
            assert_eq!(space, vec![7; 1 << 16]);
        };
        let mut turns = 0;
        let others = async {
            loop {
                turns += 1;
                yield_now().await;
            }
        };
        tokio::select! { biased; () = reading => {} () = others => {} }
        assert!(turns >= TURNS - 1, "{turns}");
    }
}
