//! From a complete upload to its file: missing parts are composed, the generation is completed, or a small file is one
//! object. Also the end of generations that are too old.
//!
//! Several servers may do this for one upload at once; the hold only makes that rare.

use super::at_once::at_once;
use super::generation::PartSlot;
use super::{Backing, ObjectChangeError, ObjectEngine, View};
use crate::core::extent::Extent;
use crate::core::grid::Cell;
use crate::core::id::TicketId;
use crate::core::limits::is_scattered;
use crate::core::object_command::ObjectCommand;
use crate::core::piece_event::{ClaimId, Missing, Purpose};
use crate::core::pieces::{Generation, ObjectRange};
use crate::storage::objects::{Key, ObjectAnswer, ObjectError, ObjectRequest, Payload};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Whether a procedure goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Something was changed: look again.
    Again,
    /// Nothing is left to be done, or not now.
    Rest,
}

/// What became of a copy of a cell.
enum Composed {
    /// It is a part.
    Part,
    /// No request may send it any more.
    NoNumber,
    /// The upload is not what it was, or the number was used in vain.
    LookAgain,
    /// It did not begin: another cell's copy has shown that the upload is to be looked at again.
    NotBegun,
}

impl<B: Backing> ObjectEngine<B> {
    /// Does what is due for the pieces of an upload, until nothing is, or another server holds it: publishes it if it is
    /// complete, and seals a generation that is too old.
    ///
    /// Cancel: every step holds by itself.
    pub async fn advance(&self, id: TicketId) -> Result<(), ObjectChangeError> {
        if !self.is_held(id).await {
            return Ok(());
        }
        let is_lost = AtomicBool::new(false);
        tokio::select! {
            biased;
            done = self.advance_held(id, &is_lost) => done,
            never = self.keep(id, &is_lost) => never,
        }
    }

    async fn advance_held(
        &self,
        id: TicketId,
        is_lost: &AtomicBool,
    ) -> Result<(), ObjectChangeError> {
        for _ in 0..STEPS {
            let view = self.view(id).await?;
            if self.step(id, &view, is_lost).await? == Next::Rest {
                break;
            }
        }
        Ok(())
    }

    async fn step(
        &self,
        id: TicketId,
        view: &View,
        is_lost: &AtomicBool,
    ) -> Result<Next, ObjectChangeError> {
        if is_lost.load(Ordering::Relaxed) {
            return Ok(Next::Rest);
        }
        let upload = &view.upload;
        if !upload.takes_bytes() {
            return Ok(Next::Rest);
        }
        let current = upload.pieces().current();
        if let Some(current) = current {
            if let Some(layout) = current.last_layout() {
                return self.complete(id, view, current, layout).await;
            }
            if !upload.awaits_publish() && self.is_aged(view) {
                return self.begin_sealing(id, view, current).await;
            }
        }
        let Some(length) = upload.upload().length().filter(|_| upload.awaits_publish()) else {
            return Ok(Next::Rest);
        };
        let limits = self.backing.limits();
        let grid = upload.grid(None, &limits).map_err(ObjectChangeError::Refused)?;
        let whole = Extent::new(0, length);
        let readable = whole.map_or(Some(Vec::new()), |whole| upload.pieces().readable(whole));
        if let Some(ranges) = readable.filter(|_| length <= grid.cell_bytes()) {
            return self.publish_small(id, &ranges, length).await;
        }
        let Some(current) = current else {
            self.open_generation(id, view, None).await?;
            return Ok(Next::Again);
        };
        let has_ended = AtomicBool::new(false);
        let compose = |cell| {
            let has_ended = &has_ended;
            async move {
                // Copies take long; another server may have come to think that this one is gone.
                if is_lost.load(Ordering::Relaxed) || has_ended.load(Ordering::Relaxed) {
                    return Ok(Composed::NotBegun);
                }
                let composed = self.compose(id, view, current, cell).await;
                if !matches!(composed, Ok(Composed::Part)) {
                    has_ended.store(true, Ordering::Relaxed);
                }
                composed
            }
        };
        let cells = upload.pieces().without_part(length);
        for composed in at_once(COPIES, cells.into_iter().map(compose)).await {
            match composed? {
                Composed::Part | Composed::NotBegun => {}
                Composed::NoNumber => break,
                Composed::LookAgain => return Ok(Next::Again),
            }
        }
        if is_lost.load(Ordering::Relaxed) {
            return Ok(Next::Rest);
        }
        // A cell without a part is copied into the next generation.
        self.begin_sealing(id, view, current).await
    }

    async fn is_held(&self, id: TicketId) -> bool {
        matches!(self.backing.hold(id, self.server, self.tuning.hold).await, Ok(true))
    }

