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

use super::calls::{Digests, POLL, Upload};
use super::plan::{next, without};
use super::retry::Backoff;
use super::same::{self, Closeness};
use super::status::{Refused, State, Status};
use super::tell::Teller;
use crate::cli::http::{Gauge, Trouble};
use crate::core::extent::{Extent, ExtentSet};

/// What moved is looked at so often.
const TICK: Duration = Duration::from_millis(250);
/// After so long of handing over it is looked what is in the way: no long poll ends because a web app says no.
const FIRST_LOOK: Duration = Duration::from_secs(2);
/// From one long poll to the next.
const LEAST_WAIT: Duration = Duration::from_secs(1);
/// Chunks are not made smaller than this because somebody on the way refuses them.
const LEAST_CHUNK: u64 = 16 << 10;
/// So many answers in a row that another client sends the same: then it does.
const SUPERSEDED: u32 = 3;

/// As asked for on the command line; else the server's suggestions hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes per chunk.
    pub(super) chunk_size: Option<u64>,
    /// Chunks in flight.
    pub(super) parallel: Option<u32>,
    /// After so long without progress it is given up.
    pub(super) retry_for: Option<Duration>,
}

/// One upload, and what this run knows of it.
pub(super) struct Transfer<'a> {
    upload: Arc<Upload>,
    length: u64,
    teller: &'a Teller,
    pace: Pace,
    /// Acknowledged, as far as was told.
    known: ExtentSet,
    /// Taken for the file's bytes, and not compared again but by the last comparison: sent by this run and
    /// acknowledged, or held by the server when a comparison found no difference. That was of every byte only with
    /// [`Closeness::All`]; otherwise, as after trouble, of samples, and of nothing in ranges under 4 KiB.
    sure: ExtentSet,
    /// On their way, and how far.
    under_way: Vec<(Extent, Arc<Gauge>)>,
    sending: JoinSet<(Extent, Result<Status, Refused>)>,
    backoff: Backoff,
    /// Larger chunks were refused.
    ceiling: u64,
    /// Chunks in flight at most.
    parallel: usize,
    superseded: u32,
}

impl<'a> Transfer<'a> {
    pub(super) fn new(upload: Upload, teller: &'a Teller, pace: Pace) -> Self {
        Self {
            length: upload.source.facts.size,
            upload: Arc::new(upload),
            teller,
            pace,
            known: ExtentSet::new(),
            sure: ExtentSet::new(),
            under_way: Vec::new(),
            sending: JoinSet::new(),
            backoff: Backoff::new(pace.retry_for),
            ceiling: u64::MAX,
            parallel: 1,
            superseded: 0,
        }
    }

