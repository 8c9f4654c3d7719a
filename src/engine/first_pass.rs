//! The first pass after a start: every upload is met once, and what is owed and due for it set.
//!
//! It walks all journals in the background, a few at a time. What cannot be read just then (no
//! descriptor left, a right, a sector that does not answer) is kept and met again about once a
//! minute until it can be, and so is a directory that cannot be listed: a handover that is owed is not lost
//! because the disk stumbled at the start. Nothing of what cannot be read is touched.

use super::Engine;
use super::compaction::Compaction;
use super::error::{Fault, LookupError};
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What the first pass has still to do.
#[derive(Debug, Default)]
pub(super) struct Unmet(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    listing: Listing,
    /// Found, and not to be read when they were looked at last.
    ids: BTreeSet<TicketId>,
    /// Met, and their journals have yet to say from when they count ([`Replayed::uncounted`]).
    uncounted: Vec<TicketId>,
    /// When to go on; `None` before the first go.
    due: Option<Uptime>,
}

/// Whether it is known which uploads there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listing {
    #[default]
    Ahead,
    Failed,
    Done,
}

/// Why an upload could not be met.
enum Missed {
    Unread(Fault),
    Unsynced(Fault),
}

impl Missed {
    fn busy() -> Self {
        Self::Unread(Fault("no file descriptor is left to read it, or the disk is full".into()))
    }
}

impl Unmet {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Has it met again later; tells whether it was not to be already.
    fn keep(&self, id: TicketId) -> bool {
        self.lock().ids.insert(id)
    }

    /// What is due for it is set, by whomever, or there is no such upload.
    pub(super) fn met(&self, id: TicketId) {
        self.lock().ids.remove(&id);
    }

    /// Uploads that could not be read yet; one more while nobody can tell which there are.
    fn count(&self) -> u64 {
        let held = self.lock();
        held.ids.len() as u64 + u64::from(held.listing == Listing::Failed)
    }
}

impl Engine {
    /// Uploads that this process has found and could not read yet; while the storage directory cannot be listed,
    /// one for all that may be in it.
    pub fn uploads_unread(&self) -> u64 {
        self.unmet.count()
    }

    /// Waits until the first pass has something to do. Dropping the future changes nothing.
    pub(super) async fn unmet_due(&self) {
        loop {
            let due = {
                let held = self.unmet.lock();
                match held.due {
                    Some(_) if held.listing == Listing::Done && held.ids.is_empty() => None,
                    due => Some(due.unwrap_or(Uptime(0))),
                }
            };
            let Some(due) = due else { return std::future::pending().await };
            let pause = due.since(self.uptime());
            if pause.is_zero() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Meets all uploads, or those that could not be met before. Dropping the future leaves the rest unmet.
    pub(super) async fn first_pass(self: &Arc<Self>) {
        let listing = self.unmet.lock().listing;
        match listing {
            Listing::Done => {
                let ids: Vec<_> = self.unmet.lock().ids.iter().copied().collect();
                self.meet_all(&ids).await;
            }
            Listing::Ahead | Listing::Failed => match self.list_all().await {
                Ok((parts, journals)) => {
                    self.unmet.lock().listing = Listing::Done;
                    self.meet_listed(parts, journals).await;
                }
                Err(error) => {
                    self.unmet.lock().listing = Listing::Failed;
                    tracing::error!(%error, "could not list the storage directory");
                }
            },
        }
        self.count_all().await;
        self.unmet.lock().due = Some(self.uptime().after(MEET_AGAIN));
    }

    /// After an upgrade: notes from when journals count that hold dates alone, so that the next start does not count anew.
    /// Each costs a sync, so it comes after all that is owed. What fails now is noted when it is loaded the next time.
    async fn count_all(self: &Arc<Self>) {
        let ids = std::mem::take(&mut self.unmet.lock().uncounted);
        for some in ids.chunks(PASS_CHUNK) {
            let (engine, work) = (Arc::clone(self), some.to_vec());
            let work = move || work.into_iter().for_each(|id| drop(engine.settle(id)));
            let _ = self.blocking.spawn(work).await;
            tokio::time::sleep(PASS_PAUSE).await;
        }
    }

    /// The ids of all parts and of all journals.
    async fn list_all(self: &Arc<Self>) -> std::io::Result<(Vec<TicketId>, Vec<TicketId>)> {
        let engine = Arc::clone(self);
        let listed = self.blocking.spawn(move || {
            // Parts first: a part is made only after its journal.
            let parts = engine.store.parts()?;
            Ok((parts, engine.journals.list()?))
        });
        listed.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    }

    async fn meet_listed(self: &Arc<Self>, parts: Vec<TicketId>, journals: Vec<TicketId>) {
        let engine = Arc::clone(self);
        // What cannot be removed now is found again at the next start.
        let _ = self.blocking.spawn(move || engine.journals.remove_leftovers()).await;
        self.meet_all(&journals).await;
        let known: HashSet<TicketId> = journals.into_iter().collect();
        for id in parts.into_iter().filter(|id| !known.contains(id)) {
            self.discard_unreferenced(id).await;
        }
    }

    async fn meet_all(self: &Arc<Self>, ids: &[TicketId]) {
        for some in ids.chunks(PASS_CHUNK) {
            let (engine, work) = (Arc::clone(self), some.to_vec());
            let work =
                self.blocking.spawn(move || work.into_iter().for_each(|id| engine.try_to_meet(id)));
            if let Err(error) = work.await {
                tracing::error!(%error, "startup scan: could not load some uploads; trying again later");
                some.iter().filter(|id| !self.timers.holds(**id)).for_each(|id| {
                    self.unmet.keep(*id);
                });
            }
            // A worker that asks meanwhile is served first.
            tokio::time::sleep(PASS_PAUSE).await;
        }
    }

    /// Meets an upload, or keeps it for another time and says so once. Blocks.
    fn try_to_meet(self: &Arc<Self>, id: TicketId) {
        // A bug that one upload brings out leaves the others alone.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.meet(id)));
        if let Ok(Ok(())) = outcome {
            return self.unmet.met(id);
        }
        if !self.unmet.keep(id) {
            return;
        }
        let upload = id.short();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(Missed::Unread(fault))) => {
                tracing::error!(%upload, %fault, "startup scan: could not read upload; its files stay untouched");
            }
            Ok(Err(Missed::Unsynced(fault))) => {
                tracing::error!(%upload, %fault, "startup scan: could not sync journal; trying again later");
            }
            Err(_) => {
                tracing::error!(%upload, "startup scan: loading the upload panicked: this is a bug")
            }
        }
    }

