//! Browsers and a backend's own calls: what they ask of an upload, and what the answers commit the
//! engine to.

use crate::body::{Body, Ending};
use crate::model::{Known, Promise, Request, byte};
use crate::world::Life;
use incoming::core::command::{At, BodyScope, FileFacts, Offer};
use incoming::core::digest::ChunkDigest;
use incoming::core::event::{DigestRequest, Notice, Removal};
use incoming::core::extent::Extent;
use incoming::core::id::TicketId;
use incoming::core::limits::MAX_FILE_BYTES;
use incoming::core::state::StateName;
use incoming::core::upload::Role;
use incoming::engine::Engine;
use incoming::engine::error::{ChangeError, LookupError, TicketError, TransferError};
use incoming::engine::status::Status;
use incoming::engine::tickets::NewUpload;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// Who asks, in one life of the server.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) life: Arc<Life>,
    pub(crate) engine: Arc<Engine>,
}

/// Nothing takes longer, whatever happens: bodies pause for some tens of seconds all together.
const STUCK: Duration = Duration::from_secs(1500);

/// An answer that came: `None` where the server died first.
pub(crate) type Heard<T> = Option<T>;

impl Client {
    /// Asks for a ticket.
    pub(crate) async fn ticket(&self) -> Heard<TicketId> {
        let (file_bytes, removal, digest, says_length) = {
            let mut dice = self.life.world.dice();
            let largest = self.life.world.plan.largest_file;
            let empty = dice.once_in(12);
            (
                if empty { 0 } else { dice.between(1, largest) },
                dice.of(&[Removal::RemoveWhenFinished, Removal::Keep]),
                dice.of(&[DigestRequest::None, DigestRequest::Sha256]),
                dice.once_in(4),
            )
        };
        let wish = NewUpload {
            secret: "secret".into(),
            removal,
            length: says_length.then_some(file_bytes),
            digest,
            ..NewUpload::new("http://backend/done".into())
        };
        let answer = self.in_time("new_upload", self.engine.new_upload(wish)).await?;
        let outcome = answer.map(|(id, _)| id);
        self.life.note(format_args!("ticket {outcome:?}"));
        match outcome {
            Ok(id) => {
                let now = self.life.now_ms();
                let digest = digest == DigestRequest::Sha256;
                let known = Known::new(file_bytes, removal, digest, now);
                self.life.world.model().uploads.insert(id, known);
                self.life.look();
                Some(id)
            }
            Err(error) => {
                match &error {
                    TicketError::NoSpace => self.was_full("new_upload"),
                    TicketError::Fault(fault) => self.was_faulted("new_upload", fault),
                    TicketError::Draining => {}
                    // No disk here lacks descriptors, and none is away.
                    TicketError::TooMany { .. }
                    | TicketError::Refused(_)
                    | TicketError::Exhausted
                    | TicketError::Busy => {
                        self.life.violation(format!("no ticket: {error:?}"));
                    }
                }
                None
            }
        }
    }

    /// One PUT of `start..end` (to the end of the body, for a whole file).
    pub(crate) async fn put(&self, id: TicketId, put: Put) -> Heard<Result<Status, TransferError>> {
        let number = {
            let mut model = self.life.world.model();
            model.begin(Request {
                upload: id,
                start: put.start,
                end: if put.scope == BodyScope::Range { put.end } else { MAX_FILE_BYTES },
                digest: put.promise,
                sent: 0,
                ended: false,
                known_at_start: None,
                appends_at: match put.at {
                    At::Anywhere => None,
                    At::Prefix(offset) => Some(offset),
                },
                may_be_fenced: false,
                fenced_from: Vec::new(),
                over: false,
                rivals: Vec::new(),
            })
        };
        let digest = (put.promise != Promise::None).then(|| {
            let mut hash = Sha256::new();
            let end = if put.scope == BodyScope::Range { put.end } else { put.sends_to };
            let sent: Vec<u8> = (put.start..end).map(|at| byte(number, at)).collect();
            hash.update(&sent);
            if put.promise == Promise::Wrong {
                hash.update(b"and more");
            }
            ChunkDigest::Sha256(hash.finalize().into())
        });
        let extent = match put.scope {
            BodyScope::Range | BodyScope::Open => Extent::new(put.start, put.end),
            BodyScope::ToEnd => Extent::new(0, put.length.unwrap_or(MAX_FILE_BYTES)),
        };
        let offer = Offer { extent, length: put.length, at: put.at, scope: put.scope };
        let sent_to = (put.start, put.sends_to);
        let body = Body::new(&self.life, &self.engine, number, sent_to, put.ending);
        self.life.note(format_args!("{} #{number} {put:?}", id.short()));
        let receive = self.engine.receive(id, offer, digest, body);
        let answer = match put.leaves_after {
            // The client goes away; what becomes of its bytes it never hears.
            Some(ms) => timeout(Duration::from_millis(ms), receive).await.ok()?,
            None => self.in_time("a PUT", receive).await?,
        };
        if self.life.is_dead() {
            return None;
        }
        self.life.note(format_args!("#{number} {}", brief(&answer)));
        self.heard_put(id, number, &answer);
        Some(answer)
    }

