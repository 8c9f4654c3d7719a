//! One upload in memory: its state, the claims on it, the changes waiting for it.
//!
//! The state is exactly what the journal says; only the commit queue replaces it. The lock is short and
//! never held across IO or an await.

use super::claims::Claims;
use super::digest::Prefix;
use super::error::Fault;
use super::queue::CommitQueue;
use super::stats::Gauge;
use super::verify::budget::Comparing;
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::Uptime;
use crate::core::upload::Upload;
use crate::storage::local::log::Log;
use crate::storage::store::Part;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// An upload that somebody has asked for.
pub(super) struct UploadHandle {
    pub(super) id: TicketId,
    state: Mutex<State>,
    /// The journal's end; locked by the thread that runs the commit queue, and by no other for long.
    pub(super) log: Mutex<Log>,
    /// Its bytes, while they arrive.
    pub(super) part: Arc<dyn Part>,
    /// Where the upload stands: what long polls wait for. Sent only where that changes.
    pub(super) stands: watch::Sender<StateName>,
    /// Its chunks in flight.
    pub(super) chunks: Gauge,
    /// Its chunks over known bytes that are let pass.
    pub(super) passing: Gauge,
    /// Its long polls.
    pub(super) polls: Gauge,
    /// Its small calls.
    pub(super) small_calls: Gauge,
    /// Bytes of large answers about it that peers have not taken.
    pub(super) answer_bytes: Gauge,
    /// What comparing may still read of it.
    pub(super) comparing: Mutex<Comparing>,
    /// Wakes claims that wait for an older one.
    pub(super) released: Notify,
    /// Held by each sync of the part whose outcome the journal is to note at an offset that was taken before.
    syncing: Arc<()>,
    /// Bytes of the journal, as far as it was written in this process or read.
    journal_bytes: AtomicU64,
    /// With how many it is looked at whether it is to be replaced by a shorter one.
    compact_at: AtomicU64,
}

/// What the lock guards.
pub(super) struct State {
    pub(super) upload: Arc<Upload>,
    pub(super) claims: Claims,
    pub(super) queue: CommitQueue,
    /// The disk failed this upload: nothing more is written until a restart.
    pub(super) fault: Option<Fault>,
    /// When somebody last asked; lets idle uploads leave memory.
    pub(super) touched: Uptime,
    /// Bytes only written since the last sync point.
    pub(super) unsynced_bytes: u64,
    /// When that was.
    pub(super) synced_at: Uptime,
    /// From when on a refused chunk may have the journal replaced.
    pub(super) compact_again: Uptime,
    /// The digest of the file's beginning, where it is asked for.
    pub(super) prefix: Prefix,
    /// Nothing is left of it; a holder of this handle learns that there is no such upload.
    pub(super) forgotten: bool,
}

impl UploadHandle {
    pub(super) fn new(upload: Upload, part: Arc<dyn Part>, log: Log, now: Uptime) -> Arc<Self> {
        let id = upload.ticket().id;
        let journal_bytes = AtomicU64::new(log.end());
        let stands = watch::Sender::new(upload.phase().state());
        Arc::new(Self {
            id,
            syncing: Arc::default(),
            journal_bytes,
            compact_at: AtomicU64::new(u64::MAX),
            state: Mutex::new(State {
                prefix: Prefix::of(&upload),
                upload: Arc::new(upload),
                claims: Claims::default(),
                queue: CommitQueue::default(),
                fault: None,
                touched: now,
                unsynced_bytes: 0,
                synced_at: now,
                compact_again: now,
                forgotten: false,
            }),
            log: Mutex::new(log),
            part,
            stands,
            chunks: Gauge::default(),
            passing: Gauge::default(),
            polls: Gauge::default(),
            small_calls: Gauge::default(),
            answer_bytes: Gauge::default(),
            comparing: Mutex::default(),
            released: Notify::new(),
        })
    }

    /// A sync of the part begins; while what this gives is kept, the journal is not replaced. Called with the log
    /// locked.
    pub(super) fn begin_sync(&self) -> Arc<()> {
        Arc::clone(&self.syncing)
    }

    /// Whether a sync is under way. Says so for sure while the log is locked.
    pub(super) fn is_syncing(&self) -> bool {
        Arc::strong_count(&self.syncing) > 1
    }

    /// The journal has so many bytes now.
    pub(super) fn journal_has(&self, bytes: u64) {
        self.journal_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of the journal.
    pub(super) fn journal_bytes(&self) -> u64 {
        self.journal_bytes.load(Ordering::Relaxed)
    }

    /// The journal is looked at again when it has so many bytes.
    pub(super) fn compact_at(&self, bytes: u64) {
        self.compact_at.store(bytes, Ordering::Relaxed);
    }

    /// Whether the journal has grown so far that it may have to be replaced, and can be.
    pub(super) fn may_compact(&self) -> bool {
        self.journal_bytes() > self.compact_at.load(Ordering::Relaxed) && !self.is_syncing()
    }

    /// The commit queue ended by a panic: nothing more is taken.
    pub(super) fn abandon(&self) {
        // A poisoned lock refuses everybody by itself.
        if let Ok(mut state) = self.state.lock() {
            state.fault.get_or_insert_with(|| Fault("a commit panicked".into()));
            state.queue.abandon();
        }
    }

    /// How the upload stands now.
    pub(super) fn upload(&self) -> Arc<Upload> {
        Arc::clone(&self.lock().upload)
    }

    /// The state, whole or not: for taking something out of it.
    pub(super) fn lock_poisoned(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}
