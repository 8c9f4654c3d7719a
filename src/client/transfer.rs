//! The bytes of one file on their way: what is missing is sent, what was not sent here is compared.
//!
//! The server's `received` is the plan: what is missing there and not under way is sent next. After
//! trouble the status is read anew, since a broken chunk keeps its good prefix, and after a power cut
//! of the server it may have less than it had. The chunk that completes the file goes alone, behind a
//! last comparison.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use tokio::task::JoinSet;

use super::call::BodyProgress;
use super::compare::{self, Coverage};
use super::error::{CallError, TransferError};
use super::identity::FileError;
use super::retry::Backoff;
use super::status::{RequestError, Status};
use super::upload::{ChunkBytes, Digests, POLL, Upload, next_chunk};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::state::StateName;
use crate::core::units;

/// What moved is looked at so often.
const TICK: Duration = Duration::from_millis(250);
/// After so long of handing over it is looked what is in the way: no long poll ends because a web app says no.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// From one long poll to the next.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// Chunks are not made smaller than this when a proxy refuses them.
const LEAST_CHUNK: u64 = 16 << 10;
/// So many answers in a row that another client sends the same: then it does.
const SUPERSEDED: u32 = 3;

/// As asked for on the command line; else the server's suggestions hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferOptions {
    /// Bytes per chunk.
    pub(crate) chunk_size: Option<u64>,
    /// Chunks in flight.
    pub(crate) parallel: Option<u32>,
    /// After so long without progress it is given up.
    pub(crate) retry_for: Option<Duration>,
}

/// Receives the progress of a transfer.
pub(crate) trait Observer {
    /// Sending begins; the server has so many bytes.
    fn sending_from(&self, acknowledged: u64);
    /// Bytes that are acknowledged by now, and those that are on their way besides.
    fn progress(&self, acknowledged: u64, ahead: u64);
    /// So many bytes at the server are compared with the file's.
    fn comparing(&self, bytes: u64);
    /// All bytes are acknowledged; the web app is taking the file over.
    fn handing_over(&self, reason: Option<&str>);
    /// The web app has not taken the file: it refuses, or lets wait.
    fn not_taken(&self, reason: Option<&str>);
    /// A call failed and is repeated after `pause`.
    fn waiting(&self, why: &str, pause: Duration);
    /// Something is not as it was asked for, but is no failure.
    fn note(&self, line: &str);
}

/// One upload, and what this run knows of it.
pub(crate) struct Transfer<'a> {
    upload: Arc<Upload>,
    length: u64,
    observer: &'a dyn Observer,
    options: TransferOptions,
    /// Acknowledged, as far as answers have said.
    known: ExtentSet,
    /// Taken for the file's bytes, and not compared again but by the last comparison: sent by this run and
    /// acknowledged, or held by the server when a comparison found no difference. That was of every byte only with
    /// [`Coverage::Full`]; otherwise, as after trouble, of samples, and of nothing in ranges under 4 KiB.
    sure: ExtentSet,
    /// On their way, and how far.
    under_way: Vec<(Extent, Arc<BodyProgress>)>,
    sending: JoinSet<(Extent, Result<Status, RequestError>)>,
    backoff: Backoff,
    /// Larger chunks were refused.
    ceiling: u64,
    /// Chunks in flight at most.
    parallel: usize,
    superseded: u32,
}

impl<'a> Transfer<'a> {
    pub(crate) fn new(
        upload: Upload,
        observer: &'a dyn Observer,
        options: TransferOptions,
    ) -> Self {
        Self {
            length: upload.source.stat.size,
            upload: Arc::new(upload),
            observer,
            options,
            known: ExtentSet::new(),
            sure: ExtentSet::new(),
            under_way: Vec::new(),
            sending: JoinSet::new(),
            backoff: Backoff::new(options.retry_for),
            ceiling: u64::MAX,
            parallel: 1,
            superseded: 0,
        }
    }