    /// Sends what is missing until nothing is, or until the upload is over for another reason.
    /// Returns the last status.
    ///
    /// Cancel: chunks under way break off; what was acknowledged stays.
    pub(super) async fn send(&mut self, mut status: Status) -> Result<Status, Ended> {
        self.known = status.received(self.length);
        let asked = self.pace.parallel.map(|count| usize::try_from(count).unwrap_or(1).max(1));
        self.parallel = asked.unwrap_or_else(|| status.send_ahead());
        self.teller.sending_from(self.known.bytes());
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
                    let (extent, answer) = done
                        .map_err(|error| Ended::Open(format!("a chunk task panicked: {error}")))?;
                    self.arrived(extent);
                    self.counted(extent, answer)
                }
                // All of it is acknowledged, and yet the upload is not complete: ask how it stands.
                None => {
                    let why = "the server does not confirm that it has the whole file";
                    Err(Trouble::passing(why).into())
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
    async fn start(&mut self, status: &Status) -> Result<Option<Status>, Ended> {
        while self.sending.len() < self.parallel {
            let mut taken = self.known.clone();
            self.under_way.iter().for_each(|(extent, _)| taken.insert(*extent));
            let Some(extent) = next(&taken, self.length, self.chunk_bytes(status)) else { break };
            taken.insert(extent);
            if taken.bytes() == self.length {
                // It completes the file: alone, and only of the same file.
                if !self.sending.is_empty() {
                    break;
                }
                self.upload.source.facts.still(&self.upload.source.file)?;
                let held = self.known.clone();
                if let Some(fresh) = self.compare(&held, Closeness::Sample).await? {
                    return Ok(Some(fresh));
                }
            }
            let gauge = Arc::new(Gauge::default());
            self.under_way.push((extent, Arc::clone(&gauge)));
            let digests = if status.wants_digests() { Digests::Sha256 } else { Digests::None };
            let upload = Arc::clone(&self.upload);
            self.sending.spawn(async move { (extent, upload.put(extent, digests, &gauge).await) });
        }
        Ok(None)
    }

    /// After a chunk that was not acknowledged. A fresh status, where one was read.
    async fn recover(
        &mut self,
        refused: Refused,
        status: &Status,
    ) -> Result<Option<Status>, Ended> {
        let trouble = match refused {
            Refused::TooLarge(why) => {
                let size = self.chunk_bytes(status);
                if size <= LEAST_CHUNK {
                    return Err(why.into());
                }
                // What the others in flight are answered is the same, and says nothing new.
                if size > self.ceiling / 2 || self.ceiling == u64::MAX {
                    self.ceiling = (size / 2).max(LEAST_CHUNK);
                    let smaller = indicatif::HumanBytes(self.ceiling);
                    self.teller.note(&format!("{why}; going on with chunks of {smaller}"));
                }
                self.drain().await?;
                return self.look().await.map(Some);
            }
            Refused::Superseded(why) => {
                self.superseded += 1;
                if self.superseded >= SUPERSEDED {
                    return Err(format!("{why}; another client sends the same file").into());
                }
                Trouble::passing(why)
            }
            Refused::TooMany { why, after } => {
                self.parallel = (self.parallel - 1).max(1);
                Trouble::Passing { why, after }
            }
            other => other.trouble(),
        };
        let (why, after) = match trouble {
            Trouble::Final(why) => return Err(why.into()),
            Trouble::Passing { why, after } => (why, after),
        };
        self.pause(why, after).await?;
        self.drain().await?;
        self.look().await.map(Some)
    }

    /// The status anew, and what others have sent meanwhile compared.
    async fn look(&mut self) -> Result<Status, Ended> {
        let status = self.ask(&Method::GET, "", "").await?;
        let before = self.known.bytes();
        self.known = status.received(self.length);
        if self.known.bytes() > before {
            self.backoff.reset();
        }
        self.tell();
        if status.is_open()
            && let Some(fresh) = self.trust(&status, Closeness::Sample).await?
        {
            self.known = fresh.received(self.length);
            return Ok(fresh);
        }
        Ok(status)
    }

    /// What broke off by the same cause, or arrived meanwhile, needs no pause of its own.
    async fn drain(&mut self) -> Result<(), Ended> {
        // Those that are still moving go on.
        tokio::task::yield_now().await;
        while let Some(done) = self.sending.try_join_next() {
            let (extent, answer) =
                done.map_err(|error| Ended::Open(format!("a chunk task panicked: {error}")))?;
            self.arrived(extent);
            match self.counted(extent, answer) {
                Ok(fresh) => self.acknowledged(&fresh),
                Err(Refused::Trouble(Trouble::Final(why))) => return Err(why.into()),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Compares what the server holds and this run is not sure of, as closely as `how` says. A fresh status where
    /// the server holds something else by now.
    pub(super) async fn trust(
        &mut self,
        status: &Status,
        how: Closeness,
    ) -> Result<Option<Status>, Ended> {
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

    async fn compare(&mut self, held: &ExtentSet, how: Closeness) -> Result<Option<Status>, Ended> {
        if held.is_empty() {
            return Ok(None);
        }
        let Some(pieces) = same::pieces(held, self.length, how) else {
            let why = "the server has pieces of it that are too small to compare";
            return Err(Ended::Open(format!("{why}: nothing more is sent")));
        };
        if how == Closeness::All {
            self.teller.comparing(held.bytes());
        }
        for batch in same::batches(&pieces) {
            let count = batch.len();
            let (file, batch) = (Arc::clone(&self.upload.source.file), batch.to_vec());
            let body = tokio::task::spawn_blocking(move || same::body(&file, &batch));
            let body = body.await.map_err(|error| Ended::Open(error.to_string()))??;
            let verified = loop {
                match self.upload.verify(&body).await.map_err(Refused::trouble) {
                    Ok(verified) => break verified,
                    Err(Trouble::Final(why)) => return Err(why.into()),
                    Err(Trouble::Passing { why, after }) => self.pause(why, after).await?,
                }
            };
            if verified.verified.len() != count && verified.status.is_open() {
                let why = "the server compared other pieces than requested";
                return Err(Ended::Open(format!("{why}: nothing more is sent")));
            }
            if verified.verified.contains(&Some(false)) {
                return Err(Ended::Changed);
            }
            // Over by now, or the server has lost it since (a power cut with `ack = written`).
            if verified.verified.contains(&None) {
                let why = "the server has less than it said";
                if verified.status.is_open() {
                    self.pause(why.into(), None).await?;
                }
                return Ok(Some(verified.status));
            }
        }
        Ok(None)
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
        answer: Result<Status, Refused>,
    ) -> Result<Status, Refused> {
        let fresh = answer?;
        if fresh.is_open() && !fresh.received(self.length).contains(extent) {
            return Err(
                Trouble::passing("the server does not count a chunk that it accepted").into()
            );
        }
        self.sure.insert(extent);
        Ok(fresh)
    }

    fn arrived(&mut self, extent: Extent) {
        self.under_way.retain(|(other, _)| *other != extent);
    }

    fn tell(&self) {
        let ahead = self.under_way.iter().map(|(extent, gauge)| {
            let unknown = without(*extent, &self.known);
            gauge.moved().min(unknown)
        });
        self.teller.moved(self.known.bytes(), ahead.sum());
    }

    /// Waits until the upload is over, as long as the server tries; only one end is good.
    pub(super) async fn handed_over(&mut self, mut status: Status) -> Result<(), Ended> {
        let mut looks = 0;
        loop {
            let reason = status.reason();
            let why = |word: &str| match &reason {
                Some(reason) => Ended::Over(format!("{word}: {reason}")),
                None => Ended::Over(word.into()),
            };
            match status.state {
                State::Finished => return Ok(()),
                State::Cancelled => return Err(why("cancelled")),
                State::Failed => return Err(why("failed")),
                State::New | State::Uploading => {
                    return Err(Ended::Open(
                        "the server lost bytes that it had acknowledged".into(),
                    ));
                }
                State::HandingOver => {
                    self.teller.handing_over(reason.as_deref());
                    // A slow web app has its time before anything is said of it.
                    if reason.is_some() || looks > 1 {
                        self.teller.not_taken(reason.as_deref());
                    }
                }
            }
            let patience = if looks == 0 { FIRST_LOOK } else { POLL };
            looks += 1;
            let query = format!("wait={}&state=handing_over", patience.as_secs());
            let asked = tokio::time::Instant::now();
            status = self.ask(&Method::GET, &query, "").await.map_err(Ended::Open)?;
            if status.state == State::HandingOver {
                // A server that does not wait is not asked all the time.
                tokio::time::sleep_until(asked + LEAST_WAIT).await;
            }
        }
    }

    /// Asks until there is an answer.
    async fn ask(&mut self, method: &Method, query: &str, body: &str) -> Result<Status, String> {
        match self.try_ask(method, query, body).await {
            Ok(status) => Ok(status),
            Err(refused) => Err(refused.trouble().line()),
        }
    }

    /// As [`Transfer::ask`], and says what no retry cures.
    pub(super) async fn try_ask(
        &mut self,
        method: &Method,
        query: &str,
        body: &str,
    ) -> Result<Status, Refused> {
        loop {
            match self.upload.ask(method, query, body).await {
                Ok(status) => return Ok(status),
                Err(refused @ (Refused::Unknown(_) | Refused::TooLarge(_))) => return Err(refused),
                Err(refused) => match refused.trouble() {
                    Trouble::Final(why) => return Err(Trouble::Final(why).into()),
                    Trouble::Passing { why, after } => {
                        let paused = self.pause(why, after).await;
                        paused.map_err(|why| Refused::from(Trouble::Final(why)))?;
                    }
                },
            }
        }
    }

    /// Waits before the next try; an error when there is none.
    async fn pause(&mut self, why: String, after: Option<Duration>) -> Result<(), String> {
        let Some(pause) = self.backoff.pause(after) else { return Err(why) };
        self.teller.trouble(&why, pause);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn chunk_bytes(&self, status: &Status) -> u64 {
        let wanted = self.pace.chunk_size.unwrap_or_else(|| status.chunk_bytes());
        wanted.min(status.most_chunk_bytes()).min(self.ceiling).max(1)
    }
}

/// How an upload ended that did not arrive.
#[derive(Debug)]
pub(super) enum Ended {
    /// For good.
    Over(String),
    /// It may be gone on with.
    Open(String),
    /// The server holds other bytes than the file has; nothing more was sent.
    Changed,
}

impl From<String> for Ended {
    fn from(why: String) -> Self {
        Self::Open(why)
    }
}
