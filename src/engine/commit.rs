//! The commit queue of one upload: every change passes through it, one group commit at a time.
//!
//! A group commit takes all changes that wait, syncs the data they claim, appends and syncs their records,
//! and only then applies them and answers. So chunks that end together share the syncs, a lone one
//! does not wait, and nothing in memory is ahead of the disk. A group commit runs to its end whatever
//! becomes of those who asked: dropping their futures changes nothing.

mod group;

use super::Engine;
use super::context::RequestContext;
use super::error::{ChangeError, Fault, TransferError};
use super::handle::UploadHandle;
use super::handle::{Op, PendingCommit, Queued};
use crate::core::command::Command;
use crate::core::event::Durability;
use crate::core::upload::{Phase, Upload};
use crate::storage::journal::{UpkeepError, Version};
use crate::storage::rounds::Weight;
use group::{GroupCommit, Reached};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

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
        let (mut more, mut length) = (0, upload.length());
        for queued in waiting {
            match &queued.op {
                Op::Change(Command::Store { extents, length: given, .. }) => {
                    if self.options().ack == Durability::Durable {
                        return Weight::Syncs;
                    }
                    more += extents.bytes();
                    length = length.or(*given);
                }
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
        let complete = length.is_some_and(|all| upload.received().bytes() + more >= all);
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

/// With `ack = written`: making durable, behind the acknowledgements, what has only been written. So a power cut costs
/// little, the sync at completion is short, and a clean stop leaves nothing unsynced.
impl Engine {
    /// Waits, where the bytes of an upload are too far ahead of the disk, until they are not. A disk that hangs delays a
    /// chunk for [`MOST_WAIT`] at most: its bytes are with the kernel, as `written` promises, and the next chunk waits again.
    ///
    /// Errors: the disk failed meanwhile, or the claim was fenced off.
    pub(super) async fn keep_pace(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        fence: Option<&CancellationToken>,
    ) -> Result<(), TransferError> {
        self.flush_if_due(handle);
        if !handle.log.flush_is_late() {
            return Ok(());
        }
        let near = async {
            loop {
                let mut released = pin!(handle.released.notified());
                released.as_mut().enable();
                if let Some(fault) = &handle.lock().fault {
                    return Err(TransferError::Fault(fault.clone()));
                }
                if !handle.log.flush_is_late() {
                    return Ok(());
                }
                self.flush_if_due(handle);
                released.await;
            }
        };
        tokio::select! {
            biased;
            () = cut_off(fence) => Err(self.fenced(handle)),
            near = timeout(MOST_WAIT, near) => near.unwrap_or(Ok(())),
        }
    }

    /// Makes the bytes of an upload durable in the background if that is worth it, again and again. One task for each upload,
    /// which waits for its turn: the disk's threads are for other work too.
    pub(super) fn flush_if_due(self: &Arc<Self>, handle: &Arc<UploadHandle>) {
        if !handle.log.flush_is_due() || handle.flushing.swap(true, Ordering::AcqRel) {
            return;
        }
        let (engine, handle) = (Arc::clone(self), Arc::clone(handle));
        let flushing = async move {
            let mut goes_on = true;
            while goes_on && handle.log.flush_is_due() {
                let _turn = engine.flushing.acquire().await;
                goes_on = engine.sync_written(&handle).await;
            }
            handle.flushing.store(false, Ordering::Release);
            if goes_on {
                // Who asked a moment ago was answered that one is under way.
                engine.flush_if_due(&handle);
            }
        };
        drop(tokio::spawn(self.tracker.track_future(flushing)));
    }

    /// Makes every byte of every upload durable that has only been written so far. For the end:
    /// nothing is written any more. Dropping the future may leave some unsynced.
    pub async fn sync_all_written(self: &Arc<Self>) {
        for handle in self.registry.all() {
            if handle.log.has_unflushed() {
                self.sync_written(&handle).await;
            }
        }
    }

    /// Makes the bytes of one upload durable, and its log say so. Answers whether it did. What fails has been logged.
    pub(super) async fn sync_written(self: &Arc<Self>, handle: &Arc<UploadHandle>) -> bool {
        match self.detached(self.flush(handle)).await {
            Some(Some(noted)) => noted.done().await.is_ok(),
            Some(None) | None => false,
        }
    }

    /// Makes the bytes of one upload durable, and has its log note that. `None` where there was nothing to do or the disk
    /// failed.
    fn flush(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
    ) -> impl Future<Output = Option<PendingCommit>> + Send + use<> {
        let (engine, handle) = (Arc::clone(self), Arc::clone(handle));
        async move {
            if handle.lock().fault.is_some() {
                return None;
            }
            let flushed = handle.log.flush(&*handle.part).await;
            if let Err(error) = &flushed {
                engine.latch(&handle, Fault::new("sync of the part", error));
            }
            handle.released.notify_waiters();
            flushed.ok()?;
            handle.log.wants_upkeep().then(|| engine.submit(&handle, Op::Upkeep))
        }
    }
}

/// A fence was cancelled. Cancel: nothing happens.
pub(super) async fn cut_off(fence: Option<&CancellationToken>) {
    match fence {
        Some(fence) => fence.cancelled().await,
        None => std::future::pending().await,
    }
}

/// A chunk waits for so long until its bytes are not too far ahead of the disk: proxies and clients give up after 30 to 60 s.
const MOST_WAIT: Duration = Duration::from_secs(20);
/// Uploads that are synced behind their acknowledgements at the same time.
pub(super) const FLUSHES: usize = 8;

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
