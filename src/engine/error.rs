//! What can go wrong, by operation and by who is at fault.

use crate::core::digest::ChunkDigest;
use crate::core::refusal::Refusal;
use crate::storage::journal::LoadError;
use crate::storage::store::StoreError;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Our disk or our bug. The text is for the log and for people; it never names a secret.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct Fault(pub Arc<str>);

impl Fault {
    /// A fault while doing `what`.
    pub fn new(what: &str, error: &dyn fmt::Display) -> Self {
        Self(format!("{what}: {error}").into())
    }
}

/// The peer broke off, or was too slow.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClientFault {
    /// The connection or stream ended in the middle of the body.
    #[error("the body was cut off: {0}")]
    BrokeOff(String),
    /// What followed the last byte of the body says that its bytes are not to count, or not what makes them count.
    #[error("the trailer section is refused: {0}")]
    BadTrailers(String),
    /// No byte for as long as a body may stand still.
    #[error("the body stalled for too long")]
    StoodStill,
    /// Slower than the slowest allowed.
    #[error("the body was slower than min_rate")]
    TooSlow,
}

/// An upload could not be found.
#[derive(Clone, Debug)]
pub enum LookupError {
    /// There is no such ticket.
    Unknown,
    /// It is not in memory, and cannot be read just now: too many wait for the disk, no descriptor is left, or the disk
    /// is too full for what has to be recorded first.
    Busy,
    /// There may be one, but it cannot be read.
    Fault(Fault),
}

/// A change did not happen.
#[derive(Clone, Debug, Error)]
pub enum ChangeError {
    /// There is no such ticket.
    #[error("there is no such upload")]
    Unknown,
    /// The rules say no.
    #[error("{0}")]
    Refused(Refusal),
    /// The disk is full; what was acknowledged holds and the same may be tried again.
    #[error("the storage is full")]
    NoSpace,
    /// As many files are open as may be; what was acknowledged holds and the same may be tried again.
    #[error("no file descriptor is left")]
    Exhausted,
    /// The upload cannot be read just now; the same may be tried again.
    #[error("the upload cannot be read just now")]
    Busy,
    /// Our disk or our bug.
    #[error("{0}")]
    Fault(Fault),
}

/// Partial uploads were not joined.
#[derive(Clone, Debug, Error)]
pub enum JoinError {
    /// The list is empty.
    #[error("no partial upload is named")]
    NoParts,
    /// The list is too long.
    #[error(
        "{parts} partial uploads are named, at most {} are joined",
        crate::core::limits::MAX_PARTS
    )]
    TooManyParts {
        /// How many are named.
        parts: usize,
    },
    /// One partial upload stands in the list twice.
    #[error("partial upload {number} is named twice")]
    Repeated {
        /// Where it is for the second time, from 1.
        number: usize,
    },
    /// The parts have come in too many small pieces, each of which is an object in the bucket.
    #[error(
        "the partial uploads have come in {pieces} pieces, at most {limit} are joined for as many bytes: send larger chunks"
    )]
    TooManyPieces {
        /// How many.
        pieces: u64,
        /// The limit.
        limit: u64,
    },
    /// One of the parts cannot be joined.
    #[error("{0}")]
    Part(#[from] PartError),
    /// The final upload cannot be made.
    #[error("{0}")]
    Change(#[from] ChangeError),
    /// The server is stopping.
    #[error("the server is stopping")]
    Draining,
}

/// A part of a final upload cannot be joined.
#[derive(Clone, Debug, Error)]
#[error("partial upload {number}: {}", refusal.as_ref().map_or_else(|| "there is no such upload".to_owned(), ToString::to_string))]
pub struct PartError {
    /// Which one, from 1.
    pub number: usize,
    /// The rule that refuses it; `None` where there is no such upload.
    pub refusal: Option<Refusal>,
}

impl PartError {
    /// The rules refuse the part at this index.
    pub(super) fn refused(index: usize, refusal: Refusal) -> Self {
        Self { number: index + 1, refusal: Some(refusal) }
    }

    /// What became of an operation on the part at this index.
    pub(super) fn of(index: usize, error: ChangeError) -> JoinError {
        match error {
            ChangeError::Unknown => Self { number: index + 1, refusal: None }.into(),
            ChangeError::Refused(refusal) => Self::refused(index, refusal).into(),
            error @ (ChangeError::NoSpace
            | ChangeError::Exhausted
            | ChangeError::Busy
            | ChangeError::Fault(_)) => error.into(),
        }
    }
}

impl JoinError {
    /// Whether a part belongs to another final upload.
    pub(super) fn is_taken(&self) -> bool {
        matches!(self, Self::Part(PartError { refusal: Some(Refusal::PartTaken), .. }))
    }

    /// Whether the same join cannot end otherwise later, or must not keep its space until then.
    pub(super) fn is_final(&self) -> bool {
        match self {
            Self::NoParts
            | Self::TooManyParts { .. }
            | Self::TooManyPieces { .. }
            | Self::Repeated { .. }
            | Self::Part(_) => true,
            Self::Change(ChangeError::Unknown | ChangeError::Refused(_) | ChangeError::NoSpace) => {
                true
            }
            Self::Change(ChangeError::Exhausted | ChangeError::Busy | ChangeError::Fault(_))
            | Self::Draining => false,
        }
    }
}

impl From<Refusal> for JoinError {
    fn from(refusal: Refusal) -> Self {
        ChangeError::Refused(refusal).into()
    }
}

/// A ticket could not be given out.
#[derive(Clone, Debug)]
pub enum TicketError {
    /// As many uploads take disk or have a delivery pending as may.
    TooMany {
        /// How many that is.
        limit: u64,
    },
    /// The file is larger than the server takes.
    Refused(Refusal),
    /// The disk is full.
    NoSpace,
    /// As many files are open as may be.
    Exhausted,
    /// The log gave no answer; the same may be tried again.
    Busy,
    /// The server is stopping.
    Draining,
    /// Our disk or our bug.
    Fault(Fault),
}

/// A chunk was not acknowledged, or not all of it.
#[derive(Clone, Debug)]
pub enum TransferError {
    /// There is no such ticket.
    Unknown,
    /// The rules say no.
    Refused(Refusal),
    /// A newer request took over this range.
    Superseded,
    /// The bytes do not have the digest that was promised; none of them counts.
    DigestMismatch {
        /// The one they have.
        found: ChunkDigest,
    },
    /// The peer broke off; the good prefix counts.
    Client(ClientFault),
    /// More chunks in flight than the upload, or all of them together, may have.
    TooManyInFlight(Full),
    /// Too many bytes of large answers about the upload were not taken by who asked for them.
    AnswersUnread,
    /// The disk is full; what was acknowledged holds.
    NoSpace,
    /// As many files are open as may be; what was acknowledged holds.
    Exhausted,
    /// The upload cannot be read just now; the same may be tried again.
    Busy,
    /// The server is stopping.
    Draining,
    /// Our disk or our bug; what was acknowledged holds.
    Fault(Fault),
}

/// Why a holder got no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full {
    /// As many as it may hold now; 0 where all slots are taken.
    pub limit: u64,
}