    fn heard_put(&self, id: TicketId, number: usize, answer: &Result<Status, TransferError>) {
        self.life.look();
        self.life.world.model().requests[number].over = true;
        match answer {
            Ok(status) => {
                self.heard(status);
                let judged = self.life.world.model().acknowledged(number);
                if let Err(what) = judged {
                    self.life.violation(format!("{id}: {what}"));
                }
            }
            Err(TransferError::Unknown) => self.heard_unknown(id),
            Err(TransferError::Fault(fault)) => {
                if !self.life.world.model().known(id).may_be_gone {
                    self.was_faulted("a PUT", fault);
                }
            }
            // Busy: its journal cannot be written again.
            Err(TransferError::NoSpace | TransferError::Busy) => self.was_full("a PUT"),
            Err(TransferError::Exhausted) => {
                self.life.violation(format!("#{number}: no disk here lacks descriptors"));
            }
            Err(TransferError::Superseded) => {
                let mut model = self.life.world.model();
                // Between two calls of a round a part is sealed, and its upload not told to be over yet.
                let open = model.known(id).is_open() && !self.life.world.plan.interleaves;
                if open && !model.was_overtaken(number) {
                    drop(model);
                    self.life.violation(format!("#{number} is superseded by nobody"));
                }
            }
            Err(TransferError::DigestMismatch { .. }) => {
                if self.life.world.model().requests[number].digest != Promise::Wrong {
                    self.life.violation(format!("#{number}: its digest is right"));
                }
            }
            Err(
                TransferError::Refused(_)
                | TransferError::Client(_)
                | TransferError::TooManyInFlight { .. }
                | TransferError::AnswersUnread
                | TransferError::Draining,
            ) => {}
        }
    }

    pub(crate) async fn bind(&self, id: TicketId, length: Option<u64>) {
        let facts = FileFacts { length, name: Some("film".into()), ..FileFacts::default() };
        let Some(answer) = self.in_time("bind", self.engine.bind(id, facts)).await else { return };
        self.heard_change(id, "bind", &answer.map(|status| self.heard(&status)));
    }

    pub(crate) async fn status(&self, id: TicketId) -> Heard<Status> {
        let answer = self.in_time("status", self.engine.status(id)).await?;
        self.heard_status(id, answer)
    }

    /// Asks where to append, which ends whoever appends.
    pub(crate) async fn quiesced_status(&self, id: TicketId) -> Heard<Status> {
        self.life.world.model().quiesces(id);
        let answer = self.in_time("quiesced status", self.engine.quiesced_status(id)).await?;
        self.life.look();
        let well = !self.life.faulted.load(Ordering::Relaxed)
            && !self.life.was_full.load(Ordering::Relaxed);
        {
            let mut model = self.life.world.model();
            model.known(id).quiescing -= 1;
            // What a journal took in part may come back with the next life.
            if let Ok(status) = &answer
                && well
            {
                model.quiesced(id, status.received.contiguous_from_zero());
            }
        }
        match answer {
            Ok(status) => {
                if status.is_complete()
                    && !matches!(status.role, Role::Partial { .. })
                    && matches!(status.state, StateName::New | StateName::Uploading)
                {
                    self.life.violation(format!("{id}: told its end, and is {}", status.state));
                }
                self.heard(&status);
                Some(status)
            }
            Err(error) => {
                self.heard_change(id, "quiesced status", &Err(error));
                None
            }
        }
    }

    pub(crate) async fn long_poll(&self, id: TicketId, seconds: u64) -> Heard<Status> {
        let waits =
            self.engine.wait(id, None, Duration::from_secs(seconds), std::future::pending());
        let answer = self.in_time("long poll", waits).await?;
        self.heard_status(id, answer)
    }

    fn heard_status(&self, id: TicketId, answer: Result<Status, LookupError>) -> Heard<Status> {
        match answer {
            Ok(status) => {
                self.heard(&status);
                Some(status)
            }
            Err(LookupError::Unknown) => {
                self.heard_unknown(id);
                None
            }
            // No disk here hangs, but a full one may not take its journal again.
            Err(LookupError::Busy) => {
                self.was_full("status");
                None
            }
            Err(LookupError::Fault(fault)) => {
                if !self.life.world.model().known(id).may_be_gone {
                    self.was_faulted("status", &fault);
                }
                None
            }
        }
    }

