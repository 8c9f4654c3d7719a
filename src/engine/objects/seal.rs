//! The end of a generation: the list of its parts is recorded, then the store is asked to make it an object, then what
//! became of that is found out and recorded.

use super::generation::multipart;
use super::publish::Next;
use super::{Backing, ObjectChangeError, ObjectEngine, View};
use crate::core::extent::Extent;
use crate::core::grid::PartNumber;
use crate::core::id::TicketId;
use crate::core::object_command::ObjectCommand;
use crate::core::piece_event::{Etag, Missing, Orphan, Purpose};
use crate::core::pieces::{Generation, Layout};
use crate::storage::objects::{
    Description, Key, ObjectAnswer, ObjectError, ObjectRequest, OrphanRule,
};
use bytes::Bytes;
use std::sync::atomic::Ordering;

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
        let describe = ObjectRequest::Describe(Key { id, name: current.object });
        match self.ask_once_done(complete).await {
            Ok(ObjectAnswer::Completed(etag)) if self.is_called(layout, etag.as_ref()) => {
                self.became(id, view, current, layout.bytes()).await
            }
            // Made of a list that was completed before, or without a name; or it may have been made, or be made later.
            // Nothing else gets its key.
            Ok(_) | Err(ObjectError::Unsure) => match self.ask_again(describe).await {
                Ok(ObjectAnswer::Described(found)) => self.found(id, view, current, &found).await,
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

    /// The object is there; a log that was set back may have another list of as many bytes than the one it was made of.
    async fn found(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
        found: &Description,
    ) -> Result<Next, ObjectChangeError> {
        let named = Etag(found.etag.clone());
        let made_of = current.made_of(found.bytes);
        if let Some(layout) = made_of.filter(|layout| !self.is_called(layout, Some(&named)))
            && !found.etag.is_empty()
            && self.names_parts(id).await?
        {
            tracing::debug!(upload = %id.short(), etag = found.etag, ?layout, "object of another list");
            return self.made_of_no_record(id, view, current).await;
        }
        self.became(id, view, current, found.bytes).await
    }

    /// Whether this is what S3 calls an object that was made of this list, or that cannot be told.
    fn is_called(&self, layout: &Layout, etag: Option<&Etag>) -> bool {
        let parts: Vec<&Etag> = layout.parts.iter().map(|part| &part.etag).collect();
        let expected = self.backing.etag_of(&parts);
        expected.is_none_or(|expected| etag == Some(&expected))
            || self.odd_etags.load(Ordering::Relaxed)
    }

    /// Whether the store calls objects by their parts, now: it is tried, with an object that is removed again. A name that
    /// is another one is no proof where a key of a KMS makes all of them others.
    async fn names_parts(&self, id: TicketId) -> Result<bool, ObjectChangeError> {
        let key = Key { id, name: self.backing.name(Purpose::File) };
        let number = PartNumber::new(1).expect("1 is a number");
        let ObjectAnswer::Begun(trial) = self.ask_again(ObjectRequest::Begin(key)).await? else {
            return Err(ObjectError::Unsure.into());
        };
        let part = ObjectRequest::Part(trial.clone(), number, Bytes::from_static(b"trial").into());
        let ObjectAnswer::Part(part) = self.ask_once_done(part).await? else {
            return Err(ObjectError::Unsure.into());
        };
        let expected = self.backing.etag_of(&[&part]);
        self.ask_once_done(ObjectRequest::Complete(trial, vec![(number, part)])).await?;
        let described = self.ask_again(ObjectRequest::Describe(key)).await?;
        self.delete(key).await;
        let ObjectAnswer::Described(described) = described else {
            return Err(ObjectError::Unsure.into());
        };
        let tells = expected == Some(Etag(described.etag));
        self.odd_etags.store(!tells, Ordering::Relaxed);
        Ok(tells)
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
            None => return self.made_of_no_record(id, view, current).await,
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

    /// The object is there, made of a list that another server has recorded behind `view`, or that no record has any more:
    /// then the log was set back.
    async fn made_of_no_record(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
    ) -> Result<Next, ObjectChangeError> {
        if self.view(id).await?.seen == view.seen {
            let missing = Missing::Multipart { generation: current.number };
            self.change(id, ObjectCommand::Lose(missing)).await?;
        }
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
        match self.ask_again(ObjectRequest::Describe(key)).await {
            Ok(ObjectAnswer::Described(found)) => {
                return self.found(id, view, current, &found).await;
            }
            Err(ObjectError::Gone) => {}
            Ok(_) => return Err(ObjectError::Unsure.into()),
            Err(error) => return Err(error.into()),
        }
        self.backing.sleep(self.tuning.second_look).await;
        let parts = self.ask_again(ObjectRequest::ListParts(multipart(id, current))).await;
        let object = self.ask_again(ObjectRequest::Describe(key)).await;
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
