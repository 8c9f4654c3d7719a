//! A log of events for each upload, in order, which several servers share. It decides every race between them: an append
//! succeeds only directly behind what its author has seen.

#[cfg(test)]
pub(crate) mod conformance;

use crate::core::id::TicketId;
use crate::core::piece_event::ObjectEvent;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The last append of a log that its reader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its number, from 1 on.
    pub seq: u64,
    /// What its author called it. A log that was set back (a failover that lost commits) has other tags at the same
    /// numbers.
    pub tag: Tag,
}

/// Random, drawn for one append and for its repetitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub u64);

/// Events that are appended together: all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Names this append.
    pub tag: Tag,
    /// In order, at least one.
    pub events: Arc<[ObjectEvent]>,
    /// What others find the upload by, where it changes. What is read back has none.
    pub marks: Option<Marks>,
}

/// What servers find an upload by without reading its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Where it stands.
    pub state: StateName,
    /// Whether it counts against `max_uploads`.
    pub occupies: bool,
    /// When something is due for it.
    pub due: Uptime,
    /// Since when its backend has to be called, and when the next call is due; `None` where it has not.
    pub call: Option<CallMarks>,
}

/// What is pending with the backend of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallMarks {
    /// Since when.
    pub since: Uptime,
    /// When the next call is due.
    pub due: Uptime,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is in the log, durable.
    At(Seen),
    /// Another append stands where this one was to stand, or there is no such log: nothing was appended by this request.
    Behind,
}

/// What lies behind an append.
#[derive(Clone, Debug)]
pub enum LogRead {
    /// These appends, in order; none where the log has not moved on.
    More(Vec<Append>),
    /// What was seen is not in the log: it was set back, and all that is known of it is void.
    OtherHistory,
    /// There is no such log.
    Unknown,
}

/// A log gave no answer that says what has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The request may have had its effect, or may have it later. It may be sent again as it is: of one tag at one place
    /// only one append can be in the log.
    #[error("no answer from the log")]
    Unsure,
    /// It cannot be read: it is damaged, or a later version has written to it.
    #[error("the log cannot be read")]
    Unreadable,
}

/// The logs of all uploads, shared by several servers.
pub trait EventLog: Send + Sync {
    /// Begins a log with its first append. [`Appended::Behind`] where there is one already.
    fn create(
        &self,
        id: TicketId,
        append: Append,
    ) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// What lies behind `seen`; the whole log where that is `None`.
    fn read(
        &self,
        id: TicketId,
        seen: Option<Seen>,
    ) -> impl Future<Output = Result<LogRead, LogError>> + Send;

    /// Appends directly behind `seen`.
    fn append(
        &self,
        id: TicketId,
        seen: Seen,
        append: Append,
    ) -> impl Future<Output = Result<Appended, LogError>> + Send;

    /// Takes or renews the leave to do background work for an upload; it ends by itself, by the log's clock, and is never
    /// made shorter. Answers whether it was free. It keeps calls to the backend one at a time, and saves work; no byte
    /// depends on it.
    fn hold(
        &self,
        id: TicketId,
        holder: u64,
        time: Duration,
    ) -> impl Future<Output = Result<bool, LogError>> + Send;

    /// Removes the log, if nothing stands behind `seen`.
    fn remove(
        &self,
        id: TicketId,
        seen: Seen,
    ) -> impl Future<Output = Result<Appended, LogError>> + Send;
}
