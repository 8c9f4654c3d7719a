//! Resumable Uploads for HTTP of the IETF (draft-ietf-httpbis-resumable-upload), interop versions 3 to 10 and the text without a
//! number. What differs between them is in [`header::Version`].
//!
//! Departures: an upload is complete when every byte of a known length is there, and the answer says so at that moment; a
//! request that a newer one replaces is 400, which no client repeats. `104 Upload Resumption Supported` comes once, to a
//! creation on HTTP/1.1 that names its version: proxies and clients give up where many interim answers come. Absent: it on
//! HTTP/2, whose server in hyper sends none, and the progress that it may tell.

mod header;
mod status;

use super::native::Native;
use super::{
    add_location, body_length, check_fits, check_method, gone, limits, living, not_received,
};
use crate::core::command::{At, BodyScope, FileFacts, Offer};
use crate::core::event::Notice;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::MAX_FILE_BYTES;
use crate::core::refusal::Refusal;
use crate::engine::error::{ChangeError, TransferError};
use crate::engine::status::Status;
use crate::net::{InterimAnswers, InterimTo, RequestBody};
use crate::wire::content_digest::content_digest;
use crate::wire::cors::preflight_answer;
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::{json_answer, no_content};
use crate::wire::route::Target;
use crate::wire::{Answer, Exchange, Wire, unsupported};
pub(super) use header::names_resumable;
use header::{Request, Version};
use hyper::body::Body as _;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
pub(super) use status::answer as problem_answer;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One request in this dialect.
pub(super) struct Resumable<'a> {
    wire: &'a Arc<Wire>,
    exchange: &'a Exchange,
    version: Version,
}

impl<'a> Resumable<'a> {
    pub(super) fn new(wire: &'a Arc<Wire>, exchange: &'a Exchange) -> Self {
        let version = Version::of(&exchange.head.headers, &exchange.options.resumable_versions);
        Self { wire, exchange, version }
    }

    /// Any request of this dialect.
    pub(super) async fn answer(&self, target: Target, body: RequestBody) -> Answer {
        let head = &self.exchange.head;
        if head.method == Method::OPTIONS {
            let mut answer = preflight_answer(self.exchange, methods(target));
            self.add_limits(None, answer.headers_mut());
            return answer;
        }
        let checked = check_method(&head.method, methods(target))
            .and_then(|()| unsupported::check_no_range(&head.method, &head.headers));
        if let Err(problem) = checked {
            return self.plain_problem(&problem);
        }
        if head.headers.contains_key("tus-resumable") {
            let detail = "header Tus-Resumable: tus uploads are at /incoming/frontend/tus";
            return self.plain_problem(&Problem::bad_request(detail));
        }
        let mut id = match target {
            Target::Collection => None,
            Target::Upload(Some(id)) => Some(id),
            Target::Upload(None) => return self.plain_problem(&gone()),
        };
        let done = match (id, &head.method) {
            (None, _) | (Some(_), &Method::POST | &Method::PUT) => self.create(&mut id, body).await,
            (Some(id), &Method::PATCH) => self.append(id, body).await,
            (Some(id), &Method::DELETE) => self.cancel(id).await,
            (Some(id), _) => self.offset(id).await,
        };
        match (done, id) {
            (Ok(answer), _) => answer,
            (Err(problem), None) => self.plain_problem(&problem),
            (Err(problem), Some(id)) => self.problem(id, &problem).await,
        }
    }

    /// A problem of which no upload is known.
    fn plain_problem(&self, problem: &Problem) -> Answer {
        let mut answer = problem_answer(problem, None);
        let headers = answer.headers_mut();
        let known = !matches!(problem.code(), Code::UnknownUpload | Code::UploadOver);
        let brings = [Method::POST, Method::PUT, Method::PATCH];
        // No client may take it for the answer of the target.
        if known && brings.contains(&self.exchange.head.method) {
            self.version.add_complete(false, headers);
        }
        if about_size(problem) {
            self.add_limits(None, headers);
        }
        answer
    }

    /// A problem of an upload, with how that stands where it can go on.
    async fn problem(&self, id: TicketId, problem: &Problem) -> Answer {
        let Some(status) = self.wire.open_status(id, problem).await else {
            return self.plain_problem(problem);
        };
        let offered = Request::offset(&self.exchange.head.headers);
        let offsets = Some((status.offset(), offered));
        let mut answer = problem_answer(problem, offsets);
        let headers = answer.headers_mut();
        headers.insert("upload-offset", status.offset().into());
        self.version.add_complete(false, headers);
        if about_size(problem) {
            self.add_limits(Some(&status), headers);
        }
        answer
    }

