//! Files in memory, for tests: they tell what is live from what is durable, and after a power cut
//! hold what a disk might hold then. The stores and journals in memory are made of them.

use std::io;

/// What becomes of a step of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It happens.
    Happens,
    /// It fails, and nothing of it happens.
    Fails(io::ErrorKind),
    /// It fails after this many bytes.
    Stops(usize, io::ErrorKind),
    /// No descriptor is left for it, and nothing of it happens.
    Exhausted,
}

impl Fate {
    /// Whoever takes this step has died before it: nothing happens, and nothing is lost by it.
    pub const DEAD: Self = Self::Fails(DEAD);
}

const DEAD: io::ErrorKind = io::ErrorKind::NotConnected;

/// Whether a step failed because whoever took it is dead.
pub(crate) fn is_dead(error: &io::Error) -> bool {
    error.kind() == DEAD
}

/// A number below the one given, from a source that a test chooses. With 0 every time a power cut
/// takes all that it can.
pub type Draw<'a> = dyn FnMut(u64) -> u64 + 'a;

/// One file.
#[derive(Clone, Debug, Default)]
pub struct MemoryFile {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// What is live and not durable, in order.
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut { length: usize },
}

impl MemoryFile {
    /// A file of these bytes, all durable.
    pub fn of(bytes: &[u8]) -> Self {
        Self { live: bytes.to_vec(), durable: bytes.to_vec(), unsynced: Vec::new() }
    }

    /// The bytes as a reader sees them.
    pub fn live(&self) -> &[u8] {
        &self.live
    }

    /// The bytes that are on the disk whatever happens.
    pub fn durable(&self) -> &[u8] {
        &self.durable
    }

    /// Writes at an offset; a gap before it reads as zeros.
    pub fn write_at(&mut self, bytes: &[u8], at: usize) {
        put(&mut self.live, bytes, at);
        self.unsynced.push(Change::Write { at, bytes: bytes.to_vec() });
    }

    /// Cuts it to this length; a shorter one stays.
    pub fn cut(&mut self, length: usize) {
        if length < self.live.len() {
            self.live.truncate(length);
            self.unsynced.push(Change::Cut { length });
        }
    }

    /// Makes what was written durable.
    pub fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            match change {
                Change::Write { at, bytes } => put(&mut self.durable, &bytes, at),
                Change::Cut { length } => self.durable.truncate(length),
            }
        }
        self.durable.resize(self.live.len(), 0);
    }

    /// A sync that failed: some of what was written is durable, the rest is still read back but
    /// taken for clean, so that no later sync writes it.
    pub fn fail_sync(&mut self, draw: &mut Draw<'_>) {
        self.durable = self.remains(draw);
        self.unsynced.clear();
    }

    /// The power goes and comes.
    pub fn cut_power(&mut self, draw: &mut Draw<'_>) {
        *self = Self::of(&self.remains(draw));
    }

    /// What was synced, with any mixture of what was not: writes survive piece by piece and in any
    /// order, but none that came after a cut which did not.
    fn remains(&self, draw: &mut Draw<'_>) -> Vec<u8> {
        let mut file = self.durable.clone();
        let unit = [usize::MAX, 512, 64, 8, 1][small(draw(5))];
        let cuts = self.unsynced.iter().filter(|change| matches!(change, Change::Cut { .. }));
        let mut cuts_left = draw(cuts.count() as u64 + 1);
        for change in &self.unsynced {
            match change {
                Change::Write { at, bytes } => {
                    for (number, piece) in bytes.chunks(unit.min(bytes.len().max(1))).enumerate() {
                        if draw(2) == 1 {
                            put(&mut file, piece, at + number * unit);
                        }
                    }
                }
                Change::Cut { length } => {
                    if cuts_left == 0 {
                        return file;
                    }
                    cuts_left -= 1;
                    file.truncate(*length);
                }
            }
        }
        // The length may be ahead of the bytes.
        if draw(2) == 0 && file.len() < self.live.len() {
            file.resize(self.live.len(), 0);
        }
        file
    }
}

fn put(file: &mut Vec<u8>, bytes: &[u8], at: usize) {
    if file.len() < at + bytes.len() {
        file.resize(at + bytes.len(), 0);
    }
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_is_sure() {
        let mut file = MemoryFile::default();
        file.write_at(b"hello", 0);
        file.sync();
        file.write_at(b"world", 5);
        let mut worst = file.clone();
        worst.cut_power(&mut |_| 0);
        assert_eq!(worst.live(), b"hello\0\0\0\0\0", "the length may be ahead of the bytes");
        let mut best = file.clone();
        best.cut_power(&mut |below| below - 1);
        assert_eq!(best.live(), b"helloworld");
        assert_eq!(best.durable(), b"helloworld");
        file.sync();
        file.cut_power(&mut |_| 0);
        assert_eq!(file.live(), b"helloworld");
    }

    #[test]
    fn nothing_survives_a_cut_that_did_not() {
        let mut file = MemoryFile::of(b"hello");
        file.cut(1);
        file.write_at(b"i", 1);
        assert_eq!(file.live(), b"hi");
        let mut lost = file.clone();
        lost.cut_power(&mut |_| 0);
        assert_eq!(lost.live(), b"hello");
        file.cut_power(&mut |below| below - 1);
        assert_eq!(file.live(), b"hi");
    }

    #[test]
    fn what_a_failed_sync_lost_stays_lost() {
        let mut file = MemoryFile::default();
        file.write_at(b"hello", 0);
        file.fail_sync(&mut |_| 0);
        assert_eq!(file.live(), b"hello");
        file.sync();
        file.cut_power(&mut |_| 0);
        assert_eq!(file.live(), b"\0\0\0\0\0");
    }
}
