//! Syncing in the background what has only been written (`ack = written`), and delaying clients that are too far ahead of
//! the disk. So a power cut costs little, the sync at completion is short, and a clean stop leaves nothing unsynced.
//!
//! How far an upload is ahead is counted by its log (`storage/local/ahead.rs`).

use super::Engine;
use super::error::{Fault, TransferError};
use super::handle::{Op, PendingCommit, UploadHandle};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

impl Engine {
    /// Waits, where the bytes of an upload are too far ahead of the disk, until they are not. A disk that hangs delays a
    /// chunk for [`MAX_WAIT`] at most: its bytes are with the kernel, as `written` promises, and the next chunk waits again.
    ///
    /// Errors: the disk failed meanwhile, or the claim was fenced off.
    pub(super) async fn keep_pace(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        fence: Option<&CancellationToken>,
    ) -> Result<(), TransferError> {
        self.flush_if_due(handle);
        if !handle.log.flush_is_late() {
            return Ok(());
        }
        let near = async {
            loop {
                let mut released = pin!(handle.released.notified());
                released.as_mut().enable();
                if let Some(fault) = &handle.lock().fault {
                    return Err(TransferError::Fault(fault.clone()));
                }
                if !handle.log.flush_is_late() {
                    return Ok(());
                }
                self.flush_if_due(handle);
                released.await;
            }
        };
        tokio::select! {
            biased;
            () = cancelled(fence) => Err(self.fenced(handle)),
            near = timeout(MAX_WAIT, near) => near.unwrap_or(Ok(())),
        }
    }

    /// Syncs the bytes of an upload in the background for as long as that is worth it. One task for each upload, and a sync for
    /// few uploads at once: the disk's threads are for other work too.
    pub(super) fn flush_if_due(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        if !handle.log.flush_is_due() || handle.flushing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (engine, handle) = (Arc::clone(self), Arc::clone(handle));
        let flushing = async move {
            let mut synced = true;
            while synced && handle.log.flush_is_due() {
                let _permit = engine.flushing.acquire().await;
                synced = engine.sync_written(&handle).await;
            }
            handle.flushing.store(false, Ordering::Release);
            if synced {
                // A call between the end of the loop and the store found it set, and began no task.
                engine.flush_if_due(&handle);
            }
        };
        drop(tokio::spawn(self.tracker.track_future(flushing)));
    }

    /// Makes every byte of every upload durable that has only been written so far. For the end:
    /// nothing is written any more. Dropping the future may leave some unsynced.
    pub async fn sync_all_written(self: &Arc<Self>) {
        for handle in self.registry.all() {
            if handle.log.has_unflushed() {
                self.sync_written(&handle).await;
            }
        }
    }

    /// Makes the bytes of one upload durable, and its log say so. Answers whether it did. What fails has been logged.
    pub(super) async fn sync_written(self: &Arc<Self>, handle: &Arc<UploadHandle>) -> bool {
        match self.detached(self.flush(handle)).await {
            Some(Some(noted)) => noted.done().await.is_ok(),
            Some(None) | None => false,
        }
    }

    /// Makes the bytes of one upload durable, and has its log note that. `None` where there was nothing to do or the disk
    /// failed.
    fn flush(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
    ) -> impl Future<Output = Option<PendingCommit>> + Send + use<> {
        let (engine, handle) = (Arc::clone(self), Arc::clone(handle));
        async move {
            if handle.lock().fault.is_some() {
                return None;
            }
            let flushed = handle.log.flush(&*handle.part).await;
            if let Err(error) = &flushed {
                engine.latch(&handle, Fault::new("sync of the part", error));
            }
            handle.released.notify_waiters();
            flushed.ok()?;
            handle.log.wants_upkeep().then(|| engine.submit(&handle, Op::Upkeep))
        }
    }
}

/// Waits until the fence is cancelled; without one for ever.
pub(super) async fn cancelled(fence: Option<&CancellationToken>) {
    match fence {
        Some(fence) => fence.cancelled().await,
        None => std::future::pending().await,
    }
}

/// A chunk waits for so long until its bytes are not too far ahead of the disk: proxies and clients give up after 30 to 60 s.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Uploads that are synced behind their acknowledgements at the same time.
pub(super) const MAX_UPLOADS: usize = 8;
