//! Deliveries: telling a backend that a file is there, or that an upload was cancelled. This says which are due
//! ([`Engine::next_delivery`]) and records what came of them; how a backend is called is the caller's business.
//!
//! That a call begins is recorded before it is made, and how it ended after. So a crash at any moment leaves either
//! no delivery pending, or one that is made again; none is lost.

mod hashing;
pub mod outbox;

use super::Engine;
use super::context::RequestContext;
use super::error::{ChangeError, LookupError};
use super::handle::UploadHandle;
use crate::core::command::Command;
use crate::core::event::CallOutcome;
use crate::core::host::Destination;
use crate::core::id::TicketId;
use crate::core::retry::{LONGEST_PAUSE, LastCall};
use crate::core::time::Uptime;
use crate::core::upload::{Phase, Upload};
use crate::storage::location::Location;
pub(super) use hashing::HASHING;
pub use outbox::CallKind;
use outbox::Wait;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// A delivery that is due. Nothing else is due for its upload while it exists; dropped before its end, it goes back
/// to the queue.
pub struct Delivery {
    engine: Arc<Engine>,
    id: TicketId,
    stage: Stage,
    /// The next call comes no sooner, unless it is asked for anew.
    pause: Duration,
    /// Since when the call that this is about has been pending, where that is known.
    since: Option<Uptime>,
    /// When this server came to hold it, by its own clock.
    held: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Waits for its turn to be made.
    Waiting,
    /// Is being made.
    Running,
    /// Is over: what is due next is set.
    Over,
}

/// What has to be done for a delivery.
#[derive(Debug)]
pub enum Begun {
    /// This call, which is recorded as begun; then [`Delivery::finish`].
    Call(Call),
    /// First [`Delivery::hash`], which may take long; then [`Delivery::begin`] again.
    Unhashed,
    /// Nothing: none is pending any more, and this one is over.
    Nothing,
}

/// A call that has been recorded as begun and must now be made.
pub struct Call {
    /// The upload, as it stands with this call.
    pub upload: Arc<Upload>,
    /// What the backend may answer.
    pub kind: CallKind,
    /// Where the file is, if there is one.
    pub file: Location,
    /// A URL that reads the file for some time: a secret.
    pub url: Option<String>,
    /// How many calls this one makes.
    pub attempt: u32,
    /// The request that completed or cancelled the upload, where this process has seen it.
    pub context: Option<RequestContext>,
}

/// Without the upload, which holds the secret and a URL, and without that of the file.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id())
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// The upload's id.
    pub fn id(&self) -> TicketId {
        self.upload.ticket().id
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallResult {
    /// The backend has the file, or knows of the cancel.
    Done,
    /// The backend will call `finish_upload`.
    Wait,
    /// Anything else; the text says what, for people.
    Unanswered(String),
}

/// Where the file of a handover is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum File {
    There,
    /// The backend has moved it away.
    Taken,
    Missing,
}

impl Delivery {
    fn new(engine: &Arc<Engine>, id: TicketId) -> Self {
        engine.stats.calls_waiting.add(1);
        let (stage, pause, held) = (Stage::Waiting, Duration::ZERO, Duration::ZERO);
        let since = engine.outbox.since(id);
        Self { engine: Arc::clone(engine), id, stage, pause, since, held }
    }

    /// The upload.
    pub fn id(&self) -> TicketId {
        self.id
    }

    /// Where the call goes; one destination for all that have no call pending any more.
    pub fn destination(&self) -> Destination {
        self.engine.outbox.destination(self.id).unwrap_or_else(Destination::none)
    }

    /// It is being made from now on, as the counters see it.
    pub fn start(&mut self) {
        self.enter(Stage::Running);
    }

    /// Records that the call is about to be made, durably where [`Upload::call_decides`], and says what to do.
    ///
    /// Errors: nothing was recorded; the delivery goes back to the queue when this is dropped, unless there is no
    /// such upload any more. Dropping the future may leave a call recorded that was not made; it is then repeated.
    pub async fn begin(&mut self) -> Result<Begun, ChangeError> {
        self.held = self.engine.clock.since_boot();
        let begun = self.engine.begin_call(self.id).await;
        match &begun {
            Ok(Begun::Call(_)) => {}
            Ok(Begun::Unhashed) => self.enter(Stage::Waiting),
            Ok(Begun::Nothing) => self.over().await,
            Err(error) => self.failed(error),
        }
        begun
    }

