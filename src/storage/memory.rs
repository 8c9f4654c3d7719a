//! Test doubles of the storage traits: they hold all in memory, and take faults, full disks and power cuts.

pub mod bucket;
pub mod event_log;
pub mod file;
pub mod journals;
pub mod logs;
pub mod shared_log;
pub mod store;
