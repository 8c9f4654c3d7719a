//! `/healthz`, `/readyz` and `/metrics`, on the backend surface. Each answers within its deadline, also
//! while a disk hangs, and however many ask: one look at the disk is under way at a time.

use super::header::accepts;
use super::reply::{Code, Problem, json_answer, text_answer};
use super::route::Route;
use super::{Answer, Caller, MetricsFormat, Scrape, Surface, Wire, backend};
use crate::engine::deadline::{Deadline, within};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

impl Wire {
    pub(super) async fn health(
        self: &Arc<Self>,
        route: Route,
        surface: Surface,
        caller: Caller,
        head: &Parts,
    ) -> Answer {
        // A balancer that asks whether the server lives has no token; the address rule holds.
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Problem::method(&head.method, "GET, HEAD").into_text();
        }
        if let Err(problem) =
            self.options.now().access.check_address(surface, &caller, &head.headers)
        {
            return problem.into_text();
        }
        let (word, failed) = match route {
            Route::Metrics => {
                return match self.options.now().access.check(surface, &caller, head) {
                    Ok(()) => self.metrics(head).await,
                    Err(problem) => problem.into_text(),
                };
            }
            Route::Ready => ("ready", self.unready().await),
            _ => ("ok", self.stuck().await),
        };
        let form = backend::form(&head.headers);
        if failed.is_empty() {
            let notes = (self.beside.notes)();
            return match form {
                backend::Form::Text => {
                    let notes = notes.iter().map(|note| format!("note: {note}\n"));
                    text_answer(format!("{word}\n{}", notes.collect::<String>()))
                }
                backend::Form::Json if notes.is_empty() => {
                    json_answer(&serde_json::json!({ word: true }))
                }
                backend::Form::Json => {
                    json_answer(&serde_json::json!({ word: true, "notes": notes }))
                }
            };
        }
        form.problem(Problem::new(Code::Unavailable, failed.join("; ")))
    }

    async fn metrics(self: &Arc<Self>, head: &Parts) -> Answer {
        // A disk that does not say leaves its figure out, and all the others come.
        let free_bytes = timeout(FREE_BYTES, self.engine.free_bytes()).await.ok().flatten();
        let open = accepts(&head.headers, "accept", "application/openmetrics-text");
        let (format, media_type) = if open {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (MetricsFormat::OpenMetrics, media_type)
        } else {
            (MetricsFormat::Plain, "text/plain; version=0.0.4; charset=utf-8")
        };
        let mut answer = text_answer((self.beside.metrics)(Scrape { format, free_bytes }));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        answer
    }

    /// What does not turn: loops that do not poll a task in time, threads that take no work for the
    /// disk.
    async fn stuck(&self) -> Vec<String> {
        let mut deadline = Deadline::new(DEADLINE);
        let asked: Vec<_> = self.beside.loops.iter().map(|turn| (turn, turn.ask())).collect();
        let mut stuck = Vec::new();
        for (turn, asked) in asked {
            let turned = tokio::select! {
                biased;
                turned = asked => turned.is_some(),
                () = &mut deadline => false,
            };
            if !turned {
                stuck.push(format!("the event loop of thread {} is stalled", turn.name));
            }
        }
        tokio::select! {
            biased;
            () = self.engine.disk_thread() => {}
            () = &mut deadline => stuck.push("the disk threads are stalled".into()),
        }
        stuck
    }

    /// What keeps the server from taking new uploads.
    async fn unready(self: &Arc<Self>) -> Vec<String> {
        let mut why = Vec::new();
        match within(DEADLINE, self.engine.readiness()).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => why.push(reason.to_string()),
            Err(_) => why.push(format!("the disk does not answer within {} s", DEADLINE.as_secs())),
        }
        why.extend((self.beside.unready)());
        why
    }
}

/// Longer than a busy server takes to get to a task, so that load alone does not look like its death, and
/// longer than a write to a slow disk keeps a thread.
const DEADLINE: Duration = Duration::from_secs(5);
/// Prometheus waits for ten seconds.
const FREE_BYTES: Duration = Duration::from_secs(1);