    /// First sight of an upload after a start. Blocks.
    fn meet(self: &Arc<Self>, id: TicketId) -> Result<(), Missed> {
        if self.timers.holds(id) {
            return self.clean_up_asked_for(id);
        }
        let exclusive = self.loads.exclusive(id);
        if self.timers.holds(id) {
            drop(exclusive);
            return self.clean_up_asked_for(id);
        }
        let mut loaded = match self.load(id) {
            Ok(loaded) => loaded,
            Err(LookupError::Unknown) => {
                // An unborn journal: the ticket was never given out, or a power cut has forgotten it.
                if let Err(error) = self.store.discard(id) {
                    tracing::error!(upload = %id.short(), %error, "could not delete orphan part");
                } else {
                    self.remove_journal(id);
                }
                return Ok(());
            }
            Err(LookupError::Busy) => return Err(Missed::busy()),
            Err(LookupError::Fault(fault)) => return Err(Missed::Unread(fault)),
        };
        self.report_damage(id, &loaded);
        let upload = loaded.replayed.upload.clone();
        let in_memory = upload.awaits_publish() || loaded.replayed.unsynced_bytes > 0;
        // What is acted on must be durable; where nothing is, that can wait until somebody asks.
        let leaves_bytes = self.leaves_bytes(id, &upload);
        // A journal that is much too large is replaced now, so that whoever reads it next has less to read.
        if (in_memory || leaves_bytes || matches!(loaded.compaction, Compaction::Due(_)))
            && let Err(error) = self.make_sure_of(id, &mut loaded)
        {
            return Err(match error {
                LookupError::Fault(fault) => Missed::Unsynced(fault),
                LookupError::Busy | LookupError::Unknown => Missed::busy(),
            });
        }
        if in_memory {
            // In memory it gets to its place, or is synced.
            self.adopt(id, loaded.replayed);
        } else {
            self.first_sight(id, &upload);
            if loaded.replayed.uncounted.is_some() {
                self.unmet.lock().uncounted.push(id);
            }
        }
        if leaves_bytes {
            self.clean_up(id, &upload);
        }
        Ok(())
    }

    /// Whoever asked for it was faster than the first pass; what its end released is still to go.
    /// Blocks.
    fn clean_up_asked_for(&self, id: TicketId) -> Result<(), Missed> {
        let upload = match self.registry.held(id) {
            Some(live) => live.lock().upload.clone(),
            None => match self.load(id) {
                Ok(loaded) => loaded.replayed.upload,
                Err(LookupError::Unknown) => return Ok(()),
                Err(LookupError::Busy) => return Err(Missed::busy()),
                Err(LookupError::Fault(fault)) => return Err(Missed::Unread(fault)),
            },
        };
        self.clean_up(id, &upload);
        Ok(())
    }

    /// Removes a part without a journal: nothing can ever ask for its bytes.
    async fn discard_unreferenced(self: &Arc<Self>, id: TicketId) {
        let engine = Arc::clone(self);
        let work = self.blocking.spawn(move || {
            if matches!(engine.journals.read(id), Ok(None)) {
                tracing::info!(upload = %id.short(), "deleting orphan part");
                let _ = engine.store.discard(id);
            }
        });
        let _ = work.await;
    }
}

/// Journals read in one go.
const PASS_CHUNK: usize = 64;
/// Pause between two goes, so that requests come first: 100,000 tickets take some seconds.
const PASS_PAUSE: Duration = Duration::from_millis(1);
/// What could not be read is looked at again after this long: soon enough for a backend that waits, and rare
/// enough for journals that stay damaged for good.
const MEET_AGAIN: Duration = Duration::from_secs(60);
