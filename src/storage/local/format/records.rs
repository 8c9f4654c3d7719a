//! The records of a journal, read one after the other with a buffer that holds a few of them: what a
//! journal's length is costs no memory.

use super::record::{HEAD_BYTES, MAX_BODY_BYTES, Record, Undecoded, decode};
use std::io::{self, Read};

/// A journal that is being read.
pub struct Records<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where the bytes in the buffer begin and end that were read and not yet taken.
    start: usize,
    end: usize,
    /// Offset in the journal of the byte at `start`.
    offset: u64,
}

impl<R: Read> Records<R> {
    /// Reads from the beginning of a journal on.
    pub fn new(source: R) -> Self {
        Self { source, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, offset: 0 }
    }

    /// Offset of what comes next.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether nothing more comes.
    pub fn is_at_end(&mut self) -> io::Result<bool> {
        self.fill(1)?;
        Ok(self.waiting().is_empty())
    }

    /// Takes the next `count` bytes as they are; fewer at the end of the journal.
    pub fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        self.fill(count)?;
        let from = self.start;
        let taken = count.min(self.end - from);
        self.advance(taken);
        Ok(&self.buffer[from..from + taken])
    }

    /// Takes the next record and where it begins. Where what comes next is no record of this version, also at the end,
    /// the offset stays there.
    pub fn next_record(&mut self) -> io::Result<Result<(u64, Record), Undecoded>> {
        self.fill(HEAD_BYTES)?;
        if let Some(length) = self.waiting().first_chunk().map(|bytes| u32::from_le_bytes(*bytes)) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length <= MAX_BODY_BYTES {
                self.fill(HEAD_BYTES + length)?;
            }
        }
        let decoded = decode(self.waiting());
        Ok(decoded.map(|(record, size)| {
            let at = self.offset;
            self.advance(size);
            (at, record)
        }))
    }

    /// Whether `most` more bytes, or all that are left, are zeros. Takes them.
    pub fn only_zeros(&mut self, most: u64) -> io::Result<bool> {
        let until = self.offset.saturating_add(most);
        while self.offset < until {
            let some = self.take(BUFFER_BYTES)?;
            if some.is_empty() {
                return Ok(true);
            }
            if some.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn waiting(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Has `count` bytes in the buffer, or all that are left.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        if self.end - self.start >= count {
            return Ok(());
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < count {
            self.buffer.resize(count, 0);
        }
        while self.end < count {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Bytes read at a time. The buffer grows to the size of a record that is larger: 1 MiB at most.
pub const BUFFER_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::local::format::record::encode;

    /// A source that gives a few bytes at a time, as a disk may.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(self.1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn records_come_as_they_were_written_however_the_bytes_come() {
        let mut journal = b"magic".to_vec();
        let mut starts = Vec::new();
        let record = |before| Record::Synced { before };
        // Several buffers full.
        for number in 0..10_000 {
            starts.push(journal.len() as u64);
            encode(&record(number), &mut journal);
        }
        let end = journal.len() as u64;
        journal.extend([7; 9]);
        for pace in [1, 3, 1000, usize::MAX] {
            let mut records = Records::new(Trickle(&journal, pace));
            assert_eq!(records.take(5).unwrap(), b"magic");
            for (number, start) in starts.iter().enumerate() {
                let next = records.next_record().unwrap();
                assert_eq!(next, Ok((*start, record(number as u64))));
            }
            assert_eq!(records.next_record().unwrap(), Err(Undecoded::Torn));
            assert_eq!(records.offset(), end);
            assert_eq!(records.buffer.len(), BUFFER_BYTES, "it did not grow");
        }
    }

    #[test]
    fn a_length_that_is_no_length_costs_no_memory() {
        let mut journal = u32::MAX.to_le_bytes().to_vec();
        journal.resize(3 << 20, 1);
        let mut records = Records::new(&journal[..]);
        assert_eq!(records.next_record().unwrap(), Err(Undecoded::Torn));
        assert_eq!(records.buffer.len(), BUFFER_BYTES);
        // The longest record that there may be, and not a whole one.
        journal[..4].copy_from_slice(&(1_u32 << 20).to_le_bytes());
        let mut records = Records::new(&journal[..]);
        assert_eq!(records.next_record().unwrap(), Err(Undecoded::Torn));
        assert_eq!(records.buffer.len(), HEAD_BYTES + MAX_BODY_BYTES);
    }

    #[test]
    fn zeros_are_read_to_a_bound() {
        let check = |bytes: &[u8], most, expected| {
            assert_eq!(Records::new(bytes).only_zeros(most).unwrap(), expected, "{most}");
        };
        check(&[], 1, true);
        check(&[0; 200], 1 << 20, true);
        check(&vec![0; 200_000], 1 << 20, true);
        check(&[vec![0; 200_000], vec![1]].concat(), 1 << 20, false);
        check(&vec![0; 200_000], 100_000, false);
    }
}
