//! Makes the calls that are owed, some at a time, and reports how each ended.
//!
//! What was begun is recorded before it is made and its end after, so a crash at any moment leaves
//! either nothing owed or the call owed again; none is lost.

use super::client::{Answer, Client};
use super::schedule::{Kind, Outcome, Schedule, Start};
use crate::core::destination::Destination;
use crate::core::id::TicketId;
use crate::core::time::ms;
use crate::engine::Engine;
use crate::engine::calls::{Call, CallKind, CallResult};
use crate::engine::context::{RequestContext, request_of};
use crate::engine::error::ChangeError;
use crate::engine::swap::Swap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};
use tokio::task::coop::consume_budget;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Calls at the same time where files enough may be open: each takes a socket and some tens of KiB.
/// What one destination may take of them stands in `schedule.rs`.
pub const MAX_CALLS: usize = 512;

/// Calls backends until `stop`, `places` at a time; calls under way are joined by `calls` and end by
/// their own deadline or by `cut`. Dropping the future makes no further calls; those owed stay owed.
pub async fn run(
    engine: Arc<Engine>,
    client: Arc<Swap<Client>>,
    places: usize,
    stop: CancellationToken,
    cut: CancellationToken,
    calls: TaskTracker,
) {
    let queues = Arc::new(Queues::new(places));
    loop {
        while let Some((id, place)) = queues.hashing.next() {
            let (engine, queues, cut) = (Arc::clone(&engine), Arc::clone(&queues), cut.clone());
            calls.spawn(async move {
                cut.run_until_cancelled(hash(&engine, &queues, id, place)).await;
            });
        }
        while let Some((id, place)) = queues.calls.next() {
            let (engine, queues, cut) = (Arc::clone(&engine), Arc::clone(&queues), cut.clone());
            let client = client.now();
            engine.stats().calls_waiting.add(-1);
            calls.spawn(async move {
                let _running = engine.stats().calls_running.up();
                // A call that is cut off is recorded as begun: it is repeated after the start.
                cut.run_until_cancelled(one(&engine, &client, &queues, id, place)).await;
            });
        }
        // Many may be due at once, and other work of this runtime waits.
        consume_budget().await;
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            id = engine.next_owed() => {
                engine.stats().calls_waiting.add(1);
                queues.calls.push(id, &engine.destination(id));
            }
            () = queues.freed.notified() => {}
        }
    }
}

/// What calls wait for, one after the other.
struct Queues {
    /// Files to be hashed before their calls, fair as these are. A call takes no place until that is done.
    hashing: Arc<Queue>,
    calls: Arc<Queue>,
    /// Calls that have ended and are being recorded; they take no place any more.
    ending: Semaphore,
    freed: Arc<Notify>,
}

impl Queues {
    fn new(places: usize) -> Self {
        let freed = Arc::new(Notify::new());
        let queue = || {
            let schedule = Mutex::new(Schedule::new(places));
            Arc::new(Queue { schedule, freed: Arc::clone(&freed) })
        };
        let (hashing, calls) = (queue(), queue());
        Self { hashing, calls, ending: Semaphore::new(places), freed }
    }
}

/// What waits for a place, and the places.
struct Queue {
    schedule: Mutex<Schedule>,
    /// A place was freed, or more of them may be taken.
    freed: Arc<Notify>,
}

impl Queue {
    fn push(&self, id: TicketId, destination: &Destination) {
        self.schedule().push(id, destination);
        self.freed.notify_one();
    }

    fn next(self: &Arc<Self>) -> Option<(TicketId, Arc<Place>)> {
        let Start { id, destination, kind } = self.schedule().next()?;
        Some((id, Arc::new(Place { queue: Arc::clone(self), destination, kind })))
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().expect("no holder of this lock panics")
    }
}

/// The place of a call. It is free again when the call has ended and nothing that it started, such as a
/// name look-up, runs on.
struct Place {
    queue: Arc<Queue>,
    destination: Destination,
    kind: Kind,
}

