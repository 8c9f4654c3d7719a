//! One upload whose bytes lie in object storage, as the sum of its events, and what may happen to it next.
//!
//! The rules of every upload are those of [`Upload`]; this adds where its bytes are. Several servers may decide at the same
//! time: each appends what it decides only directly behind what it has seen, and else decides anew. A decision that has
//! become void (another server was first) is no error but has no events.

use super::command::{Command, Offer};
use super::event::{Durability, Event, Notice, Ticket};
use super::extent::{Extent, ExtentSet};
use super::grid::{BeyondTheGrid, Cell, Grid, PartNumber};
use super::limits::{BYTES_A_PIECE, MAX_SMALL_PIECES, OFFERED_BYTES};
use super::object_command::{ObjectCommand, ObjectLimits, StoredPiece};
use super::piece_event::{
    ClaimId, Etag, Missing, ObjectEvent, ObjectName, Orphan, Piece, PieceEvent, Purpose,
};
use super::pieces::{Generation, ObjectRange, Pieces};
use super::refusal::Refusal;
use super::time::{Stamp, Uptime};
use super::upload::{Phase, Upload};

mod record;

/// An upload and where its bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectUpload {
    upload: Upload,
    pieces: Pieces,
}

impl ObjectUpload {
    /// The upload of a fresh ticket.
    pub fn new(ticket: Ticket) -> Self {
        Self { upload: Upload::new(ticket), pieces: Pieces::default() }
    }

    /// What is true of it as of any upload.
    pub fn upload(&self) -> &Upload {
        &self.upload
    }

    /// Where its bytes are.
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// The bytes of `offer` that are still to be stored; empty where all are known already.
    ///
    /// # Errors
    /// Every reason not to take the chunk, before its first byte.
    pub fn admit(&self, offer: &Offer, limits: &ObjectLimits) -> Result<ExtentSet, Refusal> {
        let missing = self.upload.admit(offer, &limits.limits)?;
        self.grid(offer.length, limits)?;
        Ok(missing)
    }

    /// Whether a chunk of a file of `length` may bring the bytes `missing`, as far as the number of pieces decides.
    ///
    /// # Errors
    /// The pieces are too many for their bytes. A larger chunk may be taken.
    pub fn check_pieces(&self, missing: &ExtentSet, length: Option<u64>) -> Result<(), Refusal> {
        let received = self.upload.received().bytes();
        let bytes = received + missing.bytes().min(OFFERED_BYTES);
        let left = self.upload.length().or(length).map(|length| length.saturating_sub(received));
        // No larger chunk can be sent.
        let is_last = left.is_some_and(|left| left < BYTES_A_PIECE || left == missing.bytes());
        let small = if is_last { 2 * MAX_SMALL_PIECES } else { MAX_SMALL_PIECES };
        let limit = small + bytes / BYTES_A_PIECE;
        match self.pieces.count() < limit {
            true => Ok(()),
            false => Err(Refusal::TooManyPieces { limit }),
        }
    }

    /// The grid, set or to be set, for a file of this length.
    ///
    /// # Errors
    /// No grid holds the file.
    pub fn grid(&self, length: Option<u64>, limits: &ObjectLimits) -> Result<Grid, Refusal> {
        let length = self.upload.length().or(length);
        let grid = match self.pieces.grid() {
            Some(grid) => grid,
            None => {
                let grid = Self::planned_grid(&self.upload, length, limits);
                grid.map_err(Refusal::BeyondTheGrid)?
            }
        };
        let limit = grid.capacity();
        match length.filter(|length| *length > limit) {
            Some(file) => Err(Refusal::BeyondTheGrid(BeyondTheGrid { file, limit })),
            None => Ok(grid),
        }
    }

    /// The grid of an upload that has none yet, for a file of this length.
    ///
    /// # Errors
    /// No grid holds the file.
    pub fn planned_grid(
        upload: &Upload,
        length: Option<u64>,
        limits: &ObjectLimits,
    ) -> Result<Grid, BeyondTheGrid> {
        let known = upload.ticket().max_bytes.is_some();
        let bounded = known || limits.limits.max_upload_bytes.is_some();
        let most = bounded.then(|| upload.max_file_bytes(&limits.limits));
        Grid::for_file(upload.length().or(length), most, limits.part_bytes)
    }

