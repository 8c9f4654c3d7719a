//! Giving out tickets, and the changes that a browser or backend may ask for by name.

use super::Engine;
use super::context::{RequestContext, request_of};
use super::error::{ChangeError, Fault, TicketError};
use super::status::Status;
use crate::core::callback::CallbackUrl;
use crate::core::command::{Command, FileFacts};
use crate::core::event::{CallFormat, DigestRequest, Notice, Removal, Ticket, TicketFile};
use crate::core::id::TicketId;
use crate::core::refusal::Refusal;
use crate::core::signing::SigningSecrets;
use crate::core::state::StateName;
use crate::core::time::{Timestamp, Uptime};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;

/// What a backend asks for with `new_upload`.
#[derive(Clone)]
pub struct NewUpload {
    /// Where the finished file is handed over.
    pub finish_url: CallbackUrl,
    /// Echoed to the backend, demanded from it; may be empty.
    pub secret: String,
    /// What calls to the backend are signed with; mostly none.
    pub signing: SigningSecrets,
    /// How its calls to the backend are written.
    pub format: CallFormat,
    /// What becomes of the file after the handover.
    pub removal: Removal,
    /// Largest file this ticket takes, in bytes.
    pub max_bytes: Option<u64>,
    /// The file's length, if the backend knows it.
    pub length: Option<u64>,
    /// Whether the backend wants the file's digest.
    pub digest: DigestRequest,
    /// Opaque text for the backend.
    pub metadata: String,
    /// How long the ticket may lie idle, where it differs from the server's setting.
    pub idle_timeout: Option<Duration>,
    /// What the backend says of the file.
    pub file: TicketFile,
}

impl NewUpload {
    /// A request for any file, which is removed when the backend has it; without a secret and text for the backend.
    pub fn new(finish_url: CallbackUrl) -> Self {
        Self {
            finish_url,
            secret: String::new(),
            signing: SigningSecrets::default(),
            format: CallFormat::Form,
            removal: Removal::RemoveWhenFinished,
            max_bytes: None,
            length: None,
            digest: DigestRequest::None,
            metadata: String::new(),
            idle_timeout: None,
            file: TicketFile::default(),
        }
    }
}

/// Without the secret and the URL, which may hold one.
impl fmt::Debug for NewUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewUpload").field("length", &self.length).finish_non_exhaustive()
    }
}

impl Engine {
    /// Gives out a ticket. Answers its id and the date on which it expires if nothing happens and neither server
    /// nor clock is touched.
    ///
    /// Durability: with `ack = durable` the ticket is on disk when this returns. Dropping the
    /// future may leave a ticket that nobody knows; it expires.
    pub async fn new_upload(
        self: &Arc<Self>,
        request: NewUpload,
    ) -> Result<(TicketId, Timestamp), TicketError> {
        if self.draining.is_cancelled() {
            return Err(TicketError::Draining);
        }
        if let Some(file) = request.length {
            let limits = self.options().limits;
            let limit = limits.max_file_bytes(request.max_bytes);
            if file > limit {
                return Err(TicketError::Refused(limits.too_large(file, limit)));
            }
        }
        let random = self.clock.random();
        let random = random
            .map_err(|error| TicketError::Fault(Fault::new("drawing a ticket id", &error)))?;
        let ticket = Ticket {
            id: TicketId::from_random(random),
            created: self.now(),
            finish_url: request.finish_url,
            secret: request.secret,
            signing: request.signing,
            format: request.format,
            removal: request.removal,
            max_bytes: request.max_bytes,
            length: request.length,
            digest: request.digest,
            metadata: request.metadata,
            idle_timeout: request.idle_timeout,
            file: request.file,
        };
        let (id, created) = (ticket.id, ticket.created);
        let idle = ticket.idle_timeout.unwrap_or(self.options().max_idle);
        // Counted before anything is waited for, so that those who ask at once are not let in together.
        let slot = OpenSlot::take(self, id, created.uptime.after(idle))?;
        self.write_ticket(ticket, slot).await?;
        Ok((id, created.date.after(idle)))
    }

