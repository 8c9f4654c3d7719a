//! Journals as files `{id}.journal` in the storage directory, private to the server.

use super::directory::{NO_FOLLOW, SyncedDirectory, still_named};
use super::format::uptime;
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use crate::storage::clock::fill_random;
use crate::storage::local::journal_files::{JournalFile, JournalFiles, Replaced, SyncWhen};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Journals in one directory.
pub struct LocalJournals {
    directory: Arc<SyncedDirectory>,
    /// Ends the names of files that are being made by this process, and by no other.
    making: String,
}

impl LocalJournals {
    /// Journals in `directory`.
    pub fn open(directory: Arc<SyncedDirectory>) -> io::Result<Self> {
        Ok(Self { directory, making: making()? })
    }

    /// What other processes have left, or are about to make, in the middle of a `create`.
    pub fn leftovers(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.directory.path())? {
            let entry = entry?;
            let name = entry.file_name();
            let other = name.to_str().and_then(|name| name.split_once('.'));
            let leftover = other.is_some_and(|(id, rest)| {
                TicketId::parse(id).is_ok() && is_making(rest) && rest != self.making
            });
            if leftover {
                found.push(entry.path());
            }
        }
        Ok(found)
    }

    fn path(&self, id: TicketId) -> PathBuf {
        self.directory.path().join(format!("{id}.{SUFFIX}"))
    }

    fn making_path(&self, id: TicketId) -> PathBuf {
        self.directory.path().join(format!("{id}.{}", self.making))
    }

    /// A whole file at `path`, under a name that nobody reads.
    fn make(path: &Path, bytes: &[u8], sync: SyncWhen) -> io::Result<File> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(NO_FOLLOW)
            .open(path)?;
        file.write_all_at(bytes, 0)?;
        match sync {
            SyncWhen::Now => file.sync_all()?,
            SyncWhen::Later => {}
        }
        Ok(file)
    }
}

impl JournalFiles for LocalJournals {
    fn create(&self, id: TicketId, bytes: &[u8], sync: SyncWhen) -> io::Result<()> {
        let path = self.making_path(id);
        let made = Self::make(&path, bytes, sync);
        // What cannot be removed now goes at the next start, or expires.
        made.and_then(|_| std::fs::rename(&path, self.path(id))).inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })?;
        match sync {
            SyncWhen::Now => self.directory.sync().inspect_err(|_| {
                let _ = std::fs::remove_file(self.path(id));
            }),
            SyncWhen::Later => Ok(()),
        }
    }

    fn read(&self, id: TicketId) -> io::Result<Option<Box<dyn Read + Send>>> {
        let file = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(self.path(id));
        Ok(self.directory.found(file)?.map(|file| Box::new(file) as Box<dyn Read + Send>))
    }

    fn replace(&self, id: TicketId, bytes: &[u8]) -> io::Result<Replaced> {
        self.directory.in_place()?;
        // There must be one, and it must be no link.
        OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(self.path(id))?;
        let path = self.making_path(id);
        // An earlier try that failed may not have been able to remove it.
        let _ = std::fs::remove_file(&path);
        let made = Self::make(&path, bytes, SyncWhen::Now);
        let renamed = made.and_then(|file| std::fs::rename(&path, self.path(id)).map(|()| file));
        let file = renamed.inspect_err(|_| {
            let _ = std::fs::remove_file(&path);
        })?;
        // Where another directory has come to its place meanwhile, what is appended goes there. How many names the old
        // file has tells nothing: a copy of the directory may be made of hard links.
        let named = self.directory.sync().and_then(|()| self.directory.in_place());
        Ok(Replaced { file: Box::new(LocalJournal(file)), named })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.directory.sync()
    }

    fn open(&self, id: TicketId) -> io::Result<Box<dyn JournalFile>> {
        let file = OpenOptions::new().write(true).custom_flags(NO_FOLLOW).open(self.path(id))?;
        Ok(Box::new(LocalJournal(file)))
    }

    fn remove(&self, id: TicketId) -> io::Result<()> {
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        for leftover in self.leftovers()? {
            std::fs::remove_file(leftover)?;
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<TicketId>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(self.directory.path())? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.strip_suffix('.'));
            ids.extend(id.and_then(|id| TicketId::parse(id).ok()));
        }
        Ok(ids)
    }

    fn read_uptime(&self) -> io::Result<Option<Uptime>> {
        let path = self.directory.path().join(UPTIME);
        let file = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path);
        let Some(file) = self.directory.found(file)? else { return Ok(None) };
        let mut bytes = Vec::new();
        // One byte more than there should be tells a longer file.
        io::Read::read_to_end(
            &mut io::Read::take(file, uptime::FILE_BYTES as u64 + 1),
            &mut bytes,
        )?;
        uptime::decode(&bytes).map(Some)
    }

    fn write_uptime(&self, uptime: Uptime) -> io::Result<()> {
        let (new, path) = [UPTIME_NEW, UPTIME].map(|name| self.directory.path().join(name)).into();
        // Not into an empty mount point, or what another has put there.
        self.directory.in_place()?;
        // No other server is here: the directory is locked.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(NO_FOLLOW)
            .open(&new)?;
        file.write_all_at(&uptime::encode(uptime), 0)?;
        // Its name need not be: an earlier count is one that is behind.
        file.sync_all()?;
        std::fs::rename(new, path)
    }
}