    /// Hashes the file, and records its digest, unless another server does so: [`Delivery::begin`] says what there is to do
    /// then. Errors as with that; dropping the future leaves it to another time.
    pub async fn hash(&mut self) -> Result<(), ChangeError> {
        // It has waited for its turn, and others may have taken it meanwhile.
        self.held = self.engine.clock.since_boot();
        let hashed = match self.engine.may_call(self.id).await {
            Ok(true) => tokio::select! {
                biased;
                () = self.lost() => Err(ChangeError::Busy),
                hashed = self.engine.hash_file(self.id) => hashed,
            },
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        hashed.inspect_err(|error| self.failed(error))
    }

    /// Keeps other servers from making the call that [`Delivery::begin`] has answered, and ends where that is over: the call
    /// must not begin then, or go on. Never ends where there are no other servers.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + use<> {
        let (engine, id, held) = (Arc::clone(&self.engine), self.id, self.held);
        async move { engine.keep_call(id, held).await }
    }

    /// The backend asks not to be called sooner than after this. At most [`LONGEST_PAUSE`] counts, and only until a restart.
    pub fn postpone(&mut self, pause: Duration) {
        self.pause = pause.min(LONGEST_PAUSE);
    }

    /// Records how the call ended, and sets the next one where there has to be one.
    ///
    /// Errors: nothing was recorded, and the delivery is made again later. Dropping the future has it made again, or
    /// leaves its end recorded.
    pub async fn finish(mut self, result: CallResult) -> Result<(), ChangeError> {
        self.since = self.engine.end_call(self.id, result).await?;
        self.over().await;
        Ok(())
    }

    async fn over(&mut self) {
        self.engine.call_over(self.id, self.since, self.pause).await;
        self.enter(Stage::Over);
    }

    fn failed(&mut self, error: &ChangeError) {
        if matches!(error, ChangeError::Unknown) {
            self.engine.drop_delivery(self.id);
            self.enter(Stage::Over);
        }
    }

