//! Bytes to send, made from a seed, and their digests.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::Digest as _;

/// `length` bytes that differ from seed to seed and do not repeat themselves.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A small random number generator (xorshift64*), for tests that print their seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = sha2::Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value of `Content-Digest` for these bytes.
pub fn content_digest(bytes: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(sha2::Sha256::digest(bytes)))
}

/// The same with SHA-512.
pub fn content_digest_512(bytes: &[u8]) -> String {
    format!("sha-512=:{}:", BASE64_STANDARD.encode(sha2::Sha512::digest(bytes)))
}
