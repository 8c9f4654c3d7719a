//! One listener, and requests to it over a pool of connections; what it answered, and a refusal in one line.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderValue, InvalidHeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use super::connect::{ConnectError, Connector, Offer, absolute, host};
use super::endpoint::Endpoint;
use super::error::{CallError, ProtocolSniffer, broke, cause, lost};
use crate::config::Secret;
use crate::core::{escape, units};

/// How long nothing may move before a request is given up. The longest silence that means no harm is
/// a server's that syncs a chunk to a busy disk.
const STALLED: Duration = Duration::from_secs(90);
/// How often that is looked at.
const TICK: Duration = Duration::from_secs(5);
/// The longest answer read, unless the caller asks for more: a status with very many ranges has 200 KiB.
const ANSWER_BYTES: usize = 1 << 20;
/// Heads of answers.
const HEAD_BYTES: usize = 64 << 10;
/// What HTTP/2 collects before it writes.
const SEND_BYTES: usize = 1 << 20;
/// No large bodies are received here.
const RECEIVE_WINDOW: u32 = 1 << 20;

const CALLER: HeaderValue =
    HeaderValue::from_static(concat!("incoming/", env!("CARGO_PKG_VERSION")));

/// How far the body of one request is: its maker notes, who waits for the answer looks.
#[derive(Debug, Default)]
pub(crate) struct BodyProgress {
    moved: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl BodyProgress {
    /// Bytes handed to the network.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// So many more bytes were handed to the network.
    pub(super) fn add(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The body cannot be made.
    pub(super) fn fail(&self, why: String) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Why the body could not be made, if so.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Calls one listener.
pub(crate) struct Client<B> {
    connector: Connector,
    pool: legacy::Client<Connector, B>,
    protocol: Offer,
    /// Whether there was an answer, ever.
    answered: AtomicBool,
    /// The longest answer read.
    answer_bytes: usize,
}

impl<B> Client<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// A client that has not connected yet; of what it `offer`s HTTP/2 alone is HTTP/2.
    pub(crate) fn new(
        endpoint: Endpoint,
        tls: Option<Arc<rustls::ClientConfig>>,
        protocol: Offer,
    ) -> Self {
        let connector = Connector::new(endpoint, tls, protocol);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .set_host(false)
            // Connections end when the server closes them.
            .pool_idle_timeout(None)
            .http1_max_buf_size(HEAD_BYTES)
            .http1_writev(true)
            .http2_only(protocol == Offer::Http2)
            .http2_initial_stream_window_size(RECEIVE_WINDOW)
            .http2_initial_connection_window_size(RECEIVE_WINDOW)
            .http2_max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
            .http2_max_send_buf_size(SEND_BYTES)
            .build(connector.clone());
        let answered = AtomicBool::new(false);
        Self { connector, pool, protocol, answered, answer_bytes: ANSWER_BYTES }
    }

    /// For a caller that expects longer answers.
    pub(crate) fn reading_up_to(self, answer_bytes: usize) -> Self {
        Self { answer_bytes, ..self }
    }

    /// Where it calls.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// Sends a request, whose target is a path, and reads the whole answer. `patience` is for an answer
    /// that is waited for on purpose; `progress` is that of the body.
    ///
    /// # Errors
    /// No connection; it broke, or nothing moved on it for 90 s; the body could not be made; the answer is too long.
    ///
    /// Cancel: the request is dropped; the server may have acted on it.
    pub(crate) async fn call(
        &self,
        mut request: Request<B>,
        progress: &BodyProgress,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let endpoint = self.endpoint();
        request.headers_mut().insert(USER_AGENT, CALLER);
        if self.protocol != Offer::Http2 {
            request.headers_mut().insert(HOST, host(endpoint));
        }
        *request.uri_mut() = absolute(endpoint, request.uri());
        let used = capture_connection(&mut request);
        let exchange = async {
            let answer = self.pool.request(request).await.map_err(Broken::Connection)?;
            read(answer, self.answer_bytes).await
        };
        let answer = tokio::select! {
            answer = exchange => answer,
            () = stalled(progress, patience) => {
                // Other requests on an HTTP/2 connection stall as well: the next ones need a new one.
                used.connection_metadata().iter().for_each(|used| used.poison());
                let limit = (STALLED + patience).as_secs();
                return Err(CallError::transient(format!("{endpoint}: stalled, no progress for {limit} s")));
            }
        };
        if let Some(fault) = progress.fault() {
            return Err(CallError::Permanent(fault));
        }
        let answer = answer.map_err(|broken| self.error(&broken, &used))?;
        self.answered.store(true, Ordering::Relaxed);
        Ok(answer)
    }

    fn error(&self, broken: &Broken, used: &CaptureConnection) -> CallError {
        let endpoint = self.endpoint();
        match broken {
            Broken::Connection(error) => match cause::<ConnectError>(error) {
                Some(error) => error.about(endpoint),
                None => self.lost(error, &self.sniffer(used)),
            },
            Broken::TooLong(most) => CallError::Permanent(format!(
                "{endpoint}: the answer is larger than {}",
                units::size(*most as u64)
            )),
            Broken::Answer(why) => {
                CallError::transient(format!("{endpoint}: the answer was cut off: {why}"))
            }
        }
    }

    /// What it means that a connection broke.
    fn lost(&self, error: &legacy::Error, sniffer: &ProtocolSniffer) -> CallError {
        let endpoint = self.endpoint();
        // A server of HTTP/2 speaks first. One that has nothing to say to it does not know it.
        let deaf = sniffer.is_empty() && !self.answered.load(Ordering::Relaxed);
        if !endpoint.tls
            && self.protocol == Offer::Http2
            && !sniffer.is_tls()
            && (sniffer.is_http1() || deaf)
        {
            let why = "does not speak HTTP/2 without TLS; leave out --http2";
            return CallError::Permanent(format!("{endpoint} {why}"));
        }
        lost(endpoint, error, sniffer)
    }

    /// What the peer of this request's connection said first.
    fn sniffer(&self, used: &CaptureConnection) -> ProtocolSniffer {
        let mut extras = hyper::http::Extensions::new();
        if let Some(used) = &*used.connection_metadata() {
            used.get_extras(&mut extras);
        }
        // The pool says nothing of a connection that was lost as it began.
        extras.remove().unwrap_or_else(|| self.connector.latest())
    }
}

/// What broke.
enum Broken {
    Connection(legacy::Error),
    Answer(String),
    /// It has more than so many bytes.
    TooLong(usize),
}

async fn read(answer: Response<Incoming>, most: usize) -> Result<Answer, Broken> {
    let (head, body) = answer.into_parts();
    let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let body = Limited::new(body, most).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => Broken::TooLong(most),
        false => Broken::Answer(broke(error.as_ref())),
    })?;
    Ok(Answer {
        status: head.status,
        retry_after: after.map(Duration::from_secs),
        location: location.map(str::to_owned),
        body: body.to_bytes(),
    })
}

