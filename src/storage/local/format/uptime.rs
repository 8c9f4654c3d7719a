//! The count of running time as a file beside the journals ([`crate::core::time::Uptime`]).
//!
//! ```text
//! file := "INCUPTM1" count:u64 checksum:u32          little endian; CRC32C of what is before it
//! ```

use crate::core::time::Uptime;
use std::io;

/// The file's bytes.
pub fn encode(uptime: Uptime) -> [u8; FILE_BYTES] {
    let mut bytes = [0; FILE_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&uptime.0.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// What the file says. Errors: it is damaged, or no such file.
pub fn decode(bytes: &[u8]) -> io::Result<Uptime> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the file is damaged");
    let bytes: &[u8; FILE_BYTES] = bytes.try_into().map_err(|_| damaged())?;
    let count = u64::from_le_bytes(std::array::from_fn(|at| bytes[8 + at]));
    let uptime = Uptime(count);
    if uptime == Uptime::NONE || encode(uptime) != *bytes {
        return Err(damaged());
    }
    Ok(uptime)
}

const MAGIC: &[u8; 8] = b"INCUPTM1";
/// The size of the file.
pub const FILE_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_damage_is_seen() {
        let uptime = Uptime::first_of(77);
        let whole = encode(uptime);
        assert_eq!(decode(&whole).unwrap(), uptime);
        for at in 0..whole.len() {
            assert!(decode(&whole[..at]).is_err(), "cut at {at}");
            let mut damaged = whole;
            damaged[at] ^= 1;
            assert!(decode(&damaged).is_err(), "damaged at {at}");
        }
        assert!(decode(&encode(Uptime::NONE)).is_err());
        assert!(decode(&[whole.as_slice(), &[0]].concat()).is_err());
    }
}
