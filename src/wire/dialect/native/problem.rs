//! Problems of the native dialect: their status codes, and how they are rendered.
//!
//! Source: RFC 9457 (problem details), and the project's contract for codes and numbers.

use super::json::StatusBody;
use crate::wire::Answer;
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::json;
use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;

impl Code {
    /// Status, word and number in the native dialect.
    pub fn facts(self) -> (u16, &'static str, u8) {
        let row = row(self);
        (row.status.as_u16(), row.word, row.number)
    }
}

/// How a code is answered.
struct Row {
    status: StatusCode,
    word: &'static str,
    number: u8,
    title: &'static str,
}

/// The one table from codes to the statuses, words and numbers of the contract.
fn row(code: Code) -> Row {
    let (status, word, number, title) = match code {
        Code::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", 1, "Malformed request"),
        Code::DigestMismatch => (
            StatusCode::BAD_REQUEST,
            "digest-mismatch",
            2,
            "The digest does not match the \
                bytes",
        ),
        Code::Unauthorized => (StatusCode::UNAUTHORIZED, "forbidden", 3, "Token missing or wrong"),
        Code::Forbidden => (StatusCode::FORBIDDEN, "forbidden", 3, "Not allowed"),
        Code::UnknownUpload => (StatusCode::NOT_FOUND, "unknown-upload", 4, "No such upload"),
        Code::UnknownId => (StatusCode::BAD_REQUEST, "unknown-upload", 4, "No such upload"),
        Code::MethodNotAllowed => {
            (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", 5, "Method not allowed")
        }
        Code::LengthChanged => (StatusCode::CONFLICT, "length-changed", 6, "The file has changed"),
        Code::Superseded => {
            (StatusCode::CONFLICT, "superseded", 7, "A newer request took over this range")
        }
        Code::UploadOver => (StatusCode::GONE, "upload-over", 8, "The upload is over"),
        Code::LengthRequired => {
            (StatusCode::LENGTH_REQUIRED, "length-required", 9, "Length required")
        }
        Code::WrongState => {
            (StatusCode::PRECONDITION_FAILED, "wrong-state", 10, "Not in this state")
        }
        Code::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", 11, "Too large"),
        Code::RangeInvalid => {
            (StatusCode::RANGE_NOT_SATISFIABLE, "range-invalid", 12, "Range and body do not match")
        }
        Code::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", 13, "Too many requests"),
        Code::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            14,
            "Temporarily \
                unavailable",
        ),
        Code::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no-space", 15, "The disk is full"),
        Code::Fault => (StatusCode::INTERNAL_SERVER_ERROR, "fault", 16, "The server failed"),
        Code::RequestTimeout => {
            (StatusCode::REQUEST_TIMEOUT, "bad-request", 1, "The body took too long")
        }
        Code::UnsupportedEncoding => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-encoding",
            17,
            "Unsupported encoding of the body",
        ),
        Code::ExpectationFailed => {
            (StatusCode::EXPECTATION_FAILED, "bad-request", 1, "Expectation not supported")
        }
        Code::OffsetMismatch => {
            (StatusCode::CONFLICT, "offset-mismatch", 19, "The upload ends at another offset")
        }
        Code::UnsupportedMediaType => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            20,
            "Unsupported media type",
        ),
        Code::UnsupportedVersion => (
            StatusCode::PRECONDITION_FAILED,
            "unsupported-version",
            21,
            "Unsupported version of the protocol",
        ),
        Code::Refused => (StatusCode::FORBIDDEN, "refused", 18, "The web app refused"),
    };
    Row { status, word, number, title }
}

/// A problem as problem+json, with how the upload stands where that is known.
pub(in crate::wire) fn answer(problem: &Problem, upload: Option<&StatusBody>) -> Answer {
    answer_with(problem, row(problem.code()).status, Members { upload, ..Members::default() })
}

/// The same in another dialect, which has a status code of its own for the problem, and may have a type and members.
pub(in crate::wire) fn answer_with(
    problem: &Problem,
    status: StatusCode,
    members: Members<'_>,
) -> Answer {
    let row = row(problem.code());
    let status = problem.status_or(status);
    let own_type = || format!("/incoming/problems/{}", row.word);
    let body = ProblemBody {
        r#type: members.r#type.map_or_else(own_type, str::to_owned),
        title: row.title,
        status: status.as_u16(),
        detail: problem.detail(),
        code: row.word,
        error_code: row.number,
        members,
    };
    let mut answer = problem.render(status, json(&body), "application/problem+json");
    if let Some(status) = body.members.upload {
        status.add_headers(answer.headers_mut());
    }
    answer
}

impl Problem {
    /// The answer as problem+json.
    pub fn into_answer(self) -> Answer {
        answer(&self, None)
    }

    /// The answer as a line of text.
    pub fn into_text(self) -> Answer {
        let body = Bytes::from(format!("{}\n", self.detail()));
        self.render(row(self.code()).status, body, "text/plain; charset=utf-8")
    }
}

#[derive(Serialize)]
struct ProblemBody<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    error_code: u8,
    #[serde(flatten)]
    members: Members<'a>,
}

/// What a problem says beyond what its code does.
#[derive(Default, Serialize)]
pub(in crate::wire) struct Members<'a> {
    /// The type that its protocol has for it.
    #[serde(skip)]
    pub(in crate::wire) r#type: Option<&'static str>,
    /// How the upload stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) upload: Option<&'a StatusBody>,
    /// Where an append has to begin, and where this one began.
    #[serde(rename = "expected-offset", skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) expected_offset: Option<u64>,
    #[serde(rename = "provided-offset", skip_serializing_if = "Option::is_none")]
    pub(in crate::wire) provided_offset: Option<u64>,
}
