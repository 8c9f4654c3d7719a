//! A disk that is full, fails, or loses its power in the middle of something.

use super::*;
use crate::core::extent::ExtentSet;
use crate::engine::error::LookupError;
use crate::storage::local::journal_files::SyncWhen;
use crate::storage::memory::journals::Step::{self as JournalStep, Sync};
use crate::storage::store::{Announced, WriteError};
use std::sync::atomic::AtomicBool;

#[tokio::test]
async fn a_full_disk_is_not_a_fault() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
    for step in [Step::Write, Step::Publish] {
        machine.store.fail(Some((step, io::ErrorKind::StorageFull)));
        let full = engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await;
        assert!(matches!(full, Err(TransferError::NoSpace)), "{step:?} {full:?}");
    }
    machine.store.fail(None);
    machine.store.set_free_bytes(1000);
    ticket(&engine).await;
    let done = engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await.unwrap();
    assert_eq!(done.state, StateName::HandingOver);
    assert_eq!(engine.stats().faults.get(), 0);
}

#[tokio::test]
async fn a_failed_disk_stops_the_upload_until_a_restart() {
    for step in [Step::Write, Step::Sync] {
        let machine = Machine::default();
        let engine = machine.start(Durability::Durable);
        let id = ticket(&engine).await;
        engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
        machine.store.fail(Some((step, io::ErrorKind::Other)));
        let failed = engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await;
        assert!(matches!(failed, Err(TransferError::Fault(_))), "{step:?} {failed:?}");
        machine.store.fail(None);
        let still = engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await;
        assert!(matches!(still, Err(TransferError::Fault(_))), "nothing is retried over a fault");
        assert!(engine.readiness().await.is_err());
        assert_eq!(held(&engine, id).await, [(0, 5)]);
        engine.wait_idle().await;
        drop(engine);
        let engine = machine.start(Durability::Durable);
        assert_eq!(held(&engine, id).await, [(0, 5)]);
        engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await.unwrap();
    }
}

#[tokio::test]
async fn an_offset_that_no_file_system_knows_is_no_fault() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    machine.store.fail(Some((Step::Write, io::ErrorKind::FileTooLarge)));
    let far = engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await;
    assert!(
        matches!(far, Err(TransferError::Refused(Refusal::BeyondTheDisk { end: 10 }))),
        "{far:?}"
    );
    assert_eq!(engine.stats().faults.get(), 0);
    assert!(engine.readiness().await.is_ok());
    machine.store.fail(None);
    engine.receive(id, chunk(0, 10, 10), None, body(&[b"helloworld"])).await.unwrap();
}

#[tokio::test]
async fn a_failed_sync_is_a_fault_even_if_it_says_that_the_disk_is_full() {
    for (ack, length) in
        [(Durability::Durable, 5), (Durability::Durable, 6), (Durability::Written, 5)]
    {
        let machine = Machine::default();
        let engine = machine.start(ack);
        let id = ticket(&engine).await;
        machine.store.fail(Some((Step::Sync, io::ErrorKind::StorageFull)));
        let failed = engine.receive(id, chunk(0, 5, length), None, body(&[b"hello"])).await;
        assert!(matches!(failed, Err(TransferError::Fault(_))), "{ack:?} {length} {failed:?}");
        machine.store.fail(None);
        let still = engine.receive(id, chunk(0, 5, length), None, body(&[b"hello"])).await;
        assert!(matches!(still, Err(TransferError::Fault(_))), "{ack:?} {length} {still:?}");
        assert_eq!(machine.store.published(id).unwrap(), None, "nothing is published over it");
    }
}

/// A step of either disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskStep {
    Files(Step),
    Journals(JournalStep),
}

impl Machine {
    /// The same, whose steps are counted once `watch` is set; the process dies before the one that `dies` names.
    fn watched(
        &self,
        watch: &Arc<AtomicBool>,
        dies: Option<DiskStep>,
    ) -> (Self, Arc<Mutex<Vec<DiskStep>>>) {
        let (steps, dead) = (Arc::<Mutex<Vec<_>>>::default(), Arc::new(AtomicBool::new(false)));
        let judge = {
            let (watch, steps) = (Arc::clone(watch), Arc::clone(&steps));
            move |step| {
                if dead.load(Ordering::Relaxed) {
                    return Fate::DEAD;
                }
                if !watch.load(Ordering::Relaxed) {
                    return Fate::Happens;
                }
                steps.lock().unwrap().push(step);
                if Some(step) == dies {
                    dead.store(true, Ordering::Relaxed);
                    return Fate::DEAD;
                }
                Fate::Happens
            }
        };
        let of_files = {
            let judge = judge.clone();
            move |_, step, _| judge(DiskStep::Files(step))
        };
        let of_journals = move |_, step, _| judge(DiskStep::Journals(step));
        let store = self.store.judged(Arc::new(of_files));
        let journals = self.journals.judged(Arc::new(of_journals));
        (Self { store, journals, ..self.clone() }, steps)
    }
}

