//! Uploads that a client creates by itself, at a URL without an id: the web app is asked for a ticket, by a call to
//! `create_url`, and may refuse.
//!
//! The call is made by whom `app` hands in ([`CallWebApp`]): this layer knows no HTTP client. At most 64 are
//! under way, and each has a deadline there.

use super::backend::new_upload_request;
use super::forwarded::Client;
use super::params::Params;
use super::problem::{Code, Problem};
use super::reply::shown;
use super::{Destination, Exchange, Wire};
use crate::core::command::FileFacts;
use crate::core::id::TicketId;
use crate::core::limits::SharedLimit;
use crate::core::name::is_hidden;
use crate::engine::context::RequestContext;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};
use serde_json::{Map, Value};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// Asks a web app for tickets.
#[derive(Clone)]
pub struct Creation {
    /// Makes the call.
    pub web_app: Arc<dyn CallWebApp>,
    /// Headers of the client's request that are passed on.
    pub forward_headers: Vec<HeaderName>,
    /// What proves to the web app that this server calls.
    pub secret: Option<String>,
}

/// Without the secret.
impl fmt::Debug for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = &self.forward_headers;
        f.debug_struct("Creation").field("forward_headers", names).finish_non_exhaustive()
    }
}

/// Makes one call to the web app, within a deadline.
pub trait CallWebApp: Send + Sync {
    /// Posts this form with these headers. `slot` is dropped when all that the call started has ended.
    ///
    /// Errors: why there is no answer, for the log. Cancel: the web app may have acted on the call.
    fn post(&self, form: String, headers: HeaderMap, slot: Arc<dyn Send + Sync>) -> Calling;
}

/// A call under way.
pub type Calling = Pin<Box<dyn Future<Output = Result<WebAppAnswer, NoAnswer>> + Send>>;

