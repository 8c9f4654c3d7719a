//! The commit queue of one upload: every change passes through it, one group commit at a time.
//!
//! A group commit takes all changes that wait, syncs the data they claim, appends and syncs their records,
//! and only then applies them and answers. So chunks that end together share the syncs, a lone one
//! does not wait, and nothing in memory is ahead of the disk. A group commit runs to its end whatever
//! becomes of those who asked: dropping their futures changes nothing.

mod group;

use super::Engine;
use super::context::RequestContext;
use super::error::{ChangeError, Fault};
use super::handle::{LogFile, UploadHandle};
use super::status;
use crate::core::command::Command;
use crate::core::event::Durability;
use crate::core::upload::{Phase, Upload};
use group::{CommitError, GroupCommit};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The changes that wait for one upload.
#[derive(Default)]
pub(super) struct CommitQueue {
    waiting: Vec<Queued>,
    running: bool,
}

struct Queued {
    op: Op,
    context: Option<RequestContext>,
    reply: oneshot::Sender<Result<(), ChangeError>>,
}

/// What a job asks for.
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

impl PendingCommit {
    /// Waits for the answer. Dropping the future does not undo the change.
    pub(super) async fn done(self) -> Result<(), ChangeError> {
        self.0
            .await
            .unwrap_or_else(|_| Err(ChangeError::Fault(Fault("the commit was lost".into()))))
    }

    /// The answer, if it is there already.
    pub(super) fn poll(&mut self) -> Option<Result<(), ChangeError>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => None,
            Err(oneshot::error::TryRecvError::Closed) => {
                Some(Err(ChangeError::Fault(Fault("the commit was lost".into()))))
            }
        }
    }
}

impl CommitQueue {
    /// Whether nothing waits or runs.
    pub(super) fn is_idle(&self) -> bool {
        !self.running && self.waiting.is_empty()
    }

    /// Whoever ran it is gone; those who wait learn that their change was lost.
    pub(super) fn abandon(&mut self) {
        self.running = false;
        self.waiting.clear();
    }
}

/// Which thread a group commit runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// An async worker: only group commits that need no sync.
    Worker,
    /// A blocking thread.
    Blocking,
}

impl Engine {
    /// Submits an operation to the commit queue of `handle`. It happens, or is refused, even if the answer is
    /// never waited for.
    pub(super) fn submit(self: &Arc<Self>, handle: &Arc<UploadHandle>, op: Op) -> PendingCommit {
        let (reply, answer) = oneshot::channel();
        let context = RequestContext::current();
        let hop = {
            let mut state = handle.lock();
            state.queue.waiting.push(Queued { op, context, reply });
            if state.queue.running {
                return PendingCommit(answer);
            }
            state.queue.running = true;
            self.must_hop(&state.upload, &state.queue.waiting)
        };
        if hop {
            self.hop(handle)
        } else {
            self.run_queue(handle, Thread::Worker)
        }
        PendingCommit(answer)
    }

    /// Submits a change and waits for it.
    pub(super) async fn change(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        command: Command,
    ) -> Result<(), ChangeError> {
        self.submit(handle, Op::Change(command)).done().await
    }

    /// Has the commit queue see to the journal though no operation waits.
    pub(super) fn wake(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        if !std::mem::replace(&mut handle.lock().queue.running, true) {
            self.hop(handle);
        }
    }

    fn hop(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        let (engine, handle) = (Arc::clone(self), Arc::clone(handle));
        let token = self.tracker.token();
        self.blocking.spawn(move || {
            engine.run_queue(&handle, Thread::Blocking);
            drop(token);
        });
    }

    /// Whether a group commit with these jobs syncs or renames, or may wait for the disk at its records alone.
    fn must_hop(&self, upload: &Upload, jobs: &[Queued]) -> bool {
        if self.slow_disk.is_slow(Instant::now()) {
            return true;
        }
        let (mut more, mut length) = (0, upload.length());
        for job in jobs {
            match &job.op {
                Op::Change(Command::Store { extents, length: given, .. }) => {
                    if self.options().ack == Durability::Durable {
                        return true;
                    }
                    more += extents.bytes();
                    length = length.or(*given);
                }
                Op::Change(_) | Op::Publish | Op::NoteSync { .. } | Op::Expire | Op::Forget => {
                    return true;
                }
            }
        }
        // Together they may complete the file, and then it is published.
        upload.awaits_publish() || length.is_some_and(|all| upload.received().bytes() + more >= all)
    }

