//! Reading acknowledged bytes, some pieces at a time: to compare them, or for another upload that takes them over. There
//! they are stored as those of a body are, and count with the record that joins them.

use super::part::BucketPart;
use super::unavailable;
use crate::core::extent::{Extent, ExtentSet};
use crate::core::id::TicketId;
use crate::core::pieces::ObjectRange;
use crate::engine::objects::Backing;
use crate::engine::objects::at_once::at_once;
use crate::storage::store::{PieceSink, StoreError, WriteError};

impl<B: Backing + 'static> BucketPart<B> {
    /// Stores the bytes `extent` of `source` for offset `at` on. They wait for their record as long as the upload is in
    /// memory; where it is not recorded they go with the upload.
    pub(super) async fn copy(
        &self,
        source: TicketId,
        extent: Extent,
        at: u64,
    ) -> Result<(), WriteError> {
        let refused = |error| WriteError::Refused { what: "copying a part", error };
        let shared = &self.0.shared;
        let view = shared.engine.make_readable(source).await;
        let view = view.map_err(|error| refused(unavailable(error)))?;
        // Bytes that were lost are sent again, and their upload is joined then.
        let gone = || refused(StoreError::Unavailable);
        let ranges = view.upload.pieces().readable(extent).ok_or_else(gone)?;
        let end = at.saturating_add(extent.len());
        let missing = Extent::new(at, end).map(ExtentSet::of).unwrap_or_default();
        let mut writer = self.begin(missing, None).await?.kept();
        let mut at = at;
        let pieces: Vec<_> = ranges.into_iter().flat_map(pieces).collect();
        let mut left = pieces.as_slice();
        while !left.is_empty() {
            let (now, later) = left.split_at(together(left.iter().map(|range| range.bytes)));
            let gets = now.iter().copied().map(|range| shared.get(source, range));
            for bytes in at_once(READS, gets).await {
                at += writer.take(at, vec![bytes.map_err(refused)?]).await;
            }
            left = later;
        }
        writer.hand_on().await;
        Ok(())
    }

    /// Gives the bytes of `extents` to `sink`, with the number of the extent, but for those that cannot be read yet.
    pub(super) async fn read_all(
        &self,
        extents: Vec<Extent>,
        mut sink: Box<PieceSink>,
    ) -> Result<bool, StoreError> {
        let view = self.0.shared.view(self.0.id).await?;
        let mut all = Vec::new();
        for (number, extent) in extents.into_iter().enumerate() {
            // Parts of an open generation cannot be read.
            let ranges = view.upload.pieces().readable(extent).unwrap_or_default();
            all.extend(ranges.into_iter().map(|range| (number, range)));
        }
        let mut left = all.as_slice();
        while !left.is_empty() {
            let (now, later) = left.split_at(together(left.iter().map(|(_, range)| range.bytes)));
            let gets = now.iter().copied().map(|(_, range)| self.0.shared.get(self.0.id, range));
            let read = at_once(READS, gets).await;
            for ((number, _), bytes) in now.iter().copied().zip(read) {
                let bytes = bytes?;
                let sunk = tokio::task::spawn_blocking(move || {
                    let flow = sink(number, &bytes);
                    (sink, flow)
                });
                let (back, flow) = sunk.await.map_err(|lost| StoreError::Fault(lost.into()))?;
                sink = back;
                if flow.is_break() {
                    return Ok(true);
                }
            }
            left = later;
        }
        Ok(true)
    }
}

/// As much as is held at a time.
fn pieces(range: ObjectRange) -> impl Iterator<Item = ObjectRange> {
    let starts = (0..range.bytes).step_by(PIECE_BYTES);
    starts.map(move |start| ObjectRange {
        offset: range.offset + start,
        bytes: (range.bytes - start).min(PIECE_BYTES as u64),
        ..range
    })
}

/// How many pieces of these sizes are read before the first is used: small ones take long one by one.
fn together(pieces: impl Iterator<Item = u64>) -> usize {
    let mut bytes = 0_u64;
    let fits = |piece: &u64| {
        bytes = bytes.saturating_add(*piece);
        bytes <= PIECE_BYTES as u64
    };
    pieces.take(MOST_TOGETHER).take_while(fits).count().max(1)
}

/// Held at a time.
const PIECE_BYTES: usize = 8 << 20;
/// Requests of one reader at a time.
const READS: usize = 8;
const MOST_TOGETHER: usize = 64;

#[cfg(test)]
mod tests {
    use super::together;

    #[test]
    fn small_pieces_are_read_together() {
        let check = |sizes: &[u64], expected: usize| {
            assert_eq!(together(sizes.iter().copied()), expected, "{sizes:?}");
        };
        check(&[9 << 20, 1], 1);
        check(&[4 << 20, 4 << 20, 1], 2);
        check(&[1; 100], 64);
        check(&[1; 5], 5);
    }
}
