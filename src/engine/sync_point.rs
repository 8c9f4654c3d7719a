//! With `ack = written`: making durable, behind the acknowledgements, what has only been written.
//! So a power cut costs little, the sync at completion is short, and a clean stop leaves nothing
//! unsure.

use super::Engine;
use super::error::Fault;
use super::handle::UploadHandle;
use super::queue::{Op, PendingCommit};
use crate::storage::local::files::is_exhausted;
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
            self.blocking.spawn(move || {
                let _token = token;
                drop(engine.sync_now(&handle));
            });
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
        let noted = self.blocking.spawn(move || engine.sync_now(&handle)).await;
        if let Ok(Some(noted)) = noted {
            let _ = noted.done().await;
        }
    }

    /// Syncs the part and has the journal note it. Blocks; `None` where there was nothing to do or
    /// the disk failed.
    fn sync_now(self: &Arc<Self>, handle: &Arc<UploadHandle>) -> Option<PendingCommit> {
        let (held, unsynced_bytes) = {
            let mut state = handle.lock();
            if state.unsynced_bytes == 0 || state.fault.is_some() {
                return None;
            }
            state.synced_at = self.uptime();
            (state.blob.clone(), std::mem::take(&mut state.unsynced_bytes))
        };
        let failed = |error: &std::io::Error| {
            self.latch(handle, Fault::new("sync of the part", error));
            None
        };
        let blob = match held.map_or_else(|| self.store.open(handle.id), |blob| Ok(Some(blob))) {
            Ok(blob) => blob?,
            Err(error) if is_exhausted(&error) => {
                // Another time: nothing has failed.
                handle.lock().unsynced_bytes += unsynced_bytes;
                return None;
            }
            Err(error) => return failed(&error),
        };
        let (before, syncing) = {
            let file = handle.log.lock().expect("no holder of this lock panics");
            (file.end(), handle.begin_sync())
        };
        // Held until the outcome is known: a publish waits for it, and then sees the fault. Where
        // one has begun, it syncs the part itself.
        let sealed = handle.open()?;
        match self.stats.disk_syncs.during(|| blob.sync(), |_| true) {
            Ok(()) => {
                drop(sealed);
                Some(self.submit(handle, Op::NoteSync { before, _syncing: syncing }))
            }
            Err(error) => failed(&error),
        }
    }
}

/// Time between two sync points of one upload, at least. A power cut costs a fast client what it sent in that time. The
/// kernel begins to write back by itself after five seconds, so that most of it is done by then;
/// measured, a sync of bytes that are all still dirty costs as much CPU as a tenth of receiving them.
const SYNC_POINT_PAUSE: Duration = Duration::from_secs(30);
