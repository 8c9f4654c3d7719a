//! What is done without a request: multipart uploads that grow old are made objects before the store removes them, and
//! what belongs to no upload is removed from the bucket.
//!
//! It goes on until the storage is dropped. Each step holds by itself, and may be cut at any point.

use super::journal::all;
use super::{Place, Shared, lock};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::engine::objects::Backing;
use crate::storage::store::StoreError;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The task of it.
#[derive(Default)]
pub(super) struct Housekeeping(Mutex<Option<JoinHandle<()>>>);

impl Housekeeping {
    /// Begins it, once.
    pub(super) fn begin<B: Backing + 'static>(&self, shared: &Arc<Shared<B>>) {
        let mut task = lock(&self.0);
        if task.is_some() {
            return;
        }
        let (shared, period) = (Arc::downgrade(shared), shared.engine.seals_within());
        *task = Some(tokio::spawn(async move {
            let mut swept: Option<Instant> = None;
            loop {
                let Some(of) = shared.upgrade() else { return };
                of.seal_aged().await;
                if swept.is_none_or(|swept| swept.elapsed() >= SWEPT_EACH)
                    && let Ok(known) = of.list().await
                {
                    (of.beside.sweep)(known).await;
                    swept = Some(Instant::now());
                }
                drop(of);
                tokio::time::sleep(period).await;
            }
        }));
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.0).take() {
            task.abort();
        }
    }
}

impl<B: Backing + 'static> Shared<B> {
    /// Uploads that may have a multipart upload.
    async fn open(&self) -> Result<Vec<TicketId>, StoreError> {
        if let Place::Shared(agenda) = &self.beside.place {
            return all(&**agenda, Some(StateName::Uploading)).await;
        }
        self.list().await?;
        Ok(self.catalog.in_any(&[StateName::New, StateName::Uploading]))
    }

    /// Seals the generations that are too old, one upload after the other.
    pub(super) async fn seal_aged(self: &Arc<Self>) {
        let Ok(ids) = self.open().await else { return };
        for id in ids {
            // What is read of it stays in memory no longer than this.
            let upload = self.in_memory(id);
            let Ok(view) = self.engine.view(id).await else { continue };
            self.note_state(id, view.upload.upload().phase().state());
            if self.engine.is_aged(&view)
                && let Err(error) = self.engine.advance(id).await
            {
                tracing::warn!(upload = %id.short(), %error, "could not seal multipart upload");
            }
            drop(upload);
        }
    }
}

/// What was left is looked for once a day.
const SWEPT_EACH: Duration = Duration::from_secs(24 * 3600);
/// Looked for at most so rarely.
pub(in crate::engine::objects) const RAREST: Duration = Duration::from_secs(3600);
