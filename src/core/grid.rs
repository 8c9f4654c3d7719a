//! The grid of an upload in object storage: cells of one size, and the part numbers that each of them has.
//!
//! A cell is `cell_bytes` of the file, the last one shorter. The size is recorded before the first byte and never changes:
//! servers with other settings, and later generations, use the same. Each cell has two numbers of a multipart upload: one
//! for its bytes as they come from a client ([`Cell::direct`]), one for a copy of acknowledged bytes ([`Cell::composed`]).
//! So 9,998 part numbers hold 4,999 cells. All sizes are in bytes.

use super::extent::Extent;

/// Part numbers of a multipart upload, of which there are 10,000. Source: Amazon S3, "multipart upload limits". The two
/// of a last cell are left out: SeaweedFS lists the number 10,000 before 1,001, so that a list of several pages misses
/// parts.
pub const MAX_PARTS: u32 = 9_998;
/// Cells of a file: two numbers for each.
pub const MAX_CELLS: u32 = MAX_PARTS / 2;
/// No part but the one with the highest number may be smaller. Source: Amazon S3, "multipart upload limits".
pub const MIN_PART_BYTES: u64 = 5 << 20;
/// Cells are doubled up to this size for long files, unless the setting asks for larger ones: a server holds whole cells
/// in memory.
const LARGEST_DOUBLED: u64 = 64 << 20;
/// Where neither the length nor a limit of it is known.
const UNKNOWN_LENGTH: u64 = 16 << 20;

/// How the file of an upload is divided into cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    cell_bytes: u64,
}

/// A cell, by its number from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell(u32);

/// A part number of a multipart upload: 1 to [`MAX_PARTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartNumber(u32);

/// The file is longer than object storage takes with this setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the file has {file} bytes, object storage holds at most {limit} with the server's s3_part_size"
)]
pub struct BeyondTheGrid {
    /// Bytes of the file.
    pub file: u64,
    /// Bytes of the longest file.
    pub limit: u64,
}

impl Grid {
    /// The grid for a file of `length` bytes, or of up to `most` where the length is not known yet. `part_bytes` is the
    /// setting `s3_part_size`; it is doubled up to 64 MiB for files that need it.
    ///
    /// # Errors
    /// The file is longer than the grid can hold. A limit that is longer is none: most files stay below their limit.
    pub fn for_file(
        length: Option<u64>,
        most: Option<u64>,
        part_bytes: u64,
    ) -> Result<Self, BeyondTheGrid> {
        let mut cell_bytes = part_bytes;
        let Some(bytes) = length.or(most) else {
            return Ok(Self::of(cell_bytes.max(UNKNOWN_LENGTH)));
        };
        while Self::of(cell_bytes).capacity() < bytes && cell_bytes < LARGEST_DOUBLED {
            cell_bytes = (cell_bytes * 2).min(LARGEST_DOUBLED);
        }
        let grid = Self::of(cell_bytes);
        match length.filter(|length| *length > grid.capacity()) {
            Some(file) => Err(BeyondTheGrid { file, limit: grid.capacity() }),
            None => Ok(grid),
        }
    }

    /// The grid with cells of this size, which is not 0.
    pub fn of(cell_bytes: u64) -> Self {
        Self { cell_bytes }
    }

    /// Size of every cell but the last one.
    pub fn cell_bytes(self) -> u64 {
        self.cell_bytes
    }

    /// Bytes of the longest file.
    pub fn capacity(self) -> u64 {
        self.cell_bytes.saturating_mul(u64::from(MAX_CELLS))
    }

    /// The cell that holds this byte, if the grid does.
    pub fn cell_at(self, offset: u64) -> Option<Cell> {
        let number = u32::try_from(offset / self.cell_bytes).ok()?;
        (number < MAX_CELLS).then_some(Cell(number))
    }

    /// The bytes of `cell` in a file of `length` bytes; of a whole cell where the length is not known. `None` where the file
    /// ends before it.
    pub fn extent(self, cell: Cell, length: Option<u64>) -> Option<Extent> {
        let start = u64::from(cell.0) * self.cell_bytes;
        let end = start + self.cell_bytes;
        Extent::new(start, length.map_or(end, |length| end.min(length)))
    }

    /// All cells of a file of `length` bytes, in order.
    pub fn cells(self, length: u64) -> impl Iterator<Item = Cell> {
        let count = length.div_ceil(self.cell_bytes).min(u64::from(MAX_CELLS));
        (0..u32::try_from(count).unwrap_or(MAX_CELLS)).map(Cell)
    }

    /// `extent` cut where cells begin, in order.
    pub fn cut(self, extent: Extent) -> impl Iterator<Item = Extent> {
        let first = extent.start() / self.cell_bytes;
        let last = (extent.end() - 1) / self.cell_bytes;
        (first..=last).filter_map(move |number| {
            let start = number * self.cell_bytes;
            Extent::new(start.max(extent.start()), (start + self.cell_bytes).min(extent.end()))
        })
    }

    /// The cell that `extent` fills, if its bytes may be sent as its direct part: only those of a cell of full size.
    ///
    /// A shorter part may be the last of a list alone. Should the answer to it be lost, it would lie among the parts of
    /// the generation all the same, before the composed part of the same cell, and on a store that refuses to leave out a
    /// part no list would be possible any more.
    pub fn direct_cell(self, extent: Extent) -> Option<Cell> {
        let whole =
            extent.start().is_multiple_of(self.cell_bytes) && extent.len() == self.cell_bytes;
        self.cell_at(extent.start()).filter(|_| whole)
    }
}

