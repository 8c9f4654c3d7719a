//! Blobs as files: `{id}.part` in the storage directory while they grow, `files/{id}` when done.
//!
//! Names are made from parsed ids only and no symbolic link is followed. Parts are private;
//! published files get the group and mode that the operator chose for the web app.

pub(in crate::storage) mod copy;
mod startup;

use super::directory::{NO_FOLLOW, SyncedDirectory, still_named};
use super::{lock, marker, private_dir};
use crate::core::extent::Extent;
use crate::core::id::RunIdentity;
use crate::core::id::TicketId;
use crate::storage::local::files::{Allocated, Files, PartFile, failed_sync, too_short};
use crate::storage::location::Location;
use bytes::Bytes;
use rustix::fs::{AtFlags, FallocateFlags, StatVfsMountFlags, StatxFlags};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};

use startup::step;

/// Who may read published files.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Group of published files and their folder.
    pub group: Option<u32>,
    /// Mode of published files.
    pub file_mode: u32,
    /// Mode of the folder of published files.
    pub directory_mode: u32,
}

/// A storage directory.
pub struct LocalStore {
    directory: PathBuf,
    /// The directory itself: holds its lock, syncs the names of parts.
    handle: Arc<SyncedDirectory>,
    files: PathBuf,
    files_handle: SyncedDirectory,
    /// `None` where it is only looked at: then nothing here writes.
    access: Option<Access>,
    run: RunIdentity,
}

impl LocalStore {
    /// Opens `directory`, making it and its `files` folder if absent. Nothing in it is touched.
    pub fn open(directory: &Path, access: Access) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(PRIVATE_DIRECTORY).create(directory)?;
        check_strangers(directory)?;
        let_through(directory, access)?;
        let directory = directory.canonicalize()?;
        let files = directory.join(FILES);
        match DirBuilder::new().mode(PRIVATE_DIRECTORY).create(&files) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // A link there would lead every published file out of the directory.
        let files_handle = SyncedDirectory::open(&files).map_err(|error| {
            let why = format!("its folder {FILES} must be a folder, not a symbolic link: {error}");
            io::Error::new(error.kind(), why)
        })?;
        let folder = files_handle.handle();
        let mode = startup::set_mode(folder, access.directory_mode);
        mode.map_err(step("set the mode storage_dir_mode of its folder files"))?;
        startup::give(folder, access)?;
        let handle = SyncedDirectory::open(&directory)?;
        lock::take(handle.handle())?;
        startup::try_publish(&handle, &files_handle, access)?;
        if let Err(error) = marker::put(&directory) {
            tracing::warn!(%error, "could not write the storage directory's marker");
        }
        handle.sync()?;
        let run = RunIdentity { boot: boot()?, mount: mount(handle.handle())? };
        let access = Some(access);
        Ok(Self { handle: Arc::new(handle), files, files_handle, directory, access, run })
    }

    /// Looks at a storage directory without changing anything in it, also while a server uses it: it
    /// takes no lock, so that no server has to wait for who looks.
    ///
    /// Errors: it is no storage directory, or cannot be read. Whatever would write is refused later.
    pub fn look(directory: &Path) -> io::Result<Self> {
        let handle = SyncedDirectory::open(directory)?;
        let directory = handle.path().to_owned();
        let files = directory.join(FILES);
        let files_handle = SyncedDirectory::open(&files).map_err(|error| {
            let why = format!("is not a storage directory, it has no folder {FILES}: {error}");
            io::Error::new(error.kind(), why)
        })?;
        let run = RunIdentity { boot: boot()?, mount: mount(handle.handle())? };
        Ok(Self { handle: Arc::new(handle), files, files_handle, directory, access: None, run })
    }

    /// The ids of all published files, in no order.
    pub fn files(&self) -> io::Result<Vec<TicketId>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.files)? {
            let name = entry?.file_name();
            ids.extend(name.to_str().and_then(|name| TicketId::parse(name).ok()));
        }
        Ok(ids)
    }

    /// Who may read what is written; an error where nothing is.
    fn writing(&self) -> io::Result<Access> {
        self.access.ok_or_else(read_only)
    }

    /// The directory itself, for the journals in it: after a failed sync of it nothing is promised to
    /// either.
    pub fn directory(&self) -> Arc<SyncedDirectory> {
        Arc::clone(&self.handle)
    }

    fn part(&self, id: TicketId) -> PathBuf {
        self.directory.join(format!("{id}.{PART}"))
    }

    fn open_part(&self, id: TicketId, options: &mut OpenOptions) -> io::Result<LocalBlob> {
        let options = options.read(true).write(self.access.is_some());
        let options = options.mode(PRIVATE_FILE).custom_flags(NO_FOLLOW);
        let file = options.open(self.part(id))?;
        let (directory, access) = (Arc::clone(&self.handle), self.access);
        Ok(LocalBlob { file, directory, access, unnamed: AtomicBool::new(true) })
    }

    /// Where the finished file of `id` lies, while the folder is still the one that was opened: not
    /// where a link leads that was put in its place.
    fn place_of(&self, id: TicketId) -> io::Result<PathBuf> {
        self.files_handle.in_place()?;
        Ok(self.files.join(id.to_string()))
    }
}

