//! Where a finished file is, for the backend that takes it.

use std::fmt;
use std::path::PathBuf;

/// Where the backend finds a finished file. Shown as the text that backends get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of this machine, by its absolute path.
    Path(PathBuf),
    /// An object in a bucket.
    Object(ObjectLocation),
}

/// Where an object is, and which version of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectLocation {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// What the store calls its content; empty where it was not asked yet.
    pub etag: String,
    /// Its version; empty in a bucket without versions.
    pub version: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(&path.to_string_lossy()),
            Self::Object(ObjectLocation { bucket, key, .. }) => write!(f, "s3://{bucket}/{key}"),
        }
    }
}
