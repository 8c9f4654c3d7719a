//! Journals that are much larger than what they say are written anew: as the shortest journal that says the same.
//!
//! Durability: the new one is whole and synced before it gets the name of the old one. What is sure in the old one
//! is sure in the new one, and nothing else; a crash at any step leaves either.

use super::Engine;
use super::error::Fault;
use super::handle::UploadHandle;
use crate::core::id::TicketId;
use crate::core::limits::MAX_JOURNAL_BYTES;
use crate::storage::local::files::{is_exhausted, is_full};
use crate::storage::local::format::replay::JournalState;
use crate::storage::local::format::tail::Tail;
use crate::storage::local::journal_files::Replaced;
use crate::storage::local::log::Log;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Whether a journal is to be replaced.
pub(super) enum Compaction {
    /// By these bytes.
    Due(Vec<u8>),
    /// Not before it has this many.
    At(u64),
}

impl Engine {
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
        if size <= self.options().tuning.compact_bytes {
            return Compaction::At(self.compact_above(0));
        }
        let bytes = state.compacted();
        let worth_it = self.compact_above(bytes.len());
        if size <= worth_it {
            return Compaction::At(worth_it);
        }
        // The old one is given up for it: nothing is believed that can be looked at.
        match JournalState::read(&bytes[..], id, self.uptime()) {
            Ok(Ok(again)) if again.says_the_same(state) => Compaction::Due(bytes),
            Ok(_) | Err(_) => {
                tracing::error!(upload = %id.short(), "compacted journal differs from the original: this is a bug");
                Compaction::At(size.saturating_mul(2))
            }
        }
    }

    /// Replaces the journal of an upload in memory if that is due. Run by its commit queue, between two
    /// group commits. Blocks.
    pub(super) fn compact(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        let mut log = handle.log.lock().expect("no holder of this lock panics");
        if let Err(error) = log.open(&*self.journals) {
            tracing::debug!(upload = %handle.id.short(), %error, "could not compact journal");
            // If it is more than a passing want, the next append says so.
            return handle.compact_at(next_try(log.end()));
        }
        let over = {
            let state = handle.lock();
            state.fault.is_some() || state.forgotten
        };
        if over {
            return handle.compact_at(u64::MAX);
        }
        // A sync under way has taken its offset from the old one.
        if handle.is_syncing() {
            return;
        }
        handle.compact_at(next_try(log.end()));
        match self.compact_log(handle, &mut log) {
            Ok(()) => {}
            Err(error) if is_passing(&error) => {
                tracing::debug!(upload = %handle.id.short(), %error, "could not compact journal");
            }
            Err(error) => {
                drop(log);
                self.latch(handle, Fault::new("replacing the journal", &error));
            }
        }
    }

    /// A chunk was refused for the size of the journal, so that no record follows that would have it looked at: has the commit
    /// queue try to replace it now, unless it has lately.
    pub(super) fn compact_for_refused(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        let now = self.uptime();
        {
            let mut state = handle.lock();
            if now < state.compact_again {
                return;
            }
            state.compact_again = now.after(TRY_AGAIN);
        }
        handle.compact_at(0);
        self.wake(handle);
    }

    fn compact_log(&self, handle: &UploadHandle, log: &mut Log) -> io::Result<()> {
        let Some(source) = self.journals.read(handle.id)? else {
            return Err(io::Error::other("the journal is gone"));
        };
        let read = JournalState::read_whole(source, handle.id, self.uptime())?;
        let (state, tail) = read.map_err(|error| io::Error::other(error.to_string()))?;
        if state.valid_bytes() != log.end() || !says(&state, handle, self) {
            return Err(io::Error::other("the journal does not say what was recorded"));
        }
        let bytes = match self.compaction_of(handle.id, &state, tail) {
            Compaction::Due(bytes) => bytes,
            Compaction::At(size) => {
                handle.compact_at(size);
                return Ok(());
            }
        };
        let replaced = self.replace_journal(handle.id, &bytes, log.end())?;
        let size = bytes.len() as u64;
        log.moved(replaced.file, size);
        handle.journal_has(size);
        handle.compact_at(self.compact_above(bytes.len()));
        replaced.named
    }

    /// A journal that needs so many bytes may have this many.
    fn compact_above(&self, needed: usize) -> u64 {
        let tuning = &self.options().tuning;
        (needed as u64).saturating_mul(tuning.compact_factor).max(tuning.compact_bytes)
    }

    pub(super) fn replace_journal(
        &self,
        id: TicketId,
        bytes: &[u8],
        before: u64,
    ) -> io::Result<Replaced> {
        let waits = &self.stats.disk_syncs;
        let replaced =
            waits.during(|| self.journals.replace(id, bytes), |error| !is_passing(error))?;
        self.stats.compactions.inc();
        tracing::debug!(upload = %id.short(), before, after = bytes.len(), "journal compacted");
        Ok(replaced)
    }
}

/// At how many bytes it is tried again to replace a journal of `bytes`: often enough to succeed before the bound, and rarely
/// enough for reading it each time.
fn next_try(bytes: u64) -> u64 {
    bytes.saturating_mul(2).min(bytes.saturating_add(MAX_JOURNAL_BYTES / 16))
}

/// Whether a journal says of an upload in memory what is known of it.
fn says(state: &JournalState, handle: &UploadHandle, engine: &Engine) -> bool {
    let read = state.clone().seen_in(engine.files.run()).upload;
    let held = &handle.lock().upload;
    read.received() == held.received()
        && (read.length(), read.sha256()) == (held.length(), held.sha256())
        && std::mem::discriminant(read.phase()) == std::mem::discriminant(held.phase())
}

/// The disk is full, or no descriptor is left: the old journal goes on.
pub(super) fn is_passing(error: &io::Error) -> bool {
    is_full(error) || is_exhausted(error)
}

/// Between two tries for chunks that are refused: each reads a journal of 16 MiB.
const TRY_AGAIN: Duration = Duration::from_secs(5);
