//! What operators look at: lists of uploads, read without taking them into memory; and whether the disk
//! is well.

use super::Engine;
use super::error::{Fault, LookupError};
use super::single_flight::SingleFlight;
use super::status::{StateName, Status};
use crate::core::id::TicketId;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One page of uploads, ordered by id.
#[derive(Clone, Debug)]
pub struct Page {
    /// The uploads.
    pub uploads: Vec<Status>,
    /// Where the next page begins, if there is one.
    pub next: Option<TicketId>,
}

impl Engine {
    /// Uploads after `after`, at most `limit`, only those in `state` if given. Those whose journal
    /// cannot be read are left out (the log names them). Dropping the future changes nothing.
    pub async fn list(
        self: &Arc<Self>,
        state: Option<StateName>,
        after: Option<TicketId>,
        limit: usize,
    ) -> Result<Page, LookupError> {
        let turn = self.loads.list().await?;
        let engine = Arc::clone(self);
        let work = self.blocking.spawn(move || {
            // Kept to the end, also where the caller is gone.
            let _turn = turn;
            let mut ids = engine.journals.list()?;
            ids.retain(|id| after.is_none_or(|after| *id > after));
            ids.sort_unstable();
            Ok(engine.page(&ids, state, limit))
        });
        let fault = |error: &dyn std::fmt::Display| {
            LookupError::Fault(Fault::new("listing uploads", error))
        };
        match work.await {
            Ok(Ok(page)) => Ok(page),
            Ok(Err(error)) => {
                let error: std::io::Error = error;
                Err(fault(&error))
            }
            Err(error) => Err(fault(&error)),
        }
    }

    fn page(&self, ids: &[TicketId], state: Option<StateName>, limit: usize) -> Page {
        let mut uploads = Vec::new();
        for id in ids {
            let status = match self.in_memory(*id) {
                Some(status) => status,
                None => match self.load(*id) {
                    Ok(loaded) => self.describe(&loaded.replayed.upload),
                    Err(LookupError::Unknown) => continue,
                    Err(LookupError::Busy) => {
                        let fault = "no file descriptor is left";
                        tracing::warn!(upload = %id.short(), fault, "could not read upload");
                        continue;
                    }
                    Err(LookupError::Fault(fault)) => {
                        tracing::warn!(upload = %id.short(), %fault, "could not read upload");
                        continue;
                    }
                },
            };
            if state.is_some_and(|state| state != status.state) {
                continue;
            }
            if uploads.len() == limit {
                return Page { next: uploads.last().map(|last: &Status| last.id), uploads };
            }
            uploads.push(status);
        }
        Page { uploads, next: None }
    }
}

/// What is known of the disk by looking at it for those who look after the server: one look of a kind
/// at a time.
#[derive(Default)]
pub(super) struct HealthProbes {
    storage: SingleFlight<Result<(), String>>,
    free: SingleFlight<Option<u64>>,
    thread: SingleFlight<()>,
    /// When a probe went well for the last time.
    probed: Mutex<Option<Instant>>,
}

impl HealthProbes {
    fn probed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.probed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Whether new uploads can be taken: not draining, no failed disk, the storage in its place,
    /// space above the reserve, a file written there and synced.
    ///
    /// Takes as long as the disk takes: who asks has a deadline, and however many ask, one thread
    /// waits. Errors: why not, for people.
    pub async fn readiness(self: &Arc<Self>) -> Result<(), String> {
        if self.draining.is_cancelled() {
            return Err("the server is stopping".into());
        }
        if self.stats.faults.get() > 0 {
            return Err("the disk failed an upload; see the log".into());
        }
        let engine = Arc::clone(self);
        let probe = self.probes.storage.ask(|| {
            let blocking = engine.blocking.clone();
            blocking.spawn(move || engine.probe_storage())
        });
        probe.await.unwrap_or_else(|| Err("checking the storage directory panicked".into()))
    }

    fn probe_storage(&self) -> Result<(), String> {
        let unusable = |error| format!("the storage directory cannot be used: {error}");
        self.store.writable().map_err(unusable)?;
        if self.space.reserve(&*self.store, 0).map_err(unusable)?.is_none() {
            return Err("the disk is full".into());
        }
        // Of many that ask, most need no sync of their own.
        let fresh = |at: &Instant| at.elapsed() < PROBE_LASTS;
        if self.probes.probed().as_ref().is_some_and(fresh) {
            return Ok(());
        }
        let probed = self.store.probe();
        *self.probes.probed() = probed.is_ok().then(Instant::now);
        probed.map_err(|error| format!("no file can be written to the storage directory: {error}"))
    }

    /// Waits until a blocking thread of this runtime has had its turn, as all work with the disk has
    /// to.
    pub async fn disk_thread(&self) {
        self.probes.thread.ask(|| self.blocking.spawn(|| ())).await;
    }

    /// Bytes free for this server; `None` where the disk does not say. Takes as long as the disk
    /// takes.
    pub async fn free_bytes(self: &Arc<Self>) -> Option<u64> {
        let engine = Arc::clone(self);
        let probe = self.probes.free.ask(|| {
            let blocking = engine.blocking.clone();
            blocking.spawn(move || engine.store.free_bytes().ok().flatten())
        });
        probe.await.flatten()
    }

    /// Bytes promised to running chunks that the disk does not count yet.
    pub fn reserved_bytes(&self) -> u64 {
        self.space.reserved_bytes()
    }

    /// Bytes of batches that wait for a slow disk, and how many may.
    pub fn waiting_bytes(&self) -> (u64, u64) {
        self.slow_disk.waiting_bytes()
    }

    /// Uploads that owe their backend a call, and for how long the oldest has owed it.
    pub fn handovers_owed(&self) -> (usize, Duration) {
        let (count, since) = self.outbox.owed();
        (count, since.map_or(Duration::ZERO, |since| self.uptime().since(since)))
    }
}

/// A probe of the disk counts for so long: a balancer that asks often costs no sync each time.
const PROBE_LASTS: Duration = Duration::from_secs(1);