#[tokio::test]
async fn a_last_chunk_waits_for_the_file_its_record_and_its_place() {
    for ack in [Durability::Durable, Durability::Written] {
        let (machine, watch) = (Machine::default(), Arc::default());
        let (watched, steps) = machine.watched(&watch, None);
        let engine = watched.start(ack);
        let id = ticket(&engine).await;
        engine.receive(id, chunk(0, 3, 5), None, body(&[b"hel"])).await.unwrap();
        watch.store(true, Ordering::Relaxed);
        let status = engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await.unwrap();
        assert_eq!(status.state, StateName::HandingOver);
        let mut steps = std::mem::take(&mut *steps.lock().unwrap());
        steps.retain(|step| {
            use JournalStep::SyncName;
            matches!(
                step,
                DiskStep::Files(Step::Sync | Step::Publish | Step::PublishNames)
                    | DiskStep::Journals(Sync | SyncName)
            )
        });
        // The first sync of the part makes its name durable as well, which `Written` has not done before.
        if ack == Durability::Written {
            assert_eq!(steps.remove(0), DiskStep::Files(Step::Sync));
        }
        let expected = [
            DiskStep::Files(Step::Sync),
            DiskStep::Journals(Sync),
            DiskStep::Files(Step::Publish),
            DiskStep::Files(Step::PublishNames),
        ];
        assert_eq!(steps, expected, "{ack:?}");
    }
}

/// Whatever it dies at: what was acknowledged is there, and the last bytes either come again or were recorded, and then
/// the file gets to its place by itself.
#[tokio::test]
async fn a_kill_on_the_way_to_its_place_leaves_a_part_or_a_file() {
    for ack in [Durability::Durable, Durability::Written] {
        for (dies, recorded) in [
            (DiskStep::Files(Step::Sync), false),
            (DiskStep::Journals(JournalStep::Write), false),
            (DiskStep::Journals(Sync), true),
            (DiskStep::Files(Step::Publish), true),
            (DiskStep::Files(Step::PublishNames), true),
        ] {
            for power in [false, true] {
                let what = format!("{ack:?} {dies:?} {power}");
                let (machine, watch) = (Machine::default(), Arc::default());
                let (dying, steps) = machine.watched(&watch, Some(dies));
                let engine = dying.start(ack);
                let id = ticket(&engine).await;
                engine.receive(id, chunk(0, 3, 5), None, body(&[b"hel"])).await.unwrap();
                engine.sync_all_written().await;
                watch.store(true, Ordering::Relaxed);
                engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await.unwrap_err();
                assert!(steps.lock().unwrap().contains(&dies), "{what}");
                drop(engine);
                if power {
                    machine.cut_power();
                }
                // A record that was not synced goes with the power.
                let recorded = recorded && !(power && dies == DiskStep::Journals(Sync));
                let engine = machine.start(ack);
                let late = engine.cancel(id, "late".into(), Notice::Due).await;
                match recorded {
                    true => assert!(
                        matches!(late, Err(ChangeError::Refused(Refusal::TooLateToCancel))),
                        "{what}: {late:?}"
                    ),
                    false => {
                        late.unwrap();
                        assert_eq!(machine.store.published(id).unwrap(), None, "{what}");
                        assert!(machine.store.open(id).unwrap().is_none(), "{what}");
                        continue;
                    }
                }
                engine.wait_idle().await;
                assert_eq!(machine.store.file(id).unwrap(), b"hello", "{what}");
                assert!(machine.store.open(id).unwrap().is_none(), "{what}");
                let state = engine.status(id).await.unwrap().state;
                assert_eq!(state, StateName::HandingOver, "{what}");
                assert!(begin(&engine, id).await.is_some(), "{what}: the backend is called");
                assert_eq!(engine.stats().faults.get(), 0, "{what}");
            }
        }
    }
}

