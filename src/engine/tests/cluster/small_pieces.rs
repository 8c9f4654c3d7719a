//! An upload in many small pieces, or of many bodies, costs others nothing, and its own client can go on.

use super::*;
use crate::core::limits::{MAX_JOINED_PIECES, MAX_SMALL_PIECES};
use crate::core::piece_event::{ObjectEvent, Piece, PieceEvent};
use crate::engine::error::JoinError;
use crate::engine::verify::Verdict;
use crate::storage::event_log::Tag;
use sha2::Digest as _;

/// Records `count` pieces of one byte behind the first byte of an upload.
async fn scatter(cluster: &Cluster, id: TicketId, count: u64) {
    let LogRead::More(appends) = cluster.log.read(id, None).await.unwrap() else { panic!() };
    let seen = Seen { seq: appends.len() as u64, tag: appends.last().unwrap().tag };
    let at = Stamp { date: Timestamp(cluster.log.now().0), uptime: cluster.log.now() };
    let name = ObjectName { purpose: Purpose::Fragment, random: [5; 16] };
    let bytes = Bytes::from(vec![b'x'; usize::try_from(count).unwrap() + 1]);
    let put = ObjectRequest::Put(Key { id, name }, bytes.into());
    cluster.bucket.lock().unwrap().act(&put).unwrap();
    let stored = |start: u64| PieceEvent::Stored {
        at,
        extent: Extent::new(start, start + 1).unwrap(),
        piece: Piece::Fragment { name, offset: start },
    };
    let events: Vec<_> = (1..=count).map(|start| ObjectEvent::Piece(stored(start))).collect();
    let append = Append { tag: Tag(77), events: Arc::from(events), marks: None };
    assert!(matches!(cluster.log.append(id, seen, append).await, Ok(Appended::At(_))));
}

/// An upload of `length` bytes with its first one, and `count` pieces of one byte behind it.
async fn scattered(cluster: &Cluster, engine: &Arc<Engine>, length: u64, count: u64) -> TicketId {
    let id = ticket(engine).await;
    engine.receive(id, chunk(0, 1, length), None, body(&[b"x"])).await.unwrap();
    scatter(cluster, id, count).await;
    id
}

fn is_refused<T>(received: &Result<T, TransferError>) -> bool {
    matches!(received, Err(TransferError::Refused(Refusal::TooManyPieces { .. })))
}

/// A thousand small pieces of each of 16 cells cost every append and every publish their time; a client that goes on with
/// larger chunks is served.
#[tokio::test(start_paused = true)]
async fn an_upload_has_so_many_small_pieces_and_no_more() {
    let cluster = Cluster::new();
    let engine = cluster.start(1);
    let length = 1 << 20;
    let id = scattered(&cluster, &engine, length, MAX_SMALL_PIECES).await;
    let end = MAX_SMALL_PIECES + 1;
    let refused = engine.receive(id, chunk(end, end + 1, length), None, body(&[b"x"])).await;
    assert!(is_refused(&refused), "{refused:?}");
    let offer = chunk(end, end + (64 << 10), length);
    engine.receive(id, offer, None, body(&[&[7; 64 << 10]])).await.unwrap();
    assert_eq!(held(&engine, id).await, [(0, end + (64 << 10))]);
}

/// The last bytes come in no larger chunk.
#[tokio::test(start_paused = true)]
async fn an_upload_of_many_small_pieces_can_be_completed() {
    let cluster = Cluster::new();
    let engine = cluster.start(1);
    let (end, left) = (MAX_SMALL_PIECES + 1, 1000);
    let id = scattered(&cluster, &engine, end + left, MAX_SMALL_PIECES).await;
    engine.receive(id, chunk(end, end + 9, end + left), None, body(&[&[7; 9]])).await.unwrap();
    let offer = chunk(end + 9, end + left, end + left);
    let status = engine.receive(id, offer, None, body(&[&[7; 991]])).await.unwrap();
    assert_eq!(status.state, StateName::HandingOver);
    // However many chunks have broken off before.
    let (end, left) = (MAX_SMALL_PIECES + 101, 64 << 10);
    let id = scattered(&cluster, &engine, end + left, end - 1).await;
    let half = chunk(end, end + left / 2, end + left);
    let refused = engine.receive(id, half, None, body(&[&[7; 32 << 10]])).await;
    assert!(is_refused(&refused), "{refused:?}");
    let rest = chunk(end, end + left, end + left);
    let status = engine.receive(id, rest, None, body(&[&[7; 64 << 10]])).await.unwrap();
    assert_eq!(status.state, StateName::HandingOver);
}

