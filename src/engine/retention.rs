//! What happens to uploads with time: expiry, the end of retention, what a crash left behind.
//!
//! Serving never waits for this. The startup scan (`scan.rs`) finds which deliveries are pending and when
//! something is due; what it has read is not read again until then. A published file goes only by a
//! recorded `done` or `finish_upload` that asked for it, or at the end of the retention of a failed
//! handover; never because a journal is missing or unreadable.

use super::Engine;
use super::error::LookupError;
use super::handle::Op;
use super::handle::UploadHandle;
use super::options::Options;
use crate::core::command::Command;
use crate::core::event::Notice;
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use crate::core::upload::{Phase, Upload};
use crate::storage::journal::Version;
use std::sync::Arc;
use std::time::Duration;

/// When to look at an upload again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Then.
    At(Uptime),
    /// In a while.
    Later,
    /// Never: there is no such upload.
    Gone,
}

/// How long an upload may lie idle.
pub(super) fn idle_timeout(options: &Options, upload: &Upload) -> Duration {
    upload.ticket().idle_timeout.unwrap_or(options.max_idle)
}

/// When an upload ends that lies idle from now on, and when what is left of one that is over goes; `None` while it is handed
/// over.
pub(super) fn end(options: &Options, upload: &Upload) -> Option<Uptime> {
    match upload.phase() {
        Phase::New | Phase::Uploading => {
            Some(upload.last_active().uptime.after(idle_timeout(options, upload)))
        }
        Phase::HandingOver(_) => None,
        Phase::Finished { at, .. } | Phase::Cancelled { at, .. } => {
            Some(at.after(options.retain_finished))
        }
        Phase::Failed { at, .. } => Some(at.after(options.failed_retention)),
    }
}

/// When what is left of an upload is to be removed that is published, or over, since not long ago: servers may have been killed
/// meanwhile. `None` where that was done, or takes the end of what is kept.
pub(super) fn tidied(upload: &Upload, now: Uptime) -> Option<Uptime> {
    let since = match upload.phase() {
        Phase::New | Phase::Uploading => return None,
        Phase::HandingOver(calls) => calls.since,
        Phase::Finished { at, .. } | Phase::Cancelled { at, .. } | Phase::Failed { at, .. } => *at,
    };
    (now.since(since) < RECENT).then(|| now.after(TIDIED_AFTER))
}