    fn enter(&mut self, stage: Stage) {
        let before = std::mem::replace(&mut self.stage, stage);
        for (stage, change) in [(before, -1), (stage, 1)] {
            match stage {
                Stage::Waiting => self.engine.stats.calls_waiting.add(change),
                Stage::Running => self.engine.stats.calls_running.add(change),
                Stage::Over => {}
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.stage != Stage::Over {
            self.engine.requeue(self.id, self.since);
            self.enter(Stage::Over);
        }
    }
}

impl Engine {
    /// Waits for the next delivery that is due. Dropping the future loses nothing.
    pub async fn next_delivery(self: &Arc<Self>) -> Delivery {
        Delivery::new(self, self.next_due().await)
    }

    /// Waits for the next upload whose delivery is due, which has left the queue then; nothing more is due for it
    /// until [`Engine::call_over`].
    pub(super) async fn next_due(&self) -> TicketId {
        self.outbox.next(|| self.uptime()).await
    }

    pub(super) async fn begin_call(self: &Arc<Self>, id: TicketId) -> Result<Begun, ChangeError> {
        if !self.may_call(id).await? {
            return Ok(Begun::Nothing);
        }
        let handle = self.find(id).await?;
        let upload = handle.upload();
        if !upload.pending_calls().is_some_and(|calls| self.calls_now(calls)) {
            return Ok(Begun::Nothing);
        }
        let mut url = None;
        if matches!(upload.phase(), Phase::HandingOver(_)) {
            let found = match self.was_just_published(&upload) {
                true => File::There,
                false => self.find_published(&handle, &upload).await?,
            };
            match found {
                File::There if upload.awaits_digest() => return Ok(Begun::Unhashed),
                File::There => {
                    let made = self.store.link(id).await;
                    url = made.map_err(|error| ChangeError::store(FILE, error))?;
                }
                File::Missing => {}
                File::Taken => return Ok(Begun::Nothing),
            }
        }
        self.change(&handle, Command::BeginCall).await?;
        self.stats.calls.inc();
        Ok(self.call(handle.upload(), url).map_or(Begun::Nothing, Begun::Call))
    }

    /// Answers since when the next call is pending, if one is that was not asked for meanwhile.
    pub(super) async fn end_call(
        self: &Arc<Self>,
        id: TicketId,
        result: CallResult,
    ) -> Result<Option<Uptime>, ChangeError> {
        let handle = self.find(id).await?;
        let command = match result {
            CallResult::Done => Command::Delivered,
            CallResult::Wait => Command::EndCall(CallOutcome::Wait),
            CallResult::Unanswered(reason) => {
                self.stats.calls_unanswered.inc();
                Command::EndCall(CallOutcome::Retry(reason))
            }
        };
        self.change(&handle, command).await?;
        // Decided after a call, never before one: while the server was down nothing was tried.
        let upload = handle.upload();
        if upload.calls_exhausted(&self.options().calls, self.uptime()) {
            let reason = upload.reason().unwrap_or("the backend did not answer").to_owned();
            tracing::warn!(upload = %id.short(), "gave up calling the backend");
            self.change(&handle, Command::GiveUp(reason)).await?;
        }
        let calls = upload.pending_calls().filter(|calls| calls.last != LastCall::None);
        Ok(calls.map(|calls| calls.since))
    }

    /// A delivery is over, or was not needed: sets the next one if one is pending. What cannot be read
    /// now stays pending.
    pub(super) async fn call_over(
        self: &Arc<Self>,
        id: TicketId,
        since: Option<Uptime>,
        pause: Duration,
    ) {
        if self.sharing.is_some() {
            return self.shared_call_over(id, since, pause).await;
        }
        match self.find(id).await {
            Ok(handle) => {
                // Under the lock: a change that comes meanwhile enqueues after this. Not before: a delivery that began
                // meanwhile would lose its mark to a requeue of this one.
                let state = handle.lock();
                self.outbox.over(id);
                self.enqueue_after(id, &state.upload, None, pause);
            }
            Err(LookupError::Unknown) => self.drop_delivery(id),
            Err(LookupError::Busy) => self.requeue(id, since),
            Err(LookupError::Fault(fault)) => {
                tracing::warn!(upload = %id.short(), error = %fault, "could not read upload");
                self.requeue(id, since);
            }
        }
    }

    /// There is no such upload any more, so no delivery is pending.
    fn drop_delivery(&self, id: TicketId) {
        self.outbox.clear(id);
        self.outbox.over(id);
    }

    /// A call could not be begun or its end not be recorded: its delivery is pending again, after a pause.
    fn requeue(self: &Arc<Self>, id: TicketId, since: Option<Uptime>) {
        let pause = match self.draining.is_cancelled() {
            // Another server, or this one after its start, makes it.
            true => Duration::ZERO,
            false => crate::core::retry::pause(REQUEUE_PAUSE, self.clock.jitter()),
        };
        if self.sharing.is_some() {
            let engine = Arc::clone(self);
            let over = async move { engine.shared_call_over(id, since, pause).await };
            drop(tokio::spawn(self.tracker.track_future(over)));
            return;
        }
        self.outbox.over(id);
        let at = self.uptime().after(pause);
        self.outbox.set(id, Wait::Call, || at);
    }

    /// Sets when the next delivery of an upload is due, or that none is pending.
    pub(super) fn enqueue(&self, id: TicketId, upload: &Upload, context: Option<&RequestContext>) {
        self.enqueue_after(id, upload, context, Duration::ZERO);
    }

    /// The same, but that a call comes no sooner than after `pause`.
    fn enqueue_after(
        &self,
        id: TicketId,
        upload: &Upload,
        context: Option<&RequestContext>,
        pause: Duration,
    ) {
        match upload.pending_calls() {
            Some(calls) => {
                self.outbox.add(upload, calls, context);
                let jitter = self.clock.jitter();
                let earliest = self.uptime().after(pause);
                let due = || calls.due(&self.options().calls, jitter).max(earliest);
                self.outbox.set(id, Wait::of(calls), due);
            }
            None => self.outbox.clear(id),
        }
    }

    /// This process has published the file, and the backend was not called for it: who else would have taken it? Where it is
    /// gone all the same the backend is called too, which the look would only cost a change of the thread for.
    fn was_just_published(&self, upload: &Upload) -> bool {
        let seen = || self.outbox.context(upload.ticket().id).is_some();
        self.sharing.is_none() && !upload.was_called() && !upload.awaits_digest() && seen()
    }

    /// If the file is gone, a call had been sent and the file was not to be removed by us, then
    /// the backend took it and its answer was lost: finished.
    async fn find_published(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        upload: &Upload,
    ) -> Result<File, ChangeError> {
        let id = handle.id;
        let found = self.store.published(id).await;
        if found.map_err(|error| ChangeError::store(FILE, error))?.is_some() {
            return Ok(File::There);
        }
        if upload.was_called() && !upload.removes_file() {
            tracing::info!(upload = %id.short(), "finished: the backend has moved the file");
            self.change(handle, Command::Delivered).await?;
            return Ok(File::Taken);
        }
        // The backend is still called, which may know more: nothing here decides that it is lost.
        tracing::error!(upload = %id.short(), "published file is missing");
        Ok(File::Missing)
    }

    fn call(&self, upload: Arc<Upload>, url: Option<String>) -> Option<Call> {
        let (id, attempt) = (upload.ticket().id, upload.pending_calls()?.begun);
        let kind = CallKind::of(&upload);
        let (file, context) = (self.store.location(id), self.outbox.context(id));
        Some(Call { upload, kind, file, url, attempt, context })
    }
}

/// A call that our own disk kept from being made waits as after this many unanswered ones: about a
/// minute.
const REQUEUE_PAUSE: u32 = 7;
/// What a fault is one of.
const FILE: &str = "the published file";