    /// A creation: at the collection's URL, or of the file that a ticket is for. `known` becomes the id where it was not.
    async fn create(
        &self,
        known: &mut Option<TicketId>,
        body: RequestBody,
    ) -> Result<Answer, Problem> {
        let headers = &self.exchange.head.headers;
        let request = Request::creation(headers, self.version)?;
        let body_length = body_length(&self.exchange.head, &body)?;
        let digest = content_digest(headers)?;
        request.check_end(0, body_length)?;
        check_fits(body_length, request.length)?;
        let length = request.length.or_else(|| body_length.filter(|_| request.complete));
        let facts = FileFacts { length, ..header::file(headers)? };
        let id = match *known {
            Some(id) => id,
            None => *known.insert(self.wire.create(self.exchange, &facts, None).await?),
        };
        let call = self.wire.small_call(id).await?;
        let status = living(self.wire.engine.bind(id, facts).await?)?;
        drop(call);
        if let Some(interim) = self.interim(&body) {
            self.announce(id, &status, &interim).await;
        }
        // A creation without bytes that is not the whole file says only what the file is.
        let status = if request.complete || !body.is_end_stream() {
            // Bytes that are there already are read and not stored: a creation that is repeated heals.
            let offer = offer(0, body_length, &request, At::Anywhere, &status);
            self.wire.engine.receive(id, offer, digest, body).await.map_err(not_received)?
        } else {
            status
        };
        let mut answer = self.done(id, status, status::CREATED).await;
        add_location(self.exchange, id, answer.headers_mut());
        Ok(answer)
    }

    /// Says where the upload is before its bytes are asked for, so that it can go on where this request breaks. The
    /// upload and what is known of it are stored by then.
    async fn announce(&self, id: TicketId, status: &Status, interim: &InterimAnswers) {
        let mut headers = HeaderMap::new();
        add_location(self.exchange, id, &mut headers);
        self.add_limits(Some(status), &mut headers);
        interim.send("104 Upload Resumption Supported", &headers).await;
    }

    /// What sends it, where it may be sent. Source: the draft, section on interop versions: only to who names one that is
    /// spoken.
    fn interim(&self, body: &RequestBody) -> Option<InterimAnswers> {
        let wanted = self.version.is_named()
            && match self.exchange.options.resumable_104 {
                InterimTo::Direct => body.is_over_tls() && !self.exchange.is_proxied(),
                InterimTo::Always => true,
                InterimTo::Never => false,
            };
        body.interim().filter(|_| wanted)
    }

    /// `PATCH`: bytes behind those that are there.
    async fn append(&self, id: TicketId, body: RequestBody) -> Result<Answer, Problem> {
        let headers = &self.exchange.head.headers;
        let request = Request::append(headers, self.version)?;
        let offset = Request::offset(headers)
            .ok_or_else(|| Problem::bad_request("header Upload-Offset: expected an integer"))?;
        let body_length = body_length(&self.exchange.head, &body)?;
        let digest = content_digest(headers)?;
        request.check_end(offset, body_length)?;
        let status = living(self.wire.engine.status(id).await?)?;
        // Before it is held against the length: what breaks a limit may be sent again in pieces.
        let limit = self.wire.engine.options().limits.max_chunk_bytes;
        if let (Some(chunk), Some(limit)) = (body_length, limit)
            && chunk > limit
        {
            return Err(Refusal::ChunkTooLarge { chunk, limit }.into());
        }
        let offer = offer(offset, body_length, &request, At::Prefix(offset), &status);
        let received = self.wire.engine.receive(id, offer, digest, body).await;
        let status = match received {
            Ok(status) => status,
            Err(error) => {
                if matches!(error, TransferError::Refused(Refusal::RangeOutside { .. })) {
                    // What the client sends is not the file that it announced. One that is complete, or cannot be cancelled,
                    // stays, and the answer is the same. Source: the draft, section on inconsistent length.
                    let reason = "the client sent more bytes than the length it gave".to_owned();
                    drop(self.wire.engine.cancel(id, reason, Notice::Due).await);
                }
                return Err(not_received(error));
            }
        };
        Ok(self.done(id, status, self.version.appended()).await)
    }

