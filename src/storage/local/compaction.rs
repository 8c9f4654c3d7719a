//! Journals that are much larger than what they say are written anew: as the shortest journal that says the same.
//!
//! Durability: the new one is whole and synced before it gets the name of the old one. What is sure in the old one
//! is sure in the new one, and nothing else; a crash at any step leaves either.

use super::files::{is_exhausted, is_full};
use super::format::replay::JournalState;
use super::format::tail::Tail;
use super::journal_files::Replaced;
use super::log::Log;
use super::shared::Shared;
use crate::core::id::TicketId;
use crate::core::limits::MAX_JOURNAL_BYTES;
use crate::core::upload::Upload;
use std::io;

/// Whether a journal is to be replaced.
pub(super) enum Compaction {
    /// By these bytes.
    Due(Vec<u8>),
    /// Not before it has this many.
    At(u64),
}

/// What became of a compaction.
pub(super) enum Compacted {
    /// The journal has so many bytes now. An error: its name is not durable, so nothing may be promised any more.
    Done(usize, io::Result<()>),
    /// It is as it was, and not to be looked at before it has this many.
    NotBefore(u64),
}

impl Shared {
    /// Whether a journal that says this, and ends so, is much larger than need be. One that is damaged is never
    /// replaced: what lies behind the damage would be gone for good.
    pub(super) fn compaction_of(
        &self,
        id: TicketId,
        state: &JournalState,
        tail: Tail,
    ) -> Compaction {
        let size = state.valid_bytes();
        if !tail.is_torn_record() {
            return Compaction::At(size);
        }
        if size <= self.tuning.compact_bytes {
            return Compaction::At(self.compact_above(0));
        }
        let bytes = state.compacted();
        let worth_it = self.compact_above(bytes.len());
        if size <= worth_it {
            return Compaction::At(worth_it);
        }
        // The old one is given up for it: nothing is believed that can be looked at.
        match JournalState::read(&bytes[..], id, self.count.now()) {
            Ok(Ok(again)) if again.says_the_same(state) => Compaction::Due(bytes),
            Ok(_) | Err(_) => {
                tracing::error!(upload = %id.short(), "compacted journal differs from the original: this is a bug");
                Compaction::At(size.saturating_mul(2))
            }
        }
    }

    /// Replaces a journal whose end is `log` if that is worth it; `upload` is what it is taken to say. Blocks.
    pub(super) fn compact(
        &self,
        id: TicketId,
        log: &mut Log,
        upload: &Upload,
    ) -> io::Result<Compacted> {
        let Some(source) = self.journals.read(id)? else {
            return Err(io::Error::other("the journal is gone"));
        };
        let read = JournalState::read_whole(source, id, self.count.now())?;
        let (state, tail) = read.map_err(|error| io::Error::other(error.to_string()))?;
        if state.valid_bytes() != log.end() || !self.says(&state, upload) {
            return Err(io::Error::other("the journal does not say what was recorded"));
        }
        let bytes = match self.compaction_of(id, &state, tail) {
            Compaction::Due(bytes) => bytes,
            Compaction::At(size) => return Ok(Compacted::NotBefore(size)),
        };
        let replaced = self.replace_journal(id, &bytes, log.end())?;
        log.moved(replaced.file, bytes.len() as u64);
        Ok(Compacted::Done(bytes.len(), replaced.named))
    }

    /// A journal that needs so many bytes may have this many.
    pub(super) fn compact_above(&self, needed: usize) -> u64 {
        let tuning = &self.tuning;
        (needed as u64).saturating_mul(tuning.compact_factor).max(tuning.compact_bytes)
    }

    pub(super) fn replace_journal(
        &self,
        id: TicketId,
        bytes: &[u8],
        before: u64,
    ) -> io::Result<Replaced> {
        let replace = || self.journals.replace(id, bytes);
        let replaced = self.counted.syncs.during(replace, |error| !is_transient(error))?;
        self.counted.compactions.inc();
        tracing::debug!(upload = %id.short(), before, after = bytes.len(), "journal compacted");
        Ok(replaced)
    }

    /// Whether a journal says of an upload in memory what is known of it.
    fn says(&self, state: &JournalState, held: &Upload) -> bool {
        let mut read = state.clone().seen_in(self.files.run()).upload;
        if held.awaits_publish() && read.may_be_unplaced() {
            // Its rename is still to come.
            read.await_publish();
        }
        read.received() == held.received()
            && (read.length(), read.sha256()) == (held.length(), held.sha256())
            && std::mem::discriminant(read.phase()) == std::mem::discriminant(held.phase())
    }
}

/// At how many bytes it is tried again to replace a journal of `bytes`: often enough to succeed before the bound, and rarely
/// enough for reading it each time.
pub(super) fn next_try(bytes: u64) -> u64 {
    bytes.saturating_mul(2).min(bytes.saturating_add(MAX_JOURNAL_BYTES / 16))
}

/// The disk is full, or no descriptor is left: the old journal goes on.
pub(super) fn is_transient(error: &io::Error) -> bool {
    is_full(error) || is_exhausted(error)
}
