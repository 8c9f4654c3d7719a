//! The logs of uploads in object storage as files of one directory, for one server: `{id}.log`, a magic number and then one
//! frame for each append.
//!
//! Durability: an append that was answered is on the disk. Its answer is [`LogError::Unsure`] where that is not known, and
//! the log then takes nothing more before a restart: what a failed sync has left cannot be told by reading. What a crash
//! leaves of the last append is cut off by the next one; where a whole append follows damage, the log is an error and stays
//! as it is.
//!
//! A few bytes stay in memory for each log that was used. Calls run on blocking threads, to their end though dropped.

use super::blocking::Blocking;
use super::directory::{NO_FOLLOW, SyncedDirectory};
use super::format::object_event::{decode_append, encode_append};
use super::format::record::{HEAD_BYTES, MAX_BODY_BYTES, Undecoded};
use crate::core::id::TicketId;
use crate::storage::event_log::{Append, Appended, EventLog, LogError, LogRead, Seen};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The logs in one directory, which no other process uses.
#[derive(Clone)]
pub struct LocalEventLog {
    inner: Arc<Inner>,
    blocking: Blocking,
}

struct Inner {
    directory: SyncedDirectory,
    logs: Mutex<HashMap<TicketId, Arc<Mutex<Entry>>>>,
}

/// What is known of a log.
#[derive(Default)]
struct Entry {
    /// Its last append and the bytes up to its end, once it was read.
    head: Option<(Seen, u64)>,
    /// A write or sync has failed.
    is_latched: bool,
    /// Who does work for it, until when.
    hold: Option<(u64, Instant)>,
}

/// A log as it is on the disk.
struct Whole {
    appends: Vec<Append>,
    /// Bytes up to the end of the last append.
    bytes: u64,
}

impl LocalEventLog {
    /// Over the directory at `path`, which is there and belongs to this process alone.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, blocking: Blocking) -> io::Result<Self> {
        let inner = Inner { directory: SyncedDirectory::open(path)?, logs: Mutex::default() };
        Ok(Self { inner: Arc::new(inner), blocking })
    }

    /// The uploads that have a log, in the order of their ids.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub async fn ids(&self) -> Result<Vec<TicketId>, LogError> {
        self.run(None, |inner, _| inner.ids().map_err(|error| failed("list", &error))).await
    }

    async fn run<T: Send + 'static>(
        &self,
        id: Option<TicketId>,
        work: impl FnOnce(&Inner, &mut Entry) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let inner = Arc::clone(&self.inner);
        let done = self.blocking.spawn(move || {
            let entry = id.map_or_else(Arc::default, |id| inner.entry(id));
            let mut entry = entry.lock().unwrap_or_else(PoisonError::into_inner);
            work(&inner, &mut entry)
        });
        done.await.unwrap_or(Err(LogError::Unsure))
    }
}

impl EventLog for LocalEventLog {
    async fn create(&self, id: TicketId, append: Append) -> Result<Appended, LogError> {
        self.run(Some(id), move |inner, entry| inner.create(id, entry, &append)).await
    }

    async fn read(&self, id: TicketId, seen: Option<Seen>) -> Result<LogRead, LogError> {
        self.run(Some(id), move |inner, entry| {
            // The disk may say what was not acknowledged, and may not be there tomorrow.
            if entry.is_latched {
                return Err(LogError::Unsure);
            }
            // Most often nothing has happened.
            if let (Some((head, _)), Some(seen)) = (entry.head, seen)
                && head == seen
            {
                return Ok(LogRead::More(Vec::new()));
            }
            let Some(whole) = inner.load(id, entry)? else { return Ok(LogRead::Unknown) };
            Ok(behind(whole.appends, seen))
        })
        .await
    }

    async fn append(&self, id: TicketId, seen: Seen, append: Append) -> Result<Appended, LogError> {
        self.run(Some(id), move |inner, entry| inner.append(id, entry, seen, &append)).await
    }

    async fn hold(&self, id: TicketId, holder: u64, time: Duration) -> Result<bool, LogError> {
        self.run(Some(id), move |inner, entry| {
            if inner.head(id, entry)?.is_none() {
                return Ok(false);
            }
            let now = Instant::now();
            let own = match entry.hold.filter(|(_, until)| *until > now) {
                Some((by, _)) if by != holder => return Ok(false),
                own => own.map(|(_, until)| until),
            };
            let until = now + time;
            entry.hold = Some((holder, own.map_or(until, |own| own.max(until))));
            Ok(true)
        })
        .await
    }

