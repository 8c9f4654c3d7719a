//! Whether the bucket does what is needed of it, for `/readyz`: all of it is tried until it has done it once.

use crate::core::id::TicketId;
use crate::core::piece_event::{ObjectName, Purpose};
use crate::storage::clock::{Clock, SystemClock};
use crate::storage::objects::{Key, ObjectError, ObjectRequest, Objects};
use crate::storage::s3::S3Bucket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Looks at the bucket from time to time.
pub(super) struct BucketHealth {
    bucket: Arc<S3Bucket>,
    /// Whether it has done all that is needed, once.
    tried: AtomicBool,
}

impl BucketHealth {
    pub(super) fn new(bucket: Arc<S3Bucket>, tried: bool) -> Self {
        Self { bucket, tried: AtomicBool::new(tried) }
    }

    /// # Errors
    /// What does not do, for people.
    pub(super) async fn check(&self) -> Result<(), Arc<str>> {
        match timeout(A_LOOK, self.look()).await {
            Ok(found) => found,
            Err(_) => Err(format!("no answer within {} s", A_LOOK.as_secs()).into()),
        }
    }

    async fn look(&self) -> Result<(), Arc<str>> {
        let random = SystemClock.random().map_err(|error| Arc::from(error.to_string()))?;
        if self.tried.load(Ordering::Relaxed) {
            // An object that is not there: a store that says so is well.
            let name = ObjectName { purpose: Purpose::Fragment, random };
            let id = TicketId::from_random([0; 16]);
            match self.bucket.ask(ObjectRequest::Head(Key { id, name })).await {
                Ok(_) | Err(ObjectError::Gone) => return Ok(()),
                // An answer without a body does not say why.
                Err(ObjectError::Unusable(_)) => {}
                Err(error) => return Err(error.to_string().into()),
            }
        }
        match self.bucket.probe(SystemClock.date(), random).await {
            Ok(_) => {
                self.tried.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(error.to_string().into()),
        }
    }
}

/// A look takes at most so long, which `/readyz` waits for at most 5 s.
const A_LOOK: Duration = Duration::from_secs(4);
