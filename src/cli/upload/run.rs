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

use super::calls::Upload;
use super::chunk;
use super::identity::{Identity, Likeness};
use super::jobs::Job;
use super::memory::{Memory, NoSlot, Slot};
use super::same::Closeness;
use super::status::{Refused, State, Status};
use super::tell::{Form, Teller};
use super::ticket::{Place, Source};
use super::transfer::{Ended, Pace, Transfer};
use crate::cli::terminal;
use crate::core::name;

/// What a comparison showed.
const OTHER_BYTES: &str = "the server has other bytes";
/// How often it is noted how far an upload is.
const WATCH: Duration = Duration::from_millis(200);

/// What all files share.
pub(super) struct Run {
    pub(super) source: Source,
    pub(super) pace: Pace,
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
        let told = job.place.clone().unwrap_or(shown);
        let teller = Teller::new(self.form, &told, opened.identity.facts.size, turn);
        let mut slot = match Slot::of(&job.path, &self.source.target()) {
            Ok(slot) => Some(slot),
            Err(NoSlot::Busy) => {
                return Outcome::Failed(teller.failed("is being uploaded by another program"));
            }
            Err(NoSlot::Unkept(why)) => {
                teller.note(&format!("cannot save its resume state: {why}"));
                None
            }
        };
        let ended = self.upload(job, &opened, &mut slot, &teller).await;
        *self.now.borrow_mut() = None;
        self.sent.set(self.sent.get() + teller.sent());
        match (ended, slot) {
            (Ok(()), slot) => {
                slot.into_iter().for_each(Slot::forget);
                teller.finished();
                Outcome::Finished
            }
            (Err(Ended::Over(why)), slot) => {
                slot.into_iter().for_each(Slot::forget);
                Outcome::Failed(teller.failed(&why))
            }
            (Err(Ended::Open(why)), slot) => {
                slot.into_iter().for_each(Slot::leave);
                Outcome::Failed(teller.failed(&why))
            }
            // Said in more words before.
            (Err(Ended::Changed), slot) => {
                slot.into_iter().for_each(Slot::leave);
                Outcome::Failed(teller.failed(OTHER_BYTES))
            }
        }
    }

    async fn upload(
        &self,
        job: &Job,
        opened: &Opened,
        slot: &mut Option<Slot>,
        teller: &Teller,
    ) -> Result<(), Ended> {
        let mut remembered = slot.as_mut().and_then(Slot::read);
        loop {
            let likeness = remembered.as_ref().map(|it| it.identity.likeness(&opened.identity));
            let begun = match (&remembered, likeness) {
                (Some(memory), Some(Likeness::Changed(why))) => {
                    self.changed(&memory.upload, opened, why, teller).await?;
                    remembered = None;
                    continue;
                }
                (Some(memory), _) => Some(self.source.again(&memory.upload)),
                (None, _) => None,
            };
            let fresh = begun.is_none();
            let place = match begun {
                Some(place) => place,
                None => {
                    let below = job.place.as_deref();
                    let place = self.source.place(below, self.pace.retry_for, teller).await;
                    place.map_err(Ended::Open)?
                }
            };
            let remember =
                |slot: &mut Option<Slot>| remember(job, opened, &place, slot.as_mut(), teller);
            let kept = if fresh { remember(slot) } else { slot.is_some() };
            self.set_now(teller, &opened.name, &place, kept);
            let source =
                chunk::Source { file: Arc::clone(&opened.file), facts: opened.identity.facts };
            let upload = Upload { place: place.clone(), source };
            let mut transfer = Transfer::new(upload, teller, self.pace);
            let status = match bind(&mut transfer, opened).await {
                Ok(status) => status,
                Err(Refused::Unknown(why)) if fresh || !self.takes_tickets() => {
                    return Err(Ended::Over(format!("{why} ({})", self.unknown(&place))));
                }
                Err(Refused::Unknown(_)) => {
                    teller.note("the server no longer knows its upload: starting over");
                    remembered = None;
                    continue;
                }
                Err(refused) => return Err(Ended::Open(refused.trouble().line())),
            };
            let over = matches!(status.state, State::Cancelled | State::Failed);
            if over && !fresh && self.takes_tickets() {
                teller.note("its upload is over: starting over");
                remembered = None;
                continue;
            }
            teller.begin(&place.url(), status.received(opened.identity.facts.size).bytes());
            let how = closeness(likeness);
            self.set_now(teller, &opened.name, &place, kept);
            let sent = async {
                let status = trusted(&mut transfer, status, how).await?;
                if likeness == Some(Likeness::Touched) && status.is_open() {
                    remember(slot);
                }
                tokio::select! {
                    sent = transfer.send(status) => sent,
                    ended = self.watch(teller, &opened.name, &place, kept) => match ended {},
                }
            };
            match sent.await {
                // Not begun anew a second time: that would have no end with a server that changes bytes.
                Err(Ended::Changed) if fresh && self.takes_tickets() => {
                    return Err(Ended::Open(format!("{OTHER_BYTES}: nothing more is sent")));
                }
                Err(Ended::Changed) => {
                    drop(transfer);
                    self.changed(&place.path, opened, OTHER_BYTES, teller).await?;
                    remembered = None;
                }
                Err(ended) => return Err(ended),
                Ok(status) => {
                    self.set_now(teller, &opened.name, &place, kept);
                    return transfer.handed_over(status).await;
                }
            }
        }
    }

    /// Keeps the last words true.
    async fn watch(&self, teller: &Teller, name: &str, place: &Place, kept: bool) -> Infallible {
        loop {
            self.set_now(teller, name, place, kept);
            tokio::time::sleep(WATCH).await;
        }
    }

    /// A file that is not the one its upload began with.
    async fn changed(
        &self,
        upload: &str,
        opened: &Opened,
        why: &str,
        teller: &Teller,
    ) -> Result<(), Ended> {
        let has = format!("has changed since its upload began ({why}): nothing more is sent");
        if !self.takes_tickets() {
            return Err(Ended::Open(format!("{has}; another file needs an upload URL of its own")));
        }
        if !self.restart_changed {
            return Err(Ended::Open(format!(
                "{has}; --restart-changed cancels that upload and starts over"
            )));
        }
        let source = chunk::Source { file: Arc::clone(&opened.file), facts: opened.identity.facts };
        let upload = Upload { place: self.source.again(upload), source };
        let mut transfer = Transfer::new(upload, teller, self.pace);
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
            Ok(_) | Err(Refused::Unknown(_)) => {}
            Err(refused) => return Err(Ended::Open(refused.trouble().line())),
        }
        teller.note(&format!("has changed ({why}): starting over"));
        Ok(())
    }

    /// Cancels the unfinished upload of a file.
    pub(super) async fn cancel(&self, job: &Job) -> Outcome {
        let shown = name::harmless(&job.path.to_string_lossy());
        let told = job.place.clone().unwrap_or(shown);
        let opened = match open(job) {
            Ok(opened) => opened,
            Err(why) => return Outcome::Failed(self.unopened(&told, job, &why)),
        };
        let teller = Teller::new(self.form, &told, opened.identity.facts.size, (1, 1));
        let mut slot = Slot::of(&job.path, &self.source.target()).ok();
        let remembered = slot.as_mut().and_then(Slot::read);
        let place = match (&self.source, &remembered) {
            (Source::Url(place), _) => place.clone(),
            (Source::Backend(_), Some(memory)) => self.source.again(&memory.upload),
            (Source::Backend(_), None) => {
                slot.into_iter().for_each(Slot::leave);
                return Outcome::Failed(teller.failed(
                    "no unfinished upload of it to the same server with the same secret is known \
                     here",
                ));
            }
        };
        let source = chunk::Source { file: opened.file, facts: opened.identity.facts };
        let mut transfer = Transfer::new(Upload { place, source }, &teller, self.pace);
        let query = "reason=cancelled%20from%20a%20terminal";
        match transfer.try_ask(&Method::DELETE, query, "").await {
            Ok(status) if matches!(status.state, State::Finished | State::Failed) => {
                slot.into_iter().for_each(Slot::forget);
                Outcome::Failed(teller.failed("too late to cancel: its upload is over"))
            }
            // Cancelled, now or before; or long forgotten.
            Ok(_) | Err(Refused::Unknown(_)) => {
                slot.into_iter().for_each(Slot::forget);
                teller.cancelled();
                Outcome::Finished
            }
            Err(refused) => {
                slot.into_iter().for_each(Slot::leave);
                Outcome::Failed(teller.failed(&refused.trouble().line()))
            }
        }
    }

    fn unopened(&self, shown: &str, job: &Job, why: &str) -> String {
        self.form.event(&json!({ "event": "failed", "file": shown, "why": why }));
        format!("{}: {why}", terminal::path(&job.path))
    }

    /// What is wrong where an upload is not known at its URL.
    fn unknown(&self, place: &Place) -> String {
        if !self.takes_tickets() {
            return "long over, or not the public listener".into();
        }
        let asked = place.client.endpoint();
        format!("is {asked} the public listener? Name it with --public; the ticket expires unused")
    }

    /// Whether a new upload can be had for a file.
    fn takes_tickets(&self) -> bool {
        matches!(self.source, Source::Backend(_))
    }

    fn set_now(&self, teller: &Teller, name: &str, place: &Place, kept: bool) {
        let percent = teller.percent();
        let now = Now { name: name.to_owned(), url: place.url(), percent, kept };
        *self.now.borrow_mut() = Some(now);
    }
}