    /// Whether the file, whose length is known, fits into one cell and no generation has been begun for it: then it needs
    /// none, since one object holds all of it.
    pub fn is_small(&self, grid: Grid, length: Option<u64>) -> bool {
        let length = self.upload.length().or(length);
        self.pieces.next_generation() == 0
            && length.is_some_and(|length| length <= grid.cell_bytes())
    }

    /// What has to come true for `command` to happen, in order; nothing where it already has, or cannot any more.
    ///
    /// # Errors
    /// The rule that refuses it. The upload itself is not changed.
    pub fn decide(
        &self,
        command: &ObjectCommand,
        now: Stamp,
        limits: &ObjectLimits,
    ) -> Result<Vec<ObjectEvent>, Refusal> {
        let piece = match command {
            ObjectCommand::Upload(Command::Store { .. } | Command::Publish) => None,
            ObjectCommand::Upload(Command::Retry) if self.pieces.is_released() => {
                return Err(Refusal::NothingToRetry);
            }
            ObjectCommand::Upload(command) => {
                let events = self.upload.decide(command, now, &limits.limits)?;
                return Ok(events.into_iter().map(ObjectEvent::Upload).collect());
            }
            ObjectCommand::Count { claim, pieces, length } => {
                return self.count(*claim, pieces, *length, now, limits);
            }
            ObjectCommand::Open { generation, object, multipart, length } => {
                let grid = self.grid(*length, limits)?;
                let opens = self.takes_bytes()
                    && self.pieces.current().is_none()
                    && self.pieces.next_generation() == *generation;
                let opened = PieceEvent::Opened {
                    at: now,
                    generation: *generation,
                    object: *object,
                    multipart: multipart.clone(),
                };
                let events = self.grid_set(grid).into_iter().chain([opened]);
                return Ok(if opens {
                    events.map(ObjectEvent::Piece).collect()
                } else {
                    Vec::new()
                });
            }
            ObjectCommand::Claim { claim, extents } => self.claim(*claim, extents),
            ObjectCommand::ClaimCopy { claim, generation, cell } => {
                self.claim_copy(*claim, *generation, *cell)
            }
            ObjectCommand::Compose { claim, generation, number, etag, from } => {
                self.compose(*claim, (*generation, *number), etag, from)
            }
            ObjectCommand::Seal { generation, orphans } => self.seal(*generation, orphans),
            ObjectCommand::Sealed { generation, bytes } => self
                .current(*generation)
                .filter(|current| current.made_of(*bytes).is_some())
                .map(|_| PieceEvent::Sealed { generation: *generation, bytes: *bytes }),
            ObjectCommand::Place { object, bytes, from } => self
                .is_placed(*object, *bytes, from)
                .then_some(PieceEvent::Published { at: now, object: *object }),
            ObjectCommand::Lose(missing) => {
                self.misses(missing).then(|| PieceEvent::Lost { missing: missing.clone() })
            }
            ObjectCommand::Expire { idle } => {
                let since = now.uptime.since(self.upload.last_active().uptime);
                let reason = "no byte came for too long".to_owned();
                let cancel = Command::Cancel { reason, notice: Notice::Due };
                if since < *idle || !self.takes_bytes() || self.upload.is_complete() {
                    return Ok(Vec::new());
                }
                return self.decide(&ObjectCommand::Upload(cancel), now, limits);
            }
            ObjectCommand::Release { kept } => self
                .over_since()
                .filter(|since| now.uptime.since(*since) >= *kept && !self.pieces.is_released())
                .map(|_| PieceEvent::Released { at: now }),
        };
        Ok(piece.into_iter().map(ObjectEvent::Piece).collect())
    }

    /// When it came to its end, if nothing is due any more but its removal.
    pub fn over_since(&self) -> Option<Uptime> {
        match self.upload.phase() {
            Phase::Finished { at, .. }
            | Phase::Failed { at, .. }
            | Phase::Cancelled { at, calls: None, .. } => Some(*at),
            Phase::New
            | Phase::Uploading
            | Phase::HandingOver(_)
            | Phase::Cancelled { calls: Some(_), .. } => None,
        }
    }

    /// The object that has to stay now: the file, until a recorded end lets it go.
    pub fn kept_object(&self) -> Option<ObjectName> {
        let stays = match self.upload.phase() {
            Phase::New | Phase::Uploading | Phase::Cancelled { .. } => false,
            Phase::HandingOver(_) => true,
            Phase::Finished { .. } => !self.upload.removes_file(),
            Phase::Failed { .. } => !self.pieces.is_released(),
        };
        self.pieces.published().filter(|_| stays)
    }