    /// Sends what is missing until nothing is, or until the upload is over for another reason.
    /// Returns the last status.
    ///
    /// Cancel: chunks under way break off; what was acknowledged stays.
    pub(crate) async fn send(&mut self, mut status: Status) -> Result<Status, TransferError> {
        self.known = status.received(self.length);
        let asked = self.options.parallel.map(|count| usize::try_from(count).unwrap_or(1).max(1));
        self.parallel = asked.unwrap_or_else(|| status.send_ahead());
        self.observer.sending_from(self.known.bytes());
        let mut tick = tokio::time::interval(TICK);
        while status.is_open() {
            if let Some(fresh) = self.start(&status).await? {
                self.known = fresh.received(self.length);
                status = fresh;
                continue;
            }
            let done = tokio::select! {
                done = self.sending.join_next() => done,
                _ = tick.tick(), if !self.sending.is_empty() => {
                    self.tell();
                    continue;
                }
            };
            let answer = match done {
                Some(done) => {
                    let (extent, answer) = done?;
                    self.arrived(extent);
                    self.counted(extent, answer)
                }
                // All of it is acknowledged, and yet the upload is not complete: ask how it stands.
                None => {
                    let why = "the server does not confirm that it has the whole file";
                    Err(CallError::transient(why).into())
                }
            };
            match answer {
                Ok(fresh) => {
                    self.acknowledged(&fresh);
                    status = fresh;
                }
                Err(refused) => {
                    if let Some(fresh) = self.recover(refused, &status).await? {
                        status = fresh;
                    }
                }
            }
        }
        Ok(status)
    }

    /// Starts every chunk that may go now. A status where the comparison before the last chunk showed
    /// that things stand otherwise than was known.
    async fn start(&mut self, status: &Status) -> Result<Option<Status>, TransferError> {
        while self.sending.len() < self.parallel {
            let mut taken = self.known.clone();
            self.under_way.iter().for_each(|(extent, _)| taken.insert(*extent));
            let size = ChunkBytes { most: self.chunk_bytes(status), align: status.align() };
            let Some(extent) = next_chunk(&taken, self.length, size) else { break };
            taken.insert(extent);
            if taken.bytes() == self.length {
                // It completes the file: alone, and only of the same file.
                if !self.sending.is_empty() {
                    break;
                }
                self.upload.source.stat.still(&self.upload.source.file)?;
                let held = self.known.clone();
                if let Some(fresh) = self.compare(&held, Coverage::Sample).await? {
                    return Ok(Some(fresh));
                }
            }
            let progress = Arc::new(BodyProgress::default());
            self.under_way.push((extent, Arc::clone(&progress)));
            let digests = if status.wants_digests() { Digests::Sha256 } else { Digests::None };
            let upload = Arc::clone(&self.upload);
            self.sending
                .spawn(async move { (extent, upload.put(extent, digests, &progress).await) });
        }
        Ok(None)
    }

    /// After a chunk that was not acknowledged. A fresh status, where one was read.
    async fn recover(
        &mut self,
        refused: RequestError,
        status: &Status,
    ) -> Result<Option<Status>, TransferError> {
        let error = match refused {
            RequestError::TooLarge(why) => {
                let size = self.chunk_bytes(status);
                if size <= LEAST_CHUNK {
                    return Err(why.into());
                }
                // What the others in flight are answered is the same, and says nothing new.
                if size > self.ceiling / 2 || self.ceiling == u64::MAX {
                    self.ceiling = (size / 2).max(LEAST_CHUNK);
                    let smaller = units::size(self.ceiling);
                    self.observer.note(&format!("{why}; going on with chunks of {smaller}"));
                }
                self.drain().await?;
                return self.look().await.map(Some);
            }
            RequestError::Superseded(why) => {
                self.superseded += 1;
                if self.superseded >= SUPERSEDED {
                    return Err(format!("{why}; another client sends the same file").into());
                }
                CallError::transient(why)
            }
            RequestError::TooMany { why, after } => {
                self.parallel = (self.parallel - 1).max(1);
                CallError::Transient { why, after }
            }
            other => other.into_call_error(),
        };
        let (why, after) = match error {
            CallError::Permanent(why) => return Err(why.into()),
            CallError::Transient { why, after } => (why, after),
        };
        self.pause(why, after).await?;
        self.drain().await?;
        self.look().await.map(Some)
    }

