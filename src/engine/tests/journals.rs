//! Journals that grow, and uploads that are asked for while they are not in memory.

use super::*;
use crate::core::event::Event;
use crate::core::id::RunIdentity;
use crate::engine::error::LookupError;
use crate::storage::local::format::record::{Record, encode};
use crate::storage::local::format::replay::replay;
use crate::storage::local::journal_files::SyncWhen;
use crate::storage::memory::journals::{Judge, Step as JournalStep};
use std::sync::atomic::AtomicBool;

/// A journal as 25 seconds of one-byte chunks leave it: `records` ranges of a byte each, in order.
pub(super) fn grown(engine: &Engine, machine: &Machine, id: TicketId, records: u64) {
    let mut journal = machine.journals.live(id).unwrap();
    let at = engine.now();
    encode(&Record::Run(machine.store.run()), &mut journal);
    for byte in 0..records {
        let extent = Extent::new(byte, byte + 1).unwrap();
        let durability = Durability::Written;
        encode(&Record::Event(Event::Stored { at, extent, durability }), &mut journal);
    }
    machine.journals.create(id, &journal, SyncWhen::Now).unwrap();
    let part = machine.store.create(id).unwrap();
    let bytes = Bytes::from(vec![7; usize::try_from(records).unwrap()]);
    part.write_at(&[bytes], 0).unwrap();
}

/// What steps the journals take, and what becomes of them.
pub(super) fn judged(
    machine: &Machine,
    judge: impl Fn(JournalStep) -> Fate + Send + std::marker::Sync + 'static,
) -> Machine {
    let judge: Arc<Judge> = Arc::new(move |_, step, _| judge(step));
    Machine { journals: machine.journals.judged(judge), ..machine.clone() }
}

fn counted(machine: &Machine, step: JournalStep) -> (Machine, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let machine = judged(machine, move |taken| {
        counter.fetch_add(u64::from(taken == step), Ordering::Relaxed);
        Fate::Happens
    });
    (machine, count)
}

#[tokio::test]
async fn issue_13_however_many_ask_the_journal_is_read_once() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    grown(&engine, &machine, id, 100_000);
    drop(engine);
    let (counting, reads) = counted(&machine, JournalStep::Read);
    let engine = counting.start(Durability::Written);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let engine = Arc::clone(&engine);
        asked.spawn(async move { engine.status(id).await.unwrap().received.bytes() });
    }
    while let Some(bytes) = asked.join_next().await {
        assert_eq!(bytes.unwrap(), 100_000);
    }
    assert_eq!(engine.stats().loads.get(), 1);
    // It is written anew, not read a second time to be written to its own place.
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    assert_eq!(engine.stats().compactions.get(), 1);
    assert!(machine.journals.live(id).unwrap().len() < 500);
    assert_eq!(held(&engine, id).await, [(0, 100_000)]);
}

