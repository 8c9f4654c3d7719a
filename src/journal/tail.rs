//! What lies behind the good bytes of a journal: a torn tail, which a crash leaves and the next append
//! cuts off, or whole records that a damaged one hides.

use super::record::decode;

/// Where the first whole record begins behind `valid_bytes`, if there is any: then it was no crash
/// that ended the journal there, and what is said from there on is lost to replay.
///
/// It looks at every offset. Chance bytes have the right checksum once in four thousand million times.
pub fn hidden_record(journal: &[u8], valid_bytes: u64) -> Option<u64> {
    let from = usize::try_from(valid_bytes).ok()?;
    (from + 1..journal.len()).find(|at| decode(&journal[*at..]).is_some()).map(|at| at as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::record::{MAGIC, Record, encode};

    #[test]
    fn a_torn_tail_is_told_from_a_damaged_record() {
        let mut journal = MAGIC.to_vec();
        let mut starts = Vec::new();
        for before in 0..3 {
            starts.push(journal.len());
            encode(&Record::Synced { before }, &mut journal);
        }
        let check = |bytes: &[u8], valid: usize, expected: Option<usize>| {
            let found = hidden_record(bytes, valid as u64);
            assert_eq!(found, expected.map(|at| at as u64), "{valid}");
        };
        check(&journal, journal.len(), None);
        check(&journal[..journal.len() - 1], starts[2], None);
        check(&[&journal[..], &[0; 5000]].concat(), journal.len(), None);
        let mut damaged = journal.clone();
        damaged[starts[1] + 9] ^= 1;
        check(&damaged, starts[1], Some(starts[2]));
        check(&damaged[..starts[2] + 5], starts[1], None);
        check(b"", 0, None);
        check(b"x", 7, None);
    }
}
