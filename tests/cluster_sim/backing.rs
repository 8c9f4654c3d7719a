//! What the procedures of one simulated server use: every request goes to the network of the schedule and waits there for
//! its fate. The deliberate faults are here, between a right procedure and a right store.

use crate::mutation::Mutation;
use crate::network::{Answer, Wire};
use crate::servers::STARTS;
use crate::world::World;
use incoming::core::event::Event;
use incoming::core::grid::PartNumber;
use incoming::core::id::TicketId;
use incoming::core::object_command::ObjectLimits;
use incoming::core::piece_event::{Etag, ObjectEvent, ObjectName, Piece, PieceEvent, Purpose};
use incoming::core::time::{Stamp, Timestamp, Uptime};
use incoming::engine::objects::Backing;
use incoming::storage::event_log::{Append, Appended, EventLog, LogError, LogRead, Seen};
use incoming::storage::memory::bucket::MemoryBucket;
use incoming::storage::objects::{
    Key, ObjectAnswer, ObjectError, ObjectRequest, Objects, OrphanRule,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

pub(crate) struct SimBacking {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) server: u64,
    pub(crate) mutation: Option<Mutation>,
}

/// Whether a server with this fault believes that it has recorded this, and has not.
fn leaves_out(mutation: Mutation, append: &Append) -> bool {
    append.events.iter().any(|event| match event {
        ObjectEvent::Piece(PieceEvent::Claimed { .. }) => mutation == Mutation::ClaimNotRecorded,
        ObjectEvent::Piece(PieceEvent::Released { .. }) => mutation == Mutation::ReleaseNotRecorded,
        ObjectEvent::Upload(Event::CallBegun { .. }) => mutation == Mutation::CallNotRecorded,
        _ => false,
    })
}

/// Waits until the network delivers an answer.
struct Reply {
    world: Arc<Mutex<World>>,
    wire: Option<Wire>,
    slot: Arc<Mutex<Option<Answer>>>,
}