    /// Whether bytes can still count.
    pub fn takes_bytes(&self) -> bool {
        matches!(self.upload.phase(), Phase::New | Phase::Uploading)
    }

    /// Whether all bytes count and the file is not one object yet.
    pub fn awaits_publish(&self) -> bool {
        self.upload.awaits_publish()
    }

    /// Makes `event` so. Events come from `decide` or from the log, in order.
    pub fn apply(&mut self, event: &ObjectEvent) {
        let event = match event {
            ObjectEvent::Upload(event) => return self.upload.apply(event),
            ObjectEvent::Piece(event) => event,
        };
        let lost = self.pieces.apply(event, self.upload.length(), self.upload.received());
        match event {
            PieceEvent::Stored { at, extent, .. } => {
                let durability = Durability::Durable;
                self.upload.apply(&Event::Stored { at: *at, extent: *extent, durability });
            }
            PieceEvent::Published { at, .. } => self.upload.apply(&Event::Published { at: *at }),
            PieceEvent::Lost { .. } => self.upload.lose(&lost),
            PieceEvent::GridSet { .. }
            | PieceEvent::Opened { .. }
            | PieceEvent::Claimed { .. }
            | PieceEvent::Composed { .. }
            | PieceEvent::Sealing { .. }
            | PieceEvent::Sealed { .. }
            | PieceEvent::Released { .. } => {}
        }
    }

    fn current(&self, generation: u32) -> Option<&Generation> {
        let current = self.pieces.current().filter(|_| self.takes_bytes());
        current.filter(|current| current.number == generation)
    }

    fn grid_set(&self, grid: Grid) -> Option<PieceEvent> {
        let cell_bytes = grid.cell_bytes();
        self.pieces.grid().is_none().then_some(PieceEvent::GridSet { cell_bytes })
    }

    /// Slots for the cells that are filled by `extents` and that were never given out.
    fn claim(&self, claim: ClaimId, extents: &ExtentSet) -> Option<PieceEvent> {
        let current = self.pieces.current().filter(|_| self.takes_bytes())?;
        let grid = self.pieces.grid()?;
        let missing =
            |extent: Extent| self.upload.received().missing_in(extent) == ExtentSet::of(extent);
        let pieces = extents.as_slice().iter().flat_map(|extent| grid.cut(*extent));
        let filled = pieces.filter(|extent| missing(*extent)).filter_map(|it| grid.direct_cell(it));
        let numbers = filled.map(Cell::direct);
        let slots: Vec<_> = numbers.filter(|number| current.is_free(*number)).collect();
        let generation = current.number;
        (!slots.is_empty()).then_some(PieceEvent::Claimed { claim, generation, slots })
    }

    fn count(
        &self,
        claim: ClaimId,
        pieces: &[StoredPiece],
        length: Option<u64>,
        now: Stamp,
        limits: &ObjectLimits,
    ) -> Result<Vec<ObjectEvent>, Refusal> {
        let grid = self.grid(length, limits)?;
        let mut extents = ExtentSet::new();
        pieces.iter().for_each(|piece| extents.insert(piece.extent));
        if extents.end() > grid.capacity() {
            let (file, limit) = (extents.end(), grid.capacity());
            return Err(Refusal::BeyondTheGrid(BeyondTheGrid { file, limit }));
        }
        let durability = Durability::Durable;
        let store = Command::Store { extents, length, durability };
        // It says whether bytes count at all, and what else is new; which of them lie where is said below.
        let decided = self.upload.decide(&store, now, &limits.limits)?;
        let mut events: Vec<_> = self.grid_set(grid).into_iter().map(ObjectEvent::Piece).collect();
        let mut counted = false;
        for event in decided {
            match event {
                Event::Stored { .. } => counted = true,
                other => events.push(ObjectEvent::Upload(other)),
            }
        }
        if counted {
            let stored = pieces.iter().flat_map(|piece| self.stored(claim, piece, now));
            events.extend(stored.map(ObjectEvent::Piece));
            events.extend(
                self.is_file(pieces, length)
                    .map(|object| ObjectEvent::Piece(PieceEvent::Published { at: now, object })),
            );
        }
        let news =
            events.iter().any(|it| !matches!(it, ObjectEvent::Piece(PieceEvent::GridSet { .. })));
        Ok(if news { events } else { Vec::new() })
    }

