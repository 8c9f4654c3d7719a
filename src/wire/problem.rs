//! Requests that were not done: why, as a code that all dialects share. Each dialect has a table from the codes to its
//! status codes, and renders them.

use super::Answer;
use super::reply::{describe, digest_value, shown};
use crate::core::dialect::Dialect;
use crate::core::refusal::Refusal;
use crate::engine::context::{RequestContext, request_of};
use crate::engine::error::{
    ChangeError, ClientFault, Fault, Full as NoSlot, JoinError, LookupError, SmallCallError,
    TicketError, TransferError,
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT_ENCODING, ALLOW, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
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
    /// An append that begins elsewhere than the upload ends.
    OffsetMismatch,
    /// The body of an append or a creation is of another media type than its protocol wants.
    UnsupportedMediaType,
    /// Another version of the protocol.
    UnsupportedVersion,
    /// The web app refused a creation, with a status of its own.
    Refused,
}

impl Code {
    /// Every code, in the order of the declaration above.
    #[rustfmt::skip]
    pub const ALL: [Self; 25] = [
        Self::BadRequest, Self::DigestMismatch, Self::Unauthorized, Self::Forbidden,
        Self::UnknownUpload, Self::UnknownId, Self::MethodNotAllowed, Self::LengthChanged,
        Self::Superseded, Self::UploadOver, Self::LengthRequired, Self::WrongState, Self::TooLarge,
        Self::RangeInvalid, Self::TooMany, Self::Unavailable, Self::NoSpace, Self::Fault,
        Self::RequestTimeout, Self::UnsupportedEncoding, Self::ExpectationFailed,
        Self::OffsetMismatch, Self::UnsupportedMediaType, Self::UnsupportedVersion,
        Self::Refused,
    ];
}

/// A request that was not done, as its answer.
#[derive(Debug, Clone)]
pub struct Problem {
    code: Code,
    detail: String,
    allow: Option<&'static str>,
    retry_after_s: Option<u32>,
    /// The status that the web app chose, in all dialects.
    status: Option<StatusCode>,
}

impl Problem {
    /// A problem with a text for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let retry_after_s = match code {
            Code::TooMany | Code::Unavailable => Some(RETRY_AFTER_S),
            _ => None,
        };
        Self { code, detail: detail.into(), allow: None, retry_after_s, status: None }
    }

    /// A malformed request; the detail names the header or parameter and its value.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// The web app refused: with its status, and its words for people.
    pub(super) fn refused(status: StatusCode, detail: String) -> Self {
        Self { status: Some(status), ..Self::new(Code::Refused, detail) }
    }

    /// A method that the resource does not have.
    pub fn method(method: &hyper::Method, allow: &'static str) -> Self {
        let detail = format!("method {} is not one of {allow}", shown(method.as_str()));
        Self { allow: Some(allow), ..Self::new(Code::MethodNotAllowed, detail) }
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

    /// The status that the web app chose, else this one.
    pub(super) fn status_or(&self, status: StatusCode) -> StatusCode {
        self.status.unwrap_or(status)
    }

    /// The answer of a dialect that renders it with this status and body; with the headers that all dialects have.
    pub(super) fn render(
        &self,
        status: StatusCode,
        body: Bytes,
        media_type: &'static str,
    ) -> Answer {
        let mut answer = Response::new(Full::new(body));
        *answer.status_mut() = self.status_or(status);
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
        tracing::error!(error = %fault, request = request_of(cause.as_ref()), "request failed");
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
            TicketError::Busy => busy(),
            TicketError::Draining => draining(),
            TicketError::Fault(fault) => fault.into(),
        }
    }
}

impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::NoParts
            | JoinError::TooManyParts { .. }
            | JoinError::TooManyPieces { .. }
            | JoinError::Repeated { .. }
            | JoinError::Part(_) => Self::bad_request(format!("Upload-Concat: {error}")),
            JoinError::Change(error) => error.into(),
            JoinError::Draining => draining(),
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
                let detail = format!("the body's digest is {found}, not the announced one");
                Self::new(Code::DigestMismatch, detail)
            }
            TransferError::Client(
                fault @ (ClientFault::BrokeOff(_) | ClientFault::BadTrailers(_)),
            ) => Self::new(Code::BadRequest, fault.to_string()),
            TransferError::Client(fault @ (ClientFault::StoodStill | ClientFault::TooSlow)) => {
                Self::new(Code::RequestTimeout, fault.to_string())
            }
            TransferError::TooManyInFlight(taken) => too_many(taken, "chunks in flight"),
            TransferError::AnswersUnread => unread(),
            TransferError::NoSpace => no_space(),
            TransferError::Exhausted => exhausted(),
            TransferError::Busy => busy(),
            TransferError::Draining => draining(),
            TransferError::Fault(fault) => fault.into(),
        }
    }
}

