//! A real log, a real bucket and the system's clocks and chance.

use super::Backing;
use crate::core::id::TicketId;
use crate::core::object_command::ObjectLimits;
use crate::core::piece_event::{Etag, ObjectName, Purpose};
use crate::core::time::{Stamp, Timestamp, Uptime};
use crate::storage::clock::Clock;
use crate::storage::event_log::{Append, Appended, EventLog, LogError, LogRead, Seen};
use crate::storage::objects::{ObjectAnswer, ObjectError, ObjectRequest, Objects, OrphanRule};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// What the procedures of one server use.
pub struct SharedBacking<L, O> {
    log: L,
    bucket: O,
    clock: SharedClock,
    limits: ObjectLimits,
}

/// The log's clock, as this server knows it: its own, which cannot be set, and how far the log's is ahead of that.
#[derive(Clone)]
pub struct SharedClock {
    own: Arc<dyn Clock>,
    ahead_ms: Arc<AtomicI64>,
    uptime: Option<Arc<dyn Fn() -> Uptime + Send + Sync>>,
}

impl SharedClock {
    /// A clock that goes as the server's own date until it is told otherwise.
    pub fn new(own: Arc<dyn Clock>) -> Self {
        let clock = Self { ahead_ms: Arc::default(), own, uptime: None };
        clock.set(clock.own.date());
        clock
    }

    /// The clock of one server with a log of its own, which counts the time that it runs.
    pub fn counting(
        own: Arc<dyn Clock>,
        uptime: impl Fn() -> Uptime + Send + Sync + 'static,
    ) -> Self {
        Self { uptime: Some(Arc::new(uptime)), ..Self::new(own) }
    }

    /// The log's clock shows `now`, not long ago: it may be a round trip behind.
    pub fn set(&self, now: Timestamp) {
        let ahead = now.0.cast_signed().saturating_sub(self.own_ms().cast_signed());
        self.ahead_ms.store(ahead, Ordering::Relaxed);
    }

    /// Milliseconds by the server's own clock.
    fn own_ms(&self) -> u64 {
        u64::try_from(self.own.since_boot().as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment.
    pub fn now(&self) -> Stamp {
        if let Some(uptime) = &self.uptime {
            return Stamp { date: self.own.date(), uptime: uptime() };
        }
        let ms = self.own_ms().saturating_add_signed(self.ahead_ms.load(Ordering::Relaxed));
        Stamp { date: Timestamp(ms), uptime: Uptime(ms) }
    }
}

impl<L, O> SharedBacking<L, O> {
    /// Over this log and this bucket.
    pub fn new(log: L, bucket: O, clock: SharedClock, limits: ObjectLimits) -> Self {
        Self { log, bucket, clock, limits }
    }

    /// The log.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// The bucket.
    pub fn bucket(&self) -> &O {
        &self.bucket
    }

    fn bytes(&self) -> [u8; 16] {
        // A name that is drawn twice overwrites acknowledged bytes: nothing goes on without randomness.
        self.clock.own.random().expect("the system gives random numbers")
    }
}

impl<L: EventLog, O: Objects> Backing for SharedBacking<L, O> {
    fn now(&self) -> Stamp {
        self.clock.now()
    }

    fn local_ms(&self) -> u64 {
        self.clock.own_ms()
    }

    fn random(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes();
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    fn name(&self, purpose: Purpose) -> ObjectName {
        ObjectName { purpose, random: self.bytes() }
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn limits(&self) -> ObjectLimits {
        self.limits
    }
}

impl<L: EventLog, O: Objects> EventLog for SharedBacking<L, O> {
    async fn create(&self, id: TicketId, append: Append) -> Result<Appended, LogError> {
        self.log.create(id, append).await
    }

    async fn read(&self, id: TicketId, seen: Option<Seen>) -> Result<LogRead, LogError> {
        self.log.read(id, seen).await
    }

    async fn append(&self, id: TicketId, seen: Seen, append: Append) -> Result<Appended, LogError> {
        self.log.append(id, seen, append).await
    }

    async fn hold(&self, id: TicketId, holder: u64, time: Duration) -> Result<bool, LogError> {
        self.log.hold(id, holder, time).await
    }

    async fn remove(&self, id: TicketId, seen: Seen) -> Result<Appended, LogError> {
        self.log.remove(id, seen).await
    }
}

impl<L: EventLog, O: Objects> Objects for SharedBacking<L, O> {
    async fn ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        self.bucket.ask(request).await
    }

    fn orphan_rule(&self) -> OrphanRule {
        self.bucket.orphan_rule()
    }

    fn etag_of(&self, parts: &[&Etag]) -> Option<Etag> {
        self.bucket.etag_of(parts)
    }
}
