//! The rules say no: every reason an upload's rules have to refuse, with the values that decided.

use super::grid::BeyondTheGrid;
use std::fmt;

/// How an upload ended that takes no more bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Handed over.
    Finished,
    /// Cancelled, or expired.
    Cancelled,
    /// The handover was given up.
    Failed,
}

/// A rule said no. The text of each names the values that decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The upload is over.
    UploadOver(Terminal),
    /// Another total length than before: the file has changed.
    LengthChanged {
        /// The length the upload has, in bytes.
        known: u64,
        /// The length this request gives, in bytes.
        offered: u64,
    },
    /// A range reaches past the end of the file.
    RangeOutside {
        /// The range's end (exclusive).
        end: u64,
        /// The file's length in bytes.
        length: u64,
    },
    /// The bytes were to be appended, and the prefix ends elsewhere.
    OffsetMismatch {
        /// Where it ends.
        expected: u64,
        /// Where the request takes it to end.
        offered: u64,
    },
    /// The body was shorter or longer than its range.
    RangeMismatch {
        /// Bytes the range holds.
        range: u64,
        /// Bytes the body held, or at least held.
        body: u64,
    },
    /// A chunk over the server's limit.
    ChunkTooLarge {
        /// Bytes in the chunk.
        chunk: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file over the ticket's or the server's limit.
    FileTooLarge {
        /// Bytes in the file.
        file: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// A file over what object storage holds.
    BeyondTheGrid(BeyondTheGrid),
    /// The file system holds no file that reaches so far.
    BeyondTheDisk {
        /// The range's end (exclusive).
        end: u64,
    },
    /// More disjoint ranges than the limit, which bounds the size of status and journal.
    TooManyHoles {
        /// The limit of disjoint ranges.
        limit: usize,
    },
    /// The upload's journal has reached its size limit and could not be compacted.
    JournalFull {
        /// The limit, in bytes.
        limit: u64,
    },
    /// The upload came in too many small pieces, each of which is an object in the bucket.
    TooManyPieces {
        /// The limit of pieces for as many bytes.
        limit: u64,
    },
    /// The file is complete: too late to cancel.
    TooLateToCancel,
    /// `finish_upload` for an upload that is not being handed over.
    NothingToFinish,
    /// `retry_handover` for an upload whose handover did not fail.
    NothingToRetry,
    /// The `backendSecret` does not match.
    WrongSecret,
    /// A final upload takes no bytes but those of its parts.
    MadeOfParts,
    /// The upload cannot become a partial or final one: it has bytes, or is another kind already.
    InUse,
    /// The upload is no partial one, so it cannot become a part of another.
    NotPartial,
    /// A partial upload that is to be joined lacks bytes.
    PartUnfinished {
        /// Where the next byte is missing.
        offset: u64,
        /// The length, in bytes, if it is known.
        length: Option<u64>,
    },
    /// The partial upload belongs to a final one already.
    PartTaken,
}

impl fmt::Display for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UploadOver(over) => write!(f, "the upload is {over}"),
            Self::LengthChanged { known, offered } => write!(
                f,
                "the file has changed: its length was {known} bytes, this request says {offered}"
            ),
            Self::RangeOutside { end, length } => {
                write!(f, "the range ends at byte {end}, the file has {length} bytes")
            }
            Self::OffsetMismatch { expected, offered } => {
                write!(f, "the upload is at offset {expected}, this request says {offered}")
            }
            Self::RangeMismatch { range, body } => {
                write!(f, "the range holds {range} bytes, the body {body}")
            }
            Self::ChunkTooLarge { chunk, limit } => {
                write!(
                    f,
                    "the body has {chunk} bytes or more, one PUT may have at most {limit}: send \
                     chunks with Content-Range"
                )
            }
            Self::FileTooLarge { file, limit } => {
                write!(f, "the file has {file} bytes, at most {limit} are allowed")
            }
            Self::BeyondTheGrid(beyond) => beyond.fmt(f),
            Self::BeyondTheDisk { end } => {
                write!(f, "the file system holds no file that reaches byte {end}")
            }
            Self::TooManyHoles { limit } => {
                write!(f, "more than {limit} separate ranges; send the missing bytes first")
            }
            Self::JournalFull { limit } => {
                write!(
                    f,
                    "the journal of this upload has reached its limit of {limit} bytes: send \
                     larger chunks, later"
                )
            }
            Self::TooManyPieces { limit } => {
                write!(f, "the upload has come in {limit} pieces or more: send larger chunks")
            }
            Self::TooLateToCancel => f.write_str("too late to cancel: the file is complete"),
            Self::NothingToFinish => {
                f.write_str("nothing to finish: the upload is not being handed over")
            }
            Self::NothingToRetry => f.write_str("nothing to retry: the handover has not failed"),
            Self::WrongSecret => f.write_str("backendSecret not given or wrong"),
            Self::MadeOfParts => {
                f.write_str("a final upload takes no bytes but those of its partial uploads")
            }
            Self::InUse => f.write_str("the ticket is in use for another upload"),
            Self::NotPartial => f.write_str("it is not a partial upload"),
            Self::PartUnfinished { offset, length: Some(length) } => {
                write!(f, "it has {offset} of {length} bytes")
            }
            Self::PartUnfinished { offset, length: None } => {
                write!(f, "it has {offset} bytes and its length is not known")
            }
            Self::PartTaken => f.write_str("it belongs to another final upload"),
        }
    }
}