#[tokio::test]
async fn issue_13_few_load_at_once_and_not_all_may_wait() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(ticket(&engine).await);
    }
    drop(engine);
    // Reads that hang until they are let go.
    let gate = Arc::new((Mutex::new((0_u32, 0_u32, false)), std::sync::Condvar::new()));
    let at_gate = Arc::clone(&gate);
    let hanging = judged(&machine, move |step| {
        if step == JournalStep::Read {
            let (state, changed) = &*at_gate;
            let mut state = state.lock().unwrap();
            state.0 += 1;
            state.1 = state.1.max(state.0);
            while !state.2 {
                state = changed.wait(state).unwrap();
            }
            state.0 -= 1;
        }
        Fate::Happens
    });
    let engine = hanging.start(Durability::Durable);
    let ask = |id| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { engine.status(id).await.map(drop) })
    };
    let mut asked: Vec<_> = ids.iter().map(|id| ask(*id)).collect();
    while gate.0.lock().unwrap().0 < 8 {
        tokio::task::yield_now().await;
    }
    // Those that wait for one upload have a bound.
    let crowd: Vec<_> = (0..1500).map(|_| ask(ids[0])).collect();
    let mut refused = 0;
    for one in crowd.iter().rev().take(400) {
        while !one.is_finished() && refused < 400 {
            tokio::task::yield_now().await;
        }
        refused += u32::from(one.is_finished());
    }
    assert_eq!(refused, 400);
    {
        let mut state = gate.0.lock().unwrap();
        assert_eq!((state.0, state.1), (8, 8), "no more at once");
        state.2 = true;
    }
    gate.1.notify_all();
    for one in asked.drain(..) {
        one.await.unwrap().unwrap();
    }
    let mut busy = 0;
    for one in crowd {
        match one.await.unwrap() {
            Ok(()) => {}
            Err(LookupError::Busy) => busy += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(busy, 1500 - 1023, "a thousand of them wait, the first one included");
    assert_eq!(engine.stats().loads.get(), 40);
}

#[tokio::test]
async fn a_load_that_panics_leaves_nobody_waiting_and_is_made_again() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    drop(engine);
    let times = AtomicU64::new(0);
    let panics = judged(&machine, move |step| {
        let first = step == JournalStep::Read && times.fetch_add(1, Ordering::Relaxed) == 0;
        assert!(!first, "a bug that this journal brings out");
        Fate::Happens
    });
    let engine = panics.start(Durability::Durable);
    let (a, b) = tokio::join!(engine.status(id), engine.status(id));
    assert!(matches!((a, b), (Err(LookupError::Fault(_)), Err(LookupError::Fault(_)))));
    engine.status(id).await.unwrap();
}

/// Sends a byte at a time; tells the largest journal on the way.
async fn trickle(engine: &Arc<Engine>, machine: &Machine, id: TicketId, bytes: u64) -> usize {
    let mut largest = 0;
    for byte in 0..bytes {
        engine.receive(id, chunk(byte, byte + 1, bytes + 1), None, body(&[b"x"])).await.unwrap();
        largest = largest.max(machine.journals.live(id).unwrap().len());
    }
    engine.wait_idle().await;
    largest
}

#[tokio::test]
async fn issue_13_a_byte_at_a_time_costs_no_more_journal_than_a_bound() {
    for ack in [Durability::Written, Durability::Durable] {
        let machine = Machine::default();
        let options = machine.start(ack).options().as_ref().clone();
        let machine = machine.tuned(|local| local.compact_bytes = 4 << 10);
        let engine = machine.start_as(options.clone());
        let id = ticket(&engine).await;
        let largest = trickle(&engine, &machine, id, 2000).await;
        assert!(largest < 5 << 10, "{ack:?} {largest}");
        assert!(engine.stats().compactions.get() > 10);
        drop(engine);
        // A crash: nothing of it is lost, with either promise, and the same is sure as without compaction.
        let engine = machine.start_as(options.clone());
        assert_eq!(held(&engine, id).await, [(0, 2000)], "{ack:?}");
        drop(engine);
        machine.cut_power();
        let sure = if ack == Durability::Durable { vec![(0, 2000)] } else { vec![] };
        let engine = machine.start_as(options.clone());
        assert_eq!(held(&engine, id).await, sure, "{ack:?}");
        engine.receive(id, chunk(0, 2001, 2001), None, body(&[&[b'x'; 2001]])).await.unwrap();
        assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
    }
}

