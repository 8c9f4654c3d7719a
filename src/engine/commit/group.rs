//! One group commit of a commit queue: decisions, data sync, records, record sync, publish, in this order.
//!
//! Where a load finds out that a file is not in its place
//! ([`records_publish_first`](crate::storage::journal::Log::records_publish_first)), the group that completes it records that
//! it is published before it is: one record sync says all of it, and after a crash the rename is made anew. Until then
//! nobody is told, and what stands in memory waits for it.
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
    /// The bytes that the changes claim are durable.
    synced: bool,
    /// A record says since when the file is published, and it is not yet.
    recorded: Option<Stamp>,
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
        let (options, synced, recorded) = (engine.options(), false, None);
        Self { engine, handle, options, upload, version, base, synced, recorded }
    }

    /// How the upload stands by what is recorded, whatever became of the changes.
    pub(super) fn reached(self) -> Reached {
        Reached { base: self.base, upload: self.upload, version: self.version }
    }

    /// Decisions, data sync, records, record sync, publish: in this order.
    ///
    /// Errors: what was recorded up to there stands ([`GroupCommit::reached`]).
    pub(super) async fn run(&mut self, queued: &[Queued]) -> Result<Answers, ChangeError> {
        if claims_durable(queued) && !self.handle.log.records_publish_first() {
            // Others may be first meanwhile, so before the decisions.
            self.sync_part().await?;
        }
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
        let completes = staged.awaits_publish() && !self.upload.awaits_publish();
        let first = completes && self.handle.log.records_publish_first();
        if claims_durable(queued) && !first {
            self.sync_part().await?;
        }
        let (mut claims, mut prepared) = (Claims::AsEachSays, false);
        if staged.awaits_publish() {
            // From here on nobody writes; a fault that was noted meanwhile is seen.
            self.handle.part.seal().await;
            let fault = self.handle.lock().fault.clone();
            if let Some(fault) = fault {
                return Err(ChangeError::Fault(fault));
            }
            if first {
                prepared = self.prepare(&staged).await?;
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
        let sync = events.iter().any(|event| self.needs_sync(event, &staged));
        let durability = if sync { Durability::Durable } else { Durability::Written };
        let mut state = self.state_of(&staged);
        if prepared {
            events.push(Event::Published { at: now });
            state = Some(StateName::HandingOver);
        }
        let appended = self.append(Append { events, durability, claims, state }).await;
        if completes && !matches!(appended, Ok(Appended::At(_)) | Err(ChangeError::Fault(_))) {
            // The file is not complete after all: its last bytes come again. After a fault the record may be there.
            self.handle.part.unseal();
        }
        match appended? {
            Appended::At(version) => (self.upload, self.version) = (staged, version),
            Appended::Behind => return Ok(None),
        }
        self.recorded = prepared.then_some(now);
        Ok(Some(answers))
    }

    /// Makes the part that `staged` completes durable; answers whether it lacks nothing but its place. Where that could not
    /// be, its last bytes come again.
    async fn prepare(&mut self, staged: &Upload) -> Result<bool, ChangeError> {
        let prepared = self.handle.part.prepare(staged.length().unwrap_or_default()).await;
        let prepared = match prepared.map_err(|error| ChangeError::store(PART, error)) {
            Ok(true) => {
                self.synced = true;
                Ok(true)
            }
            Ok(false) => self.sync_part().await.map(|()| false),
            Err(error) => Err(error),
        };
        if prepared.as_ref().is_err_and(|error| !matches!(error, ChangeError::Fault(_))) {
            self.handle.part.unseal();
        }
        prepared
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

    /// Makes the bytes of the part durable, once. A fault ends the upload's writes.
    async fn sync_part(&mut self) -> Result<(), ChangeError> {
        if !self.synced {
            let synced = self.handle.part.sync().await;
            synced.map_err(|error| ChangeError::store(PART, error))?;
            self.synced = true;
        }
        Ok(())
    }

    /// With `ack = written` only what decides the fate of a file is synced; with `durable`
    /// everything that somebody is told of.
    fn needs_sync(&self, event: &Event, staged: &Upload) -> bool {
        match event {
            _ if staged.awaits_publish() => true,
            Event::Stored { .. } | Event::Bound { .. } => self.options.ack == Durability::Durable,
            Event::CallEnded { .. } | Event::NoticeEnded { .. } | Event::SentBy(_) => false,
            // It rides with the next record that is synced; without it the call is made again.
            Event::CallBegun { .. } => staged.call_decides(),
            Event::Created(_)
            | Event::Published { .. }
            | Event::Digested { .. }
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
            if let Some(at) = self.recorded.take() {
                Arc::make_mut(&mut self.upload).apply(&Event::Published { at });
                return Ok(());
            }
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

/// Whether changes claim that bytes are durable, so that these must be before the records.
fn claims_durable(queued: &[Queued]) -> bool {
    queued.iter().any(|queued| match &queued.op {
        Op::Change(Command::Store { durability, .. }) => *durability == Durability::Durable,
        Op::Change(Command::Join) | Op::Take(..) => true,
        _ => false,
    })
}

/// The client whose word or bytes an operation brings.
fn sender(queued: &Queued) -> Option<&Client> {
    let sent = matches!(queued.op, Op::Change(Command::Bind(_) | Command::Store { .. }));
    queued.context.as_ref().filter(|_| sent).map(RequestContext::client)
}

/// What a fault of the part is called.
const PART: &str = "sync of the part";
/// How often changes are decided anew because others were first.
const MOST_TRIES: u32 = 16;