    /// `HEAD` and `GET`: where to go on. A request that appends is ended, so that this offset is one that can be used.
    async fn offset(&self, id: TicketId) -> Result<Answer, Problem> {
        let head = &self.exchange.head;
        for name in ["upload-offset", "upload-complete"] {
            if head.headers.contains_key(name) {
                let detail = format!("header {name}: {} asks for it", head.method);
                return Err(Problem::bad_request(detail));
            }
        }
        let _call = self.wire.small_call(id).await?;
        let status = living(self.wire.engine.quiesced_status(id).await?)?;
        if head.method == Method::HEAD {
            let mut answer = no_content();
            self.add_state(&status, answer.headers_mut());
            return Ok(answer);
        }
        let (state, answer) = self.state_object(status);
        let mut answer = self.wire.hold_status(self.exchange.dialect, id, answer).await;
        // Of a refusal they would be no news: its client asks again.
        if answer.status().is_success() {
            answer.headers_mut().extend(state);
        }
        Ok(answer)
    }

    /// `DELETE`: cancels an upload that is not complete, and forgets one that was handed over.
    async fn cancel(&self, id: TicketId) -> Result<Answer, Problem> {
        let _call = self.wire.small_call(id).await?;
        living(self.wire.engine.status(id).await?)?;
        match self.wire.remove(id).await {
            Ok(()) => Ok(no_content()),
            // There is nothing left that could be cancelled.
            Err(ChangeError::Refused(Refusal::TooLateToCancel)) => Err(gone()),
            Err(error) => Err(error.into()),
        }
    }

    /// The answer to a creation or append: the target's own where the upload is complete.
    async fn done(&self, id: TicketId, status: Status, going_on: StatusCode) -> Answer {
        if status.is_complete() {
            let (state, answer) = self.state_object(status);
            let mut answer = self.wire.hold_outcome(id, answer).await;
            answer.headers_mut().extend(state);
            return answer;
        }
        let mut answer = no_content();
        *answer.status_mut() = going_on;
        self.add_state(&status, answer.headers_mut());
        answer
    }

    /// The status object, as the native dialect says it, and the headers of its answer.
    fn state_object(&self, status: Status) -> (HeaderMap, Answer) {
        let mut headers = HeaderMap::new();
        self.add_state(&status, &mut headers);
        let native = Native::new(self.wire, self.exchange);
        (headers, json_answer(&native.status_body(status)))
    }

    fn add_state(&self, status: &Status, headers: &mut HeaderMap) {
        headers.insert("upload-offset", status.offset().into());
        self.version.add_complete(status.is_complete(), headers);
        if let Some(length) = status.length {
            headers.insert("upload-length", length.into());
        }
        self.add_limits(Some(status), headers);
    }

    fn add_limits(&self, status: Option<&Status>, headers: &mut HeaderMap) {
        let mut text = limits(&self.wire.engine);
        if let Some(expires) = status.and_then(|status| status.expires) {
            let end = UNIX_EPOCH.checked_add(Duration::from_millis(expires.0));
            let left = end.and_then(|end| end.duration_since(SystemTime::now()).ok());
            text = format!("{text}, max-age={}", left.unwrap_or_default().as_secs());
        }
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert("upload-limit", value);
        }
        self.version.echo(headers);
    }
}

/// What a request offers. With the length wherever that is known, so that what breaks off counts.
fn offer(
    start: u64,
    body_length: Option<u64>,
    request: &Request,
    at: At,
    status: &Status,
) -> Offer {
    let end = body_length.and_then(|bytes| start.checked_add(bytes));
    let extent = Extent::new(start, end.unwrap_or(MAX_FILE_BYTES));
    let (length, scope) = match (request.complete, end) {
        (true, end) => (end.or(request.length).or(status.length), BodyScope::ToEnd),
        (false, Some(_)) => (request.length, BodyScope::Range),
        (false, None) => (request.length, BodyScope::Open),
    };
    Offer { extent, length, at, scope }
}

/// Whether an answer says what may be sent. Source: the draft, section on limits.
fn about_size(problem: &Problem) -> bool {
    matches!(problem.code(), Code::TooLarge | Code::RangeInvalid | Code::LengthChanged)
}

/// The methods of a URL.
fn methods(target: Target) -> &'static str {
    match target {
        Target::Collection => "POST, PUT, PATCH, OPTIONS",
        Target::Upload(_) => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    }
}
