//! The backend API: tickets and what a web app's backend may do with them.
//!
//! Answers are text, as in 2014, or JSON where the caller asks for it.

use super::access::Role;
use super::dialect::native::json::{StatusBody, short_type};
use super::header::accepts;
use super::params::Params;
use super::problem::{Code, Problem};
use super::reply::{json_answer, shown, text_answer};
use super::route::BackendCall;
use super::upload_concat::{self, UploadConcat};
use super::{Answer, Destination, Exchange, Options, Wire, upload_metadata};
use crate::core::callback::CallbackUrl;
use crate::core::command::FileFacts;
use crate::core::event::{CallFormat, DigestRequest, Notice, Removal, TicketFile};
use crate::core::id::TicketId;
use crate::core::name;
use crate::core::signing::SigningSecrets;
use crate::core::state::StateName;
use crate::core::time::Timestamp;
use crate::engine::join::Joinable;
use crate::engine::status::Status;
use crate::engine::tickets::NewUpload;
use crate::net::RequestBody;
use hyper::Method;
use hyper::header::HeaderMap;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

#[derive(Serialize)]
struct TicketBody {
    id: String,
    url: String,
    tus_url: String,
    resumable_url: String,
    expires: String,
}

#[derive(Serialize)]
struct UploadBody {
    id: String,
    #[serde(flatten)]
    status: StatusBody,
    created: String,
    last_active: String,
    handover_attempts: u32,
    dialect: Option<&'static str>,
    user_agent: Option<String>,
    path: Option<String>,
}

#[derive(Serialize)]
struct PageBody {
    uploads: Vec<UploadBody>,
    next: Option<String>,
}

/// How the caller wants its answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A line of text.
    Text,
    /// JSON, errors as problem+json.
    Json,
}

impl Form {
    /// A problem in this form.
    pub(super) fn problem(self, problem: Problem) -> Answer {
        match self {
            Self::Text => problem.into_text(),
            Self::Json => problem.into_answer(),
        }
    }
}

impl Wire {
    pub(super) async fn backend(
        self: &Arc<Self>,
        call: BackendCall,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        let Exchange { head, surface, caller, options, .. } = exchange;
        let form = form(&head.headers);
        let done = match options.access.check(*surface, caller, head) {
            Ok(role) => self.call(call, role, exchange, body, form).await,
            Err(problem) => {
                drop(body);
                Err(problem)
            }
        };
        done.unwrap_or_else(|problem| form.problem(problem))
    }

    async fn call(
        self: &Arc<Self>,
        call: BackendCall,
        role: Role,
        exchange: &Exchange,
        body: RequestBody,
        form: Form,
    ) -> Result<Answer, Problem> {
        let Exchange { head, options, .. } = exchange;
        let (allowed, words) = match call {
            BackendCall::List
            | BackendCall::Show(_)
            | BackendCall::Overview
            | BackendCall::Config => {
                (matches!(head.method, Method::GET | Method::HEAD), "GET, HEAD")
            }
            BackendCall::Log => (
                matches!(head.method, Method::GET | Method::HEAD | Method::POST),
                "GET, HEAD, POST",
            ),
            BackendCall::NewUpload
            | BackendCall::CancelUpload
            | BackendCall::FinishUpload
            | BackendCall::RetryHandover => (head.method == Method::POST, "POST"),
        };
        if !allowed {
            return Err(Problem::method(&head.method, words));
        }
        let params = match head.method {
            Method::POST => Params::read(head, body, &self.body_memory.backend).await?,
            // Nobody is asked for a body that says nothing.
            _ => Params::of_query(head)?,
        };
        match call {
            BackendCall::NewUpload => {
                role.check_web_app()?;
                self.new_upload(&exchange.options, &params, form).await
            }
            BackendCall::CancelUpload => {
                let id = self.authorized(&params, role).await?;
                let reason = role.cancel_reason().to_owned();
                self.engine.cancel(id, reason, Notice::NotDue).await.map_err(|error| {
                    // The backend has one word for every "too late".
                    let problem = Problem::from(error);
                    let late = problem.code() == Code::UploadOver;
                    if late { problem.recoded(Code::WrongState) } else { problem }
                })?;
                Ok(ok(form))
            }
            BackendCall::FinishUpload => {
                role.check_web_app()?;
                let id = self.authorized(&params, role).await?;
                self.engine.finish(id).await?;
                Ok(ok(form))
            }
            BackendCall::RetryHandover => {
                let id = self.authorized(&params, role).await?;
                self.engine.retry(id).await?;
                role.log_retry(id);
                Ok(ok(form))
            }
            BackendCall::Log => self.log(&head.method, &params, form),
            BackendCall::Overview => Ok(self.overview(role).await),
            BackendCall::Config => self.config(role, exchange, form),
            BackendCall::List => self.list(&params, options).await,
            BackendCall::Show(id) => {
                let id =
                    id.ok_or_else(|| Problem::new(Code::UnknownUpload, "there is no such upload"))?;
                let status = self.engine.status(id).await?;
                Ok(json_answer(&self.upload_body(status, options)))
            }
        }
    }

