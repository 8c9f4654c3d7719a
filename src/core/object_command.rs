//! Commands for an upload in object storage, besides those for any upload.

use super::command::Command;
use super::extent::{Extent, ExtentSet};
use super::grid::{Cell, PartNumber};
use super::limits::Limits;
use super::piece_event::{ClaimId, Etag, Missing, ObjectName, Orphan, Piece};
use super::pieces::ObjectRange;
use std::time::Duration;

/// Bounds on an upload in object storage.
#[derive(Clone, Copy, Debug)]
pub struct ObjectLimits {
    /// Those of any upload.
    pub limits: Limits,
    /// Bytes of a cell, for uploads whose grid is not set yet.
    pub part_bytes: u64,
}

/// A change that is asked for.
#[derive(Clone, Debug)]
pub enum ObjectCommand {
    /// As of any upload. `Store` and `Publish` are `Count` and `Place` here, and change nothing.
    Upload(Command),
    /// Record that this multipart upload was begun.
    Open {
        /// The number that it is to have.
        generation: u32,
        /// The object it becomes.
        object: ObjectName,
        /// The store's name for it.
        multipart: String,
        /// Total length of the file, if the request gave it.
        length: Option<u64>,
    },
    /// Let a request send direct parts of the cells that these bytes fill.
    Claim {
        /// Names the request.
        claim: ClaimId,
        /// What it is going to send.
        extents: ExtentSet,
    },
    /// Let a request send a copy of a cell's acknowledged bytes, under a number that was never given to any.
    ClaimCopy {
        /// Names the request.
        claim: ClaimId,
        /// The generation.
        generation: u32,
        /// The cell.
        cell: Cell,
    },
    /// Count these bytes, which the store has.
    Count {
        /// The request.
        claim: ClaimId,
        /// Where they are.
        pieces: Vec<StoredPiece>,
        /// Total length of the file, if the request gave it.
        length: Option<u64>,
    },
    /// A copy of a cell's acknowledged bytes is a part of the generation.
    Compose {
        /// The request that sent it.
        claim: ClaimId,
        /// The generation.
        generation: u32,
        /// Its number.
        number: PartNumber,
        /// What the store calls its content.
        etag: Etag,
        /// What it is a copy of. It is void unless the bytes are still there: meanwhile they may have been lost, or the log
        /// set back, and others have been acknowledged in their place.
        from: Vec<ObjectRange>,
    },
    /// Let no part join the generation any more, and complete it with these others.
    Seal {
        /// The generation.
        generation: u32,
        /// Parts that no record names, where the store refuses to leave them out.
        orphans: Vec<Orphan>,
    },
    /// The generation is an object of so many bytes, or was aborted because no part of it counted (0).
    Sealed {
        /// The generation.
        generation: u32,
        /// Bytes of the object.
        bytes: u64,
    },
    /// The object holds so many bytes and is to be the file.
    Place {
        /// The object.
        object: ObjectName,
        /// Its size.
        bytes: u64,
        /// What it is a copy of, as in [`Self::Compose`]; none where it was a generation.
        from: Vec<ObjectRange>,
    },
    /// The store no longer has this: looked at twice.
    Lose(Missing),
    /// Cancel it, if no byte has come for this long.
    Expire {
        /// The longest time without a byte.
        idle: Duration,
    },
    /// Let its object be removed, if it has been over for this long.
    Release {
        /// How long it is kept.
        kept: Duration,
    },
}

/// Bytes that the store has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPiece {
    /// Range of the bytes.
    pub extent: Extent,
    /// Where they are.
    pub piece: Piece,
}
