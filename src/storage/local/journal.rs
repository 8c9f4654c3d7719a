//! A storage directory as a journal: each log a file `{id}.journal`, known to this process alone, since the directory is
//! locked.

use super::log;
use super::storage::LocalStorage;
use super::upload_log::LocalLog;
use crate::core::event::{Durability, Ticket};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::core::upload::Upload;
use crate::storage::journal::{
    Created, Inventory, Journal, LoadError, Loaded, Removed, ResyncNeed, Version,
};
use crate::storage::local::files::{is_exhausted, store_error};
use crate::storage::local::journal_files::SyncWhen;
use crate::storage::local::log::LogError;
use crate::storage::promised::Promised;
use crate::storage::store::StoreError;
use std::collections::HashSet;
use std::sync::Arc;

impl Journal for LocalStorage {
    fn create(
        &self,
        ticket: &Ticket,
        durability: Durability,
    ) -> Promised<'_, Result<Created, StoreError>> {
        let (ticket, shared) = (ticket.clone(), Arc::clone(&self.shared));
        self.shared.run(move || {
            let create = |sync| log::create(&*shared.journals, &ticket, sync);
            let failed =
                |error: &LogError| matches!(error, LogError::Fault(error) if !is_exhausted(error));
            let created = match durability {
                Durability::Durable => {
                    shared.counted.syncs.during(|| create(SyncWhen::Now), failed)
                }
                Durability::Written => create(SyncWhen::Later),
            };
            let bytes = created.map_err(|error| match error {
                LogError::NoSpace => StoreError::NoSpace,
                LogError::Fault(error) => store_error(error),
            })?;
            shared.durable_journals.add(ticket.id);
            shared.catalog.set(ticket.id, StateName::New);
            let (upload, version) = (Upload::new(ticket), Version::of(0));
            let log = Arc::new(LocalLog::begun(upload.clone(), shared, bytes));
            let (resync_need, damage) = (ResyncNeed::Nothing, None);
            let loaded = Loaded { upload, version, log, resync_need, damage };
            Ok(Created { version, loaded: Some(Box::new(loaded)) })
        })
    }

    fn load(&self, id: TicketId) -> Promised<'_, Result<Loaded, LoadError>> {
        let shared = Arc::clone(&self.shared);
        let loaded = self.shared.blocking.run(move || shared.load(id));
        let lost = |lost| LoadError::Fault { what: "reading the journal", error: Box::new(lost) };
        loaded.map(move |loaded| loaded.unwrap_or_else(|panicked| Err(lost(panicked))))
    }

    fn remove(
        &self,
        id: TicketId,
        _expected: Option<Version>,
    ) -> Promised<'_, Result<Removed, StoreError>> {
        self.ask(move |shared| {
            let removed = shared.journals.remove(id);
            shared.durable_journals.remove(id);
            shared.catalog.remove(id);
            removed.map(|()| Removed::Done).map_err(store_error)
        })
    }

    fn inventory(&self) -> Promised<'_, Result<Inventory, StoreError>> {
        self.ask(|shared| {
            // Parts first: a part is made only after its journal.
            let parts = shared.files.parts().map_err(StoreError::Fault)?;
            let uploads = shared.journals.list().map_err(StoreError::Fault)?;
            shared.catalog.add_listed(&uploads);
            // What cannot be removed now is found again at the next start.
            let _ = shared.journals.remove_leftovers();
            let known: HashSet<TicketId> = uploads.iter().copied().collect();
            let orphans = parts.into_iter().filter(|id| !known.contains(id)).collect();
            Ok(Inventory { uploads, orphans })
        })
    }

    fn discard_orphan(&self, id: TicketId) -> Promised<'_, ()> {
        let discarded = self.ask(move |shared| {
            if matches!(shared.journals.read(id), Ok(None)) {
                tracing::info!(upload = %id.short(), "deleting orphan part");
                let _ = shared.files.discard(id);
            }
            Ok(())
        });
        discarded.map(|_| ())
    }

    fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Promised<'_, Result<Vec<TicketId>, StoreError>> {
        if self.shared.catalog.is_complete() {
            return Promised::ready(Ok(self.shared.catalog.page(state, after, limit)));
        }
        self.ask(move |shared| {
            shared.catalog.add_listed(&shared.journals.list().map_err(StoreError::Fault)?);
            Ok(shared.catalog.page(state, after, limit))
        })
    }

    fn now(&self) -> Uptime {
        self.shared.count.now()
    }

    fn keep_time(&self) -> Promised<'_, ()> {
        let shared = Arc::clone(&self.shared);
        // It panicked, or the runtime ends: the next process lacks a few seconds.
        self.shared.blocking.run(move || shared.count.persist(&*shared.journals)).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::blocking::Blocking;
    use crate::storage::local::journals::LocalJournals;
    use crate::storage::local::options::LocalOptions;
    use crate::storage::local::store::{Access, LocalStore};

    #[tokio::test]
    async fn a_directory_conforms() {
        let place = tempfile::tempdir().unwrap();
        let access = Access { group: None, file_mode: 0o600, directory_mode: 0o700 };
        let files = LocalStore::open(place.path(), access).unwrap();
        let journals = Arc::new(LocalJournals::open(files.directory()).unwrap());
        let clock = Arc::new(crate::storage::clock::SystemClock);
        let options = LocalOptions::new(Durability::Durable, 0, 1 << 20);
        let storage =
            LocalStorage::new(Arc::new(files), journals, clock, options, Blocking::Threads);
        crate::storage::journal::conformance::check(&*storage).await;
        crate::storage::store::conformance::check(&*storage).await;
    }

    #[tokio::test]
    async fn one_over_memory_conforms() {
        let storage = LocalStorage::of_memory();
        crate::storage::journal::conformance::check(&*storage).await;
        crate::storage::store::conformance::check(&*storage).await;
    }
}
