//! One file after the other: a ticket or the one that is remembered, the bytes, the handover.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use serde_json::json;

use super::jobs::Job;
use super::reporter::{Form, Reporter};
use super::ticket;
use crate::cli::terminal;
use crate::client::{
    Coverage, Identity, Likeness, Observer, RequestError, ResumeState, Slot, SlotError, Source,
    Status, Transfer, TransferError, TransferOptions, Upload, UploadUrl,
};
use crate::core::name;
use crate::core::state::StateName;

/// What a comparison showed.
const OTHER_BYTES: &str = "the server has other bytes";
const INCOMPARABLE: &str = "its time, and the server cannot compare its bytes yet";
/// How often it is noted how far an upload is.
const WATCH: Duration = Duration::from_millis(200);

/// What all files share.
pub(super) struct Run {
    pub(super) source: ticket::Source,
    pub(super) options: TransferOptions,
    pub(super) restart_changed: bool,
    pub(super) form: Form,
    /// Bytes of all files that this run has sent and the servers have.
    pub(super) sent: Cell<u64>,
    /// What is under way, for the last words.
    pub(super) now: RefCell<Option<Now>>,
}

/// The file that is under way.
#[derive(Clone, Debug)]
pub(super) struct Now {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) percent: u64,
    /// Whether the same command goes on by itself.
    pub(super) kept: bool,
}

/// How one file went.
pub(super) enum Outcome {
    /// It arrived, or is cancelled as it was asked for.
    Finished,
    /// A line for standard error.
    Failed(String),
}

/// A file, open, and as it is.
struct Opened {
    file: Arc<File>,
    identity: Identity,
    name: String,
}

impl Run {
    /// Uploads a file and waits until it is handed over.
    ///
    /// Cancel: chunks under way break off; what was acknowledged stays, and is remembered.
    pub(super) async fn file(&self, job: &Job, turn: (usize, usize)) -> Outcome {
        let shown = name::harmless(&job.path.to_string_lossy());
        let opened = match open(job) {
            Ok(opened) => opened,
            Err(why) => return Outcome::Failed(self.unopened(&shown, job, &why)),
        };
        let told = job.below.clone().unwrap_or(shown);
        let reporter = Reporter::new(self.form, &told, opened.identity.stat.size, turn);
        let mut slot = match Slot::of(&job.path, &self.source.target()) {
            Ok(slot) => Some(slot),
            Err(error @ SlotError::Busy) => {
                return Outcome::Failed(reporter.failed(&error.to_string()));
            }
            Err(error @ (SlotError::NoHome | SlotError::Unavailable { .. })) => {
                reporter.note(&format!("cannot save its resume state: {error}"));
                None
            }
        };
        let ended = self.upload(job, &opened, &mut slot, &reporter).await;
        *self.now.borrow_mut() = None;
        self.sent.set(self.sent.get() + reporter.sent());
        match (ended, slot) {
            (Ok(()), slot) => {
                slot.into_iter().for_each(Slot::forget);
                reporter.finished();
                Outcome::Finished
            }
            (Err(TransferError::Terminal(why)), slot) => {
                slot.into_iter().for_each(Slot::forget);
                Outcome::Failed(reporter.failed(&why))
            }
            (Err(TransferError::Resumable(why)), slot) => {
                slot.into_iter().for_each(Slot::leave);
                Outcome::Failed(reporter.failed(&why))
            }
            // Said in more words before.
            (Err(error @ (TransferError::Changed | TransferError::Incomparable)), slot) => {
                slot.into_iter().for_each(Slot::leave);
                Outcome::Failed(reporter.failed(&error.to_string()))
            }
        }
    }

