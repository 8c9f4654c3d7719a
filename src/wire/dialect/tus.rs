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
use super::{body_length, gone, living};
use crate::core::command::{At, BodyScope, FileFacts, Offer};
use crate::core::digest::ExpectedDigest;
use crate::core::event::Notice;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::MAX_FILE_BYTES;
use crate::core::refusal::{Refusal, Terminal};
use crate::core::upload::Role;
use crate::engine::error::ChangeError;
use crate::engine::status::Status;
use crate::net::RequestBody;
use crate::wire::cors::preflight_answer;
use crate::wire::create::Creating;
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::{json_answer, no_content};
use crate::wire::route::Target;
use crate::wire::upload_concat::{self, UploadConcat};
use crate::wire::{Answer, Exchange, Wire, unsupported, upload_metadata};
use header::Version;
pub(in crate::wire) use header::{names_tus, override_method};
use hyper::Method;
use hyper::body::Body as _;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue, LOCATION};
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
        let methods = methods(target);
        if !methods.split(", ").any(|known| known == method.as_str()) {
            return problem_answer(&Problem::method(method, methods), None);
        }
        if let Err(problem) = self.check_version() {
            return problem_answer(&problem, None);
        }
        let id = match target {
            Target::Collection => None,
            Target::Upload(Some(id)) => Some(id),
            Target::Upload(None) => return problem_answer(&gone(), None),
        };
        let done = match (id, method) {
            (id, &Method::POST) => return self.create(id, body).await,
            (None, _) => return problem_answer(&gone(), None),
            (Some(id), &Method::PATCH) => (id, self.append(id, body).await),
            (Some(id), &Method::DELETE) => (id, self.terminate(id).await),
            (Some(id), &Method::HEAD) => (id, self.offset(id).await),
            (Some(id), _) => return self.status(id).await,
        };
        match done {
            (_, Ok(answer)) => answer,
            // An error of HEAD has no offset: some clients take any for a success.
            (_, Err(problem)) if method == Method::HEAD => problem_answer(&problem, None),
            (id, Err(problem)) => self.problem(id, &problem).await,
        }
    }

    /// A problem of an upload, with the offset where there is one to go on at.
    async fn problem(&self, id: TicketId, problem: &Problem) -> Answer {
        let known = !matches!(problem.code(), Code::UnknownUpload | Code::UploadOver);
        let status = match known {
            true => self.wire.engine.status(id).await.ok().and_then(|status| living(status).ok()),
            false => None,
        };
        problem_answer(problem, status.map(|status| status.offset()))
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
        if let Some(bytes) = self.wire.engine.options().limits.max_upload_bytes {
            headers.insert("tus-max-size", HeaderValue::from(bytes));
        }
        answer
    }

    fn check_version(&self) -> Result<(), Problem> {
        let head = &self.exchange.head;
        let told = header::version(&head.headers);
        match (&head.method, told) {
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

    /// `POST`: a creation at the collection's URL, or of the file that a ticket is for.
    async fn create(&self, id: Option<TicketId>, body: RequestBody) -> Answer {
        match self.created(id, body).await {
            Ok(answer) => answer,
            Err((Some(id), problem)) => self.problem(id, &problem).await,
            Err((None, problem)) => problem_answer(&problem, None),
        }
    }

    async fn created(
        &self,
        id: Option<TicketId>,
        body: RequestBody,
    ) -> Result<Answer, (Option<TicketId>, Problem)> {
        let bare = |problem| (None, problem);
        let headers = &self.exchange.head.headers;
        unsupported::check_no_range(&Method::POST, headers).map_err(bare)?;
        let concat = header::concat(headers).map_err(bare)?;
        let partial = match concat {
            None => None,
            Some(_) if id.is_some() => return Err(bare(concat::not_at_a_ticket())),
            Some(_) if !self.wire.engine.joins() => {
                return Err(bare(upload_concat::unsupported()));
            }
            Some((UploadConcat::Partial, words)) => Some(words),
            Some((UploadConcat::Final(parts), words)) => {
                if !body.is_end_stream() {
                    return Err(bare(concat::no_body()));
                }
                return self.create_final(&parts, words).await.map_err(bare);
            }
        };
        let length = header::new_length(headers).map_err(bare)?;
        let metadata = header::metadata(headers).map_err(bare)?;
        let named = upload_metadata::read(metadata.unwrap_or_default()).map_err(bare)?;
        let has_body = !body.is_end_stream();
        // A body of no bytes has no type: some clients send forms without fields.
        let chunk = match has_body {
            true => Some(self.chunk(0, &body).map_err(bare)?),
            false => None,
        };
        if let (Some(length), Some(end)) = (length, chunk.as_ref().and_then(Chunk::end))
            && end > length
        {
            return Err(bare(Refusal::RangeOutside { end, length }.into()));
        }
        let (name, media_type) = (named.name, named.media_type);
        let client_metadata = metadata.map(str::to_owned);
        let id = match id {
            Some(id) => id,
            None => {
                self.check_size(length).map_err(bare)?;
                let creating = Creating {
                    dialect: "tus",
                    length,
                    name: name.clone(),
                    media_type: media_type.clone(),
                    client_metadata: client_metadata.clone(),
                    concat: partial.map(str::to_owned),
                };
                self.wire.create(self.exchange, &creating).await.map_err(bare)?
            }
        };
        let known = |problem: Problem| (Some(id), problem);
        let call = self.wire.small_call(id).await.map_err(known)?;
        if partial.is_some() {
            // Before its length: an empty file would be complete with that, and handed over.
            let made = self.wire.engine.make_partial(id).await;
            made.map_err(|error| known(error.into()))?;
        }
        let facts = FileFacts { length, name, media_type, last_modified: None, client_metadata };
        let status = self.wire.engine.bind(id, facts).await;
        let status = living(status.map_err(|error| known(error.into()))?).map_err(known)?;
        drop(call);
        let status = match chunk {
            // Bytes that are there already are read and not stored: a creation that is repeated heals.
            Some(chunk) => {
                self.receive(id, chunk, At::Anywhere, None, body).await.map_err(known)?
            }
            None => status,
        };
        let mut answer = self.created_answer(id);
        add_expiry(&status, answer.headers_mut());
        if has_body {
            answer.headers_mut().insert("upload-offset", status.offset().into());
        }
        Ok(answer)
    }

    fn created_answer(&self, id: TicketId) -> Answer {
        let mut answer = no_content();
        *answer.status_mut() = CREATED;
        if let Ok(location) = HeaderValue::try_from(self.url(id)) {
            answer.headers_mut().insert(LOCATION, location);
        }
        answer
    }

    /// Where clients find an upload.
    fn url(&self, id: TicketId) -> String {
        self.exchange.options.frontend(&format!("tus/{id}"))
    }

    /// Before the web app is asked.
    fn check_size(&self, length: Option<u64>) -> Result<(), Problem> {
        let limit = self.wire.engine.options().limits.max_file_bytes(None);
        match length.filter(|file| *file > limit) {
            Some(file) => Err(Refusal::FileTooLarge { file, limit }.into()),
            None => Ok(()),
        }
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
        received.map_err(|error| wrong.or(error))
    }

    /// `HEAD`: where to go on. Whoever appends is fenced off, so that this offset is one that can be used.
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
        let reason = "cancelled by the client".to_owned();
        match self.wire.engine.cancel(id, reason, Notice::Due).await {
            Ok(_) => {}
            Err(ChangeError::Refused(Refusal::UploadOver(Terminal::Finished))) => {
                self.wire.engine.forget(id).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(no_content())
    }

    /// `GET`: how the upload stands, as the native dialect says it. Fences nobody off.
    async fn status(&self, id: TicketId) -> Answer {
        let status = self.wire.engine.status(id).await.map_err(Problem::from).and_then(living);
        match status {
            Ok(status) => {
                let native = Native::new(self.wire, self.exchange);
                let answer = json_answer(&native.status_body(status));
                self.wire.hold_status(self.exchange.dialect, id, answer).await
            }
            Err(problem) => problem_answer(&problem, None),
        }
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
