//! The lane of one upload: every change passes through it, one round at a time.
//!
//! A round takes all changes that wait, syncs the data they claim, appends and syncs their records,
//! and only then applies them and answers. So chunks that end together share the syncs, a lone one
//! does not wait, and nothing in memory is ahead of the disk. A round runs to its end whatever
//! becomes of those who asked: dropping their futures changes nothing.

use super::Engine;
use super::error::{ChangeError, Fault};
use super::live::{Live, LogPlace};
use crate::core::command::Command;
use crate::core::event::{Durability, Event};
use crate::core::refusal::Refusal;
use crate::core::upload::{Phase, Upload};
use crate::journal::log::{Log, LogError};
use crate::journal::record::Record;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The changes that wait for one upload.
#[derive(Default)]
pub(super) struct Lane {
    waiting: Vec<Job>,
    running: bool,
}

struct Job {
    task: Task,
    reply: oneshot::Sender<Result<(), ChangeError>>,
}

/// What a job asks for.
#[derive(Debug)]
pub(super) enum Task {
    /// A change that the rules decide on.
    Change(Command),
    /// Put a complete file in its place, if that has not happened.
    Publish,
    /// The bytes of all records before this offset of the journal have been synced.
    NoteSync(u64),
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
        let hop = {
            let mut state = live.lock();
            state.lane.waiting.push(Job { task, reply });
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

    fn hop(self: &Arc<Self>, live: &Arc<Live>) {
        let (engine, live) = (Arc::clone(self), Arc::clone(live));
        let token = self.tracker.token();
        tokio::task::spawn_blocking(move || {
            engine.run_lane(&live, On::Blocking);
            drop(token);
        });
    }

    /// Whether a round with these jobs syncs or renames.
    fn must_hop(&self, upload: &Upload, jobs: &[Job]) -> bool {
        let (mut more, mut length) = (0, upload.length());
        for job in jobs {
            match &job.task {
                Task::Change(Command::Store { extents, length: given, .. }) => {
                    if self.options.ack == Durability::Durable {
                        return true;
                    }
                    more += extents.bytes();
                    length = length.or(*given);
                }
                Task::NoteSync(_) => {}
                Task::Change(_) | Task::Publish => return true,
            }
        }
        // Together they may complete the file, and then it is published.
        upload.awaits_publish() || length.is_some_and(|all| upload.received().bytes() + more >= all)
    }

    fn run_lane(self: &Arc<Self>, live: &Arc<Live>, on: On) {
        loop {
            let jobs = {
                let mut state = live.lock();
                if state.lane.waiting.is_empty() {
                    state.lane.running = false;
                    return;
                }
                if on == On::Worker && self.must_hop(&state.upload, &state.lane.waiting) {
                    drop(state);
                    return self.hop(live);
                }
                std::mem::take(&mut state.lane.waiting)
            };
            self.round(live, jobs);
        }
    }

    fn round(self: &Arc<Self>, live: &Arc<Live>, jobs: Vec<Job>) {
        let before = {
            let state = live.lock();
            if let Some(fault) = state.fault.clone() {
                drop(state);
                return answer_all(jobs, &ChangeError::Fault(fault));
            }
            state.upload.clone()
        };
        let round = Round { engine: self, live, before: &before };
        match round.run(&jobs) {
            Ok((after, answers)) => {
                self.applied(live, &before, &after);
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
                    self.applied(live, &before, &reached);
                }
                if let ChangeError::Fault(fault) = &error {
                    self.latch(live, fault.clone());
                }
                answer_all(jobs, &error);
            }
        }
    }

    /// Swaps in the new state, which is durable now, and sees to what follows from it.
    fn applied(self: &Arc<Self>, live: &Arc<Live>, before: &Upload, after: &Upload) {
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
            state.unsynced_bytes += acknowledged;
            state.touched = self.clock.now();
            if over {
                state.claims.fence_all();
                state.blob = None;
            }
        }
        // Only now: whoever is told of what is owed looks at the state.
        if told {
            self.follow_up(live.id, before, after);
        }
        live.changed.send_replace(());
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
        tokio::task::spawn_blocking(move || {
            let _token = token;
            let mut place = live.log.lock().expect("no holder of this lock panics");
            if let LogPlace::Open { log, .. } = &mut *place {
                log.note_fault();
            }
        });
    }
}

fn answer_all(jobs: Vec<Job>, error: &ChangeError) {
    for job in jobs {
        // Whoever asked may have gone.
        let _ = job.reply.send(Err(error.clone()));
    }
}

/// A round that did not end well, and the state that is durable all the same.
struct RoundError {
    reached: Option<Box<Upload>>,
    error: ChangeError,
}

impl From<ChangeError> for RoundError {
    fn from(error: ChangeError) -> Self {
        Self { reached: None, error }
    }
}

struct Round<'a> {
    engine: &'a Arc<Engine>,
    live: &'a Arc<Live>,
    before: &'a Upload,
}

