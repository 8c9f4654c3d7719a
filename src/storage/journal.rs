//! The journal: a log of events for each upload, in order and versioned, the only form in which state is kept.
//! Replaying it is the only way an upload is loaded.
//!
//! Several servers may share a journal. Each appends only behind what it has seen: where another was first, the answer
//! is [`Appended::Behind`], nothing was appended, and the caller reads on and decides anew. Calls are answered at once
//! where the journal is quick, and later where it has to wait; dropping an outcome does not undo the call. Knows no
//! bytes of files (that is [`super::store`]) and takes no decisions (that is `core`).

#[cfg(test)]
pub(in crate::storage) mod conformance;

use super::agenda::Agenda;
use super::promised::Promised;
use super::store::{Part, StoreError};
use crate::core::event::{Durability, Event, Ticket};
use crate::core::extent::ExtentSet;
use crate::core::id::TicketId;
use crate::core::refusal::Refusal;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::core::upload::Upload;
use std::error::Error;
use std::sync::Arc;
use thiserror::Error;

/// How far a log has come. Means something to the journal that gave it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Which log that is: one that was set back, as by a failover, is another one.
    pub history: u64,
    /// Each append gives it a higher one.
    pub number: u64,
}

impl Version {
    /// Of a log that is never set back.
    pub fn of(number: u64) -> Self {
        Self { history: 0, number }
    }
}

/// The logs of all uploads.
pub trait Journal: Send + Sync {
    /// Begins the log of a new upload with its ticket. It is there whole or not at all.
    ///
    /// Durability: as said. Errors: nothing is left behind.
    fn create(
        &self,
        ticket: &Ticket,
        durability: Durability,
    ) -> Promised<'_, Result<Created, StoreError>>;

    /// Replays the log of `id`. Changes nothing; what the log says may still be lost before [`Log::make_durable`].
    fn load(&self, id: TicketId) -> Promised<'_, Result<Loaded, LoadError>>;

    /// Removes the log of `id`, if it has not moved on from `expected` (`None`: in any case); removing none is fine. It may
    /// come back after a power cut.
    fn remove(
        &self,
        id: TicketId,
        expected: Option<Version>,
    ) -> Promised<'_, Result<Removed, StoreError>>;

    /// What lies there after a start. Removes what crashes have left of logs that were never whole.
    fn inventory(&self) -> Promised<'_, Result<Inventory, StoreError>>;

    /// Removes the bytes of an upload that has no log, if that is still so.
    fn discard_orphan(&self, id: TicketId) -> Promised<'_, ()>;

    /// At most `limit` uploads behind `after`, ordered by id, that are in `state` or whose state is not known; in all
    /// states where it is `None`.
    fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Promised<'_, Result<Vec<TicketId>, StoreError>>;

    /// How long servers have run on this journal, as all that share it count.
    fn now(&self) -> Uptime;

    /// What is due for uploads, where several servers share that; `None` where this server alone knows it.
    fn agenda(&self) -> Option<&dyn Agenda> {
        None
    }

    /// Makes sure that [`Journal::now`] never falls back behind the present, but for what a crash costs it. Called now
    /// and then, and at the end of a clean stop. What fails has been logged.
    fn keep_time(&self) -> Promised<'_, ()>;
}

/// A log that was begun.
pub struct Created {
    /// Up to where it is.
    pub version: Version,
    /// What a load would find, made durable; `None` where it has to be loaded.
    pub loaded: Option<Box<Loaded>>,
}

impl Created {
    /// One that has to be loaded.
    pub fn at(version: Version) -> Self {
        Self { version, loaded: None }
    }
}

/// What lies in a journal.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Uploads that have to be looked at, since only their logs say what is due for them.
    pub uploads: Vec<TicketId>,
    /// Bytes that had no log.
    pub orphans: Vec<TicketId>,
}

/// A log that was replayed.
pub struct Loaded {
    /// The upload that is the sum of its events.
    pub upload: Upload,
    /// Up to where.
    pub version: Version,
    /// The log, to be made durable before anything is acted on or appended.
    pub log: Arc<dyn Log>,
    /// Whether making it durable soon is worth it: until then each load costs more, or counts times from zero.
    pub resync_need: ResyncNeed,
    /// Where intact records follow a damaged one.
    pub damage: Option<Damage>,
}

/// What making a log durable would bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResyncNeed {
    /// Nothing but certainty.
    Nothing,
    /// It would be noted from when its times count: some time.
    Times,
    /// It would become much shorter, or bytes were only written: now.
    Now,
}

/// Part of a log cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where, in bytes from the beginning.
    pub at: u64,
    /// Intact records follow from there on.
    pub whole_from: u64,
}

