//! Logs in memory that several servers share, for tests: each append says whether another server was first. Every answer
//! comes later, as over a network.

use crate::core::event::{Durability, Event, Ticket};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::core::upload::Upload;
use crate::storage::journal::{
    Append, Appended, Created, Inventory, Journal, LoadError, Loaded, Log, Read, Removed,
    ResyncNeed, Version,
};
use crate::storage::promised::Promised;
use crate::storage::store::StoreError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Logs that live as long as this value and its clones. Each clone is another server's way to them.
#[derive(Clone, Default)]
pub struct MemoryLogs(Arc<Mutex<BTreeMap<TicketId, Entry>>>);

struct Entry {
    ticket: Ticket,
    /// What each append brought.
    appends: Vec<Vec<Event>>,
    state: StateName,
}

impl Entry {
    fn version(&self) -> Version {
        Version::of(self.appends.len() as u64)
    }
}

impl MemoryLogs {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<TicketId, Entry>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// How many appends there were to the log of `id`.
    pub fn appends(&self, id: TicketId) -> usize {
        self.entries().get(&id).map_or(0, |entry| entry.appends.len())
    }
}

/// What is so when it is asked for, told a turn later.
fn later<'a, T: Send + 'a>(ask: impl FnOnce() -> T + Send + 'a) -> Promised<'a, T> {
    Promised::later(async move {
        tokio::task::yield_now().await;
        ask()
    })
}

impl Journal for MemoryLogs {
    fn create(
        &self,
        ticket: &Ticket,
        _durability: Durability,
    ) -> Promised<'_, Result<Created, StoreError>> {
        let ticket = ticket.clone();
        later(move || {
            let entry = Entry { ticket, appends: Vec::new(), state: StateName::New };
            let version = entry.version();
            self.entries().insert(entry.ticket.id, entry);
            Ok(Created::at(version))
        })
    }

    fn load(&self, id: TicketId) -> Promised<'_, Result<Loaded, LoadError>> {
        later(move || {
            let entries = self.entries();
            let entry = entries.get(&id).ok_or(LoadError::Unknown)?;
            let mut upload = Upload::new(entry.ticket.clone());
            entry.appends.iter().flatten().for_each(|event| upload.apply(event));
            let log = Arc::new(MemoryLog { logs: self.clone(), id });
            let version = entry.version();
            Ok(Loaded { upload, version, log, resync_need: ResyncNeed::Nothing, damage: None })
        })
    }

    fn remove(
        &self,
        id: TicketId,
        expected: Option<Version>,
    ) -> Promised<'_, Result<Removed, StoreError>> {
        later(move || {
            let mut entries = self.entries();
            let found = entries.get(&id).map(Entry::version);
            if expected.is_some() && found.is_some() && found != expected {
                return Ok(Removed::Behind);
            }
            entries.remove(&id);
            Ok(Removed::Done)
        })
    }

    fn inventory(&self) -> Promised<'_, Result<Inventory, StoreError>> {
        later(|| {
            Ok(Inventory { uploads: self.entries().keys().copied().collect(), orphans: Vec::new() })
        })
    }

    fn discard_orphan(&self, _id: TicketId) -> Promised<'_, ()> {
        Promised::ready(())
    }

    fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Promised<'_, Result<Vec<TicketId>, StoreError>> {
        later(move || {
            let entries = self.entries();
            let wanted = entries.iter().filter(|(id, entry)| {
                after.is_none_or(|after| **id > after)
                    && state.is_none_or(|state| entry.state == state)
            });
            Ok(wanted.map(|(id, _)| *id).take(limit).collect())
        })
    }

    fn now(&self) -> Uptime {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        Uptime::first_of(1).after(Duration::from_secs(seconds))
    }

    fn keep_time(&self) -> Promised<'_, ()> {
        Promised::ready(())
    }
}

/// The log of one upload, as one server sees it.
struct MemoryLog {
    logs: MemoryLogs,
    id: TicketId,
}

impl Log for MemoryLog {
    fn append(
        &self,
        expected: Version,
        append: Append,
    ) -> Promised<'_, Result<Appended, StoreError>> {
        later(move || {
            let mut entries = self.logs.entries();
            let Some(entry) = entries.get_mut(&self.id).filter(|e| e.version() == expected) else {
                return Ok(Appended::Behind);
            };
            entry.appends.push(append.events);
            entry.state = append.state.unwrap_or(entry.state);
            Ok(Appended::At(entry.version()))
        })
    }

    fn read(&self, since: Version) -> Promised<'_, Result<Read, StoreError>> {
        later(move || {
            let entries = self.logs.entries();
            let Some(entry) = entries.get(&self.id) else { return Ok(Read::Unknown) };
            let seen = usize::try_from(since.number).unwrap_or(usize::MAX);
            Ok(match entry.appends.get(seen..) {
                Some(behind) => {
                    Read::More(behind.iter().flatten().cloned().collect(), entry.version())
                }
                None => Read::OtherHistory,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn conforms() {
        let logs = MemoryLogs::default();
        crate::storage::journal::conformance::check(&logs).await;
        crate::storage::journal::conformance::check_shared(&logs, &logs.clone()).await;
    }
}