/// The same without a cancel: what was not recorded comes again.
#[tokio::test]
async fn a_kill_before_the_record_leaves_what_was_acknowledged() {
    for power in [false, true] {
        let (machine, watch) = (Machine::default(), Arc::default());
        let dies = Some(DiskStep::Journals(JournalStep::Write));
        let (dying, _) = machine.watched(&watch, dies);
        let engine = dying.start(Durability::Durable);
        let id = ticket(&engine).await;
        engine.receive(id, chunk(0, 3, 5), None, body(&[b"hel"])).await.unwrap();
        watch.store(true, Ordering::Relaxed);
        engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await.unwrap_err();
        drop(engine);
        if power {
            machine.cut_power();
        }
        let engine = machine.start(Durability::Durable);
        assert_eq!(held(&engine, id).await, [(0, 3)], "power {power}");
        engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await.unwrap();
        assert_eq!(machine.store.file(id).unwrap(), b"hello");
    }
}

/// What a client was told of a file stays so, and a full disk at the rename tells it nothing.
#[tokio::test]
async fn told_complete_is_complete_after_a_power_cut() {
    for full in [false, true] {
        let machine = Machine::default();
        let engine = machine.start(Durability::Durable);
        let id = ticket(&engine).await;
        if full {
            machine.store.fail(Some((Step::Publish, io::ErrorKind::StorageFull)));
        }
        let told = engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await;
        match full {
            true => assert!(matches!(told, Err(TransferError::NoSpace)), "{told:?}"),
            false => assert_eq!(told.unwrap().state, StateName::HandingOver),
        }
        assert_eq!(engine.stats().faults.get(), 0);
        drop(engine);
        machine.cut_power();
        let engine = machine.start(Durability::Durable);
        let expected = if full { StateName::Uploading } else { StateName::HandingOver };
        assert_eq!(engine.status(id).await.unwrap().state, expected);
        let late = engine.cancel(id, "late".into(), Notice::Due).await;
        match full {
            // It is refused, and the publish that goes with it fails.
            true => assert!(matches!(late, Err(ChangeError::NoSpace)), "{late:?}"),
            false => assert!(
                matches!(late, Err(ChangeError::Refused(Refusal::TooLateToCancel))),
                "{late:?}"
            ),
        }
        machine.store.fail(None);
        let told = engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
        assert_eq!(told.state, StateName::HandingOver);
        assert_eq!(machine.store.file(id).unwrap(), b"hello");
    }
}

/// Of a record that may be there or not nothing follows before a restart: no byte is written to the part, and it is not
/// published.
#[tokio::test]
async fn a_part_stays_sealed_after_a_fault_of_the_record_that_completes_it() {
    for power in [false, true] {
        let machine = Machine::default();
        let fails = Arc::new(AtomicBool::new(false));
        let judge = {
            let fails = Arc::clone(&fails);
            move |_, step, _| match step == Sync && fails.load(Ordering::Relaxed) {
                true => Fate::Fails(io::ErrorKind::Other),
                false => Fate::Happens,
            }
        };
        let journals = machine.journals.judged(Arc::new(judge));
        let engine = Machine { journals, ..machine.clone() }.start(Durability::Durable);
        let id = ticket(&engine).await;
        engine.receive(id, chunk(0, 3, 5), None, body(&[b"hel"])).await.unwrap();
        let handle = engine.find(id).await.unwrap();
        fails.store(true, Ordering::Relaxed);
        let failed = engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await;
        assert!(matches!(failed, Err(TransferError::Fault(_))), "{failed:?}");
        let missing = ExtentSet::of(Extent::new(3, 5).unwrap());
        let written = async {
            let mut late = handle.part.writer(missing, Announced::Yes, Some(5)).await?;
            late.write(Extent::new(3, 5).unwrap(), vec![Bytes::from_static(b"XX")], 0).await
        };
        assert!(matches!(written.await, Err(WriteError::Sealed)));
        let late = engine.cancel(id, "late".into(), Notice::Due).await;
        assert!(matches!(late, Err(ChangeError::Fault(_))), "{late:?}");
        engine.wait_idle().await;
        assert_eq!(machine.store.published(id).unwrap(), None);
        drop((handle, engine));
        if power {
            machine.cut_power();
        }
        let engine = machine.start(Durability::Durable);
        if power {
            assert_eq!(held(&engine, id).await, [(0, 3)]);
            engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await.unwrap();
        }
        engine.status(id).await.unwrap();
        engine.wait_idle().await;
        assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
        assert_eq!(machine.store.file(id).unwrap(), b"hello");
    }
}

