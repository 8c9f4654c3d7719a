//! Uploads in object storage as the engine of any upload sees them: a journal and a store.
//!
//! The engine decides, counts and delivers as it does for files. What it appends goes into the log of the upload together
//! with the pieces that its bytes lie in; what only pieces are about, and what other servers append, it reads on or never
//! sees. So there is one log for each upload, and its rules stand once.
//!
//! Durability: [`Part::sync`] waits for the bucket to have what was written. Trouble with the bucket or the log is never a
//! fault that stops an upload: the same may be tried again ([`StoreError::Unavailable`]).

mod copying;
mod housekeeping;
mod journal;
mod log;
mod memory;
mod part;
mod staging;

use super::{Backing, ObjectChangeError, ObjectEngine, View};
use crate::core::id::TicketId;
use crate::core::object_command::ObjectCommand;
use crate::core::object_upload::ObjectUpload;
use crate::core::pieces::ObjectRange;
use crate::core::state::StateName;
use crate::core::upload::{Phase, Upload};
use crate::storage::agenda::Agenda;
use crate::storage::catalog::Catalog;
use crate::storage::event_log::LogError;
use crate::storage::journal::Journal;
use crate::storage::location::{Location, ObjectLocation};
use crate::storage::objects::{Description, Key, ObjectAnswer, ObjectError, ObjectRequest};
use crate::storage::promised::Promised;
use crate::storage::rounds::{Rounds, Weight};
use crate::storage::store::{
    ByteSink, Part, Parts, Published, Reader, Space, Store, StoreError, Unready,
};
use crate::storage::syncs::Counted;
use bytes::Bytes;
use housekeeping::Housekeeping;
pub(super) use housekeeping::RAREST;
use memory::Memory;
use part::BucketPart;
use staging::Staging;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Semaphore;

/// What belongs to a server beside the bucket and the logs.
pub struct Surroundings {
    /// What is known of all uploads together.
    pub place: Place,
    /// Bucket and key of an object.
    pub address: Box<dyn Fn(Key) -> (String, String) + Send + Sync>,
    /// A URL that reads an object for some time, where such are given out.
    pub link: Option<Box<LinkTo>>,
    /// Removes what is old and belongs to none of these uploads, which are all.
    pub sweep: Box<dyn Fn(Vec<TicketId>) -> Promised<'static, ()> + Send + Sync>,
    /// Whether the bucket does what is asked of it, and in which words it does not.
    pub health: Box<dyn Fn() -> Promised<'static, Result<(), Arc<str>>> + Send + Sync>,
    /// Bytes of bodies that wait for the bucket, of all uploads.
    pub memory_bytes: u64,
    /// Requests at once that store bytes of one upload.
    pub requests_of_one: usize,
}

/// Makes a URL that reads an object.
pub type LinkTo = dyn Fn(Key) -> Promised<'static, Result<String, ObjectError>> + Send + Sync;

/// Whose uploads these are.
pub enum Place {
    /// Those of this server, whose logs lie in its directory.
    Directory {
        /// Counts the time that servers run.
        time: Arc<dyn Journal>,
        /// The directory of the server.
        directory: Arc<dyn Store>,
        /// The uploads that have a log.
        ids: Box<dyn Fn() -> Promised<'static, Result<Vec<TicketId>, LogError>> + Send + Sync>,
    },
    /// Those of several servers, which keep nothing.
    Shared(Arc<dyn Agenda>),
}

impl Place {
    fn directory(&self) -> Option<&dyn Store> {
        match self {
            Self::Directory { directory, .. } => Some(&**directory),
            Self::Shared(_) => None,
        }
    }
}

/// Uploads in object storage.
pub struct BucketStorage<B: Backing + 'static>(Arc<Shared<B>>);

struct Shared<B: Backing + 'static> {
    engine: ObjectEngine<B>,
    beside: Surroundings,
    memory: Memory,
    housekeeping: Housekeeping,
    /// Those in memory.
    in_memory: Mutex<HashMap<TicketId, Weak<InMemory<B>>>>,
    /// All that are known, where this server alone has them.
    catalog: Catalog,
    /// What the bucket says of files.
    described: Mutex<HashMap<TicketId, Description>>,
}

impl<B: Backing + 'static> BucketStorage<B> {
    /// Over what `engine` uses.
    pub fn new(engine: ObjectEngine<B>, beside: Surroundings) -> Arc<Self> {
        let memory = Memory::new(beside.memory_bytes);
        let (housekeeping, in_memory, catalog, described) = Default::default();
        Arc::new(Self(Arc::new(Shared {
            engine,
            beside,
            memory,
            housekeeping,
            in_memory,
            catalog,
            described,
        })))
    }
}

