//! How uploads stand, as values to show: of one, with waiting for it to change, and of all, a page at a time.

use super::Engine;
use super::error::{Fault, LookupError};
use super::handle::UploadHandle;
use super::retention::idle_timeout;
use super::slots;
use crate::core::dialect::Client;
use crate::core::event::DigestRequest;
use crate::core::extent::ExtentSet;
use crate::core::id::TicketId;
use crate::core::limits::POLLS;
use crate::core::state::StateName;
use crate::core::time::Timestamp;
use crate::core::upload::{Phase, Role, Upload};
use crate::storage::location::Location;
use crate::storage::store::StoreError;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// How an upload stood at one moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its id.
    pub id: TicketId,
    /// Where it stands.
    pub state: StateName,
    /// Total bytes, once known.
    pub length: Option<u64>,
    /// The acknowledged bytes.
    pub received: ExtentSet,
    /// The file's harmless name.
    pub name: Option<String>,
    /// The file's media type.
    pub media_type: Option<String>,
    /// The header `Upload-Metadata` of the client, unchanged.
    pub client_metadata: Option<String>,
    /// What the upload is to others.
    pub role: Role,
    /// Who said or stored something first, if that was recorded.
    pub client: Option<Arc<Client>>,
    /// Why cancelled or failed, or what the handover waits for.
    pub reason: Option<String>,
    /// What digest of the file its web app wants.
    pub digest: DigestRequest,
    /// When the ticket was given out.
    pub created: Timestamp,
    /// When a byte or fact last arrived.
    pub last_active: Timestamp,
    /// When it ends if no byte arrives until then; none where it takes no more, or all are there.
    pub expires: Option<Timestamp>,
    /// Calls to the backend begun so far.
    pub handover_attempts: u32,
    /// The store takes its bytes best in pieces that end at multiples of this, in bytes, if that is so.
    pub align: Option<u64>,
    /// Where the published file lies, while the server keeps it.
    pub location: Option<Location>,
}

/// One page of uploads, ordered by id.
#[derive(Clone, Debug)]
pub struct Page {
    /// The uploads.
    pub uploads: Vec<Status>,
    /// Where the next page begins, if there is one.
    pub next: Option<TicketId>,
}

impl Status {
    /// Every byte below this is acknowledged.
    pub fn offset(&self) -> u64 {
        self.received.contiguous_from_zero()
    }

    /// Whether every byte is acknowledged and the length known.
    pub fn is_complete(&self) -> bool {
        self.length.is_some_and(|length| self.offset() == length)
    }
}

impl Engine {
    /// How the upload stands now. Dropping the future changes nothing.
    pub async fn status(self: &Arc<Self>, id: TicketId) -> Result<Status, LookupError> {
        if let Some(status) = self.status_in_log(id).await? {
            return Ok(status);
        }
        let handle = self.find(id).await?;
        Ok(self.status_of(&handle))
    }

    /// Waits until the upload leaves `state` (where `None`: the state it is in now), is over, the
    /// time is up, `gone` completes or the server stops; then tells how it stands. Tells at once where as
    /// many wait already as may. Dropping the future changes nothing.
    pub async fn wait(
        self: &Arc<Self>,
        id: TicketId,
        state: Option<StateName>,
        at_most: Duration,
        gone: impl Future<Output = ()>,
    ) -> Result<Status, LookupError> {
        let handle = self.find(id).await?;
        let first = self.status_of(&handle);
        let awaited = state.unwrap_or(first.state);
        if first.state != awaited || first.state.is_final() {
            return Ok(first);
        }
        let Ok(_slot) = slots::take(POLLS, &handle.polls, &self.polls) else { return Ok(first) };
        let mut stands = handle.stands.subscribe();
        tokio::select! {
            biased;
            _ = stands.wait_for(|now| *now != awaited) => {}
            () = tokio::time::sleep(at_most) => {}
            () = self.draining.cancelled() => {}
            () = gone => {}
        }
        Ok(self.status_of(&handle))
    }

