//! Between TLS and hyper: bounds what one read and one poll take, tells the connection's clock what moves, notices that the
//! peer is gone while its request waits for something else, and writes interim answers.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use crate::net::disconnect::{Disconnect, PeerDisconnect};
use crate::net::heads::UnsentHeads;
use crate::net::interim::{InterimAnswers, InterimWriter};
use crate::net::timeouts::ConnectionTimeouts;

/// Bytes read before the other connections of the worker run. 1 MiB: some 50,000 of HTTP/2's small frames, which
/// cost ten milliseconds or so, and of a body so much that giving way costs nothing against it.
const READ_BUDGET: usize = 1 << 20;

/// Bytes that the first reads of an HTTP/1.1 connection take. 16 KiB: a head, and the largest record of TLS.
const FIRST_STEP: usize = 16 << 10;
/// A read takes at most one part in so many of what the connection has brought. 16: hyper's largest buffer is filled from
/// 6.5 MiB on.
const STEP_PART: u64 = 16;

/// What hyper reads from and writes to.
///
/// **Read budget.** After each [`READ_BUDGET`] bytes it says once that nothing is there yet, and at once that
/// something is. hyper reads on as long as something comes, and tokio's own budget counts reads, not bytes: with a
/// read-ahead below, 128 reads were 16 MiB. A flood of frames that ask for no request (SETTINGS, PING, PRIORITY)
/// then kept a worker for a quarter of a second at a time, and every other upload on it waited.
///
/// **Steps** (HTTP/1.1). hyper's read buffer grows with what single reads bring, and stays as large until the connection
/// ends, also while its client is silent. So a read brings little at first, and the more the more has come: a client that
/// sends a burst and stalls holds a small buffer.
///
/// **Clock.** Bytes that arrive, and writes that do not move, are noted in the [`ConnectionTimeouts`].
///
/// **Disconnects** (HTTP/1.1). hyper reads nothing between a request's last byte and its answer, so a connection whose
/// peer has vanished would be held until a long poll is over. Letting hyper look (`half_close(false)`) would drop
/// requests of peers that have only ended their own direction, before they got their answer. So the socket is read
/// here when it is flushed, which hyper does at the end of each poll, and only while someone waits for
/// [`PeerDisconnect::disconnected`].
///
/// **Interim answers** (HTTP/1.1) begin at a flush, and what has begun ends before anything else is written
/// (`interim.rs`).
///
/// **Heads** (HTTP/2). hyper flushes when it has written all it has, which lets further answers go (`heads.rs`).
#[derive(Debug)]
pub(in crate::net) struct AboveTls<IO> {
    io: IO,
    timeouts: Arc<ConnectionTimeouts>,
    /// Read since the socket last had nothing.
    read_bytes: usize,
    /// What a read brings at most; `None`: as much as is asked for, now and later.
    step: Option<usize>,
    /// Read since the connection began, while there is a step.
    brought: u64,
    /// None: no one is told.
    peer: Option<PeerDisconnect>,
    /// What came instead of an end: the first byte of the next request.
    early: Option<u8>,
    /// None: there are none.
    interim: Option<InterimWriter>,
    /// None: nothing counts them.
    heads: Option<Arc<UnsentHeads>>,
}

impl<IO> AboveTls<IO> {
    pub(in crate::net) fn new(
        io: IO,
        timeouts: Arc<ConnectionTimeouts>,
        peer: Option<PeerDisconnect>,
    ) -> Self {
        Self {
            io,
            timeouts,
            read_bytes: 0,
            step: None,
            brought: 0,
            peer,
            early: None,
            interim: None,
            heads: None,
        }
    }

    /// The same, whose reads grow.
    pub(in crate::net) fn in_steps(mut self, yes: bool) -> Self {
        self.step = yes.then_some(FIRST_STEP);
        self
    }

    /// The same, that sends these between hyper's own bytes.
    pub(in crate::net) fn with_interim(mut self, answers: Option<InterimAnswers>) -> Self {
        self.interim = answers.map(InterimWriter::new);
        self
    }

    /// The same, that tells when these are sent.
    pub(in crate::net) fn with_heads(mut self, heads: Option<Arc<UnsentHeads>>) -> Self {
        self.heads = heads;
        self
    }
}

impl<IO: AsyncRead + Unpin> AboveTls<IO> {
    fn read_within_budget(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read_bytes >= READ_BUDGET {
            self.read_bytes = 0;
            // Not simply woken again: the worker looks at its sockets first, else it would see what
            // comes to the others only once in sixty polls.
            return pin!(yield_now()).poll(cx).map(Ok);
        }
        let before = out.filled().len();
        let polled = self.read_step(cx, out);
        let count = out.filled().len() - before;
        self.read_bytes = if polled.is_ready() { self.read_bytes + count } else { 0 };
        polled
    }

