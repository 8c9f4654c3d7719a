//! One file: bind, chunks, handover.
//!
//! The server's `received` is the plan: what is missing there and not under way is sent next. After
//! trouble the status is read anew, since a broken chunk keeps its good prefix, and after a power cut
//! of the server it may have less than it had.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Method, Request};
use serde_json::json;
use tokio::task::JoinSet;

use super::chunk::{Chunk, Gauge};
use super::progress::Progress;
use super::retry::Backoff;
use super::status::{self, State, Status, Trouble};
use super::ticket::{Place, Source};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::name;

/// How long a status may be waited for at a time.
const POLL: Duration = Duration::from_secs(25);

/// Sizes as asked for on the command line; else the server's suggestions hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bytes per chunk.
    pub(super) chunk_size: Option<u64>,
    /// Chunks in flight.
    pub(super) parallel: Option<u32>,
}

/// Uploads a file and waits until it is handed over. The line to print, either way.
///
/// Cancel: chunks under way break off; what was acknowledged stays.
pub(super) async fn file(path: &Path, source: &Source, pace: Pace) -> Result<String, String> {
    let shown = name::harmless(&path.to_string_lossy());
    let cannot = |why: String| format!("{}: {why}", path.display());
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    let facts = file.metadata().map_err(|error| cannot(error.to_string()))?;
    if !facts.is_file() {
        return Err(cannot("is not a regular file".into()));
    }
    let progress = Progress::new(shown.clone(), facts.len());
    let run = async {
        let place = source.place(|why| progress.trouble(why)).await?;
        let since = facts.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let bind = json!({
            "name": shown,
            "length": facts.len(),
            "last_modified": since.map(|since| u64::try_from(since.as_millis()).unwrap_or(0)),
        });
        let transfer = Transfer {
            upload: Arc::new(Upload { place, file: Arc::new(file) }),
            length: facts.len(),
            progress: &progress,
            pace,
        };
        let status = transfer.ask(Method::POST, "", bind.to_string()).await?;
        let (status, sent) = transfer.send(status).await?;
        transfer.handed_over(status).await?;
        Ok(sent)
    };
    let done: Result<u64, String> = run.await;
    done.map(|sent| progress.finished(sent)).map_err(|why| progress.failed(&why))
}

/// What every request needs.
struct Upload {
    place: Place,
    file: Arc<File>,
}

struct Transfer<'a> {
    upload: Arc<Upload>,
    length: u64,
    progress: &'a Progress,
    pace: Pace,
}

impl Transfer<'_> {
    /// Sends what is missing until nothing is, or until the upload is over for another reason.
    /// Returns the last status and the bytes that were acknowledged meanwhile.
    async fn send(&self, mut status: Status) -> Result<(Status, u64), String> {
        let mut known = status.received();
        let begun = known.bytes();
        self.progress.begin_at(begun);
        let mut under_way = ExtentSet::new();
        let mut sending = JoinSet::new();
        let mut backoff = Backoff::default();
        let parallel =
            usize::try_from(self.pace.parallel.unwrap_or(status.send_ahead)).unwrap_or(1);
        while matches!(status.state, State::New | State::Uploading) {
            while sending.len() < parallel.max(1)
                && let Some(extent) =
                    next(&known, &under_way, self.length, self.chunk_bytes(&status))
            {
                under_way.insert(extent);
                let upload = Arc::clone(&self.upload);
                let length = self.length;
                sending.spawn(async move { (extent, upload.put(extent, length).await) });
            }
            let trouble = match sending.join_next().await {
                Some(done) => {
                    let (extent, answer) =
                        done.map_err(|error| format!("a chunk broke off: {error}"))?;
                    under_way = without(&under_way, extent);
                    match answer {
                        Ok(fresh) => {
                            if self.acknowledged(&mut known, &fresh) {
                                backoff.reset();
                            }
                            status = fresh;
                            continue;
                        }
                        Err(trouble) => trouble,
                    }
                }
                // All of it is acknowledged, and yet the upload is not complete: ask how it stands.
                None => Trouble::passing("the server does not say that it has the whole file"),
            };
            let (why, after) = match trouble {
                Trouble::Final(why) => return Err(why),
                Trouble::Passing { why, after } => (why, after),
            };
            self.progress.trouble(&why);
            tokio::time::sleep(backoff.pause(after)).await;
            status = self.ask_with(&mut backoff, Method::GET, "", String::new()).await?;
            known = status.received();
            // What broke off by the same cause, or arrived meanwhile, needs no pause of its own.
            while let Some(Ok((extent, answer))) = sending.try_join_next() {
                under_way = without(&under_way, extent);
                match answer {
                    Ok(fresh) => _ = self.acknowledged(&mut known, &fresh),
                    Err(Trouble::Final(why)) => return Err(why),
                    Err(Trouble::Passing { .. }) => {}
                }
            }
        }
        Ok((status, self.length.saturating_sub(begun)))
    }

    /// Adds what an answer says to what is known. Answers overtake each other, so nothing is taken
    /// back here. Whether something was new.
    fn acknowledged(&self, known: &mut ExtentSet, fresh: &Status) -> bool {
        let before = known.bytes();
        known.insert_all(&fresh.received());
        let new = known.bytes() > before;
        if new {
            self.progress.acknowledged(known.bytes());
        }
        new
    }

    /// Waits until the upload is over; only one end is good.
    async fn handed_over(&self, mut status: Status) -> Result<(), String> {
        loop {
            let reason = status.reason();
            let why = || reason.clone().map(|reason| format!(": {reason}")).unwrap_or_default();
            match status.state {
                State::Finished => return Ok(()),
                State::Cancelled => return Err(format!("cancelled{}", why())),
                State::Failed => return Err(format!("failed{}", why())),
                State::New | State::Uploading => {
                    return Err("the server lost what it had".into());
                }
                State::HandingOver => self.progress.handing_over(reason),
            }
            let query = format!("wait={}&state=handing_over", POLL.as_secs());
            status = self.ask(Method::GET, &query, String::new()).await?;
        }
    }

    async fn ask(&self, method: Method, query: &str, body: String) -> Result<Status, String> {
        self.ask_with(&mut Backoff::default(), method, query, body).await
    }

    /// Asks until there is an answer.
    async fn ask_with(
        &self,
        backoff: &mut Backoff,
        method: Method,
        query: &str,
        body: String,
    ) -> Result<Status, String> {
        loop {
            match self.upload.ask(&method, query, &body).await {
                Ok(status) => return Ok(status),
                Err(Trouble::Final(why)) => return Err(why),
                Err(Trouble::Passing { why, after }) => {
                    self.progress.trouble(&why);
                    tokio::time::sleep(backoff.pause(after)).await;
                }
            }
        }
    }

    fn chunk_bytes(&self, status: &Status) -> u64 {
        let wanted = self.pace.chunk_size.unwrap_or(status.chunk_size);
        wanted.min(status.max_chunk_size.unwrap_or(u64::MAX)).max(1)
    }
}

