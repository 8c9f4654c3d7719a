//! What a chunk costs: requests to the bucket and appends to the log.

use super::*;
use crate::core::event::{Removal, Ticket};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::limits::Limits;
use crate::core::object_command::{ObjectCommand, StoredPiece};
use crate::core::piece_event::{ClaimId, Etag};
use crate::core::time::{Timestamp, Uptime};
use crate::storage::event_log::{Append, Appended, LogError, LogRead};
use crate::storage::memory::bucket::{
    BrokenPart, BucketRules, Etags, MemoryBucket, PartSizes, Unknown,
};
use crate::storage::memory::event_log::MemoryEventLog;
use crate::storage::objects::{ObjectAnswer, ObjectRequest, OrphanRule};
use bytes::Bytes;
use std::sync::atomic::{AtomicU64, Ordering};

/// A log and a bucket that note what is asked of them.
struct Counted {
    log: Mutex<MemoryEventLog>,
    bucket: Mutex<MemoryBucket>,
    orphans: OrphanRule,
    asked: Mutex<Vec<&'static str>>,
    drawn: AtomicU64,
}

impl Counted {
    fn note(&self, what: &'static str) {
        self.asked.lock().unwrap().push(what);
    }

    /// What was asked for since the last time.
    fn taken(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

impl EventLog for Counted {
    async fn create(&self, id: TicketId, append: Append) -> Result<Appended, LogError> {
        Ok(self.log.lock().unwrap().create(id, append))
    }

    async fn read(&self, id: TicketId, seen: Option<Seen>) -> Result<LogRead, LogError> {
        Ok(self.log.lock().unwrap().read(id, seen))
    }

    async fn append(&self, id: TicketId, seen: Seen, append: Append) -> Result<Appended, LogError> {
        self.note("append");
        Ok(self.log.lock().unwrap().append(id, seen, append))
    }

    async fn hold(&self, id: TicketId, holder: u64, time: Duration) -> Result<bool, LogError> {
        let ms = u64::try_from(time.as_millis()).unwrap();
        Ok(self.log.lock().unwrap().hold(id, holder, 1, ms))
    }

    async fn remove(&self, id: TicketId, seen: Seen) -> Result<Appended, LogError> {
        Ok(self.log.lock().unwrap().remove(id, seen))
    }
}

impl Objects for Counted {
    async fn ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        self.note(match &request {
            ObjectRequest::Put(..) => "put",
            ObjectRequest::Get(..) => "get",
            ObjectRequest::Head(_) | ObjectRequest::Describe(_) => "head",
            ObjectRequest::Delete(_) => "delete",
            ObjectRequest::Begin(_) => "begin",
            ObjectRequest::Part(..) => "part",
            ObjectRequest::CopyPart(..) => "copy",
            ObjectRequest::Complete(..) => "complete",
            ObjectRequest::Abort(_) => "abort",
            ObjectRequest::ListParts(_) => "list parts",
            ObjectRequest::List(_) => "list",
            ObjectRequest::ListMultiparts(_) => "list multiparts",
        });
        self.bucket.lock().unwrap().act(&request)
    }

    fn orphan_rule(&self) -> OrphanRule {
        self.orphans
    }

    fn etag_of(&self, parts: &[&Etag]) -> Option<Etag> {
        Some(MemoryBucket::etag_of(parts))
    }
}

impl Backing for Counted {
    fn now(&self) -> Stamp {
        Stamp { date: Timestamp(1), uptime: Uptime(1) }
    }

    fn local_ms(&self) -> u64 {
        1
    }

    fn random(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }

    fn name(&self, purpose: Purpose) -> ObjectName {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.random().to_be_bytes());
        ObjectName { purpose, random }
    }

    async fn sleep(&self, _: Duration) {
        unreachable!("nothing fails here")
    }

    fn limits(&self) -> ObjectLimits {
        let limits =
            Limits { max_chunk_bytes: None, max_upload_bytes: Some(1000), grid_bytes: None };
        ObjectLimits { limits, part_bytes: CELL }
    }
}

const CELL: u64 = 10;

async fn engine(orphans: OrphanRule) -> (ObjectEngine<Counted>, TicketId) {
    engine_of(orphans, Etags::OfContent).await
}

async fn engine_of(orphans: OrphanRule, etags: Etags) -> (ObjectEngine<Counted>, TicketId) {
    let (sizes, unknown) = (PartSizes::Any, Unknown::Gone);
    let rules = BucketRules {
        orphans,
        etags,
        min_part_bytes: 5,
        sizes,
        unknown,
        broken: BrokenPart::Destroys,
    };
    let backing = Counted {
        log: Mutex::default(),
        bucket: Mutex::new(MemoryBucket::new(rules)),
        orphans,
        asked: Mutex::default(),
        drawn: AtomicU64::new(1),
    };
    let time = Duration::from_secs(100);
    let tuning = ObjectTuning {
        multipart_lifetime: time,
        hold: time,
        call_hold: time,
        second_look: time,
        pause: time,
        tries: 3,
    };
    let id = TicketId::from_random([1; 16]);
    let ticket = Ticket {
        removal: Removal::Keep,
        ..Ticket::new(
            id,
            Stamp { date: Timestamp(1), uptime: Uptime(1) },
            "http://backend/done".into(),
        )
    };
    let engine = ObjectEngine::new(backing, 1, tuning);
    engine.create(ticket).await.unwrap();
    (engine, id)
}

