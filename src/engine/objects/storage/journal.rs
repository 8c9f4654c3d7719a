//! The logs of uploads in object storage as a journal.

use super::log::BucketLog;
use super::{BucketStorage, Shared, lock, unavailable};
use crate::core::event::{Durability, Ticket};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::engine::objects::{Backing, ObjectChangeError};
use crate::storage::event_log::Appended;
use crate::storage::journal::{
    Inventory, Journal, LoadError, Loaded, Removed, ResyncNeed, Version,
};
use crate::storage::promised::Promised;
use crate::storage::store::StoreError;
use std::ops::Bound;
use std::sync::Arc;

impl<B: Backing + 'static> Journal for BucketStorage<B> {
    fn create(&self, ticket: &Ticket, _: Durability) -> Promised<'_, Result<Version, StoreError>> {
        let ticket = ticket.clone();
        Promised::later(async move {
            let id = ticket.id;
            let view = self.0.engine.create(ticket).await.map_err(unavailable)?;
            self.0.engine.forget_view(id);
            self.0.note_state(id, StateName::New);
            Ok(Version(view.seen.seq))
        })
    }

    fn load(&self, id: TicketId) -> Promised<'_, Result<Loaded, LoadError>> {
        let shared = Arc::clone(&self.0);
        Promised::later(async move {
            // Before it is read: what is read stays in memory with it.
            let log = Arc::new(BucketLog(shared.in_memory(id)));
            let view = shared.engine.view(id).await.map_err(|error| match error {
                ObjectChangeError::Unknown => LoadError::Unknown,
                ObjectChangeError::Unsure
                | ObjectChangeError::Refused(_)
                | ObjectChangeError::Store(_) => LoadError::Busy,
            })?;
            let upload = view.upload.upload().clone();
            shared.note_state(id, upload.phase().state());
            let (version, resync_need) = (Version(view.seen.seq), ResyncNeed::Nothing);
            Ok(Loaded { upload, version, log, resync_need, damage: None })
        })
    }

    fn remove(
        &self,
        id: TicketId,
        expected: Option<Version>,
    ) -> Promised<'_, Result<Removed, StoreError>> {
        Promised::later(self.0.remove(id, expected))
    }

    fn inventory(&self) -> Promised<'_, Result<Inventory, StoreError>> {
        Promised::later(async move {
            let uploads = self.0.list().await?;
            Ok(Inventory { uploads, orphans: Vec::new() })
        })
    }

    fn discard_orphan(&self, _: TicketId) -> Promised<'_, ()> {
        Promised::ready(())
    }

    fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Promised<'_, Result<Vec<TicketId>, StoreError>> {
        Promised::later(async move {
            self.0.list().await?;
            let states = lock(&self.0.states);
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let fits = |known: &Option<StateName>| {
                state.is_none_or(|state| known.is_none_or(|known| known == state))
            };
            let found = states.range((from, Bound::Unbounded)).filter(|(_, known)| fits(known));
            Ok(found.map(|(id, _)| *id).take(limit).collect())
        })
    }

    fn now(&self) -> Uptime {
        self.0.beside.time.now()
    }

    fn keep_time(&self) -> Promised<'_, ()> {
        self.0.housekeeping.begin(&self.0);
        self.0.beside.time.keep_time()
    }
}

impl<B: Backing + 'static> Shared<B> {
    /// The uploads that have a log.
    pub(super) async fn list(&self) -> Result<Vec<TicketId>, StoreError> {
        let ids = (self.beside.ids)().await.map_err(|_| StoreError::Unavailable)?;
        let mut states = lock(&self.states);
        for id in &ids {
            states.entry(*id).or_default();
        }
        Ok(ids)
    }

    /// What lies in the bucket goes first: nothing would find it any more.
    async fn remove(&self, id: TicketId, expected: Option<Version>) -> Result<Removed, StoreError> {
        let view = match self.engine.view(id).await {
            Err(ObjectChangeError::Unknown) => return Ok(Removed::Done),
            view => view.map_err(unavailable)?,
        };
        if expected.is_some_and(|expected| view.plain_seq > expected.0) {
            return Ok(Removed::Behind);
        }
        self.engine.clean(id).await.map_err(unavailable)?;
        match self.engine.backing().remove(id, view.seen).await {
            Ok(Appended::At(_)) => {
                lock(&self.states).remove(&id);
                self.engine.forget_view(id);
                Ok(Removed::Done)
            }
            Ok(Appended::Behind) => Ok(Removed::Behind),
            Err(_) => Err(StoreError::Unavailable),
        }
    }
}
