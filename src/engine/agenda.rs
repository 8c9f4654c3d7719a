//! Several servers over one log: what is due is taken by one of them at a time, what others record is seen before anything
//! is answered, and what is known of all uploads together is read now and then.
//!
//! What is in memory is a cache behind the log. A server holds what it has taken for seconds, and renews that while it works.
//! So others have it soon after it has died, and at once when it stops. Without an answer from the log nothing is taken and
//! nothing is answered.

mod calls;

use super::Engine;
use super::error::{ChangeError, LookupError};
use super::handle::{Op, UploadHandle};
use super::options::Options;
use super::retention::{Next, RECHECK, end, tidied};
use super::servers::Reports;
use super::status::Status;
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::core::upload::{Phase, Upload};
use crate::storage::agenda::{Agenda, Census, Taken, Work};
use crate::storage::event_log::{CallMarks, LogError, Marks};
use crate::storage::journal::Read;
use crate::storage::promised::Promised;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, timeout};

/// Whether something is due yet after as much was taken as there were turns for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Due {
    Perhaps,
    Nothing,
}

/// What an engine knows of what it shares.
pub(super) struct Sharing {
    /// Turns at looking at uploads.
    looks: Arc<Semaphore>,
    census: Mutex<Census>,
    /// What the servers say of themselves.
    pub(super) reports: Reports,
}

impl Default for Sharing {
    fn default() -> Self {
        let looks = Arc::new(Semaphore::new(LOOKS));
        Self { looks, census: Mutex::default(), reports: Reports::default() }
    }
}

impl Sharing {
    /// Calls that are pending, and since when the oldest is.
    pub(super) fn calls(&self) -> (usize, Option<Uptime>) {
        let census = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        (usize::try_from(census.calls).unwrap_or(usize::MAX), census.oldest_call)
    }
}

/// What an upload is found by that was as `before`, if it was, and is as `after`; `None` where that stays as it is: with
/// most chunks.
pub fn marks(
    options: &Options,
    before: Option<&Upload>,
    after: &Upload,
    now: Uptime,
    jitter: f64,
) -> Option<Marks> {
    let same = before.is_some_and(|before| {
        before.phase().state() == after.phase().state()
            && before.awaits_publish() == after.awaits_publish()
            && before.awaits_join() == after.awaits_join()
            && before.pending_calls() == after.pending_calls()
    });
    if same {
        return None;
    }
    let due = match after.phase() {
        // Who has completed it publishes it; others do where that does not happen.
        Phase::New | Phase::Uploading if after.awaits_publish() => now.after(PUBLISHED_WITHIN),
        Phase::New | Phase::Uploading if after.awaits_join() => now.after(RECHECK),
        Phase::Cancelled { calls: Some(_), .. } => NEVER,
        Phase::New
        | Phase::Uploading
        | Phase::HandingOver(_)
        | Phase::Finished { .. }
        | Phase::Cancelled { calls: None, .. }
        | Phase::Failed { .. } => end(options, after).unwrap_or(NEVER),
    };
    let due = due.min(tidied(after, now).unwrap_or(NEVER));
    let call = after
        .pending_calls()
        .map(|calls| CallMarks { since: calls.since, due: calls.due(&options.calls, jitter) });
    Some(Marks { state: after.phase().state(), occupies: after.occupies(), due, call })
}

impl Engine {
    fn agenda(&self) -> Option<&dyn Agenda> {
        self.journal.agenda()
    }

    /// Something is due for an upload at a time, where this server alone knows that.
    pub(super) fn set_timer(&self, id: TicketId, at: impl FnOnce() -> Uptime) {
        if self.sharing.is_none() {
            self.timers.set(id, at());
        }
    }

    /// Everything is looked at earlier by this much.
    pub(super) fn hurry(self: &Arc<Self>, by: Duration) {
        if self.sharing.is_none() {
            return self.timers.hurry(by);
        }
        if !by.is_zero() {
            self.ask_agenda(move |agenda| agenda.hurry(by));
        }
    }

