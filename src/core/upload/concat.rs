//! Files that arrive as several uploads: partial ones, and a final one that is made of them.
//!
//! A partial upload is never published or handed over. It keeps its bytes until a final upload with them is published, or
//! until it expires. Source: tus 1.0, concatenation.

use super::{Phase, Upload};
use crate::core::event::{Durability, Event};
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::Limits;
use crate::core::refusal::{Refusal, Terminal};
use crate::core::time::Stamp;
use std::sync::Arc;

/// What an upload is to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A file by itself.
    Whole,
    /// A part of a file.
    Partial {
        /// The final upload that its bytes are for, unless that is cancelled or unknown; for good once this is finished.
        into: Option<TicketId>,
    },
    /// Made of partial uploads.
    Final {
        /// In the order of their bytes.
        parts: Arc<[TicketId]>,
    },
}

impl Upload {
    /// What the upload is to others.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// Whether it is a part of a file.
    pub fn is_partial(&self) -> bool {
        matches!(self.role, Role::Partial { .. })
    }

    /// Whether it is a final upload whose parts are still to be joined.
    pub fn awaits_join(&self) -> bool {
        matches!(self.role, Role::Final { .. })
            && matches!(self.phase, Phase::New | Phase::Uploading)
            && !self.is_complete()
    }

    /// The partial uploads whose bytes are in its published file: theirs are not needed any more.
    pub fn joined_parts(&self) -> Option<&Arc<[TicketId]>> {
        match (&self.role, &self.phase) {
            (
                Role::Final { parts },
                Phase::HandingOver(_) | Phase::Finished { .. } | Phase::Failed { .. },
            ) => Some(parts),
            (Role::Whole | Role::Partial { .. } | Role::Final { .. }, _) => None,
        }
    }

    /// The final upload that a partial one is kept for or was joined into.
    pub fn taken_by(&self) -> Option<TicketId> {
        match self.role {
            Role::Partial { into } => into,
            Role::Whole | Role::Final { .. } => None,
        }
    }

    /// The bytes that it brings into a final upload, if it is not kept for another one.
    ///
    /// Errors: it cannot become a part of one.
    pub fn check_part(&self) -> Result<u64, Refusal> {
        if !self.is_partial() {
            return Err(Refusal::NotPartial);
        }
        match &self.phase {
            Phase::New | Phase::Uploading => {}
            Phase::HandingOver(_) | Phase::Finished { .. } => return Err(Refusal::PartTaken),
            Phase::Cancelled { .. } => return Err(Refusal::UploadOver(Terminal::Cancelled)),
            Phase::Failed { .. } => return Err(Refusal::UploadOver(Terminal::Failed)),
        }
        // An empty one is complete also where its client never came: there is no byte to send.
        let complete = self.length.filter(|length| self.holds_all(*length, &self.received));
        complete.ok_or_else(|| Refusal::PartUnfinished {
            offset: self.received.contiguous_from_zero(),
            length: self.length,
        })
    }

    /// Errors: it is neither the final upload of these parts nor one that can still become it.
    pub fn check_final(&self, parts: &[TicketId]) -> Result<(), Refusal> {
        let over = matches!(self.phase, Phase::Cancelled { .. } | Phase::Failed { .. });
        match &self.role {
            Role::Final { parts: known } if **known == *parts && !over => Ok(()),
            Role::Whole | Role::Partial { .. } | Role::Final { .. } => self.check_unused(),
        }
    }

    /// Errors: a final upload takes no bytes from clients.
    pub(in crate::core) fn check_takes_bytes(&self) -> Result<(), Refusal> {
        match (&self.role, &self.phase) {
            (Role::Whole | Role::Partial { .. }, _)
            | (_, Phase::Cancelled { .. } | Phase::Failed { .. }) => Ok(()),
            (
                Role::Final { .. },
                Phase::New | Phase::Uploading | Phase::HandingOver(_) | Phase::Finished { .. },
            ) => Err(Refusal::MadeOfParts),
        }
    }

    pub(super) fn make_partial(&self, now: Stamp) -> Result<Vec<Event>, Refusal> {
        if self.is_partial() && self.is_open() {
            return Ok(Vec::new());
        }
        self.check_unused()?;
        Ok(vec![Event::Partial { at: now }])
    }

