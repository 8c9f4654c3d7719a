//! With `ack = written`: making durable, behind the acknowledgements, what has only been written.
//! So a power cut costs little, the sync at completion is short, and a clean stop leaves nothing
//! unsure.

use super::Engine;
use super::error::Fault;
use super::handle::UploadHandle;
use super::queue::{Op, PendingCommit};
use crate::storage::store::StoreError;
use std::sync::Arc;
use std::time::Duration;

impl Engine {
    /// Syncs in the background if enough has been written since the last time, and long ago.
    pub(super) fn sync_point(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        let is_due = {
            let state = handle.lock();
            // Under `ack = durable` every acknowledged byte is synced, and this stays 0. The clock is read last.
            state.unsynced_bytes >= self.options().tuning.sync_point_bytes
                && self.uptime().since(state.synced_at) >= SYNC_POINT_PAUSE
        };
        if is_due {
            let (engine, handle, token) =
                (Arc::clone(self), Arc::clone(handle), self.tracker.token());
            self.store.run(Box::pin(async move {
                let _token = token;
                drop(engine.sync_now(&handle).await);
            }));
        }
    }

    /// Makes every byte of every upload durable that has only been written so far. For the end:
    /// nothing is written any more. Dropping the future may leave some unsynced.
    pub async fn sync_all_written(self: &Arc<Self>) {
        for handle in self.registry.all() {
            if handle.lock().unsynced_bytes > 0 {
                self.sync_written(&handle).await;
            }
        }
    }

    /// Makes the bytes of one upload durable, and its journal say so. What fails has been logged.
    pub(super) async fn sync_written(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        let (engine, handle) = (Arc::clone(self), Arc::clone(handle));
        let noted = self.detached(async move { engine.sync_now(&handle).await }).await;
        if let Some(Some(noted)) = noted {
            let _ = noted.done().await;
        }
    }

    /// Syncs the part and has the journal note it. `None` where there was nothing to do or the disk failed.
    async fn sync_now(self: &Arc<Self>, handle: &Arc<UploadHandle>) -> Option<PendingCommit> {
        let unsynced_bytes = {
            let mut state = handle.lock();
            if state.unsynced_bytes == 0 || state.fault.is_some() {
                return None;
            }
            state.synced_at = self.uptime();
            std::mem::take(&mut state.unsynced_bytes)
        };
        let (before, syncing) = {
            let file = handle.log.lock().expect("no holder of this lock panics");
            (file.end(), handle.begin_sync())
        };
        // A publish waits until the outcome is known, and then sees the fault. Where one has begun, it syncs the part
        // itself.
        match handle.part.flush().await {
            Ok(true) => Some(self.submit(handle, Op::NoteSync { before, _syncing: syncing })),
            Ok(false) => None,
            Err(StoreError::Exhausted) => {
                // Another time: nothing has failed.
                handle.lock().unsynced_bytes += unsynced_bytes;
                None
            }
            Err(error) => {
                self.latch(handle, Fault::new("sync of the part", &error));
                None
            }
        }
    }
}

/// Time between two sync points of one upload, at least. A power cut costs a fast client what it sent in that time. The
/// kernel begins to write back by itself after five seconds, so that most of it is done by then;
/// measured, a sync of bytes that are all still dirty costs as much CPU as a tenth of receiving them.
const SYNC_POINT_PAUSE: Duration = Duration::from_secs(30);
