//! One group commit of a commit queue: data sync, decisions, records, record sync, publish, in this order.
//!
//! What it answers is durable. What it could not do is left as it was, or, where the disk failed,
//! ends the upload's writes. Where another server was first, what that one recorded is applied and everything is decided
//! anew.

use crate::core::command::Command;
use crate::core::dialect::Client;
use crate::core::event::{Durability, Event};
use crate::core::id::TicketId;
use crate::core::refusal::{Refusal, Terminal};
use crate::core::state::StateName;
use crate::core::time::Stamp;
use crate::core::upload::Upload;
use crate::engine::Engine;
use crate::engine::context::RequestContext;
use crate::engine::error::{ChangeError, LookupError};
use crate::engine::handle::UploadHandle;
use crate::engine::handle::{Join, Op, Queued};
use crate::engine::options::Options;
use crate::storage::journal::{Append, Appended, Claims, Read, Version};
use std::sync::Arc;

/// To each operation, in order.
type Answers = Vec<Result<(), Refusal>>;

/// The changes of one upload that are made durable together.
pub(super) struct GroupCommit<'a> {
    engine: &'a Engine,
    handle: &'a UploadHandle,
    /// The settings of all of it.
    options: Arc<Options>,
    /// What the log says, as far as it is known.
    upload: Arc<Upload>,
    /// Up to where that is.
    version: Version,
    /// Where other servers have left it, before this one recorded anything.
    base: Arc<Upload>,
}

/// How far a group commit has come.
pub(super) struct Reached {
    /// Where other servers had left the upload; where it was, if none share it.
    pub(super) base: Arc<Upload>,
    /// How it stands.
    pub(super) upload: Arc<Upload>,
    /// Up to where that is.
    pub(super) version: Version,
}

impl<'a> GroupCommit<'a> {
    /// Of changes to `upload`, which stands as its log says at `version`.
    pub(super) fn new(
        engine: &'a Engine,
        handle: &'a UploadHandle,
        upload: &Arc<Upload>,
        version: Version,
    ) -> Self {
        let (upload, base) = (Arc::clone(upload), Arc::clone(upload));
        Self { engine, handle, options: engine.options(), upload, version, base }
    }

    /// How the upload stands by what is recorded, whatever became of the changes.
    pub(super) fn reached(self) -> Reached {
        Reached { base: self.base, upload: self.upload, version: self.version }
    }

    /// Data sync, decisions, records, record sync, publish: in this order.
    ///
    /// Errors: what was recorded up to there stands ([`GroupCommit::reached`]).
    pub(super) async fn run(&mut self, queued: &[Queued]) -> Result<Answers, ChangeError> {
        self.sync_data(queued).await?;
        if queued.iter().any(|queued| matches!(queued.op, Op::Forget | Op::Refresh)) {
            // They append nothing by which they would learn that they are behind, and the one removes bytes.
            self.begin_behind_others().await?;
        }
        for _ in 0..MOST_TRIES {
            if let Some(answers) = self.decide(queued).await? {
                self.publish().await?;
                return Ok(answers);
            }
            self.begin_behind_others().await?;
        }
        Err(ChangeError::Busy)
    }

    /// Applies what other servers have recorded, before this one has recorded anything.
    async fn begin_behind_others(&mut self) -> Result<(), ChangeError> {
        self.catch_up().await?;
        if self.engine.sharing.is_some() {
            self.base = Arc::clone(&self.upload);
        }
        Ok(())
    }

