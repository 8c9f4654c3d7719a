//! One upload as the sum of its events, and what may happen to it next.
//!
//! `decide` looks, `apply` changes; between the two the caller makes the events durable. Received
//! bytes only grow (but for what object storage loses) and phases only move forward (a failed handover may be tried again).

use super::command::{Command, FileFacts};
use super::dialect::Client;
use super::event::{DigestRequest, Durability, Event, Notice, Removal, Ticket};
use super::extent::{Extent, ExtentSet};
use super::limits::Limits;
use super::refusal::{Refusal, Terminal};
use super::retry::{Calls, LastCall};
use super::time::{Stamp, Uptime};
use std::sync::Arc;

mod calls;
mod concat;
mod count;
mod facts;
mod snapshot_events;

pub use concat::Role;

/// An upload: what was promised, what is stored, where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    ticket: Arc<Ticket>,
    length: Option<u64>,
    name: Option<String>,
    media_type: Option<String>,
    last_modified: Option<u64>,
    client_metadata: Option<String>,
    client: Option<Arc<Client>>,
    received: ExtentSet,
    sha256: Option<[u8; 32]>,
    phase: Phase,
    role: Role,
    last_active: Stamp,
}

/// State of an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Taking bytes; nothing bound or stored yet.
    New,
    /// Taking bytes. All of them may be stored while the file is being published.
    Uploading,
    /// Published; the backend has to take it.
    HandingOver(Calls),
    /// The backend has taken it.
    Finished {
        /// Uptime of this change; retention counts from it.
        at: Uptime,
        /// Calls that were begun.
        calls: u32,
    },
    /// Cancelled or expired.
    Cancelled {
        /// Uptime of this change; retention counts from it.
        at: Uptime,
        /// The reason, as text for people.
        reason: String,
        /// The pending calls; `None` once the backend was notified.
        calls: Option<Calls>,
    },
    /// The handover was given up; the file stays for a while.
    Failed {
        /// Uptime of this change; retention counts from it.
        at: Uptime,
        /// The reason, as text for people.
        reason: String,
        /// Calls that were begun.
        calls: u32,
    },
}

impl Upload {
    /// The upload of a fresh ticket.
    pub fn new(ticket: Ticket) -> Self {
        Self {
            length: ticket.length,
            last_active: ticket.created,
            ticket: Arc::new(ticket),
            name: None,
            media_type: None,
            last_modified: None,
            client_metadata: None,
            client: None,
            received: ExtentSet::new(),
            sha256: None,
            phase: Phase::New,
            role: Role::Whole,
        }
    }

    /// What the backend asked for.
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// The file's length in bytes, once known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The acknowledged bytes.
    pub fn received(&self) -> &ExtentSet {
        &self.received
    }

    /// State of the upload.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The whole file's digest, once computed.
    pub fn sha256(&self) -> Option<&[u8; 32]> {
        self.sha256.as_ref()
    }

    /// When a byte was last acknowledged; before the first one, when the ticket was made. What is
    /// said of the file is no byte: repeating it must not keep an upload for ever.
    pub fn last_active(&self) -> Stamp {
        self.last_active
    }

    /// Whether the browser has begun, every byte is acknowledged and the length known.
    pub fn is_complete(&self) -> bool {
        self.phase != Phase::New
            && self.length.is_some_and(|length| self.holds_all(length, &self.received))
    }

    /// All bytes are stored, but the file is not published yet. A partial upload never is.
    pub fn awaits_publish(&self) -> bool {
        matches!(self.phase, Phase::New | Phase::Uploading)
            && self.is_complete()
            && !self.is_partial()
    }

    /// Published by its record alone, as far as that says: the backend was not called yet, so a crash may have come before
    /// the rename.
    pub fn may_be_unplaced(&self) -> bool {
        self.is_complete() && matches!(&self.phase, Phase::HandingOver(calls) if calls.begun == 0)
    }

    /// Its file is not in its place after all: it waits for its publish.
    pub fn await_publish(&mut self) {
        self.phase = Phase::Uploading;
    }

