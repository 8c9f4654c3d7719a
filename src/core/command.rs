//! What somebody wants of an upload: the bytes a request offers, the changes it asks for.

use super::event::{CallOutcome, Durability, Notice};
use super::extent::{Extent, ExtentSet};
use super::id::TicketId;
use std::sync::Arc;

/// What a chunk PUT offers, as its headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The bytes it will send; an open end is [`MAX_FILE_BYTES`](super::limits::MAX_FILE_BYTES). `None` for an empty body.
    pub extent: Option<Extent>,
    /// The total length it claims for the file.
    pub length: Option<u64>,
    /// Where the bytes may lie.
    pub at: At,
    /// What the end of the body means.
    pub scope: BodyScope,
}

/// Where the bytes of a request may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Anywhere in the file, also where bytes are already.
    Anywhere,
    /// At the end of the bytes that are there from 0 on without a gap, which the request takes to be this offset.
    Prefix(u64),
}

/// What the end of a request's body means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyScope {
    /// The body is exactly the range.
    Range,
    /// The body ends where the file ends.
    ToEnd,
    /// The body ends anywhere within the range, and the file may go on.
    Open,
}

/// What the browser says of its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Length in bytes.
    pub length: Option<u64>,
    /// Name, already harmless.
    pub name: Option<String>,
    /// Media type.
    pub media_type: Option<String>,
    /// Modification time in milliseconds since the epoch.
    pub last_modified: Option<u64>,
    /// The header `Upload-Metadata` as it came. Source: tus 1.0, creation.
    pub client_metadata: Option<String>,
}

/// A change somebody wants made.
#[derive(Clone, Debug)]
pub enum Command {
    /// Bind the ticket to a file.
    Bind(FileFacts),
    /// Count these bytes, which lie in the store with the given durability.
    Store {
        /// Range of the stored bytes.
        extents: ExtentSet,
        /// Total length of the file, if the request gave it.
        length: Option<u64>,
        /// How safe they are.
        durability: Durability,
    },
    /// The file is published.
    Publish,
    /// The file's digest is known.
    Digest([u8; 32]),
    /// End the upload before it is complete.
    Cancel {
        /// The reason, as text for people.
        reason: String,
        /// Whether the backend is to be notified.
        notice: Notice,
    },
    /// Make the upload a part of a file. Source of this and the next five: tus 1.0, concatenation.
    MakePartial,
    /// Make it one of these partial uploads, in this order.
    MakeFinal {
        /// The partial uploads, which are complete.
        parts: Arc<[TicketId]>,
        /// Bytes of all of them together.
        length: u64,
    },
    /// Cancel an upload that was to be made of these partial uploads, and cannot; never one that is in use for something else.
    GiveUpJoin {
        /// The partial uploads.
        parts: Arc<[TicketId]>,
        /// The reason, as text for people.
        reason: String,
        /// Whether the backend is to be notified.
        notice: Notice,
    },
    /// Keep a complete partial upload for a final one.
    Take {
        /// The final upload.
        into: TicketId,
        /// One that it was kept for and that never was, or was cancelled.
        void: Option<TicketId>,
    },
    /// Count the bytes of all parts of a final upload, which lie in the store and are made durable before.
    Join,
    /// A final upload with the bytes of this partial one is published.
    Release {
        /// The final upload.
        into: TicketId,
    },
    /// A call to the backend is about to be made.
    BeginCall,
    /// A call ended without finishing the upload.
    EndCall(CallOutcome),
    /// The backend has taken the file, or knows of the cancel.
    Delivered,
    /// `finish_upload`: the backend says that it has taken the file.
    Finish,
    /// The handover is given up.
    GiveUp(String),
    /// `retry_handover`.
    Retry,
}
