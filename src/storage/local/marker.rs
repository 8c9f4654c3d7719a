//! The marker of a storage directory: a file that tells it from an empty mount point, on which every upload would
//! seem never to have existed.
//!
//! Every start puts it there; a start with `storage_must_exist = true` demands it first.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::directory::NO_FOLLOW;

/// The name of the marker in the storage directory.
pub const MARKER: &str = "incoming-storage";

/// Whether `directory` is a storage directory: it has the marker, or journals of a version that put none.
///
/// Errors: it is none, with what to do, or it cannot be read.
pub fn require(directory: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(directory.join(MARKER)) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(missing("it does not exist"));
        }
        entries => entries?,
    };
    for entry in entries {
        if entry?.file_name().as_encoded_bytes().ends_with(JOURNAL) {
            return Ok(());
        }
    }
    Err(missing(&format!("it has neither journals nor the file {MARKER:?}")))
}

fn missing(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::NotFound,
        format!(
            "must be a storage directory (storage_must_exist = true), but {what}: mount its file system; a new one \
             begins with an empty file {MARKER:?} in it, or one start with --storage-must-exist false"
        ),
    )
}

/// Puts the marker into `directory`, if it has none.
///
/// Errors: any of the disk; without a marker the next start may not know the directory, and nothing else depends
/// on it.
pub fn put(directory: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(NO_FOLLOW);
    match options.open(directory.join(MARKER)) {
        // An empty one is as good.
        Ok(mut file) => file.write_all(TEXT),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

const TEXT: &[u8] =
    b"This is a storage directory of Incoming!!. With storage_must_exist = true the server starts \
only where this file is.\n";
const JOURNAL: &[u8] = b".journal";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_directory_is_no_storage_directory_until_it_is_marked() {
        let place = tempfile::tempdir().unwrap();
        let absent = require(&place.path().join("absent")).unwrap_err().to_string();
        assert!(absent.contains("it does not exist"), "{absent}");
        // What a start before the mount left there proves nothing.
        std::fs::create_dir(place.path().join("files")).unwrap();
        let empty = require(place.path()).unwrap_err().to_string();
        assert!(empty.contains("mount its file system") && empty.contains(MARKER), "{empty}");
        put(place.path()).unwrap();
        put(place.path()).unwrap();
        require(place.path()).unwrap();
        let old = tempfile::tempdir().unwrap();
        std::fs::write(old.path().join("9f.journal"), "").unwrap();
        require(old.path()).unwrap();
    }
}
