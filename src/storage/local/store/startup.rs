//! What the start does once with an empty file, because the last step of every upload needs it: a directory that
//! cannot publish is refused while nobody waits for it, not at each last chunk.
//!
//! Each error names the step and the setting that it serves.

use super::{Access, FILES, PRIVATE_FILE, PROBE};
use crate::storage::local::directory::{NO_FOLLOW, SyncedDirectory};
use crate::storage::local::files::is_full;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};

/// Publishes an empty file and removes it. A full disk is no error: nothing can be found out then, and the server is
/// needed to make room.
pub(super) fn try_publish(
    directory: &SyncedDirectory,
    files: &SyncedDirectory,
    access: Access,
) -> io::Result<()> {
    let (part, place) = (directory.path().join(PROBE), files.path().join(PROBE));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(PRIVATE_FILE).custom_flags(NO_FOLLOW);
    let tried = options.open(&part).map_err(step("make a file in it")).and_then(|file| {
        give(&file, access)?;
        set_mode(&file, access.file_mode).map_err(step("set the mode storage_file_mode"))?;
        file.sync_all().map_err(step("sync a file, which acknowledgements depend on"))?;
        std::fs::rename(&part, &place).map_err(|error| match error.kind() {
            io::ErrorKind::CrossesDevices => io::Error::new(
                error.kind(),
                format!(
                    "its folder {FILES} is on another file system or mount, and finished files are moved there: \
                     mount the one that storage_dir names, not {FILES} alone"
                ),
            ),
            _ => step(&format!("move a file to its folder {FILES}"))(error),
        })?;
        files.sync()?;
        directory.sync()
    });
    for left in [part, place] {
        // What stays is written over by the next start.
        let _ = std::fs::remove_file(left);
    }
    match tried {
        Err(error) if is_full(&error) => Ok(()),
        tried => tried,
    }
}

/// Gives `file` to the group of the settings, if there is one and it has another.
pub(super) fn give(file: &File, access: Access) -> io::Result<()> {
    match access.group {
        Some(group) if file.metadata()?.gid() != group => {
            let given = std::os::unix::fs::fchown(file, None, Some(group));
            given.map_err(step(&format!("give it to the group {group} of storage_group")))
        }
        Some(_) | None => Ok(()),
    }
}

/// Sets the mode of `file`, unless it has it: some file systems refuse every change.
pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o7777 == mode {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// Says in an error what could not be done.
pub(super) fn step(what: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}
