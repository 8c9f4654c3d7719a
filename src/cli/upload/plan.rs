//! What is sent next.

use crate::core::extent::{Extent, ExtentSet};

/// The next chunk: the first bytes that are neither known nor under way, at most so many.
pub(super) fn next(taken: &ExtentSet, length: u64, most: u64) -> Option<Extent> {
    let missing = taken.missing_in(Extent::new(0, length)?);
    let first = *missing.as_slice().first()?;
    Extent::new(first.start(), first.end().min(first.start().saturating_add(most)))
}

/// Bytes of an extent that are not known.
pub(super) fn without(extent: Extent, known: &ExtentSet) -> u64 {
    known.missing_in(extent).bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u64, u64)]) -> ExtentSet {
        let mut set = ExtentSet::new();
        for &(start, end) in ranges {
            set.insert(Extent::new(start, end).unwrap());
        }
        set
    }

    #[test]
    fn what_is_sent_next() {
        let check = |taken: &[(u64, u64)], expected: Option<(u64, u64)>| {
            let next = next(&set(taken), 100, 10);
            let next = next.map(|extent| (extent.start(), extent.end()));
            assert_eq!(next, expected, "{taken:?}");
        };
        check(&[], Some((0, 10)));
        check(&[(0, 10)], Some((10, 20)));
        check(&[(0, 10), (20, 30)], Some((10, 20)));
        check(&[(3, 50)], Some((0, 3)));
        check(&[(0, 95)], Some((95, 100)));
        check(&[(0, 100)], None);
        assert_eq!(next(&set(&[]), 0, 10), None);
        assert_eq!(next(&set(&[]), u64::MAX, u64::MAX).unwrap().len(), u64::MAX);
        assert_eq!(without(Extent::new(0, 10).unwrap(), &set(&[(2, 5)])), 7);
    }
}
