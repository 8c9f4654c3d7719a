//! Which piece holds which bytes of an upload in object storage, what is to be composed, and what a generation is
//! completed with.
//!
//! Each byte that counts lies in a *source*, an object that can be read, or in a part of the open generation, which
//! cannot be read before it is sealed; composed cells lie in both. The state is the sum of the events.

use super::extent::{Extent, ExtentSet};
use super::grid::{Cell, Grid, PartNumber};
use super::piece_event::{ClaimId, Etag, Missing, ObjectName, Orphan, Piece, PieceEvent};
use super::time::Stamp;
use std::collections::BTreeMap;

/// The pieces of one upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    grid: Option<Grid>,
    /// The open generation, or the one that is being sealed.
    current: Option<Generation>,
    next_generation: u32,
    /// By the first byte of the file that they hold; disjoint.
    sources: BTreeMap<u64, Source>,
    published: Option<ObjectName>,
    released: bool,
}

/// One multipart upload that parts join, or that is being completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// The object it becomes.
    pub object: ObjectName,
    /// The store's name for it.
    pub multipart: String,
    /// When it was recorded.
    pub opened: Stamp,
    slots: BTreeMap<PartNumber, ClaimId>,
    parts: BTreeMap<Cell, RecordedPart>,
    layouts: Vec<Layout>,
}

/// A part that a record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedPart {
    /// Its number.
    pub number: PartNumber,
    /// Bytes of the file that it holds.
    pub extent: Extent,
    /// What the store calls its content.
    pub etag: Etag,
}

/// What a generation is completed with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The parts, in the order of their numbers, as they lie in the object.
    pub parts: Vec<LaidPart>,
}

/// One part of a layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaidPart {
    /// Its number.
    pub number: PartNumber,
    /// Its size in bytes.
    pub bytes: u64,
    /// What the store calls its content.
    pub etag: Etag,
    /// Bytes of the file that it holds; `None` for an orphan, whose bytes may be any.
    pub extent: Option<Extent>,
}

/// Bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectRange {
    /// The object.
    pub object: ObjectName,
    /// The first of the bytes.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    end: u64,
    object: ObjectName,
    offset: u64,
}

impl Pieces {
    /// The grid, once it is set.
    pub fn grid(&self) -> Option<Grid> {
        self.grid
    }

    /// The generation that parts join, or that is being sealed.
    pub fn current(&self) -> Option<&Generation> {
        self.current.as_ref()
    }

    /// The number of the next generation.
    pub fn next_generation(&self) -> u32 {
        self.next_generation
    }

    /// The object that is the file.
    pub fn published(&self) -> Option<ObjectName> {
        self.published
    }

    /// Whether its retention has ended.
    pub fn is_released(&self) -> bool {
        self.released
    }

    /// Pieces that can be read.
    pub fn count(&self) -> u64 {
        self.sources.len() as u64
    }

    /// Where the bytes of `extent` can be read, in order; `None` where some of them cannot.
    pub fn readable(&self, extent: Extent) -> Option<Vec<ObjectRange>> {
        let mut ranges = Vec::new();
        let mut at = extent.start();
        while at < extent.end() {
            let (start, source) = self.sources.range(..=at).next_back()?;
            if source.end <= at {
                return None;
            }
            let end = source.end.min(extent.end());
            ranges.push(ObjectRange {
                object: source.object,
                offset: source.offset + (at - start),
                bytes: end - at,
            });
            at = end;
        }
        Some(ranges)
    }

    /// The cells of a file of `length` bytes that have no part in the current generation.
    pub fn without_part(&self, length: u64) -> Vec<Cell> {
        let Some(grid) = self.grid else { return Vec::new() };
        let parts = self.current.as_ref().map(|current| &current.parts);
        grid.cells(length)
            .filter(|cell| !parts.is_some_and(|parts| parts.contains_key(cell)))
            .collect()
    }

    /// Whether some bytes that count are in this object.
    pub fn refers_to(&self, object: ObjectName) -> bool {
        self.published == Some(object)
            || self.sources.values().any(|source| source.object == object)
    }

    /// The bytes that lie somewhere.
    fn held(&self) -> ExtentSet {
        let mut held = ExtentSet::new();
        for (start, source) in &self.sources {
            Extent::new(*start, source.end).iter().for_each(|extent| held.insert(*extent));
        }
        for part in self.current.iter().flat_map(|current| current.parts.values()) {
            held.insert(part.extent);
        }
        held
    }

    /// Makes `event` so, for a file of this length. Answers the bytes of `received` that are missing again.
    pub(super) fn apply(
        &mut self,
        event: &PieceEvent,
        length: Option<u64>,
        received: &ExtentSet,
    ) -> ExtentSet {
        match event {
            PieceEvent::GridSet { cell_bytes } => self.grid = Some(Grid::of(*cell_bytes)),
            PieceEvent::Opened { at, generation, object, multipart } => {
                self.next_generation = generation + 1;
                self.current = Some(Generation {
                    number: *generation,
                    object: *object,
                    multipart: multipart.clone(),
                    opened: *at,
                    slots: BTreeMap::new(),
                    parts: BTreeMap::new(),
                    layouts: Vec::new(),
                });
            }
            PieceEvent::Claimed { claim, generation, slots } => {
                if let Some(current) = self.generation(*generation) {
                    current.slots.extend(slots.iter().map(|number| (*number, *claim)));
                }
            }
            PieceEvent::Stored { extent, piece, .. } => self.stored(*extent, piece),
            PieceEvent::Composed { generation, number, etag } => {
                let (number, cell) = (*number, number.cell());
                let extent = self.grid.and_then(|grid| grid.extent(cell, length));
                if let (Some(extent), Some(current)) = (extent, self.generation(*generation)) {
                    let part = RecordedPart { number, extent, etag: etag.clone() };
                    current.parts.insert(cell, part);
                }
            }
            PieceEvent::Sealing { generation, orphans } => {
                if let Some(current) = self.generation(*generation) {
                    let layout = current.layout(orphans);
                    current.layouts.push(layout);
                }
            }
            PieceEvent::Sealed { generation, bytes } => self.sealed(*generation, *bytes),
            PieceEvent::Published { object, .. } => self.published = Some(*object),
            PieceEvent::Lost { missing } => return self.lost(missing, received),
            PieceEvent::Released { .. } => self.released = true,
        }
        ExtentSet::new()
    }