/// What a web app answered to a call about a creation.
#[derive(Debug)]
pub struct WebAppAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`, without its parameters, in lower case.
    pub media_type: String,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why a web app has not answered, for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// Calls about creations under way, which web apps answer in milliseconds; and of one address, half of what is free.
pub(super) const CALLS: SharedLimit = SharedLimit { each: 32, all: 64, parts: 1 };

impl Wire {
    /// A ticket for an upload that a client creates: the web app's own, or a new one that it describes.
    ///
    /// `concat` is the header `Upload-Concat` as it came.
    ///
    /// Errors: the file is too large; the web app refuses, does not answer, or makes no sense; too many are asked for.
    /// Cancel: a ticket may be left over, which expires.
    pub(super) async fn create(
        self: &Arc<Self>,
        exchange: &Exchange,
        facts: &FileFacts,
        concat: Option<&str>,
    ) -> Result<TicketId, Problem> {
        let limits = self.engine.options().limits;
        let limit = limits.max_file_bytes(None);
        if let Some(file) = facts.length.filter(|file| *file > limit) {
            return Err(limits.too_large(file, limit).into());
        }
        let creation = self.check_creates(exchange)?;
        let client = exchange.client().unwrap_or(Client::Unknown);
        let slot = Arc::new(self.creations.take(client).ok_or_else(busy)?);
        let form = form(exchange, facts, concat, creation.secret.as_deref());
        let headers = headers(&exchange.head.headers, &creation.forward_headers);
        let answer = creation.web_app.post(form, headers, slot).await.map_err(|error| {
            tracing::warn!(%error, "could not ask the web app for a ticket");
            unavailable("the web app does not answer; try again later")
        })?;
        match answer.status {
            200..=299 => self.ticket_of(&answer, exchange.options.destination).await,
            400..=499 => Err(refusal(&answer)),
            status => Err(nonsense(&format_args!("status {status}"))),
        }
    }

    /// Errors: no web app is set that could be asked for tickets.
    pub(super) fn check_creates<'e>(
        &self,
        exchange: &'e Exchange,
    ) -> Result<&'e Creation, Problem> {
        exchange.options.creation.as_ref().ok_or_else(|| {
            let detail = "uploads are not created here: set create_url, or use a route of the web app or the \
                          tus_url of a ticket as endpoint";
            Problem::new(Code::UnknownUpload, detail)
        })
    }

    /// The ticket that an answer names or describes.
    async fn ticket_of(
        self: &Arc<Self>,
        answer: &WebAppAnswer,
        destination: Destination,
    ) -> Result<TicketId, Problem> {
        let text = String::from_utf8_lossy(&answer.body);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{FEFF}');
        let Ok(object) = serde_json::from_str::<Map<String, Value>>(text) else {
            // The answer of `new_upload`, as it came or as a JSON text.
            let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            return TicketId::parse(bare.unwrap_or(text)).map_err(|_| nonsense(&beginning(text)));
        };
        if let Some(id) = object.get("id") {
            let id = id.as_str().and_then(|id| TicketId::parse(id).ok());
            return id.ok_or_else(|| nonsense(&"id is no ticket"));
        }
        let mut params = Params::default();
        let body = Bytes::copy_from_slice(text.as_bytes());
        let request = async {
            params.add_body("application/json", body).await?;
            new_upload_request(&params, destination)
        };
        let request = request.await.map_err(|problem| nonsense(&problem.detail()))?;
        Ok(self.engine.new_upload(request).await?.0)
    }
}

/// The form that the web app gets.
fn form(
    exchange: &Exchange,
    facts: &FileFacts,
    concat: Option<&str>,
    secret: Option<&str>,
) -> String {
    let client = match exchange.client() {
        Ok(Client::At(address)) => address.to_string(),
        Ok(Client::Unknown) | Err(_) => String::new(),
    };
    let origin = exchange.head.headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    let length = facts.length.map(|length| length.to_string()).unwrap_or_default();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    form_urlencoded::Serializer::new(String::new())
        .append_pair("dialect", exchange.dialect.word())
        .append_pair("length", &length)
        .append_pair("name", &text(&facts.name))
        .append_pair("type", &text(&facts.media_type))
        .append_pair("uploadMetadata", &text(&facts.client_metadata))
        .append_pair("uploadConcat", concat.unwrap_or_default())
        .append_pair("origin", origin.unwrap_or_default())
        .append_pair("client", &client)
        .extend_pairs(secret.map(|secret| ("createSecret", secret)))
        .finish()
}

/// The headers that the web app gets: those of the client that it wants, and the trace.
fn headers(client: &HeaderMap, forward: &[HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in forward {
        for value in client.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    let trace = RequestContext::current();
    let trace = trace.as_ref().and_then(RequestContext::traceparent);
    if let Some(Ok(trace)) = trace.map(HeaderValue::from_str) {
        headers.insert("traceparent", trace);
    }
    headers
}

/// The web app said no. Codes that would make a client try again, or mean something to its protocol, become such as
/// do not.
fn refusal(answer: &WebAppAnswer) -> Problem {
    let detail = words(answer).unwrap_or_else(|| "the web app refused this upload".to_owned());
    match answer.status {
        429 => Problem::new(Code::TooMany, detail),
        400 | 401 | 402 | 403 | 404 | 413 | 415 | 422 | 451 => {
            let status = StatusCode::from_u16(answer.status).expect("it is one of these");
            Problem::refused(status, detail)
        }
        _ => Problem::refused(StatusCode::BAD_REQUEST, detail),
    }
}

/// What an answer says to people: its text, or that of its field `detail`; no page.
fn words(answer: &WebAppAnswer) -> Option<String> {
    let text = String::from_utf8_lossy(&answer.body);
    let text = match answer.media_type.as_str() {
        "" | "text/plain" => text.into_owned(),
        kind if kind == "application/json" || kind.ends_with("+json") => {
            let object: Map<String, Value> = serde_json::from_str(&text).ok()?;
            object.get("detail")?.as_str()?.to_owned()
        }
        _ => return None,
    };
    let kept: String = text.chars().filter(|c| *c == '\n' || !is_hidden(*c)).collect();
    let kept = kept.trim();
    let kept = &kept[..kept.floor_char_boundary(MAX_DETAIL_BYTES)];
    (!kept.is_empty()).then(|| kept.to_owned())
}

/// Bytes of a web app's refusal that its client gets.
const MAX_DETAIL_BYTES: usize = 4 << 10;

fn busy() -> Problem {
    unavailable("many uploads are being created; try again in a moment")
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(Code::Unavailable, detail)
}

/// A text of the web app for the log, which shows no more of an id: one with something behind it is a usual mistake.
fn beginning(text: &str) -> String {
    let chars: String = text.chars().take(8).collect();
    format!("{} and so on, {} bytes", shown(&chars), text.len())
}

/// An answer that is none. What it was is the operator's to know.
fn nonsense(answer: &dyn fmt::Display) -> Problem {
    tracing::warn!(%answer, "the web app's answer to create_url is no ticket");
    unavailable("the web app gave no ticket; try again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, media_type: &str, body: &str) -> WebAppAnswer {
        WebAppAnswer { status, media_type: media_type.into(), body: body.into() }
    }

    #[test]
    fn refusals_reach_the_client() {
        let check = |status: u16, expected: Option<u16>, code: Code| {
            let problem = refusal(&answer(status, "text/plain", "over quota\n"));
            assert_eq!((problem.code(), problem.detail()), (code, "over quota"));
            let given = problem.into_answer().status().as_u16();
            assert_eq!(given, expected.unwrap_or(given), "{status}");
        };
        for status in [400, 401, 402, 403, 404, 413, 415, 422, 451] {
            check(status, Some(status), Code::Refused);
        }
        // Clients would try again, or take them for something of the protocol.
        for status in [405, 408, 409, 410, 411, 412, 423, 425, 460] {
            check(status, Some(400), Code::Refused);
        }
        check(429, None, Code::TooMany);
    }

    #[test]
    fn only_words_for_people_are_passed_on() {
        let said = |media_type: &str, body: &str| words(&answer(403, media_type, body));
        assert_eq!(said("", " a\u{202E}b\n"), Some("ab".to_owned()));
        assert_eq!(said("text/plain", ""), None);
        assert_eq!(said("text/html", "<h1>Forbidden</h1>"), None);
        assert_eq!(said("application/problem+json", r#"{"detail":"no"}"#), Some("no".to_owned()));
        assert_eq!(said("application/json", r#"{"error":"no"}"#), None);
        assert_eq!(said("text/plain", &"ä".repeat(4000)).map(|text| text.len()), Some(4 << 10));
    }
}
