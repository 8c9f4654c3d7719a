//! Whether uploads can be stored in the storage directory, found out by trying.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::exposed_paths::word;
use crate::storage::clock::fill_random;
use crate::storage::local::files::is_full;
use crate::storage::local::private_dir::{self, Foreign};

/// What may be done about a storage directory that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageDirectory {
    /// Make it, for this user alone (0700). What a start does.
    Create,
    /// Only see whether it could be made. What `check-config` does, which may run as another user
    /// than the server and must not leave a directory that the server cannot enter.
    DryRun,
}

/// Why nothing can be stored there; the text says what would be right.
#[derive(Debug, thiserror::Error)]
pub(super) enum StorageDirectoryError {
    #[error("must be a directory")]
    NoDirectory,
    #[error("cannot be made: {0}")]
    Unmade(io::Error),
    #[error("cannot be entered: {0}")]
    Unentered(io::Error),
    #[error("must be writable for the server, here user {user}; {whose} test failed: {error}")]
    Unwritable { user: u32, whose: &'static str, error: io::Error },
    #[error(
        "must belong to root or to the server, here user {user}: it belongs to user {owner}, who could replace what is \
         stored; chown {user} {word}, or run the server as user {owner}"
    )]
    Foreign { user: u32, owner: u32, word: String },
    #[error(
        "must not be writable by everyone: every user of this machine may write to it (mode {mode:04o}); chmod o-w \
         {word}"
    )]
    Open { mode: u32, word: String },
}

/// Whether uploads can be stored in `dir`.
pub(super) fn check(dir: &Path, storage: StorageDirectory) -> Result<(), StorageDirectoryError> {
    let place = match fs::metadata(dir) {
        Ok(found) if found.is_dir() => dir.to_owned(),
        Ok(_) => return Err(StorageDirectoryError::NoDirectory),
        Err(error) if error.kind() == ErrorKind::NotFound => match storage {
            StorageDirectory::Create => {
                make(dir).map_err(StorageDirectoryError::Unmade)?;
                dir.to_owned()
            }
            StorageDirectory::DryRun => nearest_existing(dir),
        },
        Err(error) => return Err(StorageDirectoryError::Unentered(error)),
    };
    let made_for = probe(&place).map_err(|error| StorageDirectoryError::Unwritable {
        user: private_dir::us(),
        whose: if place == dir { "its" } else { "the nearest existing directory's" },
        error,
    })?;
    if place == dir { owner(dir, made_for) } else { Ok(()) }
}

/// Whether a storage directory belongs to this user. A file made there belongs to `made_for`: some file systems give all
/// created there to one user, whichever process creates it, and then the directory's owner says nothing.
fn owner(dir: &Path, made_for: u32) -> Result<(), StorageDirectoryError> {
    let found = fs::metadata(dir).map_err(StorageDirectoryError::Unentered)?;
    match private_dir::foreign(&found) {
        Some(Foreign::Owner(owner)) if owner != made_for => {
            Err(StorageDirectoryError::Foreign { user: private_dir::us(), owner, word: word(dir) })
        }
        Some(Foreign::Writable(mode)) => Err(StorageDirectoryError::Open { mode, word: word(dir) }),
        Some(Foreign::Owner(_)) | None => Ok(()),
    }
}

/// Makes a directory for this user alone. Those above it are made with the usual modes: others may
/// have business there.
fn make(dir: &Path) -> io::Result<()> {
    if let Some(above) = dir.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        // A second server started at the same moment was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn nearest_existing(dir: &Path) -> PathBuf {
    let above = dir.ancestors().skip(1).find(|above| above.exists());
    match above {
        Some(above) => above.to_owned(),
        // The parent of a bare relative name is the empty path: the working directory.
        None => PathBuf::from("."),
    }
}

/// Writes a small file and removes it again: the user that it belonged to.
fn probe(dir: &Path) -> io::Result<u32> {
    let mut random = [0; 8];
    fill_random(&mut random)?;
    let path = dir.join(format!(".probe-{:016x}", u64::from_ne_bytes(random)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let written = file.write_all(b"probe");
    let owner = file.metadata().map(|made| made.uid());
    fs::remove_file(&path)?;
    // A full disk passes: the server starts and answers 507 until space returns.
    match written {
        Err(error) if !is_full(&error) => Err(error),
        Ok(()) | Err(_) => owner,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn makes_the_storage_directory_private() {
        let home = tempdir().unwrap();
        let dir = home.path().join("a/b");
        check(&dir, StorageDirectory::DryRun).unwrap();
        assert!(!home.path().join("a").exists());
        check(&dir, StorageDirectory::Create).unwrap();
        let mode = fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn leaves_an_existing_storage_directory_as_it_is() {
        let home = tempdir().unwrap();
        fs::write(home.path().join("kept"), "x").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o750)).unwrap();
        check(home.path(), StorageDirectory::Create).unwrap();
        let mode = fs::metadata(home.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn issue_13_a_storage_directory_of_others_is_refused() {
        let home = tempdir().unwrap();
        let dir = home.path().join("a b");
        fs::create_dir(&dir).unwrap();
        let judge = |mode: u32, made_for: u32, parts: &[&str]| {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            let told = owner(&dir, made_for).err().map(|why| why.to_string()).unwrap_or_default();
            assert_eq!(told.is_empty(), parts.is_empty(), "{told}");
            parts.iter().for_each(|part| assert!(told.contains(part), "{part:?} in {told}"));
        };
        let us = private_dir::us();
        let word = format!("'{}'", dir.display());
        judge(0o755, us, &[]);
        judge(0o770, us, &[]);
        judge(0o777, us, &["mode 0777", &format!("chmod o-w {word}")]);
        judge(0o1777, us, &["mode 1777"]);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
        judge(0o700, us, &["belongs to user 12345", &format!("chown {us} {word}")]);
        let told = check(&dir, StorageDirectory::DryRun).unwrap_err().to_string();
        assert!(told.contains("12345"), "{told}");
        // A file system that gives everything to one user.
        judge(0o700, 12345, &[]);
    }

    #[test]
    fn refuses_what_is_no_directory() {
        let home = tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "x").unwrap();
        let told = |dir: &Path| check(dir, StorageDirectory::Create).unwrap_err().to_string();
        assert_eq!(told(&file), "must be a directory");
        let below = told(&file.join("dir"));
        assert!(below.starts_with("cannot be entered: "), "{below}");
        assert!(told(Path::new("/proc/no/such")).starts_with("cannot be made: "));
    }
}
