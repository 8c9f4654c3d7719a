//! The upload URL: bind, status, chunk, cancel.

use super::body::collect;
use super::content_digest::content_digest;
use super::cors::preflight_answer;
use super::problem::{Code, Problem};
use super::reply::{hold_until_sent, json_answer, shown};
use super::status::StatusBody;
use super::{Answer, Exchange, Options, Wire, bind, header, unsupported};
use crate::core::command::{Offer, Reach};
use crate::core::event::Notice;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::MAX_FILE_BYTES;
use crate::core::name;
use crate::core::refusal::Refusal;
use crate::core::state::StateName;
use crate::engine::error::{Full, SmallCallError};
use crate::engine::status::Status;
use crate::net::{Presence, RequestBody};
use hyper::Method;
use hyper::body::Body as _;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

impl Wire {
    pub(super) async fn upload(
        self: &Arc<Self>,
        id: Option<TicketId>,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        let Exchange { head, options, .. } = exchange;
        if head.method == Method::OPTIONS {
            return self.options_answer(head);
        }
        let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        if !known.contains(&head.method) {
            return Problem::method(&head.method, METHODS).into_answer();
        }
        let Some(id) = id else {
            return Problem::new(Code::UnknownUpload, "there is no such upload").into_answer();
        };
        let done = match head.method {
            Method::POST => self.bind(id, head, body).await,
            Method::PUT => self.put(id, head, body).await,
            Method::DELETE => self.delete(id, head).await,
            _ => self.get(id, exchange).await,
        };
        match done {
            Ok(status) => {
                let answer = self.status_answer(status, options);
                match head.method {
                    Method::GET | Method::HEAD => self.held_status(id, answer).await,
                    _ => self.held_outcome(id, answer).await,
                }
            }
            Err(problem) => self.held_problem(id, problem, options).await,
        }
    }

    /// A status, counted until its peer has taken it where it is large; a refusal where too much is
    /// untaken already: an HTTP/2 peer may ask a hundred times and read nothing.
    async fn held_status(&self, id: TicketId, answer: Answer) -> Answer {
        let Some(bytes) = large(&answer) else { return answer };
        match self.engine.hold_answer(id, bytes).await {
            Ok(Ok(held)) => hold_until_sent(answer, held).await,
            Ok(Err(_)) => unread().into_answer(),
            Err(error) => Problem::from(error).into_answer(),
        }
    }

    /// The answer to what has been done: never refused, since its client would do it again. It is counted, and what
    /// is new waits for it.
    async fn held_outcome(&self, id: TicketId, answer: Answer) -> Answer {
        let Some(bytes) = large(&answer) else { return answer };
        match self.engine.hold_outcome(id, bytes).await {
            Ok(held) => hold_until_sent(answer, held).await,
            // It was forgotten meanwhile.
            Err(_) => answer,
        }
    }

    /// A problem, with how the upload stands where there is room for that.
    async fn held_problem(&self, id: TicketId, problem: Problem, options: &Options) -> Answer {
        let problem = self.with_status(id, problem, options).await;
        let answer = problem.answer();
        let Some(bytes) = large(&answer) else { return answer };
        match self.engine.hold_answer(id, bytes).await {
            Ok(Ok(held)) => hold_until_sent(answer, held).await,
            Ok(Err(_)) | Err(_) => problem.without_upload().into_answer(),
        }
    }

    pub(super) async fn verification(
        self: &Arc<Self>,
        id: Option<TicketId>,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        let Exchange { head, options, .. } = exchange;
        if head.method == Method::OPTIONS {
            return preflight_answer(&head.headers, VERIFY_METHODS);
        }
        if head.method != Method::POST {
            return Problem::method(&head.method, VERIFY_METHODS).into_answer();
        }
        let Some(id) = id else {
            return Problem::new(Code::UnknownUpload, "there is no such upload").into_answer();
        };
        let verified = match unsupported::check_no_range(&head.method, &head.headers) {
            Ok(()) => self.verify(id, exchange, body).await,
            Err(problem) => Err(problem),
        };
        match verified {
            Ok(answer) => self.held_outcome(id, answer).await,
            Err(problem) => self.held_problem(id, problem, options).await,
        }
    }

    fn status_answer(&self, status: Status, options: &Options) -> Answer {
        let body = self.status_body(status, options);
        let mut answer = json_answer(&body);
        body.add_headers(answer.headers_mut());
        answer
    }

    pub(super) fn status_body(&self, status: Status, options: &Options) -> StatusBody {
        let max_chunk = self.engine.options().limits.max_chunk_bytes;
        StatusBody::public(status, options, max_chunk)
    }

    /// Adds how the upload stands to a problem with it.
    async fn with_status(&self, id: TicketId, problem: Problem, options: &Options) -> Problem {
        if problem.code() == Code::UnknownUpload {
            return problem;
        }
        match self.engine.status(id).await {
            Ok(status) => problem.with_upload(self.status_body(status, options)),
            Err(_) => problem,
        }
    }

    fn options_answer(&self, head: &Parts) -> Answer {
        let mut answer = preflight_answer(&head.headers, METHODS);
        let headers = answer.headers_mut();
        let limits = self.engine.options().limits;
        let sizes =
            [("max-size", limits.max_upload_bytes), ("max-append-size", limits.max_chunk_bytes)];
        let known: Vec<String> = sizes
            .iter()
            .filter_map(|(word, bytes)| bytes.map(|bytes| format!("{word}={bytes}")))
            .collect();
        if let Ok(value) = HeaderValue::from_str(&known.join(", "))
            && !known.is_empty()
        {
            headers.insert("upload-limit", value);
        }
        answer
    }

