//! What a journal's bytes mean: its records, how they are read, and the upload that is the sum of them.

mod fields;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
#[cfg(any(test, feature = "cluster"))]
pub mod object_event;
pub mod record;
pub mod records;
pub mod replay;
pub mod tail;
mod unsynced;
pub mod uptime;
