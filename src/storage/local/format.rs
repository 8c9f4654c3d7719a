//! What a journal's bytes mean: its records, how they are read, and the upload that is the sum of them.

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod record;
pub mod records;
pub mod replay;
pub mod tail;
mod unsynced;
pub mod uptime;