    async fn remove(&self, id: TicketId, seen: Seen) -> Result<Appended, LogError> {
        self.run(Some(id), move |inner, entry| {
            if inner.head(id, entry)?.map(|(head, _)| head) != Some(seen) {
                return Ok(Appended::Behind);
            }
            let removed =
                std::fs::remove_file(inner.path(id)).and_then(|()| inner.directory.sync());
            removed.map_err(|error| failed("remove", &error))?;
            *entry = Entry::default();
            inner.logs().remove(&id);
            Ok(Appended::At(seen))
        })
        .await
    }
}

impl Inner {
    fn logs(&self) -> MutexGuard<'_, HashMap<TicketId, Arc<Mutex<Entry>>>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: TicketId) -> Arc<Mutex<Entry>> {
        Arc::clone(self.logs().entry(id).or_default())
    }

    fn path(&self, id: TicketId) -> PathBuf {
        self.directory.path().join(format!("{id}.log"))
    }

    fn ids(&self) -> io::Result<Vec<TicketId>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(self.directory.path())? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".log"));
            ids.extend(id.and_then(|id| TicketId::parse(id).ok()));
        }
        ids.sort();
        Ok(ids)
    }

    /// Under another name first: it is there whole or not at all.
    fn create(
        &self,
        id: TicketId,
        entry: &mut Entry,
        append: &Append,
    ) -> Result<Appended, LogError> {
        if self.head(id, entry)?.is_some() {
            return Ok(Appended::Behind);
        }
        let frame = encode_append(append).ok_or(LogError::Unsure)?;
        let bytes = [MAGIC, &frame].concat();
        let fresh = self.directory.path().join(format!("{id}.new"));
        let made = || -> io::Result<()> {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all_at(&bytes, 0)?;
            file.sync_all()?;
            std::fs::rename(&fresh, self.path(id))?;
            self.directory.sync()
        };
        made().map_err(|error| failed("create", &error))?;
        let seen = Seen { seq: 1, tag: append.tag };
        entry.head = Some((seen, bytes.len() as u64));
        Ok(Appended::At(seen))
    }

    fn append(
        &self,
        id: TicketId,
        entry: &mut Entry,
        seen: Seen,
        append: &Append,
    ) -> Result<Appended, LogError> {
        if entry.is_latched {
            return Err(LogError::Unsure);
        }
        let Some((head, bytes)) = self.head(id, entry)? else { return Ok(Appended::Behind) };
        if head != seen {
            return Ok(Appended::Behind);
        }
        let frame = encode_append(append).ok_or(LogError::Unsure)?;
        let opened = OpenOptions::new().write(true).open(self.path(id));
        let file = opened.map_err(|error| failed("open", &error))?;
        let written = || -> io::Result<()> {
            // What a crash has left.
            file.set_len(bytes)?;
            file.write_all_at(&frame, bytes)?;
            file.sync_data()
        };
        if let Err(error) = written() {
            entry.is_latched = true;
            return Err(failed("append to", &error));
        }
        let at = Seen { seq: seen.seq + 1, tag: append.tag };
        entry.head = Some((at, bytes + frame.len() as u64));
        Ok(Appended::At(at))
    }

    fn head(&self, id: TicketId, entry: &mut Entry) -> Result<Option<(Seen, u64)>, LogError> {
        if entry.head.is_none() {
            self.load(id, entry)?;
        }
        Ok(entry.head)
    }

    /// All of a log, if there is one. What is read is on the disk before anything follows from it.
    fn load(&self, id: TicketId, entry: &mut Entry) -> Result<Option<Whole>, LogError> {
        // Nothing is missing because a disk is not mounted.
        let opened = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(self.path(id));
        let opened = self.directory.found(opened).map_err(|error| failed("open", &error))?;
        let Some(mut file) = opened else { return Ok(None) };
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes).and_then(|_| match entry.head {
            // The process that wrote it may have been killed before it was synced.
            None => file.sync_data().and_then(|()| self.directory.sync()),
            Some(_) => Ok(()),
        });
        read.map_err(|error| failed("read", &error))?;
        let whole = decoded(&bytes).inspect_err(|_| {
            tracing::error!(upload = %id.short(), "upload log is damaged, or of a later version");
        })?;
        let last = whole.appends.last().ok_or(LogError::Unreadable)?;
        let seen = Seen { seq: whole.appends.len() as u64, tag: last.tag };
        entry.head = Some((seen, whole.bytes));
        Ok(Some(whole))
    }
}

fn decoded(bytes: &[u8]) -> Result<Whole, LogError> {
    if !bytes.starts_with(MAGIC) {
        return Err(LogError::Unreadable);
    }
    let (mut appends, mut at) = (Vec::new(), MAGIC.len());
    while at < bytes.len() {
        match decode_append(&bytes[at..]) {
            Ok((append, size)) => {
                appends.push(append);
                at += size;
            }
            Err(Undecoded::Torn) if is_torn_append(&bytes[at..]) => break,
            Err(Undecoded::Torn | Undecoded::Unknown { .. }) => return Err(LogError::Unreadable),
        }
    }
    Ok(Whole { appends, bytes: at as u64 })
}

