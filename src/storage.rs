//! Where uploads are kept: the bytes of files behind [`local::files::Files`], and each upload's journal, the only form in
//! which state is kept, behind [`local::journal_files::JournalFiles`].
//!
//! [`local`] keeps both as files in one directory; [`memory`] holds the test doubles, with faults and power cuts.
//! Takes no decisions (that is `core`).

pub mod local;
pub mod location;
pub mod memory;
pub mod promised;
pub mod rounds;
pub mod store;
pub mod syncs;
