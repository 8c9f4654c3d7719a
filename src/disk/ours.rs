//! Whether a place is ours: whoever else owns it, has put a link there or may write to it decides what is read from it
//! and where it leads. Root and this process's user are us: nothing holds against either.
//!
//! What is looked at is the place itself: its kind, its owner, and that not every user may write to it. Absent: its
//! group, which is whom its owner lets in, and what is above it, which the caller chose.
//!
//! Each error says what is wrong and what would be right, without the path, which the caller knows.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::NO_FOLLOW;

/// Checks the directory at `path`, which must not be reached by a link in its last step.
///
/// Errors: there is none, or it is not ours.
pub fn directory(path: &Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Err(wrong("is a symbolic link: name the directory that it leads to".into()));
    }
    if !found.is_dir() {
        return Err(wrong("is no directory".into()));
    }
    owned(&found)?;
    not_of_everybody(&found)
}

/// Makes the directory at `path` in this way if it is absent, and checks it.
///
/// Errors: it cannot be made, or is not ours.
pub fn make_directory(path: &Path, how: &DirBuilder) -> io::Result<()> {
    match how.create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => directory(path),
    }
}

/// Opens the file at `path` with these options, following no link in the last step and waiting for nobody: a pipe
/// would be one without an end. Custom flags of the options are replaced by those.
///
/// Errors: it cannot be opened, is no file, or is not ours.
pub fn open(path: &Path, options: &mut std::fs::OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(NO_FOLLOW | NO_WAIT).open(path).map_err(|error| {
        let Ok(found) = std::fs::symlink_metadata(path) else { return error };
        match (found.is_symlink(), found.is_file()) {
            (true, _) => wrong("is a symbolic link: remove it".into()),
            (false, false) => wrong("is no file".into()),
            (false, true) => error,
        }
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(wrong("is no file".into()));
    }
    owned(&found)?;
    not_of_everybody(&found)?;
    Ok(file)
}

/// An error where every user of this machine may write to it.
pub fn not_of_everybody(found: &Metadata) -> io::Result<()> {
    let mode = found.mode() & 0o777;
    if mode & 0o002 == 0 {
        return Ok(());
    }
    let right = if found.is_dir() { "0700" } else { "0600" };
    Err(wrong(format!(
        "every user of this machine may write to it (mode {mode:04o}): chmod {right}"
    )))
}

fn owned(found: &Metadata) -> io::Result<()> {
    let us = rustix::process::geteuid().as_raw();
    if [0, us].contains(&found.uid()) {
        return Ok(());
    }
    let owner = found.uid();
    Err(wrong(format!("belongs to user {owner}, and this is user {us}: use one of your own")))
}

fn wrong(why: String) -> io::Error {
    io::Error::other(why)
}

/// Waits for no other end of a pipe; means nothing to a file.
#[allow(clippy::cast_possible_wrap)]
const NO_WAIT: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{OpenOptions, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn told<T>(checked: io::Result<T>) -> String {
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_place_of_everybody_is_not_ours() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let check = |mode: u32, fits: bool| {
            for path in [place.path(), &file] {
                std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            }
            let opened = told(open(&file, OpenOptions::new().read(true)));
            let entered = told(directory(place.path()));
            for told in [opened, entered] {
                assert_eq!(told.is_empty(), fits, "{mode:o}: {told}");
                assert!(fits || told.contains("every user of this machine"), "{told}");
            }
            std::fs::set_permissions(place.path(), Permissions::from_mode(0o700)).unwrap();
        };
        check(0o700, true);
        check(0o755, true);
        check(0o770, true);
        check(0o777, false);
        check(0o1777, false);
        check(0o702, false);
    }

    #[test]
    fn nothing_is_reached_through_a_link() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        std::fs::create_dir(path("directory")).unwrap();
        std::fs::write(path("file"), "x").unwrap();
        for name in ["directory", "file", "nothing"] {
            let link = path(&format!("to-{name}"));
            std::os::unix::fs::symlink(path(name), &link).unwrap();
            assert!(told(directory(&link)).contains("symbolic link"), "{name}");
            let opened = open(&link, OpenOptions::new().write(true).create(true));
            assert!(told(opened).contains("symbolic link"), "{name}");
        }
        assert!(!path("nothing").exists());
        assert_eq!(told(directory(&path("file"))), "is no directory");
        assert!(told(open(&path("directory"), OpenOptions::new().read(true))).contains("no file"));
        let absent = open(&path("absent"), OpenOptions::new().read(true)).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_pipe_is_no_file_and_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let pipe = place.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        for (read, write) in [(true, false), (false, true), (true, true)] {
            let (tell, opened) = std::sync::mpsc::channel();
            let pipe = pipe.clone();
            std::thread::spawn(move || {
                tell.send(told(open(&pipe, OpenOptions::new().read(read).write(write))))
            });
            let opened = opened.recv_timeout(std::time::Duration::from_secs(20));
            assert_eq!(opened.as_deref(), Ok("is no file"), "read {read}, write {write}");
        }
    }

    /// Where tests run as root they can give a place away; else they have one of root's, which counts as ours.
    #[test]
    fn what_others_own_is_not_ours() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(told(directory(Path::new("/"))), "");
        if !rustix::process::geteuid().is_root() {
            return;
        }
        for path in [&file, place.path()] {
            std::os::unix::fs::chown(path, Some(12345), None).unwrap();
        }
        assert!(told(directory(place.path())).contains("belongs to user 12345"));
        let opened = open(&file, OpenOptions::new().read(true));
        assert!(told(opened).contains("belongs to user 12345"));
    }
}
