//! A directory whose entries become durable: callers that wait while another syncs share the next
//! sync, and after a failed one nothing is promised any more. And what is missing there: only where the
//! directory is still in its place does that mean that it does not exist. [`super::private_dir`] tells whether a place is nobody else's, [`super::lock`]
//! and [`super::marker`] that a storage directory is used by one server and is the right one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

/// A directory that is synced through one handle.
pub struct SyncedDirectory {
    /// Device and number of the open directory.
    identity: (u64, u64),
    syncing: Arc<Syncing>,
    /// Started by the first that needs it; `None` where the system has no thread for it.
    beside: OnceLock<Option<Beside>>,
}

struct Syncing {
    path: PathBuf,
    handle: File,
    asked: AtomicU64,
    state: Mutex<State>,
}

/// A thread that syncs the directory for those who do something else meanwhile.
struct Beside {
    /// Taken when it is to end.
    ask: Option<SyncSender<Ask>>,
    thread: Option<JoinHandle<()>>,
}

/// Where it says whether a sync that began after the question has gone well.
type Ask = SyncSender<bool>;

enum State {
    /// Every entry made before this question was asked is durable.
    Synced(u64),
    /// A sync failed. What it did not write may be forgotten, and the next one would not say so.
    Failed,
}

impl SyncedDirectory {
    /// The directory at `path`, which must exist and be none by a link in its last step.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle =
            OpenOptions::new().read(true).custom_flags(NO_FOLLOW | DIRECTORY).open(path)?;
        let opened = handle.metadata()?;
        let (asked, state) = (AtomicU64::new(0), Mutex::new(State::Synced(0)));
        Ok(Self {
            identity: (opened.dev(), opened.ino()),
            syncing: Arc::new(Syncing { path: path.canonicalize()?, handle, asked, state }),
            beside: OnceLock::new(),
        })
    }

    /// Where it is: absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.syncing.path
    }

    /// The open directory.
    pub fn handle(&self) -> &File {
        &self.syncing.handle
    }

    /// Makes every entry made or renamed before this call durable. Blocks.
    ///
    /// Errors: the sync failed, now or earlier; never one of the kinds of a full disk.
    pub fn sync(&self) -> io::Result<()> {
        self.syncing.sync()
    }

    /// Does `work`, and beside it what [`Self::sync`] does for the entries made before this call. Blocks for both.
    pub fn sync_beside<T>(&self, work: impl FnOnce() -> T) -> (T, io::Result<()>) {
        let beside = self.beside.get_or_init(|| Beside::start(&self.syncing));
        let asked = beside.as_ref().and_then(Beside::ask);
        let done = work();
        let synced = asked.is_some_and(|answer| answer.recv() == Ok(true));
        // Where it has failed there, this says so.
        (done, if synced { Ok(()) } else { self.sync() })
    }

    /// Whether its path still leads to it. One that was renamed, removed or unmounted is not where
    /// others look for it, and what cannot be found by its path may well exist.
    pub fn in_place(&self) -> io::Result<()> {
        let lost = |why: &str| {
            io::Error::other(format!("the directory {:?} {why}", self.path().display().to_string()))
        };
        let there = std::fs::symlink_metadata(self.path()).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => lost("is gone"),
            _ => error,
        })?;
        if (there.dev(), there.ino()) == self.identity {
            Ok(())
        } else {
            Err(lost("was replaced since the server started"))
        }
    }

    /// What opening or looking at an entry found: `None` where there is no such entry.
    ///
    /// Errors: any but "not found", and that one too while the directory is not in its place.
    pub fn found<T>(&self, outcome: io::Result<T>) -> io::Result<Option<T>> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.in_place()?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl Syncing {
    fn sync(&self) -> io::Result<()> {
        self.sync_with(|| self.handle.sync_all())
    }

    fn sync_with(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut state = self.state.lock().expect("no holder of this lock panics");
        match *state {
            State::Failed => {
                return Err(io::Error::other("an earlier sync of the directory failed"));
            }
            State::Synced(covers) if covers >= mine => return Ok(()),
            State::Synced(_) => {}
        }
        let covers = self.asked.load(Ordering::SeqCst);
        sync().map_err(|error| {
            *state = State::Failed;
            io::Error::other(format!(
                "cannot sync the directory {:?}, which acknowledgements depend on: {error}",
                self.path.display().to_string()
            ))
        })?;
        *state = State::Synced(covers);
        Ok(())
    }
}