/// Whether no whole append follows: then it is no more than what a crash leaves of one.
fn is_torn_append(tail: &[u8]) -> bool {
    tail.len() <= MOST_TORN
        && (1..tail.len()).all(|at| decode_append(&tail[at..]) == Err(Undecoded::Torn))
}

/// The appends behind `seen`.
fn behind(mut appends: Vec<Append>, seen: Option<Seen>) -> LogRead {
    let Some(seen) = seen else { return LogRead::More(appends) };
    let known = seen.seq.checked_sub(1).and_then(|at| usize::try_from(at).ok());
    match known.filter(|at| appends.get(*at).is_some_and(|append| append.tag == seen.tag)) {
        Some(at) => LogRead::More(appends.split_off(at + 1)),
        None => LogRead::OtherHistory,
    }
}

fn failed(what: &'static str, error: &io::Error) -> LogError {
    tracing::error!(what, %error, "upload log failed");
    LogError::Unsure
}

/// Bytes of the longest append.
const MOST_TORN: usize = HEAD_BYTES + MAX_BODY_BYTES;
/// First bytes of every log; the last one is the version of the format.
const MAGIC: &[u8] = b"INCOLOG1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::event_log::conformance::{self, append, created, id, more};

    fn log(home: &tempfile::TempDir) -> LocalEventLog {
        LocalEventLog::open(home.path(), Blocking::Threads).unwrap()
    }

    #[tokio::test]
    async fn logs_in_files() {
        let home = tempfile::tempdir().unwrap();
        conformance::check(Arc::new(log(&home)), [3; 15]).await;
        let mut left: Vec<_> = log(&home).ids().await.unwrap();
        assert_eq!(left.len(), 4, "one was removed");
        left.dedup();
        assert_eq!(left.len(), 4);
    }

    /// Whatever a crash leaves of the last append, the others are there, and the next one stands in its place.
    #[tokio::test]
    async fn a_torn_append_is_cut_off() {
        let (home, id) = (tempfile::tempdir().unwrap(), id([1; 15], 1));
        let first = created(&log(&home), id, 1).await;
        let before = std::fs::metadata(home.path().join(format!("{id}.log"))).unwrap().len();
        let second = log(&home).append(id, first, append(2)).await;
        let path = home.path().join(format!("{id}.log"));
        let whole = std::fs::read(&path).unwrap();
        for cut in usize::try_from(before).unwrap()..whole.len() {
            for behind in [&[][..], &[0; 40]] {
                std::fs::write(&path, [&whole[..cut], behind].concat()).unwrap();
                let crashed = log(&home);
                assert_eq!(more(&crashed, id, None).await.len(), 1, "{cut}");
                assert_eq!(crashed.append(id, first, append(2)).await, second);
                assert_eq!(std::fs::read(&path).unwrap(), whole);
                assert_eq!(more(&log(&home), id, None).await.len(), 2);
            }
        }
    }

    /// What was acknowledged behind a damaged append is not forgotten.
    #[tokio::test]
    async fn damage_in_the_middle_is_an_error() {
        let (home, id) = (tempfile::tempdir().unwrap(), id([1; 15], 1));
        let first = created(&log(&home), id, 1).await;
        assert!(log(&home).append(id, first, append(2)).await.is_ok());
        let path = home.path().join(format!("{id}.log"));
        let whole = std::fs::read(&path).unwrap();
        let second = whole.len() - encode_append(&append(2)).unwrap().len();
        for at in 0..second {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert!(matches!(log(&home).read(id, None).await, Err(LogError::Unreadable)), "{at}");
            let behind = log(&home).append(id, first, append(3)).await;
            assert_eq!(behind, Err(LogError::Unreadable), "{at}");
            assert_eq!(std::fs::read(&path).unwrap(), damaged);
        }
    }

    /// Where a write has failed, nothing is appended before a restart.
    #[tokio::test]
    async fn a_failed_write_latches_the_log() {
        let (home, id) = (tempfile::tempdir().unwrap(), id([1; 15], 1));
        let log = log(&home);
        let first = created(&log, id, 1).await;
        let path = home.path().join(format!("{id}.log"));
        let aside = home.path().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        // Every write to it says that the disk is full.
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        assert_eq!(log.append(id, first, append(2)).await, Err(LogError::Unsure));
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(log.append(id, first, append(2)).await, Err(LogError::Unsure));
        assert!(matches!(log.read(id, None).await, Err(LogError::Unsure)));
        let restarted = super::tests::log(&home);
        assert!(matches!(restarted.append(id, first, append(2)).await, Ok(Appended::At(_))));
    }
}
