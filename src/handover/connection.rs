//! HTTP/1.1 on one connection to a backend: one request at a time, polled by the call that uses it.
//!
//! It stands on hyper's connection, not on the pooling client of hyper-util: that one sends a request again as often as it
//! likes, and drives each connection by a task that the call does not own. Here dropping a call closes its connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::ext::on_informational;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::client::answer::{RawAnswer, read};
use super::connector::Stream;

/// A connection on which one request after the other may be sent.
pub(super) struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    io: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    pub(super) opened: Instant,
    /// It has ended, and is not polled again.
    ended: bool,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// The connection ended, or was not HTTP, before the head of an answer was whole.
    BeforeAnswer(hyper::Error),
    /// The rest of the answer did not come.
    InAnswer(hyper::Error),
    /// More than [`MAX_INTERIM`] interim answers came.
    Interim,
}

impl Connection {
    /// Begins HTTP.
    pub(super) async fn begin(stream: Stream) -> hyper::Result<Self> {
        let (sender, io) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .max_headers(100)
            .title_case_headers(false)
            .preserve_header_case(false)
            .writev(true)
            .http09_responses(false)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self { sender, io, opened: Instant::now(), ended: false })
    }

    /// Sends the request and reads the answer, polling the connection itself beside them.
    ///
    /// Cancel: the connection takes no other request.
    pub(super) async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<RawAnswer, Broken> {
        let too_many = Arc::new(Notify::new());
        let (count, exceeded) = (AtomicUsize::new(0), Arc::clone(&too_many));
        on_informational(&mut request, move |_| {
            if count.fetch_add(1, Ordering::Relaxed) == MAX_INTERIM {
                exceeded.notify_one();
            }
        });
        let Self { sender, io, ended, .. } = self;
        let answering = async {
            let answer = sender.send_request(request).await.map_err(Broken::BeforeAnswer)?;
            read(answer).await.map_err(Broken::InAnswer)
        };
        tokio::select! { biased;
            () = unconstrained(too_many.notified()) => Err(Broken::Interim),
            answer = beside(answering, io, ended) => answer,
        }
    }

    /// Whether another request may be sent: what the peer has said meanwhile, its end or bytes that nobody asked for, is
    /// seen here.
    pub(super) async fn is_ready(&mut self) -> bool {
        poll_fn(|context| {
            self.ended = self.ended || Pin::new(&mut self.io).poll(context).is_ready();
            Poll::Ready(!self.ended && self.sender.is_ready())
        })
        .await
    }
}

/// Completes with `main`, polling `side` as long as it goes. When the connection ends first, what it has read is still
/// to be taken; its error, if any, is the answer's as well.
async fn beside<T>(
    main: impl Future<Output = T>,
    side: &mut (impl Future + Unpin),
    ended: &mut bool,
) -> T {
    let mut main = pin!(main);
    tokio::select! { biased;
        done = main.as_mut() => return done,
        _ = side => *ended = true,
    }
    main.await
}

/// Bytes hyper reads ahead, and with that the longest head of an answer.
const BUFFER_BYTES: usize = 64 * 1024;
/// Interim answers (1xx) before the final one: hyper reads any number of them. RFC 9110, section 15.2, asks a client
/// to take one or more; no framework sends more than a few.
pub(super) const MAX_INTERIM: usize = 32;
