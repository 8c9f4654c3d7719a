//! tus 1.0: core, creation, creation-with-upload, creation-defer-length, expiration, termination, checksum,
//! checksum-trailer, concatenation.
//!
//! Source: <https://tus.io/protocols/resumable-upload>, version 1.0.0. Departures, each because clients want it so:
//! `HEAD` and `GET` are served without `Tus-Resumable`; an upload is complete when every byte of a known length is there;
//! a request that a newer one replaces is 400, which no client repeats, and what clients repeat only as 5xx is 503.

mod concat;
pub(in crate::wire) mod header;
mod status;
mod trailer;

use super::native::Native;
use super::{add_location, body_length, check_fits, check_method, gone, living, not_received};
use crate::core::command::{At, BodyScope, FileFacts, Offer};
use crate::core::digest::ExpectedDigest;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::MAX_FILE_BYTES;
use crate::core::upload::Role;
use crate::engine::status::Status;
use crate::net::RequestBody;
use crate::wire::cors::preflight_answer;
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::{json_answer, no_content};
use crate::wire::route::Target;
use crate::wire::upload_concat::UploadConcat;
use crate::wire::{Answer, Exchange, Wire, unsupported};
use header::Version;
pub(in crate::wire) use header::{names_tus, override_method};
use hyper::Method;
use hyper::body::Body as _;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue};
pub(super) use status::answer as problem_answer;
use status::{CREATED, OK};
use std::sync::Arc;

/// One request in this dialect.
pub(super) struct Tus<'a> {
    wire: &'a Arc<Wire>,
    exchange: &'a Exchange,
}

impl<'a> Tus<'a> {
    pub(super) fn new(wire: &'a Arc<Wire>, exchange: &'a Exchange) -> Self {
        Self { wire, exchange }
    }

    /// Any request of this dialect.
    pub(super) async fn answer(&self, target: Target, body: RequestBody) -> Answer {
        let method = &self.exchange.head.method;
        if method == Method::OPTIONS {
            return self.options_answer(target);
        }
        if let Err(problem) =
            check_method(method, methods(target)).and_then(|()| self.check_version())
        {
            return problem_answer(&problem, None);
        }
        let mut id = match target {
            Target::Collection => None,
            Target::Upload(Some(id)) => Some(id),
            Target::Upload(None) => return problem_answer(&gone(), None),
        };
        let done = match (id, method) {
            (_, &Method::POST) => self.create(&mut id, body).await,
            (None, _) => Err(gone()),
            (Some(id), &Method::PATCH) => self.append(id, body).await,
            (Some(id), &Method::DELETE) => self.terminate(id).await,
            (Some(id), &Method::HEAD) => self.offset(id).await,
            (Some(id), _) => self.status(id).await,
        };
        match (done, id) {
            (Ok(answer), _) => answer,
            // An error of HEAD has no offset: some clients take any for a success.
            (Err(problem), Some(id)) if method != Method::HEAD => {
                let status = self.wire.open_status(id, &problem).await;
                problem_answer(&problem, status.map(|status| status.offset()))
            }
            (Err(problem), _) => problem_answer(&problem, None),
        }
    }

    fn options_answer(&self, target: Target) -> Answer {
        let mut answer = preflight_answer(self.exchange, methods(target));
        *answer.status_mut() = OK;
        let headers = answer.headers_mut();
        headers.insert("tus-version", HeaderValue::from_static(header::VERSION));
        let extensions = match self.wire.engine.joins() {
            true => HeaderValue::from_static(EXTENSIONS_AND_CONCATENATION),
            false => HeaderValue::from_static(EXTENSIONS),
        };
        headers.insert("tus-extension", extensions);
        let algorithms = HeaderValue::from_static(header::ALGORITHMS);
        headers.insert("tus-checksum-algorithm", algorithms);
        if let Some(bytes) = self.wire.engine.options().limits.largest_file() {
            headers.insert("tus-max-size", HeaderValue::from(bytes));
        }
        answer
    }

