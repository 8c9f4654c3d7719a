//! Reads received files one after another, and tells the server when it is done with each.
//!
//! The records are the queue: what has no SHA-256 yet is read, also after a restart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::app::App;
use crate::core::id::TicketId;

/// Files read at a time: a small one need not wait for a large one.
const READERS: usize = 2;
/// Before a file that could not be read, or a server that did not answer, is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// Reads files until `stop`.
///
/// Cancel: what is being read is read again after the next start.
pub(super) async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut busy = BTreeSet::new();
    let mut reading = JoinSet::new();
    loop {
        for id in app.received().unread() {
            if busy.len() == READERS {
                break;
            }
            if !busy.insert(id) {
                continue;
            }
            let (app, stop) = (Arc::clone(&app), stop.clone());
            reading.spawn(async move {
                stop.run_until_cancelled(one(&app, id, &stop)).await;
                id
            });
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = app.arrived() => {}
            Some(ended) = reading.join_next() => if let Ok(id) = ended {
                busy.remove(&id);
            },
        }
    }
}

async fn one(app: &Arc<App>, id: TicketId, stop: &CancellationToken) {
    let (reading, stopped) = (Arc::clone(app), stop.clone());
    let read = tokio::task::spawn_blocking(move || reading.received().hash(id, &stopped)).await;
    let record = match read {
        Ok(Ok(Some(record))) => record,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            tracing::error!(upload = %id.short(), %error, "could not read received file");
            return tokio::time::sleep(PAUSE).await;
        }
        Err(error) => {
            tracing::error!(upload = %id.short(), %error, "reading a received file panicked");
            return tokio::time::sleep(PAUSE).await;
        }
    };
    while let Err(error) = app.finish(id, &record.metadata).await {
        tracing::warn!(upload = %id.short(), error, "could not report a taken file to the server");
        tokio::time::sleep(PAUSE).await;
    }
}
