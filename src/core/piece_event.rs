//! What can happen to an upload whose bytes lie in object storage, besides what can happen to any upload.

use super::event::Event;
use super::extent::Extent;
use super::grid::{Cell, PartNumber};
use super::time::Stamp;
use std::fmt;

/// One fact about an upload in object storage, in the order of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectEvent {
    /// As of any upload. Never `Stored` or `Published`: those say here where the bytes are.
    Upload(Event),
    /// About the pieces that its bytes lie in.
    Piece(PieceEvent),
}

/// One fact about the pieces of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PieceEvent {
    /// The size of its cells, once and for all.
    GridSet {
        /// Bytes of a cell.
        cell_bytes: u64,
    },
    /// A multipart upload was begun for it. One that another server began meanwhile is not recorded, and aborted.
    Opened {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// Its number, from 0 on.
        generation: u32,
        /// The object it becomes.
        object: ObjectName,
        /// The store's name for it.
        multipart: String,
    },
    /// One request may send the parts of these numbers, each of them once. No other request ever sends one of them: a store may
    /// lose a part that it has acknowledged when another request for its number breaks off (Ceph 16).
    Claimed {
        /// Names the request.
        claim: ClaimId,
        /// The generation of the parts.
        generation: u32,
        /// The numbers, in order.
        slots: Vec<PartNumber>,
    },
    /// Bytes are stored and acknowledged: the store has answered that it has the piece.
    Stored {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// Range of the bytes.
        extent: Extent,
        /// Where they are.
        piece: Piece,
    },
    /// A copy of the acknowledged bytes of a cell is a part of the generation.
    Composed {
        /// The generation of the part.
        generation: u32,
        /// Its number, one of the two of the cell.
        number: PartNumber,
        /// What the store calls the part's content.
        etag: Etag,
    },
    /// From here on no part joins the generation; it is completed with its parts and these others. Recorded before that is
    /// asked of the store, since afterwards the store no longer says which parts it was made of. Recorded again where the
    /// store refused the list because another part had come.
    Sealing {
        /// The generation.
        generation: u32,
        /// Parts that the store has and no record names, in order. Only for stores that refuse to leave them out.
        orphans: Vec<Orphan>,
    },
    /// The generation is an object that can be read; nothing of it where it had no part that counts.
    Sealed {
        /// The generation.
        generation: u32,
        /// Bytes of the object: they tell which of the recorded lists it was made of.
        bytes: u64,
    },
    /// The whole file is this object.
    Published {
        /// Uptime and date at which it was recorded.
        at: Stamp,
        /// The object.
        object: ObjectName,
    },
    /// The store no longer has what it had. Bytes that lie nowhere else are missing again.
    Lost {
        /// What is gone.
        missing: Missing,
    },
    /// The end of its retention: its object may be removed, and nothing brings it back.
    Released {
        /// Uptime and date at which it was recorded.
        at: Stamp,
    },
}

/// Where acknowledged bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The direct part of a cell, all of it.
    Part {
        /// The generation of the part.
        generation: u32,
        /// The cell.
        cell: Cell,
        /// What the store calls the part's content.
        etag: Etag,
    },
    /// Within an object.
    Fragment {
        /// The object.
        name: ObjectName,
        /// Where in it the first of the bytes is.
        offset: u64,
    },
}

/// A part of a generation that no record names: the answer to its request, or the record, was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its number.
    pub number: PartNumber,
    /// Its size in bytes.
    pub bytes: u64,
    /// What the store calls its content.
    pub etag: Etag,
}

/// What a store no longer has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A fragment, or the object of a sealed generation.
    Object(ObjectName),
    /// A generation that was neither completed nor aborted by us.
    Multipart {
        /// Its number.
        generation: u32,
    },
    /// A part: it has other content now, or is not there.
    Part {
        /// The generation.
        generation: u32,
        /// The cell.
        cell: Cell,
    },
}

/// What a store calls the content of a part or object. Compared, never read: only some are an MD5.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Etag(pub String);

/// Names the request that may send some parts: random, drawn for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(pub u64);

/// The name of an object of an upload. It is random: no two writes ever use the same, whichever servers they come from,
/// so no object is ever overwritten.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// What may become of it.
    pub purpose: Purpose,
    /// 128 random bits.
    pub random: [u8; 16],
}

/// What may become of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// It may become the file, and then belong to the backend, which keeps it when no record of the upload is left. So it
    /// is never removed for want of a record.
    File,
    /// It holds bytes until the file is published.
    Fragment,
}

/// The first eight digits.
impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.random;
        write!(f, "{:?}({a:02x}{b:02x}{c:02x}{d:02x})", self.purpose)
    }
}
