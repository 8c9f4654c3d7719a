//! Between the socket and TLS: reads in large steps, and closes so that the last answer arrives.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::engine::deadline::is_late;
use crate::net::options::LingerLimits;

/// Bytes asked of the socket at once.
///
/// rustls reads in steps of 4 KiB. Measured on HTTP/1.1 uploads: 70,600 system calls per GiB fall to
/// 7,800 and 1.5 CPU seconds per GiB to 1.18; 256 KiB brought nothing more.
pub(in crate::net) const READ_AHEAD: usize = 128 * 1024;

/// Buffers a thread keeps for the next connection that has something to read. Between two polls a
/// buffer is held only by a connection whose reader left bytes in it, so a handful serves all.
const SPARE: usize = 4;

/// Bytes discarded by one read of a lingering close.
const DISCARD_STEP: usize = 16 * 1024;

thread_local! {
    static SPARES: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A socket with a read-ahead buffer, where one was asked for, and a lingering close.
///
/// **Read-ahead.** A buffer is held only while there are bytes in it: an idle connection costs nothing, however
/// many there are. Buffers go back to a small store of the thread, so that a busy connection neither
/// allocates nor clears memory per read.
///
/// **Lingering close.** Shutdown first ends the sending direction and then reads and discards what the
/// peer still sends, until the peer ends too or a limit is met. A socket that is closed with unread bytes sends
/// a reset, and a reset makes the peer's kernel drop an answer that its program has not read yet. So a server that
/// refuses an upload in mid-body must keep reading for a while. Under TLS the bytes are discarded undeciphered.
#[derive(Debug)]
pub(in crate::net) struct BelowTls<IO> {
    io: IO,
    /// Bytes read at once; 0: reads pass through.
    read_ahead: usize,
    ahead: Option<Ahead>,
    linger: LingerLimits,
    draining: Option<Draining>,
}

/// Bytes read and not yet taken: `buffer[taken..filled]`, never empty between polls.
#[derive(Debug)]
struct Ahead {
    buffer: Box<[u8]>,
    taken: usize,
    filled: usize,
}

/// The sending direction has ended, and what the peer sends is discarded.
#[derive(Debug)]
struct Draining {
    end: Instant,
    bytes_left: usize,
    quiet: Pin<Box<Sleep>>,
    /// The limits were found over too late to be the peer's fault, and count anew.
    extended: bool,
}

impl<IO> BelowTls<IO> {
    pub(in crate::net) fn new(io: IO, linger: LingerLimits) -> Self {
        Self { io, read_ahead: 0, ahead: None, linger, draining: None }
    }

    /// Reads `bytes` at once; up to [`READ_AHEAD`] is of use.
    pub(in crate::net) fn with_read_ahead(mut self, bytes: usize) -> Self {
        self.read_ahead = bytes;
        self
    }
}

impl Draining {
    fn new(limits: LingerLimits) -> Self {
        let now = Instant::now();
        let quiet = Box::pin(sleep_until(now + limits.quiet.min(limits.total)));
        Self { end: now + limits.total, bytes_left: limits.bytes, quiet, extended: false }
    }

    fn poll<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        limits: LingerLimits,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut scratch = [0; DISCARD_STEP];
        let mut received = false;
        loop {
            let mut space = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *io).poll_read(cx, &mut space) {
                // The peer broke off: no one is left to read the answer.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {
                    let count = space.filled().len();
                    if count == 0 || count >= self.bytes_left {
                        return Poll::Ready(());
                    }
                    self.bytes_left -= count;
                    received = true;
                }
                Poll::Pending => {
                    let now = Instant::now();
                    if !self.extended && is_late(self.quiet.deadline(), now) {
                        (self.extended, received) = (true, true);
                        self.end = now + limits.total;
                    }
                    if received {
                        self.quiet.as_mut().reset(self.end.min(now + limits.quiet));
                    }
                    return self.quiet.as_mut().poll(cx);
                }
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for BelowTls<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut ahead = match this.ahead.take() {
            Some(ahead) => ahead,
            None if out.remaining() >= this.read_ahead => {
                return Pin::new(&mut this.io).poll_read(cx, out);
            }
            None => {
                let mut buffer = take_buffer(this.read_ahead);
                let mut space = ReadBuf::new(&mut buffer);
                let read = Pin::new(&mut this.io).poll_read(cx, &mut space);
                let filled = space.filled().len();
                if filled == 0 || !matches!(read, Poll::Ready(Ok(()))) {
                    keep_buffer(buffer);
                    return read;
                }
                Ahead { buffer, taken: 0, filled }
            }
        };
        let count = out.remaining().min(ahead.filled - ahead.taken);
        out.put_slice(&ahead.buffer[ahead.taken..ahead.taken + count]);
        ahead.taken += count;
        if ahead.taken == ahead.filled {
            keep_buffer(ahead.buffer);
        } else {
            this.ahead = Some(ahead);
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for BelowTls<IO> {
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
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.draining.is_none() {
            ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        }
        let limits = this.linger;
        let draining = this.draining.get_or_insert_with(|| Draining::new(limits));
        draining.poll(&mut this.io, limits, cx).map(Ok)
    }
}

impl<IO> Drop for BelowTls<IO> {
    fn drop(&mut self) {
        if let Some(ahead) = self.ahead.take() {
            keep_buffer(ahead.buffer);
        }
    }
}

fn take_buffer(size: usize) -> Box<[u8]> {
    let spare = || SPARES.try_with(|spares| spares.borrow_mut().pop()).ok().flatten();
    let spare = if size == READ_AHEAD { spare() } else { None };
    spare.unwrap_or_else(|| vec![0; size].into_boxed_slice())
}

fn keep_buffer(buffer: Box<[u8]>) {
    // A thread that ends has no store any more; then the buffer is simply freed.
    let _ = SPARES.try_with(|spares| {
        let mut spares = spares.borrow_mut();
        if spares.len() < SPARE && buffer.len() == READ_AHEAD {
            spares.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LIMITS: LingerLimits =
        LingerLimits { quiet: Duration::ZERO, total: Duration::ZERO, bytes: 0 };

    fn spares() -> usize {
        SPARES.with_borrow(Vec::len)
    }

    #[tokio::test]
    async fn small_reads_come_from_one_large_one() {
        let sent: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut io = BelowTls::new(&sent[..], LIMITS).with_read_ahead(READ_AHEAD);
        let mut got = Vec::new();
        let mut step = [0; 4096];
        loop {
            let count = io.read(&mut step).await.unwrap();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&step[..count]);
        }
        assert!(got == sent);
        assert!(io.ahead.is_none());
    }

    #[tokio::test]
    async fn holds_a_buffer_only_while_bytes_wait_in_it() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut io = BelowTls::new(near, LIMITS).with_read_ahead(READ_AHEAD);
        let mut step = [0; 4];
        let idle = tokio::select! { biased;
            _ = io.read(&mut step) => false,
            () = std::future::ready(()) => true,
        };
        assert!(idle && io.ahead.is_none());
        assert_eq!(spares(), 1);
        far.write_all(b"incoming").await.unwrap();
        io.read_exact(&mut step).await.unwrap();
        assert_eq!((&step, io.ahead.is_some(), spares()), (b"inco", true, 0));
        io.read_exact(&mut step).await.unwrap();
        assert_eq!((&step, io.ahead.is_some(), spares()), (b"ming", false, 1));
        drop(far);
        assert_eq!(io.read(&mut step).await.unwrap(), 0);
        assert!(io.ahead.is_none());
    }

    #[tokio::test]
    async fn writes_pass_through() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        let mut io = BelowTls::new(near, LIMITS).with_read_ahead(READ_AHEAD);
        assert_eq!(io.is_write_vectored(), io.io.is_write_vectored());
        let parts = [IoSlice::new(b"in"), IoSlice::new(b"coming")];
        let mut count = io.write_vectored(&parts).await.unwrap();
        if count < 8 {
            count += io.write(&b"incoming"[count..]).await.unwrap();
        }
        io.shutdown().await.unwrap();
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!((count, &got[..]), (8, &b"incoming"[..]));
    }

    fn limits(quiet_ms: u64, total_ms: u64, bytes: usize) -> LingerLimits {
        let ms = Duration::from_millis;
        LingerLimits { quiet: ms(quiet_ms), total: ms(total_ms), bytes }
    }

    /// The peer sends for ever; says how much it could send before the end.
    async fn talk(limits: LingerLimits) -> usize {
        let (near, far) = tokio::io::duplex(4096);
        let (mut hear, mut say) = tokio::io::split(far);
        let closing = async {
            let mut io = BelowTls::new(near, limits);
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
        BelowTls::new(near, limits(20, 60_000, 1 << 20)).shutdown().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn a_peer_that_ends_ends_it() {
        let (near, mut far) = tokio::io::duplex(4096);
        far.write_all(b"the rest").await.unwrap();
        drop(far);
        BelowTls::new(near, limits(60_000, 60_000, 1 << 20)).shutdown().await.unwrap();
    }
}
