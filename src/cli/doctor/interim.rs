//! The probe of interim answers: one that the server sends when it is asked to, and whether the same connection is still of
//! use after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;
use tokio::time::sleep;

use super::probe_client::{Ask, ProbeClient, TRIES};
use crate::client::Offer;
use crate::diagnosis::observed::{InterimOutcome, InterimTried};

/// For each answer: what comes at all comes at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tries it at the doctor at `path`; over HTTP/2 too where the path speaks that.
pub(super) async fn tried(client: &ProbeClient, path: &str, http2: bool) -> InterimTried {
    let http1 = once(&client.offering(Offer::Http1), path).await;
    let http2_fails = match http2 {
        true => once(client, path).await.map(|came| came == InterimOutcome::Broken),
        false => None,
    };
    InterimTried { http1, http2_fails }
}

/// None where the server sent none, or has no time.
async fn once(client: &ProbeClient, path: &str) -> Option<InterimOutcome> {
    let mut broke = false;
    for _ in 0..TRIES {
        match attempt(client, path).await {
            // It may have been chance.
            Ok(Some(InterimOutcome::Broken)) if !std::mem::replace(&mut broke, true) => {}
            Ok(came) => return came,
            Err(pause) => sleep(pause).await,
        }
    }
    None
}

/// Errors: the doctor has too much to do, and when to ask again.
async fn attempt(client: &ProbeClient, path: &str) -> Result<Option<InterimOutcome>, Duration> {
    let Ok(mut connection) = client.open().await else { return Ok(None) };
    let came = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&came);
    let hears = move |status: u16| seen.store(status == 104, Ordering::Relaxed);
    let ask = |query: &str| Ask::new(Method::GET, format!("{path}{query}")).patience(PATIENCE);
    match connection.send(ask("?interim=1"), hears).await {
        Ok(reply) => match (reply.again(), reply.arrived()) {
            (Some(pause), _) => return Err(pause),
            (None, Some(arrived)) if arrived.interim_sent => {}
            (None, _) => return Ok(None),
        },
        Err(_) => return Ok(Some(InterimOutcome::Broken)),
    }
    // A proxy that took it for the answer passes on the rest as its body, and waits for the end of that.
    let next = connection.send(ask(""), |_| {}).await;
    Ok(Some(match (next, came.load(Ordering::Relaxed)) {
        (Err(_), _) => InterimOutcome::Broken,
        (Ok(_), true) => InterimOutcome::Passed,
        (Ok(_), false) => InterimOutcome::Dropped,
    }))
}
