//! The status codes of resumable uploads, and their problems. Clients repeat a request on 409, 413, 429 and 5xx, and begin
//! anew on 404.

use super::super::native::{Members, problem_answer_with};
use crate::wire::Answer;
use crate::wire::problem::{Code, Problem};
use hyper::StatusCode;

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
    let mut members = Members::default();
    match code {
        Code::OffsetMismatch => {
            members.r#type = Some(OFFSET);
            members.expected_offset = offsets.map(|(expected, _)| expected);
            members.provided_offset = offsets.and_then(|(_, provided)| provided);
        }
        Code::LengthChanged | Code::RangeInvalid => members.r#type = Some(LENGTH),
        _ => {}
    }
    problem_answer_with(problem, status(code), members)
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

/// Types of the registry of problem types.
const OFFSET: &str = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
const LENGTH: &str = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";
