//! Tells backends about uploads that are over: what is owed, until it was taken.
//!
//! Sees only what the engine says is owed; knows no HTTP server and no storage.

pub mod client;
mod schedule;
pub mod worker;
