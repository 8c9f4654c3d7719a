//! Where uploads are kept: the bytes of files behind [`store::Store`], and each upload's journal, the only form in
//! which state is kept, behind [`journal::JournalStore`].
//!
//! [`local`] keeps both as files in one directory; [`memory`] holds the test doubles, with faults and power cuts.
//! Takes no decisions (that is `core`).

pub mod journal;
pub mod local;
pub mod location;
pub mod memory;
pub mod store;
