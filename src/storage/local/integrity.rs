//! Whether the store holds the bytes that a journal claims. Asked before an upload is loaded, and
//! by `incoming verify`.

use crate::core::event::Durability;
use crate::core::id::TicketId;
use crate::core::upload::{Phase, Upload};
use crate::storage::local::files::Files;
use crate::storage::local::format::replay::Unreadable;
use std::io;
use thiserror::Error;

/// What is not there.
#[derive(Debug, Error)]
pub enum Mismatch {
    /// The disk does not say.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// The part ends before the last byte that is claimed.
    #[error("the part has {held} bytes, the journal claims {claimed}")]
    Short {
        /// Bytes of the part.
        held: u64,
        /// The end of what the journal claims.
        claimed: u64,
    },
    /// There is no part, nor a published file.
    #[error("the part is missing")]
    NoPart,
}

/// What else lies under the id of a journal without a ticket.
#[derive(Clone, Copy, Debug)]
pub struct Siblings {
    /// A part.
    pub part: bool,
    /// A published file.
    pub published: bool,
}

/// Whether a journal without a ticket is one that a power cut has forgotten, and not damage. With `written` a
/// young upload has nothing synced: the name of its journal may be left without a byte, and a part.
pub fn is_forgotten(why: Unreadable, beside: Siblings, ack: Durability) -> bool {
    let unsynced = ack == Durability::Written && why == Unreadable::Blank;
    !beside.published && (!beside.part || unsynced)
}

/// Has an upload wait for its publish whose journal says that it is published, and whose file is a part still: a crash came
/// between the record and the rename. Nobody was told of it, and the backend was not called. Blocks; changes no file.
pub fn await_rename(store: &dyn Files, id: TicketId, upload: &mut Upload) -> io::Result<()> {
    // The part first: a server that publishes it meanwhile has the file in its place then.
    if upload.may_be_unplaced() && store.open(id)?.is_some() && store.published(id)?.is_none() {
        upload.await_publish();
    }
    Ok(())
}

/// Looks whether what the journal of a running upload claims is there. Blocks; changes nothing.
pub fn check(store: &dyn Files, id: TicketId, upload: &Upload) -> Result<(), Mismatch> {
    if !matches!(upload.phase(), Phase::New | Phase::Uploading) || upload.received().is_empty() {
        return Ok(());
    }
    if let Some(part) = store.open(id)? {
        let (held, claimed) = (part.length()?, upload.received().end());
        return if held >= claimed { Ok(()) } else { Err(Mismatch::Short { held, claimed }) };
    }
    let placed = upload.awaits_publish() && store.published(id)? == upload.length();
    if placed { Ok(()) } else { Err(Mismatch::NoPart) }
}
