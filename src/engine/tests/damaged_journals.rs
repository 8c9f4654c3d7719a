//! Journals that are damaged, and a disk that fails while they are read or replaced.

use super::journals::{grown, judged};
use super::*;
use crate::engine::error::LookupError;
use crate::storage::local::journal_files::SyncWhen;
use crate::storage::memory::journals::Step as JournalStep;
use std::sync::atomic::AtomicBool;

/// One record is damaged, by a bit on the disk or on the way from it: what lies behind it may have been acknowledged.
#[tokio::test]
async fn issue_13_nothing_behind_a_damaged_record_is_written_over_by_a_load() {
    const AT: usize = 100 << 10;
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    grown(&engine, &machine, id, 25_000);
    drop(engine);
    let whole = machine.journals.live(id).unwrap();
    assert!(whole.len() > 1_000_000);
    let mut damaged = whole.clone();
    damaged[AT] ^= 1;
    machine.journals.create(id, &damaged, SyncWhen::Now).unwrap();
    let engine = machine.start(Durability::Written);
    engine.startup_scan().await;
    let held = engine.status(id).await.unwrap().received.bytes();
    assert!((2000..3000).contains(&held), "{held}");
    assert_eq!(engine.stats().compactions.get(), 0);
    let after = machine.journals.live(id).unwrap();
    assert!(after == damaged, "the startup scan and a load change nothing of it");
    drop(engine);
    // The bit reads as it was again: all of it is there.
    machine.journals.create(id, &whole, SyncWhen::Now).unwrap();
    let engine = machine.start(Durability::Written);
    assert_eq!(engine.status(id).await.unwrap().received.bytes(), 25_000);
    drop(engine);
    // An append cuts it off, and then there is nothing left to take care of.
    machine.journals.create(id, &damaged, SyncWhen::Now).unwrap();
    let engine = machine.start(Durability::Written);
    engine.receive(id, chunk(held, held + 1, 30_000), None, body(&[b"x"])).await.unwrap();
    engine.wait_idle().await;
    assert_eq!(engine.stats().compactions.get(), 1);
    assert_eq!(engine.status(id).await.unwrap().received.bytes(), held + 1);
    drop(engine);
    // What a crash leaves of the last record is no reason to leave the rest as it is.
    machine.journals.create(id, &whole[..whole.len() - 5], SyncWhen::Now).unwrap();
    let engine = machine.start(Durability::Written);
    assert_eq!(engine.status(id).await.unwrap().received.bytes(), 24_999);
    assert_eq!(engine.stats().compactions.get(), 1);
}

type Change = fn(&[u8]) -> Vec<u8>;

/// What cannot be read for damage at its beginning, or for a version that is not known, is kept as it is and told, with
/// nothing beside it and with a part.
#[tokio::test]
async fn issue_14_a_journal_that_cannot_be_read_is_kept_and_told() {
    let damage = |journal: &[u8]| {
        let mut damaged = journal.to_vec();
        damaged[20] ^= 1;
        damaged
    };
    let later = |journal: &[u8]| {
        let mut longer = journal.to_vec();
        longer.extend(3_u32.to_le_bytes());
        longer.extend(crc32c::crc32c(&[99, 1, 2]).to_le_bytes());
        longer.extend([99, 1, 2]);
        longer
    };
    let changes: [Change; 2] = [damage, later];
    for ack in [Durability::Written, Durability::Durable] {
        for (number, change) in changes.iter().enumerate() {
            for part in [false, true] {
                let machine = Machine::default();
                let engine = machine.start(ack);
                let id = ticket(&engine).await;
                engine.receive(id, chunk(0, 3, 10), None, body(&[b"abc"])).await.unwrap();
                engine.wait_idle().await;
                drop(engine);
                if !part {
                    machine.store.discard(id).unwrap();
                }
                let left = change(&machine.journals.live(id).unwrap());
                machine.journals.create(id, &left, SyncWhen::Now).unwrap();
                let engine = machine.start(ack);
                let asked = engine.status(id).await;
                assert!(matches!(asked, Err(LookupError::Fault(_))), "{number} {part} {asked:?}");
                engine.startup_scan().await;
                assert_eq!(engine.uploads_unread(), 1, "{number} {part}");
                let put = engine.receive(id, chunk(3, 6, 10), None, body(&[b"def"])).await;
                assert!(put.is_err());
                let kept = machine.journals.live(id);
                assert_eq!(kept.as_deref(), Some(&left[..]), "{number} {part}");
                assert_eq!(machine.store.open(id).unwrap().is_some(), part);
            }
        }
    }
}

