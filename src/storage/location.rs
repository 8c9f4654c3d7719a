//! Where a finished file is, for the backend that takes it.

use std::fmt;
use std::path::PathBuf;

/// Where the backend finds a finished file. Shown as the text that backends get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of this machine, by its absolute path.
    Path(PathBuf),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(&path.to_string_lossy()),
        }
    }
}
