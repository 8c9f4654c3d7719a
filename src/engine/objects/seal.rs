//! The end of a generation: the list of its parts is recorded, then the store is asked to make it an object, then what
//! became of that is found out and recorded.

use super::generation::multipart;
use super::publish::Next;
use super::{Backing, ObjectChangeError, ObjectEngine, View};
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::object_command::ObjectCommand;
use crate::core::piece_event::{Missing, Orphan};
use crate::core::pieces::{Generation, Layout};
use crate::storage::objects::{Key, ObjectAnswer, ObjectError, ObjectRequest, OrphanRule};

impl<B: Backing> ObjectEngine<B> {
    /// Records that no part joins `current` any more, and with what it is completed.
    pub(super) async fn begin_sealing(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
    ) -> Result<Next, ObjectChangeError> {
        let orphans = match self.backing.orphan_rule() {
            OrphanRule::Dropped => Vec::new(),
            OrphanRule::Refused => {
                match self.ask_again(ObjectRequest::ListParts(multipart(id, current))).await {
                    Ok(ObjectAnswer::Parts(listed)) => orphans(current, &listed),
                    Err(ObjectError::Gone) => {
                        return self.multipart_is_gone(id, view, current).await;
                    }
                    Ok(_) => return Err(ObjectError::Unsure.into()),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        self.change(id, ObjectCommand::Seal { generation: current.number, orphans }).await?;
        Ok(Next::Again)
    }

    /// Has the generation of an upload sealed whose bytes are all there, where some of them lie in its parts: those cannot
    /// be read. Answers the upload as it is then; bytes may have been found missing.
    ///
    /// Cancel: every step holds by itself.
    pub(super) async fn make_readable(&self, id: TicketId) -> Result<View, ObjectChangeError> {
        for _ in 0..STEPS {
            let view = self.view(id).await?;
            let whole = view.upload.upload().length().and_then(|length| Extent::new(0, length));
            let is_readable = whole.is_none_or(|all| view.upload.pieces().readable(all).is_some());
            let Some(current) = view.upload.pieces().current().filter(|_| !is_readable) else {
                return Ok(view);
            };
            match current.last_layout() {
                Some(layout) => self.complete(id, &view, current, layout).await?,
                None => self.begin_sealing(id, &view, current).await?,
            };
        }
        Err(ObjectChangeError::Unsure)
    }

    /// Has the store make the recorded list an object.
    pub(super) async fn complete(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
        layout: &Layout,
    ) -> Result<Next, ObjectChangeError> {
        if layout.bytes() == 0 {
            self.ask_again(ObjectRequest::Abort(multipart(id, current))).await?;
            return self.became(id, view, current, 0).await;
        }
        let list = layout.parts.iter().map(|part| (part.number, part.etag.clone())).collect();
        let complete = ObjectRequest::Complete(multipart(id, current), list);
        let head = ObjectRequest::Head(Key { id, name: current.object });
        match self.ask_once_done(complete).await {
            Ok(_) => self.became(id, view, current, layout.bytes()).await,
            // It may have been made, or be made later. Nothing else gets its name.
            Err(ObjectError::Unsure) => match self.ask_again(head).await {
                Ok(ObjectAnswer::Size(bytes)) => self.became(id, view, current, bytes).await,
                Ok(_) | Err(_) => self.is_it_there(id, view, current).await,
            },
            Err(ObjectError::Gone) => self.multipart_is_gone(id, view, current).await,
            Err(ObjectError::InvalidPart) => self.list_does_not_fit(id, view, current).await,
            Err(error) => Err(error.into()),
        }
    }

    /// `Complete` has no clear answer, and there is no object. Ceph 16 gives none where the multipart upload is not there
    /// ("already in progress"): the list of its parts says that.
    async fn is_it_there(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
    ) -> Result<Next, ObjectChangeError> {
        let listed = self.ask_again(ObjectRequest::ListParts(multipart(id, current))).await;
        if listed == Err(ObjectError::Gone) {
            return self.multipart_is_gone(id, view, current).await;
        }
        self.pause().await;
        Ok(Next::Again)
    }

    /// The object is there, with so many bytes.
    async fn became(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
        bytes: u64,
    ) -> Result<Next, ObjectChangeError> {
        let generation = current.number;
        let command = match current.made_of(bytes) {
            // Made by a list that another server has recorded behind `view`.
            None if self.view(id).await?.seen != view.seen => return Ok(Next::Again),
            // Made by a list that no record has any more: the log was set back.
            None => ObjectCommand::Lose(Missing::Multipart { generation }),
            Some(layout) => match view.upload.upload().length() {
                Some(length) if view.upload.awaits_publish() && layout.is_file(length) => {
                    ObjectCommand::Place { object: current.object, bytes, from: Vec::new() }
                }
                Some(_) | None => ObjectCommand::Sealed { generation, bytes },
            },
        };
        self.change(id, command).await?;
        Ok(Next::Again)
    }

    /// The store has other parts than the list: a request that was given up has had its effect after all.
    async fn list_does_not_fit(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
    ) -> Result<Next, ObjectChangeError> {
        let listed = match self.ask_again(ObjectRequest::ListParts(multipart(id, current))).await {
            Ok(ObjectAnswer::Parts(listed)) => listed,
            Err(ObjectError::Gone) => return self.multipart_is_gone(id, view, current).await,
            Ok(_) => return Err(ObjectError::Unsure.into()),
            Err(error) => return Err(error.into()),
        };
        for part in current.parts() {
            let found = listed.iter().find(|found| found.number == part.number);
            if found.is_some_and(|found| found.etag == part.etag) {
                continue;
            }
            // Bytes that can be read elsewhere are copied into the next generation; its number is used.
            let missing = Missing::Part { generation: current.number, cell: part.number.cell() };
            self.change(id, ObjectCommand::Lose(missing)).await?;
        }
        let fresh = self.view(id).await?;
        match fresh.upload.pieces().current().filter(|it| it.number == current.number) {
            Some(current) => self.begin_sealing(id, &fresh, current).await,
            None => Ok(Next::Again),
        }
    }

    /// The store does not know the multipart upload. It was completed by any server, or aborted by another program.
    pub(super) async fn multipart_is_gone(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
    ) -> Result<Next, ObjectChangeError> {
        // Who completed it has recorded the list before, but perhaps after `view`.
        let fresh = self.view(id).await?;
        if fresh.seen != view.seen {
            return Ok(Next::Again);
        }
        let key = Key { id, name: current.object };
        match self.ask_again(ObjectRequest::Head(key)).await {
            Ok(ObjectAnswer::Size(bytes)) => return self.became(id, view, current, bytes).await,
            Err(ObjectError::Gone) => {}
            Ok(_) => return Err(ObjectError::Unsure.into()),
            Err(error) => return Err(error.into()),
        }
        self.backing.sleep(self.tuning.second_look).await;
        let parts = self.ask_again(ObjectRequest::ListParts(multipart(id, current))).await;
        let object = self.ask_again(ObjectRequest::Head(key)).await;
        if (parts, object) == (Err(ObjectError::Gone), Err(ObjectError::Gone)) {
            let missing = Missing::Multipart { generation: current.number };
            self.change(id, ObjectCommand::Lose(missing)).await?;
        }
        Ok(Next::Again)
    }
}

/// Of one upload: two, and more where the store's answers are lost.
const STEPS: u32 = 16;

/// Parts that the store has and no record names.
fn orphans(current: &Generation, listed: &[Orphan]) -> Vec<Orphan> {
    let is_recorded = |orphan: &&Orphan| current.parts().any(|part| part.number == orphan.number);
    listed.iter().filter(|orphan| !is_recorded(orphan)).cloned().collect()
}