struct LocalJournal(File);

impl JournalFile for LocalJournal {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)?;
        // Also with `ack = written`, where nothing is synced: what nobody can find again is not kept.
        still_named(&self.0)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        if self.0.metadata()?.len() == length {
            return Ok(());
        }
        self.0.set_len(length)
    }
}

/// The end of a name that no other process has used: sixteen random bytes.
fn making() -> io::Result<String> {
    let mut bytes = [0; 16];
    fill_random(&mut bytes)?;
    Ok(format!("{}{MAKING}", uuid::Builder::from_random_bytes(bytes).into_uuid().simple()))
}

/// Whether this is what [`making`] makes.
fn is_making(text: &str) -> bool {
    text.strip_suffix(MAKING)
        .is_some_and(|nonce| nonce.len() == 32 && nonce.bytes().all(|b| b.is_ascii_hexdigit()))
}

const SUFFIX: &str = "journal";
/// The count of running time.
pub const UPTIME: &str = "uptime";
/// How it is called before it is whole.
pub const UPTIME_NEW: &str = "uptime.new";
/// How the name of a journal ends that is not whole yet.
const MAKING: &str = ".journal-new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conforms() {
        let place = tempfile::tempdir().unwrap();
        let directory = Arc::new(SyncedDirectory::open(place.path()).unwrap());
        let journals = LocalJournals::open(directory).unwrap();
        crate::storage::local::journal_files::conformance::check(&journals);
    }

    /// As a backup makes them: `cp -al`.
    #[test]
    fn issue_13_a_journal_with_another_name_is_replaced() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("here");
        std::fs::create_dir(&path).unwrap();
        let directory = Arc::new(SyncedDirectory::open(&path).unwrap());
        let journals = LocalJournals::open(directory).unwrap();
        let id = TicketId::from_random([1; 16]);
        let read = || {
            let mut text = String::new();
            journals.read(id).unwrap().unwrap().read_to_string(&mut text).unwrap();
            text
        };
        journals.create(id, b"grown", SyncWhen::Now).unwrap();
        let copy = place.path().join("copy");
        std::fs::hard_link(journals.path(id), &copy).unwrap();
        let mut replaced = journals.replace(id, b"small").unwrap();
        replaced.named.unwrap();
        replaced.file.write_at(b", and more", 5).unwrap();
        assert_eq!(read(), "small, and more", "what is appended goes to the new one");
        assert_eq!(std::fs::read_to_string(&copy).unwrap(), "grown");
        // Into no other directory, and no journal that was not there.
        let absent = journals.replace(TicketId::from_random([2; 16]), b"x");
        assert_eq!(absent.err().unwrap().kind(), io::ErrorKind::NotFound);
        std::fs::rename(&path, place.path().join("away")).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(journals.replace(id, b"x").is_err());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }

    #[test]
    fn the_count_is_kept_whole_and_in_its_own_directory_alone() {
        let place = tempfile::tempdir().unwrap();
        let (path, away) = (place.path().join("here"), place.path().join("away"));
        std::fs::create_dir(&path).unwrap();
        let directory = Arc::new(SyncedDirectory::open(&path).unwrap());
        let journals = LocalJournals::open(directory).unwrap();
        assert_eq!(journals.read_uptime().unwrap(), None);
        for count in [Uptime(7), Uptime::first_of(9)] {
            journals.write_uptime(count).unwrap();
            assert_eq!(journals.read_uptime().unwrap(), Some(count));
        }
        // Half of a next one, as a crash leaves it, is none.
        std::fs::write(path.join(UPTIME_NEW), "INCU").unwrap();
        assert_eq!(journals.read_uptime().unwrap(), Some(Uptime::first_of(9)));
        journals.write_uptime(Uptime(8)).unwrap();
        std::fs::write(path.join(UPTIME), "INCU").unwrap();
        assert!(journals.read_uptime().is_err());
        std::fs::rename(&path, &away).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(journals.write_uptime(Uptime(9)).is_err());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0);
    }
}
