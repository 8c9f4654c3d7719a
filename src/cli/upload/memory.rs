//! What is remembered of an upload over the end of the program: a small file for each, so that the same
//! command goes on after Ctrl-C or a reboot, and only with the same file.
//!
//! They lie in `$XDG_STATE_HOME/incoming/uploads` (`~/.local/state/...`), private: who knows an upload
//! URL may upload to it. One that is held is locked, so that no two programs send the same file.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::identity::Identity;
use crate::core::digest::hex;
use crate::disk::ours;

/// A server has forgotten an idle upload long before.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60 * 24 * 60);
/// The longest such file read: a path and a URL.
const MOST_BYTES: u64 = 64 << 10;

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Where the file was, for people.
    pub(super) file: PathBuf,
    /// The file as it was.
    #[serde(flatten)]
    pub(super) identity: Identity,
    /// Path of the upload URL.
    pub(super) upload: String,
}

/// The place of one memory, held by this program alone.
pub(super) struct Slot {
    path: PathBuf,
    file: File,
}

/// Why there is no slot.
#[derive(Debug)]
pub(super) enum NoSlot {
    /// Another program holds it.
    Busy,
    /// It cannot be kept.
    Unkept(String),
}

impl Slot {
    /// The slot for a file on its way to `target`. Blocks.
    pub(super) fn of(file: &Path, target: &str) -> Result<Self, NoSlot> {
        let home = home()
            .ok_or_else(|| NoSlot::Unkept("neither XDG_STATE_HOME nor HOME is set".into()))?;
        Self::within(&home, file, target)
    }

    fn within(home: &Path, file: &Path, target: &str) -> Result<Self, NoSlot> {
        let folder = home.join("incoming").join("uploads");
        let unkept = |error: io::Error| NoSlot::Unkept(format!("{}: {error}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(unkept)?;
        check_places(&folder).map_err(NoSlot::Unkept)?;
        tidy(&folder);
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let mut hash = sha2::Sha256::new();
        hash.update(file.as_os_str().as_bytes());
        hash.update([0]);
        hash.update(target);
        let path = folder.join(format!("{}.json", &hex(&hash.finalize())[..32]));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let open = ours::open(&path, &mut options);
        let file = open.map_err(|error| NoSlot::Unkept(format!("{}: {error}", path.display())))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path, file }),
            Err(TryLockError::WouldBlock) => Err(NoSlot::Busy),
            Err(TryLockError::Error(error)) => Err(unkept(error)),
        }
    }

    /// What is remembered, if anything that can be read.
    pub(super) fn read(&mut self) -> Option<Memory> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(0)).ok()?;
        (&mut self.file).take(MOST_BYTES).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Remembers, durably: a power cut finds it. Blocks.
    pub(super) fn write(&mut self, memory: &Memory) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(memory)?;
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&text)?;
        self.file.sync_all()?;
        // Its name too.
        self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    /// Nothing is to be remembered any more.
    pub(super) fn forget(self) {
        // What stays is found to be over by its server, or goes with age.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Nothing was ever written here: leaves no empty file.
    pub(super) fn leave(self) {
        if self.file.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            self.forget();
        }
    }
}

fn home() -> Option<PathBuf> {
    let set =
        |key: &str| std::env::var_os(key).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local").join("state")))
}

/// Checks the folder and the one above it, which may lie where others write: what is remembered there says where bytes
/// go. The error names the one that is not ours.
fn check_places(folder: &Path) -> Result<(), String> {
    for place in folder.parent().into_iter().chain([folder]) {
        ours::directory(place).map_err(|error| format!("{}: {error}", place.display()))?;
    }
    Ok(())
}

/// Removes what nobody will ask for again.
fn tidy(folder: &Path) {
    let old = SystemTime::now().checked_sub(FORGOTTEN_AFTER);
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        if written < old && entry.path().extension().is_some_and(|end| end == "json") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::upload::identity::Facts;

    fn memory(upload: &str) -> Memory {
        let facts = Facts { size: 7, modified_ns: 5 };
        let identity = Identity { facts, mark: "aa".into() };
        Memory { file: "/f".into(), identity, upload: upload.into() }
    }

    #[test]
    fn is_kept_for_a_file_and_its_target_and_held_by_one() {
        let home = tempfile::tempdir().unwrap();
        let slot = |file: &str, target: &str| Slot::within(home.path(), Path::new(file), target);
        let mut first = slot("/f", "a").unwrap();
        assert_eq!(first.read(), None);
        first.write(&memory("/u/a-very-long-name-of-an-upload")).unwrap();
        first.write(&memory("/u")).unwrap();
        assert!(matches!(slot("/f", "a"), Err(NoSlot::Busy)));
        for (file, target) in [("/f", "b"), ("/g", "a")] {
            let mut other = slot(file, target).unwrap();
            assert_eq!(other.read(), None);
            other.leave();
        }
        drop(first);
        let mut again = slot("/f", "a").unwrap();
        assert_eq!(again.read(), Some(memory("/u")));
        let folder = home.path().join("incoming/uploads");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        // A power cut amid the very first write leaves something that is no memory.
        again.file.set_len(9).unwrap();
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
            Err(NoSlot::Unkept(why)) => {
                assert!(why.contains(place) && why.contains(word), "{place}: {why}");
            }
            Err(NoSlot::Busy) => panic!("{place}: busy"),
            Ok(_) => panic!("{place}: {word} is no reason"),
        };
        let path = slot().unwrap().path;
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
    fn what_is_old_goes() {
        let home = tempfile::tempdir().unwrap();
        let mut slot = Slot::within(home.path(), Path::new("/f"), "a").unwrap();
        slot.write(&memory("/u")).unwrap();
        slot.file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        drop(slot);
        let mut slot = Slot::within(home.path(), Path::new("/f"), "a").unwrap();
        assert_eq!(slot.read(), None);
    }
}
