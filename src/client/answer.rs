//! What a server answered, and a refusal in one line.

use crate::core::escape;
use bytes::Bytes;
use hyper::StatusCode;
use serde::Deserialize;
use std::time::Duration;

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