    async fn write_ticket(
        self: &Arc<Self>,
        ticket: Ticket,
        slot: OpenSlot,
    ) -> Result<(), TicketError> {
        let engine = Arc::clone(self);
        let token = self.tracker.token();
        let context = RequestContext::current();
        let written = self.detached(async move {
            let _token = token;
            // Here, where nobody's leaving can interrupt it.
            let written = engine.create_log(&ticket).await;
            match &written {
                Ok(()) => {
                    slot.keep();
                    engine.stats.tickets.inc();
                    let request = request_of(context.as_ref());
                    tracing::info!(upload = %ticket.id.short(), request, "upload ticket issued");
                }
                Err(TicketError::Fault(fault)) => {
                    engine.stats.faults.inc();
                    tracing::error!(error = %fault, "could not write upload ticket: the disk failed");
                }
                // Said to who asked.
                Err(_) => {}
            }
            written
        });
        let lost = TicketError::Fault(Fault("writing the ticket: it was lost".into()));
        written.await.unwrap_or(Err(lost))
    }

    async fn create_log(self: &Arc<Self>, ticket: &Ticket) -> Result<(), TicketError> {
        if !self.store.has_room().await? {
            return Err(TicketError::NoSpace);
        }
        // Whoever finds the log meanwhile, as the startup scan may, loads it after this.
        let _exclusive = self.loads.exclusive(ticket.id).await;
        let created = self.journal.create(ticket, self.options().ack).await?;
        if let Some(loaded) = created.loaded {
            self.adopt_new(ticket.id, *loaded);
        }
        Ok(())
    }

    /// Whether the upload still takes anything; for a refusal before a body is read.
    pub async fn check_open(self: &Arc<Self>, id: TicketId) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        let (command, now) = (Command::Bind(FileFacts::default()), self.now());
        let decided = handle.lock().upload.decide(&command, now, &self.options().limits);
        decided.map(drop).map_err(ChangeError::Refused)
    }

    /// Binds the ticket to a file. A length of 0 completes it.
    ///
    /// Durability: as acknowledgements. Dropping the future does not undo it.
    pub async fn bind(
        self: &Arc<Self>,
        id: TicketId,
        facts: FileFacts,
    ) -> Result<Status, ChangeError> {
        let handle = self.find(id).await?;
        self.change(&handle, Command::Bind(facts)).await?;
        Ok(self.status_of(&handle))
    }

    /// Cancels an upload that is not complete. Durable when this returns; the bytes are removed.
    /// Dropping the future does not undo it.
    pub async fn cancel(
        self: &Arc<Self>,
        id: TicketId,
        reason: String,
        notice: Notice,
    ) -> Result<Status, ChangeError> {
        let handle = self.find(id).await?;
        self.change(&handle, Command::Cancel { reason, notice }).await?;
        Ok(self.status_of(&handle))
    }

    /// The backend has taken the file (`finish_upload`). Durable when this returns.
    pub async fn finish(self: &Arc<Self>, id: TicketId) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        self.change(&handle, Command::Finish).await
    }

    /// Tries a failed handover again now, or one that waits for its next try.
    pub async fn retry(self: &Arc<Self>, id: TicketId) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        self.change(&handle, Command::Retry).await
    }

    /// Checks the secret that a backend gave when it took the ticket, in constant time.
    pub async fn check_secret(
        self: &Arc<Self>,
        id: TicketId,
        secret: &str,
    ) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        let state = handle.lock();
        let expected = state.upload.ticket().secret.as_bytes();
        if bool::from(expected.ct_eq(secret.as_bytes())) {
            Ok(())
        } else {
            Err(ChangeError::Refused(Refusal::WrongSecret))
        }
    }
}

/// The place of a new upload among the open ones: counted, and with a timer, from before its journal is made. Undone
/// when dropped, unless kept.
struct OpenSlot {
    engine: Arc<Engine>,
    id: TicketId,
    kept: bool,
}

impl OpenSlot {
    fn take(engine: &Arc<Engine>, id: TicketId, due: Uptime) -> Result<Self, TicketError> {
        let limit = engine.options().max_uploads;
        if !engine.stats.uploads_open.add_below(limit) {
            return Err(TicketError::TooMany { limit });
        }
        engine.stats.uploads.of(StateName::New).add(1);
        // Before it is on disk: the startup scan then knows that it is counted here.
        engine.set_timer(id, || due);
        Ok(Self { engine: Arc::clone(engine), id, kept: false })
    }

    /// The upload exists from now on.
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for OpenSlot {
    fn drop(&mut self) {
        if !self.kept {
            self.engine.stats.uploads_open.add(-1);
            self.engine.stats.uploads.of(StateName::New).add(-1);
            self.engine.timers.clear(self.id);
        }
    }
}