/// A partial upload of `count` bytes more than one, each a piece.
async fn part(cluster: &Cluster, engine: &Arc<Engine>, count: u64) -> TicketId {
    let id = ticket(engine).await;
    engine.make_partial(id).await.unwrap();
    engine.receive(id, chunk(0, 1, count + 1), None, body(&[b"x"])).await.unwrap();
    if count > 0 {
        scatter(cluster, id, count).await;
    }
    id
}

#[tokio::test(start_paused = true)]
async fn parts_of_too_many_small_pieces_are_not_joined() {
    let cluster = Cluster::new();
    let engine = cluster.start(1);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(part(&cluster, &engine, MAX_SMALL_PIECES - 1).await);
    }
    let four = engine.check_parts(&ids).await;
    assert!(four.is_ok(), "{four:?}");
    ids.push(part(&cluster, &engine, 4).await);
    let into = ticket(&engine).await;
    for told in [
        engine.check_parts(&ids).await.map(|_| into),
        engine.join(into, &ids, Notice::NotDue).await,
    ] {
        let Err(JoinError::TooManyPieces { pieces, limit }) = told else { panic!("{told:?}") };
        assert_eq!((pieces, limit), (MAX_JOINED_PIECES + 5, MAX_JOINED_PIECES + 4));
    }
    assert_eq!(engine.status(into).await.unwrap().state, StateName::Cancelled);
    assert_eq!(engine.status(ids[4]).await.unwrap().state, StateName::Uploading, "it stays");
}

/// Each is read for an hour; others are joined meanwhile.
#[tokio::test(start_paused = true)]
async fn parts_of_small_pieces_leave_a_turn_to_others() {
    let cluster = Cluster::new();
    let engine = cluster.start(1);
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push((ticket(&engine).await, part(&cluster, &engine, 1000).await));
    }
    let (into, quick) = (ticket(&engine).await, part(&cluster, &engine, 0).await);
    cluster.reads_ms.store(30_000, Ordering::Relaxed);
    let joins = slow.into_iter().map(|(into, part)| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { engine.join(into, &[part], Notice::NotDue).await })
    });
    let joins: Vec<_> = joins.collect();
    cluster.pass(1).await;
    assert_eq!(engine.join(into, &[quick], Notice::NotDue).await.unwrap(), into);
    assert!(!joins.iter().any(tokio::task::JoinHandle::is_finished));
}

/// Each of 100 bodies stops, and what has come of it is stored for the others.
#[tokio::test(start_paused = true)]
async fn bodies_of_one_upload_leave_requests_to_others() {
    let cluster = Cluster::new();
    let engine = cluster.start(1);
    let length = 100 << 20;
    let id = scattered(&cluster, &engine, length, 1).await;
    cluster.delays_fragments.store(true, Ordering::Relaxed);
    let receiving = (1..100_u64).map(|number| {
        let (engine, start) = (Arc::clone(&engine), number << 20);
        let offer = chunk(start, start + 9, length);
        tokio::spawn(async move { engine.receive(id, offer, None, body(&[&[7; 9]])).await })
    });
    let receiving: Vec<_> = receiving.collect();
    cluster.pass(1).await;
    assert_eq!(cluster.fragments_delayed.load(Ordering::Relaxed), REQUESTS_OF_ONE as u64);
    cluster.delays_fragments.store(false, Ordering::Relaxed);
    for receive in receiving {
        receive.await.unwrap().unwrap();
    }
    assert_eq!(held(&engine, id).await.len(), 100);
}

/// What lies in a part of an unfinished object says nothing of what can be read.
#[tokio::test(start_paused = true)]
async fn ranges_that_can_be_read_are_compared_beside_others() {
    let (cluster, length) = (Cluster::new(), 2 * MIN_PART_BYTES);
    let engine = cluster.start(1);
    let id = ticket(&engine).await;
    static FRAME: [u8; 64 << 10] = [4; 64 << 10];
    let frames = usize::try_from(MIN_PART_BYTES).unwrap() / FRAME.len();
    let cell = body(&vec![&FRAME[..]; frames]);
    engine.receive(id, chunk(0, MIN_PART_BYTES, length), None, cell).await.unwrap();
    let end = MIN_PART_BYTES + FRAME.len() as u64;
    engine.receive(id, chunk(MIN_PART_BYTES, end, length), None, body(&[&FRAME])).await.unwrap();
    let piece = |start: u64, byte: u8| {
        let extent = Extent::new(start, start + 4096).unwrap();
        crate::engine::verify::Piece { extent, sha256: sha2::Sha256::digest([byte; 4096]).into() }
    };
    let pieces = vec![piece(0, 4), piece(MIN_PART_BYTES, 4), piece(MIN_PART_BYTES + 4096, 5)];
    let (_, verdicts) = engine.verify(id, pieces).await.unwrap();
    assert_eq!(verdicts, [Verdict::NotHeld, Verdict::Same, Verdict::Different]);
}
