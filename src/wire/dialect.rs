//! Upload protocols. A dialect parses the requests for an upload and renders what became of them: success, problems and
//! their status codes, the methods it has, and the header names that pages of other origins may use.
//!
//! Path and head name the dialect; the id names the upload, which is the same in all of them. To add a dialect: a
//! variant, a module beside [`native`], and an arm in each `match` of this file; its URLs in `route.rs`; a code of its own where
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
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::engine::Engine;
use crate::engine::slots::InUse;
use crate::engine::status::Status;
use crate::net::RequestBody;
use hyper::body::Body as _;
use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderValue};
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
    /// Answers a request for an upload.
    pub(super) async fn upload(
        self: &Arc<Self>,
        id: Option<TicketId>,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        match exchange.dialect {
            Dialect::Native => Native::new(self, exchange).upload(id, body).await,
            Dialect::Tus => self.tus(Target::Upload(id), exchange, body).await,
            Dialect::Resumable => self.resumable(Target::Upload(id), exchange, body).await,
        }
    }

    /// Answers a request in the dialect tus.
    pub(super) async fn tus(
        self: &Arc<Self>,
        target: Target,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        // Boxed: the requests of the other dialects would carry its space.
        Box::pin(Tus::new(self, exchange).answer(target, body)).await
    }

    /// Answers a request in the dialect of the IETF's resumable uploads.
    pub(super) async fn resumable(
        self: &Arc<Self>,
        target: Target,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        Box::pin(Resumable::new(self, exchange).answer(target, body)).await
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

/// The length of a body, if its head tells it.
fn body_length(head: &Parts, body: &RequestBody) -> Result<Option<u64>, Problem> {
    // Without a length and a coding there is no body (RFC 9112, section 6.3).
    Ok(content_length(&head.headers)?.or_else(|| body.is_end_stream().then_some(0)))
}

/// The sizes that are taken, as `Upload-Limit` has them. Source: the IETF's resumable uploads.
fn limits(engine: &Engine) -> String {
    let limits = engine.options().limits;
    let sizes =
        [("max-size", limits.max_upload_bytes), ("max-append-size", limits.max_chunk_bytes)];
    let known = sizes.iter().filter_map(|(word, bytes)| bytes.map(|it| format!(", {word}={it}")));
    "min-size=0".to_owned() + &known.collect::<String>()
}

/// The bytes of an answer that is large.
fn large(answer: &Answer) -> Option<u64> {
    Some(answer_bytes(answer)).filter(|bytes| *bytes >= LARGE_ANSWER_BYTES)
}

/// An answer of this size has some tens of ranges. Smaller ones cost no more than their streams.
const LARGE_ANSWER_BYTES: u64 = 1 << 10;
