//! Memory for bodies on their way into the bucket: a bounded amount for all of them, and a part of it for one upload.
//!
//! Where there is none, room is made: the piece that was begun first is stored as it is, a fragment, also where its client has
//! stopped sending. So a stalled client costs a request and holds nothing, and no body waits for another one.

use super::lock;
use crate::core::id::TicketId;
use crate::storage::objects::Payload;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// What all bodies share.
pub(super) struct Memory {
    all: Arc<Semaphore>,
    units: usize,
    /// Pieces that are being collected, by the order of their first bytes.
    pieces: Mutex<Pieces>,
}

#[derive(Default)]
struct Pieces {
    next: u64,
    begun: BTreeMap<u64, (TicketId, Weak<dyn Collecting>)>,
}

/// A body that collects a piece.
pub(super) trait Collecting: Send + Sync {
    /// Stores what is collected as it is, beside the body. Answers the units that it holds.
    fn store_as_it_is(self: Arc<Self>) -> usize;
}

/// Leave to hold some bytes; given back when dropped.
pub(super) struct Held {
    own: OwnedSemaphorePermit,
    all: OwnedSemaphorePermit,
}

/// A piece that is being collected, in buffers that never grow: one that grows leaves memory behind, of every size that it
/// had.
pub(super) struct Filling {
    pub(super) start: u64,
    buffers: Vec<Vec<u8>>,
    bytes: u64,
    held: Held,
    number: u64,
}

impl Memory {
    /// Of `bytes` in all.
    pub(super) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT).unwrap_or(usize::MAX);
        let units = units.clamp(LEAST_UNITS, Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(units)), units, pieces: Mutex::default() }
    }

    /// For the bodies of one upload.
    pub(super) fn of_one(&self) -> Arc<Semaphore> {
        Arc::new(Semaphore::new((self.units / OF_ONE).max(LEAST_UNITS / OF_ONE)))
    }

    /// Bytes that wait.
    pub(super) fn waiting_bytes(&self) -> u64 {
        (self.units - self.all.available_permits().min(self.units)) as u64 * UNIT
    }

    /// Leave to hold so many units more, for the upload `id`, whose own memory is `own`. Pieces make room for it, and it is
    /// waited for while they are stored. Cancel: nothing is taken.
    pub(super) async fn hold(&self, (id, own): (TicketId, &Arc<Semaphore>), units: u32) -> Held {
        let own = self.wait(own, units, Some(id)).await;
        let all = self.wait(&self.all, units, None).await;
        Held { own, all }
    }

    async fn wait(
        &self,
        of: &Arc<Semaphore>,
        units: u32,
        id: Option<TicketId>,
    ) -> OwnedSemaphorePermit {
        loop {
            if let Ok(held) = Arc::clone(of).try_acquire_many_owned(units) {
                return held;
            }
            self.make_room(id, units);
            // What was being stored a moment ago may have become that of a client that stops.
            let held = timeout(AGAIN, Arc::clone(of).acquire_many_owned(units)).await;
            if let Ok(held) = held {
                return held.expect("it is never closed");
            }
        }
    }

    /// A piece that begins at `start`.
    pub(super) fn begin(
        &self,
        id: TicketId,
        start: u64,
        held: Held,
        body: Weak<dyn Collecting>,
    ) -> Filling {
        let mut pieces = lock(&self.pieces);
        let number = pieces.next;
        pieces.next += 1;
        pieces.begun.insert(number, (id, body));
        Filling { start, buffers: Vec::new(), bytes: 0, held, number }
    }

    /// Has the pieces that were begun first stored as they are, of one upload or of any, until they hold so many units.
    fn make_room(&self, of: Option<TicketId>, units: u32) {
        let mut made = 0;
        while made < units as usize {
            let mut pieces = lock(&self.pieces);
            let mut begun = pieces.begun.iter();
            let first = begun.find(|(_, (id, _))| of.is_none_or(|of| of == *id));
            let Some(number) = first.map(|(number, _)| *number) else { return };
            let body = pieces.begun.remove(&number).and_then(|(_, body)| body.upgrade());
            drop(pieces);
            made += body.map_or(0, Collecting::store_as_it_is);
        }
    }

    /// It is collected no more: answers its bytes, and the leave to hold them.
    pub(super) fn end(&self, filling: Filling) -> (u64, Payload, Held) {
        lock(&self.pieces).begun.remove(&filling.number);
        let buffers = filling.buffers.into_iter().map(Bytes::from);
        (filling.start, buffers.collect(), filling.held)
    }
}

