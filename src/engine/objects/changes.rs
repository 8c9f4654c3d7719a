//! Reading on in the log, and changing an upload by an append directly behind what was seen.

use super::{Backing, Changed, ObjectChangeError, ObjectEngine, View};
use crate::core::event::{Event, Ticket};
use crate::core::id::TicketId;
use crate::core::object_command::ObjectCommand;
use crate::core::object_upload::ObjectUpload;
use crate::core::piece_event::ObjectEvent;
use crate::core::upload::Upload;
use crate::storage::event_log::{Append, Appended, LogRead, Seen, Tag};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl<B: Backing> ObjectEngine<B> {
    /// The upload as it is in the log now.
    ///
    /// # Errors
    /// There is none, or the log gives no answer.
    pub async fn view(&self, id: TicketId) -> Result<View, ObjectChangeError> {
        loop {
            let known = self.remembered(id);
            match self.read(id, known.as_ref().map(|view| view.seen)).await? {
                LogRead::Unknown => {
                    self.views().remove(&id);
                    return Err(ObjectChangeError::Unknown);
                }
                LogRead::OtherHistory => self.forget_history(id, known.as_ref()),
                LogRead::More(appends) => {
                    let fresh = known.is_none();
                    let mut view = advanced(known, &appends).ok_or(ObjectChangeError::Unknown)?;
                    if fresh {
                        view.history = self.histories.fetch_add(1, Ordering::Relaxed) + 1;
                        self.remember(id, &view);
                        // Of several that read at once the first names it.
                        let same = self.remembered(id).filter(|it| it.seen == view.seen);
                        view.history = same.map_or(view.history, |it| it.history);
                    } else {
                        self.remember(id, &view);
                    }
                    return Ok(view);
                }
            }
        }
    }

    /// Begins the upload of a fresh ticket. It is there whole or not at all.
    ///
    /// # Errors
    /// [`ObjectChangeError::Unsure`] where it may be there, or may be later.
    pub async fn create(&self, ticket: Ticket) -> Result<View, ObjectChangeError> {
        let id = ticket.id;
        let marks =
            self.marking.as_ref().and_then(|marking| marking(None, &Upload::new(ticket.clone())));
        let created = ObjectEvent::Upload(Event::Created(Box::new(ticket)));
        let append =
            Append { tag: Tag(self.backing.random()), events: Arc::from([created]), marks };
        for _ in 0..self.tuning.tries {
            match self.backing.create(id, append.clone()).await {
                // By an earlier request of this very append, since no other server draws this id.
                Ok(Appended::At(_) | Appended::Behind) => return self.view(id).await,
                Err(_) => self.pause().await,
            }
        }
        Err(ObjectChangeError::Unsure)
    }

    /// Decides `command`, and appends what follows. Where another append came first, it is decided anew.
    ///
    /// Cancel: it may have been made. Errors: [`ObjectChangeError::Unsure`] where it may have been made, or may be later.
    pub async fn change(
        &self,
        id: TicketId,
        command: ObjectCommand,
    ) -> Result<Changed, ObjectChangeError> {
        let (mut view, mut fresh) = match self.remembered(id) {
            Some(view) => (view, false),
            None => (self.view(id).await?, true),
        };
        loop {
            let (now, limits) = (self.backing.now(), self.backing.limits());
            let events = match view.upload.decide(&command, now, &limits) {
                Ok(events) if !events.is_empty() => Arc::from(events),
                // What is said without an append has to be so in the log, not in memory alone.
                Ok(_) | Err(_) if !fresh => {
                    (view, fresh) = (self.view(id).await?, true);
                    continue;
                }
                Ok(events) => return Ok(Changed { view, events: Arc::from(events) }),
                Err(refusal) => return Err(ObjectChangeError::Refused(refusal)),
            };
            match self.append(id, &view, Arc::clone(&events)).await? {
                Some(view) => {
                    self.remember(id, &view);
                    return Ok(Changed { view, events });
                }
                None => (view, fresh) = (self.view(id).await?, true),
            }
        }
    }

    /// Appends behind `view`; `None` where something else stands there.
    pub(super) async fn append(
        &self,
        id: TicketId,
        view: &View,
        events: Arc<[ObjectEvent]>,
    ) -> Result<Option<View>, ObjectChangeError> {
        let marks = self.marking.as_ref().and_then(|marking| {
            let mut after = ObjectUpload::clone(&view.upload);
            events.iter().for_each(|event| after.apply(event));
            marking(Some(view.upload.upload()), after.upload())
        });
        let append = Append { tag: Tag(self.backing.random()), events, marks };
        let mut unsure = false;
        for _ in 0..self.tuning.tries {
            match self.backing.append(id, view.seen, append.clone()).await {
                Ok(Appended::At(_)) => return Ok(advanced(Some(view.clone()), &[append])),
                // Perhaps by an earlier request of this very append, which had no answer. That nothing stands there yet
                // proves nothing: such a request may still arrive. So the same is sent until something stands there.
                Ok(Appended::Behind) if unsure => {
                    return match self.read(id, Some(view.seen)).await? {
                        LogRead::More(behind)
                            if behind.first().is_some_and(|first| first.tag == append.tag) =>
                        {
                            Ok(advanced(Some(view.clone()), &behind))
                        }
                        LogRead::More(_) | LogRead::OtherHistory | LogRead::Unknown => Ok(None),
                    };
                }
                Ok(Appended::Behind) => return Ok(None),
                Err(_) => {
                    unsure = true;
                    self.pause().await;
                }
            }
        }
        Err(ObjectChangeError::Unsure)
    }

    pub(super) async fn read(
        &self,
        id: TicketId,
        seen: Option<Seen>,
    ) -> Result<LogRead, ObjectChangeError> {
        for _ in 0..self.tuning.tries {
            if let Ok(read) = self.backing.read(id, seen).await {
                return Ok(read);
            }
            self.pause().await;
        }
        Err(ObjectChangeError::Unsure)
    }

    /// Of what several tasks have read the newest stays.
    pub(super) fn remember(&self, id: TicketId, view: &View) {
        let mut views = self.views();
        if views.get(&id).is_none_or(|known| known.seen.seq < view.seen.seq) {
            views.insert(id, view.clone());
        }
    }

    /// The log was set back: what is in memory never was.
    fn forget_history(&self, id: TicketId, known: Option<&View>) {
        let mut views = self.views();
        if views.get(&id).map(|view| view.seen) == known.map(|view| view.seen) {
            views.remove(&id);
        }
    }
}

/// The upload after these appends too; `None` where there is no first one.
fn advanced(known: Option<View>, appends: &[Append]) -> Option<View> {
    let mut appends = appends.iter();
    let mut view = match known {
        Some(view) => view,
        None => {
            let first = appends.next()?;
            let (created, rest) = first.events.split_first()?;
            let ObjectEvent::Upload(Event::Created(ticket)) = created else {
                return None;
            };
            let mut upload = ObjectUpload::new((**ticket).clone());
            rest.iter().for_each(|event| upload.apply(event));
            let seen = Seen { seq: 1, tag: first.tag };
            View { seen, plain_seq: 1, history: 0, upload: Arc::new(upload) }
        }
    };
    for append in appends {
        let upload = Arc::make_mut(&mut view.upload);
        append.events.iter().for_each(|event| upload.apply(event));
        view.seen = Seen { seq: view.seen.seq + 1, tag: append.tag };
        if append.events.iter().any(ObjectEvent::is_plain) {
            view.plain_seq = view.seen.seq;
        }
    }
    Some(view)
}
