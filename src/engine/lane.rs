//! The lane of one upload: every change passes through it, one round at a time.
//!
//! A round takes all changes that wait, syncs the data they claim, appends and syncs their records,
//! and only then applies them and answers. So chunks that end together share the syncs, a lone one
//! does not wait, and nothing in memory is ahead of the disk. A round runs to its end whatever
//! becomes of those who asked: dropping their futures changes nothing.

use super::Engine;
use super::cause::Cause;
use super::error::{ChangeError, Fault};
use super::live::{Live, LogPlace};
use super::round::{Round, RoundError};
use super::status;
use crate::core::command::Command;
use crate::core::event::Durability;
use crate::core::upload::{Phase, Upload};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The changes that wait for one upload.
#[derive(Default)]
pub(super) struct Lane {
    waiting: Vec<Job>,
    running: bool,
}

struct Job {
    task: Task,
    cause: Option<Cause>,
    reply: oneshot::Sender<Result<(), ChangeError>>,
}

/// What a job asks for.
#[derive(Debug)]
pub(super) enum Task {
    /// A change that the rules decide on.
    Change(Command),
    /// Put a complete file in its place, if that has not happened.
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

/// The answer to a submitted task, once it has been decided and made durable.
pub(super) struct Pending(oneshot::Receiver<Result<(), ChangeError>>);

impl Pending {
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

impl Lane {
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

/// Which thread a round runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    /// An async worker: only rounds that need no sync.
    Worker,
    /// A blocking thread.
    Blocking,
}

impl Engine {
    /// Submits a task to the lane of `live`. It happens, or is refused, even if the answer is
    /// never waited for.
    pub(super) fn submit(self: &Arc<Self>, live: &Arc<Live>, task: Task) -> Pending {
        let (reply, answer) = oneshot::channel();
        let cause = Cause::current();
        let hop = {
            let mut state = live.lock();
            state.lane.waiting.push(Job { task, cause, reply });
            if state.lane.running {
                return Pending(answer);
            }
            state.lane.running = true;
            self.must_hop(&state.upload, &state.lane.waiting)
        };
        if hop {
            self.hop(live)
        } else {
            self.run_lane(live, On::Worker)
        }
        Pending(answer)
    }

    /// Submits a change and waits for it.
    pub(super) async fn change(
        self: &Arc<Self>,
        live: &Arc<Live>,
        command: Command,
    ) -> Result<(), ChangeError> {
        self.submit(live, Task::Change(command)).done().await
    }

    /// Has the lane see to the journal though no task waits.
    pub(super) fn wake(self: &Arc<Self>, live: &Arc<Live>) {
        if !std::mem::replace(&mut live.lock().lane.running, true) {
            self.hop(live);
        }
    }

    fn hop(self: &Arc<Self>, live: &Arc<Live>) {
        let (engine, live) = (Arc::clone(self), Arc::clone(live));
        let token = self.tracker.token();
        self.blocking.spawn(move || {
            engine.run_lane(&live, On::Blocking);
            drop(token);
        });
    }

    /// Whether a round with these jobs syncs or renames, or may wait for the disk at its records alone.
    fn must_hop(&self, upload: &Upload, jobs: &[Job]) -> bool {
        if self.slow_disk.is_slow(Instant::now()) {
            return true;
        }
        let (mut more, mut length) = (0, upload.length());
        for job in jobs {
            match &job.task {
                Task::Change(Command::Store { extents, length: given, .. }) => {
                    if self.options().ack == Durability::Durable {
                        return true;
                    }
                    more += extents.bytes();
                    length = length.or(*given);
                }
                Task::Change(_)
                | Task::Publish
                | Task::NoteSync { .. }
                | Task::Expire
                | Task::Forget => return true,
            }
        }
        // Together they may complete the file, and then it is published.
        upload.awaits_publish() || length.is_some_and(|all| upload.received().bytes() + more >= all)
    }

