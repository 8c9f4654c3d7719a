//! How large a body may be: by what it says of itself, which costs no bytes, and by bytes that are really sent. And how
//! much of one a client may send before the path has answered: HTTP/2's window.
//!
//! Most proxies refuse a body that is too large as soon as they have its head, so its length is only announced; some
//! count what comes. A cap is looked for among the numbers that people write. On a long line a window is what bounds a
//! stream: so many bytes a round trip. The protocol itself reports it, so that it can be seen on a short line too.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, Request};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::body::{Step, Steps};
use super::probe_client::{Ask, ProbeClient, Reply, outcome};
use crate::diagnosis::GOOD_WINDOW_BYTES;
use crate::diagnosis::observed::{Cap, ProbeOutcome};

/// Announced first: more than any cap.
const HUGE: u64 = 1 << 40;
/// Sent of a body that is only announced: more than a proxy wants to see before it passes a request on.
const BEGINNING: u64 = 64 << 10;
/// How long a refusal of an announced body may take to come: silence is consent.
const REFUSED_IN: Duration = Duration::from_secs(2);
/// Sent one after the other: each just more than a usual cap.
const SENT: [u64; 4] = [(1 << 20) + 4096, (8 << 20) + 4096, (32 << 20) + 4096, (128 << 20) + 4096];
/// A body that is likely to take longer is not sent.
const LONGEST: Duration = Duration::from_secs(10);
/// For an answer to a body that is sent.
const ANSWERED_IN: Duration = Duration::from_secs(90);

/// The path's cap, looked for with bodies of up to `largest` bytes, and what is told on the way.
pub(super) async fn cap(
    client: &ProbeClient,
    path: &str,
    largest: u64,
    tell: &impl Fn(&str),
) -> Cap {
    let early = format!("{path}?refuse=length-changed");
    let small = announce(client, &early, BEGINNING + 1).await;
    // Where not even a small one comes back as the server's, an announced one tells nothing.
    let announced = match small {
        ProbeOutcome::Own | ProbeOutcome::Nothing => announce(client, &early, HUGE).await,
        ProbeOutcome::Other(_) | ProbeOutcome::Broken => ProbeOutcome::Own,
    };
    let refused = matches!(announced, ProbeOutcome::Other(_)).then_some(HUGE);
    let taken = if refused.is_some() { BEGINNING + 1 } else { 0 };
    let mut cap = Cap { taken, refused, came: announced };
    if refused.is_some() {
        let try_one = async |bytes| announce(client, &early, bytes).await;
        narrow(&mut cap, BEGINNING + 1, 64, try_one).await;
    }
    let (mut rate, most) = (None, largest.min(cap.refused.map_or(u64::MAX, |_| cap.taken)));
    let mut sizes: Vec<u64> = SENT.into_iter().filter(|bytes| *bytes <= most).collect();
    if largest < SENT[3] && !sizes.contains(&most) && most < SENT[3] && most > 0 {
        sizes.push(most);
    }
    for bytes in sizes {
        let likely =
            rate.map_or(Duration::ZERO, |rate: f64| Duration::from_secs_f64(bytes as f64 / rate));
        if likely > LONGEST {
            tell(&format!(
                "bodies over {bytes} bytes are not sent: the connection is too slow for them"
            ));
            break;
        }
        let (came, took) = send(client, path, bytes).await;
        match came {
            ProbeOutcome::Own => cap.taken = cap.taken.max(bytes),
            ProbeOutcome::Other(_) | ProbeOutcome::Broken | ProbeOutcome::Nothing => {
                cap = Cap { refused: Some(bytes), came, ..cap };
                narrow(&mut cap, 1024, 9, async |bytes| send(client, path, bytes).await.0).await;
                break;
            }
        }
        rate = Some(bytes as f64 / took.as_secs_f64().max(1e-3));
    }
    cap
}