    async fn new_upload(
        self: &Arc<Self>,
        options: &Options,
        params: &Params,
        form: Form,
    ) -> Result<Answer, Problem> {
        let request = new_upload_request(params, options.destination)?;
        let concat = params.text("uploadConcat").map(upload_concat::read).transpose()?;
        let (id, expires) = match concat {
            None => self.new_whole_upload(request).await?,
            Some(concat) => self.new_upload_concat(request, concat).await?,
        };
        Ok(match form {
            Form::Text => text_answer(id.to_string()),
            Form::Json => json_answer(&TicketBody {
                id: id.to_string(),
                url: format!("/incoming/frontend/uploads/{id}"),
                tus_url: options.frontend(&format!("tus/{id}")),
                resumable_url: options.frontend(&format!("resumable/{id}")),
                expires: rfc3339(expires),
            }),
        })
    }

    async fn new_whole_upload(
        self: &Arc<Self>,
        request: NewUpload,
    ) -> Result<(TicketId, Timestamp), Problem> {
        let length = request.length.filter(|&length| length == 0);
        let (id, expires) = self.engine.new_upload(request).await?;
        if length.is_some() {
            // Every byte is there, and a tus client whose upload this becomes sends nothing more.
            self.engine.bind(id, FileFacts { length, ..FileFacts::default() }).await?;
        }
        Ok((id, expires))
    }

    /// A partial upload, or a final one with the bytes of its parts. Where exactly these parts were joined before, it is that
    /// upload: a client repeats the request whose answer was lost.
    async fn new_upload_concat(
        self: &Arc<Self>,
        request: NewUpload,
        concat: UploadConcat,
    ) -> Result<(TicketId, Timestamp), Problem> {
        if !self.engine.joins() {
            return Err(upload_concat::unsupported());
        }
        let UploadConcat::Final(parts) = concat else {
            let (id, expires) = self.engine.new_upload(request).await?;
            self.engine.make_partial(id).await?;
            return Ok((id, expires));
        };
        let (id, expires) = match self.engine.check_parts(&parts).await? {
            Joinable::New(_) => {
                let (id, expires) = self.engine.new_upload(request).await?;
                // The web app does not know it if this fails.
                (self.engine.join(id, &parts, Notice::NotDue).await?, expires)
            }
            Joinable::Joined(id) => (id, self.engine.status(id).await?.last_active),
        };
        Ok((id, expires))
    }

