//! Makes durable what an earlier process has recorded in a journal.
//!
//! It may have died before the sync, or with one that failed: then the records are read, and the next power cut takes
//! them. So they are written again, which no earlier failure can make void, and synced.

use super::compaction::{Compaction, is_transient};
use super::format::record::{MAGIC, Record, encode};
use super::format::replay::Replayed;
use super::shared::Shared;
use crate::core::id::TicketId;
use crate::storage::journal::LoadError;
use crate::storage::local::files::{is_exhausted, is_full};
use crate::storage::local::journal_files::{JournalFile, JournalFiles};
use std::io::{self, Read};

/// A journal that was read, and may still change with the next power cut.
pub(super) struct Unsynced {
    pub(super) replayed: Replayed,
    pub(super) compaction: Compaction,
}

impl Shared {
    /// Makes what a journal says hold whatever happens, by replacing it where that is due. Blocks; only where no
    /// other thread works on it.
    ///
    /// Errors: [`LoadError::Busy`] where the same may end well later; nothing may be acted on before.
    pub(super) fn make_durable(
        &self,
        id: TicketId,
        unsynced: &mut Unsynced,
    ) -> Result<(), LoadError> {
        let fault =
            |error| LoadError::Fault { what: "replacing the journal", error: Box::new(error) };
        let Unsynced { replayed, compaction } = unsynced;
        if let Compaction::Due(bytes) = compaction {
            match self.replace_journal(id, bytes, replayed.valid_bytes) {
                Ok(replaced) => {
                    replaced.named.map_err(|error: io::Error| {
                        self.durable_journals.unnamed(id);
                        fault(error)
                    })?;
                    replayed.valid_bytes = bytes.len() as u64;
                    replayed.uncounted = None;
                    self.durable_journals.add(id);
                    return Ok(());
                }
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(fault(error)),
            }
        }
        self.resync_journal(id, replayed)
    }

    /// Makes durable what an earlier process has recorded in a journal ([`rewrite`]), once for each upload and process.
    /// Blocks; only where no other thread works on the journal.
    fn resync_journal(&self, id: TicketId, replayed: &mut Replayed) -> Result<(), LoadError> {
        if self.durable_journals.has(id) {
            return Ok(());
        }
        let fault =
            |error| LoadError::Fault { what: "syncing the journal", error: Box::new(error) };
        let waits = &self.counted.syncs;
        // It may also have died between giving a new journal the name of the old one and the sync of that.
        if !self.durable_journals.has_names() {
            waits.during(|| self.journals.sync_names(), |_| true).map_err(fault)?;
            self.durable_journals.add_names();
        }
        let sync = |file: &mut dyn JournalFile| waits.during(|| file.sync(), |_| true);
        match resync(&*self.journals, id, replayed, sync) {
            Ok(Resynced::Whole) => self.durable_journals.add(id),
            Ok(Resynced::Unnoted) => {}
            Err(ResyncError::Opening(error)) => return Err(opening("opening the journal", error)),
            // Records would follow that its version does not have.
            Err(ResyncError::NoSpace) => return Err(LoadError::Busy),
            Err(ResyncError::Failed(error)) => return Err(fault(error)),
        }
        Ok(())
    }
}

/// An error of reading or opening a file while doing `what`: a fault but for want of descriptors.
pub(super) fn opening(what: &'static str, error: io::Error) -> LoadError {
    if is_exhausted(&error) {
        LoadError::Busy
    } else {
        LoadError::Fault { what, error: Box::new(error) }
    }
}

/// What holds whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resynced {
    /// All of the journal.
    Whole,
    /// All but a note from when it counts, for which the disk is too full. A later load tries again, and nothing ends
    /// early by it.
    Unnoted,
}

/// A journal could not be synced.
#[derive(Debug)]
enum ResyncError {
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
fn resync(
    journals: &dyn JournalFiles,
    id: TicketId,
    replayed: &mut Replayed,
    sync: impl FnOnce(&mut dyn JournalFile) -> io::Result<()>,
) -> Result<Resynced, ResyncError> {
    let Some(held) = journals.read(id).map_err(ResyncError::Opening)? else {
        return Ok(Resynced::Whole);
    };
    let mut file = journals.open(id).map_err(ResyncError::Opening)?;
    let valid = replayed.valid_bytes;
    match rewrite(held.take(valid), replayed.uncounted.is_some(), &mut *file) {
        Ok(()) => {}
        // A file system that does not overwrite in place. What was not written again may be gone with the power, although
        // the sync below would succeed.
        Err(error) if is_full(&error) => return Err(ResyncError::NoSpace),
        Err(error) => return Err(ResyncError::Failed(error)),
    }
    let mut resynced = Resynced::Whole;
    if let Some(from) = replayed.uncounted {
        let mut note = Vec::new();
        encode(&Record::Counted { from }, &mut note);
        match file.write_at(&note, valid) {
            Ok(()) => replayed.valid_bytes += note.len() as u64,
            Err(error) if is_full(&error) => resynced = Resynced::Unnoted,
            Err(error) => return Err(ResyncError::Failed(error)),
        }
    }
    sync(&mut *file).map_err(ResyncError::Failed)?;
    Ok(resynced)
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
