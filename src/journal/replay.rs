//! From the bytes of a journal to the upload it describes, and what of it still holds.
//!
//! Ranges that were synced hold for ever. Ranges that were only written hold while machine and
//! mount are those that wrote them and no fault was recorded since; else they are forgotten: what
//! is claimed is never more than what is there.

use super::record::{MAGIC, MAGIC_DATED, Record, decode};
use crate::core::event::{Durability, Event};
use crate::core::id::TicketId;
use crate::core::run::RunIdentity;
use crate::core::time::{Stamp, Uptime};
use crate::core::upload::Upload;
use std::fmt;

/// What a journal says.
#[derive(Debug)]
pub struct Replayed {
    /// The upload as it stands.
    pub upload: Upload,
    /// Bytes of the journal that are good; what lies behind is a torn tail.
    pub valid_bytes: u64,
    /// The run that wrote last.
    pub run: Option<RunIdentity>,
    /// Whether the last run recorded a fault that no later run has come after.
    pub faulted: bool,
    /// Bytes that count but are not known to be durable.
    pub unsynced_bytes: u64,
    /// Some of it has no count, and was taken to have happened at this one: that has yet to be recorded.
    pub uncounted: Option<Uptime>,
}

/// The journal cannot be read as one of this upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// No whole first record: the ticket was never given out, unless bytes lie beside it.
    Unborn,
    /// Not a journal, or of a version this program does not know.
    WrongMagic,
    /// The journal of another upload.
    WrongId,
    /// The first record is not that of a ticket.
    NoTicket,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unborn => "the journal ends before its first record",
            Self::WrongMagic => "not a journal of this version",
            Self::WrongId => "the journal belongs to another upload",
            Self::NoTicket => "the journal does not begin with a ticket",
        })
    }
}

/// Replays the journal of `id`; `now` is the run that asks, `uptime` its count: what the journal says of times
/// is seen from there ([`Uptime::as_of`]).
///
/// Errors: see [`Unreadable`]. A torn tail is not an error.
pub fn replay(
    bytes: &[u8],
    id: TicketId,
    now: RunIdentity,
    uptime: Uptime,
) -> Result<Replayed, Unreadable> {
    // Zeros only: a power cut left the name and the length, and none of the bytes.
    if bytes.len() < MAGIC.len() || bytes.iter().all(|byte| *byte == 0) {
        return Err(Unreadable::Unborn);
    }
    let (magic, mut rest) = bytes.split_at(MAGIC.len());
    if magic != MAGIC && magic != MAGIC_DATED {
        return Err(Unreadable::WrongMagic);
    }
    let Some((first, size)) = decode(rest) else { return Err(Unreadable::Unborn) };
    let Record::Event(Event::Created(mut ticket)) = first else {
        return Err(Unreadable::NoTicket);
    };
    if ticket.id != id {
        return Err(Unreadable::WrongId);
    }
    rest = &rest[size..];
    seen_from(uptime, &mut ticket.created);
    let mut state = Replay {
        sure: Upload::new(*ticket),
        unsure: Vec::new(),
        run: None,
        faulted: false,
        uptime,
    };
    while let Some((record, size)) = decode(rest) {
        let at = (bytes.len() - rest.len()) as u64;
        rest = &rest[size..];
        state.take(record, at);
    }
    let valid = bytes.len() - rest.len();
    Ok(state.finish(now, valid as u64))
}

struct Replay {
    /// What holds whatever happens.
    sure: Upload,
    /// Events since the first range that was only written. Kept in order, since what a range
    /// leads to (a phase, a length) may follow it.
    unsure: Vec<(u64, Event)>,
    run: Option<RunIdentity>,
    faulted: bool,
    /// From where times are seen.
    uptime: Uptime,
}

impl Replay {
    fn take(&mut self, record: Record, at: u64) {
        match record {
            Record::Run(run) => {
                if self.run != Some(run) {
                    self.forget();
                }
                self.run = Some(run);
                self.faulted = false;
            }
            Record::Faulted => {
                self.forget();
                self.faulted = true;
            }
            Record::Synced { before } => self.settle(before),
            Record::Counted { from } => self.count_from(from.as_of(self.uptime)),
            Record::Event(mut event) => {
                if let Some(at) = event.at_mut() {
                    seen_from(self.uptime, at);
                }
                let proves_sync = matches!(
                    event,
                    Event::Stored { durability: Durability::Durable, .. } | Event::Published { .. }
                );
                if proves_sync {
                    self.settle(u64::MAX);
                }
                let written =
                    matches!(event, Event::Stored { durability: Durability::Written, .. });
                if written || !self.unsure.is_empty() {
                    self.unsure.push((at, event));
                } else {
                    self.sure.apply(&event);
                }
            }
        }
    }

    /// What began before this offset of the journal now holds whatever happens.
    fn settle(&mut self, before: u64) {
        let count = self.unsure.partition_point(|(at, _)| *at < before);
        for (_, event) in self.unsure.drain(..count) {
            self.sure.apply(&event);
        }
    }

    /// Whatever has no count so far happened then.
    fn count_from(&mut self, from: Uptime) {
        self.sure.count_from(from);
        let times = self.unsure.iter_mut().filter_map(|(_, event)| event.at_mut());
        times.filter(|at| at.uptime == Uptime::NONE).for_each(|at| at.uptime = from);
    }

    /// Drops the ranges that were only written and keeps every other fact.
    fn forget(&mut self) {
        self.unsure.retain(|(_, event)| !matches!(event, Event::Stored { .. }));
        self.settle(u64::MAX);
    }

    fn finish(mut self, now: RunIdentity, valid_bytes: u64) -> Replayed {
        let same_run = self.run == Some(now) && !self.faulted;
        let durable = self.sure.received().bytes();
        if same_run {
            self.settle(u64::MAX);
        } else {
            self.forget();
        }
        let uncounted = self.sure.count_from(self.uptime).then_some(self.uptime);
        Replayed {
            uncounted,
            unsynced_bytes: self.sure.received().bytes().saturating_sub(durable),
            upload: self.sure,
            valid_bytes,
            run: self.run,
            faulted: self.faulted,
        }
    }
}

fn seen_from(now: Uptime, at: &mut Stamp) {
    if at.uptime != Uptime::NONE {
        at.uptime = at.uptime.as_of(now);
    }
}

#[cfg(test)]
#[path = "replay/tests.rs"]
mod tests;
