//! What lies between a socket and hyper: one wrapper below TLS and one above it.

mod above;
mod below;

pub(super) use above::AboveTls;
pub(super) use below::{BelowTls, READ_AHEAD};
