//! Upload protocols. A dialect parses the requests for an upload and renders what became of them: success, problems and
//! their status codes, the methods it has, and the header names that pages of other origins may use.
//!
//! Path and head name the dialect; the id names the upload, which is the same in all of them. To add a dialect: a variant of
//! [`Dialect`] with its number in the journal (`storage/local/format`); a module beside [`native`] with its table of status
//! codes; an arm in each `match` of this file; its URLs in `route.rs`; its headers in `cors.rs`; a code of its own where
//! [`super::problem`] maps two causes to one; and what [`super::unsupported`] refuses of all requests must not be what it uses.

pub(super) mod native;
mod resumable;
pub(super) mod tus;

use super::header::content_length;
use super::problem::{Code, Problem, unread};
use super::reply::{answer_bytes, hold_until_sent};
use super::route::{Route, Target};
use super::{Answer, Exchange, Options, Wire};
pub(super) use crate::core::dialect::Dialect;
use crate::core::event::Notice;
use crate::core::id::TicketId;
use crate::core::refusal::{Refusal, Terminal};
use crate::core::state::StateName;
use crate::engine::Engine;
use crate::engine::error::{ChangeError, ClientFault, TransferError};
use crate::engine::slots::InUse;
use crate::engine::status::Status;
use crate::net::RequestBody;
use hyper::Method;
use hyper::body::Body as _;
use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use native::Native;
use resumable::Resumable;
use std::sync::Arc;
use tus::Tus;

impl Dialect {
    /// The dialect of a request. The path names it; at an upload's native URL a request may name another one by its
    /// headers, unless it has `Content-Range`. What is no request for an upload is answered as the native one does.
    pub(super) fn of(route: Route, head: &Parts, options: &Options) -> Self {
        match route {
            Route::Tus(_) => Self::Tus,
            Route::Resumable(_) => Self::Resumable,
            Route::Upload(_) if head.headers.contains_key(CONTENT_RANGE) => Self::Native,
            Route::Upload(_) if tus::names_tus(head) => Self::Tus,
            Route::Upload(_) if resumable::names_resumable(head, &options.resumable_versions) => {
                Self::Resumable
            }
            _ => Self::Native,
        }
    }

    /// Makes a request whose header names another method one of that method, in a dialect that has that.
    pub(super) fn override_method(self, head: &mut Parts) {
        match self {
            Self::Native | Self::Resumable => {}
            Self::Tus => tus::override_method(head),
        }
    }

    /// Adds the headers that every answer of this dialect has.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        match self {
            Self::Native => {}
            Self::Resumable => {
                headers.insert("cache-control", HeaderValue::from_static("no-store"));
            }
            Self::Tus => {
                headers.insert("tus-resumable", HeaderValue::from_static("1.0.0"));
                headers.insert("cache-control", HeaderValue::from_static("no-store"));
            }
        }
    }

    /// A problem that is not about an upload, or about one of which nothing is known.
    pub(super) fn problem(self, problem: &Problem) -> Answer {
        match self {
            Self::Native => native::problem_answer(problem, None),
            Self::Tus => tus::problem_answer(problem, None),
            Self::Resumable => resumable::problem_answer(problem, None),
        }
    }
}

impl Wire {
    /// Answers a request for an upload, or for all of them.
    pub(super) async fn upload(
        self: &Arc<Self>,
        target: Target,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        match exchange.dialect {
            Dialect::Native => Native::new(self, exchange).upload(target.id(), body).await,
            // Boxed: the requests of the native one would carry the space of these.
            Dialect::Tus => Box::pin(Tus::new(self, exchange).answer(target, body)).await,
            Dialect::Resumable => {
                Box::pin(Resumable::new(self, exchange).answer(target, body)).await
            }
        }
    }

    /// Answers a request to compare an upload's bytes.
    pub(super) async fn comparison(
        self: &Arc<Self>,
        id: Option<TicketId>,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        Native::new(self, exchange).comparison(id, body).await
    }

    /// A place for a call about an upload that may wait for the disk, or for other requests, and brings no bytes.
    async fn small_call(&self, id: TicketId) -> Result<InUse, Problem> {
        Ok(self.engine.small_call(id).await??)
    }

    /// How the upload of a problem stands, where a client can go on with it.
    async fn open_status(&self, id: TicketId, problem: &Problem) -> Option<Status> {
        match problem.code() {
            Code::UnknownUpload | Code::UploadOver => None,
            _ => self.engine.status(id).await.ok().and_then(|status| living(status).ok()),
        }
    }

    /// Cancels an upload that is not complete, and forgets one that was handed over.
    async fn remove(&self, id: TicketId) -> Result<(), ChangeError> {
        let reason = "cancelled by the client".to_owned();
        match self.engine.cancel(id, reason, Notice::Due).await {
            Err(ChangeError::Refused(Refusal::UploadOver(Terminal::Finished))) => {
                self.engine.forget(id).await
            }
            done => done.map(drop),
        }
    }