    fn read_step(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(step) = self.step.filter(|step| *step < out.remaining()) else {
            return Pin::new(&mut self.io).poll_read(cx, out);
        };
        let mut few = ReadBuf::new(out.initialize_unfilled_to(step));
        let read = Pin::new(&mut self.io).poll_read(cx, &mut few);
        let count = few.filled().len();
        out.advance(count);
        self.brought += count as u64;
        let part = usize::try_from(self.brought / STEP_PART).unwrap_or(usize::MAX);
        self.step = Some(step.max(part));
        read
    }

    /// Reads one byte to find out whether the peer has ended.
    fn probe(&mut self, cx: &mut Context<'_>) {
        if self.early.is_some() || !self.peer.as_ref().is_some_and(PeerDisconnect::is_asked) {
            return;
        }
        let mut byte = [0];
        let mut space = ReadBuf::new(&mut byte);
        match self.read_within_budget(cx, &mut space) {
            Poll::Pending => {}
            Poll::Ready(Ok(())) if !space.filled().is_empty() => self.early = Some(byte[0]),
            Poll::Ready(Ok(())) => self.peer.iter().for_each(|peer| peer.set(Disconnect::Ended)),
            Poll::Ready(Err(_)) => self.peer.iter().for_each(|peer| peer.set(Disconnect::Broken)),
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for AboveTls<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if out.remaining() > 0
            && let Some(byte) = self.early.take()
        {
            out.put_slice(&[byte]);
            self.timeouts.arrived();
            return Poll::Ready(Ok(()));
        }
        let before = out.filled().len();
        let read = self.read_within_budget(cx, out);
        if out.filled().len() > before {
            self.timeouts.arrived();
        }
        read
    }
}

impl<IO: AsyncWrite + Unpin> AboveTls<IO> {
    /// Ends an interim answer that has begun.
    fn finish_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(interim) = &mut self.interim else { return Poll::Ready(Ok(())) };
        let finished = interim.poll_finish(&mut self.io, cx);
        if finished.is_pending() {
            self.timeouts.wrote(&finished);
        }
        finished
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AboveTls<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.finish_interim(cx))?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.timeouts.wrote(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.finish_interim(cx))?;
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.timeouts.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.probe(cx);
        let this = &mut *self;
        let flushed = match &mut this.interim {
            Some(interim) => interim.poll_next(&mut this.io, cx),
            None => Poll::Ready(Ok(())),
        };
        let flushed = match flushed {
            Poll::Ready(Ok(())) => Pin::new(&mut this.io).poll_flush(cx),
            unfinished => unfinished,
        };
        self.timeouts.wrote(&flushed);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.heads.iter().for_each(|heads| heads.flushed());
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.timeouts.wrote(&shut);
        shut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Limits, Protocol};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    fn timeouts() -> Arc<ConnectionTimeouts> {
        ConnectionTimeouts::new(Protocol::Http1, Limits::default(), Instant::now())
    }

    #[tokio::test]
    async fn an_end_is_noticed_and_a_next_request_kept() {
        let (near, mut far) = tokio::io::duplex(100);
        let peer = PeerDisconnect::default();
        let mut io = AboveTls::new(near, timeouts(), Some(peer.clone()));
        let mut gone = pin!(peer.disconnected());
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

    /// What a reader with so much space gets at once, when so much has come before.
    #[tokio::test]
    async fn reads_grow_with_what_has_come() {
        const SPACE: usize = 408 << 10;
        let mut space = vec![0; SPACE];
        for in_steps in [false, true] {
            let mut socket =
                AboveTls::new(tokio::io::repeat(7), timeouts(), None).in_steps(in_steps);
            let (mut brought, mut largest) = (0, 0);
            while largest < SPACE {
                let count = socket.read(&mut space).await.unwrap();
                let most = if in_steps { FIRST_STEP.max(brought / 16) } else { SPACE };
                assert_eq!(count, most.min(SPACE), "after {brought}");
                assert!(space[..count].iter().all(|byte| *byte == 7));
                (brought, largest) = (brought + count, count);
                space.fill(0);
            }
            assert_eq!(brought > 6 << 20, in_steps);
        }
    }

    /// How often another task runs while a socket that is never empty is read.
    #[tokio::test]
    async fn others_run_after_each_read_budget() {
        const BUDGETS: usize = 5;
        let reading = async {
            let mut socket = AboveTls::new(tokio::io::repeat(7), timeouts(), None);
            let mut space = vec![0; 1 << 16];
            let mut left = BUDGETS * READ_BUDGET;
            while left > 0 {
                left -= socket.read(&mut space).await.unwrap();
            }
            assert_eq!(space, vec![7; 1 << 16]);
        };
        let mut runs = 0;
        let others = async {
            loop {
                runs += 1;
                yield_now().await;
            }
        };
        tokio::select! { biased; () = reading => {} () = others => {} }
        assert!(runs >= BUDGETS - 1, "{runs}");
    }
}
