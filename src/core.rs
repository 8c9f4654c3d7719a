//! Pure rules of an upload: what may happen to it, and what it then is.
//!
//! Nothing here is async, does IO, reads a clock, draws random numbers or knows HTTP or serde:
//! time and identity come in as arguments, so every rule can be tried in a table.

pub mod admit;
pub mod callback;
pub mod coding;
pub mod command;
pub mod dialect;
pub mod digest;
pub mod escape;
pub mod event;
pub mod extent;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
pub mod grid;
pub mod host;
pub mod id;
pub mod limits;
pub mod name;
pub mod object_command;
pub mod object_upload;
pub mod piece_event;
pub mod pieces;
pub mod refusal;
pub mod retry;
pub mod signing;
pub mod state;
pub mod time;
pub mod units;
pub mod upload;