    /// The upload that a call names, if its secret is right or the operator calls.
    async fn authorized(
        self: &Arc<Self>,
        params: &Params,
        role: Role,
    ) -> Result<TicketId, Problem> {
        let text =
            params.text("id").ok_or_else(|| Problem::bad_request("parameter id is missing"))?;
        let unknown = || {
            Problem::new(
                Code::UnknownId,
                format!("parameter id {}: there is no such upload", shown(text)),
            )
        };
        let id = TicketId::parse(text).map_err(|_| unknown())?;
        let secret = params.text("backendSecret").unwrap_or_default();
        let checked = match role {
            Role::WebApp => self.engine.check_secret(id, secret).await.map_err(Problem::from),
            Role::Operator => self.engine.status(id).await.map(drop).map_err(Problem::from),
        };
        checked.map_err(|problem| match problem.code() {
            Code::UnknownUpload => unknown(),
            _ => problem,
        })?;
        Ok(id)
    }

    async fn list(self: &Arc<Self>, params: &Params, options: &Options) -> Result<Answer, Problem> {
        let state = params.text("state").map(|word| {
            StateName::of_word(word).ok_or_else(|| {
                let words = StateName::ALL.map(StateName::word).join(", ");
                Problem::bad_request(format!(
                    "parameter state {}: expected one of {words}",
                    shown(word)
                ))
            })
        });
        let after = params.text("after").map(|text| {
            TicketId::parse(text).map_err(|_| {
                Problem::bad_request(format!("parameter after {}: expected an id", shown(text)))
            })
        });
        let limit = match params.text("limit") {
            None => DEFAULT_PAGE,
            Some(text) => {
                let limit = text.parse::<usize>().ok().filter(|limit| *limit > 0);
                let limit = limit.ok_or_else(|| {
                    Problem::bad_request(format!(
                        "parameter limit {}: expected 1 to {MAX_PAGE}",
                        shown(text)
                    ))
                })?;
                limit.min(MAX_PAGE)
            }
        };
        let page = self.engine.list(state.transpose()?, after.transpose()?, limit).await?;
        Ok(json_answer(&PageBody {
            uploads: page
                .uploads
                .into_iter()
                .map(|status| self.upload_body(status, options))
                .collect(),
            next: page.next.map(|id| id.to_string()),
        }))
    }

    fn upload_body(&self, status: Status, options: &Options) -> UploadBody {
        let max_chunk = self.engine.options().limits.max_chunk_bytes;
        UploadBody {
            id: status.id.to_string(),
            created: rfc3339(status.created),
            last_active: rfc3339(status.last_active),
            handover_attempts: status.handover_attempts,
            dialect: status.client.as_ref().map(|client| client.dialect.word()),
            user_agent: status.client.as_ref().and_then(|client| client.agent.clone()),
            path: status.location.as_ref().map(ToString::to_string),
            status: StatusBody::new(status, options, max_chunk),
        }
    }
}

/// What the parameters of `new_upload` ask for.
///
/// Errors: a parameter is missing, or has a value that it cannot have.
pub(super) fn new_upload_request(
    params: &Params,
    destination: Destination,
) -> Result<NewUpload, Problem> {
    let url = params
        .text("signalFinishURL")
        .ok_or_else(|| Problem::bad_request("parameter signalFinishURL is missing"))?;
    let (here, removes) = match destination {
        Destination::File => ("file", true),
        // A web app that knows an object by its key must not lose it by a default.
        Destination::Bucket => ("s3", false),
    };
    let dest_type = params.text("destType").unwrap_or(here);
    if dest_type != here {
        return Err(Problem::bad_request(format!(
            "parameter destType {}: only {here:?} is supported",
            shown(dest_type)
        )));
    }
    params.warn_of_unknown(&NEW_UPLOAD);
    let remove = params.boolean("removeFileWhenFinished")?.unwrap_or(removes);
    Ok(NewUpload {
        finish_url: callback_url(url)?,
        secret: params.short("backendSecret", MAX_SECRET_BYTES)?,
        signing: signing_secrets(params.text("signingSecret").unwrap_or_default())?,
        format: params
            .word("callbackFormat", &[("form", CallFormat::Form), ("json", CallFormat::Json)])?
            .unwrap_or(CallFormat::Form),
        removal: if remove { Removal::RemoveWhenFinished } else { Removal::Keep },
        max_bytes: params.bytes("maxBytes")?,
        length: params.bytes("length")?,
        digest: params
            .word("digest", &[("sha-256", DigestRequest::Sha256)])?
            .unwrap_or(DigestRequest::None),
        metadata: params.short("metadata", MAX_METADATA_BYTES)?,
        idle_timeout: params.duration("idleTimeout", MAX_IDLE)?,
        file: ticket_file(params)?,
    })
}

