//! Memory in small pages.

/// Asks the kernel for small pages only, for the whole process and for good.
///
/// The allocator invites huge ones; a burst of uploads then clears and holds 2 MiB for a frame of a few hundred KiB. Measured
/// with huge pages and without: 64 uploads 0.54 and 0.43 CPU s/GiB, 8 uploads 0.39 and 0.35; 1000 uploads over TLS
/// with `receive_memory = 300MiB` 271 to 384 MiB of memory and 157 to 283 (`benches/compare/run`; prctl(2), `PR_SET_THP_DISABLE`).
/// A kernel that refuses costs that much and no more.
pub(super) fn small_only() {
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "could not disable huge pages");
    }
}
