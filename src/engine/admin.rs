//! What operators look at: lists of uploads, read without taking them into memory.

use super::Engine;
use super::error::{Fault, LookupError};
use super::status::{StateName, Status};
use crate::core::id::TicketId;
use std::sync::Arc;

/// One page of uploads, ordered by id.
#[derive(Clone, Debug)]
pub struct Page {
    /// The uploads.
    pub uploads: Vec<Status>,
    /// Where the next page begins, if there is one.
    pub next: Option<TicketId>,
}

impl Engine {
    /// Uploads after `after`, at most `limit`, only those in `state` if given. Those whose journal
    /// cannot be read are left out (the log names them). Dropping the future changes nothing.
    pub async fn list(
        self: &Arc<Self>,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Result<Page, LookupError> {
        let engine = Arc::clone(self);
        let work = self.blocking.spawn(move || {
            let mut ids = engine.journals.list()?;
            ids.retain(|id| after.is_none_or(|after| *id > after));
            ids.sort_unstable();
            Ok(engine.page(&ids, state, limit))
        });
        let fault = |error: &dyn std::fmt::Display| {
            LookupError::Fault(Fault::new("listing uploads", error))
        };
        match work.await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(error)) => {
                let error: std::io::Error = error;
                Err(fault(&error))
            }
            Err(error) => Err(fault(&error)),
        }
    }

    fn page(&self, ids: &[TicketId], state: Option<StateName>, limit: usize) -> Page {
        let mut uploads = Vec::new();
        for id in ids {
            let status = match self.in_memory(*id) {
                Some(status) => status,
                None => match self.load(*id) {
                    Ok(replayed) => self.describe(&replayed.upload),
                    Err(LookupError::Unknown) => continue,
                    Err(LookupError::Fault(fault)) => {
                        tracing::warn!(upload = %id.short(), %fault, "an upload cannot be read");
                        continue;
                    }
                },
            };
            if state.is_some_and(|state| state != status.state) {
                continue;
            }
            if uploads.len() == limit {
                return Page { next: uploads.last().map(|last: &Status| last.id), uploads };
            }
            uploads.push(status);
        }
        Page { uploads, next: None }
    }
}

impl Engine {
    /// Whether new uploads can be taken: not draining, no failed disk, the storage in its place and
    /// writable, space above the reserve.
    /// Errors: why not, for people.
    pub async fn readiness(self: &Arc<Self>) -> Result<(), String> {
        if self.draining.is_cancelled() {
            return Err("the server is stopping".into());
        }
        if self.stats.faults.value() > 0 {
            return Err("the disk failed an upload; see the log".into());
        }
        let engine = Arc::clone(self);
        let work = self.blocking.spawn(move || {
            engine.store.writable()?;
            engine.space.reserve(&*engine.store, 0)
        });
        match work.await {
            Ok(Ok(Some(_))) => Ok(()),
            Ok(Ok(None)) => Err("the disk is full".into()),
            Ok(Err(error)) => Err(format!("the storage directory cannot be used: {error}")),
            Err(error) => Err(error.to_string()),
        }
    }
}