/// Ends when nothing has moved for too long.
async fn stalled(progress: &BodyProgress, patience: Duration) {
    let limit = STALLED + patience;
    let (mut moved, mut still) = (0, Duration::ZERO);
    while still < limit {
        tokio::time::sleep(TICK).await;
        let now = progress.moved();
        still = if now == moved { still + TICK } else { Duration::ZERO };
        moved = now;
    }
}

/// A token that cannot be sent as a header.
#[derive(Debug, thiserror::Error)]
#[error("the token cannot be sent as a header")]
pub(crate) struct InvalidToken(#[from] InvalidHeaderValue);

/// The header that carries a token.
pub(crate) fn bearer(token: &Secret) -> Result<HeaderValue, InvalidToken> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) location: Option<String>,
    pub(crate) body: Bytes,
}

#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
    title: Option<String>,
}

/// A refusal as one line: problem+json's detail, the title of a page, or the text itself; and what is
/// usually wrong then.
pub(crate) fn refusal(answer: &Answer) -> String {
    let status = answer.status;
    if let Some(url) = answer.location.as_deref().filter(|_| status.is_redirection()) {
        return format!("{status}: moved to {}: use that address", escape::excerpt(url));
    }
    let text = String::from_utf8_lossy(&answer.body);
    let problem: Option<Problem> = serde_json::from_slice(&answer.body).ok();
    let said = problem
        .and_then(|problem| problem.detail.filter(|detail| !detail.is_empty()).or(problem.title));
    let said = said.or_else(|| title(&text));
    let said = said.unwrap_or_else(|| text.trim().lines().next().unwrap_or_default().to_owned());
    let hint = match status {
        StatusCode::UNAUTHORIZED => " (token: --token-file or INCOMING_BACKEND_TOKEN)",
        StatusCode::REQUEST_TIMEOUT => "",
        _ if text.contains("plain HTTP request was sent to HTTPS port") => {
            " (did you mean https://?)"
        }
        _ => "",
    };
    format!("{status}: {}{hint}", escape::excerpt(&said))
}

/// Whether this client, or who is not in on a secret, may not do that.
pub(crate) fn is_forbidden(answer: &Answer) -> bool {
    answer.status == StatusCode::FORBIDDEN
}

/// The title of an HTML page, as proxies answer with.
fn title(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let end = start + lower[start..].find("</title>")?;
    Some(text[start..end].trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, location: Option<&str>, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            location: location.map(str::to_owned),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn refusals_are_one_line() {
        let check = |status: u16, body: &str, line: &str| {
            assert_eq!(refusal(&answer(status, None, body)), line);
        };
        check(
            412,
            r#"{"title":"wrong state","detail":"handover has begun"}"#,
            "412 Precondition Failed: handover has begun",
        );
        check(404, r#"{"title":"unknown"}"#, "404 Not Found: unknown");
        check(400, "id = \u{1b}x: unknown\nmore", "400 Bad Request: id = \\u{1b}x: unknown");
        check(
            401,
            r#"{"title":"forbidden","detail":""}"#,
            "401 Unauthorized: forbidden (token: --token-file or INCOMING_BACKEND_TOKEN)",
        );
        check(
            502,
            "<html>\n<head><TITLE>502 Bad\u{202e} Gateway</TITLE>",
            "502 Bad Gateway: 502 Bad\\u{202e} Gateway",
        );
        check(
            400,
            "<html><title>400 The plain HTTP request was sent to HTTPS port</title>",
            "400 Bad Request: 400 The plain HTTP request was sent to HTTPS port (did you mean https://?)",
        );
        check(502, "", "502 Bad Gateway: ");
        let moved = answer(301, Some("https://a/u"), "<title>Moved</title>");
        assert_eq!(
            refusal(&moved),
            "301 Moved Permanently: moved to https://a/u: use that address"
        );
    }
}
