//! For those who run a server: `/healthz`, `/readyz`, `/metrics` and the filter of the log, on the backend surface.
//!
//! Health, readiness and metrics answer within their deadlines, also while a disk hangs, and however many ask: one probe
//! of the disk is under way at a time. A change of the log's filter has an end: details that an operator asked for
//! one night do not fill the disk for months.

use super::backend::{Form, form, ok};
use super::header::accepts;
use super::params::Params;
use super::problem::{Code, Problem, Refusals};
use super::reply::{json_answer, shown, text_answer};
use super::route::Route;
use super::{Answer, Exchange, Wire};
use crate::engine::deadline::{Deadline, within};
use crate::engine::health::SingleFlight;
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How the text of `/metrics` is to look, and what was asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Scrape {
    /// The format that the asker can read.
    pub format: MetricsFormat,
    /// Bytes free on the disk, where it said so in time.
    pub free_bytes: Option<u64>,
}

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own, version 0.0.4.
    Plain,
}

/// Makes the text of `/metrics`.
pub type RenderMetrics = Arc<dyn Fn(Scrape) -> String + Send + Sync>;

/// A runtime's event loop, which health asks to run a task.
pub struct EventLoopProbe {
    name: String,
    runtime: Handle,
    look: SingleFlight<()>,
}

impl EventLoopProbe {
    /// The loop of `runtime`, which runs on the thread of this name.
    pub fn new(name: String, runtime: Handle) -> Self {
        Self { name, runtime, look: SingleFlight::default() }
    }

    fn ask(&self) -> impl Future<Output = Option<()>> + use<> {
        let runtime = self.runtime.clone();
        self.look.ask(move || runtime.spawn(async {}))
    }
}

/// What is found at the moment of the call, one line each, for people.
pub type Findings = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// What the surface shows of the process around the engine, and what it counts.
pub struct AdminHooks {
    /// Where the backend API listens.
    pub address: String,
    /// The text of `/metrics`.
    pub metrics: RenderMetrics,
    /// Where answers that say no are counted.
    pub refusals: Arc<Refusals>,
    /// The event loops that must run.
    pub loops: Vec<EventLoopProbe>,
    /// Connections, memory and certificates.
    pub figures: Arc<dyn Fn() -> ServerFigures + Send + Sync>,
    /// What keeps the server from taking uploads, beside what the engine knows.
    pub unready: Findings,
    /// What is wrong while all is served.
    pub notes: Findings,
    /// The filter of the log, if it can be changed.
    pub log: Option<Arc<dyn LogFilter>>,
}

/// What an overview shows of the process around the engine.
#[derive(Clone, Debug)]
pub struct ServerFigures {
    /// When the server started.
    pub started: SystemTime,
    /// Connections that speak HTTP/1.1.
    pub http1: u64,
    /// Connections that speak HTTP/2.
    pub http2: u64,
    /// Connections, those in the handshake among them.
    pub accepted: u64,
    /// Connections of the public listener, at most.
    pub max_connections: u64,
    /// Bytes reserved of the memory budget.
    pub memory_used_bytes: u64,
    /// Bytes of the memory budget.
    pub memory_max_bytes: u64,
    /// When the first certificate of each TLS listener expires.
    pub certificates: Vec<(&'static str, SystemTime)>,
}

/// The filter of the process's log.
pub trait LogFilter: Send + Sync {
    /// The filter in force.
    fn current(&self) -> CurrentFilter;

    /// Puts another filter into force for `time`; then that of the settings is restored. Must be called inside a runtime.
    fn set_temporarily(self: Arc<Self>, filter: &str, time: Duration) -> Result<(), FilterError>;

    /// Puts the filter of the settings into force.
    fn restore(&self) -> Result<(), FilterError>;
}

/// Why a filter was not put into force.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// What a filter must be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The log took no filter.
    #[error("{0}")]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// A filter that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentFilter {
    /// As it was given.
    pub filter: String,
    /// When it ends; `None`: it is the one of the settings.
    pub until: Option<SystemTime>,
}

