//! What is remembered of an upload over the end of the program: a small file for each, so that the same
//! command goes on after Ctrl-C or a reboot, and only with the same file.
//!
//! They lie in `$XDG_STATE_HOME/incoming/uploads` (`~/.local/state/...`), private: who knows an upload
//! URL may upload to it. Each is replaced as a whole, so that after a crash during a write the old one or the new one
//! is there. While a program holds one, a file beside it is locked, so that no two programs send the same file.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::identity::Identity;
use crate::core::digest::hex;
use crate::core::escape;
use crate::storage::local::private_dir;

/// More than one user has under way at once, and 40 MiB on a disk. Their age does not matter: setting the clock would
/// make all of them old.
const MOST_KEPT: usize = 10_000;
/// The longest such file read: a path and a URL.
const MOST_BYTES: u64 = 64 << 10;
/// Times that a lock is taken which its last holder removes at that moment, before it counts as held.
const LOCK_TRIES: u32 = 16;

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResumeState {
    /// Where the file was, for people.
    pub(crate) file: PathBuf,
    /// The file as it was.
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// Path of the upload URL.
    pub(crate) upload: String,
}

/// The file of one state, locked by this program.
pub(crate) struct Slot {
    path: PathBuf,
    _lock: Lock,
}

/// A locked file, which is removed before it is unlocked. What a killed program leaves of it locks no other out.
struct Lock {
    path: PathBuf,
    _file: File,
}

/// Why there is no slot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlotError {
    /// Another program holds it.
    #[error("is being uploaded by another program")]
    Busy,
    /// No directory for it is known.
    #[error("neither XDG_STATE_HOME nor HOME is set")]
    NoHome,
    /// It cannot be kept.
    #[error("{}: {error}", escape::path(path))]
    Unavailable {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl SlotError {
    fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        |error| Self::Unavailable { path: path.to_owned(), error }
    }
}

impl Slot {
    /// The slot for a file on its way to `target`. Blocks.
    pub(crate) fn of(file: &Path, target: &str) -> Result<Self, SlotError> {
        Self::within(&home().ok_or(SlotError::NoHome)?, file, target)
    }

    fn within(home: &Path, file: &Path, target: &str) -> Result<Self, SlotError> {
        let folder = home.join("incoming").join("uploads");
        let made = DirBuilder::new().recursive(true).mode(0o700).create(home);
        made.map_err(SlotError::at(home))?;
        make_directories(&folder)?;
        tidy(&folder, MOST_KEPT);
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let mut hash = sha2::Sha256::new();
        hash.update(file.as_os_str().as_bytes());
        hash.update([0]);
        hash.update(target);
        let path = folder.join(format!("{}.json", &hex(&hash.finalize())[..32]));
        let held = Self { _lock: Lock::take(&path.with_extension("lock"))?, path };
        match held.open() {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SlotError::at(&held.path)(error))
            }
            Ok(_) | Err(_) => Ok(held),
        }
    }

    fn open(&self) -> io::Result<File> {
        private_dir::open(&self.path, OpenOptions::new().read(true))
    }

    /// What is remembered, if anything that can be read.
    pub(crate) fn read(&mut self) -> Option<ResumeState> {
        let mut text = Vec::new();
        self.open().ok()?.take(MOST_BYTES).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Remembers, durably: a power cut finds it, or what was remembered before. Blocks.
    pub(crate) fn write(&mut self, state: &ResumeState) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(state)?;
        let new = self.path.with_extension("new");
        // Of a program that ended during a write.
        let _ = std::fs::remove_file(&new);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&new, &self.path)?;
        // Its name too.
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// Nothing is to be remembered any more.
    pub(crate) fn forget(self) {
        // What stays is found to be over by its server, or goes with number.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Lets go of it; what is remembered stays.
    pub(crate) fn leave(self) {
        drop(self);
    }
}

