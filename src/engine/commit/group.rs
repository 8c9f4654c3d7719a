//! One group commit of a commit queue: data sync, decisions, records, record sync, publish, in this order.
//!
//! What it answers is durable. What it could not do is left as it was, or, where the disk failed,
//! ends the upload's writes.

use super::Thread;
use crate::core::command::Command;
use crate::core::event::{Durability, Event};
use crate::core::refusal::Refusal;
use crate::core::upload::Upload;
use crate::engine::Engine;
use crate::engine::error::{ChangeError, Fault};
use crate::engine::handle::UploadHandle;
use crate::engine::options::Options;
use crate::engine::queue::{Op, Queued};
use crate::storage::local::format::record::Record;
use crate::storage::local::log::LogError;
use std::sync::Arc;

/// What a group commit came to, all of it durable.
pub(super) struct Committed {
    pub(super) upload: Arc<Upload>,
    /// To each operation, in order.
    pub(super) answers: Vec<Result<(), Refusal>>,
}

/// A group commit that did not end well, and the state that is durable all the same.
pub(super) struct CommitError {
    pub(super) reached: Option<Arc<Upload>>,
    pub(super) error: ChangeError,
}

impl From<ChangeError> for CommitError {
    fn from(error: ChangeError) -> Self {
        Self { reached: None, error }
    }
}

/// The changes of one upload that are made durable together.
pub(super) struct GroupCommit<'a> {
    pub(super) engine: &'a Engine,
    pub(super) handle: &'a UploadHandle,
    /// How the upload stands.
    pub(super) before: &'a Arc<Upload>,
    /// The settings of all of it.
    pub(super) options: Arc<Options>,
    pub(super) thread: Thread,
}

impl GroupCommit<'_> {
    /// Data sync, decisions, records, record sync, publish: in this order.
    pub(super) async fn run(&self, queued: &[Queued]) -> Result<Committed, CommitError> {
        self.sync_data(queued).await?;
        let now = self.engine.now();
        // Copied with the first event that changes it.
        let mut staged = Arc::clone(self.before);
        let mut records = Vec::new();
        let mut answers = Vec::new();
        for queued in queued {
            let decided = match &queued.op {
                Op::Change(command) => staged.decide(command, now, &self.options.limits),
                Op::Expire => match self.engine.expiry(self.handle, &staged) {
                    Some(cancel) => staged.decide(&cancel, now, &self.options.limits),
                    None => Ok(Vec::new()),
                },
                Op::Publish | Op::Forget => Ok(Vec::new()),
                Op::NoteSync { before, .. } => {
                    records.push(Record::Synced { before: *before });
                    Ok(Vec::new())
                }
            };
            answers.push(decided.map(|events| {
                for event in events {
                    Arc::make_mut(&mut staged).apply(&event);
                    records.push(Record::Event(event));
                }
            }));
        }
        if staged.awaits_publish() {
            // From here on nobody writes; a fault that was noted meanwhile is seen.
            self.handle.part.seal().await;
            let fault = self.handle.lock().fault.clone();
            if let Some(fault) = fault {
                return Err(ChangeError::Fault(fault).into());
            }
            if self.options.ack == Durability::Written && !records.is_empty() {
                // The rename must not be ahead of a record that the bytes are durable.
                self.sync_part().await?;
                records.push(Record::Synced { before: u64::MAX });
            }
        }
        if !records.is_empty() {
            let sync =
                staged.awaits_publish() || records.iter().any(|record| self.needs_sync(record));
            if let Err(error) = self.append(&records, sync) {
                if staged.awaits_publish() && !self.before.awaits_publish() {
                    // The file is not complete after all: its last bytes come again.
                    self.handle.part.unseal();
                }
                return Err(error.into());
            }
        }
        if staged.awaits_publish() {
            staged = self.publish(staged).await?;
        }
        Ok(Committed { upload: staged, answers })
    }

    async fn sync_data(&self, queued: &[Queued]) -> Result<(), ChangeError> {
        let claims_durable = queued.iter().any(|queued| {
            let Op::Change(Command::Store { durability, .. }) = &queued.op else { return false };
            *durability == Durability::Durable
        });
        if claims_durable { self.sync_part().await } else { Ok(()) }
    }

    /// Makes the bytes of the part durable. Any error is a fault and ends the upload's writes.
    async fn sync_part(&self) -> Result<(), ChangeError> {
        let synced = self.handle.part.sync().await;
        synced.map_err(|error| ChangeError::store("sync of the part", error))
    }

    /// With `ack = written` only what decides the fate of a file is synced; with `durable`
    /// everything that somebody is told of.
    fn needs_sync(&self, record: &Record) -> bool {
        match record {
            Record::Event(Event::Stored { .. } | Event::Bound { .. }) => {
                self.options.ack == Durability::Durable
            }
            Record::Event(Event::CallEnded { .. } | Event::NoticeEnded { .. })
            | Record::Run(_)
            | Record::Counted { .. }
            | Record::Faulted => false,
            Record::Synced { .. }
            | Record::Event(
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
        let mut log = self.handle.log.lock().expect("no holder of this lock panics");
        let fault = |error: std::io::Error| ChangeError::Fault(Fault::new("journal", &error));
        let opened = log.open(&*self.engine.journals);
        opened.map_err(|error| ChangeError::opening("journal", &error))?;
        let appended = match self.thread {
            Thread::Submitter => self.engine.local.slow_disk().run_here(|| log.append(records)),
            Thread::Storage => log.append(records),
        };
        let waits = &self.engine.stats.disk_syncs;
        let failed = |error: &LogError| matches!(error, LogError::Fault(_));
        let synced = |()| if sync { waits.during(|| log.sync(), failed) } else { Ok(()) };
        appended.and_then(synced).map_err(|error| match error {
            LogError::NoSpace => ChangeError::NoSpace,
            LogError::Fault(error) => fault(error),
        })?;
        self.handle.journal_has(log.end());
        Ok(())
    }

    /// Publishes the complete file. What was recorded up to here stands, whatever happens.
    async fn publish(&self, mut staged: Arc<Upload>) -> Result<Arc<Upload>, CommitError> {
        let length = staged.length().unwrap_or_default();
        let now = self.engine.now();
        let placed = self.handle.part.publish(length).await;
        let placed = placed.map_err(|error| ChangeError::store("publish", error));
        let published = Event::Published { at: now };
        let recorded = placed.and_then(|()| self.append(&[Record::Event(published.clone())], true));
        match recorded {
            Ok(()) => {
                Arc::make_mut(&mut staged).apply(&published);
                Ok(staged)
            }
            Err(error) => Err(CommitError { reached: Some(staged), error }),
        }
    }
}
