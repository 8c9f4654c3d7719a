//! Storage in one directory of a local file system: parts, published files and journals as files, and what is about
//! such a directory: its lock and marker, private paths in it, the format of a journal, which thread waits for the disk.

mod ahead;
pub mod blocking;
mod compaction;
pub mod directory;
mod durable_journals;
#[cfg(feature = "cluster")]
pub mod event_log;
pub mod files;
pub mod format;
pub mod integrity;
mod journal;
pub mod journal_files;
pub mod journals;
mod load;
pub mod lock;
pub mod log;
#[cfg(feature = "cluster")]
pub mod log_name;
pub mod marker;
pub mod options;
mod part;
pub mod private_dir;
mod resync;
mod shared;
pub mod slow_disk;
pub mod space;
pub mod storage;
pub mod store;
mod upload_log;
mod uptime;
