//! The status codes of resumable uploads, and their problems. Clients repeat a request on 409, 413, 429 and 5xx, and begin
//! anew on 404.

use super::super::native::problem_word;
use crate::wire::Answer;
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::json;
use hyper::StatusCode;
use serde_json::{Map, Value};

/// A creation of an upload that goes on, and an append of old drafts.
pub(super) const CREATED: StatusCode = StatusCode::CREATED;
/// An append of an upload that goes on.
pub(super) const NO_CONTENT: StatusCode = StatusCode::NO_CONTENT;

/// A problem as problem+json; `offsets` is where the upload ends, and where the request took it to end.
///
/// Source: the draft's section on problem types, for the types and their members.
pub(in crate::wire::dialect) fn answer(
    problem: &Problem,
    offsets: Option<(u64, Option<u64>)>,
) -> Answer {
    let code = problem.code();
    let status = problem.status_or(status(code));
    let (word, number, title) = problem_word(code);
    let kind = match code {
        Code::OffsetMismatch => format!("{TYPES}#mismatching-upload-offset"),
        Code::LengthChanged | Code::RangeInvalid => format!("{TYPES}#inconsistent-upload-length"),
        _ => format!("/incoming/problems/{word}"),
    };
    let mut body = Map::new();
    body.insert("type".into(), kind.into());
    body.insert("title".into(), title.into());
    body.insert("status".into(), status.as_u16().into());
    body.insert("detail".into(), problem.detail().into());
    body.insert("code".into(), word.into());
    body.insert("error_code".into(), number.into());
    if let (Code::OffsetMismatch, Some((expected, provided))) = (code, offsets) {
        body.insert("expected-offset".into(), expected.into());
        body.insert("provided-offset".into(), provided.map_or(Value::Null, Value::from));
    }
    problem.render(status, json(&body), "application/problem+json")
}

/// The one table from codes to the statuses of this dialect.
fn status(code: Code) -> StatusCode {
    match code {
        Code::UploadOver => StatusCode::NOT_FOUND,
        // With 409 the older of two tabs would ask where to go on, and fence the newer off, for ever.
        Code::Superseded | Code::LengthChanged | Code::RangeInvalid => StatusCode::BAD_REQUEST,
        Code::RequestTimeout => StatusCode::SERVICE_UNAVAILABLE,
        code => StatusCode::from_u16(code.facts().0).unwrap_or(StatusCode::BAD_REQUEST),
    }
}

/// The registry of problem types.
const TYPES: &str = "https://iana.org/assignments/http-problem-types";