impl Round<'_> {
    /// Data sync, decisions, records, record sync, publish: in this order.
    fn run(&self, jobs: &[Job]) -> Result<(Upload, Vec<Result<(), Refusal>>), RoundError> {
        self.sync_data(jobs)?;
        let now = self.engine.clock.now();
        let mut staged = self.before.clone();
        let mut records = Vec::new();
        let mut answers = Vec::with_capacity(jobs.len());
        for job in jobs {
            let decided = match &job.task {
                Task::Change(command) => staged.decide(command, now, &self.engine.options.limits),
                Task::Publish => Ok(Vec::new()),
                Task::NoteSync(before) => {
                    records.push(Record::Synced { before: *before });
                    Ok(Vec::new())
                }
            };
            answers.push(decided.map(|events| {
                for event in events {
                    staged.apply(&event);
                    records.push(Record::Event(event));
                }
            }));
        }
        if staged.awaits_publish() {
            // From here on nobody writes; a fault that was noted meanwhile is seen.
            self.live.seal();
            if let Some(fault) = self.live.lock().fault.clone() {
                return Err(ChangeError::Fault(fault).into());
            }
            if self.engine.options.ack == Durability::Written && !records.is_empty() {
                // The rename must not be ahead of a record that the bytes are durable.
                self.sync_part()?;
                records.push(Record::Synced { before: u64::MAX });
            }
        }
        if !records.is_empty() {
            let sync =
                staged.awaits_publish() || records.iter().any(|record| self.needs_sync(record));
            if let Err(error) = self.append(&records, sync) {
                if staged.awaits_publish() && !self.before.awaits_publish() {
                    // The file is not complete after all: its last bytes come again.
                    self.live.unseal();
                }
                return Err(error.into());
            }
        }
        if staged.awaits_publish() {
            staged = self.publish(staged)?;
        }
        Ok((staged, answers))
    }

    fn sync_data(&self, jobs: &[Job]) -> Result<(), ChangeError> {
        let claims_durable = jobs.iter().any(|job| {
            matches!(
                &job.task,
                Task::Change(Command::Store { durability: Durability::Durable, .. })
            )
        });
        if !claims_durable {
            return Ok(());
        }
        self.sync_part()
    }

    /// Makes the bytes of the part durable. Any error is a fault and ends the upload's writes.
    fn sync_part(&self) -> Result<(), ChangeError> {
        let fault =
            |error: std::io::Error| ChangeError::Fault(Fault::new("sync of the part", &error));
        let held = self.live.lock().blob.clone();
        let blob = match held {
            Some(blob) => Some(blob),
            None => self.engine.store.open(self.live.id).map_err(fault)?,
        };
        blob.map_or(Ok(()), |blob| blob.sync().map_err(fault))
    }

    /// With `ack = written` only what decides the fate of a file is synced; with `durable`
    /// everything that somebody is told of.
    fn needs_sync(&self, record: &Record) -> bool {
        match record {
            Record::Event(Event::Stored { .. } | Event::Bound { .. }) => {
                self.engine.options.ack == Durability::Durable
            }
            Record::Event(Event::CallEnded { .. } | Event::NoticeEnded { .. })
            | Record::Run(_)
            | Record::Synced { .. }
            | Record::Faulted => false,
            Record::Event(
                Event::Created(_)
                | Event::Published { .. }
                | Event::Digested { .. }
                | Event::CallBegun { .. }
                | Event::Finished { .. }
                | Event::Failed { .. }
                | Event::RetryAsked { .. }
                | Event::Cancelled { .. },
            ) => true,
        }
    }

    fn append(&self, records: &[Record], sync: bool) -> Result<(), ChangeError> {
        let mut place = self.live.log.lock().expect("no holder of this lock panics");
        let fault = |error: std::io::Error| ChangeError::Fault(Fault::new("journal", &error));
        if let LogPlace::Closed { valid_bytes, note_run } = *place {
            let log =
                Log::open(&*self.engine.journals, self.live.id, valid_bytes).map_err(fault)?;
            *place = LogPlace::Open { log, note_run };
        }
        let LogPlace::Open { log, note_run } = &mut *place else { return Ok(()) };
        let appended = if *note_run {
            let mut with_run = vec![Record::Run(self.engine.store.run())];
            with_run.extend_from_slice(records);
            log.append(&with_run)
        } else {
            log.append(records)
        };
        appended.and_then(|()| if sync { log.sync() } else { Ok(()) }).map_err(
            |error| match error {
                LogError::NoSpace => ChangeError::NoSpace,
                LogError::Fault(error) => fault(error),
            },
        )?;
        *note_run = false;
        Ok(())
    }

    /// Puts the complete file in its place. What was recorded up to here stands, whatever happens.
    fn publish(&self, mut staged: Upload) -> Result<Upload, RoundError> {
        let length = staged.length().unwrap_or_default();
        let now = self.engine.clock.now();
        let placed = self.engine.store.publish(self.live.id, length).map_err(|error| {
            if crate::store::is_full(&error) {
                ChangeError::NoSpace
            } else {
                ChangeError::Fault(Fault::new("publish", &error))
            }
        });
        let published = Event::Published { at: now };
        let recorded = placed.and_then(|()| self.append(&[Record::Event(published.clone())], true));
        match recorded {
            Ok(()) => {
                staged.apply(&published);
                Ok(staged)
            }
            Err(error) => Err(RoundError { reached: Some(Box::new(staged)), error }),
        }
    }
}
