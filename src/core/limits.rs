//! The bounds that the rules enforce on one upload.

/// Bounds on an upload, the same for all of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest chunk in bytes; `None` is no limit.
    pub max_chunk_bytes: Option<u64>,
    /// Largest file in bytes; `None` is no limit (then [`MAX_FILE_BYTES`] holds).
    pub max_upload_bytes: Option<u64>,
}

/// No file is longer: offsets of the usual file systems and `i64` system calls end here.
pub const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// Disjoint extents of one upload. Each costs 16 bytes in memory and a few in every status answer;
/// a client that keeps `send_ahead` chunks in flight never comes near.
pub const MAX_DISJOINT_EXTENTS: usize = 4096;

/// Chunks in flight, all uploads together. Each may hold one frame of 16 KiB while it waits for the disk:
/// 256 MiB.
pub const MAX_CHUNKS: usize = 16_384;

/// Chunks in flight for one upload: 64 is the largest `send_ahead`, the rest is for stale requests.
pub const MAX_CHUNKS_IN_FLIGHT: usize = 256;

/// Bytes of one upload's journal, beyond which it takes no chunk: some 300,000 records. It is compacted long before,
/// where the disk lets it.
pub const MAX_JOURNAL_BYTES: u64 = 16 << 20;
