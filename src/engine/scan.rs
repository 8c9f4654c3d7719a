//! The startup scan: every upload is read once, and its pending delivery and its timer are set.
//!
//! It walks all journals in the background, a few at a time. What cannot be read just then (no
//! descriptor left, a right, a sector that does not answer) is kept and scanned again about once a
//! minute until it can be, and so is a directory that cannot be listed: a pending delivery is not lost
//! because the disk stumbled at the start. Nothing of what cannot be read is touched.

use super::Engine;
use super::error::{Fault, LookupError};
use super::registry::report_damage;
use super::transfer::Detached;
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use crate::storage::journal::{Inventory, LoadError, ResyncNeed};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;

/// What the startup scan has still to do.
#[derive(Debug, Default)]
pub(super) struct Scan {
    progress: Mutex<Progress>,
    /// Tells that there are journals without a count.
    uncounted: Notify,
}

#[derive(Debug, Default)]
struct Progress {
    listing: Listing,
    /// Found, and not to be read when they were looked at last.
    ids: BTreeSet<TicketId>,
    /// Scanned, and their journals have yet to say from when they count ([`ResyncNeed::Times`]).
    uncounted: Vec<TicketId>,
    /// When to go on; `None` before the first go.
    due: Option<Uptime>,
}

/// Whether it is known which uploads there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listing {
    #[default]
    Ahead,
    Failed,
    Done,
}

/// Why an upload could not be scanned.
enum ScanError {
    Unreadable(Fault),
    Unsynced(Fault),
}

impl ScanError {
    fn reading(error: LookupError) -> Self {
        match error {
            LookupError::Fault(fault) => Self::Unreadable(fault),
            LookupError::Busy | LookupError::Unknown => Self::busy(),
        }
    }

    fn busy() -> Self {
        Self::Unreadable(Fault("no file descriptor is left to read it, or the disk is full".into()))
    }
}

impl Scan {
    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().expect("no holder of this lock panics")
    }

    /// Has it scanned again later; returns whether it was not to be already.
    fn postpone(&self, id: TicketId) -> bool {
        self.lock().ids.insert(id)
    }

    /// What is due for it is set, by whomever, or there is no such upload.
    pub(super) fn scanned(&self, id: TicketId) {
        self.lock().ids.remove(&id);
    }

    /// Uploads that could not be read yet; one more while it is not known which there are.
    fn count(&self) -> u64 {
        let progress = self.lock();
        progress.ids.len() as u64 + u64::from(progress.listing == Listing::Failed)
    }
}

impl Engine {
    /// Uploads that this process has found and could not read yet; while the storage directory cannot be listed,
    /// one for all that may be in it.
    pub fn uploads_unread(&self) -> u64 {
        self.scan.count()
    }

