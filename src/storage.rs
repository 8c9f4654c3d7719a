//! Where uploads are kept: their bytes behind [`store::Store`], and the log of each, the only form in which state is
//! kept, behind [`journal::Journal`].
//!
//! [`local`] keeps both as files in one directory; `memory` (feature `testing`) holds the test doubles, with faults and power cuts.
//! Several servers share [`event_log`] and [`objects`] instead.
//! Takes no decisions (that is `core`).

pub mod agenda;
pub mod catalog;
pub mod clock;
pub mod event_log;
pub mod journal;
pub mod local;
pub mod location;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod objects;
#[cfg(feature = "cluster")]
pub mod postgres;
pub mod promised;
pub mod rounds;
#[cfg(feature = "cluster")]
pub mod s3;
pub mod servers;
pub mod store;
pub mod syncs;