    fn run_queue(self: &Arc<Self>, handle: &Arc<UploadHandle>, thread: Thread) {
        let _abandoned = AbandonedByPanic(handle);
        loop {
            let compact = handle.may_compact();
            let jobs = {
                let mut state = handle.lock();
                if state.queue.waiting.is_empty() && !compact {
                    state.queue.running = false;
                    return;
                }
                let hop = compact || self.must_hop(&state.upload, &state.queue.waiting);
                if thread == Thread::Worker && hop {
                    drop(state);
                    return self.hop(handle);
                }
                if compact { Vec::new() } else { std::mem::take(&mut state.queue.waiting) }
            };
            if compact {
                self.compact(handle);
                continue;
            }
            match thread {
                Thread::Worker => self.slow_disk.run_here(|| self.commit_group(handle, jobs)),
                Thread::Blocking => self.commit_group(handle, jobs),
            }
        }
    }

    fn commit_group(self: &Arc<Self>, handle: &Arc<UploadHandle>, jobs: Vec<Queued>) {
        let before = {
            let state = handle.lock();
            let refused = if state.forgotten {
                Some(ChangeError::Unknown)
            } else {
                state.fault.clone().map(ChangeError::Fault)
            };
            if let Some(error) = refused {
                drop(state);
                return answer_all(jobs, &error);
            }
            state.upload.clone()
        };
        let group = GroupCommit { engine: self, handle, before: &before };
        match group.run(jobs.iter().map(|job| &job.op)) {
            Ok((after, answers)) => {
                self.applied(handle, &before, &after, cause_of(&jobs, &answers));
                if jobs.iter().any(|job| matches!(job.op, Op::Forget)) {
                    self.forget_if_due(handle, &after);
                }
                for (job, answer) in jobs.into_iter().zip(answers) {
                    // Whoever asked may have gone; the change stands.
                    let _ = job.reply.send(answer.map_err(ChangeError::Refused));
                }
            }
            Err(CommitError { reached, error }) => {
                if let Some(reached) = reached {
                    if reached.awaits_publish() {
                        // No client need come back for it.
                        self.reschedule(handle.id);
                    }
                    self.applied(handle, &before, &reached, None);
                }
                if let ChangeError::Fault(fault) = &error {
                    self.latch(handle, fault.clone());
                }
                answer_all(jobs, &error);
            }
        }
    }

    /// Swaps in the new state, which is durable now, and sees to what follows from it.
    fn applied(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        before: &Upload,
        after: &Upload,
        context: Option<&RequestContext>,
    ) {
        let acknowledged = after.received().bytes().saturating_sub(before.received().bytes());
        self.stats.acknowledged_bytes.inc_by(acknowledged);
        let over = !matches!(after.phase(), Phase::New | Phase::Uploading);
        if over {
            handle.seal();
        }
        let told = over || acknowledged > 0 || after.phase() != before.phase();
        {
            let mut state = handle.lock();
            state.upload = after.clone();
            if self.options().ack == Durability::Written {
                state.unsynced_bytes += acknowledged;
            }
            state.touched = self.uptime();
            if over {
                state.claims.fence_all();
                state.blob = None;
                state.unsynced_bytes = 0;
            }
        }
        // Only now: whoever is told of what is owed looks at the state.
        if told {
            self.follow_up(handle.id, before, after, context);
        }
        let stands = status::name(after.phase());
        handle.stands.send_if_modified(|before| std::mem::replace(before, stands) != stands);
    }

    /// Stops an upload whose disk has failed: nothing more is written or acknowledged.
    pub(super) fn latch(self: &Arc<Self>, handle: &Arc<UploadHandle>, fault: Fault) {
        tracing::error!(upload = %handle.id.short(), %fault, "upload stopped: the disk failed");
        self.stats.faults.inc();
        let mut state = handle.lock();
        state.fault.get_or_insert(fault);
        state.claims.fence_all();
        drop(state);
        let (handle, token) = (Arc::clone(handle), self.tracker.token());
        self.blocking.spawn(move || {
            let _token = token;
            let mut file = handle.log.lock().expect("no holder of this lock panics");
            if let LogFile::Open { log, .. } = &mut *file {
                log.note_fault();
            }
        });
    }
}

/// Sees to it that a commit queue whose group commit panicked does not stay taken for ever.
struct AbandonedByPanic<'a>(&'a UploadHandle);

impl Drop for AbandonedByPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon();
        }
    }
}

/// The request that a group commit follows from: of several that were taken together, the last one that got
/// what it asked for.
fn cause_of<'j, T, E>(jobs: &'j [Queued], answers: &[Result<T, E>]) -> Option<&'j RequestContext> {
    let done = jobs.iter().zip(answers).filter(|(_, answer)| answer.is_ok());
    done.filter_map(|(job, _)| job.context.as_ref()).last()
}

fn answer_all(jobs: Vec<Queued>, error: &ChangeError) {
    for job in jobs {
        // Whoever asked may have gone.
        let _ = job.reply.send(Err(error.clone()));
    }
}