/// A journal that is behind its file, by a damaged record or as a copy that was made before: the file is the backend's,
/// and no load, cancel or timer takes it from there.
#[tokio::test]
async fn a_file_that_its_journal_does_not_know_stays_in_its_place() {
    for ack in [Durability::Durable, Durability::Written] {
        let machine = Machine::default();
        let engine = machine.start(ack);
        let id = ticket(&engine).await;
        engine.receive(id, chunk(0, 3, 5), None, body(&[b"hel"])).await.unwrap();
        engine.sync_all_written().await;
        let before = machine.journals.live(id).unwrap();
        engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await.unwrap();
        drop(engine);
        machine.journals.create(id, &before, SyncWhen::Now).unwrap();
        machine.clock.advance(Duration::from_secs(4000));
        let engine = machine.start(ack);
        engine.startup_scan().await;
        assert_eq!(engine.uploads_unread(), 1);
        let asked = engine.status(id).await;
        assert!(matches!(asked, Err(LookupError::Fault(_))), "{asked:?}");
        engine.cancel(id, "gone".into(), Notice::Due).await.unwrap_err();
        engine.on_timer(id).await;
        assert_eq!(machine.store.file(id).unwrap(), b"hello");
        assert_eq!(machine.store.part(id), None);
    }
}

/// A part beside the journal of a file that the backend was called for is none of its file, which may be taken.
#[tokio::test]
async fn nothing_is_published_again_that_the_backend_was_called_for() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    begin(&engine, id).await.unwrap();
    drop(engine);
    machine.store.take(id);
    let left = machine.store.create(id).unwrap();
    left.write_at(&[Bytes::from_static(b"XXXXX")], 0).unwrap();
    let engine = machine.start(Durability::Durable);
    engine.startup_scan().await;
    assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
    engine.wait_idle().await;
    assert_eq!(machine.store.published(id).unwrap(), None);
}

/// Bytes beyond the end that a chunk gives, of another one that has not ended: they are not cut off before the end is
/// recorded.
#[tokio::test]
async fn a_file_whose_end_could_not_be_recorded_keeps_what_lies_behind_it() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    let part = machine.store.create(id).unwrap();
    part.write_at(&[Bytes::from_static(b"hello world")], 0).unwrap();
    machine.journals.fail_next(id, 2, io::ErrorKind::StorageFull);
    let full = engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await;
    assert!(matches!(full, Err(TransferError::NoSpace)), "{full:?}");
    assert_eq!(machine.store.part(id).unwrap(), b"hello world");
    let told = engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    assert_eq!(told.state, StateName::HandingOver);
    assert_eq!(machine.store.file(id).unwrap(), b"hello");
    drop(engine);
    machine.cut_power();
    assert_eq!(machine.store.file(id).unwrap(), b"hello");
}

#[tokio::test]
async fn a_power_cut_between_rename_and_its_record_loses_nothing() {
    for ack in [Durability::Durable, Durability::Written] {
        let machine = Machine::default();
        let engine = machine.start(ack);
        let id = ticket(&engine).await;
        engine.bind(id, FileFacts { length: Some(5), ..FileFacts::default() }).await.unwrap();
        machine.store.fail(Some((Step::Publish, io::ErrorKind::StorageFull)));
        let full = engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await;
        assert!(matches!(full, Err(TransferError::NoSpace)), "{full:?}");
        machine.store.fail(None);
        // The rename happened, its record did not.
        machine.store.publish(id, 5).unwrap();
        drop(engine);
        machine.cut_power();
        let engine = machine.start(ack);
        engine.status(id).await.unwrap();
        engine.wait_idle().await;
        assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver, "{ack:?}");
    }
}

#[tokio::test]
async fn what_a_crash_left_unsynced_in_the_journal_is_synced_before_it_is_told() {
    let machine = Machine::default();
    // The process dies when a record is written and before it is synced.
    let dies = |_, step, _| if step == Sync { Fate::DEAD } else { Fate::Happens };
    let dying = Machine { journals: machine.journals.judged(Arc::new(dies)), ..machine.clone() };
    let engine = dying.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap_err();
    drop(engine);
    let engine = machine.start(Durability::Durable);
    assert_eq!(held(&engine, id).await, [(0, 5)], "told, and so it is for ever");
    drop(engine);
    machine.cut_power();
    assert_eq!(held(&machine.start(Durability::Durable), id).await, [(0, 5)]);
}

#[tokio::test]
async fn a_last_chunk_that_could_not_be_recorded_can_be_sent_again() {
    for ack in [Durability::Durable, Durability::Written] {
        let machine = Machine::default();
        let engine = machine.start(ack);
        let id = ticket(&engine).await;
        engine.receive(id, chunk(0, 3, 5), None, body(&[b"hel"])).await.unwrap();
        machine.journals.fail_next(id, 2, io::ErrorKind::StorageFull);
        let full = engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await;
        assert!(matches!(full, Err(TransferError::NoSpace)), "{ack:?} {full:?}");
        engine.receive(id, chunk(3, 5, 5), None, body(&[b"lo"])).await.unwrap();
        assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
    }
}
