//! A bucket: objects that are written once and whole, and multipart uploads that become objects.
//!
//! What no two stores do alike is not used: no conditional writes, no trailers. A request without a clear answer
//! ([`ObjectError::Unsure`]) may have had its effect, may have it much later, or never; no time bounds that.

#[cfg(test)]
pub(crate) mod conformance;
pub mod judge;
mod payload;

pub use payload::Payload;

use crate::core::grid::PartNumber;
use crate::core::id::TicketId;
use crate::core::piece_event::{Etag, ObjectName, Orphan};
use crate::core::pieces::ObjectRange;
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;

/// Where an object lies: its name, below what belongs to its upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The upload.
    pub id: TicketId,
    /// The object's name.
    pub name: ObjectName,
}

/// A multipart upload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Multipart {
    /// The object it becomes.
    pub key: Key,
    /// The store's name for it.
    pub name: String,
}

/// What is asked of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectRequest {
    /// Stores an object.
    Put(Key, Payload),
    /// Reads a range of an object.
    Get(TicketId, ObjectRange),
    /// The size of an object.
    Head(Key),
    /// What the store says of an object.
    Describe(Key),
    /// Removes an object; removing none is fine.
    Delete(Key),
    /// Begins a multipart upload.
    Begin(Key),
    /// Stores a part; what had that number is replaced.
    Part(Multipart, PartNumber, Payload),
    /// Stores a part with the bytes of an object of the same upload.
    CopyPart(Multipart, PartNumber, ObjectRange),
    /// Makes these parts, in the order of their numbers, the object.
    Complete(Multipart, Vec<(PartNumber, Etag)>),
    /// Removes a multipart upload with its parts; removing none is fine.
    Abort(Multipart),
    /// All parts of a multipart upload, by number.
    ListParts(Multipart),
    /// All objects of an upload.
    List(TicketId),
    /// All multipart uploads of an upload. Its files alone are begun so: no other names are looked at.
    ListMultiparts(TicketId),
}

/// What a bucket answers where it did what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectAnswer {
    /// Done.
    Done,
    /// The bytes.
    Bytes(Bytes),
    /// The object's size in bytes.
    Size(u64),
    /// What is said of an object.
    Described(Description),
    /// The multipart upload.
    Begun(Multipart),
    /// The parts are an object. What it calls the object's content, where it says so.
    Completed(Option<Etag>),
    /// What it calls the part's content.
    Part(Etag),
    /// The parts.
    Parts(Vec<Orphan>),
    /// The objects.
    Objects(Vec<Key>),
    /// The multipart uploads.
    Multiparts(Vec<Multipart>),
}

/// What a store says of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its size.
    pub bytes: u64,
    /// What the store calls its content; empty where it says nothing.
    pub etag: String,
    /// Its version; empty in a bucket without versions.
    pub version: String,
}

/// What was asked of a bucket was not done, or it is not known whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// Surely not done, and it may be asked again in a while.
    #[error("the object store is busy")]
    Busy,
    /// It may have been done, or may be done later.
    #[error("no clear answer from the object store")]
    Unsure,
    /// Surely not done: there is no such object or multipart upload, as far as the store knows.
    #[error("the object store has no such object or multipart upload")]
    Gone,
    /// Surely not completed: the list does not fit the parts that the store has.
    #[error("the object store refused the list of parts")]
    InvalidPart,
    /// Surely not done: the store is full.
    #[error("the object store is full")]
    Full,
    /// Surely not done, and it will not be until a setting or a right is changed.
    #[error("{0}")]
    Unusable(String),
}

/// What a store does with parts that the list of `Complete` leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrphanRule {
    /// They are dropped.
    Dropped,
    /// The list is refused ([`ObjectError::InvalidPart`]). Source: Ceph RGW, "total parts mismatch".
    Refused,
}

/// A bucket that several servers share.
pub trait Objects: Send + Sync {
    /// Does what is asked for. Dropping the future does not undo it.
    fn ask(
        &self,
        request: ObjectRequest,
    ) -> impl Future<Output = Result<ObjectAnswer, ObjectError>> + Send;

    /// What the store does with parts that a list leaves out.
    fn orphan_rule(&self) -> OrphanRule;

    /// What S3 calls the content of an object that was made of parts with these names, in order; `None` where their names
    /// do not say. Some stores call it otherwise.
    fn etag_of(&self, parts: &[&Etag]) -> Option<Etag>;
}

impl<O: Objects> Objects for Arc<O> {
    async fn ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        (**self).ask(request).await
    }

    fn orphan_rule(&self) -> OrphanRule {
        (**self).orphan_rule()
    }

    fn etag_of(&self, parts: &[&Etag]) -> Option<Etag> {
        (**self).etag_of(parts)
    }
}
