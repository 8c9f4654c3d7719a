//! What is allowed: the log as it really is, the bytes as they first counted, and what was promised to whom. It decides
//! nothing: it says what must not be, after every append and every effect in the bucket.

use crate::seen::{Seen, seen};
use incoming::core::event::Event;
use incoming::core::extent::{Extent, ExtentSet};
use incoming::core::grid::PartNumber;
use incoming::core::id::TicketId;
use incoming::core::object_upload::ObjectUpload;
use incoming::core::piece_event::{Missing, ObjectEvent, Piece, PieceEvent};
use incoming::core::pieces::{Generation, ObjectRange};
use incoming::core::upload::Phase;
use incoming::storage::memory::bucket::{Etags, MemoryBucket};
use incoming::storage::objects::{Key, Multipart, ObjectRequest};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) seen: BTreeMap<Seen, u64>,
    pub(crate) uploads: BTreeMap<TicketId, Known>,
    pub(crate) requests: Vec<Request>,
}

/// What is known of one upload.
pub(crate) struct Known {
    /// The sum of its log.
    pub(crate) truth: ObjectUpload,
    /// The bytes as they first counted.
    pub(crate) content: Vec<Option<u8>>,
    pub(crate) acknowledged: ExtentSet,
    /// How often bytes have become missing again, with a reason.
    pub(crate) shrunk: u32,
    /// The log was set back: what was promised before is void, and numbers may be used again.
    pub(crate) was_set_back: bool,
    /// The store has lost something.
    pub(crate) may_lose: bool,
    pub(crate) cancel_asked: bool,
    /// The backend has said that it has the file, or knows of the cancel.
    pub(crate) settled: bool,
    pub(crate) calls_begun: u32,
    pub(crate) last_begun_ms: u64,
    pub(crate) calls_sent: u32,
    /// Who calls the backend, since when.
    pub(crate) calling: Vec<(u64, u64)>,
    pub(crate) gave_up: bool,
    pub(crate) forgotten: bool,
    parts: BTreeSet<(Multipart, PartNumber)>,
}