fn no_space() -> Problem {
    let detail = "the storage is full; nothing acknowledged is lost, try again when space is free";
    Problem { retry_after_s: Some(NO_SPACE_RETRY_S), ..Problem::new(Code::NoSpace, detail) }
}

fn exhausted() -> Problem {
    let detail = "the server has reached its limit of open files; try again later";
    Problem::new(Code::Unavailable, detail)
}

fn busy() -> Problem {
    let detail = "the upload cannot be read or stored just now; nothing acknowledged is lost, try again later";
    Problem::new(Code::Unavailable, detail)
}

fn draining() -> Problem {
    Problem::new(Code::Unavailable, "the server is stopping; try again in a moment")
}

pub(super) fn unread() -> Problem {
    let detail = "large answers about this upload are still unread; read them, then ask again";
    Problem::new(Code::TooMany, detail)
}

/// The upload, or all of them together, have as many of these as may be.
fn too_many(taken: NoSlot, what: &str) -> Problem {
    let detail = match taken.limit {
        0 => format!("the server has reached its limit of {what}; try again in a moment"),
        limit => format!("the upload has {limit} {what}, its limit for now"),
    };
    Problem::new(Code::TooMany, detail)
}

impl From<SmallCallError> for Problem {
    fn from(error: SmallCallError) -> Self {
        match error {
            SmallCallError::Full(taken) => too_many(taken, "small requests under way"),
            SmallCallError::Unread => unread(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::UploadOver(_) => Code::UploadOver,
            Refusal::LengthChanged { .. } => Code::LengthChanged,
            Refusal::RangeOutside { .. } | Refusal::RangeMismatch { .. } => Code::RangeInvalid,
            Refusal::OffsetMismatch { .. } => Code::OffsetMismatch,
            Refusal::ChunkTooLarge { .. }
            | Refusal::FileTooLarge { .. }
            | Refusal::BeyondTheGrid(_)
            | Refusal::BeyondTheDisk { .. } => Code::TooLarge,
            Refusal::TooManyHoles { .. }
            | Refusal::JournalFull { .. }
            | Refusal::TooManyPieces { .. } => Code::TooMany,
            Refusal::TooLateToCancel
            | Refusal::NothingToFinish
            | Refusal::NothingToRetry
            | Refusal::MadeOfParts
            | Refusal::InUse
            | Refusal::PartTaken => Code::WrongState,
            Refusal::NotPartial | Refusal::PartUnfinished { .. } => Code::BadRequest,
            Refusal::WrongSecret => Code::Forbidden,
        };
        Self::new(code, refusal.to_string())
    }
}

/// Answers that said no, by code and by the protocol of the request. Those whose client was gone do not count.
#[derive(Debug, Default)]
pub struct Refusals([[AtomicU64; Dialect::ALL.len()]; Code::ALL.len()]);

impl Refusals {
    /// One more.
    pub fn count(&self, code: Code, dialect: Dialect) {
        self.0[code as usize][dialect as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each was answered.
    pub fn counts(&self) -> impl Iterator<Item = (Code, Dialect, u64)> {
        Code::ALL.into_iter().zip(&self.0).flat_map(|(code, counts)| {
            let counts = Dialect::ALL.into_iter().zip(counts);
            counts.map(move |(dialect, count)| (code, dialect, count.load(Ordering::Relaxed)))
        })
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
            for (more, dialect) in Dialect::ALL.into_iter().enumerate() {
                (0..3 * times + more).for_each(|_| refusals.count(code, dialect));
            }
        }
        assert!(refusals.counts().enumerate().all(|(times, (_, _, count))| times as u64 == count));
    }
}