impl Files for LocalStore {
    fn create(&self, id: TicketId) -> io::Result<Arc<dyn PartFile>> {
        self.writing()?;
        Ok(Arc::new(self.open_part(id, OpenOptions::new().create(true))?))
    }

    fn open(&self, id: TicketId) -> io::Result<Option<Arc<dyn PartFile>>> {
        let part = self.handle.found(self.open_part(id, &mut OpenOptions::new()))?;
        Ok(part.map(|blob| Arc::new(blob) as Arc<dyn PartFile>))
    }

    fn place(&self, id: TicketId, length: u64) -> io::Result<()> {
        self.writing()?;
        match std::fs::rename(self.part(id), self.place_of(id)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.published(id)? != Some(length) {
                    return Err(error);
                }
            }
            renamed => renamed?,
        }
        self.files_handle.sync()
    }

    fn published(&self, id: TicketId) -> io::Result<Option<u64>> {
        let found = std::fs::symlink_metadata(self.place_of(id)?);
        let found = self.files_handle.found(found)?;
        Ok(found.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len()))
    }

    fn read(&self, id: TicketId, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let path = self.place_of(id)?;
        let mut file = OpenOptions::new().read(true).custom_flags(NO_FOLLOW).open(path)?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }

    fn location(&self, id: TicketId) -> Location {
        Location::Path(self.files.join(id.to_string()))
    }

    fn discard(&self, id: TicketId) -> io::Result<()> {
        self.writing()?;
        remove(&self.part(id))
    }

    fn withdraw(&self, id: TicketId) -> io::Result<()> {
        self.writing()?;
        remove(&self.place_of(id)?)
    }

    fn parts(&self) -> io::Result<Vec<TicketId>> {
        let mut ids = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(PART)?.strip_suffix('.'));
            ids.extend(id.and_then(|id| TicketId::parse(id).ok()));
        }
        Ok(ids)
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let space = rustix::fs::fstatvfs(self.handle.handle())?;
        Ok(free(space.f_blocks, space.f_bavail, space.f_frsize))
    }

    fn writable(&self) -> io::Result<()> {
        self.handle.in_place()?;
        self.files_handle.in_place()?;
        let flags = rustix::fs::fstatvfs(self.handle.handle())?.f_flag;
        if flags.contains(StatVfsMountFlags::RDONLY) {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }

    fn probe(&self) -> io::Result<()> {
        let path = self.directory.join(PROBE);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        let mut file = options.mode(PRIVATE_FILE).custom_flags(NO_FOLLOW).open(&path)?;
        let written = file.write_all(b"probe").and_then(|()| file.sync_all());
        // What stays behind is written over by the next one.
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    }

    fn run(&self) -> RunIdentity {
        self.run
    }
}

struct LocalBlob {
    file: File,
    directory: Arc<SyncedDirectory>,
    /// Who may read it when it is published; `None` where it is only looked at.
    access: Option<Access>,
    /// The part's name is not known to be durable yet.
    unnamed: AtomicBool,
}

