//! Removes from the bucket what belongs to no upload and is old, once a day.

use crate::core::id::TicketId;
use crate::storage::s3::{LogName, S3Bucket, Sweep};
use std::sync::Arc;
use std::time::Duration;

/// The bucket, and the name of the logs that say what belongs to an upload.
pub(super) struct BucketSweep {
    pub(super) bucket: Arc<S3Bucket>,
    pub(super) log: LogName,
}

impl BucketSweep {
    /// `known` are all uploads that have a log, read before.
    pub(super) async fn run(&self, known: Vec<TicketId>) {
        match self.bucket.sweep(self.log, &known, LITTER_AGE).await {
            Ok(Sweep::Done(swept)) if swept.objects + swept.multiparts > 0 => tracing::info!(
                objects = swept.objects,
                multiparts = swept.multiparts,
                "removed what lost uploads had left in the bucket"
            ),
            Ok(Sweep::Done(_)) => {}
            Ok(Sweep::Shared(names)) => tracing::warn!(
                ?names,
                "another server has logs for this s3_prefix: nothing is removed by age"
            ),
            Err(error) => tracing::warn!(%error, "could not sweep the bucket"),
        }
    }
}

/// No request acts so late, and no store's clock is so wrong.
const LITTER_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