/// An upload in memory.
struct InMemory<B: Backing + 'static> {
    id: TicketId,
    shared: Arc<Shared<B>>,
    staging: Staging,
    /// Memory for its bodies.
    memory: Arc<Semaphore>,
    /// Turns of what they store: others have some as well, however many bodies it has.
    requests: Semaphore,
}

impl<B: Backing + 'static> Drop for InMemory<B> {
    fn drop(&mut self) {
        let mut all = lock(&self.shared.in_memory);
        // It may be in memory again.
        if all.get(&self.id).is_some_and(|it| it.strong_count() == 0) {
            all.remove(&self.id);
            lock(&self.shared.described).remove(&self.id);
            self.shared.engine.forget_view(self.id);
        }
    }
}

impl<B: Backing + 'static> Shared<B> {
    /// One for all who have the upload in memory.
    fn in_memory(self: &Arc<Self>, id: TicketId) -> Arc<InMemory<B>> {
        let mut all = lock(&self.in_memory);
        if let Some(known) = all.get(&id).and_then(Weak::upgrade) {
            return known;
        }
        let (shared, staging) = (Arc::clone(self), Staging::default());
        let memory = self.memory.of_one();
        let requests = Semaphore::new(self.beside.requests_of_one.max(1));
        let fresh = Arc::new(InMemory { id, shared, staging, memory, requests });
        all.insert(id, Arc::downgrade(&fresh));
        fresh
    }

    fn note_state(&self, id: TicketId, state: StateName) {
        if let Place::Directory { .. } = self.beside.place {
            self.catalog.set(id, state);
        }
    }

    async fn view(&self, id: TicketId) -> Result<View, StoreError> {
        self.engine.view(id).await.map_err(unavailable)
    }

    /// Removes what an end has released; a file that failed to be handed over with it.
    async fn withdraw(&self, id: TicketId) -> Result<(), StoreError> {
        let view = match self.engine.view(id).await {
            Err(ObjectChangeError::Unknown) => return Ok(()),
            view => view.map_err(unavailable)?,
        };
        if matches!(view.upload.upload().phase(), Phase::Failed { .. }) {
            let release = ObjectCommand::Release { kept: std::time::Duration::ZERO };
            self.engine.change(id, release).await.map_err(unavailable)?;
        }
        self.engine.clean(id).await.map_err(unavailable)
    }

    async fn describe(&self, id: TicketId) -> Result<Option<Description>, StoreError> {
        let Some(name) = self.view(id).await?.upload.kept_object() else { return Ok(None) };
        match self.engine.ask_again(ObjectRequest::Describe(Key { id, name })).await {
            Ok(ObjectAnswer::Described(description)) => {
                lock(&self.described).insert(id, description.clone());
                Ok(Some(description))
            }
            Err(ObjectError::Gone) => Ok(None),
            other => Err(unavailable(ObjectChangeError::Store(refusal(other)))),
        }
    }

    async fn get(&self, id: TicketId, range: ObjectRange) -> Result<Bytes, StoreError> {
        match self.engine.ask_again(ObjectRequest::Get(id, range)).await {
            Ok(ObjectAnswer::Bytes(bytes)) => Ok(bytes),
            other => Err(unavailable(ObjectChangeError::Store(refusal(other)))),
        }
    }
}

impl<B: Backing + 'static> Parts for BucketStorage<B> {
    fn part(&self, id: TicketId) -> Arc<dyn Part> {
        Arc::new(BucketPart(self.0.in_memory(id)))
    }

    fn copies(&self) -> bool {
        true
    }

    /// Of the grid that it has, or is going to have.
    fn align(&self, upload: &Upload) -> Option<u64> {
        let view = self.0.engine.remembered(upload.ticket().id);
        let set = view.and_then(|view| view.upload.pieces().grid());
        let planned =
            || ObjectUpload::planned_grid(upload, None, &self.0.engine.backing().limits());
        Some(set.or_else(|| planned().ok())?.cell_bytes())
    }
}

