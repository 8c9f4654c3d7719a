//! Makes the deliveries that are due, some at a time, and reports how each ended.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::{Notify, Semaphore};
use tokio::task::coop::consume_budget;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::{Answer, Client};
use super::fair_queue::{FairQueue, Kind, Outcome, Start};
use super::{body, signature};
use crate::core::host::Destination;
use crate::core::time::ms;
use crate::engine::Engine;
use crate::engine::context::{RequestContext, request_of};
use crate::engine::delivery::{Begun, Call, CallKind, CallResult, Delivery};
use crate::engine::error::ChangeError;

/// Calls at the same time where files enough may be open: each takes a socket and some tens of KiB.
/// How many of them one destination may take stands in `fair_queue.rs`.
pub const MAX_CALLS: usize = 512;

/// Calls backends until `stop`, `slots` at a time; calls under way are joined by `calls` and end by
/// their own deadline or by `cut`. Dropping the future makes no further calls; their deliveries stay pending.
pub async fn run(
    engine: Arc<Engine>,
    client: Arc<ArcSwap<Client>>,
    slots: usize,
    stop: CancellationToken,
    cut: CancellationToken,
    calls: TaskTracker,
) {
    let queues = Arc::new(Queues::new(slots));
    loop {
        while let Some((delivery, slot)) = queues.hashing.next() {
            let (queues, cut) = (Arc::clone(&queues), cut.clone());
            calls.spawn(async move {
                cut.run_until_cancelled(hash(delivery, &queues, slot)).await;
            });
        }
        while let Some((delivery, slot)) = queues.calls.next() {
            let (client, queues, cut) = (client.load_full(), Arc::clone(&queues), cut.clone());
            calls.spawn(async move {
                // A call that is cut off is recorded as begun: it is repeated after the start.
                cut.run_until_cancelled(deliver(delivery, &client, &queues, slot)).await;
            });
        }
        // Many may be due at once, and other work of this runtime waits.
        consume_budget().await;
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            delivery = engine.next_delivery() => {
                let destination = delivery.destination();
                queues.calls.push(delivery, &destination);
            }
            () = queues.freed.notified() => {}
        }
    }
    queues.hashing.close();
    queues.calls.close();
}

/// What deliveries wait for, one after the other.
struct Queues {
    /// Files to be hashed before their calls, fair as these are. A call takes no slot until that is done.
    hashing: Arc<Queue>,
    calls: Arc<Queue>,
    /// Calls that have ended and are being recorded; they take no slot any more.
    ending: Semaphore,
    freed: Arc<Notify>,
}

impl Queues {
    fn new(slots: usize) -> Self {
        let freed = Arc::new(Notify::new());
        let queue = || {
            let inner = Mutex::new(Some(FairQueue::new(slots)));
            Arc::new(Queue { inner, freed: Arc::clone(&freed) })
        };
        let (hashing, calls) = (queue(), queue());
        Self { hashing, calls, ending: Semaphore::new(slots), freed }
    }
}

/// Deliveries that wait for a slot, and the slots.
struct Queue {
    /// `None` once it is closed.
    inner: Mutex<Option<FairQueue<Delivery>>>,
    /// A slot was freed, or more of them may be taken.
    freed: Arc<Notify>,
}

impl Queue {
    /// Adds a delivery; in a closed queue it stays pending with the engine.
    fn push(&self, delivery: Delivery, destination: &Destination) {
        if let Some(inner) = &mut *self.inner() {
            inner.push(delivery, destination);
        }
        self.freed.notify_one();
    }

    /// Lets go of all deliveries, and so of the engine: what a call has started may run on for long.
    fn close(&self) {
        let inner = self.inner().take();
        drop(inner);
    }

    fn next(self: &Arc<Self>) -> Option<(Delivery, Arc<Slot>)> {
        let Start { item, destination, kind } = self.inner().as_mut()?.next()?;
        Some((item, Arc::new(Slot { queue: Arc::clone(self), destination, kind })))
    }

    fn inner(&self) -> MutexGuard<'_, Option<FairQueue<Delivery>>> {
        self.inner.lock().expect("no holder of this lock panics")
    }
}

/// The slot of a call. It is free again when the call has ended and nothing that it started, such as a
/// name look-up, runs on.
struct Slot {
    queue: Arc<Queue>,
    destination: Destination,
    kind: Kind,
}

impl Slot {
    fn ended(&self, outcome: Outcome) {
        if let Some(inner) = &mut *self.queue.inner() {
            inner.ended(&self.destination, outcome);
        }
        self.queue.freed.notify_one();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(inner) = &mut *self.queue.inner() {
            inner.release(&self.destination, self.kind);
        }
        self.queue.freed.notify_one();
    }
}

/// Hashes the file of an upload, which then waits for the slot of its call again.
async fn hash(mut delivery: Delivery, queues: &Queues, slot: Arc<Slot>) {
    match delivery.hash().await {
        Ok(()) => queues.calls.push(delivery, &slot.destination),
        Err(error) => log_not_begun(&delivery, &error),
    }
}

