//! Which uploads are in memory. A request for one that is not loads it: one load for an id at a time, whose outcome
//! goes to all that ask meanwhile, and few loads in all; requests beyond the bound of those that wait are refused. Idle
//! uploads leave memory again; nothing is lost by that.

use super::Engine;
use super::error::{Fault, LookupError};
use super::handle::Op;
use super::handle::UploadHandle;
use crate::core::id::TicketId;
use crate::storage::journal::{Damage, Loaded};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};

/// The uploads in memory.
#[derive(Default)]
pub(super) struct Registry(Mutex<HashMap<TicketId, Arc<UploadHandle>>>);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<TicketId, Arc<UploadHandle>>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    pub(super) fn loaded(&self, id: TicketId) -> Option<Arc<UploadHandle>> {
        self.lock().get(&id).cloned()
    }

    /// All of them.
    pub(super) fn unordered(&self) -> Vec<Arc<UploadHandle>> {
        self.lock().values().cloned().collect()
    }

    /// All of them, ordered by id.
    pub(super) fn all(&self) -> Vec<Arc<UploadHandle>> {
        let mut all = self.unordered();
        all.sort_by_key(|handle| handle.id);
        all
    }

    pub(super) fn remove(&self, id: TicketId) {
        self.lock().remove(&id);
    }
}

/// Loads under way, and those that wait for one.
pub(super) struct Loads {
    under_way: Mutex<HashMap<TicketId, Vec<oneshot::Sender<Outcome>>>>,
    /// Requests that may wait, for any load.
    waiters: Semaphore,
    /// Loads that requests have begun.
    turns: Semaphore,
    lists: Arc<Semaphore>,
    exclusive: Exclusive,
}

/// What a load came to.
type Outcome = Result<Arc<UploadHandle>, LookupError>;

impl Default for Loads {
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
            waiters: Semaphore::new(MAX_WAITING),
            turns: Semaphore::new(MAX_LOADS),
            lists: Arc::new(Semaphore::new(MAX_LISTS)),
            exclusive: Exclusive::default(),
        }
    }
}

impl Loads {
    fn lock(&self) -> MutexGuard<'_, HashMap<TicketId, Vec<oneshot::Sender<Outcome>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self) -> Result<SemaphorePermit<'_>, LookupError> {
        self.waiters.try_acquire().map_err(|_| LookupError::Busy)
    }

    /// A turn at reading all journals. Cancel: none is taken.
    pub(super) async fn list(&self) -> Result<OwnedSemaphorePermit, LookupError> {
        let _waiter = self.wait()?;
        let turn = Arc::clone(&self.lists).acquire_owned();
        let turn = tokio::time::timeout(DEADLINE, turn).await.map_err(|_| LookupError::Busy)?;
        Ok(turn.expect("it is never closed"))
    }

    /// Waits until nobody else reads or replaces the journal of `id` outside of its commit queue, and keeps others
    /// from it. An upload comes into memory under it alone. Cancel: nothing is taken.
    pub(super) async fn exclusive(&self, id: TicketId) -> impl Drop + use<'_> {
        self.exclusive.enter(id).await
    }
}

