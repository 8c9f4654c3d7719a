//! Which digest a client promises for a chunk, and comparing it with what arrived.

use sha2::Digest as _;
use std::fmt::Write as _;

/// A digest of a chunk as the client states it.
///
/// Sources: RFC 9530 (`Content-Digest`), the `sha-256` and `sha-512` algorithms; tus 1.0 (`Upload-Checksum`), `sha1` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkDigest {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512(Box<[u8; 64]>),
    /// SHA-1: against damage, not against forgery.
    Sha1([u8; 20]),
}

/// A running digest over the bytes of a chunk, in order.
#[derive(Debug)]
pub struct Hasher {
    expected: ChunkDigest,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Sha256(sha2::Sha256),
    Sha512(Box<sha2::Sha512>),
    Sha1(sha1::Sha1),
}

impl Hasher {
    /// A hasher that will be compared with `expected`.
    pub fn new(expected: ChunkDigest) -> Self {
        let running = match expected {
            ChunkDigest::Sha256(_) => Running::Sha256(sha2::Sha256::new()),
            ChunkDigest::Sha512(_) => Running::Sha512(Box::default()),
            ChunkDigest::Sha1(_) => Running::Sha1(sha1::Sha1::new()),
        };
        Self { expected, running }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.running {
            Running::Sha256(hash) => hash.update(bytes),
            Running::Sha512(hash) => hash.update(bytes),
            Running::Sha1(hash) => hash.update(bytes),
        }
    }

    /// Whether the bytes taken have the digest that was promised; if not, the one they have.
    pub fn check(self) -> Result<(), ChunkDigest> {
        let found = match self.running {
            Running::Sha256(hash) => ChunkDigest::Sha256(hash.finalize().into()),
            Running::Sha512(hash) => ChunkDigest::Sha512(Box::new(hash.finalize().into())),
            Running::Sha1(hash) => ChunkDigest::Sha1(hash.finalize().into()),
        };
        if found == self.expected { Ok(()) } else { Err(found) }
    }
}

/// Lower-case hexadecimal digits, two for each byte.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_promised_digest_decides() {
        let abc = sha2::Sha256::digest(b"abc").into();
        let check = |parts: &[&[u8]], expected: bool| {
            let mut hasher = Hasher::new(ChunkDigest::Sha256(abc));
            for part in parts {
                hasher.update(part);
            }
            assert_eq!(hasher.check().is_ok(), expected, "{parts:?}");
        };
        check(&[b"abc"], true);
        check(&[b"a", b"", b"bc"], true);
        check(&[b"abd"], false);
        check(&[], false);
        let long = Box::new(sha2::Sha512::digest(b"abc").into());
        let mut hasher = Hasher::new(ChunkDigest::Sha512(long));
        hasher.update(b"abc");
        assert!(hasher.check().is_ok());
        let mut hasher = Hasher::new(ChunkDigest::Sha1(sha1::Sha1::digest(b"abc").into()));
        hasher.update(b"abd");
        assert!(hasher.check().is_err());
    }

    #[test]
    fn digits_are_lower_case_and_two_for_each_byte() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[0, 0x0a, 0xff]), "000aff");
    }
}