/// After a failed sync of the directory the name may lead to the journal of before, at a power cut: nothing more is
/// promised that only the new one says.
#[tokio::test]
async fn issue_13_a_name_that_could_not_be_synced_at_a_load_is_not_forgotten() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let (other, id) = (ticket(&engine).await, ticket(&engine).await);
    grown(&engine, &machine, id, 2000);
    drop(engine);
    let fails = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&fails);
    let failing = judged(&machine, move |step| {
        // Once: the system forgets it, and says that the next one has ended well.
        if step == JournalStep::SyncName && told.swap(false, Ordering::Relaxed) {
            return Fate::Fails(io::ErrorKind::Other);
        }
        Fate::Happens
    });
    let engine = failing.start(Durability::Durable);
    engine.status(other).await.unwrap();
    fails.store(true, Ordering::Relaxed);
    assert!(matches!(engine.status(id).await, Err(LookupError::Fault(_))));
    assert!(!fails.load(Ordering::Relaxed));
    let mut acknowledged = 2000;
    for _ in 0..3 {
        let offer = chunk(acknowledged, acknowledged + 1, 3000);
        let put = engine.receive(id, offer, None, body(&[b"x"])).await;
        acknowledged += u64::from(put.is_ok());
    }
    drop(engine);
    machine.cut_power();
    let engine = machine.start(Durability::Durable);
    let kept = engine.status(id).await.unwrap().received.bytes();
    assert!(acknowledged == 2000 || kept == acknowledged, "{kept} of {acknowledged}");
    assert_eq!(acknowledged, 2000, "nothing is taken before a restart");
}

/// What is wanting for a moment at a load makes nobody's upload one that failed.
#[tokio::test]
async fn issue_13_a_load_without_descriptors_ends_well_later() {
    use JournalStep::{Open, Read, Remake};
    for steps in [vec![Remake, Open], vec![Remake, Read], vec![Open], vec![Read]] {
        let machine = Machine::default();
        let engine = machine.start(Durability::Written);
        let id = ticket(&engine).await;
        grown(&engine, &machine, id, if steps.contains(&Remake) { 2000 } else { 20 });
        drop(engine);
        let exhausted = Arc::new(AtomicBool::new(true));
        let (still, of) = (Arc::clone(&exhausted), steps.clone());
        let reads = AtomicU64::new(0);
        let starved = judged(&machine, move |step| {
            // The first read has had one.
            let later =
                step != Read || of[0] != Remake || reads.fetch_add(1, Ordering::Relaxed) % 2 == 1;
            let fails = still.load(Ordering::Relaxed) && of.contains(&step) && later;
            if fails { Fate::Exhausted } else { Fate::Happens }
        });
        let engine = starved.start(Durability::Written);
        for _ in 0..2 {
            let asked = engine.status(id).await;
            assert!(matches!(asked, Err(LookupError::Busy)), "{steps:?} {asked:?}");
        }
        engine.startup_scan().await;
        assert_eq!(engine.uploads_unread(), 1, "{steps:?}: nothing is done for it before");
        exhausted.store(false, Ordering::Relaxed);
        engine.status(id).await.unwrap();
    }
}

/// A compaction that fails for a moment is tried again long before the journal is full.
#[tokio::test]
async fn issue_13_a_compaction_that_failed_is_tried_again_before_the_bound() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    let records = (9 << 20) / 42;
    grown(&engine, &machine, id, records);
    drop(engine);
    let is_full = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&is_full);
    let full = judged(&machine, move |step| match step {
        JournalStep::Remake if still.load(Ordering::Relaxed) => {
            Fate::Fails(io::ErrorKind::StorageFull)
        }
        _ => Fate::Happens,
    });
    let engine = full.start(Durability::Written);
    let put = async |byte| {
        let offer = chunk(byte, byte + 1, records * 2);
        engine.receive(id, offer, None, body(&[b"x"])).await.unwrap();
    };
    put(records).await;
    engine.wait_idle().await;
    is_full.store(false, Ordering::Relaxed);
    let more = (3 << 19) / 42;
    for byte in 1..=more {
        put(records + byte).await;
    }
    engine.wait_idle().await;
    assert!(engine.stats().compactions.get() > 0);
    assert_eq!(held(&engine, id).await, [(0, records + more + 1)]);
}
