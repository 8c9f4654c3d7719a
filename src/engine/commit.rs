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
use super::handle::{Op, PendingCommit, Queued, UploadHandle};
use crate::core::command::Command;
use crate::core::event::Durability;
use crate::core::upload::{Phase, Upload};
use crate::storage::journal::{UpkeepError, Version};
use crate::storage::rounds::Weight;
use group::{GroupCommit, Reached};
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

/// Where a commit queue runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thread {
    /// Where the operation was submitted: only group commits that are quick.
    Submitter,
    /// Where storage runs its rounds.
    Storage,
}

impl Engine {
    /// Submits an operation to the commit queue of `handle`. It happens, or is refused, even if the answer is
    /// never waited for.
    pub(super) fn submit(self: &Arc<Self>, handle: &Arc<UploadHandle>, op: Op) -> PendingCommit {
        let (pending, weight) = {
            let mut state = handle.lock();
            let pending = state.queue.push(op);
            if state.queue.running {
                return pending;
            }
            state.queue.running = true;
            (pending, self.weight(&state.upload, &state.queue.waiting))
        };
        if self.store.is_quick(weight) {
            self.run_here(handle);
        } else {
            self.hop(handle);
        }
        pending
    }

    /// Submits a change and waits for it.
    pub(super) async fn change(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        command: Command,
    ) -> Result<(), ChangeError> {
        self.submit(handle, Op::Change(command)).done().await
    }