    /// The status anew, and what others have sent meanwhile compared.
    async fn look(&mut self) -> Result<Status, TransferError> {
        let status = self.ask(&Method::GET, "", "").await?;
        let before = self.known.bytes();
        self.known = status.received(self.length);
        if self.known.bytes() > before {
            self.backoff.reset();
        }
        self.tell();
        if status.is_open()
            && let Some(fresh) = self.trust(&status, Coverage::Sample).await?
        {
            self.known = fresh.received(self.length);
            return Ok(fresh);
        }
        Ok(status)
    }

    /// What broke off by the same cause, or arrived meanwhile, needs no pause of its own.
    async fn drain(&mut self) -> Result<(), TransferError> {
        // Those that are still moving go on.
        tokio::task::yield_now().await;
        while let Some(done) = self.sending.try_join_next() {
            let (extent, answer) = done?;
            self.arrived(extent);
            match self.counted(extent, answer) {
                Ok(fresh) => self.acknowledged(&fresh),
                Err(RequestError::Call(CallError::Permanent(why))) => return Err(why.into()),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Compares what the server holds and this run is not sure of, as closely as `how` says. A fresh status where
    /// the server holds something else by now.
    pub(crate) async fn trust(
        &mut self,
        status: &Status,
        how: Coverage,
    ) -> Result<Option<Status>, TransferError> {
        let mut foreign = ExtentSet::new();
        for extent in status.received(self.length).as_slice() {
            foreign.insert_all(&self.sure.missing_in(*extent));
        }
        let fresh = self.compare(&foreign, how).await?;
        if fresh.is_none() {
            self.sure.insert_all(&foreign);
        }
        Ok(fresh)
    }

    async fn compare(
        &mut self,
        held: &ExtentSet,
        how: Coverage,
    ) -> Result<Option<Status>, TransferError> {
        if held.is_empty() {
            return Ok(None);
        }
        let Some(pieces) = compare::pieces(held, self.length, how) else {
            let why = "the server has pieces of it that are too small to compare";
            return Err(TransferError::Resumable(format!("{why}: nothing more is sent")));
        };
        if how == Coverage::Full {
            self.observer.comparing(held.bytes());
        }
        let mut incomparable = false;
        for batch in compare::batches(&pieces) {
            let (file, read) = (Arc::clone(&self.upload.source.file), batch.to_vec());
            let body = tokio::task::spawn_blocking(move || compare::body(&file, &read));
            let body = body.await?.map_err(FileError::from)?;
            let verified = loop {
                match self.upload.verify(&body).await.map_err(RequestError::into_call_error) {
                    Ok(verified) => break verified,
                    Err(CallError::Permanent(why)) => return Err(why.into()),
                    Err(CallError::Transient { why, after }) => self.pause(why, after).await?,
                }
            };
            if verified.verified.len() != batch.len() && verified.status.is_open() {
                let why = "the server compared other pieces than requested";
                return Err(TransferError::Resumable(format!("{why}: nothing more is sent")));
            }
            if verified.verified.contains(&Some(false)) {
                return Err(TransferError::Changed);
            }
            // Over by now, or the server has lost it since (a power cut with `ack = written`).
            if verified.lacks(batch, self.length) {
                if verified.status.is_open() {
                    self.pause("the server has less than it said".into(), None).await?;
                }
                return Ok(Some(verified.status));
            }
            incomparable |= how == Coverage::Full && verified.verified.contains(&None);
        }
        // Not before: others may be of another file.
        if incomparable { Err(TransferError::Incomparable) } else { Ok(None) }
    }

    /// Adds what an answer says to what is known. Answers overtake each other, so nothing is taken
    /// back here.
    fn acknowledged(&mut self, fresh: &Status) {
        let before = self.known.bytes();
        self.known.insert_all(&fresh.received(self.length));
        if self.known.bytes() > before {
            self.backoff.reset();
            self.superseded = 0;
        }
        self.tell();
    }

    /// What was answered to a chunk. A server that takes it and does not count it is asked after a pause, or it would
    /// get the same bytes without end.
    fn counted(
        &mut self,
        extent: Extent,
        answer: Result<Status, RequestError>,
    ) -> Result<Status, RequestError> {
        let fresh = answer?;
        if fresh.is_open() && !fresh.received(self.length).contains(extent) {
            return Err(
                CallError::transient("the server does not count a chunk that it accepted").into()
            );
        }
        self.sure.insert(extent);
        Ok(fresh)
    }

    fn arrived(&mut self, extent: Extent) {
        self.under_way.retain(|(other, _)| *other != extent);
    }

    fn tell(&self) {
        let ahead = self
            .under_way
            .iter()
            .map(|(extent, progress)| progress.moved().min(self.known.missing_in(*extent).bytes()));
        self.observer.progress(self.known.bytes(), ahead.sum());
    }

    /// Waits until the upload is over, as long as the server tries; only one end is good.
    pub(crate) async fn handed_over(&mut self, mut status: Status) -> Result<(), TransferError> {
        let mut looks = 0;
        loop {
            let reason = status.reason();
            let why = |word: &str| match &reason {
                Some(reason) => TransferError::Terminal(format!("{word}: {reason}")),
                None => TransferError::Terminal(word.into()),
            };
            match status.state {
                StateName::Finished => return Ok(()),
                StateName::Cancelled => return Err(why("cancelled")),
                StateName::Failed => return Err(why("failed")),
                StateName::New | StateName::Uploading => {
                    return Err(TransferError::Resumable(
                        "the server lost bytes that it had acknowledged".into(),
                    ));
                }
                StateName::HandingOver => {
                    self.observer.handing_over(reason.as_deref());
                    // A slow web app has its time before anything is said of it.
                    if reason.is_some() || looks > 1 {
                        self.observer.not_taken(reason.as_deref());
                    }
                }
            }
            let patience = if looks == 0 { FIRST_LOOK } else { POLL };
            looks += 1;
            let query = format!("wait={}&state=handing_over", patience.as_secs());
            let asked = tokio::time::Instant::now();
            status = self.ask(&Method::GET, &query, "").await?;
            if status.state == StateName::HandingOver {
                // A server that does not wait is not asked all the time.
                tokio::time::sleep_until(asked + LEAST_WAIT).await;
            }
        }
    }

    /// Asks until there is an answer.
    async fn ask(&mut self, method: &Method, query: &str, body: &str) -> Result<Status, CallError> {
        let asked = self.try_ask(method, query, body).await;
        asked.map_err(RequestError::into_call_error)
    }

    /// As [`Transfer::ask`], and says what no retry cures.
    pub(crate) async fn try_ask(
        &mut self,
        method: &Method,
        query: &str,
        body: &str,
    ) -> Result<Status, RequestError> {
        loop {
            match self.upload.ask(method, query, body).await {
                Ok(status) => return Ok(status),
                Err(refused @ (RequestError::Unknown(_) | RequestError::TooLarge(_))) => {
                    return Err(refused);
                }
                Err(refused) => match refused.into_call_error() {
                    CallError::Permanent(why) => return Err(CallError::Permanent(why).into()),
                    CallError::Transient { why, after } => self.pause(why, after).await?,
                },
            }
        }
    }

    /// Waits before the next try; an error when there is none.
    async fn pause(&mut self, why: String, after: Option<Duration>) -> Result<(), CallError> {
        let Some(pause) = self.backoff.pause(after) else { return Err(CallError::Permanent(why)) };
        self.observer.waiting(&why, pause);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn chunk_bytes(&self, status: &Status) -> u64 {
        let wanted = self.options.chunk_size.unwrap_or_else(|| status.chunk_bytes());
        wanted.min(status.most_chunk_bytes()).min(self.ceiling).max(1)
    }
}