    async fn bind(
        self: &Arc<Self>,
        id: TicketId,
        head: &Parts,
        body: RequestBody,
    ) -> Result<Status, Problem> {
        unsupported::check_no_range(&head.method, &head.headers)?;
        // Refused before its body where that is known already.
        self.engine.check_open(id).await?;
        let _call = self.engine.small_call(id).await??;
        let told = collect(body, MAX_JSON_BYTES, &self.rooms.frontend).await;
        let told = told.map_err(|problem| match problem.code() {
            Code::TooLarge => Problem::new(
                Code::TooLarge,
                format!("POST takes a JSON object of at most {MAX_JSON_BYTES} bytes about the file; its bytes go by PUT"),
            ),
            _ => problem,
        })?;
        let facts = bind::facts(&told)?;
        Ok(self.engine.bind(id, facts).await?)
    }

    async fn put(
        self: &Arc<Self>,
        id: TicketId,
        head: &Parts,
        body: RequestBody,
    ) -> Result<Status, Problem> {
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
                Offer { extent: Some(range.extent), length: range.length, reach: Reach::Chunk }
            }
            None => Offer {
                extent: Extent::new(0, body_length.unwrap_or(MAX_FILE_BYTES)),
                length: body_length,
                reach: Reach::WholeFile,
            },
        };
        // Who asks before sending is told that nothing need be sent. On HTTP/2 that is a reset, which some
        // clients take for a failure.
        if body.awaits_continue()
            && let Some(status) = self.engine.known(id, &offer).await?
        {
            return Ok(status);
        }
        Ok(self.engine.receive(id, offer, digest, body).await?)
    }

    async fn delete(self: &Arc<Self>, id: TicketId, head: &Parts) -> Result<Status, Problem> {
        unsupported::check_no_range(&head.method, &head.headers)?;
        // It may be said again and again, and its answer repeats the reason.
        let _call = self.engine.small_call(id).await??;
        let reason = query(head, "reason").unwrap_or_default();
        let reason: String =
            reason.chars().filter(|c| !name::is_hidden(*c)).take(MAX_REASON_CHARS).collect();
        let reason = if reason.is_empty() { "cancelled by the browser".into() } else { reason };
        Ok(self.engine.cancel(id, reason, Notice::Due).await?)
    }

    async fn get(self: &Arc<Self>, id: TicketId, exchange: &Exchange) -> Result<Status, Problem> {
        let head = &exchange.head;
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
        let Some(wait) = query(head, "wait") else { return Ok(self.engine.status(id).await?) };
        let seconds: f64 = wait
            .parse()
            .ok()
            .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
            .ok_or_else(|| {
                Problem::bad_request(format!("parameter wait {}: expected seconds", shown(&wait)))
            })?;
        let at_most = Duration::from_secs_f64(seconds.min(LONGEST_WAIT_S));
        let gone = Presence::gone(exchange.presence.as_ref());
        Ok(self.engine.wait(id, state, at_most, gone).await?)
    }
}

/// The bytes of an answer that is large.
fn large(answer: &Answer) -> Option<u64> {
    answer.body().size_hint().exact().filter(|bytes| *bytes >= LARGE_ANSWER_BYTES)
}

pub(super) fn unread() -> Problem {
    let detail = "large answers about this upload are still unread; read them, then ask again";
    Problem::new(Code::TooMany, detail)
}

/// The upload, or all of them together, have as many of these as may be.
pub(super) fn too_many(taken: Full, what: &str) -> Problem {
    let detail = match taken.limit {
        0 => format!("the server has reached its limit of {what}; try again in a moment"),
        limit => format!("the upload has {limit} {what}, its limit for now"),
    };
    Problem::new(Code::TooMany, detail)
}

impl From<SmallCallError> for Problem {
    fn from(error: SmallCallError) -> Self {
        match error {
            SmallCallError::Full(taken) => too_many(taken, "small requests under way"),
            SmallCallError::Unread => unread(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::UploadOver(_) => Code::UploadOver,
            Refusal::LengthChanged { .. } => Code::LengthChanged,
            Refusal::RangeOutside { .. } | Refusal::RangeMismatch { .. } => Code::RangeInvalid,
            Refusal::ChunkTooLarge { .. }
            | Refusal::FileTooLarge { .. }
            | Refusal::BeyondTheDisk { .. } => Code::TooLarge,
            Refusal::TooManyHoles { .. } | Refusal::JournalFull { .. } => Code::TooMany,
            Refusal::TooLateToCancel | Refusal::NothingToFinish | Refusal::NothingToRetry => {
                Code::WrongState
            }
            Refusal::WrongSecret => Code::Forbidden,
        };
        Self::new(code, refusal.to_string())
    }
}

/// The first value of a query parameter.
fn query<'a>(head: &'a Parts, name: &str) -> Option<Cow<'a, str>> {
    let pairs = form_urlencoded::parse(head.uri.query()?.as_bytes());
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// An answer of this size has some tens of ranges. Smaller ones cost no more than their streams.
const LARGE_ANSWER_BYTES: u64 = 1 << 10;
const VERIFY_METHODS: &str = "POST, OPTIONS";
const METHODS: &str = "GET, HEAD, POST, PUT, DELETE, OPTIONS";
/// Bodies that are one small object about an upload: four times what 16 ranges to compare take, or a name of 255
/// characters, all of them escaped.
pub(super) const MAX_JSON_BYTES: usize = 8 * 1024;
/// Reasons are for people.
const MAX_REASON_CHARS: usize = 1000;
/// Longest long poll (contract, section 2).
const LONGEST_WAIT_S: f64 = 50.0;