    /// Renews the hold of an upload until another server has it. Without an answer it is asked again: what both do then is
    /// done twice, and no more.
    async fn keep<T>(&self, id: TicketId, is_lost: &AtomicBool) -> T {
        while !is_lost.load(Ordering::Relaxed) {
            self.backing.sleep(self.tuning.hold / 4).await;
            let held = self.backing.hold(id, self.server, self.tuning.hold).await;
            is_lost.store(held == Ok(false), Ordering::Relaxed);
        }
        std::future::pending().await
    }

    /// A file that fits into a cell is one object, with a copy of its pieces; one that came whole was published as it is.
    async fn publish_small(
        &self,
        id: TicketId,
        ranges: &[ObjectRange],
        length: u64,
    ) -> Result<Next, ObjectChangeError> {
        if let [whole] = ranges
            && whole.object.purpose == Purpose::File
            && whole.bytes == length
        {
            // It came whole, and nothing but a record is missing; but it may have been there for long.
            match self.ask_again(ObjectRequest::Head(Key { id, name: whole.object })).await {
                Ok(ObjectAnswer::Size(_)) => {}
                Ok(_) => return Err(ObjectError::Unsure.into()),
                Err(ObjectError::Gone) => {
                    self.object_is_gone(id, *whole).await?;
                    return Ok(Next::Again);
                }
                Err(error) => return Err(error.into()),
            }
            let (object, from) = (whole.object, ranges.to_vec());
            self.change(id, ObjectCommand::Place { object, bytes: length, from }).await?;
            return Ok(Next::Again);
        }
        let Some((bytes, _held)) = self.gather(id, ranges).await? else { return Ok(Next::Again) };
        let key = Key { id, name: self.backing.name(Purpose::File) };
        self.ask_once_done(ObjectRequest::Put(key, bytes)).await?;
        let from = ranges.to_vec();
        let place = ObjectCommand::Place { object: key.name, bytes: length, from };
        let placed = self.change(id, place).await?;
        if placed.events.is_empty() {
            self.delete(key).await;
        }
        Ok(Next::Again)
    }

    /// Stores a copy of a cell's acknowledged bytes as a part, under a number that was never used: a second request for
    /// one may destroy what the store has acknowledged to the first.
    async fn compose(
        &self,
        id: TicketId,
        view: &View,
        current: &Generation,
        cell: Cell,
    ) -> Result<Composed, ObjectChangeError> {
        let upload = &view.upload;
        let extent =
            upload.pieces().grid().and_then(|grid| grid.extent(cell, upload.upload().length()));
        let Some(from) = extent.and_then(|extent| upload.pieces().readable(extent)) else {
            return Ok(Composed::LookAgain);
        };
        let claim = ClaimId(self.backing.random());
        let Some(slot) = self.slot_for_copy(id, claim, (current.number, cell)).await? else {
            let fresh = self.view(id).await?;
            let same = fresh.upload.pieces().current().filter(|it| it.number == current.number);
            // Another server has composed it, or is at it.
            let needs_none = same.is_none_or(|it| it.part(cell).is_some());
            return Ok(if needs_none { Composed::LookAgain } else { Composed::NoNumber });
        };
        let PartSlot { number, multipart, generation } = slot;
        // Within the store, where one object holds all of it. Where that surely was not done, the bytes say why.
        let mut stored = Err(ObjectError::Busy);
        if let [one] = from.as_slice() {
            let copy = ObjectRequest::CopyPart(multipart.clone(), number, *one);
            stored = self.ask_once_done(copy).await;
        }
        if stored.as_ref().is_err_and(|error| *error != ObjectError::Unsure) {
            let Some((bytes, _held)) = self.gather(id, &from).await? else {
                return Ok(Composed::LookAgain);
            };
            stored = self.ask_once_done(ObjectRequest::Part(multipart, number, bytes)).await;
        }
        match stored {
            Ok(ObjectAnswer::Part(etag)) => {
                let compose = ObjectCommand::Compose { claim, generation, number, etag, from };
                self.change(id, compose).await?;
                Ok(Composed::Part)
            }
            Err(ObjectError::Gone) => {
                self.multipart_is_gone(id, view, current).await?;
                Ok(Composed::LookAgain)
            }
            // It may lie there now, or later: the number is burnt.
            Ok(_) | Err(ObjectError::Unsure) => Ok(Composed::LookAgain),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads pieces of objects, some at a time, with the leave to hold their bytes; `None` where one is not there any more,
    /// which is then recorded.
    async fn gather(
        &self,
        id: TicketId,
        ranges: &[ObjectRange],
    ) -> Result<Option<(Payload, Copying<'_>)>, ObjectChangeError> {
        let bytes: u64 = ranges.iter().map(|range| range.bytes).sum();
        let held = self.copying.acquire(ranges.len() as u64, bytes).await;
        let get = |range: &ObjectRange| self.ask_again(ObjectRequest::Get(id, *range));
        let read = at_once(held.reads, ranges.iter().map(get)).await;
        let mut found = ranges.iter().zip(&read);
        if let Some((gone, _)) = found.find(|(_, read)| matches!(read, Err(ObjectError::Gone))) {
            // The second look takes long: other uploads need the memory meanwhile.
            drop((read, held));
            self.object_is_gone(id, *gone).await?;
            return Ok(None);
        }
        let bytes = |read| match read {
            Ok(ObjectAnswer::Bytes(bytes)) => Ok(bytes),
            Ok(_) => Err(ObjectError::Unsure),
            Err(error) => Err(error),
        };
        let all: Payload = read.into_iter().map(bytes).collect::<Result<_, _>>()?;
        Ok(Some((all, held)))
    }

    /// A second look; if it is still missing, its bytes are missing again. Where another server has published the file and
    /// cleaned up meanwhile, the log says so and nothing is recorded.
    async fn object_is_gone(
        &self,
        id: TicketId,
        range: ObjectRange,
    ) -> Result<(), ObjectChangeError> {
        self.backing.sleep(self.tuning.second_look).await;
        if self.ask_again(ObjectRequest::Get(id, range)).await == Err(ObjectError::Gone) {
            let missing = Missing::Object(range.object);
            self.change(id, ObjectCommand::Lose(missing)).await?;
        }
        Ok(())
    }
}

/// Memory for what is read to be put together, of all uploads: at least that of one cell.
///
/// Many small pieces take long to read. Cells of such pieces wait for each other, and for no memory: one of them is held beside
/// it.
pub(super) struct CopyingMemory {
    units: u32,
    all: Semaphore,
    scattered: Semaphore,
}

/// Leave to hold some of it; given back when dropped.
struct Copying<'a> {
    _leave: SemaphorePermit<'a>,
    /// Pieces that are read at a time.
    reads: usize,
}

impl CopyingMemory {
    /// For cells of so many bytes. An upload whose cells are larger, by an earlier setting, has it alone.
    pub(super) fn for_cells(bytes: u64) -> Self {
        let units = units(bytes).max(UNITS);
        Self { units, all: Semaphore::new(units as usize), scattered: Semaphore::new(1) }
    }

