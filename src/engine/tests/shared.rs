//! What one upload may occupy of what all of them share.

use super::*;
use crate::core::limits::{CHUNKS, MIN_PIECE_BYTES, POLLS, SMALL_CALLS};
use crate::engine::error::Fault;
use crate::engine::error::{Full, SmallCallError};
use crate::engine::verify::{Piece, Verdict, VerifyError};
use sha2::Digest as _;

/// A body of which nothing comes; it ends when the sender is dropped.
fn silent() -> (mpsc::UnboundedSender<Result<Bytes, ClientFault>>, Body) {
    let (send, receive) = mpsc::unbounded_channel();
    (send, Body(receive))
}

/// Lets all tasks run until they wait.
async fn run_tasks() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

async fn until(found: impl Fn() -> bool) {
    while !found() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn never() {
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn issue_13_known_bytes_are_answered_without_their_body() {
    let engine = Machine::default().start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"01234"])).await.unwrap();
    let (_send, silent) = silent();
    let began = tokio::time::Instant::now();
    // A digest of bytes that do not come is not waited for.
    let digest = Some(ChunkDigest::Sha256([7; 32]));
    let status = engine.receive(id, chunk(1, 4, 10), digest, silent).await.unwrap();
    assert_eq!(status.offset(), 5);
    // A pause of some seconds is a client's or a proxy's; one that lasts is let go long before `body_timeout`.
    let took = began.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&took), "{took:?}");
    // Handed over, and whole files of a length that is given: the same.
    engine.receive(id, chunk(5, 10, 10), None, body(&[b"56789"])).await.unwrap();
    let whole = Offer {
        extent: Extent::new(0, 10),
        length: Some(10),
        at: At::Anywhere,
        scope: BodyScope::ToEnd,
    };
    let (_send, silent) = self::silent();
    assert_eq!(engine.receive(id, whole, None, silent).await.unwrap().offset(), 10);
    let longer = Offer { extent: Extent::new(0, 11), length: Some(11), ..whole };
    assert!(engine.receive(id, longer, None, body(&[b"01234567890"])).await.is_err());
    // Nor is one that the disk has failed.
    let handle = engine.find(id).await.unwrap();
    engine.latch(&handle, Fault("the disk failed".into()));
    let answer = engine.receive(id, chunk(1, 4, 10), None, body(&[b"123"])).await;
    assert!(matches!(answer, Err(TransferError::Fault(_))), "{answer:?}");
}

#[tokio::test]
async fn known_bytes_that_bring_the_length_are_received() {
    let engine = Machine::default().start(Durability::Durable);
    let id = ticket(&engine).await;
    let unknown = Offer {
        extent: Extent::new(0, 5),
        length: None,
        at: At::Anywhere,
        scope: BodyScope::Range,
    };
    engine.receive(id, unknown, None, body(&[b"01234"])).await.unwrap();
    let status = engine.receive(id, chunk(0, 5, 5), None, body(&[b"01234"])).await.unwrap();
    assert_eq!(status.length, Some(5));
    assert_ne!(status.state, StateName::Uploading);
    // A whole file whose end nobody knows is compared to its end.
    let open = Offer {
        extent: Extent::new(0, 1 << 40),
        length: None,
        at: At::Anywhere,
        scope: BodyScope::ToEnd,
    };
    let longer = engine.receive(id, open, None, body(&[b"012345"])).await;
    assert!(
        matches!(longer, Err(TransferError::Refused(Refusal::LengthChanged { .. }))),
        "{longer:?}"
    );
}

