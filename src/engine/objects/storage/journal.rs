//! The logs of uploads in object storage as a journal.

use super::log::{BucketLog, is_at, version};
use super::{BucketStorage, Place, Shared, unavailable};
use crate::core::event::{Durability, Ticket};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::engine::objects::{Backing, ObjectChangeError};
use crate::storage::agenda::Agenda;
use crate::storage::event_log::Appended;
use crate::storage::journal::{
    Created, Inventory, Journal, LoadError, Loaded, Removed, ResyncNeed, Version,
};
use crate::storage::promised::Promised;
use crate::storage::store::StoreError;
use std::sync::Arc;

impl<B: Backing + 'static> Journal for BucketStorage<B> {
    fn create(&self, ticket: &Ticket, _: Durability) -> Promised<'_, Result<Created, StoreError>> {
        let ticket = ticket.clone();
        Promised::later(async move {
            let id = ticket.id;
            let view = self.0.engine.create(ticket).await.map_err(unavailable)?;
            self.0.engine.forget_view(id);
            self.0.note_state(id, StateName::New);
            Ok(Created::at(version(&view)))
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
            let (version, resync_need) = (version(&view), ResyncNeed::Nothing);
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
        if let Place::Shared(agenda) = &self.0.beside.place {
            let page = agenda.page(state, after, limit);
            return page.map(|page| page.map_err(|_| StoreError::Unavailable));
        }
        Promised::later(async move {
            self.0.list().await?;
            Ok(self.0.catalog.page(state, after, limit))
        })
    }

    fn now(&self) -> Uptime {
        match &self.0.beside.place {
            Place::Directory { time, .. } => time.now(),
            Place::Shared(agenda) => agenda.now(),
        }
    }

    fn agenda(&self) -> Option<&dyn Agenda> {
        match &self.0.beside.place {
            Place::Directory { .. } => None,
            Place::Shared(agenda) => Some(&**agenda),
        }
    }

    fn keep_time(&self) -> Promised<'_, ()> {
        self.0.housekeeping.begin(&self.0);
        match &self.0.beside.place {
            Place::Directory { time, .. } => time.keep_time(),
            Place::Shared(agenda) => agenda.beat().map(drop),
        }
    }
}

impl<B: Backing + 'static> Shared<B> {
    /// The uploads that have a log.
    pub(super) async fn list(&self) -> Result<Vec<TicketId>, StoreError> {
        let ids = match &self.beside.place {
            Place::Directory { ids, .. } => ids(),
            Place::Shared(agenda) => return all(&**agenda, None).await,
        };
        let ids = ids.await.map_err(|_| StoreError::Unavailable)?;
        self.catalog.add_listed(&ids);
        Ok(ids)
    }

    /// What lies in the bucket goes first: nothing would find it any more.
    async fn remove(&self, id: TicketId, expected: Option<Version>) -> Result<Removed, StoreError> {
        let view = match self.engine.view(id).await {
            Err(ObjectChangeError::Unknown) => return Ok(Removed::Done),
            view => view.map_err(unavailable)?,
        };
        if expected.is_some_and(|expected| !is_at(&view, expected)) {
            return Ok(Removed::Behind);
        }
        self.engine.clean(id).await.map_err(unavailable)?;
        match self.engine.backing().remove(id, view.seen).await {
            Ok(Appended::At(_)) => {
                self.catalog.remove(id);
                self.engine.forget_view(id);
                Ok(Removed::Done)
            }
            Ok(Appended::Behind) => Ok(Removed::Behind),
            Err(_) => Err(StoreError::Unavailable),
        }
    }
}

/// The uploads of all servers, in this state or in any.
pub(super) async fn all(
    agenda: &dyn Agenda,
    state: Option<StateName>,
) -> Result<Vec<TicketId>, StoreError> {
    let mut all: Vec<TicketId> = Vec::new();
    loop {
        let page = agenda.page(state, all.last().copied(), PAGE).await;
        let page = page.map_err(|_| StoreError::Unavailable)?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

/// Ids that are asked for at once.
const PAGE: usize = 1000;