    pub(super) fn make_final(
        &self,
        parts: &Arc<[TicketId]>,
        length: u64,
        now: Stamp,
        limits: &Limits,
    ) -> Result<Vec<Event>, Refusal> {
        self.check_final(parts)?;
        if matches!(self.role, Role::Final { .. }) {
            return Ok(Vec::new());
        }
        self.check_length(length, limits)?;
        Ok(vec![Event::Final { at: now, parts: Arc::clone(parts), length }])
    }

    pub(super) fn take(
        &self,
        into: TicketId,
        void: Option<TicketId>,
        now: Stamp,
    ) -> Result<Vec<Event>, Refusal> {
        self.check_part()?;
        match self.taken_by() {
            Some(known) if known == into => Ok(Vec::new()),
            Some(known) if Some(known) != void => Err(Refusal::PartTaken),
            Some(_) | None => Ok(vec![Event::Taken { at: now, into }]),
        }
    }

    pub(super) fn join(&self, now: Stamp) -> Result<Vec<Event>, Refusal> {
        match (&self.role, &self.phase) {
            (Role::Whole | Role::Partial { .. }, _) => Err(Refusal::InUse),
            (_, Phase::Cancelled { .. }) => Err(Refusal::UploadOver(Terminal::Cancelled)),
            (_, Phase::Failed { .. }) => Err(Refusal::UploadOver(Terminal::Failed)),
            (_, Phase::HandingOver(_) | Phase::Finished { .. }) => Ok(Vec::new()),
            (Role::Final { .. }, Phase::New | Phase::Uploading) => {
                let all = self.length.and_then(|length| Extent::new(0, length));
                let missing = all.map(|all| self.received.missing_in(all)).unwrap_or_default();
                let stored = |extent: &Extent| Event::Stored {
                    at: now,
                    extent: *extent,
                    durability: Durability::Durable,
                };
                Ok(missing.as_slice().iter().map(stored).collect())
            }
        }
    }

    pub(super) fn release(&self, into: TicketId, now: Stamp) -> Result<Vec<Event>, Refusal> {
        let own = self.taken_by() == Some(into);
        match &self.phase {
            Phase::Finished { .. } if own => Ok(Vec::new()),
            _ if own => self.check_part().map(|_| vec![Event::Joined { at: now, into }]),
            _ => Err(Refusal::PartTaken),
        }
    }

    pub(super) fn apply_role(&mut self, event: &Event) {
        match event {
            Event::Partial { .. } => self.role = Role::Partial { into: None },
            Event::Final { parts, length, .. } => {
                self.role = Role::Final { parts: Arc::clone(parts) };
                self.length = self.length.or(Some(*length));
                self.begun();
            }
            Event::Taken { into, .. } => self.role = Role::Partial { into: Some(*into) },
            Event::Joined { at, into } => {
                self.role = Role::Partial { into: Some(*into) };
                self.phase = Phase::Finished { at: at.uptime, calls: 0 };
            }
            Event::Created(_)
            | Event::Bound { .. }
            | Event::SentBy(_)
            | Event::Stored { .. }
            | Event::Published { .. }
            | Event::Digested { .. }
            | Event::CallBegun { .. }
            | Event::CallEnded { .. }
            | Event::Finished { .. }
            | Event::Failed { .. }
            | Event::RetryAsked { .. }
            | Event::Cancelled { .. }
            | Event::NoticeEnded { .. } => {}
        }
    }

    /// Errors: it is over, or in use for something that it would no longer be.
    fn check_unused(&self) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Cancelled { .. } => Err(Refusal::UploadOver(Terminal::Cancelled)),
            Phase::Failed { .. } => Err(Refusal::UploadOver(Terminal::Failed)),
            Phase::New | Phase::Uploading
                if self.role == Role::Whole
                    && self.received.is_empty()
                    && !self.awaits_publish() =>
            {
                Ok(())
            }
            Phase::New | Phase::Uploading | Phase::HandingOver(_) | Phase::Finished { .. } => {
                Err(Refusal::InUse)
            }
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Uploading)
    }
}
