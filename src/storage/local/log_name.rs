//! The name of the logs in a storage directory: random, made once, and lost with them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::directory::NO_FOLLOW;

/// The name of the logs in `directory`; `fresh` where there is none yet.
///
/// Durability: it is the same at every later start. Errors: any of the disk; a file of another content.
pub fn log_name(directory: &Path, fresh: [u8; 16]) -> io::Result<[u8; 16]> {
    let path = directory.join(NAME);
    let mut options = OpenOptions::new();
    match options.read(true).custom_flags(NO_FOLLOW).open(&path) {
        Ok(mut file) => {
            let mut found = Vec::new();
            Read::by_ref(&mut file).take(17).read_to_end(&mut found)?;
            let odd = |_| io::Error::new(ErrorKind::InvalidData, "bucket-log has not 16 bytes");
            return found.try_into().map_err(odd);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let draft = directory.join(DRAFT);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(NO_FOLLOW);
    let mut file = options.open(&draft)?;
    file.write_all(&fresh)?;
    file.sync_all()?;
    std::fs::rename(&draft, &path)?;
    File::open(directory)?.sync_all()?;
    Ok(fresh)
}

const NAME: &str = "bucket-log";
const DRAFT: &str = "bucket-log.new";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_once() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(log_name(home.path(), [1; 16]).unwrap(), [1; 16]);
        assert_eq!(log_name(home.path(), [2; 16]).unwrap(), [1; 16]);
        std::fs::write(home.path().join(NAME), [1; 17]).unwrap();
        assert!(log_name(home.path(), [2; 16]).is_err());
    }
}
