//! What an answer of an S3 store proves, by the kind of request: the one table of it.
//!
//! The question is always whether the request may have had its effect, or may still have it. Only a store says no by
//! itself, with one of its own error codes; a bare status may come from a proxy that has passed the request on.

use super::ObjectError;

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `PutObject`, `UploadPart`, `UploadPartCopy`, `CreateMultipartUpload`.
    Write,
    /// `CompleteMultipartUpload`.
    Complete,
    /// `DeleteObject`, `AbortMultipartUpload`.
    Remove,
    /// `GetObject`, `ListParts`, `ListObjectsV2`, `ListMultipartUploads`.
    Read,
    /// `HeadObject`, whose answers have no body and therefore no code.
    Head,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// No byte of it has left: the name was not found, no connection was made, TLS failed.
    NotSent,
    /// The connection broke, or a deadline was over, after something may have left.
    Broken,
    /// An answer, whole.
    Answer {
        /// Its status.
        status: u16,
        /// The text of `<Code>`, where the body is an `<Error>`. The 200 of `Complete` may have one.
        code: Option<&'a str>,
        /// Whether the body is what a success of this kind has.
        is_result: bool,
    },
}

/// What it proves. `Ok`: done.
///
/// # Errors
/// Not done, or not known ([`ObjectError::Unsure`]).
pub fn judge(call: Call, outcome: Outcome<'_>) -> Result<(), ObjectError> {
    let (status, code, is_result) = match outcome {
        Outcome::NotSent => return Err(ObjectError::Busy),
        Outcome::Broken => return Err(ObjectError::Unsure),
        Outcome::Answer { status, code, is_result } => (status, code, is_result),
    };
    match (status, code) {
        (200..=299, None) if is_result => Ok(()),
        // An error that was noticed after the head had been sent, or an answer that was cut.
        (200..=299, Some(code)) => Err(of_code(call, code).unwrap_or(ObjectError::Unsure)),
        (200..=299, None) => Err(ObjectError::Unsure),
        // Removing what is not there is fine.
        (404, Some("NoSuchKey" | "NoSuchUpload")) if call == Call::Remove => Ok(()),
        (404, None) if call == Call::Head => Err(ObjectError::Gone),
        (_, Some(code)) => Err(of_code(call, code).unwrap_or_else(|| of_status(call, status))),
        (_, None) => Err(of_status(call, status)),
    }
}

/// What the store's own codes say; `None` for others. Source: Amazon S3 API reference, "List of error codes".
fn of_code(call: Call, code: &str) -> Option<ObjectError> {
    let error = match code {
        "SlowDown"
        | "ServiceUnavailable"
        | "RequestLimitExceeded"
        | "TooManyRequests"
        | "Throttling"
        | "ThrottlingException" => ObjectError::Busy,
        // Refused on sight of the body, before anything was stored.
        "BadDigest"
        | "InvalidDigest"
        | "XAmzContentSHA256Mismatch"
        | "XAmzContentChecksumMismatch"
        | "IncompleteBody" => ObjectError::Busy,
        "NoSuchKey" | "NoSuchUpload" | "NoSuchVersion" | "InvalidRange" => ObjectError::Gone,
        "InvalidPart" | "InvalidPartOrder" if call == Call::Complete => ObjectError::InvalidPart,
        "XMinioStorageFull" | "QuotaExceeded" | "InsufficientStorage" => ObjectError::Full,
        // Another request for the same key is under way, or the effect is not known.
        "OperationAborted" | "ConditionalRequestConflict" | "InternalError" | "RequestTimeout" => {
            ObjectError::Unsure
        }
        "AccessDenied"
        | "InvalidAccessKeyId"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "ExpiredToken"
        | "InvalidToken"
        | "NoSuchBucket"
        | "InvalidBucketName"
        | "PermanentRedirect"
        | "TemporaryRedirect"
        | "AuthorizationHeaderMalformed"
        | "AllAccessDisabled"
        | "AccountProblem"
        | "NotImplemented"
        | "MethodNotAllowed"
        | "EntityTooSmall"
        | "EntityTooLarge"
        | "InvalidArgument"
        | "InvalidRequest"
        | "MalformedXML"
        | "KMS.DisabledException"
        | "InvalidObjectState" => ObjectError::Unusable(code.to_owned()),
        _ => return None,
    };
    Some(error)
}

