//! Bytes of one part into another: by the kernel, which shares blocks where the file system can, else through memory.

use crate::core::extent::Extent;
use crate::storage::local::files::PartFile;
use std::fs::File;
use std::io;

/// Copies with copy_file_range(2), as many bytes as the kernel copies; answers how many. Fewer come where the file system
/// cannot, or the source is shorter.
pub(super) fn by_kernel(from: &File, extent: Extent, to: &File, at: u64) -> io::Result<u64> {
    let (mut read, mut write) = (extent.start(), at);
    while read < extent.end() {
        let left = usize::try_from(extent.end() - read).unwrap_or(MOST_BYTES);
        let (off_in, off_out) = (Some(&mut read), Some(&mut write));
        match rustix::fs::copy_file_range(from, off_in, to, off_out, left.min(MOST_BYTES)) {
            Ok(0) => break,
            // The kernel has moved both offsets.
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) if CANNOT.contains(&error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(read - extent.start())
}

/// Copies with reads and writes. Errors: `UnexpectedEof` where the source is shorter.
pub(in crate::storage) fn through_memory(
    into: &dyn PartFile,
    source: &dyn PartFile,
    extent: Extent,
    at: u64,
) -> io::Result<()> {
    let mut read = extent.start();
    while read < extent.end() {
        let left = usize::try_from(extent.end() - read).unwrap_or(BUFFER_BYTES);
        let mut piece = vec![0; left.min(BUFFER_BYTES)];
        source.read_at(&mut piece, read)?;
        let copied = piece.len() as u64;
        into.write_at(&[piece.into()], at + (read - extent.start()))?;
        read += copied;
    }
    Ok(())
}

/// What a kernel or file system says that does not copy in this way.
const CANNOT: [rustix::io::Errno; 5] = [
    rustix::io::Errno::NOSYS,
    rustix::io::Errno::OPNOTSUPP,
    rustix::io::Errno::INVAL,
    rustix::io::Errno::XDEV,
    rustix::io::Errno::PERM,
];
/// Asked of the kernel at a time: it answers with what it has done when a signal comes.
const MOST_BYTES: usize = 1 << 30;
/// Held of a copy through memory.
const BUFFER_BYTES: usize = 1 << 20;