    /// Decides all of them and records what was decided; `None` where another server was first, and nothing was.
    async fn decide(&mut self, queued: &[Queued]) -> Result<Option<Answers>, ChangeError> {
        let now = self.engine.now();
        // Copied with the first event that changes it.
        let mut staged = Arc::clone(&self.upload);
        let mut events = Vec::new();
        let mut answers = Vec::new();
        for queued in queued {
            let decided = match &queued.op {
                Op::Take(join, void) => self.take(&staged, join, *void, now),
                Op::Change(Command::Cancel { .. }) if self.handle.lock().joining.is_some() => {
                    Err(Refusal::PartTaken)
                }
                Op::Change(Command::Retry) if self.is_half_forgotten(&staged).await => {
                    Err(Refusal::UploadOver(Terminal::Failed))
                }
                Op::Change(command) => staged.decide(command, now, &self.options.limits),
                Op::Expire => match self.engine.expiry(self.handle, &staged) {
                    Some(cancel) => staged.decide(&cancel, now, &self.options.limits),
                    None => Ok(Vec::new()),
                },
                Op::Publish | Op::Forget | Op::Refresh | Op::Upkeep => Ok(Vec::new()),
            };
            let client = sender(queued).filter(|_| staged.client().is_none());
            answers.push(decided.map(|decided| {
                let news = !decided.is_empty();
                let sent_by =
                    client.filter(|_| news).map(|one| Event::SentBy(Arc::new(one.clone())));
                for event in decided.into_iter().chain(sent_by) {
                    Arc::make_mut(&mut staged).apply(&event);
                    events.push(event);
                }
            }));
        }
        let mut claims = Claims::AsEachSays;
        if staged.awaits_publish() {
            // From here on nobody writes; a fault that was noted meanwhile is seen.
            self.handle.part.seal().await;
            let fault = self.handle.lock().fault.clone();
            if let Some(fault) = fault {
                return Err(ChangeError::Fault(fault));
            }
            if self.options.ack == Durability::Written && !events.is_empty() {
                // The rename must not be ahead of a record that the bytes are durable.
                self.sync_part().await?;
                claims = Claims::Durable;
            }
        }
        let taken = queued.iter().zip(&answers).any(|(queued, answer)| match queued.op {
            Op::Take(..) => answer.is_ok(),
            _ => false,
        });
        if taken && self.options.ack == Durability::Written {
            // Complete and synced before; a power cut must not leave a part of a file without its bytes.
            claims = Claims::Durable;
        }
        if events.is_empty() {
            return Ok(Some(answers));
        }
        let sync = staged.awaits_publish() || events.iter().any(|event| self.needs_sync(event));
        let durability = if sync { Durability::Durable } else { Durability::Written };
        let state = self.state_of(&staged);
        let appended = self.append(Append { events, durability, claims, state }).await;
        if !matches!(appended, Ok(Appended::At(_)))
            && staged.awaits_publish()
            && !self.upload.awaits_publish()
        {
            // The file is not complete after all: its last bytes come again.
            self.handle.part.unseal();
        }
        match appended? {
            Appended::At(version) => (self.upload, self.version) = (staged, version),
            Appended::Behind => return Ok(None),
        }
        Ok(Some(answers))
    }

    /// Whether a failed upload is over: its file has gone at the end of its retention, and a crash kept its journal from
    /// going. Where only the file has gone the backend may have it, and is called.
    async fn is_half_forgotten(&self, upload: &Upload) -> bool {
        self.engine.ends_soon(upload)
            && matches!(self.engine.store.published(self.handle.id).await, Ok(None))
    }

    /// Applies what other servers have recorded.
    async fn catch_up(&mut self) -> Result<(), ChangeError> {
        let read = self.handle.log.read(self.version).await;
        match read.map_err(|error| ChangeError::store("journal", error))? {
            Read::More(events, version) => {
                self.version = version;
                for event in events {
                    Arc::make_mut(&mut self.upload).apply(&event);
                }
            }
            Read::Now(upload, version) => {
                let same = version.history == self.version.history
                    && upload.received() == self.upload.received();
                if !same {
                    // What was hashed here may not be what counts.
                    self.handle.lock().prefix.forget();
                }
                (self.upload, self.version) = (Arc::new(*upload), version);
            }
            Read::OtherHistory => {
                let loaded = self.engine.journal.load(self.handle.id).await;
                let loaded = loaded.map_err(LookupError::from)?;
                self.handle.lock().prefix.forget();
                (self.upload, self.version) = (Arc::new(loaded.upload), loaded.version);
            }
            Read::Unknown => {
                self.handle.lock().forgotten = true;
                self.engine.registry.remove(self.handle.id);
                return Err(ChangeError::Unknown);
            }
        }
        Ok(())
    }

