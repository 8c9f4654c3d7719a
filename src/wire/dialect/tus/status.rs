//! The status codes of tus. Those of problems are chosen by what clients do with them. tus-js-client, TUSKit and the Java client
//! repeat a request on 409, 423 and 5xx alone, and begin anew on 404.

use super::super::native::{Members, problem_answer_with};
use crate::wire::Answer;
use crate::wire::problem::{Code, Problem};
use hyper::StatusCode;
use hyper::header::HeaderValue;

/// `OPTIONS` and `HEAD`: some clients and conformance tests take nothing else.
pub(super) const OK: StatusCode = StatusCode::OK;
/// A creation.
pub(super) const CREATED: StatusCode = StatusCode::CREATED;

/// A problem as problem+json, with the upload's offset where that is known.
pub(in crate::wire::dialect) fn answer(problem: &Problem, offset: Option<u64>) -> Answer {
    let mut answer = problem_answer_with(problem, status(problem.code()), Members::default());
    let headers = answer.headers_mut();
    if let Some(offset) = offset {
        headers.insert("upload-offset", offset.into());
    }
    if problem.code() == Code::UnsupportedVersion {
        headers.insert("tus-version", HeaderValue::from_static(super::header::VERSION));
    }
    answer
}

/// The one table from codes to the statuses of this dialect.
fn status(code: Code) -> StatusCode {
    match code {
        Code::BadRequest
        | Code::UnknownId
        | Code::LengthChanged
        // With 409 the older of two tabs would ask where to go on, and fence the newer off, for ever.
        | Code::Superseded => StatusCode::BAD_REQUEST,
        Code::Unauthorized => StatusCode::UNAUTHORIZED,
        Code::Forbidden | Code::Refused | Code::WrongState => StatusCode::FORBIDDEN,
        Code::UnknownUpload | Code::UploadOver => StatusCode::NOT_FOUND,
        Code::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Code::OffsetMismatch => StatusCode::CONFLICT,
        Code::LengthRequired => StatusCode::LENGTH_REQUIRED,
        Code::UnsupportedVersion => StatusCode::PRECONDITION_FAILED,
        Code::TooLarge | Code::RangeInvalid => StatusCode::PAYLOAD_TOO_LARGE,
        Code::UnsupportedEncoding | Code::UnsupportedMediaType => {
            StatusCode::UNSUPPORTED_MEDIA_TYPE
        }
        Code::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
        Code::DigestMismatch => checksum_mismatch(),
        Code::Fault => StatusCode::INTERNAL_SERVER_ERROR,
        Code::TooMany | Code::Unavailable | Code::RequestTimeout => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Code::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
    }
}

/// Source: tus 1.0, checksum.
fn checksum_mismatch() -> StatusCode {
    StatusCode::from_u16(460).expect("it has three digits")
}
