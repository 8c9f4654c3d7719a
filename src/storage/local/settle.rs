//! Makes durable what an earlier process has recorded in a journal.
//!
//! It may have died before the sync, or with one that failed: then the records are read, and the next power cut takes
//! them. So they are written again, which no earlier failure can make void, and synced.

use super::format::record::{MAGIC, Record, encode};
use super::format::replay::Replayed;
use crate::core::id::TicketId;
use crate::storage::local::files::is_full;
use crate::storage::local::journal_files::{JournalFile, JournalFiles};
use std::io::{self, Read};

/// What holds whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// All of the journal.
    Whole,
    /// All but a note from when it counts, for which the disk is too full. A later load tries again, and nothing ends
    /// early by it.
    Unnoted,
}

/// A journal could not be settled.
#[derive(Debug)]
pub enum SettleError {
    /// It could not be opened or read.
    Opening(io::Error),
    /// The disk is too full to write it again. To be tried again later: until then nothing that it says is certain.
    NoSpace,
    /// The disk failed.
    Failed(io::Error),
}

/// Writes the journal of `id` again, up to its good bytes, and has `sync` make that durable. Where records have no count
/// it is also noted from when they count, with the present magic: older programs leave the journal alone then. Blocks;
/// only where no other thread works on the journal.
pub fn settle(
    journals: &dyn JournalFiles,
    id: TicketId,
    replayed: &mut Replayed,
    sync: impl FnOnce(&mut dyn JournalFile) -> io::Result<()>,
) -> Result<Settled, SettleError> {
    let Some(held) = journals.read(id).map_err(SettleError::Opening)? else {
        return Ok(Settled::Whole);
    };
    let mut file = journals.open(id).map_err(SettleError::Opening)?;
    let valid = replayed.valid_bytes;
    match rewrite(held.take(valid), replayed.uncounted.is_some(), &mut *file) {
        Ok(()) => {}
        // A file system that does not overwrite in place. What was not written again may be gone with the power, although
        // the sync below would succeed.
        Err(error) if is_full(&error) => return Err(SettleError::NoSpace),
        Err(error) => return Err(SettleError::Failed(error)),
    }
    let mut settled = Settled::Whole;
    if let Some(from) = replayed.uncounted {
        let mut note = Vec::new();
        encode(&Record::Counted { from }, &mut note);
        match file.write_at(&note, valid) {
            Ok(()) => replayed.valid_bytes += note.len() as u64,
            Err(error) if is_full(&error) => settled = Settled::Unnoted,
            Err(error) => return Err(SettleError::Failed(error)),
        }
    }
    sync(&mut *file).map_err(SettleError::Failed)?;
    Ok(settled)
}

/// Writes what a journal holds to its own place again, a piece at a time, with the magic of the present version where it
/// has to be another.
fn rewrite(mut held: impl Read, anew: bool, file: &mut dyn JournalFile) -> io::Result<()> {
    let (mut buffer, mut offset) = (vec![0; REWRITE_BYTES], 0);
    loop {
        let count = held.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if offset == 0 && anew && count >= MAGIC.len() {
            buffer[..MAGIC.len()].copy_from_slice(MAGIC);
        }
        file.write_at(&buffer[..count], offset)?;
        offset += count as u64;
    }
}

/// Bytes of a journal that are written again at a time.
const REWRITE_BYTES: usize = 64 << 10;