impl Beside {
    fn start(syncing: &Arc<Syncing>) -> Option<Self> {
        let (ask, asked) = sync_channel(MAX_ASKS);
        let syncing = Arc::clone(syncing);
        let thread = std::thread::Builder::new().name("incoming-names".to_owned());
        let thread = thread.spawn(move || Self::run(&syncing, &asked)).ok()?;
        Some(Self { ask: Some(ask), thread: Some(thread) })
    }

    /// Those that ask during a sync share the next one.
    fn run(syncing: &Syncing, asked: &Receiver<Ask>) {
        while let Ok(first) = asked.recv() {
            let all: Vec<Ask> = std::iter::once(first).chain(asked.try_iter()).collect();
            let synced = syncing.sync().is_ok();
            // Whoever asked waits.
            for ask in all {
                let _ = ask.send(synced);
            }
        }
    }

    /// Where the answer comes; `None` where too many wait for one.
    fn ask(&self) -> Option<Receiver<bool>> {
        let (tell, told) = sync_channel(1);
        self.ask.as_ref()?.try_send(tell).ok()?;
        Some(told)
    }
}

/// The directory's lock goes with its handle, which the thread has as well.
impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.ask.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic.
            let _ = thread.join();
        }
    }
}

/// Those that wait for a sync beside them: as many as a worker has blocking threads, twice.
const MAX_ASKS: usize = 64;

/// Opens nothing through a symbolic link: in a storage directory there is none.
#[allow(clippy::cast_possible_wrap)]
pub const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

/// Opens folders alone.
#[allow(clippy::cast_possible_wrap)]
const DIRECTORY: i32 = rustix::fs::OFlags::DIRECTORY.bits() as i32;

/// An error where the file that is written has no name any more: what is written now goes with it.
pub fn still_named(file: &File) -> io::Result<()> {
    if file.metadata()?.nlink() == 0 {
        return Err(io::Error::other("the file was removed while it was in use"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failed_sync_none_succeeds() {
        let place = tempfile::tempdir().unwrap();
        let directory = SyncedDirectory::open(place.path()).unwrap();
        directory.sync().unwrap();
        let full = || Err(io::ErrorKind::StorageFull.into());
        assert_eq!(directory.syncing.sync_with(full).unwrap_err().kind(), io::ErrorKind::Other);
        assert!(directory.sync().is_err());
        let (done, synced) = directory.sync_beside(|| 7);
        assert!(done == 7 && synced.is_err());
    }

    #[test]
    fn issue_19_a_sync_beside_covers_what_was_there_before() {
        let place = tempfile::tempdir().unwrap();
        let directory = SyncedDirectory::open(place.path()).unwrap();
        std::thread::scope(|scope| {
            for number in 1..=100 {
                let directory = &directory;
                scope.spawn(move || {
                    let before = directory.syncing.asked.load(Ordering::SeqCst);
                    let (done, synced) = directory.sync_beside(|| number);
                    assert_eq!((done, synced.is_ok()), (number, true));
                    let state = directory.syncing.state.lock().unwrap();
                    assert!(matches!(*state, State::Synced(covers) if covers > before));
                });
            }
        });
        // The handle, and the lock with it, is closed with the directory.
        let syncing = Arc::downgrade(&directory.syncing);
        drop(directory);
        assert!(syncing.upgrade().is_none());
    }

    #[test]
    fn nothing_is_missing_in_a_directory_that_is_elsewhere() {
        let place = tempfile::tempdir().unwrap();
        let (path, away) = (place.path().join("here"), place.path().join("away"));
        std::fs::create_dir(&path).unwrap();
        let directory = SyncedDirectory::open(&path).unwrap();
        let look = || directory.found(File::open(path.join("entry")));
        assert!(look().unwrap().is_none());
        std::fs::rename(&path, &away).unwrap();
        assert!(look().is_err() && directory.in_place().is_err(), "renamed");
        std::fs::create_dir(&path).unwrap();
        assert!(look().is_err() && directory.in_place().is_err(), "another in its place");
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&away, &path).unwrap();
        assert!(look().unwrap().is_none(), "it is back");
        std::fs::write(path.join("entry"), "").unwrap();
        let file = look().unwrap().unwrap();
        still_named(&file).unwrap();
        std::fs::remove_file(path.join("entry")).unwrap();
        assert!(still_named(&file).is_err());
    }
}
