//! Calls backends about uploads that are complete or cancelled, until they have taken them.
//!
//! When a call is made again is a rule of `core/retry.rs`; `engine/delivery.rs` records the result and queues the next call.
//!
//! Makes the deliveries that the engine says are due; knows no HTTP server and no storage.

pub mod body;
pub mod client;
mod connector;
mod fair_queue;
pub mod signature;
pub mod worker;
