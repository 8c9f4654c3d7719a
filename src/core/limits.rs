//! The bounds that the rules enforce on one upload.

use super::grid::BeyondTheGrid;
use super::refusal::Refusal;

/// Bounds on an upload, the same for all of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest chunk in bytes; `None` for no limit.
    pub max_chunk_bytes: Option<u64>,
    /// Largest file in bytes; `None` for no limit (then [`MAX_FILE_BYTES`] holds).
    pub max_upload_bytes: Option<u64>,
    /// Bytes of the longest file that object storage holds; `None` where files are not stored there.
    pub grid_bytes: Option<u64>,
}

impl Limits {
    /// Bytes of the largest file for a ticket with this bound of its own.
    pub fn max_file_bytes(&self, ticket: Option<u64>) -> u64 {
        let bounds = [ticket, self.max_upload_bytes, self.grid_bytes];
        bounds.into_iter().flatten().fold(MAX_FILE_BYTES, u64::min)
    }

    /// Bytes of the largest file for any ticket; `None` for no limit.
    pub fn largest_file(&self) -> Option<u64> {
        [self.max_upload_bytes, self.grid_bytes].into_iter().flatten().min()
    }

    /// The refusal of a file of `file` bytes, of which there may be `limit`.
    pub fn too_large(&self, file: u64, limit: u64) -> Refusal {
        if self.grid_bytes == Some(limit) {
            Refusal::BeyondTheGrid(BeyondTheGrid { file, limit })
        } else {
            Refusal::FileTooLarge { file, limit }
        }
    }
}

/// No file is longer: offsets of the usual file systems and `i64` system calls end here.
pub const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// Disjoint extents of one upload. Each costs 16 bytes in memory and a few in every status answer;
/// a client that keeps `send_ahead` chunks in flight never comes near.
pub const MAX_DISJOINT_EXTENTS: usize = 4096;

/// A limit that many holders share: one for each of them, one for all, and fairness in between.
///
/// Dynamic thresholds (Choudhury and Hahne, 1998): a holder may have at most a fixed part of what is free.
/// While much is free that is its own limit. As less is free the part shrinks, so the greediest is
/// refused first, something always stays free, and one that holds nothing gets in.
#[derive(Clone, Copy, Debug)]
pub struct SharedLimit {
    /// For one holder.
    pub each: u64,
    /// For all of them together.
    pub all: u64,
    /// A holder has at most one part in so many of what is free.
    pub parts: u64,
}

/// Bytes of one upload's journal, beyond which it takes no chunk: some 300,000 records. It is compacted long before,
/// where the disk lets it.
pub const MAX_JOURNAL_BYTES: u64 = 16 << 20;

/// Pieces in the bucket that one upload may have beside one for each [`BYTES_A_PIECE`] of it, and as many again for what
/// completes it. Each is a request and a record, and every append copies the list of them.
pub const MAX_SMALL_PIECES: u64 = 16_384;
/// Bytes that are counted for a piece.
pub const BYTES_A_PIECE: u64 = 16 << 10;
/// Whether bytes lie in so many pieces that reading them takes long.
pub fn is_scattered(pieces: u64, bytes: u64) -> bool {
    pieces > MANY_PIECES && pieces.saturating_mul(SMALL_PIECE) > bytes
}

/// A piece is small below this.
const SMALL_PIECE: u64 = 32 << 10;
/// Pieces are many above this.
const MANY_PIECES: u64 = 256;
/// Pieces in the bucket that the parts of one final upload may have together, beside one for each [`BYTES_A_PIECE`]: those of
/// four uploads.
pub const MAX_JOINED_PIECES: u64 = 4 * MAX_SMALL_PIECES;
/// Bytes of a chunk that count before they have come: it may break off after the first.
pub const OFFERED_BYTES: u64 = 64 << 20;

/// Partial uploads of one final upload. Clients that exist send some tens at most, and all their URLs stand in one header.
pub const MAX_PARTS: usize = 256;

