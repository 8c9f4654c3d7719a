//! The protocol of this server's own clients (docs/protocol.md): bind, status, chunk, cancel, verify.

pub(in crate::wire) mod json;
mod problem;
mod verify;

use super::{Dialect, check_method, gone, limits};
use crate::core::command::{At, BodyScope, Offer};
use crate::core::event::Notice;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::MAX_FILE_BYTES;
use crate::core::name;
use crate::core::state::StateName;
use crate::engine::status::Status;
use crate::net::{PeerDisconnect, RequestBody};
use crate::wire::body::collect;
use crate::wire::content_digest::content_digest;
use crate::wire::cors::preflight_answer;
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::{json_answer, shown};
use crate::wire::{Answer, Exchange, Wire, header, unsupported};
use hyper::Method;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use json::StatusBody;
pub(super) use problem::{Members, answer as problem_answer, answer_with as problem_answer_with};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// One request in this dialect.
pub(in crate::wire) struct Native<'a> {
    wire: &'a Arc<Wire>,
    exchange: &'a Exchange,
}

impl<'a> Native<'a> {
    pub(super) fn new(wire: &'a Arc<Wire>, exchange: &'a Exchange) -> Self {
        Self { wire, exchange }
    }

    /// The upload's own URL.
    pub(super) async fn upload(&self, id: Option<TicketId>, body: RequestBody) -> Answer {
        let method = &self.exchange.head.method;
        if method == Method::OPTIONS {
            return self.options_answer();
        }
        if let Err(problem) = check_method(method, METHODS) {
            return problem.into_answer();
        }
        let Some(id) = id else { return gone().into_answer() };
        let done = match *method {
            Method::POST => self.bind(id, body).await,
            Method::PUT => self.put(id, body).await,
            Method::DELETE => self.delete(id).await,
            _ => self.get(id).await,
        };
        match done {
            Ok(status) => {
                let answer = self.status_answer(status);
                match *method {
                    Method::GET | Method::HEAD => {
                        self.wire.hold_status(Dialect::Native, id, answer).await
                    }
                    _ => self.wire.hold_outcome(id, answer).await,
                }
            }
            Err(problem) => self.problem(id, problem).await,
        }
    }

    /// `U/verify`.
    pub(super) async fn comparison(&self, id: Option<TicketId>, body: RequestBody) -> Answer {
        let head = &self.exchange.head;
        if head.method == Method::OPTIONS {
            return preflight_answer(self.exchange, VERIFY_METHODS);
        }
        if let Err(problem) = check_method(&head.method, VERIFY_METHODS) {
            return problem.into_answer();
        }
        let Some(id) = id else { return gone().into_answer() };
        let verified = match unsupported::check_no_range(&head.method, &head.headers) {
            Ok(()) => self.verify(id, body).await,
            Err(problem) => Err(problem),
        };
        match verified {
            Ok(answer) => self.wire.hold_outcome(id, answer).await,
            Err(problem) => self.problem(id, problem).await,
        }
    }

    fn status_answer(&self, status: Status) -> Answer {
        let body = self.status_body(status);
        let mut answer = json_answer(&body);
        body.add_headers(answer.headers_mut());
        answer
    }

    pub(super) fn status_body(&self, status: Status) -> StatusBody {
        let max_chunk = self.wire.engine.options().limits.max_chunk_bytes;
        StatusBody::public(status, &self.exchange.options, max_chunk)
    }

    /// A problem, with how the upload stands where there is memory for that.
    async fn problem(&self, id: TicketId, problem: Problem) -> Answer {
        let upload = match problem.code() {
            Code::UnknownUpload => None,
            _ => self.wire.engine.status(id).await.ok().map(|status| self.status_body(status)),
        };
        let answer = problem_answer(&problem, upload.as_ref());
        self.wire.hold_detail(id, answer, || problem_answer(&problem, None)).await
    }

