//! What lies behind the good bytes of a journal: a torn tail, which a crash leaves and the next append
//! cuts off, or whole records that a damaged one hides.

use super::record::{HEAD_BYTES, MAX_BODY_BYTES, Undecoded, decode};
use super::records::{BUFFER_BYTES, Records};
use std::io::{self, Read};

/// What lies behind the good bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// Bytes that are no whole record.
    pub bytes: u64,
    /// Where the first whole record begins among them, if there is any: then it was no crash
    /// that ended the journal there, and what is said from there on is lost to replay.
    pub hidden_record: Option<u64>,
    /// Where, from there on, the first record of another version begins, and its kind.
    pub unknown_record: Option<(u64, u8)>,
}

impl Tail {
    /// Reads what is left of a journal behind its last good record. Looks for a record at every offset of the first
    /// `MOST_LOOKED_AT` bytes: one that follows a damaged one begins there. Chance bytes have the right checksum once
    /// in four thousand million times.
    pub fn read(journal: &mut Records<impl Read>) -> io::Result<Self> {
        if journal.is_at_end()? {
            return Ok(Self::default());
        }
        let from = journal.offset();
        let near = journal.take(MOST_LOOKED_AT)?;
        if decode(near).is_ok() {
            // Appended since the last good record was read.
            return Ok(Self::default());
        }
        let hidden = hidden_record(near);
        let unknown_record = hidden
            .and_then(|at| unknown_record(near, at))
            .map(|(at, kind)| (from + at as u64, kind));
        let hidden_record = hidden.map(|at| from + at as u64);
        while !journal.take(BUFFER_BYTES)?.is_empty() {}
        Ok(Self { bytes: journal.offset() - from, hidden_record, unknown_record })
    }

    /// Whether it may be no more than what a crash leaves of the last record. Where it is more, the good bytes may not be all
    /// that was acknowledged.
    pub fn is_torn_record(&self) -> bool {
        self.hidden_record.is_none() && self.bytes <= (HEAD_BYTES + MAX_BODY_BYTES) as u64
    }
}

fn hidden_record(tail: &[u8]) -> Option<usize> {
    let mut checked = 0;
    (1..tail.len()).find(|at| {
        let length = tail[*at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize);
        let whole =
            |length: &usize| *length <= MAX_BODY_BYTES && at + HEAD_BYTES + length <= tail.len();
        let Some(length) = length.filter(whole) else { return false };
        checked += length;
        checked <= MOST_CHECKED && decode(&tail[*at..]) != Err(Undecoded::Torn)
    })
}

/// The first record of another version among the whole ones that follow each other from `at` on, and its kind.
fn unknown_record(tail: &[u8], mut at: usize) -> Option<(usize, u8)> {
    loop {
        match decode(&tail[at..]) {
            Ok((_, size)) => at += size,
            Err(Undecoded::Unknown { kind, .. }) => return Some((at, kind)),
            Err(Undecoded::Torn) => return None,
        }
    }
}

/// Twice the longest record, and more.
const MOST_LOOKED_AT: usize = 4 << 20;
/// Bytes of which a checksum is computed: seconds. Bytes made for it would take hours.
const MOST_CHECKED: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::format::record::{MAGIC, Record, encode};

    #[test]
    fn a_torn_tail_is_told_from_a_damaged_record() {
        let mut journal = MAGIC.to_vec();
        let mut starts = Vec::new();
        for before in 0..3 {
            starts.push(journal.len());
            encode(&Record::Synced { before }, &mut journal);
        }
        let check = |bytes: &[u8], valid: usize, expected: Option<usize>| {
            let mut records = Records::new(bytes);
            records.take(valid).unwrap();
            let tail = Tail::read(&mut records).unwrap();
            assert_eq!(tail.hidden_record, expected.map(|at| at as u64), "{valid}");
            assert_eq!(tail.bytes, bytes.len().saturating_sub(valid) as u64);
            assert_eq!(tail.is_torn_record(), expected.is_none());
        };
        check(&journal, journal.len(), None);
        check(&journal[..journal.len() - 1], starts[2], None);
        check(&[&journal[..], &[0; 5000]].concat(), journal.len(), None);
        let mut damaged = journal.clone();
        damaged[starts[1] + 9] ^= 1;
        check(&damaged, starts[1], Some(starts[2]));
        check(&damaged[..starts[2] + 5], starts[1], None);
        check(b"", 0, None);
        // It grows while it is read.
        let mut growing = Records::new(&journal[..]);
        growing.take(starts[1]).unwrap();
        assert_eq!(Tail::read(&mut growing).unwrap(), Tail::default());
        check(b"x", 7, None);
    }

    #[test]
    fn bytes_made_to_be_slow_end_in_time() {
        // Each offset looks like a record of almost a MiB.
        let journal = [0xF0, 0xFF, 0x0E, 0x00].repeat((8 << 20) / 4);
        let tail = Tail::read(&mut Records::new(&journal[..])).unwrap();
        assert_eq!(tail, Tail { bytes: 8 << 20, ..Tail::default() });
        assert!(!tail.is_torn_record(), "no record is that long");
    }
}