impl Engine {
    /// Runs until the server stops. Dropping the future changes nothing that is recorded.
    pub async fn sweep(self: Arc<Self>) {
        let watch = async {
            if self.sharing.is_some() {
                return self.share_work().await;
            }
            // In turn: an upload is not forgotten while it is scanned.
            loop {
                let due = self.timers.next(|| self.uptime(), |now| self.timers.due(now));
                tokio::select! {
                    biased;
                    () = self.scan_due() => self.startup_scan().await,
                    id = due => self.on_timer(id).await,
                }
            }
        };
        let evict = async {
            let mut tick = tokio::time::interval(EVICTION_PERIOD);
            loop {
                tick.tick().await;
                for handle in self.evict_idle() {
                    // It leaves when it is asked about again, its bytes durable.
                    self.sync_written(&handle).await;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.draining.cancelled() => {}
            () = watch => {}
            () = evict => {}
            () = self.note_uncounted() => {}
        }
    }

    pub(super) fn due(&self, upload: &Upload) -> Uptime {
        let options = self.options();
        match (upload.phase(), end(&options, upload)) {
            (Phase::New | Phase::Uploading, Some(end)) => {
                // After a start clients need a while to come back.
                let back = self.started.after(idle_timeout(&options, upload).min(COMING_BACK));
                end.max(back)
            }
            (_, Some(end)) => end,
            (_, None) => self.uptime().after(options.failed_retention),
        }
    }

    /// When to look at an upload that was changed, or found at the start.
    pub(super) fn look_due(&self, upload: &Upload) -> Uptime {
        let due = self.due(upload);
        let tidied = tidied(upload, self.uptime()).filter(|_| self.store.tidies());
        tidied.map_or(due, |tidied| tidied.min(due))
    }

    /// Removes what is left of an upload whose end, or next look, is at `due`.
    async fn tidy(&self, id: TicketId, due: Uptime) -> Next {
        match self.store.tidy(id).await {
            Ok(()) => Next::At(due),
            Err(error) => {
                tracing::warn!(upload = %id.short(), %error, "could not remove what is left of upload; trying again later");
                Next::Later
            }
        }
    }

    /// Whether the retention of a failed upload has ended, or would have but for what a crash cost the count of uptime.
    pub(super) fn ends_soon(&self, upload: &Upload) -> bool {
        let end = self.uptime().after(MAX_UPTIME_LOSS);
        matches!(upload.phase(), Phase::Failed { .. }) && self.due(upload) <= end
    }

    /// Has an upload looked at again in a while.
    pub(super) fn reschedule(&self, id: TicketId) {
        self.set_timer(id, || self.uptime().after(RECHECK));
    }

    /// Something is due for an upload: expiry, or the end of what is kept of it.
    pub(super) async fn on_timer(self: &Arc<Self>, id: TicketId) {
        // It keeps a timer whatever happens, also if it cannot be read now.
        self.reschedule(id);
        match self.look(id).await {
            Next::At(due) => self.timers.set(id, due),
            Next::Gone => self.timers.clear(id),
            Next::Later => {}
        }
    }

    /// Does what is due for an upload; says when to look again.
    pub(super) async fn look(self: &Arc<Self>, id: TicketId) -> Next {
        let handle = match self.find(id).await {
            Ok(handle) => handle,
            Err(LookupError::Unknown) => return Next::Gone,
            Err(LookupError::Busy) => return Next::Later,
            Err(LookupError::Fault(fault)) => {
                tracing::warn!(upload = %id.short(), error = %fault, "could not read upload");
                return Next::Later;
            }
        };
        let upload = handle.upload();
        let due = self.due(&upload);
        let now = self.uptime();
        match upload.phase() {
            Phase::New | Phase::Uploading if upload.awaits_publish() => {
                if let Err(error) = self.submit(&handle, Op::Publish).done().await {
                    tracing::warn!(upload = %id.short(), %error, "could not publish complete file; trying again later");
                }
            }
            // Also where that has failed before: it is tried again at each look, but not over a fault.
            Phase::New | Phase::Uploading if upload.awaits_join() => {
                if handle.lock().fault.is_none() {
                    self.resume_join(id, upload.role());
                }
            }
            Phase::New | Phase::Uploading if due > now => return Next::At(due),
            Phase::New | Phase::Uploading => {
                if let Err(error) = self.submit(&handle, Op::Expire).done().await {
                    tracing::warn!(upload = %id.short(), %error, "could not cancel idle upload");
                }
            }
            Phase::HandingOver(_) => return self.tidy(id, due).await,
            Phase::Finished { .. } | Phase::Cancelled { .. } | Phase::Failed { .. }
                if due > now =>
            {
                return self.tidy(id, due).await;
            }
            Phase::Cancelled { calls: Some(_), .. } => {}
            Phase::Finished { .. }
            | Phase::Cancelled { calls: None, .. }
            | Phase::Failed { .. } => {
                if let Err(error) = self.submit(&handle, Op::Forget).done().await {
                    tracing::warn!(upload = %id.short(), %error, "could not delete upload");
                }
            }
        }
        Next::Later
    }

    /// What ends an upload that has lain idle for too long; `None` while somebody is sending, or
    /// something arrived since it was looked at.
    pub(super) fn expiry(&self, handle: &UploadHandle, upload: &Upload) -> Option<Command> {
        let open = matches!(upload.phase(), Phase::New | Phase::Uploading);
        let owed = upload.awaits_publish() || upload.awaits_join();
        if !open || owed || self.due(upload) > self.uptime() {
            return None;
        }
        let idle = {
            let state = handle.lock();
            state.claims.count() == 0 && state.joining.is_none()
        };
        let reason = "upload timed out".to_owned();
        idle.then_some(Command::Cancel { reason, notice: Notice::Due })
    }

    /// The end of retention, or before it where what is kept is unwanted: what is left of an upload goes, its journal last. Called by its commit queue,
    /// so that nothing changes meanwhile.
    pub(super) async fn forget_if_due(&self, handle: &UploadHandle, upload: &Upload) {
        let failed = matches!(upload.phase(), Phase::Failed { .. });
        let over = failed
            || matches!(
                upload.phase(),
                Phase::Finished { .. } | Phase::Cancelled { calls: None, .. }
            );
        if !over || (self.due(upload) > self.uptime() && !handle.lock().unwanted) {
            return;
        }
        let id = handle.id;
        self.clean_up(id, upload).await;
        if failed && let Err(error) = self.store.withdraw(id).await {
            return tracing::error!(upload = %id.short(), %error, "could not delete the file of a failed handover");
        }
        let version = {
            let mut state = handle.lock();
            state.forgotten = true;
            state.version
        };
        self.stats.uploads.of(upload.phase().state()).add(-1);
        self.stats.uploads_open.add(-i64::from(upload.occupies()));
        // Where another server has gone on with it meanwhile, its log stays, and whoever asks loads it anew.
        self.remove_journal(id, Some(version)).await;
        // After its journal: a load that finds it no longer in memory finds none.
        self.registry.remove(id);
        self.timers.clear(id);
    }

    pub(super) async fn remove_journal(&self, id: TicketId, expected: Option<Version>) {
        if let Err(error) = self.journal.remove(id, expected).await {
            tracing::error!(upload = %id.short(), %error, "could not delete journal");
        }
    }
}

/// No idle upload is cancelled for so long after a start: its client may have found no server for longer than it had left.
const COMING_BACK: Duration = Duration::from_secs(15 * 60);
/// More than a crash costs the count of uptime, which is kept at each `EVICTION_PERIOD`.
const MAX_UPTIME_LOSS: Duration = Duration::from_secs(60);
/// How often idle uploads leave memory.
const EVICTION_PERIOD: Duration = Duration::from_secs(20);
/// What is left of an upload is removed so long after it was published, or is over: requests that were given up may have been
/// late.
const TIDIED_AFTER: Duration = Duration::from_secs(5);
/// Nobody need look again for what is left after so long.
const RECENT: Duration = Duration::from_secs(600);
/// When to look again at an upload that is due but busy.
pub(super) const RECHECK: Duration = Duration::from_secs(60);