/// Every step of a compaction fails once, in every way.
#[tokio::test]
async fn whatever_becomes_of_a_compaction_the_upload_is_what_it_was() {
    use JournalStep::{Remake, Rename, SyncName};
    use io::ErrorKind::{Other, StorageFull};
    for (step, kind, latches) in [
        (Remake, StorageFull, false),
        (Rename, StorageFull, false),
        (Remake, Other, true),
        (Rename, Other, true),
        (SyncName, Other, true),
    ] {
        for ack in [Durability::Written, Durability::Durable] {
            let machine = Machine::default();
            let failing =
                judged(
                    &machine,
                    move |taken| {
                        if taken == step { Fate::Fails(kind) } else { Fate::Happens }
                    },
                );
            let failing = failing.tuned(|local| local.compact_bytes = 1 << 10);
            let options = machine.start(ack).options().as_ref().clone();
            let engine = failing.start_as(options.clone());
            let id = ticket(&engine).await;
            let mut acknowledged = 0;
            for byte in 0..100 {
                let put = engine.receive(id, chunk(byte, byte + 1, 200), None, body(&[b"x"])).await;
                engine.wait_idle().await;
                match put {
                    Ok(_) => acknowledged = byte + 1,
                    Err(TransferError::Fault(_)) => break,
                    Err(other) => panic!("{other:?}"),
                }
            }
            assert_eq!(acknowledged < 100, latches, "{step:?} {kind:?}");
            let compacted = engine.stats().compactions.get();
            assert_eq!(compacted > 0, step == SyncName, "{step:?} {kind:?}");
            drop(engine);
            if ack == Durability::Durable {
                machine.cut_power();
                let engine = machine.start_as(options.clone());
                assert_eq!(held(&engine, id).await, [(0, acknowledged)], "{step:?} {kind:?}");
            } else if !latches {
                let engine = machine.start_as(options.clone());
                assert_eq!(held(&engine, id).await, [(0, acknowledged)], "{step:?} {kind:?}");
            }
        }
    }
}

/// The offset that a sync took before must not be read as one of the new journal.
#[tokio::test]
async fn nothing_is_compacted_while_a_sync_is_under_way() {
    let machine = Machine::default().tuned(|local| {
        local.compact_bytes = 1 << 10;
        local.sync_point_bytes = u64::MAX;
    });
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 1, 200), None, body(&[b"x"])).await.unwrap();
    engine.wait_idle().await;
    let handle = engine.find(id).await.unwrap();
    machine.store.hold(Some((id, Step::Sync)));
    let syncing = tokio::spawn({
        let (engine, handle) = (Arc::clone(&engine), Arc::clone(&handle));
        async move { engine.sync_written(&handle).await }
    });
    while machine.store.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    trickle_from(&engine, id, 1, 90).await;
    assert_eq!(engine.stats().compactions.get(), 0);
    machine.store.hold(None);
    syncing.await.unwrap();
    trickle_from(&engine, id, 90, 91).await;
    assert_eq!(engine.stats().compactions.get(), 1);
    let journal = machine.journals.live(id).unwrap();
    let read = |now| replay(&journal, id, now, engine.uptime()).unwrap().upload.received().bytes();
    assert_eq!(read(machine.store.run()), 91);
    let other = RunIdentity { boot: [9; 16], ..machine.store.run() };
    assert!(read(other) <= 1, "what was only written stays unsynced");
}

async fn trickle_from(engine: &Arc<Engine>, id: TicketId, from: u64, to: u64) {
    for byte in from..to {
        engine.receive(id, chunk(byte, byte + 1, 200), None, body(&[b"x"])).await.unwrap();
    }
    engine.wait_idle().await;
}