    async fn upload(
        &self,
        job: &Job,
        opened: &Opened,
        slot: &mut Option<Slot>,
        reporter: &Reporter,
    ) -> Result<(), TransferError> {
        let mut remembered = slot.as_mut().and_then(Slot::read);
        loop {
            let likeness = remembered.as_ref().map(|it| it.identity.likeness(&opened.identity));
            let begun = match (&remembered, likeness) {
                (Some(state), Some(Likeness::Changed(why))) => {
                    self.changed(&state.upload, opened, why, reporter).await?;
                    remembered = None;
                    continue;
                }
                (Some(state), _) => Some(self.source.again(&state.upload)),
                (None, _) => None,
            };
            let fresh = begun.is_none();
            let url = match begun {
                Some(url) => url,
                None => {
                    let below = job.below.as_deref();
                    self.source.url(below, self.options.retry_for, reporter).await?
                }
            };
            let remember =
                |slot: &mut Option<Slot>| remember(job, opened, &url, slot.as_mut(), reporter);
            let kept = if fresh { remember(slot) } else { slot.is_some() };
            self.set_now(reporter, &opened.name, &url, kept);
            let source = Source { file: Arc::clone(&opened.file), stat: opened.identity.stat };
            let upload = Upload { url: url.clone(), source };
            let mut transfer = Transfer::new(upload, reporter, self.options);
            let status = match bind(&mut transfer, opened).await {
                Ok(status) => status,
                Err(RequestError::Unknown(why)) if fresh || !self.takes_tickets() => {
                    return Err(TransferError::Terminal(format!("{why} ({})", self.unknown(&url))));
                }
                Err(RequestError::Unknown(_)) => {
                    reporter.note("the server no longer knows its upload: starting over");
                    remembered = None;
                    continue;
                }
                Err(refused) => return Err(refused.into_call_error().into()),
            };
            let over = matches!(status.state, StateName::Cancelled | StateName::Failed);
            if over && !fresh && self.takes_tickets() {
                reporter.note("its upload is over: starting over");
                remembered = None;
                continue;
            }
            reporter.begin(&url.to_string(), status.received(opened.identity.stat.size).bytes());
            self.set_now(reporter, &opened.name, &url, kept);
            let sent = async {
                let status = trusted(&mut transfer, status, likeness, reporter).await?;
                if likeness == Some(Likeness::Touched) && status.is_open() {
                    remember(slot);
                }
                tokio::select! {
                    sent = transfer.send(status) => sent,
                    ended = self.watch(reporter, &opened.name, &url, kept) => match ended {},
                }
            };
            match sent.await {
                // Not begun anew a second time: that would have no end with a server that changes bytes.
                Err(TransferError::Changed) if fresh && self.takes_tickets() => {
                    return Err(TransferError::Resumable(format!(
                        "{OTHER_BYTES}: nothing more is sent"
                    )));
                }
                Err(error @ (TransferError::Changed | TransferError::Incomparable)) => {
                    drop(transfer);
                    self.changed(&url.path, opened, difference(&error), reporter).await?;
                    remembered = None;
                }
                Err(ended) => return Err(ended),
                Ok(status) => {
                    self.set_now(reporter, &opened.name, &url, kept);
                    return transfer.handed_over(status).await;
                }
            }
        }
    }

    /// Keeps the last words true.
    async fn watch(
        &self,
        reporter: &Reporter,
        name: &str,
        url: &UploadUrl,
        kept: bool,
    ) -> Infallible {
        loop {
            self.set_now(reporter, name, url, kept);
            tokio::time::sleep(WATCH).await;
        }
    }

    /// A file that is not the one its upload began with.
    async fn changed(
        &self,
        upload: &str,
        opened: &Opened,
        why: &str,
        reporter: &Reporter,
    ) -> Result<(), TransferError> {
        let has = format!("has changed since its upload began ({why}): nothing more is sent");
        if !self.takes_tickets() {
            return Err(TransferError::Resumable(format!(
                "{has}; another file needs an upload URL of its own"
            )));
        }
        if !self.restart_changed {
            return Err(TransferError::Resumable(format!(
                "{has}; --restart-changed cancels that upload and starts over"
            )));
        }
        let source = Source { file: Arc::clone(&opened.file), stat: opened.identity.stat };
        let upload = Upload { url: self.source.again(upload), source };
        let mut transfer = Transfer::new(upload, reporter, self.options);
        let stands = transfer.try_ask(&Method::GET, "", "").await;
        let cancelled = match stands {
            // What is whole goes to the web app, and what is over is left.
            Ok(status) if !status.is_open() => Ok(status),
            Ok(_) => {
                let query = "reason=the%20file%20has%20changed";
                transfer.try_ask(&Method::DELETE, query, "").await
            }
            unknown @ Err(_) => unknown,
        };
        match cancelled {
            Ok(_) | Err(RequestError::Unknown(_)) => {}
            Err(refused) => {
                return Err(TransferError::Resumable(refused.into_call_error().to_string()));
            }
        }
        reporter.note(&format!("has changed ({why}): starting over"));
        Ok(())
    }

    /// Cancels the unfinished upload of a file.
    pub(super) async fn cancel(&self, job: &Job) -> Outcome {
        let shown = name::harmless(&job.path.to_string_lossy());
        let told = job.below.clone().unwrap_or(shown);
        let opened = match open(job) {
            Ok(opened) => opened,
            Err(why) => return Outcome::Failed(self.unopened(&told, job, &why)),
        };
        let reporter = Reporter::new(self.form, &told, opened.identity.stat.size, (1, 1));
        let mut slot = Slot::of(&job.path, &self.source.target()).ok();
        let remembered = slot.as_mut().and_then(Slot::read);
        let url = match (&self.source, &remembered) {
            (ticket::Source::Url(url), _) => url.clone(),
            (ticket::Source::Backend(_), Some(state)) => self.source.again(&state.upload),
            (ticket::Source::Backend(_), None) => {
                slot.into_iter().for_each(Slot::leave);
                return Outcome::Failed(reporter.failed(
                    "no unfinished upload of it to the same server with the same secret is known here",
                ));
            }
        };
        let source = Source { file: opened.file, stat: opened.identity.stat };
        let mut transfer = Transfer::new(Upload { url, source }, &reporter, self.options);
        let query = "reason=cancelled%20from%20a%20terminal";
        match transfer.try_ask(&Method::DELETE, query, "").await {
            Ok(status) if matches!(status.state, StateName::Finished | StateName::Failed) => {
                slot.into_iter().for_each(Slot::forget);
                Outcome::Failed(reporter.failed("too late to cancel: its upload is over"))
            }
            // Cancelled, now or before; or long forgotten.
            Ok(_) | Err(RequestError::Unknown(_)) => {
                slot.into_iter().for_each(Slot::forget);
                reporter.cancelled();
                Outcome::Finished
            }
            Err(refused) => {
                slot.into_iter().for_each(Slot::leave);
                Outcome::Failed(reporter.failed(&refused.into_call_error().to_string()))
            }
        }
    }

