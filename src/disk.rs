//! A directory whose entries become durable: callers that wait while another syncs share the next
//! sync, and after a failed one nothing is promised any more.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// A directory that is synced through one handle.
pub struct SyncedDirectory {
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
        let flags = NO_FOLLOW | DIRECTORY;
        Ok(Self {
            handle: OpenOptions::new().read(true).custom_flags(flags).open(path)?,
            asked: AtomicU64::new(0),
            state: Mutex::new(State::Synced(0)),
        })
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
            io::Error::other(format!("sync of the directory: {error}"))
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
}
