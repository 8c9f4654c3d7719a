//! Which digest a client promises for a chunk, and comparing it with what arrived.

use sha2::Digest as _;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

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

/// What a client states about the digest of a chunk.
#[derive(Clone, Debug, Default)]
pub enum ExpectedDigest {
    /// Nothing.
    #[default]
    None,
    /// This one.
    Known(ChunkDigest),
    /// One that comes behind the bytes.
    Trailing(TrailingDigest),
}

impl From<Option<ChunkDigest>> for ExpectedDigest {
    fn from(digest: Option<ChunkDigest>) -> Self {
        digest.map_or(Self::None, Self::Known)
    }
}

/// A digest that is known when the last byte has come. All clones are one.
#[derive(Clone, Debug, Default)]
pub struct TrailingDigest(Arc<OnceLock<ChunkDigest>>);

impl TrailingDigest {
    /// The digest has come. Only the first counts.
    pub fn set(&self, digest: ChunkDigest) {
        drop(self.0.set(digest));
    }
}

/// A running digest over the bytes of a chunk, in order. Where it is not known yet which one is wanted, all of them.
#[derive(Debug)]
pub struct Hasher {
    expected: ExpectedDigest,
    sha256: Option<sha2::Sha256>,
    sha512: Option<Box<sha2::Sha512>>,
    sha1: Option<sha1::Sha1>,
}

impl Hasher {
    /// A hasher that will be compared with `expected`; none where there is nothing to compare with.
    pub fn new(expected: ExpectedDigest) -> Option<Self> {
        let mut hasher = Self { expected, sha256: None, sha512: None, sha1: None };
        let (sha256, sha512, sha1) = (Default::default, Box::default, Default::default);
        match &hasher.expected {
            ExpectedDigest::None => return None,
            ExpectedDigest::Known(ChunkDigest::Sha256(_)) => hasher.sha256 = Some(sha256()),
            ExpectedDigest::Known(ChunkDigest::Sha512(_)) => hasher.sha512 = Some(sha512()),
            ExpectedDigest::Known(ChunkDigest::Sha1(_)) => hasher.sha1 = Some(sha1()),
            ExpectedDigest::Trailing(_) => {
                hasher.sha256 = Some(sha256());
                hasher.sha512 = Some(sha512());
                hasher.sha1 = Some(sha1());
            }
        }
        Some(hasher)
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.iter_mut().for_each(|hash| hash.update(bytes));
        self.sha512.iter_mut().for_each(|hash| hash.update(bytes));
        self.sha1.iter_mut().for_each(|hash| hash.update(bytes));
    }

    /// Whether the bytes taken have the digest that was promised; if not, the one they have. A promise that never came
    /// is not kept.
    pub fn check(self) -> Result<(), ChunkDigest> {
        let expected = match &self.expected {
            ExpectedDigest::None => None,
            ExpectedDigest::Known(digest) => Some(digest),
            ExpectedDigest::Trailing(digest) => digest.0.get(),
        };
        let sha256 = self.sha256.map(|hash| ChunkDigest::Sha256(hash.finalize().into()));
        let sha512 = self.sha512.map(|hash| ChunkDigest::Sha512(Box::new(hash.finalize().into())));
        let sha1 = self.sha1.map(|hash| ChunkDigest::Sha1(hash.finalize().into()));
        let found = match expected {
            Some(ChunkDigest::Sha256(_)) | None => sha256,
            Some(ChunkDigest::Sha512(_)) => sha512,
            Some(ChunkDigest::Sha1(_)) => sha1,
        };
        match found {
            Some(found) if expected != Some(&found) => Err(found),
            Some(_) | None => Ok(()),
        }
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

    fn known(digest: ChunkDigest) -> Hasher {
        Hasher::new(ExpectedDigest::Known(digest)).unwrap()
    }

    #[test]
    fn the_digest_behind_the_bytes_decides() {
        let digests = |bytes: &[u8]| {
            [
                ChunkDigest::Sha256(sha2::Sha256::digest(bytes).into()),
                ChunkDigest::Sha512(Box::new(sha2::Sha512::digest(bytes).into())),
                ChunkDigest::Sha1(sha1::Sha1::digest(bytes).into()),
            ]
        };
        let check = |digest: Option<ChunkDigest>| {
            let trailing = TrailingDigest::default();
            let mut hasher = Hasher::new(ExpectedDigest::Trailing(trailing.clone())).unwrap();
            hasher.update(b"ab");
            hasher.update(b"c");
            digest.into_iter().for_each(|digest| trailing.set(digest));
            hasher.check()
        };
        for (right, wrong) in digests(b"abc").into_iter().zip(digests(b"abd")) {
            assert_eq!(check(Some(right.clone())), Ok(()));
            assert_eq!(check(Some(wrong)), Err(right));
        }
        assert!(check(None).is_err());
        assert!(Hasher::new(ExpectedDigest::None).is_none());
    }

    #[test]
    fn the_promised_digest_decides() {
        let abc = sha2::Sha256::digest(b"abc").into();
        let check = |parts: &[&[u8]], expected: bool| {
            let mut hasher = known(ChunkDigest::Sha256(abc));
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
        let mut hasher = known(ChunkDigest::Sha512(long));
        hasher.update(b"abc");
        assert!(hasher.check().is_ok());
        let mut hasher = known(ChunkDigest::Sha1(sha1::Sha1::digest(b"abc").into()));
        hasher.update(b"abd");
        assert!(hasher.check().is_err());
    }

    #[test]
    fn digits_are_lower_case_and_two_for_each_byte() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[0, 0x0a, 0xff]), "000aff");
    }
}
