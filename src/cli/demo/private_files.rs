//! The demo's private files and directories: nobody else's, reached by no link, and open to this user alone. Small
//! files survive a crash. Blocking.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::storage::local::private_dir;

/// Makes a directory for this user alone, with those above it, unless it is there. One that is there has to be ours,
/// and is closed to others.
///
/// Errors: it cannot be made, or another user owns it, put a link there or may write to it.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    private_dir::make_directory(path, DirBuilder::new().recursive(true).mode(0o700))?;
    if fs::symlink_metadata(path)?.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Opens a file of ours for reading.
///
/// Errors: as of [`private_dir::open`].
pub(super) fn open(path: &Path) -> io::Result<File> {
    private_dir::open(path, OpenOptions::new().read(true))
}

/// Puts a file of this user alone in place: afterwards it is there in whole, old or new, also after
/// a power cut.
pub(super) fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("fresh");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_directory_of(path)
}

/// Makes the entries of a file's directory durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
}

/// The content of a file of ours, or none where there is no such file. What every user may read of it is closed.
///
/// Errors: it cannot be read, or is not ours.
pub(super) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut file = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(Some(content))
}
