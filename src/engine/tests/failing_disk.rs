//! A disk that is full, fails, or loses its power in the middle of something.

use super::*;
use crate::storage::memory::journals::Step::Sync;

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
    for ack in [Durability::Durable, Durability::Written] {
        for step in [Step::Sync, Step::PublishSync] {
            let machine = Machine::default();
            let engine = machine.start(ack);
            let id = ticket(&engine).await;
            machine.store.fail(Some((step, io::ErrorKind::StorageFull)));
            let failed = engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await;
            assert!(matches!(failed, Err(TransferError::Fault(_))), "{ack:?} {step:?} {failed:?}");
            machine.store.fail(None);
            let still = engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await;
            assert!(matches!(still, Err(TransferError::Fault(_))), "{ack:?} {step:?} {still:?}");
            assert_eq!(machine.store.published(id).unwrap(), None, "nothing is published over it");
        }
    }
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
