//! One origin: the page and the web app, and under `/incoming/` the server.
//!
//! The web app has no users and no cookies, so what is guarded is the machine: pages of other
//! origins get no tickets here, and over plain http no foreign name may stand for this machine (over
//! https the certificate sees to that).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Limited};
use hyper::body::Body as _;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::answer::{self, Answer};
use super::app::{App, NoTicket, TicketRequest};
use super::certificate::Names;
use crate::core::id::TicketId;
use crate::net::RequestBody;
use crate::wire;

/// Bytes of a request's body: a form with a path and a name, with room to spare.
const BODY_BYTES: usize = 64 << 10;
/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How the origin is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// hyper's service for one connection.
#[derive(Clone)]
pub(super) struct Site {
    scheme: Scheme,
    wire: wire::Service,
    app: Arc<App>,
    names: Arc<Names>,
}

impl Site {
    /// The page and the web app beside `wire`.
    pub(super) fn new(
        scheme: Scheme,
        wire: wire::Service,
        app: Arc<App>,
        names: Arc<Names>,
    ) -> Self {
        Self { scheme, wire, app, names }
    }

    async fn answer(self, request: Request<RequestBody>) -> Answer {
        let (head, body) = request.into_parts();
        let mut answer = match self.check(&head) {
            Ok(host) => self.route(&host, &head, body).await,
            Err(refusal) => *refusal,
        };
        answer::guard(&mut answer);
        if head.method == Method::HEAD { answer::head_only(answer) } else { answer }
    }

    /// The host that the request names, if it may name it.
    fn check(&self, head: &Parts) -> Result<Authority, Box<Answer>> {
        let Some(host) = authority(head) else {
            let line = "header Host is missing or malformed\n";
            return Err(answer::text(StatusCode::BAD_REQUEST, line).into());
        };
        let name = host.host().trim_start_matches('[').trim_end_matches(']');
        if self.scheme == Scheme::Http && !self.names.includes(name) {
            let line = "unknown host name; if it is a name of this machine, start the demo with \
                        --host\n";
            return Err(answer::text(StatusCode::MISDIRECTED_REQUEST, line).into());
        }
        Ok(host)
    }

    async fn route(&self, host: &Authority, head: &Parts, body: RequestBody) -> Answer {
        let reads = matches!(head.method, Method::GET | Method::HEAD);
        let path = head.uri.path();
        match path {
            "/api/tickets" | "/api/handover" if head.method != Method::POST => {
                answer::method_not_allowed("POST")
            }
            "/api/tickets" => self.ticket(host, head, body).await,
            "/api/handover" => match whole(body).await {
                Ok(form) => self.app.handover(&form).await,
                Err(refusal) => *refusal,
            },
            _ => {
                let found = if path == "/api/files" {
                    Some(answer::json(StatusCode::OK, &self.app.received().list()))
                } else if let Some(id) = path.strip_prefix("/api/files/") {
                    self.file(id).await
                } else {
                    answer::asset(path)
                };
                match found {
                    Some(_) if !reads => answer::method_not_allowed("GET, HEAD"),
                    Some(found) => found,
                    None => answer::text(StatusCode::NOT_FOUND, "not found\n"),
                }
            }
        }
    }

    /// JSON for the page; for a terminal the upload URL as it is.
    async fn ticket(&self, host: &Authority, head: &Parts, body: RequestBody) -> Answer {
        let form = Form::of(&head.headers);
        if !is_same_origin(self.scheme, host, &head.headers) {
            return form.refusal(
                StatusCode::FORBIDDEN,
                "only the demo's own page may request \
                    tickets here",
            );
        }
        let body = match whole(body).await {
            Ok(body) => body,
            Err(refusal) => return *refusal,
        };
        let request = match ticket_request(head, &body) {
            Ok(request) => request,
            Err(why) => return form.refusal(StatusCode::BAD_REQUEST, &why.to_string()),
        };
        match self.app.ticket(&request).await {
            Ok(id) => {
                let path = format!("/incoming/frontend/uploads/{id}");
                let url = format!("{}://{host}{path}", self.scheme.word());
                match form {
                    Form::Json => {
                        answer::json(StatusCode::OK, &json!({ "id": id.to_string(), "url": url }))
                    }
                    Form::Text => answer::text(StatusCode::OK, url + "\n"),
                }
            }
            Err(NoTicket::Refused(why)) => form.refusal(StatusCode::BAD_REQUEST, &why),
            Err(NoTicket::NotNow(why)) => form.refusal(StatusCode::SERVICE_UNAVAILABLE, &why),
        }
    }

    /// A received file, if this is the id of one.
    async fn file(&self, id: &str) -> Option<Answer> {
        let id = TicketId::parse(id).ok()?;
        let app = Arc::clone(&self.app);
        let opened = tokio::task::spawn_blocking(move || app.received().open_file(id)).await;
        match opened.unwrap_or_else(|panic| Err(panic.into())) {
            Ok(found) => found.map(|(file, length, name)| answer::download(file, length, &name)),
            Err(error) => {
                tracing::error!(upload = %id.short(), %error, "could not open received file");
                let line = "cannot read the file\n";
                Some(answer::text(StatusCode::INTERNAL_SERVER_ERROR, line))
            }
        }
    }
}

impl hyper::service::Service<Request<RequestBody>> for Site {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        if request.uri().path().starts_with("/incoming/") {
            let answer = self.wire.call(request);
            return Box::pin(async move { Ok(answer.await?.map(Either::Left)) });
        }
        let site = self.clone();
        Box::pin(async move { Ok(site.answer(request).await) })
    }
}

