//! Which files were meant: those that were named, and all below the folders that were.
//!
//! Below a folder, links are not followed and what is no regular file is left out, each with a line.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::terminal;
use crate::core::name;

/// One file to upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) path: PathBuf,
    /// Its place below a folder that was named, with that folder's own name first and `/` between, as
    /// browsers say it (`webkitRelativePath`).
    pub(super) below: Option<String>,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Jobs {
    /// In the order of the arguments, below a folder in that of the names.
    pub(super) files: Vec<Job>,
    /// What is left out, and why.
    pub(super) skipped: Vec<String>,
    /// What cannot be: a folder that cannot be read or holds no file.
    pub(super) failed: Vec<String>,
}

/// Walks the arguments. Blocks.
pub(super) fn jobs(arguments: &[PathBuf]) -> Jobs {
    let mut jobs = Jobs::default();
    for path in arguments {
        // A file that is not there is told when its turn comes.
        if !path.is_dir() {
            jobs.files.push(Job { path: path.clone(), below: None });
            continue;
        }
        let before = jobs.files.len();
        let own = path.canonicalize().ok();
        let own = own.as_deref().and_then(Path::file_name).unwrap_or_default();
        if jobs.walk(path, &plain(&own.to_string_lossy())) && jobs.files.len() == before {
            jobs.failed.push(format!("{}: holds no files", terminal::path(path)));
        }
    }
    jobs
}

impl Jobs {
    /// Whether all of it could be read.
    fn walk(&mut self, folder: &Path, name: &str) -> bool {
        let entries =
            fs::read_dir(folder).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => {
                self.failed.push(format!("{}: {error}", terminal::path(folder)));
                return false;
            }
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut all = true;
        for entry in entries {
            let path = entry.path();
            let name = format!("{name}/{}", plain(&entry.file_name().to_string_lossy()));
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => all &= self.walk(&path, &name),
                Ok(kind) if kind.is_file() => self.files.push(Job { path, below: Some(name) }),
                Ok(kind) => {
                    let what = if kind.is_symlink() { "a link" } else { "not a regular file" };
                    self.skipped.push(format!("{}: skipped, {what}", terminal::path(&path)));
                }
                Err(error) => {
                    self.failed.push(format!("{}: {error}", terminal::path(&path)));
                    all = false;
                }
            }
        }
        all
    }
}

/// A name as part of the metadata, without what would be obeyed where it is shown.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !name::is_hidden(*c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_walked_in_order() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for folder in ["photos/b/c", "photos/empty", "nothing"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["photos/z.jpg", "photos/b/c/x.jpg", "photos/.hidden", "film.mp4"] {
            fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink(at("film.mp4"), at("photos/link")).unwrap();
        std::os::unix::fs::symlink(at("photos"), at("photos/b/loop")).unwrap();
        std::os::unix::net::UnixListener::bind(at("photos/socket")).unwrap();
        let named = [at("film.mp4"), at("photos/b/.."), at("absent"), at("nothing")];
        let jobs = jobs(&named);
        let found: Vec<_> = jobs.files.iter().map(|job| job.below.as_deref()).collect();
        let below = ["photos/.hidden", "photos/b/c/x.jpg", "photos/z.jpg"].map(Some);
        assert_eq!(found, [&[None][..], &below, &[None]].concat());
        assert_eq!((&jobs.files[0].path, &jobs.files[4].path), (&named[0], &named[2]));
        assert_eq!(jobs.skipped.len(), 3, "{:?}", jobs.skipped);
        assert!(
            jobs.skipped.iter().any(|line| line.ends_with("socket: skipped, not a regular file"))
        );
        assert_eq!(jobs.failed, [format!("{}: holds no files", named[3].display())]);
    }
}