    /// The object that is the whole file as it came, whose author knows that the store has it.
    fn is_file(&self, pieces: &[StoredPiece], length: Option<u64>) -> Option<ObjectName> {
        let [StoredPiece { extent, piece: Piece::Fragment { name, offset: 0 } }] = pieces else {
            return None;
        };
        let whole = extent.start() == 0 && Some(extent.end()) == self.upload.length().or(length);
        let is_first = self.upload.received().is_empty();
        Some(*name).filter(|name| whole && is_first && name.purpose == Purpose::File)
    }

    fn stored(&self, claim: ClaimId, stored: &StoredPiece, now: Stamp) -> Vec<PieceEvent> {
        let missing = self.upload.received().missing_in(stored.extent);
        match &stored.piece {
            Piece::Part { generation, cell, .. } => {
                let joins = self.current(*generation).is_some_and(|current| {
                    current.is_open() && current.is_slot_of(cell.direct(), claim)
                });
                let whole = missing == ExtentSet::of(stored.extent);
                let piece = stored.piece.clone();
                let event = PieceEvent::Stored { at: now, extent: stored.extent, piece };
                if joins && whole { vec![event] } else { Vec::new() }
            }
            Piece::Fragment { name, offset } => {
                let piece = |extent: &Extent| Piece::Fragment {
                    name: *name,
                    offset: offset + (extent.start() - stored.extent.start()),
                };
                let event = |extent: &Extent| PieceEvent::Stored {
                    at: now,
                    extent: *extent,
                    piece: piece(extent),
                };
                missing.as_slice().iter().map(event).collect()
            }
        }
    }

    /// A number for a copy of a cell that has no part, whose bytes can all be read.
    fn claim_copy(&self, claim: ClaimId, generation: u32, cell: Cell) -> Option<PieceEvent> {
        let current = self.current(generation).filter(|current| current.part(cell).is_none())?;
        let grid = self.pieces.grid()?;
        let extent = grid.extent(cell, self.upload.length())?;
        self.pieces.readable(extent)?;
        let number = current.free_for_copy(cell, grid.direct_cell(extent).is_some())?;
        Some(PieceEvent::Claimed { claim, generation, slots: vec![number] })
    }

    fn compose(
        &self,
        claim: ClaimId,
        (generation, number): (u32, PartNumber),
        etag: &Etag,
        from: &[ObjectRange],
    ) -> Option<PieceEvent> {
        let (current, cell) = (self.current(generation)?, number.cell());
        let extent = self.pieces.grid()?.extent(cell, self.upload.length())?;
        let joins =
            current.is_open() && current.part(cell).is_none() && current.is_slot_of(number, claim);
        let is_copy = self.pieces.readable(extent).is_some_and(|ranges| ranges == from);
        let composed = PieceEvent::Composed { generation, number, etag: etag.clone() };
        (joins && is_copy).then_some(composed)
    }

    fn seal(&self, generation: u32, orphans: &[Orphan]) -> Option<PieceEvent> {
        let current = self.current(generation)?;
        // One may have been recorded since it was looked for.
        let recorded = |number| current.parts().any(|part| part.number == number);
        let orphans: Vec<_> = orphans.iter().filter(|it| !recorded(it.number)).cloned().collect();
        let changes = current.last_layout() != Some(&current.layout(&orphans));
        changes.then_some(PieceEvent::Sealing { generation, orphans })
    }

    fn is_placed(&self, object: ObjectName, bytes: u64, from: &[ObjectRange]) -> bool {
        let Some(length) = self.upload.length().filter(|_| self.awaits_publish()) else {
            return false;
        };
        match self.pieces.current() {
            Some(current) if current.object == object => {
                current.made_of(bytes).is_some_and(|layout| layout.is_file(length))
            }
            Some(_) | None => {
                let whole = Extent::new(0, length);
                let held = whole.map_or(Some(Vec::new()), |whole| self.pieces.readable(whole));
                let is_copy = held.is_some_and(|ranges| ranges == from);
                bytes == length && is_copy && object.purpose == Purpose::File
            }
        }
    }

    /// Whether something of it is still said to lie there.
    fn misses(&self, missing: &Missing) -> bool {
        self.takes_bytes()
            && match missing {
                Missing::Object(name) => self.pieces.refers_to(*name),
                Missing::Multipart { generation } => self.current(*generation).is_some(),
                Missing::Part { generation, cell } => {
                    self.current(*generation).is_some_and(|current| current.part(*cell).is_some())
                }
            }
    }
}

#[cfg(test)]
#[path = "object_upload/tests.rs"]
mod tests;
