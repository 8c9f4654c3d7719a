//! A real server on ports of the system's choosing, asked from outside: over plain sockets in raw
//! bytes, over its own TLS, and as a process that is killed.
//!
//! The first five modules are the stage: the server under test, a client, a backend that records
//! what it is called with, the program as a child process, and bytes to send. The others are tests,
//! one file for each theme. Nothing waits by sleeping: [`until`] polls a condition under a deadline.

// Tests may stop at a surprise; the lint's own exception does not reach functions beside tests.
#![allow(clippy::unwrap_used)]
// One binary: what is public here is public for the other files alone.
#![allow(unreachable_pub)]

mod backend;
mod bench;
mod child;
mod client;
mod content;
mod server;

mod activation;
mod bad_input;
mod cancel;
mod chunks;
mod configuration;
mod constraints;
mod cors;
mod crash;
mod create_url;
mod demo;
mod destinations;
mod doctor;
mod early_answers;
mod expiry;
mod handover;
mod heads;
mod hostile;
mod https;
mod journals;
mod leftovers;
mod listeners;
mod logs;
mod long_poll;
mod meaning;
mod mixed;
#[cfg(feature = "cluster")]
mod object_storage;
mod observed;
mod old_storage;
mod operator;
mod pages;
mod proxied;
mod reload;
mod resumable;
mod scripts;
mod security;
mod shutdown;
mod takeover;
mod terminal;
mod ticket_holder;
mod tickets;
mod tls;
mod tus;
mod unread_answers;
mod upload;
mod upload_trouble;
mod uploads;
mod vanished;
mod verify;
mod verify_storage;

use std::time::{Duration, Instant};

/// Longer than anything here should take on a loaded machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until `probe` finds something. Panics with `what` at the deadline.
pub async fn until<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "waited in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Fails instead of hanging.
pub async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(DEADLINE, work).await else {
        panic!("took too long: {what}")
    };
    done
}

/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(5);
