//! The files that the web app has received: `received/{id}/{name}`.
//!
//! A file is taken from where the server publishes that upload and from nowhere else, whatever a call names. One rename
//! moves it and gives it its name, so there is no moment at which it is gone from the server and unknown here. Blocking.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::private_files;
use crate::core::digest::hex;
use crate::core::id::TicketId;

/// Bytes hashed at a time: large enough for the disk, and a stop is seen within milliseconds.
const BLOCK_BYTES: usize = 1 << 20;
/// Files listed at most; no one reads further, and the page asks every second while one comes in.
const LISTED: usize = 1000;
/// The folder of published files in a storage directory (docs/protocol.md).
const FILES: &str = "files";

/// The files received so far.
pub(super) struct Received {
    directory: PathBuf,
    /// Where the server publishes files: absolute, without links.
    published: PathBuf,
    /// Locked while a file is moved in as well, so that two calls for one file do not meet.
    files: Mutex<BTreeMap<TicketId, ReceivedFile>>,
}

#[derive(Clone)]
struct ReceivedFile {
    /// One harmless name.
    name: String,
    size: u64,
    at: SystemTime,
    hash: Hash,
}

#[derive(Clone)]
enum Hash {
    Pending,
    /// Hexadecimal digits.
    Sha256(String),
    /// Of a file from before the start, or one that could not be read.
    Unknown,
}

/// A file as the page sees it.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    id: String,
    name: String,
    size: u64,
    /// `receiving` while the file is hashed, then `received`.
    state: &'static str,
    sha256: Option<String>,
    received_at: String,
}

