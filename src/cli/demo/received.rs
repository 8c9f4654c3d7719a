//! The files that the web app has received: `received/{id}`, and beside each what is known of it.
//!
//! A file is taken from where the server publishes that upload and from nowhere else, whatever a call names.
//!
//! What is known is written before the file is moved: once a file is gone from where the server
//! published it, the server takes it for handed over, so from then on it must be known here. A record
//! without its file is a move that did not happen; the server will ask again. Blocking.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::disk;
use crate::core::digest::hex;
use crate::core::id::TicketId;

/// Bytes hashed at a time: large enough for the disk, and a stop is seen within milliseconds.
const BLOCK_BYTES: usize = 1 << 20;

/// Files listed at most; nobody reads further, and the page asks every second while one comes in.
const LISTED: usize = 1000;

/// The folder of published files in a storage directory (docs/protocol.md).
const FILES: &str = "files";

/// The last moment that the date format can show (the year 9999).
const LATEST_MS: u64 = 253_402_300_799_000;

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// One harmless name.
    pub(super) name: String,
    pub(super) size: u64,
    /// Milliseconds since 1970.
    pub(super) received_ms: u64,
    /// Metadata of its ticket, from which the secret is made.
    pub(super) metadata: String,
    /// Hexadecimal digits; none until the file has been read.
    pub(super) sha256: Option<String>,
}

/// A file as the page sees it.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    id: String,
    name: String,
    size: u64,
    /// `receiving` while the file is read, then `received`.
    state: &'static str,
    sha256: Option<String>,
    received_at: String,
}

/// The files received so far.
pub(super) struct Received {
    directory: PathBuf,
    /// Where the server publishes files: absolute, without links.
    published: PathBuf,
    /// Held while a file is moved in as well, so that two calls for one file do not meet.
    records: Mutex<BTreeMap<TicketId, Record>>,
}

