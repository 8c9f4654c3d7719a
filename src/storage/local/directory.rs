//! A directory whose entries become durable: callers that wait while another syncs share the next
//! sync, and after a failed one nothing is promised any more. And what is missing there: only where the
//! directory is still in its place does that mean that it does not exist. [`super::private_dir`] tells whether a place is nobody else's, [`super::lock`]
//! and [`super::marker`] that a storage directory is used by one server and is the right one.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory that is synced through one handle.
pub struct SyncedDirectory {
    path: PathBuf,
    handle: File,
    asked: AtomicU64,
    state: Mutex<State>,
}

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
        Ok(Self {
            handle,
            path: path.canonicalize()?,
            asked: AtomicU64::new(0),
            state: Mutex::new(State::Synced(0)),
        })
    }

    /// Where it is: absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open directory.
    pub fn handle(&self) -> &File {
        &self.handle
    }

    /// Makes every entry made or renamed before this call durable. Blocks.
    ///
    /// Errors: the sync failed, now or earlier; never one of the kinds of a full disk.
    pub fn sync(&self) -> io::Result<()> {
        self.sync_with(|| self.handle.sync_all())
    }

    /// Whether its path still leads to it. One that was renamed, removed or unmounted is not where
    /// others look for it, and what cannot be found by its path may well exist.
    pub fn in_place(&self) -> io::Result<()> {
        let lost = |why: &str| {
            io::Error::other(format!("the directory {:?} {why}", self.path.display().to_string()))
        };
        let there = std::fs::symlink_metadata(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => lost("is gone"),
            _ => error,
        })?;
        let held = self.handle.metadata()?;
        if (there.dev(), there.ino()) == (held.dev(), held.ino()) {
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
        assert_eq!(directory.sync_with(full).unwrap_err().kind(), io::ErrorKind::Other);
        assert!(directory.sync().is_err());
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
