//! Whether a place is ours: whoever else owns it, has put a link there or may write to it decides what is read from it
//! and where it leads. Root and this process's user are us: nothing holds against either.
//!
//! [`directory`] and [`open`] look at the place itself: its kind, its owner, and that not every user may write to it;
//! [`foreign_above`] looks at the directories above it. Absent: the group, which is whom the owner lets in.
//!
//! Each error says what is wrong and what would be right, without the path, which the caller knows.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::directory::NO_FOLLOW;

/// Why another user can change what a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// The owner is this user, neither root nor ours.
    Owner(u32),
    /// Every user may write to it; its mode.
    Writable(u32),
}

/// Checks the directory at `path`, which must not be reached by a link in its last step.
///
/// Errors: there is none, or it is not ours.
pub fn directory(path: &Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Err(wrong("is a symbolic link: name the directory it points to".into()));
    }
    if !found.is_dir() {
        return Err(wrong("is not a directory".into()));
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
            (false, false) => wrong("is not a regular file".into()),
            (false, true) => error,
        }
    })?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(wrong("is not a regular file".into()));
    }
    owned(&found)?;
    not_of_everybody(&found)?;
    Ok(file)
}

/// What another user can do to the file or directory itself.
pub fn foreign(found: &Metadata) -> Option<Foreign> {
    let mode = found.mode() & 0o7777;
    if !is_ours(found) {
        return Some(Foreign::Owner(found.uid()));
    }
    // The mode of a link means nothing.
    (mode & 0o002 != 0 && !found.is_symlink()).then_some(Foreign::Writable(mode))
}

/// A directory or link above `path` in which another user can put something else in the
/// place of what leads to `path`. A directory that everybody may write to is none if it is sticky, as /tmp is: there
/// only the owner of an entry renames it.
///
/// Errors: something above cannot be looked at.
pub fn foreign_above(path: &Path) -> io::Result<Option<(PathBuf, Foreign)>> {
    let path = std::path::absolute(path)?;
    let mut above: Vec<PathBuf> = path.ancestors().skip(1).map(Path::to_owned).collect();
    // Where links among them lead to, too, and `path` itself where it is one.
    if let Ok(real) = path.canonicalize() {
        above.extend(real.ancestors().skip(1).map(Path::to_owned));
    } else if let Some(real) = path.ancestors().find_map(|above| above.canonicalize().ok()) {
        above.extend(real.ancestors().map(Path::to_owned));
    }
    above.reverse();
    for place in above {
        let found = match std::fs::symlink_metadata(&place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        match foreign(&found) {
            Some(Foreign::Writable(mode)) if mode & 0o1000 != 0 => {}
            Some(foreign) => return Ok(Some((place, foreign))),
            None => {}
        }
    }
    Ok(None)
}

/// An error where another user can put something else in the place of `path`.
pub fn above(path: &Path) -> io::Result<()> {
    let Some((place, foreign)) = foreign_above(path)? else { return Ok(()) };
    let place = place.display();
    Err(wrong(match foreign {
        Foreign::Owner(owner) => {
            format!("lies below {place}, which belongs to user {owner}, who can replace it")
        }
        Foreign::Writable(mode) => format!(
            "lies below {place}, where every user of this machine can replace it (mode {mode:04o}): chmod o-w"
        ),
    }))
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
    if is_ours(found) {
        return Ok(());
    }
    let us = us();
    let owner = found.uid();
    Err(wrong(format!("belongs to user {owner}, and this is user {us}: use one of your own")))
}

fn is_ours(found: &Metadata) -> bool {
    [0, us()].contains(&found.uid())
}

/// The user that this process acts as.
pub fn us() -> u32 {
    rustix::process::geteuid().as_raw()
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
        assert_eq!(told(directory(&path("file"))), "is not a directory");
        assert!(
            told(open(&path("directory"), OpenOptions::new().read(true)))
                .contains("is not a regular file")
        );
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
            assert_eq!(
                opened.as_deref(),
                Ok("is not a regular file"),
                "read {read}, write {write}"
            );
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

    /// Who may rename what is above a place chooses what it leads to.
    #[test]
    fn issue_13_what_is_above_a_place_is_looked_at() {
        let home = tempfile::tempdir().unwrap();
        let (wide, place) = (home.path().join("wide"), home.path().join("wide/own/place"));
        std::fs::create_dir_all(&place).unwrap();
        let set = |mode| std::fs::set_permissions(&wide, Permissions::from_mode(mode)).unwrap();
        assert_eq!(foreign_above(&place).unwrap(), None);
        set(0o777);
        let found = foreign_above(&place).unwrap();
        assert_eq!(found, Some((wide.clone(), Foreign::Writable(0o777))));
        assert!(told(above(&place)).contains("mode 0777"), "{}", told(above(&place)));
        assert!(foreign_above(&place.join("absent/too")).unwrap().is_some());
        set(0o1777);
        assert_eq!(foreign_above(&place).unwrap(), None, "sticky, as /tmp is");
        set(0o770);
        assert_eq!(foreign_above(&place).unwrap(), None, "the owner's group");
        // By a link from elsewhere, too.
        set(0o777);
        let link = home.path().join("link");
        std::os::unix::fs::symlink(wide.join("own"), &link).unwrap();
        assert!(foreign_above(&link.join("place")).unwrap().is_some());
        set(0o700);
        assert_eq!(foreign_above(&link.join("place")).unwrap(), None);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
        let found = foreign_above(&link.join("place")).unwrap();
        assert_eq!(found, Some((link, Foreign::Owner(12345))));
        std::os::unix::fs::chown(&wide, Some(12345), None).unwrap();
        assert_eq!(foreign_above(&place).unwrap(), Some((wide, Foreign::Owner(12345))));
        assert!(told(above(&place)).contains("belongs to user 12345"));
    }
}