/// Chunks over known bytes counted nowhere, and all of them together took the places of everybody.
#[tokio::test(start_paused = true)]
async fn issue_13_known_chunks_count_with_their_upload() {
    let engine = Machine::default().start(Durability::Durable);
    let (id, other) = (ticket(&engine).await, ticket(&engine).await);
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"01234"])).await.unwrap();
    let mut sent = Vec::new();
    for _ in 0..300 {
        let (send, silent) = silent();
        let engine = Arc::clone(&engine);
        let receive = async move { engine.receive(id, chunk(0, 5, 10), None, silent).await };
        sent.push((send, tokio::spawn(receive)));
    }
    run_tasks().await;
    assert_eq!(engine.stats().chunks_in_flight.value(), 256);
    engine.receive(other, chunk(0, 5, 10), None, body(&[b"01234"])).await.unwrap();
    let mut refused = 0;
    for (_send, receive) in sent {
        match receive.await.unwrap() {
            Ok(status) => assert_eq!(status.offset(), 5),
            Err(TransferError::TooManyInFlight(Full { limit: 256 })) => refused += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(refused, 300 - CHUNKS.each);
    assert_eq!(engine.stats().chunks_in_flight.value(), 0);
}

#[tokio::test(start_paused = true)]
async fn issue_13_when_places_run_out_the_greediest_is_refused() {
    let engine = Machine::default().start(Durability::Durable);
    let mut sent = Vec::new();
    let mut refused = 0;
    for _ in 0..90 {
        let id = ticket(&engine).await;
        // In memory: chunks that wait for a load, and are not polled here, would hold what bounds those.
        engine.status(id).await.unwrap();
        for at in 0..250 {
            let (send, silent) = silent();
            let engine = Arc::clone(&engine);
            let mut receive =
                Box::pin(
                    async move { engine.receive(id, chunk(at, at + 1, 1000), None, silent).await },
                );
            tokio::select! {
                biased;
                ended = &mut receive => {
                    assert!(matches!(ended, Err(TransferError::TooManyInFlight(_))), "{ended:?}");
                    refused += 1;
                }
                () = async { tokio::task::yield_now().await } => sent.push((send, receive)),
            }
        }
    }
    assert!(refused > 0, "the test does not test");
    // The next one finds a place, whatever the others hold.
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"01234"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn issue_13_polls_have_a_bound_and_sleep_through_chunks() {
    let engine = Machine::default().start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 1, 100), None, body(&[b"0"])).await.unwrap();
    let poll = || {
        let engine = Arc::clone(&engine);
        let waiting = Duration::from_secs(50);
        tokio::spawn(async move { engine.wait(id, None, waiting, never()).await })
    };
    let waiting: Vec<_> = (0..POLLS.each).map(|_| poll()).collect();
    run_tasks().await;
    assert!(waiting.iter().all(|poll| !poll.is_finished()));
    // One more is told at once how things stand.
    assert_eq!(poll().await.unwrap().unwrap().state, StateName::Uploading);
    for at in 1..10 {
        engine.receive(id, chunk(at, at + 1, 100), None, body(&[b"1"])).await.unwrap();
    }
    run_tasks().await;
    assert!(waiting.iter().all(|poll| !poll.is_finished()));
    // One whose peer has gone makes room.
    let gone = engine.wait(id, None, Duration::from_secs(50), async {});
    assert!(gone.await.is_ok());
    engine.cancel(id, "no more".into(), Notice::NotDue).await.unwrap();
    for poll in waiting {
        assert_eq!(poll.await.unwrap().unwrap().state, StateName::Cancelled);
    }
    assert_eq!(engine.polls.value(), 0);
}

/// Nothing is told to those who wait unless the state is another: `watch` counts versions.
#[tokio::test]
async fn issue_13_acknowledged_chunks_wake_no_poll() {
    let engine = Machine::default().start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 1, 10), None, body(&[b"0"])).await.unwrap();
    let handle = engine.find(id).await.unwrap();
    let mut stands = handle.stands.subscribe();
    stands.mark_unchanged();
    engine.receive(id, chunk(1, 5, 10), None, body(&[b"1234"])).await.unwrap();
    assert!(!stands.has_changed().unwrap());
    engine.receive(id, chunk(5, 10, 10), None, body(&[b"56789"])).await.unwrap();
    assert!(stands.has_changed().unwrap());
    assert_eq!(*stands.borrow_and_update(), StateName::HandingOver);
}

#[tokio::test]
async fn small_calls_have_a_bound() {
    let engine = Machine::default().start(Durability::Durable);
    let (id, other) = (ticket(&engine).await, ticket(&engine).await);
    let mut calls = Vec::new();
    for _ in 0..SMALL_CALLS.each {
        calls.push(engine.small_call(id).await.unwrap().unwrap());
    }
    let refused = engine.small_call(id).await.unwrap();
    assert_eq!(refused.err(), Some(SmallCallError::Full(Full { limit: 8 })));
    assert!(engine.small_call(other).await.unwrap().is_ok());
    calls.pop();
    assert!(engine.small_call(id).await.unwrap().is_ok());
    let large = engine.hold_answer(id, 3 << 20).await.unwrap().unwrap();
    assert!(engine.hold_answer(id, 2 << 20).await.unwrap().is_err());
    assert!(engine.hold_answer(other, 2 << 20).await.unwrap().is_ok());
    drop(large);
    assert!(engine.hold_answer(id, 2 << 20).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn issue_13_one_comparison_at_a_time_and_no_more_than_was_sent() {
    let engine = Machine::default().start(Durability::Durable);
    let id = ticket(&engine).await;
    static FILE: [u8; 8192] = [3; 8192];
    engine.receive(id, chunk(0, 8192, 10_000), None, body(&[&FILE])).await.unwrap();
    let extent = Extent::new(0, MIN_PIECE_BYTES).unwrap();
    let piece = Piece { extent, sha256: sha2::Sha256::digest(&FILE[..4096]).into() };
    let (status, verdicts) = engine.verify(id, vec![piece.clone(); 2]).await.unwrap();
    assert_eq!((status.offset(), verdicts), (8192, vec![Verdict::Same; 2]));
    // One that waits for its turn at the disk is the only one of its upload.
    let turns = engine.readers.all().await;
    let first = tokio::spawn({
        let (engine, piece) = (Arc::clone(&engine), piece.clone());
        async move { engine.verify(id, vec![piece]).await }
    });
    let handle = engine.find(id).await.unwrap();
    until(|| handle.is_compared()).await;
    let second = engine.verify(id, vec![piece.clone()]).await;
    assert!(matches!(second, Err(VerifyError::Running)), "{second:?}");
    // It is over with who asked.
    first.abort();
    until(|| !handle.is_compared()).await;
    drop(turns);
    engine.verify(id, vec![piece.clone()]).await.unwrap();
    let mut refused = None;
    for _ in 0..20_000 {
        if let Err(error) = engine.verify(id, vec![piece.clone(); 16]).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(VerifyError::Spent { .. })), "{refused:?}");
}
