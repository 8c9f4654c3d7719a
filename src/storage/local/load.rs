//! Reading journals. Only where no other thread works on a journal: before its upload is in memory.

use super::compaction::Compaction;
use super::format::replay::{JournalState, Unreadable};
use super::integrity::{self, Mismatch, Siblings};
use super::resync::{Unsynced, opening};
use super::shared::Shared;
use super::upload_log::LocalLog;
use crate::core::id::TicketId;
use crate::storage::journal::{Damage, LoadError, Loaded, ResyncNeed, Version};
use std::io;
use std::sync::Arc;

impl Shared {
    /// Reads and replays the journal of `id`. Blocks.
    ///
    /// Errors: a journal that cannot be read, or bytes that it claims and the store does not hold,
    /// are a fault; nothing is removed then.
    pub(super) fn load(self: &Arc<Self>, id: TicketId) -> Result<Loaded, LoadError> {
        let read = |error: io::Error| opening("reading the journal", error);
        let Some(source) = self.journals.read(id).map_err(read)? else {
            self.catalog.remove(id);
            return Err(LoadError::Unknown);
        };
        let (state, tail) =
            match JournalState::read_whole(source, id, self.count.now()).map_err(read)? {
                Ok(read) => read,
                Err(error @ (Unreadable::Unborn | Unreadable::Blank)) => {
                    let part = self.files.open(id);
                    let part = part.map_err(|error| opening("opening the part", error))?;
                    let placed = self.files.published(id);
                    let placed = placed.map_err(|error| opening("opening the file", error))?;
                    let beside = Siblings { part: part.is_some(), published: placed.is_some() };
                    return Err(if integrity::is_forgotten(error, beside, self.tuning.ack) {
                        LoadError::Unknown
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
        integrity::await_rename(&*self.files, id, &mut replayed.upload)
            .map_err(|error| opening("stored bytes", error))?;
        integrity::check(&*self.files, id, &replayed.upload).map_err(
            |mismatch| match mismatch {
                Mismatch::Unreadable(error) => opening("stored bytes", error),
                mismatch @ (Mismatch::Short { .. } | Mismatch::NoPart) => {
                    LoadError::Fault { what: "stored bytes", error: Box::new(mismatch) }
                }
            },
        )?;
        self.catalog.see(id, replayed.upload.phase().state());
        let whole_from = tail.hidden_record;
        Ok(Loaded {
            upload: replayed.upload.clone(),
            version: Version::of(0),
            resync_need: match (&compaction, replayed.uncounted) {
                (Compaction::Due(_), _) => ResyncNeed::Now,
                (Compaction::At(_), Some(_)) => ResyncNeed::Times,
                (Compaction::At(_), None) => ResyncNeed::Nothing,
            },
            damage: whole_from.map(|whole_from| Damage { at: replayed.valid_bytes, whole_from }),
            log: Arc::new(LocalLog::new(id, Arc::clone(self), Unsynced { replayed, compaction })),
        })
    }
}

fn unreadable(error: Unreadable) -> LoadError {
    LoadError::Fault { what: "journal", error: Box::new(error) }
}