    /// The digest still has to be computed before the backend is called.
    pub fn awaits_digest(&self) -> bool {
        self.ticket.digest == DigestRequest::Sha256 && self.sha256.is_none()
    }

    /// Whether it counts against `max_uploads`: it takes disk beyond its journal, or a call to its backend is pending.
    pub fn occupies(&self) -> bool {
        match &self.phase {
            Phase::New
            | Phase::Uploading
            | Phase::HandingOver(_)
            | Phase::Failed { .. }
            | Phase::Cancelled { calls: Some(_), .. } => true,
            // A file that stays is the backend's now.
            Phase::Finished { .. } | Phase::Cancelled { calls: None, .. } => false,
        }
    }

    /// Why it was cancelled or failed, or what the handover waits for.
    pub fn reason(&self) -> Option<&str> {
        match &self.phase {
            Phase::Cancelled { reason, .. } | Phase::Failed { reason, .. } => Some(reason),
            Phase::HandingOver(calls) => calls.last.reason(),
            Phase::New | Phase::Uploading | Phase::Finished { .. } => None,
        }
    }

    fn holds_all(&self, length: u64, received: &ExtentSet) -> bool {
        Extent::new(0, length).is_none_or(|all| received.contains(all))
    }

    /// What has to come true for `command` to happen, in order; nothing where it already has.
    ///
    /// Errors: the rule that refuses it. The upload itself is not changed.
    pub fn decide(
        &self,
        command: &Command,
        now: Stamp,
        limits: &Limits,
    ) -> Result<Vec<Event>, Refusal> {
        match command {
            Command::Bind(facts) => self.bind(facts, now, limits),
            Command::Store { extents, length, durability } => {
                self.store(extents, *length, *durability, now, limits)
            }
            Command::Publish if self.awaits_publish() => Ok(vec![Event::Published { at: now }]),
            Command::Digest(sha256) if self.sha256.is_none() => {
                Ok(vec![Event::Digested { sha256: *sha256 }])
            }
            Command::Publish | Command::Digest(_) => Ok(Vec::new()),
            Command::BeginCall | Command::EndCall(_) if self.pending_calls().is_none() => {
                Ok(Vec::new())
            }
            Command::BeginCall => Ok(vec![Event::CallBegun { at: now }]),
            Command::EndCall(outcome) => {
                Ok(vec![Event::CallEnded { at: now, outcome: outcome.clone() }])
            }
            Command::Cancel { reason, notice } => self.cancel(reason, *notice, now),
            Command::MakePartial => self.make_partial(now),
            Command::MakeFinal { parts, length } => self.make_final(parts, *length, now, limits),
            Command::GiveUpJoin { parts, reason, notice } => {
                self.check_final(parts)?;
                self.cancel(reason, *notice, now)
            }
            Command::Take { into, void } => self.take(*into, *void, now),
            Command::Join => self.join(now),
            Command::Release { into } => self.release(*into, now),
            Command::Delivered => self.delivered(now),
            Command::Finish => match &self.phase {
                Phase::HandingOver(_) | Phase::Finished { .. } => self.delivered(now),
                Phase::New | Phase::Uploading | Phase::Cancelled { .. } | Phase::Failed { .. } => {
                    Err(Refusal::NothingToFinish)
                }
            },
            Command::GiveUp(reason) => Ok(self.give_up(reason, now)),
            Command::Retry => match &self.phase {
                Phase::Failed { .. } => Ok(vec![Event::RetryAsked { at: now }]),
                Phase::HandingOver(Calls { last: LastCall::Begun, .. }) => Ok(Vec::new()),
                Phase::HandingOver(_) => Ok(vec![Event::RetryAsked { at: now }]),
                Phase::New
                | Phase::Uploading
                | Phase::Finished { .. }
                | Phase::Cancelled { .. } => Err(Refusal::NothingToRetry),
            },
        }
    }

