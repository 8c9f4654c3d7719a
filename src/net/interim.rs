//! Interim answers (1xx) of HTTP/1.1, which hyper's server has no call for: bytes of a request's handler that the
//! connection writes by itself, between two things that hyper writes.
//!
//! hyper begins a request only when the answer to the one before is in its write buffer as a whole, and flushes the socket
//! only when that buffer is empty (hyper 1.12, `proto/h1/dispatch.rs` and `io.rs`). So what is written at a flush, while the
//! handler waits and has neither answered nor asked for the body, stands before the answer and before `100 Continue`.
//! [`super::io::AboveTls`] does that.
//!
//! Absent: HTTP/1.0, which has no interim answers (RFC 9110, section 15.2), and HTTP/2, whose streams hyper keeps to itself.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::header::HeaderMap;
use tokio::io::AsyncWrite;
use tokio::sync::oneshot;

/// To which clients interim answers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum InterimTo {
    /// Those that are on the server's own TLS, with no proxy between that says so: some proxies take an interim answer for
    /// the answer, and the request fails (nginx, to clients of HTTP/2).
    Direct,
    /// All.
    Always,
    /// None.
    Never,
}

/// Sends interim answers on the connection of a request. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct InterimAnswers(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether there is something to write: a flush looks no further otherwise.
    is_pending: AtomicBool,
    next: Mutex<Option<Interim>>,
}

/// One interim answer on its way.
#[derive(Debug)]
struct Interim {
    bytes: Bytes,
    written: oneshot::Sender<()>,
}

/// What a connection keeps of it: the one that has begun to be written.
#[derive(Debug)]
pub(super) struct InterimWriter {
    answers: InterimAnswers,
    begun: Option<Interim>,
}

impl InterimAnswers {
    /// Sends one, with this status line (without the version) and these headers. Completes when the connection has taken
    /// all of it.
    ///
    /// To be called by a request's handler that has neither answered nor read the body, and awaited before it does.
    /// How long a peer may read nothing, the connection's clock says. Cancel: one that has not begun is not sent.
    pub async fn send(&self, status: &str, headers: &HeaderMap) {
        let (written, done) = oneshot::channel();
        *self.next() = Some(Interim { bytes: head(status, headers), written });
        self.0.is_pending.store(true, Ordering::Release);
        // Not every poll of a handler is followed by a flush.
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await;
        // An error: the connection is gone, and this request with it.
        let _ = done.await;
    }

    /// The one to be written next, if its handler still waits.
    fn take(&self) -> Option<Interim> {
        if !self.0.is_pending.load(Ordering::Acquire) {
            return None;
        }
        self.0.is_pending.store(false, Ordering::Release);
        self.next().take().filter(|interim| !interim.written.is_closed())
    }

    fn next(&self) -> MutexGuard<'_, Option<Interim>> {
        self.0.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl InterimWriter {
    pub(super) fn new(answers: InterimAnswers) -> Self {
        Self { answers, begun: None }
    }

    /// Before hyper's own bytes: what has begun comes to its end first.
    pub(super) fn poll_finish<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(interim) = &mut self.begun {
            let count = ready!(Pin::new(&mut *io).poll_write(cx, &interim.bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            interim.bytes.advance(count);
            if interim.bytes.is_empty()
                && let Some(interim) = self.begun.take()
            {
                // It may have gone away meanwhile.
                let _ = interim.written.send(());
            }
        }
        Poll::Ready(Ok(()))
    }

    /// At a flush: hyper has nothing to write.
    pub(super) fn poll_next<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_finish(io, cx))?;
        self.begun = self.answers.take();
        self.poll_finish(io, cx)
    }
}

/// A head as it is sent. Source: RFC 9112, section 4.
fn head(status: &str, headers: &HeaderMap) -> Bytes {
    let mut head = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}
