//! Whether the bytes that the server holds are the file's: pieces of them are compared
//! (`POST U/verify`) before an upload goes on over bytes that this run has not sent, and once more
//! before the chunk that completes it. So two versions of a file are never mixed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::Digest as _;

use crate::core::extent::{Extent, ExtentSet};
use crate::core::limits::{MAX_PIECE_BYTES, MAX_PIECES, MIN_PIECE_BYTES};
use crate::storage::clock::fill_random;

/// Bytes of a piece that stands for many, as in the browser library.
const SAMPLE_BYTES: u64 = 64 << 10;
/// Random pieces, besides the first and the last.
const CHANCE_PIECES: usize = 3;

/// How closely bytes are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    /// The first, the last and some by chance: nothing says that the file has changed.
    Sample,
    /// Every byte: it is unknown which file they are from.
    Full,
}

/// The pieces to compare, in order; `None` where not everything that has to be can be: pieces of less
/// than 4 KiB are not compared unless they are the whole file.
pub(crate) fn pieces(held: &ExtentSet, length: u64, how: Coverage) -> Option<Vec<Extent>> {
    match how {
        Coverage::Sample => Some(sample(held, length, &mut chance)),
        Coverage::Full => held.as_slice().iter().try_fold(Vec::new(), |mut all, extent| {
            all.extend(cut(*extent, length)?);
            Some(all)
        }),
    }
}

/// Requests for the pieces, so many in each as the server takes.
pub(crate) fn batches(pieces: &[Extent]) -> impl Iterator<Item = &[Extent]> {
    pieces.chunks(MAX_PIECES)
}

/// The body of a request: the pieces' digests as the file has them. Blocks.
pub(crate) fn body(file: &File, pieces: &[Extent]) -> io::Result<String> {
    let mut buffer = Vec::new();
    let mut piece = |extent: &Extent| -> io::Result<Value> {
        buffer.resize(usize::try_from(extent.len()).unwrap_or(0), 0);
        file.read_exact_at(&mut buffer, extent.start())?;
        let digest = BASE64_STANDARD.encode(sha2::Sha256::digest(&buffer));
        Ok(json!({ "range": [extent.start(), extent.end()], "sha-256": digest }))
    };
    let ranges = pieces.iter().map(&mut piece).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({ "ranges": ranges }).to_string())
}

fn sample(held: &ExtentSet, length: u64, chance: &mut dyn FnMut() -> u64) -> Vec<Extent> {
    let enough = |extent: &&Extent| extent.len() >= MIN_PIECE_BYTES || extent.len() == length;
    let large: Vec<Extent> = held.as_slice().iter().filter(enough).copied().collect();
    let total: u64 = large.iter().map(|extent| extent.len()).sum();
    if total == 0 {
        return Vec::new();
    }
    let mut offsets = vec![0, total - 1];
    if total > 2 * SAMPLE_BYTES {
        offsets.extend((0..CHANCE_PIECES).map(|_| chance() % total));
    }
    let mut chosen: Vec<Extent> = offsets.into_iter().filter_map(|at| around(&large, at)).collect();
    chosen.sort_by_key(|piece| piece.start());
    chosen.dedup();
    chosen
}

/// The piece around the byte that has so many bytes of the extents before it.
fn around(extents: &[Extent], mut at: u64) -> Option<Extent> {
    for extent in extents {
        if at < extent.len() {
            let start = (extent.start() + at).min(extent.end().saturating_sub(SAMPLE_BYTES));
            let start = start.max(extent.start());
            return Extent::new(start, extent.end().min(start + SAMPLE_BYTES));
        }
        at -= extent.len();
    }
    None
}

/// All of an extent in pieces that the server takes.
fn cut(extent: Extent, length: u64) -> Option<Vec<Extent>> {
    if extent.len() < MIN_PIECE_BYTES {
        return (extent.len() == length).then(|| vec![extent]);
    }
    let mut pieces = Vec::new();
    let mut at = extent.start();
    while at < extent.end() {
        let end = extent.end().min(at + MAX_PIECE_BYTES);
        // What is left over is too small alone: it takes some bytes before it along.
        let start = at.min(end - MIN_PIECE_BYTES);
        pieces.extend(Extent::new(start, end));
        at = end;
    }
    Some(pieces)
}

/// A number by chance; without randomness always the same.
fn chance() -> u64 {
    let mut bytes = [0; 8];
    let _ = fill_random(&mut bytes);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn set(ranges: &[(u64, u64)]) -> ExtentSet {
        let mut set = ExtentSet::new();
        ranges.iter().for_each(|&(start, end)| set.insert(Extent::new(start, end).unwrap()));
        set
    }

    fn shown(pieces: &[Extent]) -> Vec<(u64, u64)> {
        pieces.iter().map(|piece| (piece.start(), piece.end())).collect()
    }

    #[test]
    fn samples_are_the_ends_and_some_by_chance() {
        let check = |held: &[(u64, u64)], length: u64, expected: &[(u64, u64)]| {
            let mut numbers = [5, MIB - 1, 400_000].into_iter();
            let found = sample(&set(held), length, &mut || numbers.next().unwrap());
            assert_eq!(shown(&found), expected, "{held:?}");
        };
        check(&[], MIB, &[]);
        check(&[(0, 100)], 100, &[(0, 100)]);
        check(&[(0, 100)], 101, &[]);
        check(&[(0, 4096), (9000, 9001)], 10_000, &[(0, 4096)]);
        check(&[(10, 70_010)], MIB, &[(10, 65_546), (4474, 70_010)]);
        check(
            &[(0, MIB)],
            2 * MIB,
            &[(0, 65_536), (5, 65_541), (400_000, 465_536), (MIB - 65_536, MIB)],
        );
    }

    #[test]
    fn everything_is_cut_into_what_the_server_takes() {
        let check = |held: &[(u64, u64)], length: u64, expected: Option<&[(u64, u64)]>| {
            let found = pieces(&set(held), length, Coverage::Full);
            assert_eq!(found.as_deref().map(shown).as_deref(), expected, "{held:?}");
        };
        check(&[], 5, Some(&[]));
        check(&[(0, 5)], 5, Some(&[(0, 5)]));
        check(&[(0, 5)], 6, None);
        check(&[(0, 8192), (9000, 9001)], 10_000, None);
        check(&[(7, 4103)], 10_000, Some(&[(7, 4103)]));
        check(
            &[(1, 2 * MIB + 2)],
            9 * MIB,
            Some(&[(1, MIB + 1), (MIB + 1, 2 * MIB + 1), (2 * MIB + 2 - 4096, 2 * MIB + 2)]),
        );
        let many = pieces(&set(&[(0, 40 * MIB)]), 50 * MIB, Coverage::Full).unwrap();
        assert_eq!(batches(&many).map(<[_]>::len).collect::<Vec<_>>(), [16, 16, 8]);
    }

    #[test]
    fn the_body_has_the_files_digests() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("f");
        std::fs::write(&path, "").unwrap();
        let file = File::open(&path).unwrap();
        let pieces = [Extent::new(0, 3).unwrap()];
        assert_eq!(body(&file, &pieces).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        std::fs::write(&path, "abcd").unwrap();
        let abc = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
        let text = format!(r#"{{"ranges":[{{"range":[0,3],"sha-256":"{abc}"}}]}}"#);
        assert_eq!(body(&file, &pieces).unwrap(), text);
    }
}
