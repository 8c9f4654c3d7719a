//! One call to a backend, before and after it is made. How it is made is another floor's business.

use super::Engine;
use super::context::RequestContext;
use super::digest::PartialDigest;
use super::error::{ChangeError, Fault};
use super::handle::UploadHandle;
use crate::core::command::Command;
use crate::core::digest::hex;
use crate::core::event::CallOutcome;
use crate::core::id::TicketId;
use crate::core::name;
use crate::core::upload::{Phase, Upload};
use std::fmt;
use std::io::Read;
use std::sync::Arc;

/// A call that has been recorded as begun and must now be made.
pub struct Call {
    /// The upload.
    pub id: TicketId,
    /// Where to.
    pub url: String,
    /// What the backend may answer.
    pub kind: CallKind,
    /// The form fields, in order.
    pub fields: Vec<(&'static str, String)>,
    /// How many calls this one makes.
    pub attempt: u32,
    /// The request that completed or cancelled the upload, where this process has seen it.
    pub context: Option<RequestContext>,
}

/// Without the URL and the fields, which hold the secret.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// The file is there: `done` or `wait`.
    Handover,
    /// The upload was cancelled: any sign that the backend knows.
    CancelNotice,
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

impl Engine {
    /// Whether the file of `id` has to be hashed before its backend is called, which may take long.
    pub async fn awaits_hashing(self: &Arc<Self>, id: TicketId) -> Result<bool, ChangeError> {
        let handle = self.find(id).await?;
        let upload = handle.lock().upload.clone();
        if !matches!(upload.phase(), Phase::HandingOver(_)) || !upload.awaits_digest() {
            return Ok(false);
        }
        let engine = Arc::clone(self);
        Ok(self.ask_store(move || engine.store.published(id)).await?.is_some())
    }

    /// Hashes the file of `id` and records that. [`Engine::begin_call`] does it where nobody has; dropping the
    /// future leaves that to it.
    pub async fn hash(self: &Arc<Self>, id: TicketId) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        self.digest(&handle).await
    }

    /// Records that a call to the backend of `id` is about to be made, durably, and says what to
    /// send; `None` where none is owed any more, or this was seen to without a call.
    ///
    /// Dropping the future may leave a call recorded that was not made; it is then repeated.
    pub async fn begin_call(self: &Arc<Self>, id: TicketId) -> Result<Option<Call>, ChangeError> {
        let handle = self.find(id).await?;
        let upload = handle.lock().upload.clone();
        if upload.owed().is_none() {
            return Ok(None);
        }
        let handover = matches!(upload.phase(), Phase::HandingOver(_));
        let there =
            if handover { self.look_for_file(&handle, &upload).await? } else { File::Missing };
        if there == File::Taken {
            return Ok(None);
        }
        if there == File::There && upload.awaits_digest() {
            self.digest(&handle).await?;
            if handle.lock().upload.owed().is_none() {
                return Ok(None);
            }
        }
        self.change(&handle, Command::BeginCall).await?;
        self.stats.calls.inc();
        let upload = handle.lock().upload.clone();
        Ok(self.call(&upload))
    }

