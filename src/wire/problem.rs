//! The one table from refusals and faults to HTTP answers.
//!
//! Source: RFC 9457 (problem details), and the project's contract for codes and numbers.

use super::reply::{describe, digest_value, json, shown};
use super::status::StatusBody;
use super::{Answer, native};
use crate::engine::context::{RequestContext, request_of};
use crate::engine::error::{
    ChangeError, ClientFault, Fault, LookupError, TicketError, TransferError,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT_ENCODING, ALLOW, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The code of a problem: what a program looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The words are the table below.
pub enum Code {
    BadRequest,
    DigestMismatch,
    Unauthorized,
    Forbidden,
    UnknownUpload,
    /// The backend surface answers 400 for an unknown id, as it did in 2014.
    UnknownId,
    MethodNotAllowed,
    LengthChanged,
    Superseded,
    UploadOver,
    LengthRequired,
    WrongState,
    TooLarge,
    RangeInvalid,
    TooMany,
    Unavailable,
    NoSpace,
    Fault,
    RequestTimeout,
    UnsupportedEncoding,
    ExpectationFailed,
}

struct Row {
    status: StatusCode,
    word: &'static str,
    number: u8,
    title: &'static str,
}

impl Code {
    /// Every code, in the order of the declaration above.
    #[rustfmt::skip]
    pub const ALL: [Self; 21] = [
        Self::BadRequest, Self::DigestMismatch, Self::Unauthorized, Self::Forbidden,
        Self::UnknownUpload, Self::UnknownId, Self::MethodNotAllowed, Self::LengthChanged,
        Self::Superseded, Self::UploadOver, Self::LengthRequired, Self::WrongState, Self::TooLarge,
        Self::RangeInvalid, Self::TooMany, Self::Unavailable, Self::NoSpace, Self::Fault,
        Self::RequestTimeout, Self::UnsupportedEncoding, Self::ExpectationFailed,
    ];

    /// Status, word and number.
    pub fn facts(self) -> (u16, &'static str, u8) {
        let row = self.row();
        (row.status.as_u16(), row.word, row.number)
    }

    fn row(self) -> Row {
        let (status, word, number, title) = match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", 1, "Malformed request"),
            Self::DigestMismatch => (
                StatusCode::BAD_REQUEST,
                "digest-mismatch",
                2,
                "The digest does not match the \
                    bytes",
            ),
            Self::Unauthorized => {
                (StatusCode::UNAUTHORIZED, "forbidden", 3, "Token missing or wrong")
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden", 3, "Not allowed"),
            Self::UnknownUpload => (StatusCode::NOT_FOUND, "unknown-upload", 4, "No such upload"),
            Self::UnknownId => (StatusCode::BAD_REQUEST, "unknown-upload", 4, "No such upload"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", 5, "Method not allowed")
            }
            Self::LengthChanged => {
                (StatusCode::CONFLICT, "length-changed", 6, "The file has changed")
            }
            Self::Superseded => {
                (StatusCode::CONFLICT, "superseded", 7, "A newer request took over this range")
            }
            Self::UploadOver => (StatusCode::GONE, "upload-over", 8, "The upload is over"),
            Self::LengthRequired => {
                (StatusCode::LENGTH_REQUIRED, "length-required", 9, "Length required")
            }
            Self::WrongState => {
                (StatusCode::PRECONDITION_FAILED, "wrong-state", 10, "Not in this state")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", 11, "Too large"),
            Self::RangeInvalid => (
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range-invalid",
                12,
                "Range and body do not match",
            ),
            Self::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", 13, "Too many requests"),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                14,
                "Temporarily \
                    unavailable",
            ),
            Self::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no-space", 15, "The disk is full"),
            Self::Fault => (StatusCode::INTERNAL_SERVER_ERROR, "fault", 16, "The server failed"),
            // Not in the contract's table: the body stood still, the client may send it again.
            Self::RequestTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "bad-request", 1, "The body took too long")
            }
            Self::UnsupportedEncoding => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-encoding",
                17,
                "Unsupported encoding of the body",
            ),
            Self::ExpectationFailed => {
                (StatusCode::EXPECTATION_FAILED, "bad-request", 1, "Expectation not supported")
            }
        };
        Row { status, word, number, title }
    }
}

/// A request that was not done, as its answer.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    upload: Option<Box<StatusBody>>,
    allow: Option<&'static str>,
    retry_after_s: Option<u32>,
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    error_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<&'a StatusBody>,
}

