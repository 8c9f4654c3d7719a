//! By what a file is known again: its size, its time and a mark of its ends. And whether it is still
//! the same while it is read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use crate::core::digest::hex;

/// Bytes at either end that the mark is of, as in the browser library.
const END_BYTES: u64 = 64 << 10;

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStat {
    /// Bytes.
    pub(crate) size: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub(crate) modified_ns: i64,
}

/// Why a file is not uploaded any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// Bytes that it had are missing.
    #[error("the file was truncated")]
    Shorter,
    /// It is not as it was when its upload began.
    #[error("the file changed while it was uploaded")]
    Changed,
    /// The system does not give its bytes.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

/// A file as it was when its upload began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    #[serde(flatten)]
    pub(crate) stat: FileStat,
    /// SHA-256 of its first and last bytes, in hexadecimal digits.
    pub(crate) mark: String,
}

/// What a file is to the one that an upload began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Nothing says that it has changed.
    Same,
    /// Only its time is another: it was touched, or changed in the middle.
    Touched,
    /// It is another one.
    Changed(&'static str),
}

impl FileStat {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let seconds = metadata.mtime().saturating_mul(1_000_000_000);
        let modified_ns = seconds.saturating_add(metadata.mtime_nsec());
        Self { size: metadata.len(), modified_ns }
    }

    /// Since 1970, as browsers say it.
    pub(crate) fn modified_ms(self) -> u64 {
        u64::try_from(self.modified_ns / 1_000_000).unwrap_or(0)
    }

    /// An error where the file is not as it was.
    pub(crate) fn still(self, file: &File) -> Result<(), FileError> {
        let now = file.metadata().map(|metadata| Self::of(&metadata));
        match now {
            Ok(now) if now == self => Ok(()),
            Ok(now) if now.size < self.size => Err(FileError::Shorter),
            Ok(_) => Err(FileError::Changed),
            Err(error) => Err(error.into()),
        }
    }
}

impl Identity {
    /// Of an open file. Blocks: reads both ends.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let stat = FileStat::of(&file.metadata()?);
        let mut hash = sha2::Sha256::new();
        let end = stat.size.min(END_BYTES);
        let mut piece = vec![0; usize::try_from(end).unwrap_or(0)];
        for start in [0, stat.size - end] {
            file.read_exact_at(&mut piece, start)?;
            hash.update(&piece);
        }
        Ok(Self { stat, mark: hex(&hash.finalize()) })
    }

    /// What `now` is to this one.
    pub(crate) fn likeness(&self, now: &Self) -> Likeness {
        if self.stat.size != now.stat.size {
            Likeness::Changed("its size differs")
        } else if self.mark != now.mark {
            Likeness::Changed("its first or last bytes differ")
        } else if self.stat.modified_ns != now.stat.modified_ns {
            Likeness::Touched
        } else {
            Likeness::Same
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn files_are_known_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let made = |content: &[u8], time: SystemTime| {
            std::fs::write(&path, content).unwrap();
            let file = File::options().write(true).read(true).open(&path).unwrap();
            file.set_modified(time).unwrap();
            (Identity::of(&file).unwrap(), file)
        };
        let mut content = vec![7; 200_000];
        let (first, file) = made(&content, time);
        assert_eq!(first.stat.modified_ms(), 1_700_000_000_000);
        first.stat.still(&file).unwrap();
        let check = |content: &[u8], time: SystemTime, expected: Likeness| {
            assert_eq!(first.likeness(&made(content, time).0), expected);
        };
        check(&content, time, Likeness::Same);
        check(&content, time + Duration::from_nanos(1), Likeness::Touched);
        check(&content[1..], time, Likeness::Changed("its size differs"));
        content[199_999] = 8;
        check(&content, time, Likeness::Changed("its first or last bytes differ"));
        content[199_999] = 7;
        // The middle is not looked at here: that is what the pieces are for.
        content[100_000] = 8;
        check(&content, time, Likeness::Same);
        assert_eq!(made(b"", time).0.stat.size, 0);
        let (small, file) = made(b"small", time);
        file.set_len(4).unwrap();
        assert_eq!(small.stat.still(&file).unwrap_err().to_string(), "the file was truncated");
        let text = serde_json::to_string(&first).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&text).unwrap(), first);
    }
}