/// Keeps what the same command needs to go on; whether that was possible. Blocks.
fn remember(
    job: &Job,
    opened: &Opened,
    place: &Place,
    slot: Option<&mut Slot>,
    teller: &Teller,
) -> bool {
    let Some(slot) = slot else { return false };
    let file = job.path.canonicalize().unwrap_or_else(|_| job.path.clone());
    let memory = Memory { file, identity: opened.identity.clone(), upload: place.path.clone() };
    let written = slot.write(&memory);
    if let Err(error) = &written {
        teller.note(&format!("cannot save its resume state: {error}"));
    }
    written.is_ok()
}

/// Opens a file. Blocks: reads its ends.
fn open(job: &Job) -> Result<Opened, String> {
    regular(std::fs::metadata(&job.path))?;
    // Looked at before, since to open a pipe waits and to open a device may move it; and again, since
    // another may stand in its place by now.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(&job.path);
    let file = file.map_err(|error| error.to_string())?;
    regular(file.metadata())?;
    let identity = Identity::of(&file).map_err(|error| error.to_string())?;
    let name = name::harmless(&job.path.to_string_lossy());
    Ok(Opened { file: Arc::new(file), identity, name })
}

/// Only a file of known size, that can be read again, can be uploaded.
fn regular(metadata: io::Result<Metadata>) -> Result<(), String> {
    let kind = metadata.map_err(|error| error.to_string())?.file_type();
    let what = match () {
        () if kind.is_file() => return Ok(()),
        () if kind.is_fifo() => "is a pipe",
        () if kind.is_socket() => "is a socket",
        () if kind.is_dir() => "is a folder",
        () => "is a device",
    };
    Err(format!("{what}, not a regular file: write its content to a file and upload that"))
}

async fn bind(transfer: &mut Transfer<'_>, opened: &Opened) -> Result<Status, Refused> {
    let facts = opened.identity.facts;
    let body = json!({
        "name": opened.name,
        "length": facts.size,
        "last_modified": facts.modified_ms(),
    });
    transfer.try_ask(&Method::POST, "", &body.to_string()).await
}

/// How closely the server's bytes are held against a file that is like this.
fn closeness(likeness: Option<Likeness>) -> Closeness {
    match likeness {
        Some(Likeness::Same) => Closeness::Sample,
        // Another time, or nobody knows what file the server's bytes are of.
        Some(Likeness::Touched | Likeness::Changed(_)) | None => Closeness::All,
    }
}

/// A status over whose bytes it may be gone on.
async fn trusted(
    transfer: &mut Transfer<'_>,
    mut status: Status,
    how: Closeness,
) -> Result<Status, Ended> {
    while status.is_open() {
        match transfer.trust(&status, how).await? {
            Some(fresh) => status = fresh,
            None => break,
        }
    }
    Ok(status)
}