impl PartFile for LocalBlob {
    fn write_at(&self, frames: &[Bytes], mut offset: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = frames.iter().map(|frame| IoSlice::new(frame)).collect();
        let mut left = slices.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let count = left.len().min(MAX_SLICES);
            match rustix::io::pwritev(&self.file, &left[..count], offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn copy_from(&self, source: &dyn PartFile, extent: Extent, at: u64) -> io::Result<()> {
        let copied = match source.as_file() {
            Some(file) => copy::by_kernel(file, extent, &self.file, at)?,
            None => 0,
        };
        match Extent::new(extent.start() + copied, extent.end()) {
            Some(rest) => copy::through_memory(self, source, rest, at + copied),
            None => Ok(()),
        }
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()?;
        still_named(&self.file)?;
        if self.unnamed.load(atomic::Ordering::Acquire) {
            self.directory.sync()?;
            self.unnamed.store(false, atomic::Ordering::Release);
        }
        Ok(())
    }

    fn prepare(&self, length: u64) -> io::Result<()> {
        let access = self.access.ok_or_else(read_only)?;
        if self.length()? < length {
            return Err(too_short());
        }
        // Also where it has that length: what was set aside behind the end goes.
        self.file.set_len(length)?;
        if let Some(group) = access.group {
            std::os::unix::fs::fchown(&self.file, None, Some(group))?;
        }
        self.file.set_permissions(Permissions::from_mode(access.file_mode))?;
        self.sync_with_name().map_err(|error| failed_sync(&error))
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, extent: Extent) -> io::Result<Allocated> {
        self.fallocate(FallocateFlags::KEEP_SIZE, extent)
    }

    fn release(&self, extent: Extent) -> io::Result<()> {
        let hole = FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE;
        // ext4 leaves what lies beyond the end of the file, so the file ends behind it first.
        // Cutting the file there instead would race with those who write further on.
        let lengthened = self.fallocate(FallocateFlags::empty(), extent);
        // Also where that failed: a full disk is where it matters most.
        self.fallocate(hole, extent).and(lengthened).map(drop)
    }
}

impl LocalBlob {
    /// Syncs all of the file, and beside it the directory where the name is not durable yet: a file that comes in one chunk
    /// waits for one sync where it would wait for two.
    fn sync_with_name(&self) -> io::Result<()> {
        if !self.unnamed.load(atomic::Ordering::Acquire) {
            self.file.sync_all()?;
            return still_named(&self.file);
        }
        let file = || self.file.sync_all().and_then(|()| still_named(&self.file));
        let (synced, named) = self.directory.sync_beside(file);
        named?;
        synced?;
        self.unnamed.store(false, atomic::Ordering::Release);
        Ok(())
    }

    /// fallocate(2), where the file system knows it.
    fn fallocate(&self, flags: FallocateFlags, extent: Extent) -> io::Result<Allocated> {
        loop {
            match rustix::fs::fallocate(&self.file, flags, extent.start(), extent.len()) {
                Err(rustix::io::Errno::INTR) => {}
                // A file system that cannot preallocate finds out at the write.
                Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                    return Ok(Allocated::No);
                }
                Ok(()) => return Ok(Allocated::Yes),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Ids are names in the directory, and who knows one may upload: it is no place for others.
///
/// Errors: everybody may write to it, and could put links and journals there.
fn check_strangers(directory: &Path) -> io::Result<()> {
    let found = std::fs::metadata(directory)?;
    private_dir::not_of_everybody(&found)?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o066 != 0 {
        tracing::warn!(
            mode = format!("{mode:04o}"),
            "other users can list the storage directory and learn upload ids: chmod 0700"
        );
    }
    Ok(())
}

/// Whoever may enter the folder of published files must be able to reach it: gives exactly the
/// right to pass through, never that to look around.
fn let_through(directory: &Path, access: Access) -> io::Result<()> {
    let found = std::fs::metadata(directory)?;
    if let Some(group) = access.group.filter(|group| *group != found.gid()) {
        let given = std::os::unix::fs::chown(directory, None, Some(group));
        given.map_err(step(&format!("give it to the group {group} of storage_group")))?;
    }
    let mode = found.permissions().mode();
    let group = if access.group.is_some() { 0o010 } else { 0 };
    let wanted = mode | (access.directory_mode & (0o001 | group));
    if wanted != mode {
        let let_in = std::fs::set_permissions(directory, Permissions::from_mode(wanted));
        let_in
            .map_err(step("make it passable for users of its folder files (storage_dir_mode)"))?;
    }
    Ok(())
}

/// Bytes free of a file system with so many blocks; `None` where it counts none, as some network and FUSE ones do:
/// what is not known is not full.
fn free(blocks: u64, available: u64, block_bytes: u64) -> Option<u64> {
    (blocks > 0).then(|| available.saturating_mul(block_bytes))
}

fn read_only() -> io::Error {
    io::Error::other("the storage directory is open read-only")
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The kernel's id of this boot.
fn boot() -> io::Result<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let id = uuid::Uuid::try_parse(text.trim()).map_err(io::Error::other)?;
    Ok(id.into_bytes())
}

/// The mount's identity: never used twice in a boot where the kernel knows such a thing (6.8),
/// else the reused one.
fn mount(directory: &File) -> io::Result<u64> {
    let flags = StatxFlags::from_bits_retain(MNT_ID_UNIQUE) | StatxFlags::MNT_ID;
    let stat = rustix::fs::statx(directory, "", AtFlags::EMPTY_PATH, flags)?;
    Ok(stat.stx_mnt_id)
}

/// `STATX_MNT_ID_UNIQUE` of statx(2).
const MNT_ID_UNIQUE: u32 = 0x4000;
/// Buffers in one pwritev(2); the kernel's own limit (`UIO_MAXIOV`).
const MAX_SLICES: usize = 1024;
/// The file that is written to see whether files can be written.
const PROBE: &str = ".probe";
const PART: &str = "part";
const FILES: &str = "files";
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIRECTORY: u32 = 0o700;

#[cfg(test)]
#[path = "store/tests.rs"]
mod tests;
