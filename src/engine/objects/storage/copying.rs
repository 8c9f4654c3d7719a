//! Bytes of one upload that another one takes over: made readable in the bucket, read a piece at a time, and stored as those
//! of a body are. They count with the record that joins them.

use super::part::BucketPart;
use super::unavailable;
use crate::core::extent::{Extent, ExtentSet};
use crate::core::id::TicketId;
use crate::core::pieces::ObjectRange;
use crate::engine::objects::Backing;
use crate::storage::store::{StoreError, WriteError};

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
        for range in ranges.into_iter().flat_map(pieces) {
            let bytes = shared.get(source, range).await.map_err(refused)?;
            at += writer.take(at, vec![bytes]).await;
        }
        writer.hand_on().await;
        Ok(())
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

/// Read at once.
const PIECE_BYTES: usize = 8 << 20;