/// Finds the number that somebody wrote, between what is taken and what is refused.
async fn narrow(
    cap: &mut Cap,
    least: u64,
    most_tries: usize,
    try_one: impl AsyncFn(u64) -> ProbeOutcome,
) {
    let mut tries = 0;
    let mut judge = async |cap: &mut Cap, bytes: u64| {
        tries += 1;
        match try_one(bytes).await {
            // The server's own answer, or none: it was not refused.
            ProbeOutcome::Own | ProbeOutcome::Nothing => cap.taken = cap.taken.max(bytes),
            came @ (ProbeOutcome::Other(_) | ProbeOutcome::Broken) => {
                (cap.refused, cap.came) = (Some(bytes), came)
            }
        }
        tries < most_tries
    };
    loop {
        let refused = cap.refused.unwrap_or(HUGE);
        let between: Vec<u64> = usual()
            .into_iter()
            .filter(|bytes| *bytes > cap.taken && *bytes < refused && *bytes >= least)
            .collect();
        let Some(middle) = between.get(between.len() / 2) else { break };
        if !judge(cap, *middle).await {
            return;
        }
    }
    if cap.taken > 0 && cap.refused != Some(cap.taken + 1) {
        judge(cap, cap.taken + 1).await;
    }
}

/// Caps that people write: round numbers of KB to TB, binary and decimal.
fn usual() -> Vec<u64> {
    let counts = [
        1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 20, 25, 30, 32, 40, 50, 60, 64, 80, 100, 120, 128,
        150, 200,
    ];
    let more = [250, 256, 300, 400, 500, 512, 600, 750, 800, 900];
    let units = [1 << 10, 1000, 1 << 20, 1_000_000, 1 << 30, 1_000_000_000u64];
    let mut sizes: Vec<u64> = units
        .iter()
        .flat_map(|unit| counts.iter().chain(&more).map(move |count| unit * count))
        // A 32-bit number less one is a cap as well.
        .chain([(1 << 31) - 1, (1 << 32) - 1])
        .collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

async fn announce(client: &ProbeClient, path: &str, bytes: u64) -> ProbeOutcome {
    let body = Steps::new(bytes, [Step::Bytes(BEGINNING), Step::Never]);
    let ask = Ask::new(Method::PUT, path).body(body).patience(REFUSED_IN);
    outcome(&client.ask(ask).await, |reply| reply.problem().is_some())
}

/// What came, and after how long. A connection that broke is tried again: it may have been chance.
async fn send(client: &ProbeClient, path: &str, bytes: u64) -> (ProbeOutcome, Duration) {
    match send_once(client, path, bytes).await {
        (ProbeOutcome::Broken, _) => send_once(client, path, bytes).await,
        sent => sent,
    }
}

async fn send_once(client: &ProbeClient, path: &str, bytes: u64) -> (ProbeOutcome, Duration) {
    let ask = Ask::new(Method::PUT, path).body(Steps::whole(bytes)).patience(ANSWERED_IN);
    let (reply, took) = client.timed(ask).await;
    let whole = |reply: &Reply| reply.arrived().is_some_and(|arrived| arrived.body.bytes == bytes);
    (outcome(&reply, whole), took)
}

/// More than any window that matters.
const WANTED: usize = 4 << 20;
/// How long a window may take to open: a proxy opens it further once it has reached the server.
const OPENS_IN: Duration = Duration::from_millis(1500);
/// Windows that grow with use have grown after so many.
const ROUNDS: usize = 3;

/// The largest window seen; none where the stream could not be used.
pub(super) async fn window(client: &ProbeClient, path: &str) -> Option<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn caps_are_found_by_the_number_that_was_written() {
        let check = async |real: u64, taken: u64, refused: u64, expected: (u64, u64)| {
            let mut cap = Cap { taken, refused: Some(refused), came: ProbeOutcome::Other(413) };
            let judge = async |bytes| {
                if bytes <= real { ProbeOutcome::Own } else { ProbeOutcome::Other(413) }
            };
            narrow(&mut cap, 1024, 64, judge).await;
            assert_eq!((cap.taken, cap.refused), (expected.0, Some(expected.1)), "{real}");
        };
        let exact = |bytes| (bytes, bytes + 1);
        check(1 << 20, 0, HUGE, exact(1 << 20)).await;
        check(100_000_000, 0, HUGE, exact(100_000_000)).await;
        check(100 << 20, 33 << 20, 129 << 20, exact(100 << 20)).await;
        check(1 << 30, 0, HUGE, exact(1 << 30)).await;
        // Nobody writes this: it is told between which it lies.
        check(77_777_777, 0, HUGE, ((64 << 20) + 1, 80_000_000)).await;
        check(5, 0, 1 << 20, (0, 1024)).await;
    }
}