async fn send(
    engine: &ObjectEngine<Counted>,
    id: TicketId,
    (start, end): (u64, u64),
    length: u64,
) -> Vec<&'static str> {
    let body = Bytes::from((start..end).map(|at| at.to_be_bytes()[7]).collect::<Vec<_>>());
    let claim = ClaimId(engine.backing().random());
    let chunk = Chunk { claim, offset: start, body, length: Some(length), pieces_an_append: 100 };
    engine.receive(id, chunk).await.unwrap();
    engine.backing().taken()
}

/// One request to the bucket, and two appends, of which the first need not be waited for by its client.
#[tokio::test]
async fn an_aligned_chunk_is_one_part() {
    for orphans in [OrphanRule::Dropped, OrphanRule::Refused] {
        let (engine, id) = engine(orphans).await;
        let first = send(&engine, id, (10, 20), 35).await;
        assert_eq!(first, ["begin", "append", "append", "part", "append"], "once for each file");
        assert_eq!(send(&engine, id, (0, 10), 35).await, ["append", "part", "append"]);
        // Several cells at once are no more appends.
        assert_eq!(send(&engine, id, (20, 35), 35).await, ["append", "part", "put", "append"]);
        // What is known already needs no request.
        assert_eq!(send(&engine, id, (0, 35), 35).await, [""; 0]);
        engine.advance(id).await.unwrap();
        let whole = match orphans {
            OrphanRule::Dropped => vec!["append", "copy", "append", "append", "complete", "append"],
            OrphanRule::Refused => {
                vec!["append", "copy", "append", "list parts", "append", "complete", "append"]
            }
        };
        assert_eq!(engine.backing().taken(), whole);
        let object = engine.view(id).await.unwrap().upload.pieces().published().unwrap();
        let bucket = engine.backing().bucket.lock().unwrap();
        let held = bucket.object(crate::storage::objects::Key { id, name: object }).unwrap();
        assert!(held.iter().map(|byte| u64::from(*byte)).eq(0..35));
    }
}

#[tokio::test]
async fn a_small_file_is_one_request_and_one_append() {
    let (engine, id) = engine(OrphanRule::Refused).await;
    assert_eq!(send(&engine, id, (0, 7), 7).await, ["put", "append"]);
    engine.advance(id).await.unwrap();
    assert_eq!(engine.backing().taken(), [""; 0]);
    assert!(engine.view(id).await.unwrap().upload.pieces().published().is_some());
}

/// Chunks that end within a cell are fragments, and their cell is put together once.
#[tokio::test]
async fn unaligned_chunks_are_fragments() {
    let (engine, id) = engine(OrphanRule::Dropped).await;
    for (start, end) in [(0, 4), (4, 8), (8, 12)] {
        let pieces = if start == 8 { 2 } else { 1 };
        let expected = [vec!["put"; pieces], vec!["append"]].concat();
        assert_eq!(send(&engine, id, (start, end), 12).await, expected);
    }
    engine.advance(id).await.unwrap();
    let asked = engine.backing().taken();
    let count = |what| asked.iter().filter(|it| **it == what).count();
    assert_eq!((count("begin"), count("complete")), (1, 1), "{asked:?}");
    // Three pieces of the first cell; the second one is copied within the store.
    assert_eq!((count("get"), count("part"), count("copy")), (3, 1, 1), "{asked:?}");
}

/// A failover lost the list that an object was made of, and the record of its part; the list that the log has then is of
/// another part, of as many bytes.
#[tokio::test]
async fn an_object_of_another_list_is_no_part_of_the_file() {
    for (etags, is_told) in [(Etags::OfContent, true), (Etags::OfRequest, false)] {
        let (engine, id) = engine_of(OrphanRule::Dropped, etags).await;
        let (claim, length) = (ClaimId(7), Some(30));
        let count = |piece| ObjectCommand::Count { claim, pieces: vec![piece], length };
        let view = engine.view(id).await.unwrap();
        let grid = view.upload.grid(length, &engine.backing().limits()).unwrap();
        let extents = [0, 10].map(|start| Extent::new(start, start + CELL).unwrap());
        let mut missing = ExtentSet::new();
        extents.iter().for_each(|extent| missing.insert(*extent));
        let slots = engine.slots(id, &view, claim, &missing, (grid, length)).await.unwrap();
        let mut pieces = Vec::new();
        for (extent, text) in extents.into_iter().zip([b"first part", b"other part"]) {
            let slot = grid.direct_cell(extent).and_then(|cell| slots.take(cell));
            assert!(slot.is_some());
            let bytes = Bytes::from_static(text).into();
            let piece = engine.store_piece(id, bytes, slot, Purpose::Fragment).await.unwrap();
            pieces.push(StoredPiece { extent, piece });
        }
        let claimed = engine.view(id).await.unwrap().seen.seq;
        let [first, other] = <[StoredPiece; 2]>::try_from(pieces).unwrap();
        engine.change(id, count(first)).await.unwrap();
        let view = engine.make_readable(id).await.unwrap();
        assert!(view.upload.pieces().readable(extents[0]).is_some());
        engine.backing().log.lock().unwrap().set_back(id, claimed);
        engine.change(id, count(other)).await.unwrap();
        let view = engine.make_readable(id).await.unwrap();
        let is_taken = view.upload.pieces().readable(extents[1]).is_some();
        assert_eq!(is_taken, !is_told, "{etags:?}");
        assert_eq!(view.upload.upload().received().contains(extents[1]), is_taken);
    }
}
