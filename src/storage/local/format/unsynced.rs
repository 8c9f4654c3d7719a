//! Ranges that were only written, while a journal is replayed: a bounded number of sets, each with
//! the offset of its last record.
//!
//! Up to [`MAX_SETS`] records since the last sync point are kept apart, so that `Synced` promotes exactly
//! those before its offset. Beyond that neighbours share a set, which becomes durable with its last record: what
//! is claimed to be durable is never more than what is.

use crate::core::event::{Durability, Event};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::time::{Stamp, Uptime};
use crate::core::upload::Upload;

/// Ranges that are not known to be durable, in the order of their records.
#[derive(Clone, Debug)]
pub(super) struct UnsyncedRanges {
    sets: Vec<Set>,
    /// Records of one set, and how many more the last one takes.
    share: usize,
    room: usize,
}

#[derive(Clone, Debug)]
struct Set {
    /// Offset of the last record in it.
    last: u64,
    at: Stamp,
    extents: ExtentSet,
}

impl UnsyncedRanges {
    pub(super) const fn new() -> Self {
        Self { sets: Vec::new(), share: 1, room: 0 }
    }

    /// The record at `offset` says that `extent` was written.
    pub(super) fn add(&mut self, offset: u64, at: Stamp, extent: Extent) {
        if let Some(set) = self.sets.last_mut().filter(|_| self.room > 0) {
            set.join(offset, at);
            set.extents.insert(extent);
            self.room -= 1;
            return;
        }
        self.sets.push(Set { last: offset, at, extents: ExtentSet::of(extent) });
        self.room = self.share - 1;
        if self.sets.len() > MAX_SETS {
            self.halve();
        }
    }

    /// Moves what was recorded before `offset` to `durable`.
    pub(super) fn promote(&mut self, offset: u64, durable: &mut Upload) {
        let count = self.sets.partition_point(|set| set.last < offset);
        for set in self.sets.drain(..count) {
            set.apply(durable);
        }
        if self.sets.is_empty() {
            *self = Self::new();
        }
    }

    /// What has no count yet happened then. Tells whether there was any.
    pub(super) fn count_from(&mut self, from: Uptime) -> bool {
        let mut any = false;
        for set in self.sets.iter_mut().filter(|set| set.at.uptime == Uptime::NONE) {
            set.at.uptime = from;
            any = true;
        }
        any
    }

    /// Drops all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// All of them as events, ranges that touch as one. Each has the time of the last.
    pub(super) fn events(&self) -> Vec<Event> {
        let Some(at) = self.sets.iter().map(|set| set.at).reduce(later) else { return Vec::new() };
        let mut all = ExtentSet::new();
        self.sets.iter().for_each(|set| all.insert_all(&set.extents));
        let durability = Durability::Written;
        all.as_slice()
            .iter()
            .map(|extent| Event::Stored { at, extent: *extent, durability })
            .collect()
    }

    fn halve(&mut self) {
        let mut joined: Vec<Set> = Vec::with_capacity(self.sets.len() / 2 + 1);
        for (number, set) in self.sets.drain(..).enumerate() {
            match joined.last_mut().filter(|_| number % 2 == 1) {
                Some(before) => {
                    before.join(set.last, set.at);
                    before.extents.insert_all(&set.extents);
                }
                None => joined.push(set),
            }
        }
        self.sets = joined;
        self.share *= 2;
    }
}

impl Set {
    fn join(&mut self, last: u64, at: Stamp) {
        self.last = last;
        self.at = later(self.at, at);
    }

    fn apply(&self, upload: &mut Upload) {
        let (at, durability) = (self.at, Durability::Written);
        for extent in self.extents.as_slice() {
            upload.apply(&Event::Stored { at, extent: *extent, durability });
        }
    }
}

fn later(a: Stamp, b: Stamp) -> Stamp {
    // By the count alone, as the rules see it.
    if b.uptime >= a.uptime { b } else { a }
}

/// Sets kept apart: those of a journal that is compacted at 64 KiB. Each takes some 100 bytes.
const MAX_SETS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fuzzing::{Source, history};
    use crate::core::time::Timestamp;

    fn at(uptime: u64) -> Stamp {
        Stamp { date: Timestamp(5), uptime: Uptime(uptime) }
    }

    fn one(start: u64) -> Extent {
        Extent::new(start, start + 1).unwrap()
    }

    /// However many there are, what is promoted was recorded before the offset, and not much of that is left out.
    #[test]
    fn a_million_ranges_take_a_bounded_number_of_sets() {
        for step in [1, 2] {
            let mut unsynced = UnsyncedRanges::new();
            for number in 0..1_000_000 {
                unsynced.add(number, at(number), one(number % 5000 * step));
                assert!(unsynced.sets.len() <= MAX_SETS);
            }
            let mut durable = history(&mut Source::new(&[])).upload;
            unsynced.promote(500_000, &mut durable);
            let promoted = durable.last_active().uptime.0;
            assert!((499_000..500_000).contains(&promoted), "{promoted}");
            unsynced.promote(u64::MAX, &mut durable);
            assert_eq!(durable.received().bytes(), 5000);
            assert_eq!(durable.last_active(), at(999_999));
            assert!(unsynced.sets.is_empty());
        }
    }

    #[test]
    fn few_are_settled_exactly() {
        let mut unsynced = UnsyncedRanges::new();
        let mut durable = history(&mut Source::new(&[])).upload;
        for number in 0..MAX_SETS as u64 {
            unsynced.add(number * 10, at(1000 + number), one(number * 2));
        }
        unsynced.promote(10, &mut durable);
        assert_eq!(durable.received().as_slice(), [one(0)]);
        unsynced.promote(10 * 1000, &mut durable);
        assert_eq!(durable.received().bytes(), 1000);
        unsynced.clear();
        unsynced.promote(u64::MAX, &mut durable);
        assert_eq!(durable.received().bytes(), 1000);
    }
}