    async fn acquire(&self, pieces: u64, bytes: u64) -> Copying<'_> {
        let (leave, reads) = match is_scattered(pieces, bytes) {
            true => (self.scattered.acquire().await, SCATTERED_READS),
            false => (self.all.acquire_many(units(bytes).clamp(1, self.units)).await, READS),
        };
        Copying { _leave: leave.expect("it is never closed"), reads }
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(MOST_UNITS)
}

/// Cells of one upload that are put together at a time.
const COPIES: usize = 4;
/// Pieces of one cell that are read at a time.
const READS: usize = 8;
/// The same where they are many and small: one such cell is read at a time.
const SCATTERED_READS: usize = 32;
const UNIT: u64 = 64 << 10;
/// 64 MiB, of all uploads.
const UNITS: u32 = 1024;
/// 64 GiB: more than any cell.
const MOST_UNITS: u32 = 1 << 20;
/// Steps of one call: cells are many, but each step composes all that it can.
const STEPS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    const MIB: u64 = 1 << 20;

    async fn waits(memory: &CopyingMemory, pieces: u64, bytes: u64) -> bool {
        timeout(Duration::from_secs(9), memory.acquire(pieces, bytes)).await.is_err()
    }

    /// Cells of many small pieces, of however many uploads, wait for each other and not for memory that others need.
    #[tokio::test(start_paused = true)]
    async fn small_pieces_leave_memory_to_others() {
        let memory = CopyingMemory::for_cells(8 * MIB);
        let scattered = memory.acquire(5_000, 64 * MIB).await;
        let others = memory.acquire(8, 64 * MIB).await;
        assert!(waits(&memory, 257, MIB).await, "one at a time");
        drop((scattered, others));
        assert!(!waits(&memory, 257, MIB).await);
    }

    /// What is held is never more than the memory, or one cell where that is larger.
    #[tokio::test(start_paused = true)]
    async fn large_cells_count_in_full() {
        let memory = CopyingMemory::for_cells(256 * MIB);
        let three = [(); 3].map(|()| memory.acquire(2, 64 * MIB));
        let [a, b, c] = three;
        let three = (a.await, b.await, c.await);
        assert!(!waits(&memory, 2, 64 * MIB).await);
        assert!(waits(&memory, 2, 65 * MIB).await);
        drop(three);
        let large = memory.acquire(2, 512 * MIB).await;
        assert!(waits(&memory, 1, 1).await, "by an earlier setting");
        drop(large);
    }
}
