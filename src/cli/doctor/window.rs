//! HTTP/2's window: how many bytes of a body the path lets a client send before it has said anything to them.
//!
//! On a long line this is what bounds a stream: so many bytes a round trip. It is told by the protocol itself, so that it
//! can be seen on a short one too.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::probe_client::ProbeClient;
use crate::diagnosis::GOOD_WINDOW_BYTES;

/// More than any window that matters.
const WANTED: usize = 4 << 20;
/// How long a window may take to open: a proxy opens it further once it has reached the server.
const OPENS_IN: Duration = Duration::from_millis(1500);
/// Windows that grow with use have grown after so many.
const ROUNDS: usize = 3;

/// The largest window seen; none where the stream could not be used.
pub(super) async fn bytes(client: &ProbeClient, path: &str) -> Option<u64> {
    let stream = client.connect().await.ok()?;
    let (sender, connection) = h2::client::Builder::new()
        .max_send_buffer_size(WANTED)
        .handshake::<_, Bytes>(stream)
        .await
        .ok()?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // Its errors reach the stream.
        let _ = connection.await;
    }));
    let request = Request::builder()
        .method(Method::PUT)
        .uri(format!("https://{}{path}", client.endpoint().authority()))
        .header("content-length", ROUNDS * WANTED)
        .body(())
        .ok()?;
    let mut sender = sender.ready().await.ok()?;
    let (_answer, mut stream) = sender.send_request(request, false).ok()?;
    let mut most = 0;
    for _ in 0..ROUNDS {
        let until = Instant::now() + OPENS_IN;
        stream.reserve_capacity(WANTED);
        while (stream.capacity() as u64) < GOOD_WINDOW_BYTES {
            match timeout_at(until, poll_fn(|cx| stream.poll_capacity(cx))).await {
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return None,
                Err(_) => break,
            }
        }
        let window = stream.capacity();
        most = most.max(window as u64);
        if most >= GOOD_WINDOW_BYTES || window == 0 {
            break;
        }
        stream.send_data(Bytes::from(vec![0; window]), false).ok()?;
    }
    Some(most)
}