impl Received {
    /// What lies in this directory, which is made if absent, and comes from the server of this storage directory,
    /// which has to exist.
    pub(super) fn open(directory: PathBuf, storage: &Path) -> io::Result<Self> {
        private_files::make_directory(&directory)?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(|name| TicketId::parse(name).ok());
            let Some(id) = id.filter(|_| entry.file_type().is_ok_and(|it| it.is_dir())) else {
                continue;
            };
            for file in fs::read_dir(entry.path())? {
                let file = file?;
                let found = file.metadata()?;
                if let (true, Ok(name)) = (found.is_file(), file.file_name().into_string()) {
                    let at = entry.metadata()?.modified()?;
                    let (size, hash) = (found.len(), Hash::Unknown);
                    files.insert(id, ReceivedFile { name, size, at, hash });
                }
            }
        }
        let published = storage.canonicalize()?.join(FILES);
        Ok(Self { directory, published, files: Mutex::new(files) })
    }

    /// Moves a published file in under this name; false if it is here already.
    ///
    /// Errors: `from` is not where the server publishes this upload, or the file cannot be moved.
    pub(super) fn take(&self, id: TicketId, from: &Path, name: String) -> io::Result<bool> {
        let mut files = self.files();
        if files.contains_key(&id) {
            return Ok(false);
        }
        let source = self.published.join(id.to_string());
        if from != source {
            let from = from.display();
            return Err(io::Error::other(format!(
                "{from:?} is not where this upload is published"
            )));
        }
        // No link, and a file of this user.
        let size = private_files::open(&source)?.metadata()?.len();
        let target = self.directory.join(id.to_string()).join(&name);
        if let Some(directory) = target.parent() {
            private_files::make_directory(directory)?;
            fs::rename(source, &target)?;
            private_files::sync_directory_of(&target)?;
            private_files::sync_directory_of(directory)?;
        }
        files.insert(id, ReceivedFile { name, size, at: SystemTime::now(), hash: Hash::Pending });
        Ok(true)
    }

    /// Opens a file: its bytes, their number, and its name; `None` where there is none.
    pub(super) fn open_file(&self, id: TicketId) -> io::Result<Option<(fs::File, u64, String)>> {
        let Some(ReceivedFile { name, .. }) = self.files().get(&id).cloned() else {
            return Ok(None);
        };
        let file = private_files::open(&self.directory.join(id.to_string()).join(&name))?;
        let length = file.metadata()?.len();
        Ok(Some((file, length, name)))
    }

    /// The newest files, newest first.
    pub(super) fn list(&self) -> Vec<Listed> {
        let mut files: Vec<_> = self.files().iter().map(|(id, file)| (*id, file.clone())).collect();
        files.sort_by_key(|(_, file)| std::cmp::Reverse(file.at));
        files.truncate(LISTED);
        files.into_iter().map(|(id, file)| listed(id, file)).collect()
    }

    /// Hashes a file, unless `stop` comes first.
    pub(super) fn hash(&self, id: TicketId, stop: &CancellationToken) {
        let hash = self.read(id, stop).unwrap_or_else(|error| {
            tracing::error!(upload = %id.short(), %error, "could not read received file");
            Hash::Unknown
        });
        if let Some(file) = self.files().get_mut(&id) {
            file.hash = hash;
        }
    }

    fn read(&self, id: TicketId, stop: &CancellationToken) -> io::Result<Hash> {
        let Some((mut file, _, _)) = self.open_file(id)? else { return Ok(Hash::Unknown) };
        let mut block = vec![0; BLOCK_BYTES];
        let mut hash = Sha256::new();
        while !stop.is_cancelled() {
            match file.read(&mut block) {
                Ok(0) => return Ok(Hash::Sha256(hex(&hash.finalize()))),
                Ok(read) => hash.update(&block[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Hash::Pending)
    }

    /// A panic elsewhere leaves the files as true as they were.
    fn files(&self) -> MutexGuard<'_, BTreeMap<TicketId, ReceivedFile>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed(id: TicketId, file: ReceivedFile) -> Listed {
    let (state, sha256) = match file.hash {
        Hash::Pending => ("receiving", None),
        Hash::Sha256(hash) => ("received", Some(hash)),
        Hash::Unknown => ("received", None),
    };
    Listed {
        id: id.to_string(),
        name: file.name,
        size: file.size,
        state,
        sha256,
        received_at: humantime::format_rfc3339_millis(file.at).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_hashes_and_finds_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("received");
        let storage = dir.path().canonicalize().unwrap().join("storage");
        fs::create_dir_all(storage.join(FILES)).unwrap();
        let open = || Received::open(home.clone(), &storage).unwrap();
        let published = |id: TicketId| storage.join(FILES).join(id.to_string());
        let (one, two) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let received = open();
        fs::write(published(one), "abc").unwrap();
        assert!(received.take(one, &published(one), "a<b>.json".into()).unwrap());
        assert!(!published(one).exists());
        assert!(!received.take(one, &published(one), "b".into()).unwrap());
        assert!(received.take(two, &published(two), "c".into()).is_err());
        let stopped = CancellationToken::new();
        stopped.cancel();
        received.hash(one, &stopped);
        assert_eq!(received.list()[0].state, "receiving");
        received.hash(one, &CancellationToken::new());
        let sha256 = received.list()[0].sha256.clone().unwrap();
        assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        fs::write(published(two), "").unwrap();
        assert!(received.take(two, &published(two), "d".into()).unwrap());
        let ids: Vec<_> = received.list().into_iter().map(|file| file.id).collect();
        assert_eq!(ids, [two.to_string(), one.to_string()]);

        // Another start; a handover that is repeated then changes nothing.
        let received = open();
        let found = received.list().into_iter().find(|file| file.id == one.to_string()).unwrap();
        assert_eq!((found.name.as_str(), found.size, found.state), ("a<b>.json", 3, "received"));
        assert!(!received.take(one, &published(one), "b".into()).unwrap());
        assert_eq!(received.open_file(one).unwrap().unwrap().1, 3);
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
        let home = dir.path().join("received");
        let received = Received::open(home.clone(), &storage).unwrap();
        let (one, two) = (TicketId::from_random([1; 16]), TicketId::from_random([2; 16]));
        let published = storage.join(FILES).join(one.to_string());
        let other = storage.join(FILES).join(two.to_string());
        fs::write(&other, "another's").unwrap();
        let above = storage.join(FILES).join("../../id_ed25519");
        for from in [&key, &above, &other, &storage] {
            assert!(received.take(one, from, "x".into()).is_err(), "{}", from.display());
        }
        symlink(&key, &published).unwrap();
        assert!(received.take(one, &published, "x".into()).is_err());
        assert_eq!(fs::read_to_string(&key).unwrap(), "secret");
        // Links that lie there already are neither listed nor read.
        fs::create_dir(home.join(one.to_string())).unwrap();
        symlink(&key, home.join(one.to_string()).join("x")).unwrap();
        symlink(dir.path(), home.join(two.to_string())).unwrap();
        assert!(Received::open(home.clone(), &storage).unwrap().list().is_empty());
        // One that comes later is not read either.
        fs::remove_file(home.join(two.to_string())).unwrap();
        received.take(two, &other, "y".into()).unwrap();
        let place = home.join(two.to_string()).join("y");
        fs::remove_file(&place).unwrap();
        symlink(&key, place).unwrap();
        assert!(received.open_file(two).is_err());
    }
}