/// One PUT.
pub(crate) struct Request {
    pub(crate) id: TicketId,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

type Judgement = Result<(), String>;

/// The byte that a request sends for an offset: no two requests send the same.
pub(crate) fn byte(request: usize, offset: u64) -> u8 {
    let mixed = (offset + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ((request as u64 + 1) << 40);
    (mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 56) as u8
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl Known {
    pub(crate) fn new(truth: ObjectUpload) -> Self {
        Self {
            truth,
            content: vec![None; 64],
            acknowledged: ExtentSet::new(),
            shrunk: 0,
            was_set_back: false,
            may_lose: false,
            cancel_asked: false,
            settled: false,
            calls_begun: 0,
            last_begun_ms: 0,
            calls_sent: 0,
            calling: Vec::new(),
            gave_up: false,
            forgotten: false,
            parts: BTreeSet::new(),
        }
    }

    /// The bytes of an extent, all of which count.
    fn bytes(&self, extent: Extent) -> Option<Vec<u8>> {
        self.content[place(extent.start())..place(extent.end())].iter().copied().collect()
    }

    /// The whole file.
    pub(crate) fn file(&self) -> Option<Vec<u8>> {
        let length = self.truth.upload().length()?;
        Extent::new(0, length).map_or(Some(Vec::new()), |whole| self.bytes(whole))
    }

    /// The store's names say nothing of content, and the log nothing of all lists: an object of another list of as many bytes
    /// cannot be told from the right one (README.md of `tests/cluster`, "Open").
    fn is_told_by_length(&self, bucket: &MemoryBucket) -> bool {
        self.was_set_back && bucket.rules().etags == Etags::OfRequest
    }

    fn is_excused(&self) -> bool {
        self.was_set_back || self.may_lose
    }

    /// Keeps only what still counts.
    fn forget_bytes(&mut self) {
        let received = self.truth.upload().received().clone();
        let mut acknowledged = ExtentSet::new();
        for extent in self.acknowledged.as_slice() {
            acknowledged.insert_all(&received.within(*extent));
        }
        self.acknowledged = acknowledged;
        for (offset, byte) in self.content.iter_mut().enumerate() {
            let at = offset as u64;
            if !received.contains(Extent::new(at, at + 1).unwrap()) {
                *byte = None;
            }
        }
        self.shrunk += 1;
    }
}

impl Model {
    pub(crate) fn truth(&self, id: TicketId) -> Option<&ObjectUpload> {
        self.uploads.get(&id).filter(|known| !known.forgotten).map(|known| &known.truth)
    }

    pub(crate) fn known(&mut self, id: TicketId) -> &mut Known {
        self.uploads.get_mut(&id).expect("uploads are known before anything happens to them")
    }

    /// Takes an append, and judges it.
    pub(crate) fn appended(
        &mut self,
        id: TicketId,
        events: &[ObjectEvent],
        bucket: &MemoryBucket,
        now_ms: u64,
    ) -> Judgement {
        for event in events {
            self.event(id, event, bucket, now_ms)?;
        }
        Ok(())
    }

    fn event(
        &mut self,
        id: TicketId,
        event: &ObjectEvent,
        bucket: &MemoryBucket,
        now_ms: u64,
    ) -> Judgement {
        let requests = std::mem::take(&mut self.requests);
        let judged = self.known(id).judge(id, event, bucket, &requests, now_ms);
        self.requests = requests;
        if let Some(seen) = seen(&self.known(id).truth, event) {
            *self.seen.entry(seen).or_default() += 1;
        }
        let known = self.known(id);
        known.truth.apply(event);
        if matches!(event, ObjectEvent::Piece(PieceEvent::Lost { .. })) {
            known.forget_bytes();
        }
        judged
    }

    /// The log was set back, and now says this.
    pub(crate) fn set_back(&mut self, id: TicketId, truth: ObjectUpload) {
        *self.seen.entry(Seen::SetBack).or_default() += 1;
        let known = self.known(id);
        known.truth = truth;
        known.was_set_back = true;
        known.forget_bytes();
    }

    pub(crate) fn forgotten(&mut self, id: TicketId) -> Judgement {
        let known = self.known(id);
        known.forgotten = true;
        if known.truth.pieces().is_released() { Ok(()) } else { Err("forgotten too early".into()) }
    }

    /// What is about to have its effect in the bucket.
    pub(crate) fn before(&mut self, request: &ObjectRequest, bucket: &MemoryBucket) -> Judgement {
        match request {
            ObjectRequest::Put(key, _) if bucket.object(*key).is_some() => {
                Err(format!("the name {:?} is used twice", key.name))
            }
            ObjectRequest::Complete(multipart, _)
                if bucket.object(multipart.key).is_some() && bucket.has(multipart) =>
            {
                Err(format!("the name {:?} is used twice", multipart.key.name))
            }
            _ => Ok(()),
        }
    }

    /// What has had its effect in the bucket.
    pub(crate) fn part_stored(&mut self, request: &ObjectRequest) -> Judgement {
        let (ObjectRequest::Part(multipart, number, _)
        | ObjectRequest::CopyPart(multipart, number, _)) = request
        else {
            return Ok(());
        };
        let known = self.known(multipart.key.id);
        let is_first = known.parts.insert((multipart.clone(), *number));
        if is_first || known.was_set_back {
            Ok(())
        } else {
            Err(format!("part {} is sent twice", number.get()))
        }
    }

    /// Whether every byte that counts is where the log says, and is the byte that first counted.
    pub(crate) fn look(&mut self, id: TicketId, bucket: &MemoryBucket) -> Judgement {
        let Some(known) = self.uploads.get(&id).filter(|known| !known.forgotten) else {
            return Ok(());
        };
        if let Some(name) = known.truth.kept_object() {
            let held = bucket.object(Key { id, name });
            let fits = held.is_some_and(|held| Some(held.to_vec()) == known.file());
            return if fits || known.is_told_by_length(bucket) {
                Ok(())
            } else {
                Err("the file is not what was sent".into())
            };
        }
        if !known.truth.takes_bytes() || known.is_excused() {
            return Ok(());
        }
        let pieces = known.truth.pieces();
        for extent in known.truth.upload().received().as_slice() {
            for offset in extent.start()..extent.end() {
                let one = Extent::new(offset, offset + 1).unwrap();
                let Some(ranges) = pieces.readable(one) else { continue };
                let found = ranges.first().and_then(|range| read(bucket, id, *range));
                if found.as_deref() != known.bytes(one).as_deref() {
                    return Err(format!("byte {offset} is not where the log says"));
                }
            }
        }
        pieces.current().map_or(Ok(()), |current| known.look_at_parts(id, current, bucket))
    }
}

fn read(bucket: &MemoryBucket, id: TicketId, range: ObjectRange) -> Option<Vec<u8>> {
    let object = bucket.object(Key { id, name: range.object })?;
    object.get(place(range.offset)..place(range.offset + range.bytes)).map(<[u8]>::to_vec)
}

impl Known {
    /// Direct parts can be read by nobody, so they have to stay what they are until they are an object.
    fn look_at_parts(
        &self,
        id: TicketId,
        current: &Generation,
        bucket: &MemoryBucket,
    ) -> Judgement {
        let key = Key { id, name: current.object };
        let multipart = Multipart { key, name: current.multipart.clone() };
        if let Some(object) = bucket.object(key) {
            let layout = current.made_of(object.len() as u64);
            let layout = layout.ok_or("an object was made of a list that no record has")?;
            let mut at = 0;
            for part in &layout.parts {
                let end = at + place(part.bytes);
                if let Some(extent) = part.extent
                    && self.bytes(extent).as_deref() != object.get(at..end)
                {
                    return Err(format!("{extent:?} is not what was sent"));
                }
                at = end;
            }
            return Ok(());
        }
        for part in current.parts().filter(|part| part.number.is_direct()) {
            let fits = bucket.held_part(&multipart, part.number).is_some_and(|(etag, bytes)| {
                *etag == part.etag && Some(bytes.to_vec()) == self.bytes(part.extent)
            });
            if !fits {
                return Err(format!("part {} is not what was counted", part.number.get()));
            }
        }
        Ok(())
    }

    fn judge(
        &mut self,
        id: TicketId,
        event: &ObjectEvent,
        bucket: &MemoryBucket,
        requests: &[Request],
        now_ms: u64,
    ) -> Judgement {
        match event {
            ObjectEvent::Piece(event) => self.judge_piece(id, event, bucket, requests),
            ObjectEvent::Upload(event) => self.judge_event(event, now_ms),
        }
    }

    fn judge_event(&mut self, event: &Event, now_ms: u64) -> Judgement {
        match event {
            Event::Cancelled { at, .. } => {
                let idle = at.uptime.since(self.truth.upload().last_active().uptime);
                let may = self.cancel_asked || idle >= crate::plan::IDLE;
                if may { Ok(()) } else { Err("cancelled, and nobody asked".into()) }
            }
            Event::CallBegun { .. } => {
                self.calls_begun += 1;
                self.last_begun_ms = now_ms;
                let pending = self.truth.upload().pending_calls().is_some();
                if pending { Ok(()) } else { Err("a call begins behind the end".into()) }
            }
            Event::Finished { .. } | Event::NoticeEnded { .. } if self.settled || self.gave_up => {
                Ok(())
            }
            Event::Finished { .. } => Err("finished by nobody".into()),
            Event::Failed { .. } if !self.gave_up => Err("given up by nobody".into()),
            _ => Ok(()),
        }
    }

    fn judge_piece(
        &mut self,
        id: TicketId,
        event: &PieceEvent,
        bucket: &MemoryBucket,
        requests: &[Request],
    ) -> Judgement {
        match event {
            PieceEvent::Stored { extent, piece, .. } => {
                if self.truth.upload().received().missing_in(*extent) != ExtentSet::of(*extent) {
                    return Err(format!("{extent:?} is stored twice"));
                }
                let found = self.found(id, *extent, piece, bucket);
                let Some(found) = found else {
                    let excused = self.is_excused();
                    let what = format!("a record names what is not there: {piece:?}");
                    return if excused { Ok(()) } else { Err(what) };
                };
                for (offset, seen) in (extent.start()..extent.end()).zip(found) {
                    let sent = requests.iter().enumerate().any(|(number, request)| {
                        request.id == id
                            && (request.start..request.end).contains(&offset)
                            && byte(number, offset) == seen
                    });
                    if !sent {
                        return Err(format!("byte {offset} was sent by nobody"));
                    }
                    self.content[place(offset)] = Some(seen);
                }
                Ok(())
            }
            PieceEvent::Claimed { slots, .. } => {
                let current = self.truth.pieces().current();
                let free = current.is_some_and(|it| slots.iter().all(|number| it.is_free(*number)));
                if free { Ok(()) } else { Err("leave for a part is given twice".into()) }
            }
            PieceEvent::Opened { .. } if self.truth.pieces().current().is_some() => {
                Err("two generations are open".into())
            }
            PieceEvent::Published { object, .. } => {
                let held = bucket.object(Key { id, name: *object }).map(|held| held.to_vec());
                let fits = held.is_some() && held == self.file();
                if fits || self.is_told_by_length(bucket) {
                    Ok(())
                } else {
                    Err("what is published is not what was sent".into())
                }
            }
            // It was aborted by who found nothing in it that counts.
            PieceEvent::Lost { missing: Missing::Multipart { .. } }
                if self.truth.pieces().current().is_some_and(|it| it.parts().next().is_none()) =>
            {
                Ok(())
            }
            PieceEvent::Lost { missing } if !self.is_excused() => {
                Err(format!("said to be lost, and the store has it: {missing:?}"))
            }
            PieceEvent::Released { .. } if self.truth.over_since().is_none() => {
                Err("released before its end".into())
            }
            _ => Ok(()),
        }
    }

    fn found(
        &self,
        id: TicketId,
        extent: Extent,
        piece: &Piece,
        bucket: &MemoryBucket,
    ) -> Option<Vec<u8>> {
        match piece {
            Piece::Fragment { name, offset } => {
                let range = ObjectRange { object: *name, offset: *offset, bytes: extent.len() };
                read(bucket, id, range)
            }
            Piece::Part { generation, cell, etag } => {
                let current = self.truth.pieces().current()?;
                let key = Key { id, name: current.object };
                let multipart = Multipart { key, name: current.multipart.clone() };
                if current.number != *generation {
                    return None;
                }
                if !bucket.has(&multipart) {
                    // Complete already: the record of a part came late, to a log that was set back.
                    let (offset, bytes) = (extent.start(), extent.len());
                    return read(bucket, id, ObjectRange { object: current.object, offset, bytes });
                }
                let (held, bytes) = bucket.held_part(&multipart, cell.direct())?;
                (held == etag).then(|| bytes.to_vec())
            }
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.forgotten
            || matches!(self.truth.upload().phase(), Phase::Finished { .. } | Phase::Failed { .. })
            || matches!(self.truth.upload().phase(), Phase::Cancelled { calls: None, .. })
    }
}
