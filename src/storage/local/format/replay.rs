//! From a journal to the upload it describes, and what of it still holds.
//!
//! Ranges that were synced hold for ever. Ranges that were only written hold while machine and
//! mount are those that wrote them and no fault was recorded since; else they are forgotten: what
//! is claimed is never more than what is there.

use super::record::{MAGIC, MAGIC_DATED, Record, Undecoded, encode};
use super::records::Records;
use super::tail::Tail;
use super::unsynced::UnsyncedRanges;
use crate::core::event::{Durability, Event};
use crate::core::id::RunIdentity;
use crate::core::id::TicketId;
use crate::core::time::{Stamp, Uptime};
use crate::core::upload::Upload;
use std::fmt;
use std::io::{self, Read};

/// What a journal says, seen from one run.
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
    /// No byte but zeros: a power cut left the name, the length at most, and none of the bytes.
    Blank,
    /// No whole first record: the ticket was never given out, unless bytes lie beside it.
    Unborn,
    /// Not a journal, or of a version this program does not know.
    WrongMagic,
    /// The journal of another upload.
    WrongId,
    /// The first record is not that of a ticket.
    NoTicket,
    /// The first record is damaged, and more lies behind it than a crash leaves: the ticket may have been given out.
    FirstDamaged,
    /// A record of another version: what it says is not known, and nothing may be written behind it.
    UnknownRecord {
        /// Where it begins, in bytes from the start of the journal.
        at: u64,
        /// Its kind.
        kind: u8,
    },
}

impl std::error::Error for Unreadable {}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank | Self::Unborn => "the journal ends before its first record",
            Self::WrongMagic => "not a journal of this version",
            Self::WrongId => "the journal belongs to another upload",
            Self::NoTicket => "the journal does not begin with a ticket",
            Self::FirstDamaged => "the first record of the journal is damaged, and more follows it",
            Self::UnknownRecord { at, kind } => {
                return write!(
                    f,
                    "the journal's record at byte {at} is of kind {kind}, which only a later version knows"
                );
            }
        })
    }
}

/// Replays the journal of `id`, all of which is in memory; `now` is the run that asks, `uptime` its count.
///
/// Errors: see [`Unreadable`]. A torn tail is not an error.
pub fn replay(
    bytes: &[u8],
    id: TicketId,
    now: RunIdentity,
    uptime: Uptime,
) -> Result<Replayed, Unreadable> {
    let read = JournalState::read(bytes, id, uptime).expect("bytes in memory can be read");
    read.map(|state| state.seen_in(now))
}

/// What a journal says, whichever run asks: the sum of its records.
#[derive(Clone, Debug)]
pub struct JournalState {
    /// What holds whatever happens, and every fact that is no range.
    durable: Upload,
    /// Ranges that were only written.
    unsynced: UnsyncedRanges,
    run: Option<RunIdentity>,
    faulted: bool,
    /// From where times are seen.
    uptime: Uptime,
    uncounted: Option<Uptime>,
    valid_bytes: u64,
}

impl JournalState {
    /// Replays a journal while it is read: memory is bounded by the upload, not by the journal. What it says of
    /// times is seen from `uptime` ([`Uptime::as_of`]).
    ///
    /// Errors: the source cannot be read; inside, see [`Unreadable`]. A torn tail is not an error.
    pub fn read(
        source: impl Read,
        id: TicketId,
        uptime: Uptime,
    ) -> io::Result<Result<Self, Unreadable>> {
        Self::read_from(&mut Records::new(source), id, uptime)
    }

    /// As [`Self::read`], and what lies behind the last good record.
    ///
    /// Errors: as of [`Self::read`]; a record of another version is one behind damage, too.
    pub fn read_whole(
        source: impl Read,
        id: TicketId,
        uptime: Uptime,
    ) -> io::Result<Result<(Self, Tail), Unreadable>> {
        let mut records = Records::new(source);
        let state = match Self::read_from(&mut records, id, uptime)? {
            Ok(state) => state,
            Err(error) => return Ok(Err(error)),
        };
        let tail = Tail::read(&mut records)?;
        Ok(match tail.unknown_record {
            None => Ok((state, tail)),
            Some((at, kind)) => Err(Unreadable::UnknownRecord { at, kind }),
        })
    }