/// Too many bytes of large answers about an upload are untaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread;

/// Why a small call does not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SmallCallError {
    /// As many are under way as may.
    Full(Full),
    /// Answers to earlier ones were not taken.
    Unread,
}

impl From<Unread> for SmallCallError {
    fn from(_: Unread) -> Self {
        Self::Unread
    }
}

impl From<LoadError> for LookupError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unknown => Self::Unknown,
            LoadError::Busy => Self::Busy,
            LoadError::Fault { what, error } => Self::Fault(Fault::new(what, &error)),
        }
    }
}

impl TransferError {
    /// What a store did not do, while doing `what`.
    pub(super) fn store(what: &str, error: StoreError) -> Self {
        ChangeError::store(what, error).into()
    }
}

impl ChangeError {
    /// What a store did not do, while doing `what`.
    pub(super) fn store(what: &str, error: StoreError) -> Self {
        match error {
            StoreError::NoSpace => Self::NoSpace,
            StoreError::Exhausted => Self::Exhausted,
            StoreError::Unavailable => Self::Busy,
            StoreError::Fault(error) => Self::Fault(Fault::new(what, &error)),
        }
    }
}

impl From<StoreError> for TicketError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSpace => Self::NoSpace,
            StoreError::Exhausted => Self::Exhausted,
            StoreError::Unavailable => Self::Busy,
            StoreError::Fault(error) => Self::Fault(Fault::new("writing the ticket", &error)),
        }
    }
}

impl From<LookupError> for ChangeError {
    fn from(error: LookupError) -> Self {
        match error {
            LookupError::Unknown => Self::Unknown,
            LookupError::Busy => Self::Busy,
            LookupError::Fault(fault) => Self::Fault(fault),
        }
    }
}

impl From<LookupError> for TransferError {
    fn from(error: LookupError) -> Self {
        ChangeError::from(error).into()
    }
}

impl From<Unread> for TransferError {
    fn from(_: Unread) -> Self {
        Self::AnswersUnread
    }
}

impl From<Full> for TransferError {
    fn from(full: Full) -> Self {
        Self::TooManyInFlight(full)
    }
}

impl From<ChangeError> for TransferError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Unknown => Self::Unknown,
            ChangeError::Refused(refusal) => Self::Refused(refusal),
            ChangeError::NoSpace => Self::NoSpace,
            ChangeError::Exhausted => Self::Exhausted,
            ChangeError::Busy => Self::Busy,
            ChangeError::Fault(fault) => Self::Fault(fault),
        }
    }
}
