//! What waits to be committed for one upload: operations, in the order in which they came, and their answers.

use super::context::RequestContext;
use super::error::{ChangeError, Fault};
use crate::core::command::Command;
use std::sync::Arc;
use tokio::sync::oneshot;

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
    /// The bytes of all records before an offset of the journal have been synced.
    NoteSync {
        /// That offset.
        before: u64,
        /// Keeps the journal from being replaced until this is done, so that the offset means what it meant.
        _syncing: Arc<()>,
    },
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