    fn options_answer(&self) -> Answer {
        let mut answer = preflight_answer(self.exchange, PREFLIGHT_METHODS);
        let headers = answer.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&limits(&self.wire.engine)) {
            headers.insert("upload-limit", value);
        }
        answer
    }

    async fn bind(&self, id: TicketId, body: RequestBody) -> Result<Status, Problem> {
        let head = &self.exchange.head;
        unsupported::check_no_range(&head.method, &head.headers)?;
        // Refused before its body where that is known already.
        self.wire.engine.check_open(id).await?;
        let _call = self.wire.small_call(id).await?;
        let told = collect(body, MAX_JSON_BYTES, &self.wire.body_memory.frontend).await;
        let told = told.map_err(|problem| match problem.code() {
            Code::TooLarge => Problem::new(
                Code::TooLarge,
                format!("POST takes a JSON object of at most {MAX_JSON_BYTES} bytes about the file; its bytes go by PUT"),
            ),
            _ => problem,
        })?;
        let facts = json::facts(&told)?;
        Ok(self.wire.engine.bind(id, facts).await?)
    }

    async fn put(&self, id: TicketId, body: RequestBody) -> Result<Status, Problem> {
        let head = &self.exchange.head;
        unsupported::check_put(&head.headers)?;
        let range = header::content_range(&head.headers)?;
        let body_length = header::content_length(&head.headers)?;
        let digest = content_digest(&head.headers)?;
        let offer = match range {
            Some(range) => {
                if let Some(body) = body_length.filter(|body| *body != range.extent.len()) {
                    let detail = format!(
                        "header Content-Range holds {} bytes, header Content-Length says {body}",
                        range.extent.len()
                    );
                    return Err(Problem::new(Code::RangeInvalid, detail));
                }
                Offer {
                    extent: Some(range.extent),
                    length: range.length,
                    at: At::Anywhere,
                    scope: BodyScope::Range,
                }
            }
            None => Offer {
                extent: Extent::new(0, body_length.unwrap_or(MAX_FILE_BYTES)),
                length: body_length,
                at: At::Anywhere,
                scope: BodyScope::ToEnd,
            },
        };
        Ok(self.wire.engine.receive(id, offer, digest, body).await?)
    }

    async fn delete(&self, id: TicketId) -> Result<Status, Problem> {
        let head = &self.exchange.head;
        unsupported::check_no_range(&head.method, &head.headers)?;
        // It may be said again and again, and its answer repeats the reason.
        let _call = self.wire.small_call(id).await?;
        let reason = query(head, "reason").unwrap_or_default();
        let reason: String =
            reason.chars().filter(|c| !name::is_hidden(*c)).take(MAX_REASON_CHARS).collect();
        let reason = if reason.is_empty() { "cancelled by the browser".into() } else { reason };
        Ok(self.wire.engine.cancel(id, reason, Notice::Due).await?)
    }

    async fn get(&self, id: TicketId) -> Result<Status, Problem> {
        let head = &self.exchange.head;
        let state = match query(head, "state") {
            None => None,
            Some(word) => Some(StateName::of_word(&word).ok_or_else(|| {
                let words = StateName::ALL.map(StateName::word).join(", ");
                Problem::bad_request(format!(
                    "parameter state {}: expected one of {words}",
                    shown(&word)
                ))
            })?),
        };
        let Some(wait) = query(head, "wait") else { return Ok(self.wire.engine.status(id).await?) };
        let seconds: f64 = wait
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
            .ok_or_else(|| {
                Problem::bad_request(format!("parameter wait {}: expected seconds", shown(&wait)))
            })?;
        let at_most = Duration::from_secs_f64(seconds.min(LONGEST_WAIT_S));
        let gone = PeerDisconnect::gone(self.exchange.disconnect.as_ref());
        Ok(self.wire.engine.wait(id, state, at_most, gone).await?)
    }
}

/// The first value of a query parameter.
fn query<'a>(head: &'a Parts, name: &str) -> Option<Cow<'a, str>> {
    let pairs = form_urlencoded::parse(head.uri.query()?.as_bytes());
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

const VERIFY_METHODS: &str = "POST, OPTIONS";
/// With those of the dialects that a request may name here.
const PREFLIGHT_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// Bodies that are one small object about an upload: four times what 16 ranges to compare take, or a name of 255
/// characters, all of them escaped.
const MAX_JSON_BYTES: usize = 8 * 1024;
/// Reasons are for people.
const MAX_REASON_CHARS: usize = 1000;
/// Longest long poll (contract, section 2).
const LONGEST_WAIT_S: f64 = 50.0;