impl Cell {
    /// The cell with this number, counted from 0.
    pub fn new(number: u32) -> Option<Self> {
        (number < MAX_CELLS).then_some(Self(number))
    }

    /// Its number, from 0 on.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The part number for its bytes as they come from a client. One request of a generation sends it, ever.
    pub fn direct(self) -> PartNumber {
        PartNumber(2 * self.0 + 1)
    }

    /// The part number for a copy of its acknowledged bytes. One request of a generation sends it, ever.
    pub fn composed(self) -> PartNumber {
        PartNumber(2 * self.0 + 2)
    }
}

impl PartNumber {
    /// The part number of this value, if it is one of the grid.
    pub fn new(number: u32) -> Option<Self> {
        (1..=MAX_PARTS).contains(&number).then_some(Self(number))
    }

    /// Its value.
    pub fn get(self) -> u32 {
        self.0
    }

    /// The cell that it belongs to.
    pub fn cell(self) -> Cell {
        Cell((self.0 - 1) / 2)
    }

    /// Whether it is that of bytes as they come from a client.
    pub fn is_direct(self) -> bool {
        self.0 % 2 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn cells_grow_with_the_file() {
        let check = |length: Option<u64>, most: Option<u64>, part: u64, expected: Option<u64>| {
            let grid = Grid::for_file(length, most, part).map(Grid::cell_bytes);
            assert_eq!(grid.ok(), expected, "{length:?} {most:?} {part}");
        };
        check(Some(0), None, 8 * MIB, Some(8 * MIB));
        check(Some(39_992 * MIB), None, 8 * MIB, Some(8 * MIB));
        check(Some(39_992 * MIB + 1), None, 8 * MIB, Some(16 * MIB));
        check(Some(319_936 * MIB), None, 8 * MIB, Some(64 * MIB));
        check(Some(319_936 * MIB + 1), None, 8 * MIB, None);
        // The setting goes beyond what doubling does.
        check(Some(319_936 * MIB + 1), None, 100 * MIB, Some(100 * MIB));
        check(Some(319_936 * MIB), None, 5 * MIB, Some(64 * MIB));
        // By the limit, which need not be reached.
        check(None, Some(100 * MIB), 8 * MIB, Some(8 * MIB));
        check(None, Some(u64::MAX), 8 * MIB, Some(64 * MIB));
        check(None, None, 8 * MIB, Some(16 * MIB));
        check(None, None, 32 * MIB, Some(32 * MIB));
        let refused = Grid::for_file(Some(1 << 40), None, 8 * MIB).unwrap_err();
        assert_eq!(refused.limit, 319_936 * MIB);
        assert!(refused.to_string().contains("s3_part_size"));
    }

    #[test]
    fn every_cell_has_two_numbers_of_its_own() {
        let last = Cell::new(MAX_CELLS - 1).unwrap();
        assert_eq!((last.direct().get(), last.composed().get()), (9997, 9998));
        assert_eq!(Cell::new(MAX_CELLS), None);
        assert_eq!((PartNumber::new(0), PartNumber::new(MAX_PARTS + 1)), (None, None));
        for number in 1..=MAX_PARTS {
            let part = PartNumber::new(number).unwrap();
            let own = if part.is_direct() { part.cell().direct() } else { part.cell().composed() };
            assert_eq!(own, part);
        }
    }

    #[test]
    fn extents_are_cut_at_cells() {
        let grid = Grid::of(10);
        let extent = |start, end| Extent::new(start, end).unwrap();
        let cut = |start, end| grid.cut(extent(start, end)).collect::<Vec<_>>();
        assert_eq!(cut(0, 10), [extent(0, 10)]);
        assert_eq!(cut(5, 25), [extent(5, 10), extent(10, 20), extent(20, 25)]);
        assert_eq!(cut(29, 30), [extent(29, 30)]);
        assert_eq!(grid.cells(0).count(), 0);
        assert_eq!(grid.cells(21).map(Cell::number).collect::<Vec<_>>(), [0, 1, 2]);
        let last = Cell::new(2).unwrap();
        assert_eq!(grid.extent(last, Some(21)), Some(extent(20, 21)));
        assert_eq!(grid.extent(last, Some(20)), None);
        assert_eq!(grid.extent(last, None), Some(extent(20, 30)));
    }

    #[test]
    fn only_a_cell_of_full_size_is_sent_directly() {
        let grid = Grid::of(8 * MIB);
        let check = |start: u64, end: u64, expected: Option<u32>| {
            let extent = Extent::new(start, end).unwrap();
            assert_eq!(grid.direct_cell(extent).map(Cell::number), expected, "{extent:?}");
        };
        check(0, 8 * MIB, Some(0));
        check(16 * MIB, 24 * MIB, Some(2));
        check(1, 8 * MIB + 1, None);
        check(0, 8 * MIB - 1, None);
        check(8 * MIB, 15 * MIB, None);
        let beyond = grid.capacity();
        check(beyond, beyond + 8 * MIB, None);
    }
}
