//! Makes the calls that are owed, some at a time, and reports how each ended.
//!
//! What was begun is recorded before it is made and its end after, so a crash at any moment leaves
//! either nothing owed or the call owed again; none is lost.

use super::client::Client;
use crate::core::id::TicketId;
use crate::core::time::ms;
use crate::engine::Engine;
use crate::engine::calls::{Call, CallKind, CallResult};
use crate::engine::cause::{Cause, request_of};
use crate::engine::error::ChangeError;
use crate::engine::swap::Swap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Calls backends until `stop`; calls under way are joined by `calls` and end by their own deadline
/// or by `cut`. Dropping the future makes no further calls; those owed stay owed.
pub async fn run(
    engine: Arc<Engine>,
    client: Arc<Swap<Client>>,
    stop: CancellationToken,
    cut: CancellationToken,
    calls: TaskTracker,
) {
    let permits = Arc::new(Semaphore::new(MAX_CALLS));
    let next = async || {
        // The permit first: what has left the queue is called at once.
        let permit = Arc::clone(&permits).acquire_owned().await.expect("permits are never closed");
        (engine.next_owed().await, permit)
    };
    while let Some((id, permit)) = stop.run_until_cancelled(next()).await {
        let (engine, client, cut) = (Arc::clone(&engine), client.now(), cut.clone());
        calls.spawn(async move {
            // A call that is cut off is recorded as begun: it is repeated after the start.
            cut.run_until_cancelled(one(&engine, &client, id)).await;
            drop(permit);
        });
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

async fn one(engine: &Arc<Engine>, client: &Client, id: TicketId) {
    let mut owed = Owed { engine, id, seen_to: false };
    let call = match engine.begin_call(id).await {
        Ok(call) => call,
        Err(ChangeError::Unknown) => {
            owed.seen_to = true;
            return engine.call_void(id);
        }
        Err(error) => {
            let upload = id.short();
            return tracing::error!(%upload, ?error, "a call could not be recorded, trying later");
        }
    };
    if let Some(call) = call {
        let began = Instant::now();
        let result = make(client, &call).await;
        log(&call, &result, began.elapsed());
        if let Err(error) = engine.end_call(id, result).await {
            let upload = id.short();
            return tracing::error!(%upload, ?error, "the end of a call could not be recorded, calling again later");
        }
    }
    owed.seen_to = true;
    engine.call_over(id).await;
}

fn log(call: &Call, result: &CallResult, took: Duration) {
    let (upload, request) = (call.id.short(), request_of(call.cause.as_ref()));
    let (attempt, ms) = (call.attempt, ms(took));
    match result {
        CallResult::Done => {
            tracing::debug!(%upload, request, attempt, ms, "the backend answered done");
        }
        CallResult::Wait => {
            tracing::info!(%upload, request, attempt, ms, "the backend answered wait");
        }
        CallResult::Unanswered(why) => {
            tracing::warn!(%upload, request, attempt, ms, why, "the backend has not taken the file");
        }
    }
}

async fn make(client: &Client, call: &Call) -> CallResult {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(&call.fields).finish();
    let trace = call.cause.as_ref().and_then(Cause::traceparent);
    let answer = match client.post_form(&call.url, form, &call.id.to_string(), trace).await {
        Ok(answer) => answer,
        Err(error) => return CallResult::Unanswered(error.to_string()),
    };
    judge(call.kind, answer.status, &answer.word)
}

/// What an answer means. A handover wants its word; that a cancelled upload is gone needs no more
/// than a sign that somebody heard it.
fn judge(kind: CallKind, status: u16, word: &str) -> CallResult {
    match (kind, status, word) {
        (CallKind::CancelNotice, 200..=299 | 404 | 410, _) | (CallKind::Handover, 200, "done") => {
            CallResult::Done
        }
        (CallKind::Handover, 200, "wait") => CallResult::Wait,
        (CallKind::Handover, 200, _) => {
            CallResult::Unanswered(format!("the backend answered {word:?}, neither done nor wait"))
        }
        (CallKind::Handover | CallKind::CancelNotice, _, _) => {
            CallResult::Unanswered(format!("the backend answered with status {status}"))
        }
    }
}

/// Calls at the same time. A dead backend holds each for the whole timeout, so this is well above
/// what live ones need.
const MAX_CALLS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let check = |kind, status, word: &str, done: Option<CallResult>| {
            let result = judge(kind, status, word);
            match done {
                Some(expected) => assert_eq!(result, expected, "{kind:?} {status} {word}"),
                None => {
                    assert!(matches!(result, CallResult::Unanswered(_)), "{kind:?} {status} {word}")
                }
            }
        };
        check(CallKind::Handover, 200, "done", Some(CallResult::Done));
        check(CallKind::Handover, 200, "wait", Some(CallResult::Wait));
        check(CallKind::Handover, 200, "", None);
        check(CallKind::Handover, 200, "done?", None);
        check(CallKind::Handover, 201, "done", None);
        check(CallKind::Handover, 302, "done", None);
        check(CallKind::Handover, 404, "", None);
        check(CallKind::CancelNotice, 200, "", Some(CallResult::Done));
        check(CallKind::CancelNotice, 204, "", Some(CallResult::Done));
        check(CallKind::CancelNotice, 404, "no", Some(CallResult::Done));
        check(CallKind::CancelNotice, 410, "", Some(CallResult::Done));
        check(CallKind::CancelNotice, 500, "done", None);
        check(CallKind::CancelNotice, 302, "", None);
    }
}
