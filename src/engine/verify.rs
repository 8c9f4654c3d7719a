//! Whether acknowledged bytes are the ones that somebody has: their digests, compared.
//!
//! A client that goes on with an upload after a restart asks this before it sends more, so that two
//! versions of a file are never mixed.

pub(super) mod budget;

use super::Engine;
use super::error::{Fault, LookupError};
use super::handle::UploadHandle;
use super::stats::Gauge;
use super::status::Status;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::storage::store::StoreError;
use budget::Comparing;
use sha2::Digest as _;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A piece of a file and the SHA-256 that somebody has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies.
    pub extent: Extent,
    /// Its digest.
    pub sha256: [u8; 32],
}

/// What the server's bytes say to a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They have the same digest.
    Same,
    /// They have another one.
    Different,
    /// Not all of them are acknowledged, or they cannot be read yet, or are no part any more.
    NotHeld,
}

/// Pieces were not compared.
#[derive(Clone, Debug)]
pub enum VerifyError {
    /// No such upload, or it cannot be read.
    Lookup(LookupError),
    /// Another comparison of this upload is under way.
    Running,
    /// As many uploads are compared as may be.
    Busy,
    /// As much of this upload was read for comparisons as may be for now.
    Spent {
        /// When there is enough again.
        after: Duration,
    },
}

impl From<LookupError> for VerifyError {
    fn from(error: LookupError) -> Self {
        Self::Lookup(error)
    }
}

impl Engine {
    /// Compares pieces with the acknowledged bytes of `id`, while they are a part; in the order of
    /// `pieces`. With it comes how the upload stands.
    ///
    /// One at a time for an upload, `READERS` in all, and of each upload no more bytes than
    /// `Comparing` lets through.
    ///
    /// Errors: a part that cannot be read is a fault, which stops nothing else. Cancel: nothing
    /// changes, and reading ends with the block that is being read.
    pub async fn verify(
        self: &Arc<Self>,
        id: TicketId,
        pieces: Vec<Piece>,
    ) -> Result<(Status, Vec<Verdict>), VerifyError> {
        let handle = self.find(id).await?;
        let _alone = Alone::new(&handle).ok_or(VerifyError::Running)?;
        let _turn = self.readers.turn().await.ok_or(VerifyError::Busy)?;
        handle.spend(&pieces).map_err(|after| VerifyError::Spent { after })?;
        let wanted = Wanted::default();
        let compared = self.compare(&handle, &pieces, &wanted.0).await;
        let verdicts =
            compared.map_err(|error| LookupError::Fault(Fault::new("reading the part", &error)))?;
        Ok((self.status_of(&handle), verdicts))
    }

    async fn compare(
        &self,
        handle: &UploadHandle,
        pieces: &[Piece],
        wanted: &Arc<AtomicBool>,
    ) -> Result<Vec<Verdict>, StoreError> {
        // Acknowledged bytes never change, so nothing is locked while they are read. A part that goes
        // away meanwhile was opened before.
        let received = handle.lock().upload.received().clone();
        let (held, extents): (Vec<usize>, Vec<Extent>) = (pieces.iter().map(|piece| piece.extent))
            .enumerate()
            .filter(|(_, extent)| received.contains(*extent))
            .unzip();
        let digests = Arc::new(Mutex::new(vec![(sha2::Sha256::new(), 0); extents.len()]));
        let (sunk, wanted) = (Arc::clone(&digests), Arc::clone(wanted));
        let sink = move |number: usize, bytes: &[u8]| {
            let (digest, read) = &mut sunk.lock().unwrap_or_else(PoisonError::into_inner)[number];
            digest.update(bytes);
            *read += bytes.len() as u64;
            // As long as somebody wants to know.
            if wanted.load(Ordering::Relaxed) {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        };
        let mut verdicts = vec![Verdict::NotHeld; pieces.len()];
        if !handle.part.read(extents, Box::new(sink)).await? {
            return Ok(verdicts);
        }
        let digests = std::mem::take(&mut *digests.lock().unwrap_or_else(PoisonError::into_inner));
        // Cancelled while it was read: what was read may have been given back.
        let still = handle.lock().upload.received().clone();
        for (number, (digest, read)) in held.into_iter().zip(digests) {
            let extent = pieces[number].extent;
            if read == extent.len() && still.contains(extent) {
                let same = <[u8; 32]>::from(digest.finalize()) == pieces[number].sha256;
                verdicts[number] = if same { Verdict::Same } else { Verdict::Different };
            }
        }
        Ok(verdicts)
    }
}

/// Says that somebody waits for the verdicts, until it is dropped.
struct Wanted(Arc<AtomicBool>);

impl Default for Wanted {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The one comparison of an upload, until it is dropped.
struct Alone<'a>(&'a UploadHandle);

impl<'a> Alone<'a> {
    fn new(handle: &'a UploadHandle) -> Option<Self> {
        let mut comparing = handle.comparing();
        let before = std::mem::replace(&mut comparing.running, true);
        (!before).then(|| Self(handle))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.comparing().running = false;
    }
}

impl UploadHandle {
    fn comparing(&self) -> MutexGuard<'_, Comparing> {
        self.comparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a comparison of it is under way.
    #[cfg(test)]
    pub(super) fn is_compared(&self) -> bool {
        self.comparing().running
    }

    /// Counts the bytes of pieces that will be read.
    fn spend(&self, pieces: &[Piece]) -> Result<(), Duration> {
        let (bytes, received) = {
            let state = self.lock();
            let received = state.upload.received();
            let held = pieces.iter().filter(|piece| received.contains(piece.extent));
            (held.map(|piece| piece.extent.len()).sum(), received.bytes())
        };
        self.comparing().spend(bytes, received, Instant::now())
    }
}

/// Turns at reading parts.
#[derive(Debug)]
pub(super) struct Readers {
    turns: Semaphore,
    waiting: Gauge,
}

impl Default for Readers {
    fn default() -> Self {
        Self { turns: Semaphore::new(READERS), waiting: Gauge::default() }
    }
}

impl Readers {
    /// Every turn there is.
    #[cfg(test)]
    pub(super) async fn all(&self) -> SemaphorePermit<'_> {
        let all = u32::try_from(READERS).unwrap();
        self.turns.acquire_many(all).await.unwrap()
    }

    /// A turn, after a short wait at most. `None`: too many wait, or the wait was too long.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let _waiting = self.waiting.up_below(WAITING)?;
        tokio::time::timeout(WAIT, self.turns.acquire()).await.ok()?.ok()
    }
}

/// Uploads whose pieces are read at once.
pub(super) const READERS: usize = 4;
/// Those that read or wait for a turn: with 16 MiB each, what four readers do in a second or two.
const WAITING: u64 = 64;
/// A turn comes within this time, or the caller comes again.
const WAIT: Duration = Duration::from_secs(5);
