//! The exact offset for clients that append: no request is left that could still move it.

use super::Engine;
use super::deadline::within;
use super::error::ChangeError;
use super::handle::Op;
use super::status::Status;
use crate::core::command::FileFacts;
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::upload::Phase;
use std::sync::Arc;
use std::time::Duration;

impl Engine {
    /// Ends the request that writes where the next byte is missing, waits until what it brought is counted, and tells how
    /// the upload stands: a client may append at that offset. It takes an offset at the end for success, so a file that could
    /// not be published (the disk was full) is published first, and an empty one that no client has begun is begun.
    ///
    /// Errors: that request has not let go in time, or the file cannot be published, beside what a look-up has. Cancel: the
    /// request is ended, and the file published, all the same.
    pub async fn quiesced_status(self: &Arc<Self>, id: TicketId) -> Result<Status, ChangeError> {
        let handle = self.find(id).await?;
        // Described under the lock: a request that begins later comes after this answer.
        let released = handle.when_released(|state| {
            let offset = state.upload.received().contiguous_from_zero();
            if state.claims.fence_at(offset) {
                return None;
            }
            state.touched = self.uptime();
            Some(self.describe(&state.upload))
        });
        let status = within(RELEASE, released).await.map_err(|_| ChangeError::Busy)?;
        let open = matches!(status.state, StateName::New | StateName::Uploading);
        if open && status.is_complete() {
            // Nothing new is said: what is complete is published with it.
            return self.bind(id, FileFacts::default()).await;
        }
        Ok(status)
    }

    /// Removes what is kept of an upload that the backend has taken, before its time. Of any other one nothing changes.
    ///
    /// Durability: none; after a crash it may be kept to its time. Dropping the future does not undo it.
    pub async fn forget(self: &Arc<Self>, id: TicketId) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        {
            let mut state = handle.lock();
            if !matches!(state.upload.phase(), Phase::Finished { .. }) {
                return Ok(());
            }
            state.unwanted = true;
        }
        self.submit(&handle, Op::Forget).done().await
    }
}

/// How long a request has to let go of its bytes once it was told to: its last batch is written and counted.
const RELEASE: Duration = Duration::from_secs(5);
