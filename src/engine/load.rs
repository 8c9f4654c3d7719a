//! Reading journals, and making what they say hold whatever happens. Only where no other thread works on a journal:
//! under [`super::registry::Loads::exclusive`], and before its upload is in memory.

use super::Engine;
use super::compaction::{Compaction, is_passing};
use super::error::{Fault, LookupError};
use crate::core::id::TicketId;
use crate::storage::local::format::replay::{JournalState, Replayed, Unreadable};
use crate::storage::local::format::tail::Tail;
use crate::storage::local::integrity::{self, Mismatch, Siblings};
use crate::storage::local::journal_files::JournalFile;
use crate::storage::local::settle::{SettleError, Settled, settle};
use std::io;

/// A journal that was read.
pub(super) struct Loaded {
    pub(super) replayed: Replayed,
    pub(super) compaction: Compaction,
    /// What lies behind the good bytes.
    pub(super) tail: Tail,
}

impl Engine {
    /// Reads and replays the journal of `id`. Blocks.
    ///
    /// Errors: a journal that cannot be read, or bytes that it claims and the store does not hold,
    /// are a fault; nothing is removed then.
    pub(super) fn load(&self, id: TicketId) -> Result<Loaded, LookupError> {
        let unreadable = |error| LookupError::Fault(Fault::new("journal", &error));
        let read = |error: std::io::Error| LookupError::opening("reading the journal", &error);
        let source = self.journals.read(id).map_err(read)?.ok_or(LookupError::Unknown)?;
        let (state, tail) =
            match JournalState::read_whole(source, id, self.uptime()).map_err(read)? {
                Ok(read) => read,
                Err(error @ (Unreadable::Unborn | Unreadable::Blank)) => {
                    let part = self.files.open(id);
                    let part =
                        part.map_err(|error| LookupError::opening("opening the part", &error))?;
                    let placed = self.files.published(id);
                    let placed =
                        placed.map_err(|error| LookupError::opening("opening the file", &error))?;
                    let beside = Siblings { part: part.is_some(), published: placed.is_some() };
                    return Err(if integrity::is_forgotten(error, beside, self.options().ack) {
                        LookupError::Unknown
                    } else {
                        unreadable(error)
                    });
                }
                Err(error) => return Err(unreadable(error)),
            };
        let compaction = self.compaction_of(id, &state, tail);
        let mut replayed = state.seen_in(self.files.run());
        if !tail.is_torn_record() {
            // Nothing is written over what lies behind before something has to be appended; it is noted at a later load.
            replayed.uncounted = None;
        }
        integrity::check(&*self.files, id, &replayed.upload).map_err(
            |mismatch| match mismatch {
                Mismatch::Unreadable(error) => LookupError::opening("stored bytes", &error),
                mismatch @ (Mismatch::Short { .. } | Mismatch::NoPart) => {
                    LookupError::Fault(Fault::new("stored bytes", &mismatch))
                }
            },
        )?;
        Ok(Loaded { replayed, compaction, tail })
    }

    /// Says where whole records lie behind a damaged one. With `ack = written` a power cut leaves such a journal, and
    /// nothing that was to outlive it is lost; otherwise the disk, or somebody, has changed it.
    pub(super) fn report_damage(&self, id: TicketId, loaded: &Loaded) {
        if let Some(whole_from) = loaded.tail.hidden_record {
            let damaged_at = loaded.replayed.valid_bytes;
            tracing::error!(upload = %id.short(), damaged_at, whole_from, "journal record damaged; intact records follow it");
        }
    }

    /// Has what the journal of `id` says hold whatever happens, unless that is so. Blocks.
    pub(super) fn settle(&self, id: TicketId) -> Result<(), LookupError> {
        let _exclusive = self.loads.exclusive(id);
        // In memory its commit queue appends to the journal; a later load settles what is left then.
        if self.registry.is_settled(id) || self.registry.loaded(id).is_some() {
            return Ok(());
        }
        let mut loaded = self.load(id)?;
        self.make_durable(id, &mut loaded)
    }

    /// Makes what a journal says hold whatever happens, by replacing it where that is due. Blocks; only where no
    /// other thread works on it.
    ///
    /// Errors: [`LookupError::Busy`] where the same may end well later; nothing may be acted on before.
    pub(super) fn make_durable(
        &self,
        id: TicketId,
        loaded: &mut Loaded,
    ) -> Result<(), LookupError> {
        let fault =
            |error: &io::Error| LookupError::Fault(Fault::new("replacing the journal", error));
        if let Compaction::Due(bytes) = &loaded.compaction {
            match self.replace_journal(id, bytes, loaded.replayed.valid_bytes) {
                Ok(replaced) => {
                    replaced.named.map_err(|error| {
                        self.registry.unnamed(id);
                        fault(&error)
                    })?;
                    loaded.replayed.valid_bytes = bytes.len() as u64;
                    loaded.replayed.uncounted = None;
                    self.registry.settled(id);
                    return Ok(());
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(fault(&error)),
            }
        }
        self.settle_journal(id, &mut loaded.replayed)
    }

    /// Makes durable what an earlier process has recorded in a journal ([`settle()`]), once for each upload and process.
    /// Blocks; only where no other thread works on the journal.
    fn settle_journal(&self, id: TicketId, replayed: &mut Replayed) -> Result<(), LookupError> {
        if self.registry.is_settled(id) {
            return Ok(());
        }
        let fault = |error| LookupError::Fault(Fault::new("syncing the journal", &error));
        let waits = &self.stats.disk_syncs;
        // It may also have died between giving a new journal the name of the old one and the sync of that.
        if self.registry.names_unsettled() {
            waits.during(|| self.journals.sync_names(), |_| true).map_err(fault)?;
            self.registry.names_settled();
        }
        let sync = |file: &mut dyn JournalFile| waits.during(|| file.sync(), |_| true);
        match settle(&*self.journals, id, replayed, sync) {
            Ok(Settled::Whole) => self.registry.settled(id),
            Ok(Settled::Unnoted) => {}
            Err(SettleError::Opening(error)) => {
                return Err(LookupError::opening("opening the journal", &error));
            }
            // Records would follow that its version does not have.
            Err(SettleError::NoSpace) => return Err(LookupError::Busy),
            Err(SettleError::Failed(error)) => return Err(fault(error)),
        }
        Ok(())
    }
}