    /// Asks for a change of what is due, beside what goes on here. Without an answer it stays due when it was.
    fn ask_agenda<F>(self: &Arc<Self>, ask: F)
    where
        F: for<'a> FnOnce(&'a dyn Agenda) -> Promised<'a, Result<(), LogError>> + Send + 'static,
    {
        let engine = Arc::clone(self);
        let asking = async move {
            if let Some(agenda) = engine.agenda() {
                let _ = ask(agenda).await;
            }
        };
        drop(tokio::spawn(self.tracker.track_future(asking)));
    }

    /// An upload in memory, with what others have recorded.
    ///
    /// Cancel: it may be read on all the same. Errors: [`LookupError::Busy`] where the log gives no answer.
    pub(super) async fn read_on(
        self: &Arc<Self>,
        handle: Arc<UploadHandle>,
    ) -> Result<Arc<UploadHandle>, LookupError> {
        let version = handle.lock().version;
        match handle.log.read(version).await {
            Ok(Read::More(events, _)) if events.is_empty() => return Ok(handle),
            Ok(Read::More(..) | Read::Now(..) | Read::OtherHistory | Read::Unknown) => {}
            Err(error) => return Err(lookup(ChangeError::store("the log", error))),
        }
        let refreshed = self.submit(&handle, Op::Refresh).done();
        match timeout(REFRESH, refreshed).await {
            Ok(Ok(())) => Ok(handle),
            Ok(Err(error)) => Err(lookup(error)),
            // Its file is being put together.
            Err(_) => Err(LookupError::Busy),
        }
    }

    /// How an upload stands by its log, where others share that: nothing is waited for but its answer. `None` where it is
    /// to be found as ever.
    pub(super) async fn status_in_log(
        self: &Arc<Self>,
        id: TicketId,
    ) -> Result<Option<Status>, LookupError> {
        if self.sharing.is_none() {
            return Ok(None);
        }
        let Some(handle) = self.registry.loaded(id) else { return Ok(None) };
        let version = {
            let mut state = handle.lock();
            state.touched = self.uptime();
            state.version
        };
        match handle.log.read(version).await {
            Ok(Read::Now(upload, _)) => Ok(Some(self.describe(&upload))),
            Ok(Read::More(events, _)) if events.is_empty() => Ok(Some(self.status_of(&handle))),
            Ok(Read::More(..) | Read::OtherHistory | Read::Unknown) => Ok(None),
            Err(error) => Err(lookup(ChangeError::store("the log", error))),
        }
    }

    /// Takes what is due, tells long polls and requests under way of what others have recorded, and counts. Runs until it
    /// is dropped, which leaves what was taken to others.
    pub(super) async fn share_work(self: &Arc<Self>) {
        let Some(agenda) = self.agenda() else { return std::future::pending().await };
        tokio::select! {
            never = self.share_looks(agenda) => never,
            never = self.share_rest(agenda) => never,
        }
    }

    async fn share_rest(self: &Arc<Self>, agenda: &dyn Agenda) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counted: Option<Instant> = None;
        loop {
            tick.tick().await;
            if counted.is_none_or(|at| at.elapsed() >= CENSUS_PERIOD) {
                counted = Some(Instant::now());
                if let Ok(census) = agenda.census().await {
                    self.counted(census);
                }
            }
            if self.take_calls(agenda).await.is_err() {
                // It was logged; each of these would wait for the log again.
                continue;
            }
            let _ = self.watch(agenda).await;
        }
    }

    /// Takes what is due to be looked at: as much as there are turns, and more as soon as there are again.
    async fn share_looks(self: &Arc<Self>, agenda: &dyn Agenda) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            while let Ok(Due::Perhaps) = self.take_looks(agenda).await {}
        }
    }

    fn counted(&self, census: Census) {
        let Some(sharing) = &self.sharing else { return };
        for (state, count) in StateName::ALL.into_iter().zip(census.states) {
            self.stats.uploads.of(state).set(count);
        }
        self.stats.uploads_open.set(census.open);
        *sharing.census.lock().unwrap_or_else(PoisonError::into_inner) = census;
    }

    async fn take_looks(self: &Arc<Self>, agenda: &dyn Agenda) -> Result<Due, LogError> {
        let Some(sharing) = &self.sharing else { return Ok(Due::Nothing) };
        // A turn is free then, and no other task takes one.
        drop(sharing.looks.acquire().await);
        let free = sharing.looks.available_permits();
        let all = agenda.take(Work::Look, free, HOLD).await?;
        let due = if all.len() < free { Due::Nothing } else { Due::Perhaps };
        for taken in all {
            let turn = Arc::clone(&sharing.looks).acquire_owned().await;
            let engine = Arc::clone(self);
            let look = async move {
                let _turn = turn;
                engine.look_at(taken).await;
            };
            drop(tokio::spawn(self.tracker.track_future(look)));
        }
        Ok(due)
    }

    async fn look_at(self: &Arc<Self>, taken: Taken) {
        let next = tokio::select! {
            next = self.look(taken.id) => next,
            never = self.keep_look(taken.id) => never,
        };
        let next = match next {
            Next::At(due) => due,
            Next::Later => self.uptime().after(RECHECK),
            Next::Gone => return,
        };
        if let Some(agenda) = self.agenda() {
            // Without an answer others look when the hold is over.
            let _ = agenda.looked(taken, next).await;
        }
    }

    /// Renews the hold of an upload that is looked at, until another server has it: no byte depends on it.
    async fn keep_look(&self, id: TicketId) -> Next {
        loop {
            tokio::time::sleep(HOLD / 4).await;
            let Some(agenda) = self.agenda() else { break };
            if agenda.hold_for(Work::Look, id, HOLD).await == Ok(false) {
                break;
            }
        }
        std::future::pending().await
    }

    /// Reads uploads on that a request waits for, or sends bytes to, and that stand elsewhere now.
    async fn watch(self: &Arc<Self>, agenda: &dyn Agenda) -> Result<(), LogError> {
        let mut watched = self.registry.unordered();
        watched.retain(|handle| handle.polls.value() > 0 || handle.chunks.value() > 0);
        if watched.is_empty() {
            return Ok(());
        }
        let states = agenda.states(watched.iter().map(|handle| handle.id).collect()).await?;
        let states: HashMap<_, _> = states.into_iter().collect();
        for handle in watched {
            if states.get(&handle.id) != Some(&handle.upload().phase().state()) {
                let engine = Arc::clone(self);
                let refresh = async move { drop(engine.find(handle.id).await) };
                drop(tokio::spawn(self.tracker.track_future(refresh)));
            }
        }
        Ok(())
    }
}

fn lookup(error: ChangeError) -> LookupError {
    match error {
        ChangeError::Unknown => LookupError::Unknown,
        ChangeError::Fault(fault) => LookupError::Fault(fault),
        ChangeError::Refused(_)
        | ChangeError::NoSpace
        | ChangeError::Exhausted
        | ChangeError::Busy => LookupError::Busy,
    }
}

/// How often it is asked what is due, and how late others' news may come to a long poll.
const TICK: Duration = Duration::from_secs(1);
/// How often uploads are counted.
const CENSUS_PERIOD: Duration = Duration::from_secs(5);
/// Uploads that are looked at, at once.
const LOOKS: usize = 8;
/// An upload that is looked at, or published, is held for so long, and that is renewed meanwhile.
pub const HOLD: Duration = Duration::from_secs(4);
/// A complete file that is not published after this, and not held, is published by any server.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(5);
/// A request waits so long for a commit under way, to see what others have recorded.
const REFRESH: Duration = Duration::from_secs(5);
/// No moment.
const NEVER: Uptime = Uptime(i64::MAX.cast_unsigned());