    fn run_lane(self: &Arc<Self>, live: &Arc<Live>, on: On) {
        let _abandoned = AbandonedByPanic(live);
        loop {
            let compact = live.may_compact();
            let jobs = {
                let mut state = live.lock();
                if state.lane.waiting.is_empty() && !compact {
                    state.lane.running = false;
                    return;
                }
                let hop = compact || self.must_hop(&state.upload, &state.lane.waiting);
                if on == On::Worker && hop {
                    drop(state);
                    return self.hop(live);
                }
                if compact { Vec::new() } else { std::mem::take(&mut state.lane.waiting) }
            };
            if compact {
                self.compact(live);
                continue;
            }
            match on {
                On::Worker => self.slow_disk.run_here(|| self.round(live, jobs)),
                On::Blocking => self.round(live, jobs),
            }
        }
    }

    fn round(self: &Arc<Self>, live: &Arc<Live>, jobs: Vec<Job>) {
        let before = {
            let state = live.lock();
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
        let round = Round { engine: self, live, before: &before };
        match round.run(jobs.iter().map(|job| &job.task)) {
            Ok((after, answers)) => {
                self.applied(live, &before, &after, cause_of(&jobs, &answers));
                if jobs.iter().any(|job| matches!(job.task, Task::Forget)) {
                    self.forget_if_due(live, &after);
                }
                for (job, answer) in jobs.into_iter().zip(answers) {
                    // Whoever asked may have gone; the change stands.
                    let _ = job.reply.send(answer.map_err(ChangeError::Refused));
                }
            }
            Err(RoundError { reached, error }) => {
                if let Some(reached) = reached {
                    if reached.awaits_publish() {
                        // No client need come back for it.
                        self.look_again(live.id);
                    }
                    self.applied(live, &before, &reached, None);
                }
                if let ChangeError::Fault(fault) = &error {
                    self.latch(live, fault.clone());
                }
                answer_all(jobs, &error);
            }
        }
    }

    /// Swaps in the new state, which is durable now, and sees to what follows from it.
    fn applied(
        self: &Arc<Self>,
        live: &Arc<Live>,
        before: &Upload,
        after: &Upload,
        cause: Option<&Cause>,
    ) {
        let acknowledged = after.received().bytes().saturating_sub(before.received().bytes());
        self.stats.acknowledged_bytes.add(acknowledged);
        let over = !matches!(after.phase(), Phase::New | Phase::Uploading);
        if over {
            live.seal();
        }
        let told = over || acknowledged > 0 || after.phase() != before.phase();
        {
            let mut state = live.lock();
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
            self.follow_up(live.id, before, after, cause);
        }
        let stands = status::name(after.phase());
        live.stands.send_if_modified(|before| std::mem::replace(before, stands) != stands);
    }

    /// Stops an upload whose disk has failed: nothing more is written or acknowledged.
    pub(super) fn latch(self: &Arc<Self>, live: &Arc<Live>, fault: Fault) {
        tracing::error!(upload = %live.id.short(), %fault, "upload stopped: the disk failed");
        self.stats.faults.add(1);
        let mut state = live.lock();
        state.fault.get_or_insert(fault);
        state.claims.fence_all();
        drop(state);
        let (live, token) = (Arc::clone(live), self.tracker.token());
        self.blocking.spawn(move || {
            let _token = token;
            let mut place = live.log.lock().expect("no holder of this lock panics");
            if let LogPlace::Open { log, .. } = &mut *place {
                log.note_fault();
            }
        });
    }
}

/// Sees to it that a lane whose round panicked does not stay taken for ever.
struct AbandonedByPanic<'a>(&'a Live);

impl Drop for AbandonedByPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abandon();
        }
    }
}

/// The request that a round follows from: of several that were taken together, the last one that got
/// what it asked for.
fn cause_of<'j, T, E>(jobs: &'j [Job], answers: &[Result<T, E>]) -> Option<&'j Cause> {
    let done = jobs.iter().zip(answers).filter(|(_, answer)| answer.is_ok());
    done.filter_map(|(job, _)| job.cause.as_ref()).last()
}

fn answer_all(jobs: Vec<Job>, error: &ChangeError) {
    for job in jobs {
        // Whoever asked may have gone.
        let _ = job.reply.send(Err(error.clone()));
    }
}