    fn read_from(
        records: &mut Records<impl Read>,
        id: TicketId,
        uptime: Uptime,
    ) -> io::Result<Result<Self, Unreadable>> {
        let magic = records.take(MAGIC.len())?;
        if magic != MAGIC && magic != MAGIC_DATED {
            let (whole, zeros) = (magic.len() == MAGIC.len(), magic.iter().all(|byte| *byte == 0));
            return Ok(Err(match (zeros, whole) {
                (true, _) if records.only_zeros(MOST_ZEROS)? => Unreadable::Blank,
                (false, false) => Unreadable::Unborn,
                (true | false, _) => Unreadable::WrongMagic,
            }));
        }
        let mut ticket = match records.next_record()? {
            Ok((_, Record::Event(Event::Created(ticket)))) => ticket,
            Ok(_) => return Ok(Err(Unreadable::NoTicket)),
            Err(Undecoded::Unknown { kind, .. }) => {
                return Ok(Err(Unreadable::UnknownRecord { at: records.offset(), kind }));
            }
            Err(Undecoded::Torn) => {
                let torn = Tail::read(records)?.is_torn_record();
                return Ok(Err(if torn { Unreadable::Unborn } else { Unreadable::FirstDamaged }));
            }
        };
        if ticket.id != id {
            return Ok(Err(Unreadable::WrongId));
        }
        seen_from(uptime, &mut ticket.created);
        let mut state = Self {
            durable: Upload::new(*ticket),
            unsynced: UnsyncedRanges::new(),
            run: None,
            faulted: false,
            uptime,
            uncounted: None,
            valid_bytes: 0,
        };
        loop {
            match records.next_record()? {
                Ok((offset, record)) => state.take(record, offset),
                Err(Undecoded::Torn) => break,
                Err(Undecoded::Unknown { kind, .. }) => {
                    return Ok(Err(Unreadable::UnknownRecord { at: records.offset(), kind }));
                }
            }
        }
        state.valid_bytes = records.offset();
        state.uncounted = state.count_from(uptime).then_some(uptime);
        Ok(Ok(state))
    }

    /// How it looks to the run `now`.
    pub fn seen_in(mut self, now: RunIdentity) -> Replayed {
        let durable = self.durable.received().bytes();
        if self.run == Some(now) && !self.faulted {
            self.promote(u64::MAX);
        }
        Replayed {
            uncounted: self.uncounted,
            unsynced_bytes: self.durable.received().bytes().saturating_sub(durable),
            upload: self.durable,
            valid_bytes: self.valid_bytes,
            run: self.run,
            faulted: self.faulted,
        }
    }

    /// Bytes of the journal that are good.
    pub fn valid_bytes(&self) -> u64 {
        self.valid_bytes
    }

    /// A journal that says the same, as short as can be: durable ranges first, then the run, then
    /// those that are not durable.
    pub fn compacted(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let mut put = |record: Record| encode(&record, &mut bytes);
        self.durable.snapshot_events().into_iter().for_each(|event| put(Record::Event(event)));
        self.run.into_iter().for_each(|run| put(Record::Run(run)));
        if self.faulted {
            put(Record::Faulted);
        }
        self.unsynced.events().into_iter().for_each(|event| put(Record::Event(event)));
        bytes
    }

    /// Whether both say the same of the upload, to every run.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.durable == other.durable
            && self.unsynced.events() == other.unsynced.events()
            && (self.run, self.faulted) == (other.run, other.faulted)
    }

    fn take(&mut self, record: Record, offset: u64) {
        match record {
            Record::Run(run) => {
                // After a fault, too: older programs went on to record what chunks beside it claimed.
                if self.run != Some(run) || self.faulted {
                    self.unsynced.clear();
                }
                self.run = Some(run);
                self.faulted = false;
            }
            Record::Faulted => {
                self.unsynced.clear();
                self.faulted = true;
            }
            Record::Synced { before } => self.promote(before),
            Record::Counted { from } => {
                self.count_from(from.as_of(self.uptime));
            }
            Record::Event(mut event) => {
                if let Some(at) = event.at_mut() {
                    seen_from(self.uptime, at);
                }
                self.happened(event, offset);
            }
        }
    }

    fn happened(&mut self, event: Event, offset: u64) {
        match event {
            Event::Stored { at, extent, durability: Durability::Written } => {
                self.unsynced.add(offset, at, extent);
            }
            event => {
                // Both prove a sync of the part; a cancel claims no byte any more.
                let proves_sync = matches!(
                    event,
                    Event::Stored { .. } | Event::Published { .. } | Event::Cancelled { .. }
                );
                if proves_sync {
                    self.promote(u64::MAX);
                }
                self.durable.apply(&event);
            }
        }
    }

    /// What was recorded before this offset of the journal now holds whatever happens.
    fn promote(&mut self, before: u64) {
        self.unsynced.promote(before, &mut self.durable);
    }

    /// Whatever has no count so far happened then. Tells whether there was any.
    fn count_from(&mut self, from: Uptime) -> bool {
        let durable = self.durable.count_from(from);
        self.unsynced.count_from(from) || durable
    }
}

fn seen_from(now: Uptime, at: &mut Stamp) {
    if at.uptime != Uptime::NONE {
        at.uptime = at.uptime.as_of(now);
    }
}

/// Zeros that are read before a journal of them counts as damaged: no power cut leaves more of a young one.
const MOST_ZEROS: u64 = 64 << 20;

#[cfg(test)]
#[path = "replay/tests.rs"]
mod tests;
