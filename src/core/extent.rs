//! Byte ranges of one file, and sets of them: what is stored, what is missing.
//!
//! Ranges of a set are half-open, sorted, disjoint and never touch.

use std::fmt;

/// A half-open byte range `start..end` of a file, never empty.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    start: u64,
    end: u64,
}

impl Extent {
    /// The range `start..end`, or nothing where that holds no byte.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (start < end).then_some(Self { start, end })
    }

    /// First byte.
    pub fn start(self) -> u64 {
        self.start
    }

    /// One past the last byte.
    pub fn end(self) -> u64 {
        self.end
    }

    /// Bytes in the range; at least one. (No `is_empty`: an extent never is.)
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// The bytes both ranges hold.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }
}

impl fmt::Debug for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A set of bytes as sorted, merged extents. A lookup costs the logarithm of their number, an
/// insert in the middle moves those behind it; uploads in order hold one extent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentSet {
    extents: Vec<Extent>,
}

impl ExtentSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { extents: Vec::new() }
    }

    /// The set holding just `extent`.
    pub fn of(extent: Extent) -> Self {
        Self { extents: vec![extent] }
    }

    /// Adds the bytes of `extent`, merging with those it overlaps or touches.
    pub fn insert(&mut self, extent: Extent) {
        let first = self.extents.partition_point(|e| e.end < extent.start);
        let last = self.extents.partition_point(|e| e.start <= extent.end);
        if first == last {
            self.extents.insert(first, extent);
            return;
        }
        let merged = Extent {
            start: extent.start.min(self.extents[first].start),
            end: extent.end.max(self.extents[last - 1].end),
        };
        self.extents[first] = merged;
        self.extents.drain(first + 1..last);
    }

    /// Adds all bytes of `other`.
    pub fn insert_all(&mut self, other: &Self) {
        for extent in &other.extents {
            self.insert(*extent);
        }
    }

    /// Takes the bytes of `extent` out.
    pub fn remove(&mut self, extent: Extent) {
        let mut left = Vec::with_capacity(self.extents.len() + 1);
        for held in &self.extents {
            left.extend(Extent::new(held.start, held.end.min(extent.start)));
            left.extend(Extent::new(held.start.max(extent.end), held.end));
        }
        self.extents = left;
    }

    /// Whether every byte of `extent` is in the set.
    pub fn contains(&self, extent: Extent) -> bool {
        let at = self.extents.partition_point(|e| e.end < extent.end);
        self.extents.get(at).is_some_and(|e| e.start <= extent.start && extent.end <= e.end)
    }

    /// The bytes of `extent` that are not in the set.
    pub fn missing_in(&self, extent: Extent) -> Self {
        let mut missing = Vec::new();
        let mut from = extent.start;
        let first = self.extents.partition_point(|e| e.end <= extent.start);
        for held in &self.extents[first..] {
            if held.start >= extent.end {
                break;
            }
            missing.extend(Extent::new(from, held.start));
            from = held.end;
        }
        missing.extend(Extent::new(from, extent.end));
        Self { extents: missing }
    }

    /// The bytes of `extent` that are in the set.
    pub fn within(&self, extent: Extent) -> Self {
        let first = self.extents.partition_point(|e| e.end <= extent.start);
        let held = self.extents[first..].iter().map_while(|e| e.intersection(extent));
        Self { extents: held.collect() }
    }

    /// Whether both sets hold some byte.
    pub fn overlaps(&self, other: &Self) -> bool {
        // Past what lies before the other one's beginning: both may be long.
        let after = |set: &Self, start: u64| set.extents.partition_point(|e| e.end <= start);
        let start = |set: &Self| set.extents.first().map_or(u64::MAX, |e| e.start);
        let mut a = &self.extents[after(self, start(other))..];
        let mut b = &other.extents[after(other, start(self))..];
        while let ([x, rest_a @ ..], [y, rest_b @ ..]) = (a, b) {
            if x.intersection(*y).is_some() {
                return true;
            }
            if x.end <= y.end {
                a = rest_a;
            } else {
                b = rest_b;
            }
        }
        false
    }

    /// Every byte below this offset is in the set; 0 where the first byte is missing.
    pub fn contiguous_from_zero(&self) -> u64 {
        self.extents.first().filter(|e| e.start == 0).map_or(0, |e| e.end)
    }

    /// One past the last byte in the set.
    pub fn end(&self) -> u64 {
        self.extents.last().map_or(0, |e| e.end)
    }

    /// Bytes in the set.
    pub fn bytes(&self) -> u64 {
        self.extents.iter().map(|e| e.len()).sum()
    }

    /// Whether no byte is in the set.
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// The extents, sorted, disjoint and not touching.
    pub fn as_slice(&self) -> &[Extent] {
        &self.extents
    }
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation)] // Test offsets are small.
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(start: u64, end: u64) -> Extent {
        Extent::new(start, end).unwrap()
    }

    fn set(ranges: &[(u64, u64)]) -> ExtentSet {
        let mut set = ExtentSet::new();
        for &(start, end) in ranges {
            set.insert(extent(start, end));
        }
        set
    }

    #[test]
    fn inserts_merge() {
        let check = |ranges: &[(u64, u64)], expected: &[(u64, u64)]| {
            let got: Vec<_> = set(ranges).as_slice().iter().map(|e| (e.start, e.end)).collect();
            assert_eq!(got, expected, "{ranges:?}");
        };
        check(&[], &[]);
        check(&[(0, 1), (1, 2)], &[(0, 2)]);
        check(&[(4, 6), (0, 2)], &[(0, 2), (4, 6)]);
        check(&[(0, 2), (4, 6), (2, 4)], &[(0, 6)]);
        check(&[(0, 2), (4, 6), (8, 9), (1, 8)], &[(0, 9)]);
        check(&[(0, 10), (3, 4)], &[(0, 10)]);
    }

    proptest! {
        /// Against the naive model: a set of single bytes.
        #[test]
        fn behaves_like_a_set_of_bytes(
            ranges in prop::collection::vec((0u64..64, 1u64..16), 0..24),
            (from, len) in (0u64..64, 1u64..32),
            others in prop::collection::vec((0u64..64, 1u64..8), 0..4),
        ) {
            let mut model = [false; 96];
            let mut set = ExtentSet::new();
            for (start, len) in ranges {
                set.insert(extent(start, start + len));
                model[start as usize..(start + len) as usize].fill(true);
            }
            for pair in set.as_slice().windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
            let held = |b: u64| model[b as usize];
            let probe = extent(from, from + len);
            prop_assert_eq!(set.contains(probe), (from..from + len).all(held));
            let (missing, within) = (set.missing_in(probe), set.within(probe));
            for byte in from..from + len {
                let one = extent(byte, byte + 1);
                prop_assert_eq!(missing.contains(one), !held(byte));
                prop_assert_eq!(within.contains(one), held(byte));
            }
            prop_assert_eq!(missing.bytes() + within.bytes(), len);
            prop_assert_eq!(set.bytes(), model.iter().filter(|b| **b).count() as u64);
            let mut without = set.clone();
            without.remove(probe);
            prop_assert!(without.within(probe).is_empty());
            prop_assert_eq!(without.bytes(), set.bytes() - within.bytes());
            let mut again = without;
            again.insert_all(&within);
            prop_assert_eq!(&again, &set);
            prop_assert_eq!(set.contiguous_from_zero(), model.iter().take_while(|b| **b).count() as u64);
            let mut other = ExtentSet::new();
            for (start, len) in others {
                other.insert(extent(start, start + len));
            }
            let both = other.as_slice().iter().any(|e| (e.start..e.end).any(held));
            prop_assert_eq!(set.overlaps(&other), both);
            let mut union = set.clone();
            union.insert_all(&other);
            prop_assert!(other.as_slice().iter().all(|e| union.contains(*e)));
        }
    }
}
