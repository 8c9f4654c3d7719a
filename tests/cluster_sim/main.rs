//! Several servers over one log and one bucket: seeded schedules of clients that race for the same bytes, of requests that
//! are lost, answered late or acted on when nobody waits for them any more, of servers that die and stand still, beside a
//! model that says what is allowed (`model.rs`). A seed is a schedule, to the last step.
//!
//!     cargo test --test cluster_sim                                         two thousand schedules, and all faults
//!     CLUSTER_SIM_SCHEDULES=100000 cargo test --test cluster_sim no_schedule -- --nocapture
//!     CLUSTER_SIM_FROM=5000 ...                                             from this seed on
//!     CLUSTER_SIM_SEED=17 cargo test --test cluster_sim no_schedule -- --nocapture    one, told step by step
//!     CLUSTER_SIM_FAULT=PartSentAgain ...                                   with servers that have this fault

#![allow(clippy::unwrap_used)]

mod backing;
mod calls;
mod clients;
#[path = "../sim/dice.rs"]
mod dice;
mod faults;
mod model;
mod mutation;
mod network;
mod plan;
mod schedule;
mod seen;
mod servers;
mod world;

use mutation::Mutation;
use schedule::Outcome;
use seen::{SEEN, Seen};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Schedules of a plain test run.
const SCHEDULES: u64 = 2000;
/// Each fault has to be found within so many.
const SCHEDULES_A_FAULT: u64 = 3000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn fault() -> Option<Mutation> {
    let name = std::env::var("CLUSTER_SIM_FAULT").ok()?;
    let found = mutation::ALL.into_iter().find(|it| format!("{it:?}") == name);
    Some(found.expect("a fault of mutation.rs"))
}

/// Runs schedules on all processors until `enough` says so.
fn run_all(
    from: u64,
    count: u64,
    fault: Option<Mutation>,
    each: impl Fn(u64, Outcome) -> bool + Sync,
) {
    let next = AtomicU64::new(from);
    let enough = std::sync::atomic::AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || enough.load(Ordering::Relaxed) {
                        return;
                    }
                    if each(seed, schedule::run(seed, false, fault)) {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

#[test]
fn no_schedule_breaks_a_promise() {
    if let Some(seed) = number("CLUSTER_SIM_SEED") {
        let outcome = schedule::run(seed, true, fault());
        println!("seed {seed}: {} events, trace {:016x}", outcome.trace.1, outcome.trace.0);
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let from = number("CLUSTER_SIM_FROM").unwrap_or(0);
    let count = number("CLUSTER_SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let totals: [AtomicU64; 5] = Default::default();
    let broken = Mutex::new(Vec::new());
    let seen: Mutex<BTreeMap<Seen, u64>> = Mutex::default();
    let began = Instant::now();
    run_all(from, count, fault(), |seed, outcome| {
        let counts =
            [outcome.trace.1, outcome.puts, outcome.kills, outcome.ghosts, outcome.finished];
        for (total, count) in totals.iter().zip(counts) {
            total.fetch_add(count, Ordering::Relaxed);
        }
        for (what, count) in outcome.seen {
            *seen.lock().unwrap().entry(what).or_default() += count;
        }
        let mut broken = broken.lock().unwrap();
        broken.extend(outcome.violation.map(|what| format!("seed {seed}: {what}")));
        broken.len() >= 8
    });
    let [events, puts, kills, ghosts, finished] = totals.map(AtomicU64::into_inner);
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{count} schedules from seed {from}: {events} events, {puts} PUTs, {kills} servers killed, {ghosts} ghosts, \
         {finished} uploads finished; {:.0} schedules a second",
        count as f64 / seconds
    );
    let seen = seen.into_inner().unwrap();
    println!("{seen:?}");
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "replay with CLUSTER_SIM_SEED=...:\n{}", broken.join("\n"));
    let unseen: Vec<_> = SEEN.into_iter().filter(|what| !seen.contains_key(what)).collect();
    assert!(unseen.is_empty() || count < SCHEDULES, "never happened: {unseen:?}");
}

/// A simulation that finds nothing proves nothing: each of these servers breaks a promise, and is found out.
#[test]
fn every_deliberate_fault_is_found() {
    let mut missed = Vec::new();
    for fault in mutation::ALL {
        let found = Mutex::new(None);
        let runs = AtomicU64::new(0);
        run_all(0, SCHEDULES_A_FAULT, Some(fault), |seed, outcome| {
            runs.fetch_add(1, Ordering::Relaxed);
            let is_found = outcome.violation.is_some();
            if let Some(what) = outcome.violation {
                found.lock().unwrap().get_or_insert((seed, what));
            }
            is_found
        });
        match found.into_inner().unwrap() {
            Some((seed, what)) => {
                let what: String = what.chars().take(90).collect();
                println!("{fault:?}: found after {runs:?} schedules (seed {seed}: {what})");
            }
            None => missed.push(fault),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

#[test]
fn a_seed_is_a_schedule() {
    for seed in 1_000_000..1_000_025 {
        let (once, again) = (schedule::run(seed, false, None), schedule::run(seed, false, None));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!(once.violation, again.violation, "seed {seed}");
    }
}