    /// Waits until the startup scan has something to do. Dropping the future changes nothing.
    pub(super) async fn scan_due(&self) {
        loop {
            let due = {
                let progress = self.scan.lock();
                match progress.due {
                    Some(_) if progress.listing == Listing::Done && progress.ids.is_empty() => None,
                    due => Some(due.unwrap_or(Uptime(0))),
                }
            };
            let Some(due) = due else { return std::future::pending().await };
            let pause = due.since(self.uptime());
            if pause.is_zero() {
                return;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Scans all uploads, or those that could not be read before. Dropping the future leaves the rest for another time.
    pub(super) async fn startup_scan(self: &Arc<Self>) {
        let listing = self.scan.lock().listing;
        match listing {
            Listing::Done => {
                let ids: Vec<_> = self.scan.lock().ids.iter().copied().collect();
                self.scan_all(&ids).await;
            }
            Listing::Ahead | Listing::Failed => match self.journal.inventory().await {
                Ok(Inventory { uploads, orphans }) => {
                    self.scan.lock().listing = Listing::Done;
                    self.scan_all(&uploads).await;
                    for id in orphans {
                        // Nothing can ever ask for its bytes.
                        self.journal.discard_orphan(id).await;
                    }
                }
                Err(error) => {
                    self.scan.lock().listing = Listing::Failed;
                    tracing::error!(%error, "could not list the storage directory");
                }
            },
        }
        self.scan.uncounted.notify_one();
        self.scan.lock().due = Some(self.uptime().after(RESCAN_PAUSE));
    }

    /// After an upgrade: notes from when journals count that hold dates alone, so that the next start does not count anew.
    /// Each costs a sync, so it comes after the startup scan, and nothing that is due waits for it. What fails now is
    /// noted when it is loaded the next time. Dropping the future leaves the rest to that too.
    pub(super) async fn note_uncounted(self: &Arc<Self>) {
        loop {
            self.scan.uncounted.notified().await;
            let ids = std::mem::take(&mut self.scan.lock().uncounted);
            for some in ids.chunks(SCAN_CHUNK) {
                let (engine, ids) = (Arc::clone(self), some.to_vec());
                let note = async move {
                    for id in ids {
                        let _ = engine.make_log_durable(id).await;
                    }
                };
                let _ = self.detached(note).await;
                tokio::time::sleep(SCAN_PAUSE).await;
            }
        }
    }

    async fn scan_all(self: &Arc<Self>, ids: &[TicketId]) {
        for some in ids.chunks(SCAN_CHUNK) {
            let (engine, ids) = (Arc::clone(self), some.to_vec());
            let scanned = self.detached(async move {
                for id in ids {
                    engine.try_scan(id).await;
                }
            });
            if scanned.await.is_none() {
                let error = "it was lost";
                tracing::error!(%error, "startup scan: could not load some uploads; trying again later");
                some.iter().filter(|id| !self.timers.holds(**id)).for_each(|id| {
                    self.scan.postpone(*id);
                });
            }
            // A worker that asks meanwhile is served first.
            tokio::time::sleep(SCAN_PAUSE).await;
        }
    }

    /// Scans an upload, or keeps it for another time and says so once.
    async fn try_scan(self: &Arc<Self>, id: TicketId) {
        // A bug that one upload brings out leaves the others alone.
        let engine = Arc::clone(self);
        let outcome = Detached::new(async move { engine.scan_upload(id).await }).await;
        if let Ok(Ok(())) = outcome {
            return self.scan.scanned(id);
        }
        if !self.scan.postpone(id) {
            return;
        }
        let upload = id.short();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(ScanError::Unreadable(fault))) => {
                tracing::error!(%upload, error = %fault, "startup scan: could not read upload; its files stay untouched");
            }
            Ok(Err(ScanError::Unsynced(fault))) => {
                tracing::error!(%upload, error = %fault, "startup scan: could not sync journal; trying again later");
            }
            Err(_) => {
                tracing::error!(%upload, "startup scan: loading the upload panicked: this is a bug")
            }
        }
    }

    /// First sight of an upload after a start.
    async fn scan_upload(self: &Arc<Self>, id: TicketId) -> Result<(), ScanError> {
        if self.timers.holds(id) {
            return self.clean_up_asked_for(id).await;
        }
        let exclusive = self.loads.exclusive(id).await;
        if self.timers.holds(id) {
            drop(exclusive);
            return self.clean_up_asked_for(id).await;
        }
        let loaded = match self.journal.load(id).await {
            Ok(loaded) => loaded,
            Err(LoadError::Unknown) => {
                // An unborn journal: the ticket was never given out, or a power cut has forgotten it.
                if let Err(error) = self.store.discard(id).await {
                    tracing::error!(upload = %id.short(), %error, "could not delete orphan part");
                } else {
                    self.remove_journal(id, None).await;
                }
                return Ok(());
            }
            Err(error) => return Err(ScanError::reading(error.into())),
        };
        report_damage(id, &loaded);
        let upload = loaded.upload.clone();
        let in_memory =
            upload.awaits_publish() || upload.awaits_join() || loaded.log.has_unflushed();
        // What is acted on must be durable; where nothing is, that can wait until somebody asks.
        let leaves_bytes = self.leaves_bytes(id, &upload).await;
        let released = upload.joined_parts();
        let acts = in_memory || leaves_bytes || released.is_some();
        // A journal that is much too large is replaced now, so that the next load has less to read.
        if (acts || loaded.resync_need == ResyncNeed::Now)
            && let Err(error) = loaded.log.make_durable().await
        {
            return Err(match error.into() {
                LookupError::Fault(fault) => ScanError::Unsynced(fault),
                LookupError::Busy | LookupError::Unknown => ScanError::busy(),
            });
        }
        if in_memory {
            // In memory it gets to its place, or is synced.
            self.adopt(id, loaded);
        } else {
            let _ = self.register(id, &upload);
            if loaded.resync_need == ResyncNeed::Times {
                self.scan.lock().uncounted.push(id);
            }
        }
        if leaves_bytes {
            self.clean_up(id, &upload).await;
        }
        drop(exclusive);
        if let Some(parts) = released {
            self.release_parts(id, parts).await;
        }
        Ok(())
    }

    /// A request was faster than the startup scan; what its end released is still to go.
    async fn clean_up_asked_for(&self, id: TicketId) -> Result<(), ScanError> {
        let upload = match self.registry.loaded(id) {
            Some(handle) => handle.upload(),
            None => match self.journal.load(id).await {
                Ok(loaded) => Arc::new(loaded.upload),
                Err(LoadError::Unknown) => return Ok(()),
                Err(error) => return Err(ScanError::reading(error.into())),
            },
        };
        self.clean_up(id, &upload).await;
        Ok(())
    }
}

/// Journals read in one go.
const SCAN_CHUNK: usize = 64;
/// Pause between two goes, so that requests come first: 100,000 tickets take some seconds.
const SCAN_PAUSE: Duration = Duration::from_millis(1);
/// What could not be read is looked at again after this long: soon enough for a backend that waits, and rare
/// enough for journals that stay damaged for good.
const RESCAN_PAUSE: Duration = Duration::from_secs(60);
