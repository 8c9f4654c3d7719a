//! What an upload leaves behind: cancelled when no byte comes, removed when its end is recorded, forgotten at the end of its
//! retention.

use super::at_once::at_once;
use super::{Backing, ObjectChangeError, ObjectEngine};
use crate::core::id::TicketId;
use crate::core::object_command::ObjectCommand;
use crate::storage::event_log::Appended;
use crate::storage::objects::{ObjectAnswer, ObjectRequest};
use std::time::Duration;

impl<B: Backing> ObjectEngine<B> {
    /// Cancels the upload if no byte has come for `idle`. A byte that comes at the same moment comes before, or after it.
    pub async fn expire(&self, id: TicketId, idle: Duration) -> Result<(), ObjectChangeError> {
        self.change(id, ObjectCommand::Expire { idle }).await.map(|_| ())
    }

    /// Removes everything of an upload that is over or published but the object that has to stay. Never before that is
    /// recorded; may be repeated at any time. Whatever the log says: a server may have died behind any request and before its
    /// record, and one that was given up may act later. So both lists are asked for each time.
    pub async fn clean(&self, id: TicketId) -> Result<(), ObjectChangeError> {
        let view = self.view(id).await?;
        if view.upload.takes_bytes() {
            return Ok(());
        }
        if let ObjectAnswer::Multiparts(all) =
            self.ask_again(ObjectRequest::ListMultiparts(id)).await?
        {
            for multipart in all {
                self.ask_again(ObjectRequest::Abort(multipart)).await?;
            }
        }
        if let ObjectAnswer::Objects(all) = self.ask_again(ObjectRequest::List(id)).await? {
            let kept = view.upload.kept_object();
            let old = all.into_iter().filter(|key| Some(key.name) != kept);
            let delete = |key| self.ask_again(ObjectRequest::Delete(key));
            for deleted in at_once(DELETES, old.map(delete)).await {
                deleted?;
            }
        }
        Ok(())
    }

    /// Removes an upload that has been over for `kept`: that is recorded, then what lies in the bucket goes, then the log.
    /// Answers whether it is gone.
    pub async fn forget(&self, id: TicketId, kept: Duration) -> Result<bool, ObjectChangeError> {
        let released = self.change(id, ObjectCommand::Release { kept }).await?;
        if !released.view.upload.pieces().is_released() {
            return Ok(false);
        }
        self.clean(id).await?;
        let removed = self.backing.remove(id, released.view.seen).await;
        Ok(matches!(removed, Ok(Appended::At(_))))
    }
}

/// Objects of one upload that are removed at a time.
const DELETES: usize = 8;