    /// Keeps a partial upload for a join, in memory and in the records.
    fn take(
        &self,
        upload: &Upload,
        join: &Arc<Join>,
        void: Option<TicketId>,
        now: Stamp,
    ) -> Result<Vec<Event>, Refusal> {
        let take = Command::Take { into: join.into, void };
        let events = upload.decide(&take, now, &self.options.limits)?;
        let mut state = self.handle.lock();
        if state.joining.as_ref().is_some_and(|other| !Arc::ptr_eq(other, join)) {
            return Err(Refusal::PartTaken);
        }
        state.joining = Some(Arc::clone(join));
        Ok(events)
    }

    async fn sync_data(&self, queued: &[Queued]) -> Result<(), ChangeError> {
        let claims_durable = queued.iter().any(|queued| match &queued.op {
            Op::Change(Command::Store { durability, .. }) => *durability == Durability::Durable,
            Op::Change(Command::Join) | Op::Take(..) => true,
            _ => false,
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
    fn needs_sync(&self, event: &Event) -> bool {
        match event {
            Event::Stored { .. } | Event::Bound { .. } => self.options.ack == Durability::Durable,
            Event::CallEnded { .. } | Event::NoticeEnded { .. } | Event::SentBy(_) => false,
            Event::Created(_)
            | Event::Published { .. }
            | Event::Digested { .. }
            | Event::CallBegun { .. }
            | Event::Finished { .. }
            | Event::Failed { .. }
            | Event::RetryAsked { .. }
            | Event::Cancelled { .. }
            // Without it a part that a power cut has left would be handed over as a file.
            | Event::Partial { .. }
            | Event::Final { .. }
            | Event::Taken { .. }
            | Event::Joined { .. } => true,
        }
    }

    /// The state that the upload comes to with `staged`, where that is another.
    fn state_of(&self, staged: &Upload) -> Option<StateName> {
        let (before, after) = (self.upload.phase().state(), staged.phase().state());
        (before != after).then_some(after)
    }

    async fn append(&self, append: Append) -> Result<Appended, ChangeError> {
        let appended = self.handle.log.append(self.version, append).await;
        appended.map_err(|error| ChangeError::store("journal", error))
    }

    /// Publishes the file if it is complete. What was recorded up to here stands, whatever happens.
    async fn publish(&mut self) -> Result<(), ChangeError> {
        for _ in 0..MOST_TRIES {
            if !self.upload.awaits_publish() {
                return Ok(());
            }
            let now = self.engine.now();
            let placed = self.handle.part.publish(self.upload.length().unwrap_or_default()).await;
            placed.map_err(|error| ChangeError::store("publish", error))?;
            let published = Event::Published { at: now };
            let mut staged = Arc::clone(&self.upload);
            Arc::make_mut(&mut staged).apply(&published);
            let append = Append {
                events: vec![published],
                durability: Durability::Durable,
                claims: Claims::AsEachSays,
                state: self.state_of(&staged),
            };
            match self.append(append).await? {
                Appended::At(version) => (self.upload, self.version) = (staged, version),
                Appended::Behind => self.catch_up().await?,
            }
        }
        if self.upload.awaits_publish() { Err(ChangeError::Busy) } else { Ok(()) }
    }
}

/// The client whose word or bytes an operation brings.
fn sender(queued: &Queued) -> Option<&Client> {
    let sent = matches!(queued.op, Op::Change(Command::Bind(_) | Command::Store { .. }));
    queued.context.as_ref().filter(|_| sent).map(RequestContext::client)
}

/// How often changes are decided anew because others were first.
const MOST_TRIES: u32 = 16;