/// How the asker of a ticket wants its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

impl Form {
    /// Who speaks JSON, or asks for it, gets it.
    fn of(headers: &HeaderMap) -> Self {
        let accepts = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let asked = accepts.is_some_and(|accepts| accepts.contains("application/json"));
        if asked || is_json(headers) { Self::Json } else { Self::Text }
    }

    fn refusal(self, status: StatusCode, why: &str) -> Answer {
        match self {
            Self::Text => answer::text(status, format!("{why}\n")),
            Self::Json => answer::json(status, &json!({ "error": why })),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json")
}

/// What a request for a ticket lacks.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("invalid ticket request: {0}")]
    Json(#[from] serde_json::Error),
    #[error("size {0:?} is not a number")]
    Size(String),
}

/// What a ticket is wanted for: from a JSON body, else from the query.
fn ticket_request(head: &Parts, body: &Bytes) -> Result<TicketRequest, RequestError> {
    if is_json(&head.headers) && !body.is_empty() {
        return Ok(serde_json::from_slice(body)?);
    }
    let mut request = TicketRequest::default();
    for (key, value) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        match &*key {
            "name" => request.name = Some(value.into_owned()),
            "size" => {
                let size = value.parse();
                request.size = Some(size.map_err(|_| RequestError::Size(value.into_owned()))?);
            }
            _ => {}
        }
    }
    Ok(request)
}

/// The host named by the request: HTTP/2 has it in the URI.
fn authority(head: &Parts) -> Option<Authority> {
    if let Some(authority) = head.uri.authority() {
        return Some(authority.clone());
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let (host, None) = (hosts.next()?, hosts.next()) else { return None };
    let authority: Authority = host.to_str().ok()?.parse().ok()?;
    (!authority.as_str().contains('@')).then_some(authority)
}

/// Whether a request comes from this origin's own page, or from no page at all. Browsers say so,
/// older ones by `Origin` alone.
fn is_same_origin(scheme: Scheme, host: &Authority, headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return matches!(site.as_bytes(), b"same-origin" | b"none");
    }
    let own = || format!("{}://{host}", scheme.word());
    headers
        .get(ORIGIN)
        .is_none_or(|origin| origin.as_bytes().eq_ignore_ascii_case(own().as_bytes()))
}

/// The whole of a small body.
async fn whole(body: RequestBody) -> Result<Bytes, Box<Answer>> {
    let too_large = || {
        let line = format!("a body may have at most {BODY_BYTES} bytes here\n");
        Err(answer::text(StatusCode::PAYLOAD_TOO_LARGE, line).into())
    };
    // Said before a byte is read, where the client announced the length.
    if body.size_hint().lower() > BODY_BYTES as u64 {
        return too_large();
    }
    let read = Limited::new(body, BODY_BYTES).collect();
    let (status, why) = match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(Ok(body)) => return Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return too_large(),
        Ok(Err(error)) => (StatusCode::BAD_REQUEST, format!("the body was cut off: {error}\n")),
        Err(_) => (StatusCode::REQUEST_TIMEOUT, "the body took too long\n".into()),
    };
    Err(answer::text(status, why).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(uri: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn other_origins_are_told_apart() {
        let check = |headers: &[(&'static str, &str)], expected: bool| {
            let host = "localhost:4443".parse().unwrap();
            let head = head("/", headers);
            let same = is_same_origin(Scheme::Https, &host, &head.headers);
            assert_eq!(same, expected, "{headers:?}");
        };
        check(&[], true);
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "none")], true);
        check(&[("sec-fetch-site", "same-site")], false);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("origin", "https://localhost:4443")], true);
        check(&[("origin", "http://localhost:4443")], false);
        check(&[("origin", "https://localhost")], false);
        check(&[("origin", "null")], false);
        check(&[("origin", "https://evil.example")], false);
    }

    #[test]
    fn hosts_are_read() {
        let check = |uri: &str, headers: &[(&'static str, &str)], expected: Option<&str>| {
            let read = authority(&head(uri, headers));
            assert_eq!(read.as_ref().map(Authority::as_str), expected, "{uri} {headers:?}");
        };
        check("/", &[("host", "localhost:1")], Some("localhost:1"));
        check("/", &[("host", "[::1]:1")], Some("[::1]:1"));
        check("https://a:1/", &[], Some("a:1"));
        check("/", &[], None);
        check("/", &[("host", "a"), ("host", "b")], None);
        check("/", &[("host", "a/b")], None);
        check("/", &[("host", "a\"<b>")], None);
        check("/", &[("host", "u@a")], None);
    }

    #[test]
    fn ticket_requests() {
        let check = |uri: &str,
                     json: Option<&str>,
                     expected: Option<(Option<&str>, Option<u64>)>| {
            let kind = [("content-type", "application/json; charset=utf-8")];
            let head = head(uri, if json.is_some() { &kind } else { &[] });
            let request = ticket_request(&head, &Bytes::from(json.unwrap_or_default().to_owned()));
            let read = request.as_ref().ok().map(|request| (request.name.as_deref(), request.size));
            assert_eq!(read, expected, "{uri} {json:?}");
        };
        check("/", None, Some((None, None)));
        check("/?name=a%2Fb%00&size=3", None, Some((Some("a/b\0"), Some(3))));
        check("/?size=-1", None, None);
        check("/", Some(r#"{"name":"x","size":null}"#), Some((Some("x"), None)));
        check("/", Some("{}"), Some((None, None)));
        check("/", Some(""), Some((None, None)));
        check("/", Some(r#"{"size":"3"}"#), None);
        check("/", Some("["), None);
    }
}
