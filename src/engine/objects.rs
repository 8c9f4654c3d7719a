//! Uploads in object storage that several servers take in, publish and hand over at the same time, with no owner, lock or
//! lease: a shared log decides every race.
//!
//! Each procedure may be dropped at every point where it waits, and may run on several servers at once. Bytes are stored
//! first, under names that no second write ever uses, and count by the append that names them. What is not known to have
//! happened is never taken for done, nor for not done.
//!
//! [`storage`] is what the engine of any upload meets of it: a journal and a store. What is due stands beside the logs
//! ([`crate::storage::agenda`]).

mod at_once;
mod calls;
mod changes;
mod clean;
mod generation;
mod intake;
mod publish;
mod seal;
mod shared;
pub mod storage;

pub use calls::Call;
pub use intake::Chunk;
pub use shared::{SharedBacking, SharedClock};

use crate::core::event::CallOutcome;
use crate::core::id::TicketId;
use crate::core::object_command::ObjectLimits;
use crate::core::object_upload::ObjectUpload;
use crate::core::piece_event::{ObjectEvent, ObjectName, Purpose};
use crate::core::pieces::Generation;
use crate::core::refusal::Refusal;
use crate::core::time::Stamp;
use crate::core::upload::Upload;
use crate::storage::event_log::{EventLog, Marks, Seen};
use crate::storage::objects::{ObjectError, Objects};
use publish::CopyingMemory;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What the procedures use: the shared log, the bucket, clocks and chance.
pub trait Backing: EventLog + Objects {
    /// The moment, by the log's clock, which all servers share.
    fn now(&self) -> Stamp;

    /// Milliseconds by this server's own clock, which runs while it is suspended.
    fn local_ms(&self) -> u64;

    /// 64 random bits.
    fn random(&self) -> u64;

    /// A name that no other object has or will have.
    fn name(&self, purpose: Purpose) -> ObjectName;

    /// Waits.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send;

    /// The settings of this server.
    fn limits(&self) -> ObjectLimits;
}

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct ObjectTuning {
    /// A generation is sealed when it is older: stores and their rules remove unfinished multipart uploads.
    pub multipart_lifetime: Duration,
    /// Background work is held for this long.
    pub hold: Duration,
    /// A call to the backend is held for this long.
    pub call_hold: Duration,
    /// The pause before it is believed that something is missing.
    pub second_look: Duration,
    /// The pause before a request is repeated.
    pub pause: Duration,
    /// A request is made so many times.
    pub tries: u32,
}

/// A server's part in it.
pub struct ObjectEngine<B> {
    backing: B,
    /// Names this server in holds.
    server: u64,
    tuning: ObjectTuning,
    /// What was last seen; may be old at any time.
    views: Mutex<BTreeMap<TicketId, View>>,
    /// What others are to find an upload by, where an append changes it.
    marking: Option<Box<Marking>>,
    /// Histories begun to be read.
    histories: AtomicU64,
    /// Memory for what is read to be put together, of all uploads.
    copying: CopyingMemory,
    /// Whether the store was found to call objects otherwise than by their parts.
    odd_etags: AtomicBool,
}

/// What an upload is found by that was as the first, if it was, and is as the second; `None` where that stays as it is.
pub type Marking = dyn Fn(Option<&Upload>, &Upload) -> Option<Marks> + Send + Sync;

/// An upload, as of some append.
#[derive(Clone, Debug)]
pub struct View {
    /// The last append that it is made of.
    pub seen: Seen,
    /// The number of the last append that says something of it as of any upload.
    pub plain_seq: u64,
    /// Names what was read from its first append on. A log that was set back is another one.
    pub history: u64,
    /// The upload.
    pub upload: Arc<ObjectUpload>,
}

/// A change that was made, or had been made already.
#[derive(Debug)]
pub struct Changed {
    /// The upload with it.
    pub view: View,
    /// The events that were appended for it; none where there was nothing to change.
    pub events: Arc<[ObjectEvent]>,
}

/// A change was not made, or it is not known whether it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectChangeError {
    /// There is no such upload.
    #[error("there is no such upload")]
    Unknown,
    /// The rules refuse it.
    #[error("{0}")]
    Refused(Refusal),
    /// The log gave no clear answer: the change may have been made, or may be made later. Nothing that it names may be
    /// removed.
    #[error("no clear answer from the log")]
    Unsure,
    /// The bucket did not do what it was asked for.
    #[error("{0}")]
    Store(#[from] ObjectError),
}

impl<B: Backing> ObjectEngine<B> {
    /// A server that knows nothing yet.
    pub fn new(backing: B, server: u64, tuning: ObjectTuning) -> Self {
        let (views, marking, histories, odd_etags) = Default::default();
        let copying = CopyingMemory::for_cells(backing.limits().part_bytes);
        Self { backing, server, tuning, views, marking, histories, copying, odd_etags }
    }

    /// The same, that marks its appends.
    #[must_use]
    pub fn marking(self, marking: Box<Marking>) -> Self {
        Self { marking: Some(marking), ..self }
    }

    /// What it uses.
    pub fn backing(&self) -> &B {
        &self.backing
    }

    /// What is in memory of an upload.
    pub fn remembered(&self, id: TicketId) -> Option<View> {
        self.views().get(&id).cloned()
    }

    /// Keeps nothing in memory of an upload.
    fn forget_view(&self, id: TicketId) {
        self.views().remove(&id);
    }

    /// Whether the open generation of an upload is to be sealed.
    fn is_aged(&self, view: &View) -> bool {
        let age = |current: &Generation| self.backing.now().uptime.since(current.opened.uptime);
        let current = view.upload.pieces().current();
        current.is_some_and(|current| age(current) >= self.tuning.multipart_lifetime)
    }

    /// The pause between two looks for such: a part of their life, so that they are sealed not much later.
    fn seals_within(&self) -> Duration {
        (self.tuning.multipart_lifetime / 20).clamp(Duration::from_secs(1), storage::RAREST)
    }

    fn views(&self) -> MutexGuard<'_, BTreeMap<TicketId, View>> {
        self.views.lock().expect("no holder of this lock panics")
    }

    async fn pause(&self) {
        self.backing.sleep(self.tuning.pause).await;
    }
}

/// What a call to the backend came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The backend has taken the file, or knows of the cancel.
    Delivered,
    /// Anything else.
    Open(CallOutcome),
    /// It was the last one.
    GivenUp(String),
}

#[cfg(test)]
mod tests;