/// The log of one upload. Only one of a server's tasks at a time uses it: what loads the upload, then its commit queue.
/// What may be called beside that says so. What has a body here is so for a log whose appends are durable when they are
/// answered, and that needs no upkeep.
pub trait Log: Send + Sync {
    /// Makes what the log says hold whatever happens. Where it does already, nothing is done.
    ///
    /// Errors: [`LoadError::Busy`] where the same may end well later; nothing may be acted on before.
    fn make_durable(&self) -> Promised<'_, Result<(), LoadError>> {
        Promised::ready(Ok(()))
    }

    /// Appends behind `expected`.
    ///
    /// Durability: as `append` says. Errors: [`StoreError::NoSpace`] and [`StoreError::Exhausted`] where nothing was
    /// appended; else it is not known whether it was, and the log takes nothing more.
    fn append(
        &self,
        expected: Version,
        append: Append,
    ) -> Promised<'_, Result<Appended, StoreError>>;

    /// Whether a load finds out that a file is not in its place though its `Published` was appended: then it waits for its
    /// publish, and the record may come before the rename.
    fn records_publish_first(&self) -> bool {
        false
    }

    /// What others have appended behind `since`, the last version that this server has seen. May be called at any time.
    fn read(&self, since: Version) -> Promised<'_, Result<Read, StoreError>>;

    /// Whether the log wants [`Log::upkeep`].
    fn wants_upkeep(&self) -> bool {
        false
    }

    /// Keeps the log in shape: rewrites it shorter where it has grown, and notes what was flushed. Called between two
    /// appends; the upload is what the caller takes it to say. What need not happen now is left to another time.
    fn upkeep(&self, _upload: Arc<Upload>) -> Promised<'_, Result<(), UpkeepError>> {
        Promised::ready(Ok(()))
    }

    /// Whether the log takes no more events of chunks before it is shorter.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether the log takes the events of a chunk of a file of `length` that brings the bytes `missing`. May be called at any
    /// time.
    ///
    /// Errors: the rule that refuses it.
    fn check_pieces(&self, _missing: &ExtentSet, _length: Option<u64>) -> Result<(), Refusal> {
        Ok(())
    }

    /// Objects that its bytes lie in, where each costs a request to be read. May be called at any time.
    fn pieces(&self) -> u64 {
        0
    }

    /// A chunk was refused since [`Log::is_full`]: answers whether upkeep is to be tried now for that, which is so now and
    /// then. May be called at any time.
    fn make_room(&self) -> bool {
        false
    }

    /// Whether bytes were appended as only written, and are to be flushed before the upload leaves memory. May be called
    /// at any time.
    fn has_unflushed(&self) -> bool {
        false
    }

    /// Whether so much was appended as only written that a flush is worth it, and none is under way. May be called at any
    /// time.
    fn flush_is_due(&self) -> bool {
        false
    }

    /// Whether so much was appended as only written that further chunks have to wait for a flush. May be called at any time.
    fn flush_is_late(&self) -> bool {
        false
    }

    /// Makes the bytes of the part durable that were appended as only written; the next upkeep notes it. May be called at
    /// any time.
    ///
    /// Errors: a fault; after it nothing is known of what was written.
    fn flush<'a>(&'a self, _part: &'a dyn Part) -> Promised<'a, Result<(), StoreError>> {
        Promised::ready(Ok(()))
    }

    /// Notes that storage has failed the upload, as well as may be: what was only written is not believed any more. May
    /// be called at any time.
    fn note_fault(&self) -> Promised<'_, ()> {
        Promised::ready(())
    }
}

/// What is appended at once: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Append {
    /// In order.
    pub events: Vec<Event>,
    /// What is promised when it is answered.
    pub durability: Durability,
    /// What is known of the bytes that events claim.
    pub claims: Claims,
    /// The state that the upload comes to by it, where that is another.
    pub state: Option<StateName>,
}

/// What is known of the bytes that the events of a log claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claims {
    /// As each event says.
    AsEachSays,
    /// All of them are durable now.
    Durable,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log, which is at this version now.
    At(Version),
    /// Another server was first; nothing was appended.
    Behind,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// There is no such log any more.
    Done,
    /// Another server has appended to it; it is there.
    Behind,
}

/// What others have appended behind a version.
#[derive(Clone, Debug)]
pub enum Read {
    /// These events, up to this version; none where the log has not moved on.
    More(Vec<Event>, Version),
    /// It stands like this now.
    Now(Box<Upload>, Version),
    /// The version is of another history: what is held in memory is to be forgotten and loaded anew.
    OtherHistory,
    /// There is no such upload any more.
    Unknown,
}

/// An upload could not be loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// There is none.
    #[error("there is no such upload")]
    Unknown,
    /// Not just now: no descriptor is left, or the disk is too full for what has to be recorded first.
    #[error("it cannot be read just now")]
    Busy,
    /// There may be one, but it cannot be read.
    #[error("{what}: {error}")]
    Fault {
        /// What was being done.
        what: &'static str,
        /// The error.
        error: Box<dyn Error + Send + Sync>,
    },
}

/// A log could not be kept in shape, and takes nothing more.
#[derive(Debug, Error)]
#[error("{what}: {error}")]
pub struct UpkeepError {
    /// What was being done.
    pub what: &'static str,
    /// The error.
    pub error: std::io::Error,
}
