//! One call to the backend listener: HTTP/1.1, a connection for each.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::super::CliError;
use super::show::harmless;
use super::target::Target;
use crate::config::Secret;

/// For connecting, asking and reading the whole answer: far more than a page takes, and short
/// enough for somebody who waits at a terminal.
const DEADLINE: Duration = Duration::from_secs(30);
/// The longest answer read: a hundred times the largest page.
const ANSWER_BYTES: usize = 16 << 20;
/// Heads of answers: a handful of short headers.
const HEAD_BYTES: usize = 64 << 10;
/// What stays as it is in a segment of a path, besides letters and digits.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// One value as a segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Knows where to call and with which token.
pub(super) struct Client {
    target: Target,
    authorization: Option<HeaderValue>,
}

impl Client {
    pub(super) fn new(target: Target, token: Option<Secret>) -> Result<Self, CliError> {
        let header = |token: Secret| {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| CliError::Usage("--token cannot be sent as a header".into()))?;
            value.set_sensitive(true);
            Ok::<_, CliError>(value)
        };
        Ok(Self { target, authorization: token.map(header).transpose()? })
    }

    /// `GET`s JSON. Changes nothing, so dropping it is harmless.
    pub(super) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let request = Request::get(path).header(ACCEPT, "application/json");
        let answer = self.call(request, Bytes::new()).await?;
        serde_json::from_slice(&answer)
            .map_err(|error| format!("{} gave no answer of this kind: {error}", self.target))
    }

    /// `POST`s a form; the fields travel in the body, since URLs end up in logs. Dropped while in
    /// flight, the server may or may not have done it; both calls may be repeated.
    pub(super) async fn act(&self, path: &str, fields: &[(&str, &str)]) -> Result<(), String> {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = Request::post(path)
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.call(request, Bytes::from(form)).await.map(drop)
    }

    async fn call(
        &self,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<Bytes, String> {
        let mut request = request
            .header(HOST, self.target.authority())
            .body(Full::new(body))
            .map_err(|error| format!("cannot ask {}: {error}", self.target))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let call = async {
            match &self.target {
                Target::Unix(path) => match UnixStream::connect(path).await {
                    Ok(stream) => exchange(stream, request).await,
                    Err(error) => Err(format!("cannot connect: {error}")),
                },
                Target::Tcp { host, port } => {
                    match TcpStream::connect((host.as_str(), *port)).await {
                        Ok(stream) => exchange(stream, request).await,
                        Err(error) => Err(format!("cannot connect: {error}")),
                    }
                }
            }
        };
        match tokio::time::timeout(DEADLINE, call).await {
            Ok(Ok((status, answer))) if status.is_success() => Ok(answer),
            Ok(Ok((status, answer))) => Err(refusal(status, &answer)),
            Ok(Err(reason)) => Err(format!("{}: {reason}", self.target)),
            Err(_) => Err(format!("{}: no answer within {DEADLINE:?}", self.target)),
        }
    }
}

/// Sends the request and reads the whole answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let lost = |error: hyper::Error| format!("the connection broke: {error}");
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(lost)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(lost)?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
        Ok((head.status, body.to_bytes()))
    };
    // The connection may end before its last bytes were read from here, and its error arrives
    // through the answer: so its own end never decides.
    let mut connection = pin!(async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    });
    tokio::select! {
        answer = answer => answer,
        () = &mut connection => unreachable!("the connection's future is pending for ever"),
    }
}

/// The server's refusal as one line: problem+json's detail, or the text itself.
fn refusal(status: StatusCode, answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let problem: Option<Value> = serde_json::from_slice(answer).ok();
    let detail = problem.as_ref().and_then(|problem| {
        let said = |key| problem.get(key).and_then(Value::as_str).filter(|said| !said.is_empty());
        said("detail").or_else(|| said("title"))
    });
    let line = detail.unwrap_or_else(|| text.trim().lines().next().unwrap_or_default());
    let line: String = harmless(line).chars().take(400).collect();
    let hint = match status {
        StatusCode::UNAUTHORIZED => " (token: --token or INCOMING_BACKEND_TOKEN)",
        _ => "",
    };
    format!("the server refused: {status}: {line}{hint}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_one_line() {
        fn check(status: u16, answer: &str, line: &str) {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refusal(status, answer.as_bytes()), line);
        }
        check(
            412,
            r#"{"title":"wrong state","detail":"handover has begun"}"#,
            "the server refused: 412 Precondition Failed: handover has begun",
        );
        check(403, "wrong\nsecret", "the server refused: 403 Forbidden: wrong");
        check(400, "\u{1b}[2J", "the server refused: 400 Bad Request: ?[2J");
        check(
            401,
            r#"{"title":"forbidden","detail":""}"#,
            "the server refused: 401 Unauthorized: forbidden \
             (token: --token or INCOMING_BACKEND_TOKEN)",
        );
    }

    #[test]
    fn segments_stay_segments() {
        assert_eq!(segment("0b-1_f"), "0b-1_f");
        assert_eq!(segment("../a?b"), "%2E%2E%2Fa%3Fb");
    }
}
