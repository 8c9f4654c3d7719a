//! One upload in memory: its state, the claims on it, the changes waiting for it.
//!
//! The state is exactly what the journal says; only the commit queue replaces it. The lock is short and
//! never held across IO or an await.

use super::claims::Claims;
use super::context::RequestContext;
use super::digest::Prefix;
use super::error::{ChangeError, Fault};
use super::pace::Pace;
use super::stats::Gauge;
use super::verify::budget::Comparing;
use crate::core::command::Command;
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::core::upload::Upload;
use crate::storage::journal::{Loaded, Log, Version};
use crate::storage::store::Part;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// An upload that somebody has asked for.
pub(super) struct UploadHandle {
    pub(super) id: TicketId,
    state: Mutex<State>,
    /// Its log, which the commit queue appends to.
    pub(super) log: Arc<dyn Log>,
    /// Its bytes, while they arrive.
    pub(super) part: Arc<dyn Part>,
    /// Where the upload stands: what long polls wait for. Sent only where that changes.
    pub(super) stands: watch::Sender<StateName>,
    /// Its chunks in flight.
    pub(super) chunks: Gauge,
    /// Its body bytes, for its rate.
    pub(super) pace: Pace,
    /// Its chunks over known bytes that are let pass.
    pub(super) duplicate_chunks: Gauge,
    /// Its long polls.
    pub(super) polls: Gauge,
    /// Its small calls.
    pub(super) small_calls: Gauge,
    /// Bytes of large answers about it that peers have not taken.
    pub(super) answer_bytes: Gauge,
    /// What comparing may still read of it.
    pub(super) comparing: Mutex<Comparing>,
    /// Wakes claims that wait for an older one, and chunks that are too far ahead of the disk.
    pub(super) released: Notify,
    /// A task that syncs what has only been written runs (`flush.rs`).
    pub(super) flushing: AtomicBool,
}

/// What the lock guards.
pub(super) struct State {
    pub(super) upload: Arc<Upload>,
    /// Up to where in its log that is.
    pub(super) version: Version,
    pub(super) claims: Claims,
    pub(super) queue: CommitQueue,
    /// The disk failed this upload: nothing more is written until a restart.
    pub(super) fault: Option<Fault>,
    /// When somebody last asked; lets idle uploads leave memory.
    pub(super) touched: Uptime,
    /// The digest of the file's beginning, where it is asked for.
    pub(super) prefix: Prefix,
    /// Nothing is left of it; a holder of this handle learns that there is no such upload.
    pub(super) forgotten: bool,
    /// What is kept of it, though it is over, is no longer wanted.
    pub(super) unwanted: bool,
    /// What it is being joined into, as a partial upload.
    pub(super) joining: Option<Arc<Join>>,
}

impl UploadHandle {
    pub(super) fn new(loaded: Loaded, part: Arc<dyn Part>, now: Uptime) -> Arc<Self> {
        let Loaded { upload, version, log, .. } = loaded;
        let id = upload.ticket().id;
        let stands = watch::Sender::new(upload.phase().state());
        Arc::new(Self {
            id,
            state: Mutex::new(State {
                prefix: Prefix::of(&upload),
                upload: Arc::new(upload),
                version,
                claims: Claims::default(),
                queue: CommitQueue::default(),
                fault: None,
                touched: now,
                forgotten: false,
                unwanted: false,
                joining: None,
            }),
            log,
            part,
            stands,
            chunks: Gauge::default(),
            pace: Pace::default(),
            duplicate_chunks: Gauge::default(),
            polls: Gauge::default(),
            small_calls: Gauge::default(),
            answer_bytes: Gauge::default(),
            comparing: Mutex::default(),
            released: Notify::new(),
            flushing: AtomicBool::new(false),
        })
    }

    /// Looks at the state, again each time a claim was given back, until `look` finds what it waits for. Dropping the
    /// future undoes nothing of what `look` did.
    pub(super) async fn when_released<T>(
        &self,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> T {
        loop {
            let released = self.released.notified();
            tokio::pin!(released);
            released.as_mut().enable();
            let found = look(&mut self.lock());
            if let Some(found) = found {
                return found;
            }
            released.await;
        }
    }

    /// The commit queue ended by a panic: nothing more is taken.
    pub(super) fn abandon(&self) {
        // A poisoned lock refuses everybody by itself.
        if let Ok(mut state) = self.state.lock() {
            state.fault.get_or_insert_with(|| Fault("a commit panicked".into()));
            state.queue.abandon();
        }
    }

    /// How the upload stands now.
    pub(super) fn upload(&self) -> Arc<Upload> {
        Arc::clone(&self.lock().upload)
    }

    /// The state, whole or not: for taking something out of it.
    pub(super) fn lock_poisoned(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Partial uploads on their way into a final one.
#[derive(Debug)]
pub(super) struct Join {
    /// The final upload.
    pub(super) into: TicketId,
    /// Its parts, in order.
    pub(super) parts: Arc<[TicketId]>,
    /// Cancelled when the parts are let go.
    pub(super) ended: CancellationToken,
}

/// The operations that wait for one upload.
#[derive(Default)]
pub(super) struct CommitQueue {
    pub(super) waiting: Vec<Queued>,
    /// Whether a thread runs it.
    pub(super) running: bool,
}

/// An operation that waits, and who waits for it.
pub(super) struct Queued {
    pub(super) op: Op,
    pub(super) context: Option<RequestContext>,
    reply: oneshot::Sender<Result<(), ChangeError>>,
}

/// What is asked of a commit.
#[derive(Debug)]
pub(super) enum Op {
    /// A change that the rules decide on.
    Change(Command),
    /// Publish a complete file, if that has not happened.
    Publish,
    /// Join it as a part, which keeps it from being cancelled and makes its bytes durable; what it was kept for before is
    /// void.
    Take(Arc<Join>, Option<TicketId>),
    /// Apply what other servers have recorded.
    Refresh,
    /// See to the log ([`crate::storage::journal::Log::upkeep`]).
    Upkeep,
    /// Cancel it if it has lain idle for too long and nobody is sending.
    Expire,
    /// Remove what is left of it if that is due.
    Forget,
}

/// The answer to a submitted operation, once it has been decided and made durable.
pub(super) struct PendingCommit(oneshot::Receiver<Result<(), ChangeError>>);

impl CommitQueue {
    /// Adds an operation that the present request asks for.
    pub(super) fn push(&mut self, op: Op) -> PendingCommit {
        let (reply, answer) = oneshot::channel();
        self.waiting.push(Queued { op, context: RequestContext::current(), reply });
        PendingCommit(answer)
    }

    /// Whether nothing waits or runs.
    pub(super) fn is_idle(&self) -> bool {
        !self.running && self.waiting.is_empty()
    }

    /// The thread that ran it is gone; those who wait learn that their change was lost.
    pub(super) fn abandon(&mut self) {
        self.running = false;
        self.waiting.clear();
    }
}

impl Queued {
    /// Tells who asked, if they still wait; what was committed stands in any case.
    pub(super) fn answer(self, answer: Result<(), ChangeError>) {
        let _ = self.reply.send(answer);
    }
}

impl PendingCommit {
    /// Waits for the answer. Dropping the future does not undo the change.
    pub(super) async fn done(self) -> Result<(), ChangeError> {
        self.0.await.unwrap_or_else(|_| Err(lost()))
    }

    /// The answer, if it is there already.
    pub(super) fn poll(&mut self) -> Option<Result<(), ChangeError>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => Some(Err(lost())),
        }
    }
}

fn lost() -> ChangeError {
    ChangeError::Fault(Fault("the commit was lost".into()))
}
