//! The SHA-256 of a file while it arrives, where a ticket asks for it: of its beginning, as far as chunks come one
//! behind the other. The rest is read from the published file (`delivery/hashing.rs`).
//!
//! Only in memory: after a restart the whole file is read.

use crate::core::extent::Extent;
use crate::core::upload::Upload;
use bytes::Bytes;
use sha2::Digest as _;

/// Where the digest of an upload's beginning is.
#[derive(Debug)]
pub(super) enum Prefix {
    /// Nobody asks for one, or it is lost.
    Unwanted,
    /// Here.
    Available(PartialDigest),
    /// With the chunk that goes on with it. One that never gives it back ended by a panic.
    CheckedOut,
}

/// A digest of the bytes below `end`.
#[derive(Clone, Debug, Default)]
pub(super) struct PartialDigest {
    end: u64,
    hash: sha2::Sha256,
}

/// The digest in a chunk's hands: as it was, which holds if the chunk does not count, and as it is.
#[derive(Debug)]
pub(super) struct Checkout {
    before: PartialDigest,
    now: PartialDigest,
}

impl Prefix {
    /// Of an upload that comes into memory.
    pub(super) fn of(upload: &Upload) -> Self {
        if upload.awaits_digest() {
            Self::Available(PartialDigest::default())
        } else {
            Self::Unwanted
        }
    }

    /// Lends the digest to a chunk whose bytes go on where it ends.
    pub(super) fn checkout(&mut self, start: u64) -> Option<Checkout> {
        match self {
            Self::Available(running) if running.end == start => {
                let now = std::mem::take(running);
                *self = Self::CheckedOut;
                Some(Checkout { before: now.clone(), now })
            }
            Self::Available(_) | Self::Unwanted | Self::CheckedOut => None,
        }
    }

    /// Takes it back from a chunk that is over: as it is now if what the chunk wrote is to count, else
    /// as it was.
    pub(super) fn checkin(&mut self, checkout: Checkout, counts: bool) {
        if matches!(self, Self::CheckedOut) {
            *self = Self::Available(if counts { checkout.now } else { checkout.before });
        }
    }

    /// What was to count does not: the file is read at the end. Whoever has the digest just now brings
    /// it back in vain.
    pub(super) fn forget(&mut self) {
        *self = Self::Unwanted;
    }

    /// Takes the digest for good: with what of a file of `length` bytes it is of, in bytes. From the beginning where there
    /// is none, or where a chunk that did not count went beyond the end.
    pub(super) fn take(&mut self, length: u64) -> PartialDigest {
        match std::mem::replace(self, Self::Unwanted) {
            Self::Available(running) if running.end <= length => running,
            Self::Available(_) | Self::Unwanted | Self::CheckedOut => PartialDigest::default(),
        }
    }
}

impl PartialDigest {
    /// The digest is of the bytes below this offset.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Takes the bytes that follow.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.end += bytes.len() as u64;
    }

    /// The digest.
    pub(super) fn finish(self) -> [u8; 32] {
        self.hash.finalize().into()
    }
}

impl Checkout {
    /// The digest is of the bytes below this offset.
    pub(super) fn end(&self) -> u64 {
        self.now.end
    }

    /// `frames` are written at `extent` now: takes them if they follow.
    pub(super) fn wrote(&mut self, extent: Extent, frames: &[Bytes]) {
        if extent.start() == self.now.end {
            frames.iter().for_each(|frame| self.now.update(frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_count_is_forgotten() {
        let frame = |text: &'static str| [Bytes::from_static(text.as_bytes())];
        let at = |start, end| Extent::new(start, end).unwrap();
        let mut prefix = Prefix::Available(PartialDigest::default());
        assert!(prefix.checkout(5).is_none());
        let mut chunk = prefix.checkout(0).unwrap();
        assert!(prefix.checkout(0).is_none(), "one at a time");
        chunk.wrote(at(0, 2), &frame("ab"));
        chunk.wrote(at(7, 9), &frame("xx"));
        prefix.checkin(chunk, true);
        let mut chunk = prefix.checkout(2).unwrap();
        chunk.wrote(at(2, 3), &frame("?"));
        prefix.checkin(chunk, false);
        let mut chunk = prefix.checkout(2).unwrap();
        chunk.wrote(at(2, 3), &frame("c"));
        prefix.checkin(chunk, true);
        let running = prefix.take(3);
        assert_eq!(running.end(), 3);
        let expected: [u8; 32] = sha2::Sha256::digest(b"abc").into();
        assert_eq!(running.finish(), expected);
        assert_eq!(prefix.take(3).end(), 0);

        let mut prefix = Prefix::Available(PartialDigest::default());
        let mut chunk = prefix.checkout(0).unwrap();
        chunk.wrote(at(0, 2), &frame("ab"));
        prefix.checkin(chunk, true);
        assert_eq!(prefix.take(1).end(), 0, "the file ended before the chunk did");

        let mut prefix = Prefix::Available(PartialDigest::default());
        let mut chunk = prefix.checkout(0).unwrap();
        chunk.wrote(at(0, 2), &frame("ab"));
        prefix.checkin(chunk, true);
        let later = prefix.checkout(2).unwrap();
        prefix.forget();
        prefix.checkin(later, true);
        assert_eq!(prefix.take(2).end(), 0, "it went on with what does not count");
    }
}