    fn run_here(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        let mut run = Box::pin(self.run_queue(handle, Thread::Submitter));
        if run.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(run);
        }
    }

    fn hop(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        self.store.run(Box::pin(self.run_queue(handle, Thread::Storage)));
    }

    /// What a group commit of these operations waits for.
    fn weight(&self, upload: &Upload, waiting: &[Queued]) -> Weight {
        let (mut more, mut length) = (None, upload.length());
        for queued in waiting {
            match &queued.op {
                Op::Change(Command::Store { extents, length: given, .. }) => {
                    if self.options().ack == Durability::Durable {
                        return Weight::Syncs;
                    }
                    more = Some(more.unwrap_or(0) + extents.bytes());
                    length = length.or(*given);
                }
                Op::Change(Command::BeginCall) if !upload.call_decides() => {}
                Op::Change(_)
                | Op::Publish
                | Op::Take(..)
                | Op::Refresh
                | Op::Upkeep
                | Op::Expire
                | Op::Forget => {
                    return Weight::Syncs;
                }
            }
        }
        // Together they may complete the file, and then it is published.
        let complete =
            more.zip(length).is_some_and(|(more, all)| upload.received().bytes() + more >= all);
        if upload.awaits_publish() || complete { Weight::Syncs } else { Weight::Writes }
    }

    /// Commits what waits, until nothing does. Runs to its end: whoever submitted something may be gone.
    fn run_queue(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        thread: Thread,
    ) -> impl Future<Output = ()> + Send + use<> {
        // From now on, though it may not have begun: a stop waits for it.
        let token = self.tracker.token();
        let (engine, handle) = (Arc::clone(self), Arc::clone(handle));
        async move {
            engine.commit_all(handle, thread).await;
            drop(token);
        }
    }

    async fn commit_all(self: Arc<Self>, handle: Arc<UploadHandle>, thread: Thread) {
        let _abandoned = AbandonedByPanic(&handle);
        loop {
            let (queued, upkeep) = {
                let mut state = handle.lock();
                let over = state.fault.is_some() || state.forgotten;
                let upkeep = !over && handle.log.wants_upkeep();
                if state.queue.waiting.is_empty() && !upkeep {
                    state.queue.running = false;
                    return;
                }
                let weight = match upkeep {
                    true => Weight::Syncs,
                    false => self.weight(&state.upload, &state.queue.waiting),
                };
                if thread == Thread::Submitter && !self.store.is_quick(weight) {
                    drop(state);
                    return self.hop(&handle);
                }
                match upkeep {
                    true => (Vec::new(), Some(Arc::clone(&state.upload))),
                    false => (std::mem::take(&mut state.queue.waiting), None),
                }
            };
            match upkeep {
                Some(upload) => {
                    if let Err(UpkeepError { what, error }) = handle.log.upkeep(upload).await {
                        self.latch(&handle, Fault::new(what, &error));
                    }
                    // Another flush may be due only now.
                    handle.released.notify_waiters();
                }
                None => self.commit_group(&handle, queued).await,
            }
        }
    }

    async fn commit_group(self: &Arc<Self>, handle: &Arc<UploadHandle>, queued: Vec<Queued>) {
        let (before, version) = {
            let state = handle.lock();
            let refused = if state.forgotten {
                Some(ChangeError::Unknown)
            } else {
                state.fault.clone().map(ChangeError::Fault)
            };
            if let Some(error) = refused {
                drop(state);
                return answer_all(queued, &error);
            }
            (Arc::clone(&state.upload), state.version)
        };
        let mut group = GroupCommit::new(self, handle, &before, version);
        let outcome = group.run(&queued).await;
        let Reached { base, upload: after, version } = group.reached();
        match outcome {
            Ok(answers) => {
                let context = context_of(&queued, &answers);
                self.applied(handle, [&before, &base], &after, version, context).await;
                if queued.iter().any(|queued| matches!(queued.op, Op::Forget)) {
                    self.forget_if_due(handle, &after).await;
                }
                for (queued, answer) in queued.into_iter().zip(answers) {
                    queued.answer(answer.map_err(ChangeError::Refused));
                }
            }
            Err(error) => {
                // What was recorded stands all the same.
                if !Arc::ptr_eq(&before, &after) {
                    if after.awaits_publish() {
                        // No client need come back for it.
                        self.reschedule(handle.id);
                    }
                    self.applied(handle, [&before, &base], &after, version, None).await;
                }
                if let ChangeError::Fault(fault) = &error {
                    self.latch(handle, fault.clone());
                }
                answer_all(queued, &error);
            }
        }
    }

    /// Swaps in the new state, which is durable now, and sees to what follows from it: from what was recorded by this
    /// server, which began where others had left it.
    async fn applied(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        [before, base]: [&Upload; 2],
        after: &Arc<Upload>,
        version: Version,
        context: Option<&RequestContext>,
    ) {
        let acknowledged = after.received().bytes().saturating_sub(base.received().bytes());
        self.stats.acknowledged_bytes.inc_by(acknowledged);
        let over = !matches!(after.phase(), Phase::New | Phase::Uploading);
        if over {
            handle.part.seal().await;
            handle.part.close();
        }
        let changed = over || acknowledged > 0 || after.phase() != before.phase();
        {
            let mut state = handle.lock();
            state.upload = Arc::clone(after);
            state.version = version;
            state.touched = self.uptime();
            if over {
                state.claims.fence_all();
            }
        }
        // Only now: what is enqueued is read from the state.
        if changed {
            self.follow_up(handle.id, base, after, context).await;
        }
        let stands = after.phase().state();
        handle.stands.send_if_modified(|before| std::mem::replace(before, stands) != stands);
    }

    /// Stops an upload whose disk has failed: nothing more is written or acknowledged.
    pub(super) fn latch(self: &Arc<Self>, handle: &Arc<UploadHandle>, fault: Fault) {
        tracing::error!(upload = %handle.id.short(), error = %fault, "upload stopped: the disk failed");
        self.stats.faults.inc();
        let mut state = handle.lock();
        state.fault.get_or_insert(fault);
        state.claims.fence_all();
        drop(state);
        // Who waits for a join learns that it has ended.
        handle.stands.send_modify(|_| {});
        let (handle, token) = (Arc::clone(handle), self.tracker.token());
        self.store.run(Box::pin(async move {
            let _token = token;
            handle.log.note_fault().await;
        }));
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
fn context_of<'q, T, E>(
    queued: &'q [Queued],
    answers: &[Result<T, E>],
) -> Option<&'q RequestContext> {
    let done = queued.iter().zip(answers).filter(|(_, answer)| answer.is_ok());
    done.filter_map(|(queued, _)| queued.context.as_ref()).last()
}

fn answer_all(queued: Vec<Queued>, error: &ChangeError) {
    queued.into_iter().for_each(|queued| queued.answer(Err(error.clone())));
}