    /// A status, counted until its peer has taken it where it is large; a refusal where too much is
    /// untaken already: an HTTP/2 peer may ask a hundred times and read nothing.
    async fn hold_status(&self, dialect: Dialect, id: TicketId, answer: Answer) -> Answer {
        let Some(bytes) = large(&answer) else { return answer };
        match self.engine.hold_answer(id, bytes).await {
            Ok(Ok(held)) => hold_until_sent(answer, held).await,
            Ok(Err(_)) => dialect.problem(&unread()),
            Err(error) => dialect.problem(&error.into()),
        }
    }

    /// The answer to what has been done: never refused, since its client would do it again. It is counted, and what
    /// is new waits for it.
    async fn hold_outcome(&self, id: TicketId, answer: Answer) -> Answer {
        let Some(bytes) = large(&answer) else { return answer };
        match self.engine.hold_outcome(id, bytes).await {
            Ok(held) => hold_until_sent(answer, held).await,
            // It was forgotten meanwhile.
            Err(_) => answer,
        }
    }

    /// An answer of which a shorter form does where too much is untaken already.
    async fn hold_detail(
        &self,
        id: TicketId,
        answer: Answer,
        short: impl FnOnce() -> Answer,
    ) -> Answer {
        let Some(bytes) = large(&answer) else { return answer };
        match self.engine.hold_answer(id, bytes).await {
            Ok(Ok(held)) => hold_until_sent(answer, held).await,
            Ok(Err(_)) | Err(_) => short(),
        }
    }
}

/// Clients begin anew on 404 alone: an upload that takes no bytes any more and has handed over none is unknown to them.
fn living(status: Status) -> Result<Status, Problem> {
    match status.state {
        StateName::Cancelled | StateName::Failed => Err(gone()),
        StateName::New | StateName::Uploading | StateName::HandingOver | StateName::Finished => {
            Ok(status)
        }
    }
}

fn gone() -> Problem {
    Problem::new(Code::UnknownUpload, "there is no such upload")
}

/// Where clients find an upload in the dialect of this request.
fn url(exchange: &Exchange, id: TicketId) -> String {
    exchange.options.frontend(&format!("{}/{id}", exchange.dialect.word()))
}

fn add_location(exchange: &Exchange, id: TicketId, headers: &mut HeaderMap) {
    if let Ok(location) = HeaderValue::try_from(url(exchange, id)) {
        headers.insert(LOCATION, location);
    }
}

/// Errors: a method that is not one of these.
fn check_method(method: &Method, methods: &'static str) -> Result<(), Problem> {
    match methods.split(", ").any(|known| known == method.as_str()) {
        true => Ok(()),
        false => Err(Problem::method(method, methods)),
    }
}

/// Errors: a body that ends there goes past the length that comes with it.
fn check_fits(end: Option<u64>, length: Option<u64>) -> Result<(), Problem> {
    match (end, length) {
        (Some(end), Some(length)) if end > length => {
            Err(Refusal::RangeOutside { end, length }.into())
        }
        _ => Ok(()),
    }
}

/// Why an append was not taken. Clients of both protocols repeat 5xx and no 400, and what broke off comes again.
fn not_received(error: TransferError) -> Problem {
    match error {
        TransferError::Client(fault @ ClientFault::BrokeOff(_)) => {
            Problem::new(Code::Unavailable, fault.to_string())
        }
        error => error.into(),
    }
}

/// The length of a body, if its head tells it.
fn body_length(head: &Parts, body: &RequestBody) -> Result<Option<u64>, Problem> {
    // Without a length and a coding there is no body (RFC 9112, section 6.3).
    Ok(content_length(&head.headers)?.or_else(|| body.is_end_stream().then_some(0)))
}

/// The sizes that are taken, as `Upload-Limit` has them. Source: the IETF's resumable uploads.
fn limits(engine: &Engine) -> String {
    let limits = engine.options().limits;
    let sizes = [("max-size", limits.largest_file()), ("max-append-size", limits.max_chunk_bytes)];
    let known = sizes.iter().filter_map(|(word, bytes)| bytes.map(|it| format!(", {word}={it}")));
    "min-size=0".to_owned() + &known.collect::<String>()
}

/// The bytes of an answer that is large.
fn large(answer: &Answer) -> Option<u64> {
    Some(answer_bytes(answer)).filter(|bytes| *bytes >= LARGE_ANSWER_BYTES)
}

/// An answer of this size has some tens of ranges. Smaller ones cost no more than their streams.
const LARGE_ANSWER_BYTES: u64 = 1 << 10;

#[cfg(test)]
mod tests;
