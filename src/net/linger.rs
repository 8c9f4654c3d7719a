//! Closes a connection in a way that lets the last answer arrive.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::options::LingerLimits;
use super::through::writes_go_through;
use crate::engine::deadline::is_late;

/// Bytes thrown away by one read at the end.
const STEP: usize = 16 * 1024;

/// A socket whose shutdown first ends the sending direction and then reads and throws away what the
/// peer still sends, until the peer ends too or a limit is met.
///
/// A socket that is closed with unread bytes sends a reset, and a reset makes the peer's kernel drop
/// an answer that its program has not read yet. So whoever refuses an upload in mid-body must keep
/// reading for a while. Under TLS the bytes are thrown away undeciphered.
#[derive(Debug)]
pub(super) struct Linger<IO> {
    io: IO,
    limits: LingerLimits,
    farewell: Option<Farewell>,
}

#[derive(Debug)]
struct Farewell {
    end: Instant,
    bytes_left: usize,
    quiet: Pin<Box<Sleep>>,
    /// The limits were found over too late to be the peer's fault, and count anew.
    again: bool,
}

impl<IO> Linger<IO> {
    pub(super) fn new(io: IO, limits: LingerLimits) -> Self {
        Self { io, limits, farewell: None }
    }
}

impl Farewell {
    fn new(limits: LingerLimits) -> Self {
        let now = Instant::now();
        let quiet = Box::pin(sleep_until(now + limits.quiet.min(limits.total)));
        Self { end: now + limits.total, bytes_left: limits.bytes, quiet, again: false }
    }

    fn poll<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        limits: LingerLimits,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut scratch = [0; STEP];
        let mut heard = false;
        loop {
            let mut space = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *io).poll_read(cx, &mut space) {
                // The peer broke off: nothing left to be kind to.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    let count = space.filled().len();
                    if count == 0 || count >= self.bytes_left {
                        return Poll::Ready(());
                    }
                    self.bytes_left -= count;
                    heard = true;
                }
                Poll::Pending => {
                    let now = Instant::now();
                    if !self.again && is_late(self.quiet.deadline(), now) {
                        (self.again, heard) = (true, true);
                        self.end = now + limits.total;
                    }
                    if heard {
                        self.quiet.as_mut().reset(self.end.min(now + limits.quiet));
                    }
                    return self.quiet.as_mut().poll(cx);
                }
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Linger<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, out)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Linger<IO> {
    writes_go_through!(io);

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let limits = this.limits;
        let farewell = this.farewell.get_or_insert_with(|| Farewell::new(limits));
        farewell.poll(&mut this.io, limits, cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn limits(quiet_ms: u64, total_ms: u64, bytes: usize) -> LingerLimits {
        let ms = Duration::from_millis;
        LingerLimits { quiet: ms(quiet_ms), total: ms(total_ms), bytes }
    }

    /// The peer sends for ever; says how much it could send before the end.
    async fn talk(limits: LingerLimits) -> usize {
        let (near, far) = tokio::io::duplex(4096);
        let (mut hear, mut say) = tokio::io::split(far);
        let closing = async {
            let mut io = Linger::new(near, limits);
            io.write_all(b"no").await.unwrap();
            io.shutdown().await.unwrap();
        };
        let peer = async {
            let mut answer = Vec::new();
            hear.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"no");
            let mut count = 0;
            while say.write_all(&[0; 1000]).await.is_ok() {
                count += 1000;
                tokio::task::yield_now().await;
            }
            count
        };
        tokio::join!(closing, peer).1
    }

    #[tokio::test]
    async fn reads_on_up_to_its_limits() {
        let by_bytes = talk(limits(60_000, 60_000, 50_000)).await;
        assert!((50_000..60_000).contains(&by_bytes), "{by_bytes}");
        assert!(talk(limits(60_000, 50, usize::MAX)).await > 0);
    }

    #[tokio::test]
    async fn a_silent_peer_is_not_waited_for() {
        let (near, _far) = tokio::io::duplex(4096);
        let begun = Instant::now();
        Linger::new(near, limits(20, 60_000, 1 << 20)).shutdown().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_peer_that_ends_ends_it() {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(b"the rest").await.unwrap();
        drop(far);
        Linger::new(near, limits(60_000, 60_000, 1 << 20)).shutdown().await.unwrap();
    }
}