    fn stored(&mut self, extent: Extent, piece: &Piece) {
        match piece {
            Piece::Part { generation, cell, etag } => {
                if let Some(current) = self.generation(*generation) {
                    let number = cell.direct();
                    let part = RecordedPart { number, extent, etag: etag.clone() };
                    current.parts.insert(*cell, part);
                }
            }
            Piece::Fragment { name, offset } => {
                let source = Source { end: extent.end(), object: *name, offset: *offset };
                self.sources.insert(extent.start(), source);
            }
        }
    }

    /// The cells of the object can be read where it was completed with them.
    fn sealed(&mut self, generation: u32, bytes: u64) {
        if self.generation(generation).is_none() {
            return;
        }
        let Some(sealed) = self.current.take() else { return };
        let Some(layout) = sealed.made_of(bytes) else { return };
        let mut offset = 0;
        for part in &layout.parts {
            if let Some(extent) = part.extent {
                self.sources
                    .retain(|start, source| *start < extent.start() || source.end > extent.end());
                let source = Source { end: extent.end(), object: sealed.object, offset };
                self.sources.insert(extent.start(), source);
            }
            offset += part.bytes;
        }
    }

    fn lost(&mut self, missing: &Missing, received: &ExtentSet) -> ExtentSet {
        match missing {
            Missing::Object(name) => self.sources.retain(|_, source| source.object != *name),
            Missing::Multipart { generation } => {
                self.current.take_if(|current| current.number == *generation);
            }
            Missing::Part { generation, cell } => {
                if let Some(current) = self.generation(*generation) {
                    current.parts.remove(cell);
                }
            }
        }
        let held = self.held();
        let mut lost = ExtentSet::new();
        received.as_slice().iter().for_each(|extent| lost.insert_all(&held.missing_in(*extent)));
        lost
    }

    fn generation(&mut self, number: u32) -> Option<&mut Generation> {
        self.current.as_mut().filter(|current| current.number == number)
    }
}

impl Generation {
    /// Whether parts may join it.
    pub fn is_open(&self) -> bool {
        self.layouts.is_empty()
    }

    /// Whether the part of this number was never given to any request.
    pub fn is_free(&self, number: PartNumber) -> bool {
        self.is_open() && !self.slots.contains_key(&number)
    }

    /// Whether `claim` may send the part of this number.
    pub fn is_slot_of(&self, number: PartNumber, claim: ClaimId) -> bool {
        self.slots.get(&number) == Some(&claim)
    }

    /// The number that a copy of `cell` may still be sent under. A cell of full size has two; a shorter one only the last:
    /// a short part before it would lie there for ever ([`Grid::direct_cell`]).
    pub fn free_for_copy(&self, cell: Cell, is_full: bool) -> Option<PartNumber> {
        let direct = Some(cell.direct()).filter(|_| is_full);
        [Some(cell.composed()), direct].into_iter().flatten().find(|number| self.is_free(*number))
    }

    /// The part that holds `cell`.
    pub fn part(&self, cell: Cell) -> Option<&RecordedPart> {
        self.parts.get(&cell)
    }

    /// The recorded parts, in the order of their numbers.
    pub fn parts(&self) -> impl Iterator<Item = &RecordedPart> {
        self.parts.values()
    }

    /// What it was last to be completed with; `None` while it is open.
    pub fn last_layout(&self) -> Option<&Layout> {
        self.layouts.last()
    }

    /// What it would be completed with: its parts and these orphans.
    pub fn layout(&self, orphans: &[Orphan]) -> Layout {
        let mut parts: Vec<LaidPart> = self.parts.values().map(LaidPart::of).collect();
        parts.extend(orphans.iter().map(|orphan| LaidPart {
            number: orphan.number,
            bytes: orphan.bytes,
            etag: orphan.etag.clone(),
            extent: None,
        }));
        parts.sort_by_key(|part| part.number);
        Layout { parts }
    }

    /// The layout that an object of so many bytes was completed with. Parts never leave a multipart upload, so of two
    /// layouts the later one has more parts and more bytes, or else the store has refused the earlier one.
    pub fn made_of(&self, bytes: u64) -> Option<&Layout> {
        self.layouts.iter().rev().find(|layout| layout.bytes() == bytes)
    }
}

impl Layout {
    /// Bytes of the object; 0 where no part of it counts, since there is none then.
    pub fn bytes(&self) -> u64 {
        let counts = self.parts.iter().any(|part| part.extent.is_some());
        if counts { self.parts.iter().map(|part| part.bytes).sum() } else { 0 }
    }

    /// Whether it is exactly a file of `length` bytes.
    pub fn is_file(&self, length: u64) -> bool {
        let mut end = 0;
        self.parts.iter().all(|part| {
            let follows = part.extent.is_some_and(|extent| extent.start() == end);
            end += part.bytes;
            follows
        }) && end == length
    }
}

impl LaidPart {
    fn of(part: &RecordedPart) -> Self {
        Self {
            number: part.number,
            bytes: part.extent.len(),
            etag: part.etag.clone(),
            extent: Some(part.extent),
        }
    }
}