impl Lock {
    fn take(path: &Path) -> Result<Self, SlotError> {
        let unavailable = SlotError::at(path);
        for _ in 0..LOCK_TRIES {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let file = private_dir::open(path, &mut options).map_err(&unavailable)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(SlotError::Busy),
                Err(TryLockError::Error(error)) => return Err(unavailable(error)),
            }
            if let Some(lock) = Self::of(file, path).map_err(&unavailable)? {
                return Ok(lock);
            }
        }
        Err(SlotError::Busy)
    }

    /// The lock that this locked file is: none if it was removed meanwhile, since the next program creates another.
    fn of(file: File, path: &Path) -> io::Result<Option<Self>> {
        let ours = file.metadata()?;
        match std::fs::symlink_metadata(path) {
            Ok(found) if (found.dev(), found.ino()) == (ours.dev(), ours.ino()) => {
                Ok(Some(Self { path: path.to_owned(), _file: file }))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(_) | Err(_) => Ok(None),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Still locked. A file that stays locks no other out, and is removed at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn home() -> Option<PathBuf> {
    let set =
        |key: &str| std::env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local").join("state")))
}

/// Makes the folder and the one above it, which may lie where others write: what is remembered there says where bytes
/// go. Each is checked before anything is made below it.
fn make_directories(folder: &Path) -> Result<(), SlotError> {
    for directory in folder.parent().into_iter().chain([folder]) {
        let made = private_dir::make_directory(directory, DirBuilder::new().mode(0o700));
        made.map_err(SlotError::at(directory))?;
    }
    Ok(())
}

/// Removes what programs that were killed have left, and of what is remembered all but the `most` that were written last.
/// A program that runs holds a lock, and keeps its own.
fn tidy(folder: &Path, most: usize) {
    let remove = |path: &Path| {
        if let Ok(_lock) = Lock::take(&path.with_extension("lock")) {
            let _ = std::fs::remove_file(path);
        }
    };
    let mut kept = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.extension().and_then(|end| end.to_str()) {
            Some("json") => kept.push(path),
            Some("new") => remove(&path),
            Some("lock") => drop(Lock::take(&path)),
            Some(_) | None => {}
        }
    }
    let Some(over) = kept.len().checked_sub(most).filter(|over| *over > 0) else { return };
    let written = |path: &PathBuf| std::fs::metadata(path).and_then(|found| found.modified()).ok();
    kept.sort_by_cached_key(written);
    kept.iter().take(over).for_each(|path| remove(path));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::identity::FileStat;
    use std::time::{Duration, SystemTime};

    fn state(upload: &str) -> ResumeState {
        let stat = FileStat { size: 7, modified_ns: 5 };
        let identity = Identity { stat, mark: "aa".into() };
        ResumeState { file: "/f".into(), identity, upload: upload.into() }
    }

    #[test]
    fn is_kept_for_a_file_and_its_target_and_held_by_one() {
        let home = tempfile::tempdir().unwrap();
        let slot = |file: &str, target: &str| Slot::within(home.path(), Path::new(file), target);
        let mut first = slot("/f", "a").unwrap();
        assert_eq!(first.read(), None);
        first.write(&state("/u/a-very-long-name-of-an-upload")).unwrap();
        first.write(&state("/u")).unwrap();
        assert!(matches!(slot("/f", "a"), Err(SlotError::Busy)));
        for (file, target) in [("/f", "b"), ("/g", "a")] {
            let mut other = slot(file, target).unwrap();
            assert_eq!(other.read(), None);
            other.leave();
        }
        drop(first);
        let mut again = slot("/f", "a").unwrap();
        assert_eq!(again.read(), Some(state("/u")));
        let folder = home.path().join("incoming/uploads");
        // It and its lock, which nobody else reads: whoever knows the upload's path can upload to it.
        let private = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        let held: Vec<_> = std::fs::read_dir(&folder).unwrap().map(Result::unwrap).collect();
        assert_eq!(held.len(), 2);
        assert!(held.iter().all(|entry| private(&entry.path()) == 0o600));
        assert_eq!([&*folder, folder.parent().unwrap()].map(private), [0o700; 2]);
        // Files that are not a resume state.
        let text = std::fs::read(&again.path).unwrap();
        std::fs::write(&again.path, &text[..9]).unwrap();
        assert_eq!(again.read(), None);
        again.forget();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }

    /// Somebody else could lead the bytes elsewhere, or learn where they go.
    #[test]
    fn nothing_is_remembered_in_a_place_of_others() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let home = tempfile::tempdir().unwrap();
        let slot = || Slot::within(home.path(), Path::new("/f"), "a");
        let check = |place: &str, word: &str| match slot() {
            Err(error @ (SlotError::Unavailable { .. } | SlotError::NoHome)) => {
                let why = error.to_string();
                assert!(why.contains(place) && why.contains(word), "{place}: {why}");
            }
            Err(SlotError::Busy) => panic!("{place}: busy"),
            Ok(_) => panic!("{place}: {word} is no reason"),
        };
        let path = slot().unwrap().path.clone();
        slot().unwrap().write(&state("/u")).unwrap();
        let places = ["incoming", "incoming/uploads"].map(|place| home.path().join(place));
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for place in &places {
            let name = place.display().to_string();
            open(place, 0o777);
            check(&name, "every user of this machine");
            open(place, 0o700);
            let aside = home.path().join("aside");
            std::fs::rename(place, &aside).unwrap();
            symlink(&aside, place).unwrap();
            check(&name, "symbolic link");
            std::fs::remove_file(place).unwrap();
            std::fs::rename(&aside, place).unwrap();
        }
        // Nothing is made where a link leads.
        let (other, elsewhere) = (home.path().join("other"), home.path().join("elsewhere"));
        std::fs::create_dir_all(&elsewhere).unwrap();
        std::fs::create_dir(&other).unwrap();
        symlink(&elsewhere, other.join("incoming")).unwrap();
        assert!(Slot::within(&other, Path::new("/f"), "a").is_err());
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        open(&path, 0o666);
        check(&path.display().to_string(), "every user of this machine");
        std::fs::remove_file(&path).unwrap();
        let victim = home.path().join("victim");
        std::fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        check(&path.display().to_string(), "symbolic link");
        assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious");
        std::fs::remove_file(&path).unwrap();
        assert!(slot().is_ok());
    }

    #[test]
    fn issue_13_what_is_remembered_goes_by_number_and_not_by_a_date() {
        let home = tempfile::tempdir().unwrap();
        let slot = |file: &str| Slot::within(home.path(), Path::new(file), "a");
        let set = |path: &Path, seconds: u64| {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.unwrap().set_modified(at).unwrap();
        };
        let mut paths = Vec::new();
        for (file, written) in [("/f", 0), ("/g", 1), ("/h", 2)] {
            let mut made = slot(file).unwrap();
            made.write(&state(file)).unwrap();
            paths.push(made.path.clone());
            drop(made);
            set(paths.last().unwrap(), written);
        }
        // What a killed program leaves, and what one that runs is writing.
        let mut running = slot("/f").unwrap();
        let left = [paths[0].with_file_name("a.new"), paths[0].with_file_name("a.lock")];
        left.iter().for_each(|path| set(path, 0));
        let writing = running.path.with_extension("new");
        set(&writing, 0);
        let mut old = slot("/g").unwrap();
        assert_eq!(old.read(), Some(state("/g")), "however the clock stands");
        drop(old);
        assert!(left.iter().all(|file| !file.exists()));
        assert!(writing.exists() && matches!(slot("/f"), Err(SlotError::Busy)));
        tidy(paths[0].parent().unwrap(), 1);
        assert_eq!(running.read(), Some(state("/f")), "it runs");
        assert!(!paths[1].exists() && paths[2].exists());
    }

    /// Whatever happens during a write, what was remembered is there, and a program that is killed holds nobody off.
    #[test]
    fn a_write_that_fails_leaves_what_was_remembered() {
        let home = tempfile::tempdir().unwrap();
        let slot = || Slot::within(home.path(), Path::new("/f"), "a");
        let mut first = slot().unwrap();
        first.write(&state("/old")).unwrap();
        let before = std::fs::metadata(&first.path).unwrap().ino();
        // Nothing can be written beside it.
        let new = first.path.with_extension("new");
        std::fs::create_dir(&new).unwrap();
        assert!(first.write(&state("/new")).is_err());
        assert_eq!(first.read(), Some(state("/old")));
        std::fs::remove_dir(&new).unwrap();
        std::fs::write(&new, "half of a").unwrap();
        first.write(&state("/new")).unwrap();
        assert_eq!(first.read(), Some(state("/new")));
        assert_ne!(std::fs::metadata(&first.path).unwrap().ino(), before, "written in place");
        let lock = first._lock.path.clone();
        drop(first);
        std::fs::write(&lock, "").unwrap();
        assert_eq!(slot().unwrap().read(), Some(state("/new")));
    }

    /// Its holder removes the lock as it ends: who has opened that one before must not hold it alone.
    #[test]
    fn a_lock_that_was_removed_locks_nobody() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a.lock");
        let opened = File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(Lock::of(opened.try_clone().unwrap(), &path).unwrap().is_none());
        let held = Lock::take(&path).unwrap();
        assert!(Lock::of(opened, &path).unwrap().is_none());
        assert!(matches!(Lock::take(&path), Err(SlotError::Busy)));
        drop(held);
        assert!(!path.exists());
    }
}