/// Pieces of a file that one request may ask to compare.
pub const MAX_PIECES: usize = 16;
/// Bytes of a piece, at most: with the count above, what one request makes the disk read.
pub const MAX_PIECE_BYTES: u64 = 1 << 20;
/// Bytes of a piece, at least, unless it is the whole file: who only holds the id must not find out a
/// file by guessing it byte by byte.
pub const MIN_PIECE_BYTES: u64 = 4 << 10;

impl SharedLimit {
    /// How many one holder may have while all of them have `held`.
    pub const fn share(self, held: u64) -> u64 {
        let free = self.all.saturating_sub(held);
        let part = free / self.parts;
        let share = if part < self.each { part } else { self.each };
        if share == 0 && free > 0 { 1 } else { share }
    }
}

/// Chunks in flight. For one upload 256: 64 is the largest `send_ahead`, the rest is for stale requests. In all
/// 16,384: each may hold one frame of 16 KiB while it waits for the disk, 256 MiB. The share of one upload
/// shrinks once three quarters are taken.
pub const CHUNKS: SharedLimit = SharedLimit { each: 256, all: 16_384, parts: 16 };

/// Chunks over bytes that are known already, which are read after their first moment only because their clients expect
/// it. One that gets no place is answered at once.
pub const DUPLICATE_CHUNKS: SharedLimit = SharedLimit { each: 16, all: 1024, parts: 16 };

/// Long polls. For one upload 64: a few tabs and devices. In all 16,384: each costs a timer and some KiB.
pub const POLLS: SharedLimit = SharedLimit { each: 64, all: 16_384, parts: 16 };

/// Small calls (bind, verify, cancel, where to go on). A client makes one at a time.
pub const SMALL_CALLS: SharedLimit = SharedLimit { each: 8, all: 16_384, parts: 16 };

/// Bytes of large answers (a status of a thousand ranges) that peers have not taken yet. A status of 4096 ranges has
/// 160 KiB at most.
pub const ANSWER_BYTES: SharedLimit = SharedLimit { each: 4 << 20, all: 32 << 20, parts: 4 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_pieces_are_scattered() {
        assert!(is_scattered(257, 257 * SMALL_PIECE - 1));
        assert!(!is_scattered(257, 257 * SMALL_PIECE));
        assert!(!is_scattered(256, 256));
    }

    #[test]
    fn the_greediest_is_refused_first() {
        let check = |held: u64, expected: u64| assert_eq!(CHUNKS.share(held), expected, "{held}");
        check(0, 256);
        check(12_288, 256);
        check(12_304, 255);
        check(16_000, 24);
        check(16_368, 1);
        check(16_383, 1);
        check(16_384, 0);
        check(20_000, 0);
    }

    /// A refusal names the limit that decided.
    #[test]
    fn the_limit_of_object_storage_is_told_from_the_others() {
        let check = |own, server, grid, expected: &str| {
            let limits =
                Limits { max_chunk_bytes: None, max_upload_bytes: server, grid_bytes: grid };
            let limit = limits.max_file_bytes(own);
            let told = limits.too_large(1000, limit).to_string();
            assert!(told.contains(expected), "{told}");
            assert!(told.contains(&limit.to_string()), "{told}");
        };
        check(None, None, Some(100), "s3_part_size");
        check(None, Some(99), Some(100), "at most 99 are allowed");
        check(Some(98), Some(99), Some(100), "at most 98 are allowed");
        check(None, Some(101), Some(100), "s3_part_size");
        check(None, Some(99), None, "at most 99 are allowed");
    }

    /// As many as like to, each taking all it gets: the next one finds a place.
    #[test]
    fn a_crowd_of_greedy_holders_leaves_room() {
        for holders in [1, 64, 165, 1000, 8000] {
            let mut own = vec![0_u64; holders];
            let mut held = 0;
            loop {
                let before = held;
                for own in &mut own {
                    if *own < CHUNKS.share(held) {
                        *own += 1;
                        held += 1;
                    }
                }
                if held == before {
                    break;
                }
            }
            assert!(CHUNKS.share(held) >= 1, "{holders} holders, {held} held");
        }
    }
}
