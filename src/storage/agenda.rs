//! What several servers have to do for the uploads that they share, and who of them does it now.
//!
//! Each upload says by its log when something is due for it ([`super::event_log::Marks`]). A server takes what is due for
//! some time; another one takes it again when that time is over, by the clock that all of them share. So work goes on when
//! a server dies, and no byte depends on who does it.

#[cfg(test)]
pub(in crate::storage) mod conformance;

use super::event_log::{CallMarks, LogError};
use super::promised::Promised;
use super::servers::{KnownServer, ServerReport};
use super::store::Unready;
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use std::time::Duration;

/// What can be due for an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// To look at it: a complete file is published, an idle upload cancelled, what is over removed.
    Look,
    /// To call its backend.
    Call,
}

/// Work that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The upload.
    pub id: TicketId,
    /// When it was due.
    pub due: Uptime,
}

/// What the uploads of all servers come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Uploads in each state, in the order of [`StateName::ALL`].
    pub states: [u64; StateName::ALL.len()],
    /// Those that count against `max_uploads`.
    pub open: u64,
    /// Those whose backend has to be called.
    pub calls: u64,
    /// Since when the oldest of these waits.
    pub oldest_call: Option<Uptime>,
}

/// The work of several servers.
pub trait Agenda: Send + Sync {
    /// Sets this server's idea of the clock that all share, and says that a server runs: time in which none did does not
    /// count.
    fn beat(&self) -> Promised<'_, Result<(), LogError>>;

    /// How long servers have run, as of the last [`Agenda::beat`] and this server's own clock.
    fn now(&self) -> Uptime;

    /// Takes up to `limit` uploads for which `work` is due, the earliest first, for this long. What a server of any name
    /// has taken is not taken again meanwhile.
    fn take(
        &self,
        work: Work,
        limit: usize,
        time: Duration,
    ) -> Promised<'_, Result<Vec<Taken>, LogError>>;

    /// An upload was looked at, and something is due at `next`, unless its log says otherwise since it was taken.
    fn looked(&self, taken: Taken, next: Uptime) -> Promised<'_, Result<(), LogError>>;

    /// Takes or renews the hold of an upload for `work`. Answers whether it was free.
    fn hold_for(
        &self,
        work: Work,
        id: TicketId,
        time: Duration,
    ) -> Promised<'_, Result<bool, LogError>>;

    /// Ends the hold for a call. The next call is not made before the moment of `next`, unless it has been asked for since:
    /// then it is pending since another moment.
    fn end_call(&self, id: TicketId, next: Option<CallMarks>)
    -> Promised<'_, Result<(), LogError>>;

    /// Ends all holds of this server, which stops.
    fn release(&self) -> Promised<'_, Result<(), LogError>>;

    /// Where these uploads stand; those that are gone are left out.
    fn states(
        &self,
        ids: Vec<TicketId>,
    ) -> Promised<'_, Result<Vec<(TicketId, StateName)>, LogError>>;

    /// At most `limit` uploads behind `after`, ordered by id, in this state or in any.
    fn page(
        &self,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Promised<'_, Result<Vec<TicketId>, LogError>>;

    /// What there is.
    fn census(&self) -> Promised<'_, Result<Census, LogError>>;

    /// All uploads are looked at earlier by this much.
    fn hurry(&self, by: Duration) -> Promised<'_, Result<(), LogError>>;

    /// Says how this server is, and answers how all are by their last word: this one first, at most
    /// [`LISTED`](super::servers::LISTED). Those that were silent for long are forgotten.
    fn report(&self, report: ServerReport) -> Promised<'_, Result<Vec<KnownServer>, LogError>>;

    /// No call is due later than `within` after the moment since when it is pending. One that is to be made later is set
    /// again by who takes it ([`Agenda::end_call`]).
    fn hurry_calls(&self, within: Duration) -> Promised<'_, Result<(), LogError>>;

    /// Whether the log takes appends that it keeps; if not, why.
    fn well(&self) -> Promised<'_, Result<(), Unready>>;
}