impl Future for Reply {
    type Output = Answer;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Answer> {
        let this = self.get_mut();
        if let Some(wire) = this.wire.take() {
            this.world.lock().unwrap().network.send(wire, Arc::clone(&this.slot));
            return Poll::Pending;
        }
        this.slot.lock().unwrap().take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl SimBacking {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    fn send(&self, wire: Wire) -> Reply {
        let (world, slot) = (Arc::clone(&self.world), Arc::default());
        Reply { world, wire: Some(wire), slot }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    async fn plain_append(
        &self,
        id: TicketId,
        seen: Seen,
        append: Append,
    ) -> Result<Appended, LogError> {
        match self.send(Wire::Append(id, seen, append)).await {
            Answer::Appended(appended) => appended,
            other => panic!("{other:?}"),
        }
    }

    async fn plain_ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        match self.send(Wire::Store(request)).await {
            Answer::Store(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    async fn delete_fragments(&self, keys: Vec<Key>) {
        for key in keys {
            drop(self.plain_ask(ObjectRequest::Delete(key)).await);
        }
    }
}

impl EventLog for SimBacking {
    async fn create(&self, _: TicketId, _: Append) -> Result<Appended, LogError> {
        unreachable!("schedules begin logs by themselves")
    }

    async fn read(&self, id: TicketId, seen: Option<Seen>) -> Result<LogRead, LogError> {
        if self.is(Mutation::StaleReads) && seen.is_some() {
            return Ok(LogRead::More(Vec::new()));
        }
        let Answer::Read(read) = self.send(Wire::Read(id, seen)).await else { panic!("no read") };
        match (read, seen) {
            (Ok(LogRead::OtherHistory), Some(seen)) if self.is(Mutation::SeqAlone) => {
                let LogRead::More(all) = self.world().log.read(id, None) else {
                    return Ok(LogRead::Unknown);
                };
                let known = usize::try_from(seen.seq).unwrap().min(all.len());
                Ok(LogRead::More(all[known..].to_vec()))
            }
            (read, _) => read,
        }
    }

    async fn append(&self, id: TicketId, seen: Seen, append: Append) -> Result<Appended, LogError> {
        let at = Appended::At(Seen { seq: seen.seq + 1, tag: append.tag });
        let pieces = |it: &ObjectEvent| match it {
            ObjectEvent::Piece(piece) => Some(piece.clone()),
            ObjectEvent::Upload(_) => None,
        };
        let pieces: Vec<PieceEvent> = append.events.iter().filter_map(pieces).collect();
        let stores = pieces.iter().any(|it| matches!(it, PieceEvent::Stored { .. }));
        let fragments = pieces.iter().filter_map(|it| match it {
            PieceEvent::Stored { piece: Piece::Fragment { name, .. }, .. } => {
                Some(Key { id, name: *name })
            }
            _ => None,
        });
        let fragments: Vec<Key> = fragments.collect();
        match self.mutation {
            Some(Mutation::AckBeforeAppend) if stores => {
                self.world().network.leave_ghost(id, seen, append);
                Ok(at)
            }
            Some(Mutation::BlindAppend) => {
                let head = self.world().log.head(id).unwrap_or(seen);
                self.plain_append(id, head, append).await
            }
            Some(Mutation::UnsureAppendIsNo) => {
                Ok(self.plain_append(id, seen, append).await.unwrap_or(Appended::Behind))
            }
            Some(Mutation::UnsureAppendIsYes) => {
                Ok(self.plain_append(id, seen, append).await.unwrap_or(at))
            }
            Some(Mutation::DeleteBeforeCount | Mutation::CleanBeforePublished) => {
                let early = pieces.iter().any(|it| match it {
                    PieceEvent::Composed { .. } => self.is(Mutation::DeleteBeforeCount),
                    PieceEvent::Sealing { .. } => self.is(Mutation::CleanBeforePublished),
                    _ => false,
                });
                if early {
                    let keys = self.world().fragments_of(id);
                    self.delete_fragments(keys).await;
                }
                self.plain_append(id, seen, append).await
            }
            Some(Mutation::DeleteWhenBehind) => {
                let appended = self.plain_append(id, seen, append).await;
                if appended == Ok(Appended::Behind) {
                    self.delete_fragments(fragments).await;
                }
                appended
            }
            Some(mutation) if leaves_out(mutation, &append) => Ok(at),
            Some(Mutation::OrphansNotRecorded) => {
                let without = |event: &ObjectEvent| match event {
                    ObjectEvent::Piece(PieceEvent::Sealing { generation, .. }) => {
                        let (generation, orphans) = (*generation, Vec::new());
                        ObjectEvent::Piece(PieceEvent::Sealing { generation, orphans })
                    }
                    other => other.clone(),
                };
                let events = append.events.iter().map(without).collect();
                self.plain_append(id, seen, Append { tag: append.tag, events, marks: None }).await
            }
            Some(_) | None => self.plain_append(id, seen, append).await,
        }
    }

    async fn hold(&self, id: TicketId, holder: u64, time: Duration) -> Result<bool, LogError> {
        let without = self.is(Mutation::CallWithoutHold);
        let wire = Wire::Hold(id, holder, u64::try_from(time.as_millis()).unwrap());
        match self.send(wire).await {
            Answer::Held(held) => {
                if without {
                    Ok(true)
                } else {
                    held
                }
            }
            other => panic!("{other:?}"),
        }
    }

    async fn remove(&self, id: TicketId, seen: Seen) -> Result<Appended, LogError> {
        match self.send(Wire::Remove(id, seen)).await {
            Answer::Appended(appended) => appended,
            other => panic!("{other:?}"),
        }
    }
}

impl Objects for SimBacking {
    async fn ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        let direct = matches!(&request, ObjectRequest::Part(_, number, _) if number.is_direct());
        match (self.mutation, &request) {
            (Some(Mutation::StoredWithoutAnswer), ObjectRequest::Part(_, _, bytes)) if direct => {
                let etag = Etag(format!("{:08x}-{}", crc32c::crc32c(&bytes.joined()), bytes.len()));
                self.world().bucket.leave_ghost(request);
                Ok(ObjectAnswer::Part(etag))
            }
            (Some(Mutation::PartSentAgain), ObjectRequest::Part(..)) if direct => {
                match self.plain_ask(request.clone()).await {
                    Err(ObjectError::Unsure) => self.plain_ask(request).await,
                    answer => answer,
                }
            }
            (
                Some(Mutation::CopySentAgain),
                ObjectRequest::Part(..) | ObjectRequest::CopyPart(..),
            ) if !direct => match self.plain_ask(request.clone()).await {
                Err(ObjectError::Unsure) => self.plain_ask(request).await,
                answer => answer,
            },
            (Some(Mutation::CompleteFromListing), ObjectRequest::Complete(multipart, _)) => {
                let listed = ObjectRequest::ListParts(multipart.clone());
                match self.plain_ask(listed).await {
                    Ok(ObjectAnswer::Parts(parts)) => {
                        let list: Vec<(PartNumber, Etag)> =
                            parts.into_iter().map(|part| (part.number, part.etag)).collect();
                        self.plain_ask(ObjectRequest::Complete(multipart.clone(), list)).await
                    }
                    answer => answer,
                }
            }
            (Some(Mutation::OrphansIgnored), ObjectRequest::ListParts(multipart)) => {
                let id = multipart.key.id;
                let answer = self.plain_ask(request).await;
                match answer {
                    Ok(ObjectAnswer::Parts(mut parts)) => {
                        let recorded = self.world().recorded_numbers(id);
                        parts.retain(|part| recorded.contains(&part.number));
                        Ok(ObjectAnswer::Parts(parts))
                    }
                    answer => answer,
                }
            }
            (Some(mutation), ObjectRequest::Complete(_, list)) => {
                let expected = self.etag_of(&list.iter().map(|(_, etag)| etag).collect::<Vec<_>>());
                match (self.plain_ask(request).await, mutation) {
                    (Err(ObjectError::Unsure), Mutation::UnsureCompleteIsDone)
                    | (Err(ObjectError::Gone), Mutation::GoneIsDone) => {
                        Ok(ObjectAnswer::Completed(expected))
                    }
                    (answer, _) => answer,
                }
            }
            _ => self.plain_ask(request).await,
        }
    }

    fn orphan_rule(&self) -> OrphanRule {
        self.world().plan.bucket.orphans
    }

    fn etag_of(&self, parts: &[&Etag]) -> Option<Etag> {
        Some(MemoryBucket::etag_of(parts))
    }
}

impl Backing for SimBacking {
    fn now(&self) -> Stamp {
        let world = self.world();
        let server = usize::try_from(self.server / STARTS).unwrap();
        let now = world.now_ms + world.plan.ahead_ms[server];
        Stamp { date: Timestamp(now), uptime: Uptime(now) }
    }

    fn local_ms(&self) -> u64 {
        // Each process counts from another moment.
        if self.is(Mutation::LateCall) { 0 } else { self.world().now_ms + self.server * 12_345 }
    }

    fn random(&self) -> u64 {
        self.world().dice.next()
    }

    fn name(&self, purpose: Purpose) -> ObjectName {
        let mut world = self.world();
        let number = if self.is(Mutation::NamesRepeat) {
            world.count_name(self.server)
        } else if self.is(Mutation::OneKeyForAll) && purpose == Purpose::File {
            7
        } else {
            world.dice.next()
        };
        let mut random = [0; 16];
        random[..8].copy_from_slice(&number.to_be_bytes());
        ObjectName { purpose, random }
    }

    async fn sleep(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        if self.is(Mutation::FirstLookIsProof) && ms >= 60_000 {
            return;
        }
        let until = self.world().now_ms + ms;
        self.send(Wire::Sleep(until)).await;
    }

    fn limits(&self) -> ObjectLimits {
        self.world().plan.limits()
    }
}