impl Engine {
    /// The upload of `id`, loaded if it is not in memory. Dropping the future changes nothing: a load goes on for
    /// others that wait.
    ///
    /// Errors: [`LookupError::Busy`] where too many wait already, or the disk lets none get on.
    pub(super) async fn find(self: &Arc<Self>, id: TicketId) -> Outcome {
        if let Some(handle) = self.registry.loaded(id) {
            return match &self.sharing {
                Some(_) => Box::pin(self.read_on(handle)).await,
                None => Ok(handle),
            };
        }
        let _waiter = self.loads.wait()?;
        let outcome = self.join_load(id)?;
        match tokio::time::timeout(DEADLINE, outcome).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(LookupError::Fault(Fault("the load was lost".into()))),
            Err(_) => Err(LookupError::Busy),
        }
    }

    fn join_load(
        self: &Arc<Self>,
        id: TicketId,
    ) -> Result<oneshot::Receiver<Outcome>, LookupError> {
        let (sender, receiver) = oneshot::channel();
        let mut under_way = self.loads.lock();
        if let Some(waiting) = under_way.get_mut(&id) {
            if waiting.len() >= MAX_WAITING_FOR_ONE {
                return Err(LookupError::Busy);
            }
            waiting.push(sender);
            return Ok(receiver);
        }
        under_way.insert(id, vec![sender]);
        drop(under_way);
        let load = Load { engine: Arc::clone(self), id, reported: false };
        tokio::spawn(self.tracker.track_future(load.run()));
        Ok(receiver)
    }

    /// Loads an upload unless it is in memory.
    async fn load_exclusively(self: Arc<Self>, id: TicketId) -> Outcome {
        let _exclusive = self.loads.exclusive(id).await;
        if let Some(handle) = self.registry.loaded(id) {
            return Ok(handle);
        }
        self.stats.loads.inc();
        let loaded = self.journal.load(id).await?;
        report_damage(id, &loaded);
        // What is reported must hold whatever happens.
        loaded.log.make_durable().await?;
        Ok(self.adopt(id, loaded))
    }

    /// Has what the log of `id` says hold whatever happens, unless that is so.
    pub(super) async fn make_log_durable(&self, id: TicketId) -> Result<(), LookupError> {
        let _exclusive = self.loads.exclusive(id).await;
        // In memory its commit queue appends to the log; a later load syncs what is left then.
        if self.registry.loaded(id).is_none() {
            self.journal.load(id).await?.log.make_durable().await?;
        }
        Ok(())
    }

    /// Takes an upload into memory whose log was just made durable. Only under [`Loads::exclusive`]: then
    /// nobody has appended to it since.
    pub(super) fn adopt(self: &Arc<Self>, id: TicketId, loaded: Loaded) -> Arc<UploadHandle> {
        // Where others share it, one of them may be at it: it is due soon if none is.
        let publish = loaded.upload.awaits_publish() && self.sharing.is_none();
        let join = loaded.upload.awaits_join().then(|| loaded.upload.role().clone());
        if self.register(id, &loaded.upload)
            && let Some(parts) = loaded.upload.joined_parts()
        {
            // A crash may have come before that.
            self.release_later(id, parts);
        }
        let handle = UploadHandle::new(loaded, self.store.part(id), self.uptime());
        self.registry.lock().insert(id, Arc::clone(&handle));
        if let Some(role) = join {
            self.resume_join(id, &role);
        }
        // What a crash left unsynced.
        self.flush_if_due(&handle);
        if publish {
            // Completed just before a crash. Whoever asks sees it handed over in a moment.
            drop(self.submit(&handle, Op::Publish));
        }
        handle
    }

    /// Takes an upload into memory whose log this server has just begun, so that its first request need not read it, where
    /// few are in memory: most tickets are used at once. The caller has it [exclusively](Loads::exclusive).
    pub(super) fn adopt_new(self: &Arc<Self>, id: TicketId, loaded: Loaded) {
        if self.registry.lock().len() < MAX_ADOPTED {
            self.adopt(id, loaded);
        }
    }

    /// Lets uploads leave memory that nobody has asked for lately. Tells which would leave if their
    /// bytes were durable, ordered by id.
    pub(super) fn evict_idle(&self) -> Vec<Arc<UploadHandle>> {
        let now = self.uptime();
        let mut unsynced = Vec::new();
        let mut handles = self.registry.lock();
        handles.retain(|_, handle| {
            // Whoever works on an upload holds a second reference; under this lock none is added.
            if Arc::strong_count(handle) > 1 {
                return true;
            }
            let state = handle.lock();
            let busy = !state.queue.is_idle() || state.claims.count() > 0 || state.fault.is_some();
            let publish = state.upload.awaits_publish() && self.sharing.is_none();
            if busy || publish || now.since(state.touched) < IDLE_IN_MEMORY {
                return true;
            }
            if handle.log.has_unflushed() {
                unsynced.push(Arc::clone(handle));
                return true;
            }
            false
        });
        drop(handles);
        unsynced.sort_by_key(|handle| handle.id);
        unsynced
    }
}

/// A load that is under way.
struct Load {
    engine: Arc<Engine>,
    id: TicketId,
    /// Whether its outcome was reported.
    reported: bool,
}

impl Load {
    async fn run(mut self) {
        let outcome = {
            let turn = self.engine.loads.turns.acquire().await;
            let _turn = turn.expect("it is never closed");
            let load = Arc::clone(&self.engine).load_exclusively(self.id);
            let lost = || LookupError::Fault(Fault("reading the journal: it was lost".into()));
            self.engine.detached(load).await.unwrap_or_else(|| Err(lost()))
        };
        self.reported = true;
        for waiting in self.end() {
            // It may have gone.
            let _ = waiting.send(outcome.clone());
        }
    }

    fn end(&self) -> Vec<oneshot::Sender<Outcome>> {
        self.engine.loads.lock().remove(&self.id).unwrap_or_default()
    }
}

/// Whoever waits for a load that ends without an outcome learns that; the next one begins anew.
impl Drop for Load {
    fn drop(&mut self) {
        if !self.reported {
            drop(self.end());
        }
    }
}

/// Says where intact records lie behind a damaged one. With `ack = written` a power cut leaves such a log, and
/// nothing that was to outlive it is lost; otherwise the disk, or somebody, has changed it.
pub(super) fn report_damage(id: TicketId, loaded: &Loaded) {
    if let Some(Damage { at: damaged_at, whole_from }) = loaded.damage {
        tracing::error!(upload = %id.short(), damaged_at, whole_from, "journal record damaged; intact records follow it");
    }
}

/// Ids that one task at a time may work on.
#[derive(Default)]
struct Exclusive {
    ids: Mutex<HashSet<TicketId>>,
    left: Notify,
}

impl Exclusive {
    async fn enter(&self, id: TicketId) -> Entered<'_> {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.lock().insert(id) {
                return Entered { exclusive: self, id };
            }
            left.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<TicketId>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Entered<'a> {
    exclusive: &'a Exclusive,
    id: TicketId,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.exclusive.lock().remove(&self.id);
        self.exclusive.left.notify_waiters();
    }
}

/// New uploads come into memory with their tickets while there are fewer: some KiB each, for a minute.
const MAX_ADOPTED: usize = 1024;
/// Loads at once. Each holds a blocking thread and up to 2 MiB: a buffer of 1 MiB at most, and the upload; 4 MiB
/// more where the journal is damaged.
const MAX_LOADS: usize = 8;
/// Requests that wait for a load: as many as chunks may be in flight.
const MAX_WAITING: usize = 16_384;
/// Those of them that wait for one upload. A client has some tens of requests.
const MAX_WAITING_FOR_ONE: usize = 1024;
/// Lists of all uploads at once.
const MAX_LISTS: usize = 2;
/// A load takes milliseconds. Who waits for longer has a disk that hangs before it.
const DEADLINE: Duration = Duration::from_secs(60);
/// An upload stays in memory this long after it was last asked for: longer than the pause between
/// two chunks of a slow client, so that it is not read again for each.
const IDLE_IN_MEMORY: Duration = Duration::from_secs(60);
