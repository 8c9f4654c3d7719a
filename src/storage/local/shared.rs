//! What all uploads of a storage directory share: its files, where work that waits for them runs, their space, and what
//! is counted.

use super::ahead::AheadLimits;
use super::blocking::Blocking;
use super::durable_journals::DurableJournals;
use super::files::Files;
use super::journal_files::JournalFiles;
use super::options::LocalOptions;
use super::slow_disk::SlowDisk;
use super::space::Space;
use super::uptime::Count;
use crate::storage::catalog::Catalog;
use crate::storage::promised::Promised;
use crate::storage::store::StoreError;
use crate::storage::syncs::Counted;
use std::sync::Arc;

pub(super) struct Shared {
    pub(super) files: Arc<dyn Files>,
    pub(super) blocking: Blocking,
    /// Set while the disk makes who writes wait: the next writes go to a blocking thread.
    pub(super) slow_disk: Arc<SlowDisk>,
    pub(super) space: Space,
    pub(super) journals: Arc<dyn JournalFiles>,
    pub(super) count: Count,
    pub(super) durable_journals: DurableJournals,
    pub(super) catalog: Catalog,
    pub(super) counted: Counted,
    /// How far acknowledgements may be ahead of the disk.
    pub(super) ahead: Arc<AheadLimits>,
    pub(super) tuning: LocalOptions,
}

impl Shared {
    /// Does what waits for the disk where that is allowed; a panic is a fault.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Promised<'static, Result<T, StoreError>> {
        let fault = |panicked: tokio::task::JoinError| StoreError::Fault(panicked.into());
        self.blocking.run(work).map(move |done| done.unwrap_or_else(|lost| Err(fault(lost))))
    }
}
