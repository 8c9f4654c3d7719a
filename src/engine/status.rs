//! How an upload stands, as a value to show; and waiting for it to change.

use super::Engine;
use super::error::LookupError;
use super::handle::UploadHandle;
use super::slots;
use crate::core::event::DigestRequest;
use crate::core::extent::ExtentSet;
use crate::core::id::TicketId;
use crate::core::limits::POLLS;
use crate::core::time::Timestamp;
use crate::core::upload::{Phase, Upload};
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The word for where an upload stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName {
    /// Nothing bound or stored yet.
    New,
    /// Taking bytes.
    Uploading,
    /// Complete; the backend has to take it.
    HandingOver,
    /// The backend has taken it.
    Finished,
    /// Cancelled or expired.
    Cancelled,
    /// The handover was given up.
    Failed,
}

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
    /// Why cancelled or failed, or what the handover waits for.
    pub reason: Option<String>,
    /// What digest of the file its web app wants.
    pub digest: DigestRequest,
    /// When the ticket was given out.
    pub created: Timestamp,
    /// When a byte or fact last arrived.
    pub last_active: Timestamp,
    /// Calls to the backend begun so far.
    pub handover_attempts: u32,
    /// Where the published file lies, while the server keeps it.
    pub path: Option<PathBuf>,
}

impl StateName {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::New,
        Self::Uploading,
        Self::HandingOver,
        Self::Finished,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The word used on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Uploading => "uploading",
            Self::HandingOver => "handing_over",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// The state of a word used on the wire.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether nothing more will happen by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled | Self::Failed)
    }
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
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
        let state = name(upload.phase());
        let kept = match state {
            StateName::HandingOver | StateName::Failed => true,
            StateName::Finished => !upload.removes_file(),
            StateName::New | StateName::Uploading | StateName::Cancelled => false,
        };
        Status {
            id,
            state,
            length: upload.length(),
            received: upload.received().clone(),
            name: upload.name().map(str::to_owned),
            reason: upload.reason().map(str::to_owned),
            digest: upload.ticket().digest,
            created: upload.ticket().created.date,
            last_active: upload.last_active().date,
            handover_attempts: attempts(upload),
            path: kept.then(|| self.store.path(id)),
        }
    }
}

fn attempts(upload: &Upload) -> u32 {
    match upload.phase() {
        Phase::HandingOver(calls) | Phase::Cancelled { owed: Some(calls), .. } => calls.begun,
        Phase::Finished { calls, .. } | Phase::Failed { calls, .. } => *calls,
        Phase::New | Phase::Uploading | Phase::Cancelled { owed: None, .. } => 0,
    }
}

/// The word for a phase.
pub(super) fn name(phase: &Phase) -> StateName {
    match phase {
        Phase::New => StateName::New,
        Phase::Uploading => StateName::Uploading,
        Phase::HandingOver(_) => StateName::HandingOver,
        Phase::Finished { .. } => StateName::Finished,
        Phase::Cancelled { .. } => StateName::Cancelled,
        Phase::Failed { .. } => StateName::Failed,
    }
}
