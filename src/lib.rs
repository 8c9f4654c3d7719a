//! Incoming!! takes large file uploads off a web app's back.
//!
//! # Floors
//!
//! Imports point down only: `core` < `store`, `journal` < `engine` < `wire`, `net`, `handover` <
//! `app`, `cli`, `config`. `tests/floors.rs` is the judge.

pub mod app;
pub mod cli;
pub mod config;
pub mod core;
pub mod engine;
pub mod handover;
pub mod journal;
pub mod metrics;
pub mod net;
pub mod store;
pub mod telemetry;
pub mod wire;
