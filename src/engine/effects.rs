//! What follows from a commit: counters, the log, bytes that are no longer needed, timers and deliveries.
//!
//! None of it is recorded: after a crash it follows again from what the journal says.

use super::Engine;
use super::context::{RequestContext, request_of};
use super::delivery::outbox::Wait;
use crate::core::id::TicketId;
use crate::core::retry::LastCall;
use crate::core::upload::{Phase, Upload};
use std::sync::Arc;

impl Engine {
    /// What follows from a change that has just been recorded.
    pub(super) async fn follow_up(
        self: &Arc<Self>,
        id: TicketId,
        before: &Upload,
        after: &Upload,
        context: Option<&RequestContext>,
    ) {
        let phase = std::mem::discriminant(after.phase());
        if phase != std::mem::discriminant(before.phase()) {
            self.count(before, after);
            log(id, before, after, context);
            self.clean_up(id, after).await;
            if let (Some(parts), Phase::HandingOver(_)) = (after.joined_parts(), after.phase()) {
                self.release_later(id, parts);
            }
            if !matches!(after.phase(), Phase::New | Phase::Uploading) {
                self.set_timer(id, || self.look_due(after));
            }
        }
        // Also where the phase stays: the backend was told of a cancel.
        self.stats.uploads_open.add(i64::from(after.occupies()) - i64::from(before.occupies()));
        // Chunks, which come often, have no delivery pending before and after.
        if before.pending_calls().is_some() || after.pending_calls().is_some() {
            match self.sharing {
                Some(_) => self.enqueue_first(id, before, after, context),
                None => self.enqueue(id, after, context),
            }
        }
    }

    /// Counts an upload that this run had not seen, and sets what is due for it. From then on it
    /// has a timer until it is forgotten. Answers whether it had not.
    pub(super) fn register(&self, id: TicketId, upload: &Upload) -> bool {
        if self.sharing.is_some() {
            // Counted and found by what stands beside its log.
            return false;
        }
        let first = self.timers.set_first(id, self.look_due(upload));
        self.scan.scanned(id);
        if !first {
            return false;
        }
        self.stats.uploads.of(upload.phase().state()).add(1);
        if upload.occupies() {
            self.stats.uploads_open.add(1);
        }
        if let Some(calls) = upload.pending_calls() {
            self.outbox.add(upload, calls, None);
        }
        match upload.pending_calls() {
            // What is pending is due at once after a start.
            Some(calls) if !matches!(calls.last, LastCall::Waiting { .. }) => {
                let now = self.uptime();
                self.outbox.set(id, Wait::Call, || now);
            }
            Some(calls) => {
                let due = || calls.due(&self.options().calls, 0.5);
                self.outbox.set(id, Wait::Confirm, due);
            }
            // Nothing to clear: a delivery that came since then is set.
            None => {}
        }
        true
    }

    fn count(&self, before: &Upload, after: &Upload) {
        self.stats.uploads.moved(before.phase().state(), after.phase().state());
        match after.phase() {
            Phase::New | Phase::Uploading => {}
            Phase::HandingOver(_) if matches!(before.phase(), Phase::Failed { .. }) => {}
            Phase::HandingOver(_) => _ = self.stats.published.inc(),
            // A part is nothing that a backend takes.
            Phase::Finished { .. } if after.is_partial() => {}
            Phase::Finished { .. } => _ = self.stats.finished.inc(),
            Phase::Cancelled { .. } => _ = self.stats.cancelled.inc(),
            Phase::Failed { .. } => _ = self.stats.failed.inc(),
        }
    }

    /// Whether a recorded end has released bytes that are still there.
    pub(super) async fn leaves_bytes(&self, id: TicketId, upload: &Upload) -> bool {
        match upload.phase() {
            Phase::Cancelled { .. } => self.store.has_part(id).await,
            Phase::Finished { .. } if upload.is_partial() => self.store.has_part(id).await,
            Phase::Finished { .. } if upload.removes_file() => {
                !matches!(self.store.published(id).await, Ok(None))
            }
            Phase::New
            | Phase::Uploading
            | Phase::HandingOver(_)
            | Phase::Finished { .. }
            | Phase::Failed { .. } => false,
        }
    }

    /// Removes the bytes that a recorded end has released.
    pub(super) async fn clean_up(&self, id: TicketId, upload: &Upload) {
        let removed = match upload.phase() {
            Phase::Cancelled { .. } => self.store.discard(id).await,
            Phase::Finished { .. } if upload.is_partial() => self.store.discard(id).await,
            Phase::Finished { .. } if upload.removes_file() => self.store.withdraw(id).await,
            Phase::New
            | Phase::Uploading
            | Phase::HandingOver(_)
            | Phase::Finished { .. }
            | Phase::Failed { .. } => {
                return;
            }
        };
        if let Err(error) = removed {
            tracing::error!(upload = %id.short(), %error, "could not delete the bytes of a closed upload");
        }
    }
}

/// The line in the log for an upload that has come to another state.
fn log(id: TicketId, before: &Upload, after: &Upload, context: Option<&RequestContext>) {
    let (upload, request, length) = (id.short(), request_of(context), after.length());
    match after.phase() {
        Phase::New | Phase::Uploading => tracing::info!(%upload, request, length, "upload started"),
        Phase::HandingOver(_) if matches!(before.phase(), Phase::Failed { .. }) => {
            tracing::info!(%upload, request, "handover restarted");
        }
        Phase::HandingOver(_) => {
            tracing::info!(%upload, request, length, "upload complete; handover started");
        }
        Phase::Finished { .. } if after.is_partial() => {
            tracing::info!(%upload, request, length, "partial upload joined");
        }
        Phase::Finished { calls, .. } => tracing::info!(%upload, request, calls, "upload finished"),
        Phase::Cancelled { reason, .. } => {
            let reason = reason.escape_debug().to_string();
            tracing::info!(%upload, request, reason, "upload cancelled");
        }
        Phase::Failed { reason, calls, .. } => {
            let reason = reason.escape_debug().to_string();
            tracing::warn!(%upload, calls, reason, "handover failed");
        }
    }
}