impl Wire {
    pub(super) async fn health(self: &Arc<Self>, route: Route, exchange: &Exchange) -> Answer {
        let Exchange { head, surface, caller, options, .. } = exchange;
        // A balancer that asks whether the server lives has no token; the address rule holds.
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Problem::method(&head.method, "GET, HEAD").into_text();
        }
        if let Err(problem) = options.access.check_address(*surface, caller, &head.headers) {
            return problem.into_text();
        }
        let (word, failed) = match route {
            Route::Metrics => {
                return match options.access.check(*surface, caller, head) {
                    Ok(_) => self.metrics(&head.headers).await,
                    Err(problem) => problem.into_text(),
                };
            }
            Route::Ready => ("ready", self.unready().await),
            _ => ("ok", self.stuck().await),
        };
        let form = form(&head.headers);
        if failed.is_empty() {
            let notes = (self.hooks.notes)();
            return match form {
                Form::Text => {
                    let notes = notes.iter().map(|note| format!("note: {note}\n"));
                    text_answer(format!("{word}\n{}", notes.collect::<String>()))
                }
                Form::Json if notes.is_empty() => json_answer(&serde_json::json!({ word: true })),
                Form::Json => json_answer(&serde_json::json!({ word: true, "notes": notes })),
            };
        }
        form.problem(Problem::new(Code::Unavailable, failed.join("; ")))
    }

    async fn metrics(self: &Arc<Self>, headers: &HeaderMap) -> Answer {
        // A disk that does not say leaves its figure out, and all the others come.
        let free_bytes = timeout(FREE_BYTES, self.engine.free_bytes()).await.ok().flatten();
        let open = accepts(headers, "accept", "application/openmetrics-text");
        let (format, media_type) = if open {
            let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            (MetricsFormat::OpenMetrics, media_type)
        } else {
            (MetricsFormat::Plain, "text/plain; version=0.0.4; charset=utf-8")
        };
        let mut answer = text_answer((self.hooks.metrics)(Scrape { format, free_bytes }));
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        answer
    }

    /// What does not turn: loops that do not poll a task in time, threads that take no work for the
    /// disk.
    async fn stuck(&self) -> Vec<String> {
        let mut deadline = Deadline::new(DEADLINE);
        let asked: Vec<_> = self.hooks.loops.iter().map(|turn| (turn, turn.ask())).collect();
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
    pub(super) async fn unready(self: &Arc<Self>) -> Vec<String> {
        let mut why = Vec::new();
        match within(DEADLINE, self.engine.readiness()).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => why.push(reason.to_string()),
            Err(_) => why.push(format!("the disk does not answer within {} s", DEADLINE.as_secs())),
        }
        why.extend((self.hooks.unready)());
        why
    }

    pub(super) fn log(
        &self,
        method: &Method,
        params: &Params,
        form: Form,
    ) -> Result<Answer, Problem> {
        let none = || Problem::new(Code::WrongState, "this program's log has no filter");
        let log = self.hooks.log.as_ref().ok_or_else(none)?;
        if *method != Method::POST {
            let CurrentFilter { filter, until } = log.current();
            let until = until.map(|at| humantime::format_rfc3339_seconds(at).to_string());
            return Ok(match form {
                Form::Text => text_answer(filter),
                Form::Json => json_answer(&serde_json::json!({ "filter": filter, "until": until })),
            });
        }
        // Ignored, a misspelt `filter` would be a call without one, which does something else.
        params.refuse_unknown(&["filter", "for"])?;
        let time = params.duration("for", LONGEST)?;
        let Some(filter) = params.text("filter") else {
            if time.is_some() {
                let why =
                    "parameter for says how long parameter filter holds, but filter is missing";
                return Err(Problem::bad_request(why));
            }
            log.restore().map_err(|error| Problem::bad_request(error.to_string()))?;
            return Ok(ok(form));
        };
        if filter.len() > MAX_FILTER_BYTES {
            let detail = format!(
                "parameter filter has {} bytes, at most {MAX_FILTER_BYTES} are allowed",
                filter.len()
            );
            return Err(Problem::bad_request(detail));
        }
        Arc::clone(log).set_temporarily(filter, time.unwrap_or(USUAL)).map_err(|why| {
            Problem::bad_request(format!("parameter filter {}: {why}", shown(filter)))
        })?;
        Ok(ok(form))
    }
}

/// Longer than a busy server takes to get to a task, so that load alone does not look like its death, and
/// longer than a write to a slow disk keeps a thread.
const DEADLINE: Duration = Duration::from_secs(5);
/// Prometheus waits for ten seconds.
const FREE_BYTES: Duration = Duration::from_secs(1);
/// How long a filter holds where nobody says: long enough to see something happen.
const USUAL: Duration = Duration::from_secs(60 * 60);
/// How long it holds at most. What is to be logged for longer is a matter of the settings.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Far more than anybody types.
const MAX_FILTER_BYTES: usize = 1024;