async fn deliver(mut delivery: Delivery, client: &Client, queues: &Queues, slot: Arc<Slot>) {
    delivery.start();
    let call = match delivery.begin().await {
        Ok(Begun::Call(call)) => call,
        Ok(Begun::Unhashed) => return queues.hashing.push(delivery, &slot.destination),
        Ok(Begun::Nothing) => return,
        Err(error) => return log_not_begun(&delivery, &error),
    };
    let began = Instant::now();
    let mut lost = pin!(delivery.lost());
    let (result, retry_after) = tokio::select! {
        biased;
        () = &mut lost => {
            let upload = call.id().short();
            return tracing::warn!(%upload, "backend call ended: other servers may make it");
        }
        made = make(client, &call, &slot) => made,
    };
    log(&call, &result, began.elapsed());
    // The disk may be slow; others are called meanwhile.
    let _ending = held(queues.ending.acquire(), lost).await.expect("it is never closed");
    drop(slot);
    delivery.postpone(retry_after);
    if let Err(error) = delivery.finish(result).await {
        let upload = call.id().short();
        tracing::error!(%upload, %error, "could not record the result of a backend call; calling again later");
    }
}

/// Waits for `turn` while the call is kept from other servers. Where it is `lost`, its answer is recorded all the same.
async fn held<T>(turn: impl Future<Output = T>, lost: impl Future<Output = ()>) -> T {
    let mut turn = pin!(turn);
    tokio::select! {
        biased;
        turn = &mut turn => turn,
        () = lost => turn.await,
    }
}

fn log_not_begun(delivery: &Delivery, error: &ChangeError) {
    // That there is no such upload any more is no error of a delivery.
    if !matches!(error, ChangeError::Unknown) {
        let upload = delivery.id().short();
        tracing::error!(%upload, %error, "could not record a backend call; trying again later");
    }
}

fn log(call: &Call, result: &CallResult, took: Duration) {
    let (upload, request) = (call.id().short(), request_of(call.context.as_ref()));
    let (attempt, ms) = (call.attempt, ms(took));
    let kind = match call.kind {
        CallKind::Handover => "handover",
        CallKind::CancelNotice => "cancel notice",
    };
    match result {
        CallResult::Done => {
            tracing::debug!(%upload, request, kind, attempt, ms, "backend call succeeded");
        }
        CallResult::Wait => {
            tracing::info!(%upload, request, kind, attempt, ms, "backend answered wait");
        }
        CallResult::Unanswered(reason) => {
            tracing::warn!(%upload, request, kind, attempt, ms, reason, "backend call failed");
        }
    }
}

/// How it ended, and how long the backend wants to be left alone.
async fn make(client: &Client, call: &Call, slot: &Arc<Slot>) -> (CallResult, Duration) {
    let url = &call.upload.ticket().finish_url;
    let (key, began) = (call.id().to_string(), Instant::now());
    let own = Some(&call.upload.ticket().signing).filter(|secrets| !secrets.is_empty());
    let secrets = own.or_else(|| client.secrets(url));
    let (media_type, body) = body::encode(call, SystemTime::now());
    let mut headers = match secrets {
        Some(secrets) => signature::headers(secrets, &key, body.as_bytes()),
        None => HeaderMap::new(),
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    let trace = call.context.as_ref().and_then(RequestContext::traceparent);
    if let Some(Ok(trace)) = trace.map(HeaderValue::from_str) {
        headers.insert("traceparent", trace);
    }
    match client.post_idempotent(url, body, &key, headers, Arc::<Slot>::clone(slot)).await {
        Ok(answer) => {
            slot.ended(Outcome::Answered);
            let result = match decide(call.kind, &answer) {
                CallResult::Unanswered(why) if secrets.is_some() => {
                    CallResult::Unanswered(late(why, &answer))
                }
                result => result,
            };
            (result, answer.retry_after.unwrap_or_default())
        }
        Err(error) => {
            slot.ended(Outcome::Failed { after: began.elapsed() });
            (CallResult::Unanswered(error.to_string()), Duration::ZERO)
        }
    }
}

/// Why a signed call was refused, where it may be the time: receivers take no call that is minutes old.
fn late(why: String, answer: &Answer) -> String {
    match answer.clock_off {
        Some(off) if off > CLOCK_TOLERANCE => {
            format!("{why}; its clock and this one are {} s apart", off.as_secs())
        }
        Some(_) | None => why,
    }
}

/// Clocks that keep time are closer.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// What an answer means. A handover wants its word; that a cancelled upload is gone needs no more
/// than a sign that somebody heard it.
fn decide(kind: CallKind, answer: &Answer) -> CallResult {
    match (kind, answer.status, answer.word.as_deref()) {
        (CallKind::CancelNotice, 200..=299 | 404 | 410, _)
        | (CallKind::Handover, 200, Ok("done")) => CallResult::Done,
        (CallKind::Handover, 200, Ok("wait")) => CallResult::Wait,
        (CallKind::Handover, 200, Ok(word)) => {
            CallResult::Unanswered(format!("the backend answered {word:?}, expected done or wait"))
        }
        (CallKind::Handover, 200, Err(why)) => {
            CallResult::Unanswered(format!("the backend's answer cannot be read: {why}"))
        }
        (CallKind::Handover | CallKind::CancelNotice, status, _) => {
            CallResult::Unanswered(format!("the backend answered with status {status}"))
        }
    }
}

#[cfg(test)]
#[path = "worker/tests.rs"]
mod tests;