impl Upload {
    async fn ask(&self, method: &Method, query: &str, body: &str) -> Result<Status, Trouble> {
        let path = &self.place.path;
        let uri = match query {
            "" => path.clone(),
            query => format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }),
        };
        let mut request = Request::builder().method(method.clone()).uri(uri);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Either::Left(Full::new(Bytes::from(body.to_owned()))))
            .map_err(|error| Trouble::Final(error.to_string()))?;
        let patience = if query.is_empty() { Duration::ZERO } else { POLL };
        status::judge(&self.place.client.call(request, &Gauge::default(), patience).await?)
    }

    async fn put(&self, extent: Extent, length: u64) -> Result<Status, Trouble> {
        let gauge = Arc::new(Gauge::default());
        let chunk = Chunk::new(Arc::clone(&self.file), extent, Arc::clone(&gauge));
        let range = format!("bytes {}-{}/{length}", extent.start(), extent.end() - 1);
        let request = Request::put(&self.place.path)
            .header(CONTENT_RANGE, range)
            .body(Either::Right(chunk))
            .map_err(|error| Trouble::Final(error.to_string()))?;
        status::judge(&self.place.client.call(request, &gauge, Duration::ZERO).await?)
    }
}

/// The next chunk: the first bytes that are neither known nor under way, at most so many.
fn next(known: &ExtentSet, under_way: &ExtentSet, length: u64, most: u64) -> Option<Extent> {
    let mut taken = known.clone();
    taken.insert_all(under_way);
    let missing = taken.missing_in(Extent::new(0, length)?);
    let first = *missing.as_slice().first()?;
    Extent::new(first.start(), first.end().min(first.start().saturating_add(most)))
}

/// The set less one of its parts.
fn without(set: &ExtentSet, extent: Extent) -> ExtentSet {
    let mut rest = ExtentSet::new();
    for kept in set.as_slice() {
        for part in ExtentSet::of(extent).missing_in(*kept).as_slice() {
            rest.insert(*part);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u64, u64)]) -> ExtentSet {
        let mut set = ExtentSet::new();
        for &(start, end) in ranges {
            set.insert(Extent::new(start, end).unwrap());
        }
        set
    }

    #[test]
    fn what_is_sent_next() {
        let check = |known: &[(u64, u64)], busy: &[(u64, u64)], expected: Option<(u64, u64)>| {
            let next = next(&set(known), &set(busy), 100, 10);
            let next = next.map(|extent| (extent.start(), extent.end()));
            assert_eq!(next, expected, "{known:?} {busy:?}");
        };
        check(&[], &[], Some((0, 10)));
        check(&[], &[(0, 10)], Some((10, 20)));
        check(&[(0, 10)], &[(10, 20), (20, 30)], Some((30, 40)));
        check(&[(3, 50)], &[], Some((0, 3)));
        check(&[(0, 95)], &[], Some((95, 100)));
        check(&[(0, 95)], &[(95, 100)], None);
        check(&[(0, 100)], &[], None);
        assert_eq!(next(&set(&[]), &set(&[]), 0, 10), None);
        assert_eq!(next(&set(&[]), &set(&[]), u64::MAX, u64::MAX).unwrap().len(), u64::MAX);
    }

    #[test]
    fn parts_are_taken_out() {
        let check = |of: &[(u64, u64)], out: (u64, u64), rest: &[(u64, u64)]| {
            assert_eq!(without(&set(of), Extent::new(out.0, out.1).unwrap()), set(rest));
        };
        check(&[(0, 30)], (10, 20), &[(0, 10), (20, 30)]);
        check(&[(0, 10)], (0, 10), &[]);
        check(&[(0, 10)], (20, 30), &[(0, 10)]);
        check(&[(0, 10), (20, 30)], (20, 30), &[(0, 10)]);
    }
}
