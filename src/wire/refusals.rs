//! How often each code was answered: what a metric shows.

use super::reply::Code;
use std::sync::atomic::{AtomicU64, Ordering};

/// Answers that said no, by code. Those that nobody waited for do not count.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; Code::ALL.len()]);

impl Refusals {
    /// One more.
    pub fn count(&self, code: Code) {
        self.0[code as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each was answered.
    pub fn counts(&self) -> impl Iterator<Item = (Code, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        Code::ALL.into_iter().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_place_of_its_own() {
        let refusals = Refusals::default();
        for (times, code) in Code::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| refusals.count(code));
        }
        assert!(refusals.counts().enumerate().all(|(times, (_, count))| times as u64 == count));
    }
}