    /// How an upload stands that is in memory. Brings none there, and keeps none there longer.
    pub fn in_memory(&self, id: TicketId) -> Option<Status> {
        let handle = self.registry.loaded(id)?;
        let state = handle.lock();
        Some(self.describe(&state.upload))
    }

    pub(super) fn status_of(&self, handle: &Arc<UploadHandle>) -> Status {
        let mut state = handle.lock();
        state.touched = self.uptime();
        self.describe(&state.upload)
    }

    /// The status of an upload as its rules describe it.
    pub(super) fn describe(&self, upload: &Upload) -> Status {
        let id = upload.ticket().id;
        let state = upload.phase().state();
        let open =
            matches!(state, StateName::New | StateName::Uploading) && !upload.awaits_publish();
        let idle = idle_timeout(&self.options(), upload);
        let kept = match state {
            StateName::HandingOver | StateName::Failed => true,
            StateName::Finished => !upload.removes_file() && !upload.is_partial(),
            StateName::New | StateName::Uploading | StateName::Cancelled => false,
        };
        Status {
            id,
            state,
            length: upload.length(),
            received: upload.received().clone(),
            name: upload.name().map(str::to_owned),
            media_type: upload.media_type().map(str::to_owned),
            client_metadata: upload.client_metadata().map(str::to_owned),
            role: upload.role().clone(),
            client: upload.client().cloned(),
            reason: upload.reason().map(str::to_owned),
            digest: upload.ticket().digest,
            created: upload.ticket().created.date,
            last_active: upload.last_active().date,
            expires: open.then(|| upload.last_active().date.after(idle)),
            handover_attempts: attempts(upload),
            align: open.then(|| self.store.align(upload)).flatten(),
            location: kept.then(|| self.store.location(id)),
        }
    }
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
        let turn = self.loads.list().await?;
        let engine = Arc::clone(self);
        let page = self.detached(async move {
            // Kept to the end, also where the caller is gone.
            let _turn = turn;
            engine.page(state, after, limit).await
        });
        let fault = |error: &dyn std::fmt::Display| {
            LookupError::Fault(Fault::new("listing uploads", error))
        };
        match page.await {
            Some(page) => page.map_err(|error| fault(&error)),
            None => Err(fault(&"it was lost")),
        }
    }

    async fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let (mut uploads, mut after): (Vec<Status>, _) = (Vec::new(), after);
        loop {
            // One more tells whether another page follows.
            let wanted = limit + 1 - uploads.len();
            let ids = self.journal.page(state, after, wanted).await?;
            for id in &ids {
                let Some(status) = self.peek(*id).await else { continue };
                if state.is_some_and(|state| state != status.state) {
                    continue;
                }
                if uploads.len() == limit {
                    return Ok(Page { next: uploads.last().map(|last| last.id), uploads });
                }
                uploads.push(status);
            }
            if ids.len() < wanted {
                return Ok(Page { uploads, next: None });
            }
            after = ids.last().copied();
        }
    }

    /// How an upload stands, without taking it into memory; `None` where there is none, or it cannot be read.
    async fn peek(&self, id: TicketId) -> Option<Status> {
        if let Some(status) = self.in_memory(id) {
            return Some(status);
        }
        let fault = match self.journal.load(id).await.map_err(LookupError::from) {
            Ok(loaded) => return Some(self.describe(&loaded.upload)),
            Err(LookupError::Unknown) => return None,
            Err(LookupError::Busy) => Fault("no file descriptor is left".into()),
            Err(LookupError::Fault(fault)) => fault,
        };
        tracing::warn!(upload = %id.short(), error = %fault, "could not read upload");
        None
    }
}

fn attempts(upload: &Upload) -> u32 {
    match upload.phase() {
        Phase::HandingOver(calls) | Phase::Cancelled { calls: Some(calls), .. } => calls.begun,
        Phase::Finished { calls, .. } | Phase::Failed { calls, .. } => *calls,
        Phase::New | Phase::Uploading | Phase::Cancelled { calls: None, .. } => 0,
    }
}