impl Problem {
    /// A problem with a text for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after_s = match code {
            Code::TooMany | Code::Unavailable => Some(RETRY_AFTER_S),
            _ => None,
        };
        Self { code, detail: detail.into(), upload: None, allow: None, retry_after_s }
    }

    /// A malformed request; the detail names the header or parameter and its value.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// A method that the resource does not have.
    pub fn method(method: &hyper::Method, allow: &'static str) -> Self {
        let detail = format!("method {} is not one of {allow}", shown(method.as_str()));
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, detail) }
    }

    /// Adds how the upload stands.
    pub fn with_upload(mut self, status: StatusBody) -> Self {
        self.upload = Some(Box::new(status));
        self
    }

    /// Leaves out how the upload stands.
    pub fn without_upload(self) -> Self {
        Self { upload: None, ..self }
    }

    /// Says when to come again.
    pub fn after(self, time: Duration) -> Self {
        Self { retry_after_s: u32::try_from(time.as_secs()).ok(), ..self }
    }

    /// The problem's code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// The text for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The same problem with another code, for surfaces that name it differently.
    pub fn recoded(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// The answer as problem+json.
    pub fn into_answer(self) -> Answer {
        self.answer()
    }

    /// The same, of a problem that may still be told in another way.
    pub fn answer(&self) -> Answer {
        let row = self.code.row();
        let body = ProblemBody {
            r#type: format!("/incoming/problems/{}", row.word),
            title: row.title,
            status: row.status.as_u16(),
            detail: &self.detail,
            code: row.word,
            error_code: row.number,
            upload: self.upload.as_deref(),
        };
        let mut answer = self.head(&row, json(&body), "application/problem+json");
        if let Some(status) = &self.upload {
            status.add_headers(answer.headers_mut());
        }
        answer
    }

    /// The answer as a line of text.
    pub fn into_text(self) -> Answer {
        let row = self.code.row();
        self.head(&row, Bytes::from(format!("{}\n", self.detail)), "text/plain; charset=utf-8")
    }

    fn head(&self, row: &Row, body: Bytes, media_type: &'static str) -> Answer {
        let mut answer = Response::new(Full::new(body));
        *answer.status_mut() = row.status;
        // For the count and the log.
        answer.extensions_mut().insert(self.code);
        let headers = answer.headers_mut();
        describe(headers, media_type);
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::UnsupportedEncoding {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.code == Code::Unauthorized {
            headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl From<Fault> for Problem {
    /// What failed is in the log; the outside learns only that something did.
    fn from(fault: Fault) -> Self {
        let cause = RequestContext::current();
        tracing::error!(%fault, request = request_of(cause.as_ref()), "request failed");
        Self::new(Code::Fault, "the server failed; nothing acknowledged is lost")
    }
}

impl From<LookupError> for Problem {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Unknown => Self::new(Code::UnknownUpload, "there is no such upload"),
            LookupError::Busy => busy(),
            LookupError::Fault(fault) => fault.into(),
        }
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Unknown => LookupError::Unknown.into(),
            ChangeError::Refused(refusal) => refusal.into(),
            ChangeError::NoSpace => no_space(),
            ChangeError::Exhausted => exhausted(),
            ChangeError::Busy => busy(),
            ChangeError::Fault(fault) => fault.into(),
        }
    }
}

impl From<TicketError> for Problem {
    fn from(error: TicketError) -> Self {
        match error {
            TicketError::TooMany { limit } => {
                let detail = format!(
                    "{limit} uploads are open, the limit set by max_uploads; try again later"
                );
                Self::new(Code::TooMany, detail)
            }
            TicketError::Refused(refusal) => refusal.into(),
            TicketError::NoSpace => no_space(),
            TicketError::Exhausted => exhausted(),
            TicketError::Draining => draining(),
            TicketError::Fault(fault) => fault.into(),
        }
    }
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Self {
        match error {
            TransferError::Unknown => LookupError::Unknown.into(),
            TransferError::Refused(refusal) => refusal.into(),
            TransferError::Superseded => {
                Self::new(Code::Superseded, "a newer request took over this range")
            }
            TransferError::DigestMismatch { found } => {
                let found = digest_value(&found);
                let detail = format!("the body's digest is {found}, not that of Content-Digest");
                Self::new(Code::DigestMismatch, detail)
            }
            TransferError::Client(fault @ ClientFault::BrokeOff(_)) => {
                Self::new(Code::BadRequest, fault.to_string())
            }
            TransferError::Client(fault @ (ClientFault::StoodStill | ClientFault::TooSlow)) => {
                Self::new(Code::RequestTimeout, fault.to_string())
            }
            TransferError::TooManyInFlight(taken) => native::too_many(taken, "chunks in flight"),
            TransferError::AnswersUnread => native::unread(),
            TransferError::NoSpace => no_space(),
            TransferError::Exhausted => exhausted(),
            TransferError::Busy => busy(),
            TransferError::Draining => draining(),
            TransferError::Fault(fault) => fault.into(),
        }
    }
}

fn no_space() -> Problem {
    let detail = "the disk is full; nothing acknowledged is lost, try again when space is free";
    Problem { retry_after_s: Some(NO_SPACE_RETRY_S), ..Problem::new(Code::NoSpace, detail) }
}

fn exhausted() -> Problem {
    let detail = "the server has reached its limit of open files; try again later";
    Problem::new(Code::Unavailable, detail)
}

fn busy() -> Problem {
    Problem::new(Code::Unavailable, "too many uploads are being read from disk; try again later")
}

fn draining() -> Problem {
    Problem::new(Code::Unavailable, "the server is stopping; try again in a moment")
}

/// Answers that said no, by code. Those that nobody waited for do not count.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Code::ALL.len()]);

impl Refusals {
    /// One more.
    pub fn count(&self, code: Code) {
        self.0[code as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each was answered.
    pub fn counts(&self) -> impl Iterator<Item = (Code, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Code::ALL.into_iter().zip(counts)
    }
}

/// When to come back after a limit or a restart.
const RETRY_AFTER_S: u32 = 2;
/// When to come back to a full disk.
const NO_SPACE_RETRY_S: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_place_of_its_own() {
        let refusals = Refusals::default();
        for (times, code) in Code::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| refusals.count(code));
        }
        assert!(refusals.counts().enumerate().all(|(times, (_, count))| times as u64 == count));
    }
}