/// What a call says of the file: by parameters of its own, else in the header that it passes on.
fn ticket_file(params: &Params) -> Result<TicketFile, Problem> {
    let metadata = params.text("uploadMetadata");
    let read = metadata.map(upload_metadata::read).transpose()?.unwrap_or_default();
    Ok(TicketFile {
        name: params.text("name").map(name::harmless).or(read.name),
        media_type: params.text("type").map(short_type).or(read.media_type),
        client_metadata: metadata.map(str::to_owned),
    })
}

pub(super) fn ok(form: Form) -> Answer {
    match form {
        Form::Text => text_answer("ok".into()),
        Form::Json => json_answer(&serde_json::json!({ "ok": true })),
    }
}

pub(super) fn form(headers: &HeaderMap) -> Form {
    if accepts(headers, "accept", "application/json") { Form::Json } else { Form::Text }
}

/// A URL that a handover can go to.
pub(super) fn callback_url(text: &str) -> Result<CallbackUrl, Problem> {
    let bad = |why: &dyn fmt::Display| {
        Problem::bad_request(format!("parameter signalFinishURL {}: {why}", shown(text)))
    };
    // Other Unicode in paths came through in 2014; it travels percent-encoded.
    let escaped: String = percent_encoding::utf8_percent_encode(text, percent_encoding::CONTROLS)
        .to_string()
        .replace(' ', "%20");
    let url = CallbackUrl::parse(escaped).map_err(|error| bad(&error))?;
    let bytes = url.as_str().len();
    if bytes > MAX_URL_BYTES {
        return Err(bad(&format_args!(
            "it has {bytes} bytes, at most {MAX_URL_BYTES} are allowed"
        )));
    }
    Ok(url)
}

/// Errors: 400, which does not show the secret.
fn signing_secrets(text: &str) -> Result<SigningSecrets, Problem> {
    SigningSecrets::parse(text)
        .map_err(|error| Problem::bad_request(format!("parameter signingSecret: {error}")))
}

pub(super) fn rfc3339(at: Timestamp) -> String {
    let at = at.0.min(LATEST_MS);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(at)).to_string()
}

/// Texts of a ticket. They are in its journal, in memory with it, and in each call to its backend.
const MAX_METADATA_BYTES: usize = 16 << 10;
const MAX_SECRET_BYTES: usize = 4 << 10;
/// As it is called, percent-encoded.
const MAX_URL_BYTES: usize = 8 << 10;
/// What `new_upload` understands; anything else is ignored, as in 2014.
const NEW_UPLOAD: [&str; 15] = [
    "signalFinishURL",
    "destType",
    "removeFileWhenFinished",
    "backendSecret",
    "signingSecret",
    "callbackFormat",
    "maxBytes",
    "length",
    "digest",
    "metadata",
    "idleTimeout",
    "name",
    "type",
    "uploadMetadata",
    "uploadConcat",
];
/// Uploads on a page, unless asked otherwise.
const DEFAULT_PAGE: usize = 100;
/// Uploads on a page, at most.
const MAX_PAGE: usize = 1000;
/// An idle timeout of a hundred years is a mistake.
const MAX_IDLE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The last moment that the date format can show (the year 9999).
const LATEST_MS: u64 = 253_402_300_799_000;