    /// Records how the call ended. [`Engine::call_over`] then sets the next one where there has to
    /// be one.
    pub async fn end_call(
        self: &Arc<Self>,
        id: TicketId,
        result: CallResult,
    ) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        let command = match result {
            CallResult::Done => Command::Settle,
            CallResult::Wait => Command::EndCall(CallOutcome::Wait),
            CallResult::Unanswered(reason) => {
                self.stats.calls_unanswered.inc();
                Command::EndCall(CallOutcome::Retry(reason))
            }
        };
        self.change(&handle, command).await?;
        // Judged after a call, never before one: while the server was down nothing was tried.
        let upload = handle.lock().upload.clone();
        if upload.calls_exhausted(&self.options().calls, self.uptime()) {
            let reason = upload.reason().unwrap_or("the backend did not answer").to_owned();
            tracing::warn!(upload = %id.short(), "gave up calling the backend");
            self.change(&handle, Command::GiveUp(reason)).await?;
        }
        Ok(())
    }

    /// If the file is gone, a call had been sent and the file was not to be removed by us, then
    /// the backend took it and its answer was lost: finished.
    async fn look_for_file(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
        upload: &Upload,
    ) -> Result<File, ChangeError> {
        let (engine, id) = (Arc::clone(self), handle.id);
        let found = self.ask_store(move || engine.store.published(id)).await?;
        if found.is_some() {
            return Ok(File::There);
        }
        if upload.was_called() && !upload.removes_file() {
            tracing::info!(upload = %id.short(), "finished: the backend has moved the file");
            self.change(handle, Command::Settle).await?;
            return Ok(File::Taken);
        }
        // Still told to the backend, which may know more: nothing here decides that it is lost.
        tracing::error!(upload = %id.short(), "published file is missing");
        Ok(File::Missing)
    }

    async fn digest(self: &Arc<Self>, handle: &Arc<UploadHandle>) -> Result<(), ChangeError> {
        let sha256 = match self.file_digest(handle).await {
            // `finish_upload` came meanwhile, and the file has gone.
            Err(_) if handle.lock().upload.owed().is_none() => return Ok(()),
            read => read?,
        };
        self.change(handle, Command::Digest(sha256)).await?;
        Ok(())
    }

    /// The published file's SHA-256; what of it was hashed while it came is not read. Files are read a
    /// slice at a time and in turn, so that many large ones do not keep a small one waiting.
    ///
    /// Cancel: the slice that is being read is read to its end; the next call begins from the start.
    async fn file_digest(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
    ) -> Result<[u8; 32], ChangeError> {
        let (id, mut hash, mut file) = (handle.id, handle.lock().prefix.take(), None);
        loop {
            let _turn = self.hashing.acquire().await.expect("turns at hashing are never closed");
            let engine = Arc::clone(self);
            let slice = self.ask_store(move || {
                let mut reader = match file {
                    Some(file) => file,
                    None => engine.store.read(id, hash.end())?,
                };
                let mut buffer = vec![0; READ_BYTES];
                for _ in 0..SLICE_BYTES / READ_BYTES {
                    match reader.read(&mut buffer)? {
                        0 => return Ok(Slice::Last(hash.finish())),
                        count => hash.update(&buffer[..count]),
                    }
                }
                Ok(Slice::More(hash, reader))
            });
            match slice.await? {
                Slice::Last(sha256) => return Ok(sha256),
                Slice::More(so_far, reader) => (hash, file) = (so_far, Some(reader)),
            }
        }
    }

    async fn ask_store<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, ChangeError> {
        match self.blocking.spawn(work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(ChangeError::Fault(Fault::new("the published file", &error))),
            Err(error) => Err(ChangeError::Fault(Fault::new("the published file", &error))),
        }
    }

    fn call(&self, upload: &Upload) -> Option<Call> {
        let ticket = upload.ticket();
        let attempt = upload.owed()?.begun;
        let cancelled = matches!(upload.phase(), Phase::Cancelled { .. });
        let (kind, filename, word, reason) = if cancelled {
            (CallKind::CancelNotice, String::new(), "yes", upload.reason().unwrap_or_default())
        } else {
            let path = self.store.path(ticket.id).to_string_lossy().into_owned();
            (CallKind::Handover, path, "no", "")
        };
        let mut fields = vec![
            ("id", ticket.id.to_string()),
            ("filename", filename),
            ("filenameFromBrowser", upload.name().unwrap_or(name::UNNAMED).to_owned()),
            ("backendSecret", ticket.secret.clone()),
            ("cancelled", word.to_owned()),
            ("cancelReason", reason.to_owned()),
            ("length", upload.length().map(|length| length.to_string()).unwrap_or_default()),
            ("metadata", ticket.metadata.clone()),
        ];
        if let Some(sha256) = upload.sha256() {
            fields.push(("digest", format!("sha-256={}", hex(sha256))));
        }
        fields.push(("attempt", attempt.to_string()));
        let (url, context) = (ticket.finish_url.clone(), self.outbox.context(ticket.id));
        Some(Call { id: ticket.id, url, kind, fields, attempt, context })
    }
}

/// What reading a slice of a file for its digest has come to.
enum Slice {
    Last([u8; 32]),
    More(PartialDigest, Box<dyn Read + Send>),
}

/// Files that are read for their digests at the same time.
pub(super) const HASHING: usize = 2;
/// Bytes read at a time for the file's digest.
const READ_BYTES: usize = 256 * 1024;
/// Bytes read before other files have their turn: tens of milliseconds.
const SLICE_BYTES: usize = 16 << 20;