    fn bind(&self, facts: &FileFacts, now: Stamp, limits: &Limits) -> Result<Vec<Event>, Refusal> {
        match &self.phase {
            Phase::Cancelled { .. } => return Err(Refusal::UploadOver(Terminal::Cancelled)),
            Phase::Failed { .. } => return Err(Refusal::UploadOver(Terminal::Failed)),
            Phase::New | Phase::Uploading | Phase::HandingOver(_) | Phase::Finished { .. } => {}
        }
        if let Some(length) = facts.length {
            self.check_length(length, limits)?;
        }
        if !matches!(self.phase, Phase::New | Phase::Uploading) {
            return Ok(Vec::new());
        }
        let news = self.news_in(facts);
        if news == FileFacts::default() && self.phase == Phase::Uploading {
            return Ok(Vec::new());
        }
        Ok(vec![Event::Bound {
            at: now,
            length: news.length,
            name: news.name,
            media_type: news.media_type,
            last_modified: news.last_modified,
            client_metadata: news.client_metadata,
        }])
    }

    fn store(
        &self,
        extents: &ExtentSet,
        length: Option<u64>,
        durability: Durability,
        now: Stamp,
        limits: &Limits,
    ) -> Result<Vec<Event>, Refusal> {
        self.check_takes_bytes()?;
        if let Some(length) = length {
            self.check_length(length, limits)?;
        }
        if let Some(length) = self.length.or(length).filter(|length| extents.end() > *length) {
            return Err(Refusal::RangeOutside { end: extents.end(), length });
        }
        match &self.phase {
            Phase::New | Phase::Uploading => {}
            Phase::HandingOver(_) | Phase::Finished { .. } => return Ok(Vec::new()),
            Phase::Cancelled { .. } => return Err(Refusal::UploadOver(Terminal::Cancelled)),
            Phase::Failed { .. } => return Err(Refusal::UploadOver(Terminal::Failed)),
        }
        let mut events = Vec::with_capacity(extents.as_slice().len() + 1);
        // An empty file has no byte that could be the first.
        let empty = self.phase == Phase::New && self.length.or(length) == Some(0);
        if empty || (self.length.is_none() && length.is_some()) {
            events.push(Event::Bound {
                at: now,
                length,
                name: None,
                media_type: None,
                last_modified: None,
                client_metadata: None,
            });
        }
        for extent in extents.as_slice() {
            for missing in self.received.missing_in(*extent).as_slice() {
                events.push(Event::Stored { at: now, extent: *missing, durability });
            }
        }
        Ok(events)
    }

    fn cancel(&self, reason: &str, notice: Notice, now: Stamp) -> Result<Vec<Event>, Refusal> {
        match &self.phase {
            Phase::New | Phase::Uploading if !self.awaits_publish() => {
                let notice = if self.is_partial() { Notice::NotDue } else { notice };
                Ok(vec![Event::Cancelled { at: now, reason: reason.into(), notice }])
            }
            Phase::New | Phase::Uploading | Phase::HandingOver(_) => Err(Refusal::TooLateToCancel),
            // The backend itself cancelled it: no notice is needed.
            Phase::Cancelled { calls: Some(_), .. } if notice == Notice::NotDue => {
                Ok(vec![Event::NoticeEnded { at: now }])
            }
            Phase::Cancelled { .. } => Ok(Vec::new()),
            Phase::Finished { .. } => Err(Refusal::UploadOver(Terminal::Finished)),
            Phase::Failed { .. } => Err(Refusal::UploadOver(Terminal::Failed)),
        }
    }

    fn delivered(&self, now: Stamp) -> Result<Vec<Event>, Refusal> {
        match &self.phase {
            Phase::HandingOver(_) => Ok(vec![Event::Finished { at: now }]),
            Phase::Finished { .. } | Phase::Cancelled { calls: None, .. } => Ok(Vec::new()),
            Phase::Cancelled { calls: Some(_), .. } => Ok(vec![Event::NoticeEnded { at: now }]),
            Phase::New | Phase::Uploading | Phase::Failed { .. } => Err(Refusal::NothingToFinish),
        }
    }