impl<B: Backing + 'static> Published for BucketStorage<B> {
    fn location(&self, id: TicketId) -> Location {
        let view = self.0.engine.remembered(id);
        let name = view.and_then(|view| view.upload.pieces().published());
        // Asked for uploads alone that are in memory and published.
        let (bucket, key) =
            name.map(|name| (self.0.beside.address)(Key { id, name })).unwrap_or_default();
        let Description { etag, version, .. } =
            lock(&self.0.described).get(&id).cloned().unwrap_or_default();
        Location::Object(ObjectLocation { bucket, key, etag, version })
    }

    fn link(&self, id: TicketId) -> Promised<'_, Result<Option<String>, StoreError>> {
        let Some(link) = &self.0.beside.link else { return Promised::ready(Ok(None)) };
        Promised::later(async move {
            let Some(name) = self.0.view(id).await?.upload.pieces().published() else {
                return Ok(None);
            };
            let made = link(Key { id, name }).await;
            made.map(Some).map_err(|error| unavailable(ObjectChangeError::Store(error)))
        })
    }

    fn published(&self, id: TicketId) -> Promised<'_, Result<Option<u64>, StoreError>> {
        Promised::later(async move {
            Ok(self.0.describe(id).await?.map(|description| description.bytes))
        })
    }

    fn reader(&self, id: TicketId, from: u64) -> Box<dyn Reader> {
        Box::new(BucketReader { shared: Arc::clone(&self.0), id, from })
    }

    /// There may be: what is left of an upload that is over is removed again.
    fn has_part(&self, _: TicketId) -> Promised<'_, bool> {
        Promised::ready(true)
    }

    fn tidies(&self) -> bool {
        true
    }

    fn tidy(&self, id: TicketId) -> Promised<'_, Result<(), StoreError>> {
        Promised::later(async move {
            match self.0.engine.clean(id).await {
                Ok(()) | Err(ObjectChangeError::Unknown) => Ok(()),
                Err(error) => Err(unavailable(error)),
            }
        })
    }

    fn discard(&self, id: TicketId) -> Promised<'_, Result<(), StoreError>> {
        Promised::later(self.0.withdraw(id))
    }

    fn withdraw(&self, id: TicketId) -> Promised<'_, Result<(), StoreError>> {
        Promised::later(self.0.withdraw(id))
    }
}

/// Reads a file in the bucket, a range at a time.
struct BucketReader<B: Backing + 'static> {
    shared: Arc<Shared<B>>,
    id: TicketId,
    from: u64,
}

impl<B: Backing + 'static> Reader for BucketReader<B> {
    fn next(
        mut self: Box<Self>,
        bytes: u64,
        mut sink: Box<ByteSink>,
    ) -> Promised<'static, Result<Option<Box<dyn Reader>>, StoreError>> {
        Promised::later(async move {
            let view = self.shared.view(self.id).await?;
            let length = view.upload.upload().length().unwrap_or_default();
            let left = length.saturating_sub(self.from).min(bytes);
            let Some(object) = view.upload.pieces().published().filter(|_| left > 0) else {
                return Ok(None);
            };
            let range = ObjectRange { object, offset: self.from, bytes: left };
            let read = self.shared.get(self.id, range).await?;
            // Hashing delays no connection there.
            let sunk = tokio::task::spawn_blocking(move || sink(&read)).await;
            sunk.map_err(|lost| StoreError::Fault(lost.into()))?;
            self.from += left;
            Ok(Some(self as Box<dyn Reader>))
        })
    }
}

impl<B: Backing + 'static> Rounds for BucketStorage<B> {
    fn is_quick(&self, _: Weight) -> bool {
        false
    }

    fn run(&self, round: Pin<Box<dyn Future<Output = ()> + Send>>) {
        tokio::spawn(round);
    }
}

impl<B: Backing + 'static> Space for BucketStorage<B> {
    fn keep_free(&self, bytes: u64) {
        if let Some(directory) = self.0.beside.place.directory() {
            directory.keep_free(bytes);
        }
    }

    fn free_bytes(&self) -> Promised<'_, Option<u64>> {
        Promised::ready(None)
    }

    fn reserved_bytes(&self) -> u64 {
        0
    }

    fn has_room(&self) -> Promised<'_, Result<bool, StoreError>> {
        match self.0.beside.place.directory() {
            Some(directory) => directory.has_room(),
            None => Promised::ready(Ok(true)),
        }
    }

    fn waiting_bytes(&self) -> (u64, u64) {
        (self.0.memory.waiting_bytes(), self.0.beside.memory_bytes)
    }

    fn ready(&self) -> Promised<'_, Result<(), Unready>> {
        Promised::later(async move {
            match &self.0.beside.place {
                Place::Directory { directory, .. } => directory.ready().await?,
                Place::Shared(agenda) => agenda.well().await?,
            }
            (self.0.beside.health)().await.map_err(Unready::Remote)
        })
    }

    fn turn(&self) -> Promised<'_, ()> {
        match self.0.beside.place.directory() {
            Some(directory) => directory.turn(),
            None => Promised::ready(()),
        }
    }

    fn counted(&self) -> Counted {
        self.0.beside.place.directory().map(|it| it.counted()).unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was asked did not happen, or it is not known whether it did: the same may be tried again.
fn unavailable(error: ObjectChangeError) -> StoreError {
    match error {
        ObjectChangeError::Store(ObjectError::Full) => StoreError::NoSpace,
        error => {
            tracing::warn!(%error, "object storage failed");
            StoreError::Unavailable
        }
    }
}

/// Why there is no answer of the kind that was asked for.
fn refusal(answer: Result<ObjectAnswer, ObjectError>) -> ObjectError {
    answer.err().unwrap_or(ObjectError::Unsure)
}