impl Received {
    /// What lies in this directory, which is made if absent, and comes from the server of this storage directory,
    /// which has to exist.
    pub(super) fn open(directory: PathBuf, storage: &Path) -> io::Result<Self> {
        disk::private_directory(&directory)?;
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let Some(id) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let Ok(id) = TicketId::parse(id) else { continue };
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            if !disk::is_file(&path.with_extension("")) {
                continue;
            }
            let read = disk::read(&path).and_then(|content| {
                serde_json::from_slice(&content.unwrap_or_default()).map_err(io::Error::other)
            });
            match read {
                Ok(record) => _ = records.insert(id, record),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "could not list received file");
                }
            }
        }
        let published = storage.canonicalize()?.join(FILES);
        Ok(Self { directory, published, records: Mutex::new(records) })
    }

    /// Moves a published file in. Called again for a file that is here already, it tells what is
    /// known of it.
    ///
    /// Errors: `from` is not where the server publishes this upload, or the file cannot be moved.
    pub(super) fn take(&self, id: TicketId, from: &Path, record: Record) -> io::Result<Record> {
        let mut records = self.records();
        if let Some(known) = records.get(&id) {
            return Ok(known.clone());
        }
        let target = self.path(id);
        // A file whose record was lost is still the file.
        let here = disk::is_file(&target);
        let source = if here { &target } else { &self.published.join(id.to_string()) };
        if !here && from != source {
            let from = from.display().to_string();
            return Err(io::Error::other(format!(
                "{from:?} is not where this upload is published"
            )));
        }
        let size = disk::open(source)?.metadata()?.len();
        let record = Record { size, ..record };
        self.write(id, &record)?;
        if !here {
            fs::rename(source, &target)?;
            disk::sync_directory_of(&target)?;
        }
        records.insert(id, record.clone());
        Ok(record)
    }

    /// What is known of a file.
    pub(super) fn record(&self, id: TicketId) -> Option<Record> {
        self.records().get(&id).cloned()
    }

    /// Where a file lies.
    pub(super) fn path(&self, id: TicketId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// The newest files, newest first.
    pub(super) fn list(&self) -> Vec<Listed> {
        let mut files: Vec<_> =
            self.records().iter().map(|(id, record)| (*id, record.clone())).collect();
        files.sort_by_key(|(_, record)| std::cmp::Reverse(record.received_ms));
        files.truncate(LISTED);
        files.into_iter().map(|(id, record)| listed(id, record)).collect()
    }

    /// Files not yet read.
    pub(super) fn unread(&self) -> Vec<TicketId> {
        let unread = |(id, record): (&TicketId, &Record)| record.sha256.is_none().then_some(*id);
        self.records().iter().filter_map(unread).collect()
    }

    /// Reads a file and keeps its SHA-256; none when `stop` came first.
    pub(super) fn hash(
        &self,
        id: TicketId,
        stop: &CancellationToken,
    ) -> io::Result<Option<Record>> {
        let mut file = disk::open(&self.path(id))?;
        let mut block = vec![0; BLOCK_BYTES];
        let mut hash = Sha256::new();
        loop {
            if stop.is_cancelled() {
                return Ok(None);
            }
            match file.read(&mut block) {
                Ok(0) => break,
                Ok(read) => hash.update(&block[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let mut records = self.records();
        let record = records
            .get_mut(&id)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "not received"))?;
        let fresh = Record { sha256: Some(hex(&hash.finalize())), ..record.clone() };
        self.write(id, &fresh)?;
        *record = fresh.clone();
        Ok(Some(fresh))
    }

    fn write(&self, id: TicketId, record: &Record) -> io::Result<()> {
        disk::put(&self.path(id).with_extension("json"), &serde_json::to_vec(record)?)
    }

    /// A panic elsewhere leaves the records as true as they were.
    fn records(&self) -> MutexGuard<'_, BTreeMap<TicketId, Record>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now, in milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(LATEST_MS)
}

fn listed(id: TicketId, record: Record) -> Listed {
    let at = UNIX_EPOCH + Duration::from_millis(record.received_ms.min(LATEST_MS));
    Listed {
        id: id.to_string(),
        name: record.name,
        size: record.size,
        state: if record.sha256.is_some() { "received" } else { "receiving" },
        sha256: record.sha256,
        received_at: humantime::format_rfc3339_millis(at).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(received_ms: u64) -> Record {
        Record {
            name: "../a<b>".into(),
            size: 0,
            received_ms,
            metadata: "00:".into(),
            sha256: None,
        }
    }

    #[test]
    fn takes_reads_and_remembers() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("received");
        let storage = dir.path().canonicalize().unwrap().join("storage");
        fs::create_dir_all(storage.join(FILES)).unwrap();
        let open = || Received::open(home.clone(), &storage).unwrap();
        let published = |id: TicketId| storage.join(FILES).join(id.to_string());
        let (one, two) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let go = CancellationToken::new();
        {
            let received = open();
            fs::write(published(one), "abc").unwrap();
            assert_eq!(received.take(one, &published(one), record(1)).unwrap().size, 3);
            assert!(!published(one).exists());
            assert_eq!(received.take(one, &published(one), record(9)).unwrap().received_ms, 1);
            assert!(received.take(two, &published(two), record(2)).is_err());
            assert_eq!(received.unread(), [one]);
            let stopped = CancellationToken::new();
            stopped.cancel();
            assert_eq!(received.hash(one, &stopped).unwrap(), None);
        }
        let received = open();
        assert_eq!(received.unread(), [one]);
        assert_eq!(received.list()[0].state, "receiving");
        let sha256 = received.hash(one, &go).unwrap().unwrap().sha256.unwrap();
        assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        fs::write(published(two), "").unwrap();
        received.take(two, &published(two), record(2)).unwrap();

        let received = open();
        let ids: Vec<_> = received.list().into_iter().map(|file| file.id).collect();
        assert_eq!(ids, [two.to_string(), one.to_string()]);
        assert_eq!(received.unread(), [two]);
        // A record was written, its file never came.
        fs::remove_file(received.path(one)).unwrap();
        assert_eq!(open().record(one), None);
    }

    /// Who knows the demo's key could else have any file of this user moved and read.
    #[test]
    fn issue_13_a_file_is_taken_from_the_storage_alone_and_never_by_a_link() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let storage = dir.path().canonicalize().unwrap().join("storage");
        fs::create_dir_all(storage.join(FILES)).unwrap();
        let key = dir.path().join("id_ed25519");
        fs::write(&key, "secret").unwrap();
        let received = Received::open(dir.path().join("received"), &storage).unwrap();
        let (one, two) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let published = storage.join(FILES).join(one.to_string());
        let other = storage.join(FILES).join(two.to_string());
        fs::write(&other, "another's").unwrap();
        let above = storage.join(FILES).join("../../id_ed25519");
        for from in [&key, &above, &other, &storage] {
            assert!(received.take(one, from, record(1)).is_err(), "{}", from.display());
        }
        symlink(&key, &published).unwrap();
        assert!(received.take(one, &published, record(1)).is_err());
        assert_eq!(fs::read_to_string(&key).unwrap(), "secret");
        // One that lies there already is not read either.
        symlink(&key, received.path(two)).unwrap();
        assert!(received.hash(two, &CancellationToken::new()).is_err());
        disk::put(&received.path(two).with_extension("json"), b"{}").unwrap();
        let again = Received::open(dir.path().join("received"), &storage).unwrap();
        assert!(again.record(two).is_none());
        assert!(super::super::download::answer(&again.path(two), "x").is_err());
    }
}
