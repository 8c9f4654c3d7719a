//! Whether the bucket does what is needed of it: tried at the start, and for `/readyz` until it has once.
//!
//! A setting or a right that is wrong refuses the start, in one line. A store that is away, busy or late does not: it may be
//! back before anyone looks.

use super::StartError;
use super::object_storage::{ObjectStorageError, open_bucket};
use crate::config::Settings;
use crate::core::id::TicketId;
use crate::core::piece_event::{ObjectName, Purpose};
use crate::storage::clock::{Clock, SystemClock};
use crate::storage::objects::{Key, ObjectError, ObjectRequest, Objects, OrphanRule};
use crate::storage::s3::S3Bucket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// Tries the bucket before anything else begins; waits for it at most [`AT_START`]. Answers what the store does with parts
/// that a list leaves out, if it could be asked.
///
/// # Errors
/// What stays wrong until a setting or a right is changed.
pub(super) fn try_at_start(settings: &Settings) -> Result<Option<OrphanRule>, StartError> {
    let failed = |error| StartError::new("store", error);
    // Its connections end with it: the server has a runtime of its own for those that stay.
    let trial = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().map_err(ObjectStorageError::Random)?;
        runtime.block_on(async { timeout(AT_START, open_bucket(settings)).await }).ok().transpose()
    };
    let tried = std::thread::scope(|scope| scope.spawn(trial).join());
    match tried.unwrap_or(Ok(None)) {
        Ok(Some((_, rule))) => Ok(Some(rule)),
        Ok(None) => {
            let error = format!("no answer within {} s", AT_START.as_secs());
            tracing::warn!(error, "bucket cannot be used yet");
            Ok(None)
        }
        Err(ObjectStorageError::Bucket(_, error)) if !error.is_definite() => {
            tracing::warn!(%error, "bucket cannot be used yet");
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

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

/// The start waits for the bucket at most so long.
const AT_START: Duration = Duration::from_secs(5);
/// And a look, which `/readyz` waits for at most 5 s.
const A_LOOK: Duration = Duration::from_secs(4);