    fn check_version(&self) -> Result<(), Problem> {
        let head = &self.exchange.head;
        match (&head.method, header::version(&head.headers)) {
            (_, Version::Spoken) | (&Method::GET, _) | (&Method::HEAD, Version::Absent) => Ok(()),
            (_, Version::Absent) => Err(Problem::new(
                Code::UnsupportedVersion,
                "header Tus-Resumable is missing; this URL is for tus clients, version 1.0.0",
            )),
            (_, Version::Other) => {
                let detail = "header Tus-Resumable: only version 1.0.0";
                Err(Problem::new(Code::UnsupportedVersion, detail))
            }
        }
    }

    /// `POST`: a creation at the collection's URL, or of the file that a ticket is for. `id` becomes known where it was not.
    async fn create(
        &self,
        id: &mut Option<TicketId>,
        body: RequestBody,
    ) -> Result<Answer, Problem> {
        let headers = &self.exchange.head.headers;
        unsupported::check_no_range(&Method::POST, headers)?;
        let Some((concat, words)) = header::concat(headers)? else {
            return self.create_upload(id, None, body).await;
        };
        self.check_concat(*id)?;
        match concat {
            UploadConcat::Partial => self.create_upload(id, Some(words), body).await,
            UploadConcat::Final(parts) => self.create_final(&parts, words, body).await,
        }
    }

    /// An upload by itself, or a partial one, which `partial` says in the words of the client.
    async fn create_upload(
        &self,
        known: &mut Option<TicketId>,
        partial: Option<&str>,
        body: RequestBody,
    ) -> Result<Answer, Problem> {
        let headers = &self.exchange.head.headers;
        let length = header::new_length(headers)?;
        let facts = FileFacts { length, ..header::file(headers)? };
        // A body of no bytes has no type: some clients send forms without fields.
        let chunk = match body.is_end_stream() {
            true => None,
            false => Some(self.chunk(0, &body)?),
        };
        check_fits(chunk.as_ref().and_then(Chunk::end), length)?;
        let id = match *known {
            Some(id) => id,
            None => *known.insert(self.wire.create(self.exchange, &facts, partial).await?),
        };
        let call = self.wire.small_call(id).await?;
        if partial.is_some() {
            // Before its length: an empty file would be complete with that, and handed over.
            self.wire.engine.make_partial(id).await?;
        }
        let mut status = living(self.wire.engine.bind(id, facts).await?)?;
        drop(call);
        let mut answer = self.created_answer(id);
        if let Some(chunk) = chunk {
            // Bytes that are there already are read and not stored: a creation that is repeated heals.
            status = self.receive(id, chunk, At::Anywhere, None, body).await?;
            answer.headers_mut().insert("upload-offset", status.offset().into());
        }
        add_expiry(&status, answer.headers_mut());
        Ok(answer)
    }

    fn created_answer(&self, id: TicketId) -> Answer {
        let mut answer = no_content();
        *answer.status_mut() = CREATED;
        add_location(self.exchange, id, answer.headers_mut());
        answer
    }

    /// `PATCH`: bytes behind those that are there.
    async fn append(&self, id: TicketId, body: RequestBody) -> Result<Answer, Problem> {
        let headers = &self.exchange.head.headers;
        unsupported::check_no_range(&Method::PATCH, headers)?;
        let offset = header::upload_offset(headers)?;
        let chunk = self.chunk(offset, &body)?;
        let length = header::upload_length(headers)?;
        if let Some(length) = length.filter(|length| *length < offset) {
            let detail = format!("header Upload-Length {length} is below Upload-Offset {offset}");
            return Err(Problem::bad_request(detail));
        }
        let status = self.receive(id, chunk, At::Prefix(offset), length, body).await?;
        let mut answer = no_content();
        answer.headers_mut().insert("upload-offset", status.offset().into());
        add_expiry(&status, answer.headers_mut());
        Ok(answer)
    }

    /// What the head of a request says of its body.
    fn chunk(&self, start: u64, body: &RequestBody) -> Result<Chunk, Problem> {
        let headers = &self.exchange.head.headers;
        header::check_media_type(headers)?;
        let length = body_length(&self.exchange.head, body)?;
        let digest = trailer::expected(headers, length, body)?;
        Ok(Chunk { start, length, digest })
    }

