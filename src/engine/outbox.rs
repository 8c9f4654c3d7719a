//! The calls owed to backends: which upload, and when. The only thing the handover floor sees.

use super::Engine;
use super::timers::{Due, Timers};
use crate::core::id::TicketId;
use crate::core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// Uploads that owe their backend a call.
#[derive(Debug, Default)]
pub struct Outbox(pub(super) Timers);

impl Outbox {
    /// Uploads that wait for a call, and when the earliest is due.
    pub fn summary(&self) -> (usize, Option<Timestamp>) {
        self.0.summary()
    }
}

impl Engine {
    /// Waits for the next upload that is due to call its backend; it has left the queue then and
    /// comes back by [`Engine::end_call`]. Dropping the future loses nothing.
    pub async fn next_owed(self: &Arc<Self>) -> TicketId {
        next(&self.outbox.0, self).await
    }
}

/// Waits for the next upload due in `timers`. Wakes at least every [`LONGEST_SLEEP`], since the
/// wall clock may be set while the sleep's clock runs on.
pub(super) async fn next(timers: &Timers, engine: &Engine) -> TicketId {
    loop {
        let now = engine.clock.now();
        let pause = match timers.due(now) {
            Due::Now(id) => return id,
            Due::At(at) => at.since(now).min(LONGEST_SLEEP),
            Due::Never => LONGEST_SLEEP,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = timers.changed() => {}
        }
    }
}

const LONGEST_SLEEP: Duration = Duration::from_secs(60);