    fn unopened(&self, shown: &str, job: &Job, why: &OpenError) -> String {
        let why = why.to_string();
        self.form.event(&json!({ "event": "failed", "file": shown, "why": why }));
        format!("{}: {why}", terminal::path(&job.path))
    }

    /// What is wrong where an upload is not known at its URL.
    fn unknown(&self, url: &UploadUrl) -> String {
        if !self.takes_tickets() {
            return "long over, or not the public listener".into();
        }
        let asked = url.client.endpoint();
        format!("is {asked} the public listener? Name it with --public; the ticket expires unused")
    }

    /// Whether a new upload can be had for a file.
    fn takes_tickets(&self) -> bool {
        matches!(self.source, ticket::Source::Backend(_))
    }

    fn set_now(&self, reporter: &Reporter, name: &str, url: &UploadUrl, kept: bool) {
        let percent = reporter.percent();
        let now = Now { name: name.to_owned(), url: url.to_string(), percent, kept };
        *self.now.borrow_mut() = Some(now);
    }
}

/// Keeps what the same command needs to go on; whether that was possible. Blocks.
fn remember(
    job: &Job,
    opened: &Opened,
    url: &UploadUrl,
    slot: Option<&mut Slot>,
    reporter: &Reporter,
) -> bool {
    let Some(slot) = slot else { return false };
    let file = job.path.canonicalize().unwrap_or_else(|_| job.path.clone());
    let state = ResumeState { file, identity: opened.identity.clone(), upload: url.path.clone() };
    let written = slot.write(&state);
    if let Err(error) = &written {
        reporter.note(&format!("cannot save its resume state: {error}"));
    }
    written.is_ok()
}

/// Why a file cannot be uploaded.
#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("{0}, not a regular file: write its content to a file and upload that")]
    NotRegular(&'static str),
}

/// Opens a file. Blocks: reads its ends.
fn open(job: &Job) -> Result<Opened, OpenError> {
    regular(std::fs::metadata(&job.path))?;
    // Looked at before, since to open a pipe waits and to open a device may move it; and again, since
    // another may stand in its place by now.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(&job.path);
    let file = file?;
    regular(file.metadata())?;
    let identity = Identity::of(&file)?;
    let name = name::harmless(&job.path.to_string_lossy());
    Ok(Opened { file: Arc::new(file), identity, name })
}

/// Only a file of known size, that can be read again, can be uploaded.
fn regular(metadata: io::Result<Metadata>) -> Result<(), OpenError> {
    let kind = metadata?.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_fifo() => "is a pipe",
        () if kind.is_socket() => "is a socket",
        () if kind.is_dir() => "is a folder",
        () => "is a device",
    };
    Err(OpenError::NotRegular(what))
}

async fn bind(transfer: &mut Transfer<'_>, opened: &Opened) -> Result<Status, RequestError> {
    let stat = opened.identity.stat;
    let body = json!({
        "name": opened.name,
        "length": stat.size,
        "last_modified": stat.modified_ms(),
    });
    transfer.try_ask(&Method::POST, "", &body.to_string()).await
}

/// What says that a file may be another one.
fn difference(error: &TransferError) -> &'static str {
    match error {
        TransferError::Incomparable => INCOMPARABLE,
        TransferError::Changed | TransferError::Terminal(_) | TransferError::Resumable(_) => {
            OTHER_BYTES
        }
    }
}

/// How closely the server's bytes are held against a file that is like this.
fn closeness(likeness: Option<Likeness>) -> Coverage {
    match likeness {
        Some(Likeness::Same) => Coverage::Sample,
        // Another time, or nobody knows what file the server's bytes are of.
        Some(Likeness::Touched | Likeness::Changed(_)) | None => Coverage::Full,
    }
}

/// A status over whose bytes it may be gone on.
async fn trusted(
    transfer: &mut Transfer<'_>,
    mut status: Status,
    likeness: Option<Likeness>,
    reporter: &Reporter,
) -> Result<Status, TransferError> {
    while status.is_open() {
        match transfer.trust(&status, closeness(likeness)).await {
            Ok(Some(fresh)) => status = fresh,
            Ok(None) => break,
            // Nothing says that they are of another file, and those that can be compared are of this one.
            Err(TransferError::Incomparable) if likeness.is_none() => {
                reporter.note("the server cannot compare all of its bytes yet: going on");
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(status)
}