impl Filling {
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes
    }

    /// Bytes that there is leave for.
    pub(super) fn room(&self) -> u64 {
        (self.held.units() as u64 * UNIT).saturating_sub(self.bytes)
    }

    /// Takes `bytes`, for which there is room; up to `most` are to come, those included.
    pub(super) fn take(&mut self, mut bytes: &[u8], most: u64) {
        let mut most = usize::try_from(most).unwrap_or(usize::MAX);
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let last = self.buffers.last_mut().filter(|last| last.len() < last.capacity());
            let Some(last) = last else {
                self.buffers.push(Vec::with_capacity(most.clamp(bytes.len().min(BUFFER), BUFFER)));
                continue;
            };
            let (now, later) = bytes.split_at(bytes.len().min(last.capacity() - last.len()));
            last.extend_from_slice(now);
            (bytes, most) = (later, most.saturating_sub(now.len()));
        }
    }

    /// Units that it is to grow by, where up to `most` bytes follow: as many again as it has, up to 1 MiB.
    pub(super) fn next_units(&self, most: u64) -> u32 {
        let more = (self.held.units() as u64).min(STEP).min(most.div_ceil(UNIT)).max(1);
        u32::try_from(more).unwrap_or(1)
    }

    /// It may hold more.
    pub(super) fn grow(&mut self, held: Held) {
        self.held.own.merge(held.own);
        self.held.all.merge(held.all);
    }
}

impl Held {
    /// How many.
    pub(super) fn units(&self) -> usize {
        self.all.num_permits()
    }
}

/// What it is counted in.
const UNIT: u64 = 64 << 10;
/// Bytes of a buffer: one unit.
const BUFFER: usize = 64 << 10;
/// Units that a piece grows by, at most.
const STEP: u64 = 16;
/// One upload has at most one part in so many.
const OF_ONE: usize = 8;
/// 8 MiB.
const LEAST_UNITS: usize = 128;
/// A body that waits makes room again.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    struct Body {
        memory: Arc<Memory>,
        filling: Mutex<Option<Filling>>,
    }

    impl Body {
        fn is_stored(&self) -> bool {
            lock(&self.filling).is_none()
        }
    }

    impl Collecting for Body {
        fn store_as_it_is(self: Arc<Self>) -> usize {
            let Some(filling) = lock(&self.filling).take() else { return 0 };
            let (_, _, held) = self.memory.end(filling);
            held.units()
        }
    }

    /// A client that has sent so much, and stops.
    async fn body(memory: &Arc<Memory>, id: u8, own: &Arc<Semaphore>, units: u32) -> Arc<Body> {
        let (memory, id) = (Arc::clone(memory), TicketId::from_random([id; 16]));
        let body = Arc::new(Body { memory: Arc::clone(&memory), filling: Mutex::new(None) });
        let held = memory.hold((id, own), units).await;
        let weak: Weak<dyn Collecting> = Arc::downgrade(&(body.clone() as Arc<dyn Collecting>));
        *lock(&body.filling) = Some(memory.begin(id, 0, held, weak));
        body
    }

    /// A thousand clients that have stopped sending hold what there is; the next one gets some at once.
    #[tokio::test(start_paused = true)]
    async fn room_is_made_at_the_cost_of_the_oldest() {
        let memory = Arc::new(Memory::new(8 << 20));
        let mut bodies = Vec::new();
        for number in 0..1000_u32 {
            let own = memory.of_one();
            bodies.push(body(&memory, u8::try_from(number % 256).unwrap(), &own, 2).await);
        }
        assert_eq!(memory.waiting_bytes(), 8 << 20);
        assert!(bodies[..936].iter().all(|body| body.is_stored()));
        assert!(!bodies[936..].iter().any(|body| body.is_stored()));
        let large = body(&memory, 7, &memory.of_one(), 16).await;
        assert_eq!(bodies.iter().filter(|body| !body.is_stored()).count(), 56);
        drop((large, bodies));
        assert_eq!(memory.waiting_bytes(), 0);
    }

    /// One upload has its part alone, and makes room for itself at its own cost.
    #[tokio::test(start_paused = true)]
    async fn one_upload_has_its_part() {
        let memory = Arc::new(Memory::new(8 << 20));
        let (own, other) = (memory.of_one(), memory.of_one());
        let theirs = body(&memory, 2, &other, 16).await;
        let first = body(&memory, 1, &own, 8).await;
        let second = body(&memory, 1, &own, 8).await;
        let third = body(&memory, 1, &own, 4).await;
        assert!(first.is_stored() && !theirs.is_stored());
        assert!(!second.is_stored() && !third.is_stored());
        assert_eq!(memory.waiting_bytes(), 28 * UNIT);
    }
}
