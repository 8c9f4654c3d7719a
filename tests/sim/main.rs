//! The engine in a simulated world: seeded schedules of clients that race for the same bytes, of
//! cancels, handovers and expiry, over disks that fail and machines that crash, beside a model that
//! says what is allowed (`model.rs`). A seed is a schedule, to the last step.
//!
//!     cargo test --test sim                                  a thousand schedules
//!     SIM_SCHEDULES=20000 cargo test --release --test sim    as many as you like
//!     SIM_FROM=5000 ...                                      from this seed on
//!     SIM_SYNC_FAULTS=5000 ...                               more of those whose background syncs fail
//!     SIM_SEED=17 cargo test --test sim -- --nocapture       one of them, told step by step

#![allow(clippy::unwrap_used)]
#![allow(clippy::cast_possible_truncation)] // Offsets and numbers of a schedule are small.

mod backend;
mod body;
mod clients;
mod dice;
mod join;
mod model;
mod plan;
mod schedule;
mod storm;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use world::MachineClock;

/// Schedules of a plain test run: some ten seconds unoptimised.
const SCHEDULES: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn no_schedule_breaks_a_promise() {
    if let Some(seed) = number("SIM_SEED") {
        let outcome = schedule::run(seed, true, MachineClock::Jumps);
        println!("seed {seed}: {} events, trace {:016x}", outcome.trace.1, outcome.trace.0);
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let from = number("SIM_FROM").unwrap_or(0);
    let count = number("SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let next = AtomicU64::new(from);
    let totals: [AtomicU64; 5] = Default::default();
    let broken = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || broken.lock().unwrap().len() >= 5 {
                        return;
                    }
                    let outcome = schedule::run(seed, false, MachineClock::Jumps);
                    let counts = [
                        outcome.trace.1,
                        outcome.puts,
                        outcome.lives,
                        outcome.power_cuts,
                        outcome.finished,
                    ];
                    for (total, count) in totals.iter().zip(counts) {
                        total.fetch_add(count, Ordering::Relaxed);
                    }
                    if let Some(what) = outcome.violation {
                        broken.lock().unwrap().push(format!("seed {seed}: {what}"));
                    }
                }
            });
        }
    });
    let [events, puts, lives, power_cuts, finished] = totals.map(AtomicU64::into_inner);
    println!(
        "{count} schedules from seed {from}: {events} events, {puts} PUTs, {lives} lives of the \
         server, {power_cuts} power cuts, {finished} uploads finished"
    );
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "replay with SIM_SEED=...:\n{}", broken.join("\n"));
}

/// A file's digest was of bytes whose count had failed and which others then sent differently.
#[test]
fn a_digest_is_of_what_was_acknowledged() {
    for seed in [103_315, 112_607, 119_194, 119_718] {
        assert_eq!(schedule::run(seed, false, MachineClock::Jumps).violation, None, "seed {seed}");
    }
}

/// A body of unknown length that went past the length it told with itself was acknowledged, and cut.
#[test]
fn an_append_past_its_own_length_is_refused() {
    assert_eq!(schedule::run(13_941, false, MachineClock::Jumps).violation, None);
}

/// A publish that waited for a sync point whose sync failed synced again, heard that all was well, and put a file in its
/// place whose bytes were gone.
#[test]
fn nothing_is_published_over_a_failed_background_sync() {
    let count = number("SIM_SYNC_FAULTS").unwrap_or(160);
    for seed in (0..count).map(|n| 7 + 22 * n) {
        assert_eq!(schedule::run(seed, false, MachineClock::Jumps).violation, None, "seed {seed}");
    }
}

#[test]
fn a_seed_is_a_schedule() {
    for seed in 1_000_000..1_000_025 {
        let (once, again) = (
            schedule::run(seed, false, MachineClock::Jumps),
            schedule::run(seed, false, MachineClock::Jumps),
        );
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!(once.violation, again.violation, "seed {seed}");
    }
}

/// Issue 13: whatever the clock of the machine is set to, at any moment, each step stays what it was.
#[test]
fn issue_13_a_clock_that_is_set_changes_nothing() {
    for seed in 2_000_000..2_000_100 {
        let steady = schedule::run(seed, false, MachineClock::Steady);
        let jumps = schedule::run(seed, false, MachineClock::Jumps);
        assert_eq!(steady.trace, jumps.trace, "seed {seed}");
        assert_eq!(steady.violation, jumps.violation, "seed {seed}");
    }
}