    pub(crate) async fn cancel(&self, id: TicketId, notice: Notice) {
        self.life.world.model().known(id).cancel_asked = true;
        let cancel = self.engine.cancel(id, "enough".into(), notice);
        let Some(answer) = self.in_time("cancel", cancel).await else { return };
        if answer.is_ok() {
            self.life.world.model().known(id).told_cancelled = true;
        }
        self.heard_change(id, "cancel", &answer.map(|status| self.heard(&status)));
    }

    pub(crate) async fn finish(&self, id: TicketId) {
        self.life.world.model().known(id).taking = true;
        let Some(answer) = self.in_time("finish", self.engine.finish(id)).await else { return };
        if answer.is_ok() {
            self.life.world.model().known(id).told_done = true;
        }
        self.heard_change(id, "finish", &answer);
    }

    pub(crate) async fn retry(&self, id: TicketId) {
        self.life.world.model().known(id).retry_asked = true;
        let Some(answer) = self.in_time("retry", self.engine.retry(id)).await else { return };
        self.heard_change(id, "retry", &answer);
    }

    pub(crate) fn heard_change(&self, id: TicketId, what: &str, answer: &Result<(), ChangeError>) {
        self.life.note(format_args!("{} {what} {answer:?}", id.short()));
        self.life.look();
        match answer {
            Ok(()) | Err(ChangeError::Refused(_)) => {}
            Err(ChangeError::Unknown) => self.heard_unknown(id),
            Err(ChangeError::NoSpace | ChangeError::Busy) => self.was_full(what),
            Err(ChangeError::Exhausted) => {
                self.life.violation(format!("{what}: no disk here lacks descriptors"));
            }
            Err(ChangeError::Fault(fault)) => {
                if !self.life.world.model().known(id).may_be_gone {
                    self.was_faulted(what, fault);
                }
            }
        }
    }

    /// Somebody was told how an upload stands.
    fn heard(&self, status: &Status) {
        let mut model = self.life.world.model();
        let known = model.known(status.id);
        let complete = matches!(
            status.state,
            StateName::HandingOver | StateName::Finished | StateName::Failed
        );
        known.told_complete |= complete;
        if complete && known.told_cancelled {
            drop(model);
            self.life.violation(format!("{}: told cancelled and complete", status.id));
        }
    }

    fn heard_unknown(&self, id: TicketId) {
        let now = self.life.now_ms();
        let judged = self.life.world.model().unknown(id, now);
        if let Err(what) = judged {
            self.life.violation(format!("{id}: {what}"));
        }
    }

    pub(crate) fn was_faulted(&self, what: &str, fault: &incoming::engine::error::Fault) {
        if !self.life.faulted.load(Ordering::Relaxed)
            || fault.0.contains("did not release its range")
        {
            self.life.violation(format!("{what}: a fault on a good disk: {fault}"));
        }
    }

    pub(crate) fn was_full(&self, what: &str) {
        if !self.life.was_full.load(Ordering::Relaxed) {
            self.life.violation(format!("{what}: no space on an empty disk"));
        }
    }

    /// Waits for an answer; none at all is a violation.
    pub(crate) async fn in_time<T>(&self, what: &str, answer: impl Future<Output = T>) -> Heard<T> {
        match timeout(STUCK, answer).await {
            Ok(_) if self.life.is_dead() => None,
            Ok(answer) => Some(answer),
            Err(_) => {
                self.life.violation(format!("{what} never ends"));
                None
            }
        }
    }
}

/// One PUT as it is planned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Where its body ends in truth.
    pub(crate) sends_to: u64,
    pub(crate) length: Option<u64>,
    pub(crate) at: At,
    pub(crate) scope: BodyScope,
    pub(crate) promise: Promise,
    pub(crate) ending: Ending,
    pub(crate) leaves_after: Option<u64>,
}

impl Put {
    /// A chunk as it should be.
    pub(crate) fn chunk(start: u64, end: u64, length: Option<u64>) -> Self {
        Self {
            start,
            end,
            sends_to: end,
            length,
            at: At::Anywhere,
            scope: BodyScope::Range,
            promise: Promise::None,
            ending: Ending::Whole,
            leaves_after: None,
        }
    }
}

fn brief(answer: &Result<Status, TransferError>) -> String {
    match answer {
        Ok(status) => format!("{} {:?}", status.state, status.received),
        Err(error) => format!("{error:?}"),
    }
}