    async fn receive(
        &self,
        id: TicketId,
        chunk: Chunk,
        at: At,
        length: Option<u64>,
        mut body: RequestBody,
    ) -> Result<Status, Problem> {
        let (end, scope) = match chunk.end() {
            Some(end) => (end, BodyScope::Range),
            None => (MAX_FILE_BYTES, BodyScope::Open),
        };
        let Chunk { start, digest, .. } = chunk;
        let offer = Offer { extent: Extent::new(start, end), length, at, scope };
        let wrong = trailer::check(&mut body, &digest);
        let received = self.wire.engine.receive(id, offer, digest, body).await;
        received.map_err(|error| wrong.or(not_received(error)))
    }

    /// `HEAD`: where to go on. A request that appends is ended, so that this offset is one that can be used.
    async fn offset(&self, id: TicketId) -> Result<Answer, Problem> {
        let _call = self.wire.small_call(id).await?;
        let status = living(self.wire.engine.quiesced_status(id).await?)?;
        let mut answer = no_content();
        *answer.status_mut() = OK;
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // A final upload has none until its parts are joined.
        if !matches!(status.role, Role::Final { .. }) || status.is_complete() {
            headers.insert("upload-offset", status.offset().into());
        }
        self.add_concat(&status, headers);
        match status.length {
            Some(length) => headers.insert("upload-length", length.into()),
            None => headers.insert("upload-defer-length", HeaderValue::from_static("1")),
        };
        let metadata = status.client_metadata.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(metadata)) = metadata {
            headers.insert("upload-metadata", metadata);
        }
        add_expiry(&status, headers);
        Ok(self.wire.hold_status(self.exchange.dialect, id, answer).await)
    }

    /// `DELETE`: cancels an upload that is not complete, and forgets one that was handed over.
    async fn terminate(&self, id: TicketId) -> Result<Answer, Problem> {
        let _call = self.wire.small_call(id).await?;
        self.wire.remove(id).await?;
        Ok(no_content())
    }

    /// `GET`: how the upload stands, as the native dialect says it. Ends no request.
    async fn status(&self, id: TicketId) -> Result<Answer, Problem> {
        let status = living(self.wire.engine.status(id).await?)?;
        let native = Native::new(self.wire, self.exchange);
        let answer = json_answer(&native.status_body(status));
        Ok(self.wire.hold_status(self.exchange.dialect, id, answer).await)
    }
}

/// What the head of a request says of its body.
struct Chunk {
    start: u64,
    length: Option<u64>,
    digest: ExpectedDigest,
}

impl Chunk {
    /// Where its bytes end, if it says so.
    fn end(&self) -> Option<u64> {
        self.length.and_then(|length| self.start.checked_add(length))
    }
}

/// Says until when the upload can go on, as a date of HTTP (RFC 9110, section 5.6.7).
fn add_expiry(status: &Status, headers: &mut HeaderMap) {
    let Some(expires) = status.expires else { return };
    let date = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_millis(expires.0));
    // Dates of HTTP end with the year 9999.
    let Some(date) = date.filter(|_| expires.0 < YEAR_10000_MS) else { return };
    if let Ok(value) = HeaderValue::try_from(httpdate::fmt_http_date(date)) {
        headers.insert("upload-expires", value);
    }
}

/// The methods of a URL.
fn methods(target: Target) -> &'static str {
    match target {
        Target::Collection => "POST, OPTIONS",
        Target::Upload(_) => "GET, HEAD, POST, PATCH, DELETE, OPTIONS",
    }
}

const EXTENSIONS: &str = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum,checksum-trailer";
const EXTENSIONS_AND_CONCATENATION: &str = "creation,creation-with-upload,creation-defer-length,expiration,termination,checksum,checksum-trailer,concatenation";
/// Milliseconds from 1970 to the year 10000.
const YEAR_10000_MS: u64 = 253_402_300_800_000;