/// Where the disk lets nothing be compacted, the journal has a bound; what was acknowledged holds.
#[tokio::test]
async fn issue_13_a_journal_that_cannot_be_compacted_takes_no_chunk_beyond_its_bound() {
    let machine = Machine::default();
    machine.clock.stop();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    let records = crate::core::limits::MAX_JOURNAL_BYTES / 42;
    grown(&engine, &machine, id, records);
    drop(engine);
    let is_full = Arc::new(AtomicBool::new(true));
    let tries = Arc::new(AtomicU64::new(0));
    let (still, tried) = (Arc::clone(&is_full), Arc::clone(&tries));
    let full = judged(&machine, move |step| {
        let remade = step == JournalStep::Remake;
        tried.fetch_add(u64::from(remade), Ordering::Relaxed);
        if remade && still.load(Ordering::Relaxed) {
            return Fate::Fails(io::ErrorKind::StorageFull);
        }
        Fate::Happens
    });
    let engine = full.start(Durability::Written);
    let next = |engine: &Arc<Engine>| {
        let engine = Arc::clone(engine);
        async move {
            let offer = chunk(records, records + 1, records + 9);
            engine.receive(id, offer, None, body(&[b"x"])).await
        }
    };
    let refused = next(&engine).await;
    assert!(
        matches!(refused, Err(TransferError::Refused(Refusal::JournalFull { .. }))),
        "{refused:?}"
    );
    // Bytes that are known need no record.
    engine.receive(id, chunk(0, 1, records + 9), None, body(&[b"x"])).await.unwrap();
    engine.wait_idle().await;
    assert_eq!(tries.load(Ordering::Relaxed), 2, "at the load, and for the refused chunk");
    // With space again it goes on, in the same process and while the client keeps asking.
    is_full.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        next(&engine).await.unwrap_err();
        engine.wait_idle().await;
    }
    assert_eq!(tries.load(Ordering::Relaxed), 2, "not for each of them");
    machine.clock.advance(Duration::from_secs(5));
    next(&engine).await.unwrap_err();
    engine.wait_idle().await;
    assert_eq!((tries.load(Ordering::Relaxed), engine.stats().compactions.get()), (3, 1));
    next(&engine).await.unwrap();
    assert_eq!(held(&engine, id).await, [(0, records + 1)]);
    drop(engine);
    let engine = machine.start(Durability::Written);
    assert_eq!(held(&engine, id).await, [(0, records + 1)]);
}

/// The startup scan and the list read a huge journal as everybody does, and the startup scan makes it short.
#[tokio::test(start_paused = true)]
async fn issue_13_a_huge_journal_delays_no_start() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let (huge, other) = (ticket(&engine).await, ticket(&engine).await);
    grown(&engine, &machine, huge, 400_000);
    let was = machine.journals.live(huge).unwrap().len();
    assert!(was > 13 << 20);
    drop(engine);
    let engine = machine.start(Durability::Written);
    let page = engine.list(None, None, 10).await.unwrap();
    assert_eq!(page.uploads.len(), 2);
    assert_eq!(machine.journals.live(huge).unwrap().len(), was, "a list changes nothing");
    let sweep = tokio::spawn(Arc::clone(&engine).sweep());
    while engine.stats().uploads.of(StateName::New).value() < 1
        || machine.journals.live(huge).unwrap().len() > 1000
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(engine.uploads_unread(), 0);
    assert_eq!(held(&engine, huge).await, [(0, 400_000)]);
    engine.status(other).await.unwrap();
    engine.draining().cancel();
    sweep.await.unwrap();
}

/// The journal of an earlier process may be read from memory alone, after a sync that failed. Where a full disk does not
/// take it again, a sync says nothing of it: nothing is answered from it, or the next power cut takes back what was told.
#[tokio::test]
async fn a_journal_that_a_full_disk_does_not_take_again_is_not_believed() {
    let machine = Machine::default();
    let id = ticket(&machine.start(Durability::Durable)).await;
    let full = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&full);
    let judge = move |_, step, _: usize| {
        let fails = step == JournalStep::Write && still.load(Ordering::Relaxed);
        if fails { Fate::Fails(io::ErrorKind::StorageFull) } else { Fate::Happens }
    };
    let journals = machine.journals.judged(Arc::new(judge));
    let engine = Machine { journals, ..machine.clone() }.start(Durability::Durable);
    let asked = engine.status(id).await;
    assert!(matches!(asked, Err(LookupError::Busy)), "{asked:?}");
    assert!(!machine.storage().is_settled(id));
    full.store(false, Ordering::Relaxed);
    engine.status(id).await.unwrap();
    assert!(machine.storage().is_settled(id));
}