    fn give_up(&self, reason: &str, now: Stamp) -> Vec<Event> {
        match &self.phase {
            Phase::HandingOver(_) => vec![Event::Failed { at: now, reason: reason.into() }],
            Phase::Cancelled { calls: Some(_), .. } => vec![Event::NoticeEnded { at: now }],
            Phase::New
            | Phase::Uploading
            | Phase::Finished { .. }
            | Phase::Cancelled { calls: None, .. }
            | Phase::Failed { .. } => Vec::new(),
        }
    }

    /// Makes `event` so. Events come from `decide` or from the journal, in order.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Created(ticket) => *self = Self::new(Ticket::clone(ticket)),
            Event::Bound { at: _, length, name, media_type, last_modified, client_metadata } => {
                self.length = self.length.or(*length);
                self.name = name.clone().or_else(|| self.name.take());
                self.media_type = media_type.clone().or_else(|| self.media_type.take());
                self.last_modified = last_modified.or(self.last_modified);
                self.client_metadata =
                    client_metadata.clone().or_else(|| self.client_metadata.take());
                self.begun();
            }
            Event::SentBy(client) => {
                self.client.get_or_insert_with(|| Arc::clone(client));
            }
            Event::Stored { at, extent, .. } => {
                self.received.insert(*extent);
                // By the count alone: the date may have been set back meanwhile.
                if at.uptime >= self.last_active.uptime {
                    self.last_active = *at;
                }
                self.begun();
            }
            Event::Published { at } => self.phase = Phase::HandingOver(Calls::pending(at.uptime)),
            Event::Digested { sha256 } => self.sha256 = Some(*sha256),
            Event::CallBegun { .. } | Event::CallEnded { .. } => self.apply_call(event),
            Event::Partial { .. }
            | Event::Final { .. }
            | Event::Taken { .. }
            | Event::Joined { .. } => self.apply_role(event),
            Event::Finished { at } => {
                let calls = self.pending_calls().map_or(0, |calls| calls.begun);
                self.phase = Phase::Finished { at: at.uptime, calls };
            }
            Event::Failed { at, reason } => {
                let calls = self.pending_calls().map_or(0, |calls| calls.begun);
                self.phase = Phase::Failed { at: at.uptime, reason: reason.clone(), calls };
            }
            Event::RetryAsked { at } => {
                let begun = match &self.phase {
                    Phase::Failed { calls, .. } | Phase::Finished { calls, .. } => *calls,
                    Phase::HandingOver(calls) => calls.begun,
                    Phase::New | Phase::Uploading | Phase::Cancelled { .. } => 0,
                };
                self.phase = Phase::HandingOver(Calls { begun, ..Calls::pending(at.uptime) });
            }
            Event::Cancelled { at, reason, notice } => {
                let calls = match notice {
                    Notice::Due => Some(Calls::pending(at.uptime)),
                    Notice::NotDue => None,
                };
                // Its bytes go, so none is claimed any more.
                self.received = ExtentSet::new();
                self.phase = Phase::Cancelled { at: at.uptime, reason: reason.clone(), calls };
            }
            Event::NoticeEnded { .. } => {
                if let Phase::Cancelled { calls, .. } = &mut self.phase {
                    *calls = None;
                }
            }
        }
    }

    /// Bytes that were acknowledged are no longer there: they are missing again. Only object storage says so.
    pub(super) fn lose(&mut self, lost: &ExtentSet) {
        lost.as_slice().iter().for_each(|extent| self.received.remove(*extent));
    }

    fn begun(&mut self) {
        if self.phase == Phase::New {
            self.phase = Phase::Uploading;
        }
    }

    /// Whether the server removes the published file once the backend has it.
    pub fn removes_file(&self) -> bool {
        self.ticket.removal == Removal::RemoveWhenFinished
    }
}

#[cfg(test)]
#[path = "upload/tests.rs"]
mod tests;