fn of_status(call: Call, status: u16) -> ObjectError {
    match status {
        // Of a proxy, or without a body. Reading again is harmless; a write may have been passed on.
        429 | 503 if matches!(call, Call::Read | Call::Head) => ObjectError::Busy,
        507 => ObjectError::Full,
        // 404 of something else than the store proves nothing about an object.
        301 | 307 | 308 | 400 | 401 | 403 | 405 | 411 | 501 => {
            ObjectError::Unusable(format!("status {status}"))
        }
        _ => ObjectError::Unsure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Call; 5] = [Call::Write, Call::Complete, Call::Remove, Call::Read, Call::Head];

    fn answer(status: u16, code: Option<&str>) -> Outcome<'_> {
        Outcome::Answer { status, code, is_result: (200..300).contains(&status) && code.is_none() }
    }

    #[test]
    fn what_answers_prove() {
        use Call::{Complete, Head, Read, Remove, Write};
        use ObjectError::{Busy, Full, Gone, InvalidPart, Unsure};
        let check = |calls: &[Call], outcome: Outcome<'_>, expected: Result<(), ObjectError>| {
            for call in calls {
                assert_eq!(judge(*call, outcome), expected, "{call:?} {outcome:?}");
            }
        };
        check(&KINDS, answer(200, None), Ok(()));
        check(&KINDS, answer(204, None), Ok(()));
        check(&KINDS, Outcome::NotSent, Err(Busy));
        check(&KINDS, Outcome::Broken, Err(Unsure));
        // 200 and no result, or an error behind it.
        let cut = Outcome::Answer { status: 200, code: None, is_result: false };
        check(&KINDS, cut, Err(Unsure));
        check(&[Complete], answer(200, Some("InternalError")), Err(Unsure));
        check(&[Complete], answer(200, Some("SomethingNew")), Err(Unsure));
        check(&[Complete], answer(200, Some("SlowDown")), Err(Busy));
        // The store's own word, and a proxy's.
        check(&KINDS, answer(503, Some("SlowDown")), Err(Busy));
        check(&[Write, Complete, Remove], answer(503, None), Err(Unsure));
        check(&[Write, Complete, Remove], answer(429, None), Err(Unsure));
        check(&[Read, Head], answer(503, None), Err(Busy));
        for status in [408, 409, 500, 502, 504, 520] {
            check(&KINDS, answer(status, None), Err(Unsure));
        }
        check(&KINDS, answer(500, Some("InternalError")), Err(Unsure));
        check(&[Write], answer(400, Some("RequestTimeout")), Err(Unsure));
        check(&[Complete], answer(409, Some("OperationAborted")), Err(Unsure));
        check(&[Write], answer(400, Some("BadDigest")), Err(Busy));
        // Missing, and what only looks so.
        check(&[Write, Complete, Read], answer(404, Some("NoSuchUpload")), Err(Gone));
        check(&[Read], answer(404, Some("NoSuchKey")), Err(Gone));
        check(&[Read], answer(416, Some("InvalidRange")), Err(Gone));
        check(&[Head], answer(404, None), Err(Gone));
        check(&[Write, Complete, Remove, Read], answer(404, None), Err(Unsure));
        check(&[Remove], answer(404, Some("NoSuchKey")), Ok(()));
        check(&[Remove], answer(404, Some("NoSuchUpload")), Ok(()));
        check(&[Complete], answer(400, Some("InvalidPart")), Err(InvalidPart));
        check(&[Complete], answer(400, Some("InvalidPartOrder")), Err(InvalidPart));
        check(&KINDS, answer(507, None), Err(Full));
        check(&[Write], answer(403, Some("QuotaExceeded")), Err(Full));
    }

    /// 403 is no 404, and no fault of the settings is taken for a missing object.
    #[test]
    fn settings_are_told_from_missing_objects() {
        for call in KINDS {
            for outcome in [
                answer(403, None),
                answer(403, Some("AccessDenied")),
                answer(403, Some("RequestTimeTooSkewed")),
                answer(404, Some("NoSuchBucket")),
                answer(301, Some("PermanentRedirect")),
                answer(400, Some("EntityTooSmall")),
                answer(400, None),
            ] {
                let judged = judge(call, outcome);
                assert!(matches!(judged, Err(ObjectError::Unusable(_))), "{call:?} {outcome:?}");
            }
        }
    }
}
