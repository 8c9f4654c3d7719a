//! The lock of a storage directory: two servers on one would each believe in their own state.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{major, minor};

/// Takes the lock of the open directory `handle`, for as long as it stays open.
///
/// Errors: another process has it, which is named where the system knows it; or the file system has no locks.
pub fn take(handle: &File) -> io::Result<()> {
    handle.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other(format!(
            "another server uses this directory{}; give each its own with --storage-dir",
            holder(handle).map(|who| format!(" ({who})")).unwrap_or_default()
        )),
        TryLockError::Error(error) => io::Error::new(
            error.kind(),
            format!("cannot lock the directory, so two servers could use it at once: {error}"),
        ),
    })
}

/// Whether another process holds the lock of the directory at `path`, and which, where the system knows it.
pub fn taken(path: &Path) -> Option<String> {
    let handle = File::open(path).ok()?;
    match handle.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Some(holder(&handle).unwrap_or_else(|| "another process".into()))
        }
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}

/// The process that holds a lock of this file, of those that this one can see.
fn holder(handle: &File) -> Option<String> {
    let found = handle.metadata().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let process = holder_in(&locks, major(found.dev()), minor(found.dev()), found.ino())?;
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(format!("process {process} {}", name.trim_end()).trim_end().to_owned())
}

/// As proc_locks(5) writes it: `1: FLOCK  ADVISORY  WRITE 708 08:11:17 0 EOF`.
fn holder_in(locks: &str, major: u32, minor: u32, inode: u64) -> Option<u32> {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, process) = (fields.next()?, fields.nth(2)?);
        let process = process.parse().ok().filter(|process| *process > 0);
        process.filter(|_| kind == "FLOCK" && fields.next() == Some(file.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_named() {
        let locks = "1: POSIX  ADVISORY  READ  5433 08:01:7864448 128 128\n\
                     2: FLOCK  ADVISORY  WRITE 2001 08:01:7864554 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 2002 08:01:7864448 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 08:01:99 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 708 fd:01:7864448 0 EOF\n";
        assert_eq!(holder_in(locks, 8, 1, 7_864_554), Some(2001));
        assert_eq!(holder_in(locks, 0xfd, 1, 7_864_448), Some(708));
        assert_eq!(holder_in(locks, 8, 1, 7_864_448), None, "a record lock, and one that waits");
        assert_eq!(holder_in(locks, 8, 1, 99), None, "a process elsewhere");
    }

    #[test]
    fn a_lock_is_seen_and_goes_with_its_holder() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(taken(place.path()), None);
        let handle = File::open(place.path()).unwrap();
        take(&handle).unwrap();
        assert!(taken(place.path()).is_some());
        let second = take(&File::open(place.path()).unwrap()).unwrap_err().to_string();
        assert!(second.contains("another server uses this directory"), "{second}");
        drop(handle);
        assert_eq!(taken(place.path()), None);
    }
}