impl Place {
    fn ended(&self, outcome: Outcome) {
        self.queue.schedule().ended(&self.destination, outcome);
        self.queue.freed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.schedule().release(&self.destination, self.kind);
        self.queue.freed.notify_one();
    }
}

/// Puts an upload back into the queue unless its call was seen to, also when the task is dropped.
struct Owed<'a> {
    engine: &'a Engine,
    id: TicketId,
    seen_to: bool,
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if !self.seen_to {
            self.engine.put_back(self.id);
        }
    }
}

/// Hashes the file of an upload, which then waits for the place of its call again.
async fn hash(engine: &Arc<Engine>, queues: &Queues, id: TicketId, place: Arc<Place>) {
    let mut owed = Owed { engine, id, seen_to: false };
    match engine.hash(id).await {
        Ok(()) => {
            owed.seen_to = true;
            queues.calls.push(id, &place.destination);
        }
        Err(error) => {
            engine.stats().calls_waiting.add(-1);
            owed.seen_to = not_begun(engine, id, &error);
        }
    }
}

async fn one(
    engine: &Arc<Engine>,
    client: &Client,
    queues: &Queues,
    id: TicketId,
    place: Arc<Place>,
) {
    let mut owed = Owed { engine, id, seen_to: false };
    let begun = match engine.awaits_hashing(id).await {
        Ok(true) => {
            owed.seen_to = true;
            engine.stats().calls_waiting.add(1);
            return queues.hashing.push(id, &place.destination);
        }
        Ok(false) => engine.begin_call(id).await,
        Err(error) => Err(error),
    };
    let call = match begun {
        Ok(call) => call,
        Err(error) => {
            owed.seen_to = not_begun(engine, id, &error);
            return;
        }
    };
    if let Some(call) = call {
        let began = Instant::now();
        let result = make(client, &call, &place).await;
        log(&call, &result, began.elapsed());
        // The disk may be slow; others are called meanwhile.
        let _ending = queues.ending.acquire().await.expect("it is never closed");
        drop(place);
        if let Err(error) = engine.end_call(id, result).await {
            let upload = id.short();
            return tracing::error!(%upload, ?error, "could not record the result of a backend call; calling again later");
        }
    }
    owed.seen_to = true;
    engine.call_over(id).await;
}

/// A call could not be begun; whether that was seen to, since there is no such upload any more.
fn not_begun(engine: &Engine, id: TicketId, error: &ChangeError) -> bool {
    if matches!(error, ChangeError::Unknown) {
        engine.call_void(id);
        return true;
    }
    let upload = id.short();
    tracing::error!(%upload, ?error, "could not record a backend call; trying again later");
    false
}

fn log(call: &Call, result: &CallResult, took: Duration) {
    let (upload, request) = (call.id.short(), request_of(call.context.as_ref()));
    let (attempt, ms) = (call.attempt, ms(took));
    match result {
        CallResult::Done => {
            tracing::debug!(%upload, request, attempt, ms, "backend answered done");
        }
        CallResult::Wait => {
            tracing::info!(%upload, request, attempt, ms, "backend answered wait");
        }
        CallResult::Unanswered(why) => {
            tracing::warn!(%upload, request, attempt, ms, why, "backend did not take the file");
        }
    }
}

async fn make(client: &Client, call: &Call, place: &Arc<Place>) -> CallResult {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&call.fields).finish();
    let trace = call.context.as_ref().and_then(RequestContext::traceparent);
    let (key, began) = (call.id.to_string(), Instant::now());
    match client.post_form(&call.url, form, &key, trace, Arc::<Place>::clone(place)).await {
        Ok(answer) => {
            place.ended(Outcome::Answered);
            judge(call.kind, &answer)
        }
        Err(error) => {
            place.ended(Outcome::Failed { after: began.elapsed() });
            CallResult::Unanswered(error.to_string())
        }
    }
}

/// What an answer means. A handover wants its word; that a cancelled upload is gone needs no more
/// than a sign that somebody heard it.
fn judge(kind: CallKind, answer: &Answer) -> CallResult {
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
