//! What may happen to an upload with time: it is synced, leaves memory, expires, is forgotten; and
//! who asks for something at that very moment gets all of it or a plain no.

use super::*;
use crate::core::refusal::Terminal;
use crate::engine::error::LookupError;
use crate::storage::local::journal_files::SyncWhen;
use crate::storage::local::slow_disk::SLOW_WRITE;

const LONG: Duration = Duration::from_secs(4000);

#[tokio::test]
async fn a_clean_stop_leaves_nothing_unsynced() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(3, 8, 10), None, body(&[b"he", b"llo"])).await.unwrap();
    engine.sync_all_written().await;
    engine.wait_idle().await;
    drop(engine);
    machine.cut_power();
    let engine = machine.start(Durability::Written);
    assert_eq!(held(&engine, id).await, [(3, 8)]);
}

#[tokio::test]
async fn a_clean_stop_waits_for_what_goes_on_alone() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    let (send, receive) = mpsc::unbounded_channel();
    send.send(Ok(Bytes::from_static(b"hel"))).unwrap();
    {
        let mut receiving = Box::pin(engine.receive(id, chunk(0, 10, 10), None, Body(receive)));
        while engine.stats().received_bytes.get() < 3 {
            assert!(poll_once(receiving.as_mut()).await.is_pending());
            tokio::task::yield_now().await;
        }
    }
    engine.draining().cancel();
    drop(send);
    engine.shut_down().await;
    drop(engine);
    machine.cut_power();
    assert_eq!(held(&machine.start(Durability::Written), id).await, [(0, 3)]);
}

/// Dropped after so many polls: what had come is counted, and nothing is left behind.
#[tokio::test]
async fn a_request_dropped_at_any_poll_is_counted() {
    for (ack, slow) in [
        (Durability::Written, false),
        (Durability::Written, true),
        (Durability::Durable, false),
        (Durability::Durable, true),
    ] {
        for polls in 0..30 {
            let machine = Machine::default();
            let engine = machine.start(ack);
            let id = ticket(&engine).await;
            if slow {
                machine.storage().slow_disk().waited(SLOW_WRITE, tokio::time::Instant::now());
            }
            {
                let frames = body(&[b"he", b"llo"]);
                let mut receiving = Box::pin(engine.receive(id, chunk(0, 5, 10), None, frames));
                for _ in 0..polls {
                    if poll_once(receiving.as_mut()).await.is_ready() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            engine.wait_idle().await;
            assert_eq!(engine.stats.chunks_in_flight.value(), 0);
            let expected = if polls == 0 { vec![] } else { vec![(0, 5)] };
            assert_eq!(held(&engine, id).await, expected, "{ack:?} {slow} {polls}");
            assert!(machine.storage().slow_disk().permit(usize::MAX).await.is_some());
        }
    }
}

#[tokio::test]
async fn what_a_crash_left_unsynced_is_synced_at_the_next_stop() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
    drop(engine);
    let engine = machine.start(Durability::Written);
    assert_eq!(held(&engine, id).await, [(0, 5)]);
    engine.sync_all_written().await;
    drop(engine);
    machine.cut_power();
    assert_eq!(held(&machine.start(Durability::Written), id).await, [(0, 5)]);
}

#[tokio::test]
async fn an_upload_is_synced_before_it_leaves_memory() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
    assert!(engine.evict_idle().is_empty(), "in use a moment ago");
    machine.clock.advance(LONG);
    let unsynced = engine.evict_idle();
    assert_eq!(unsynced.len(), 1);
    for handle in unsynced {
        engine.sync_written(&handle).await;
    }
    // The commit queue lets go of it a moment after its answer.
    engine.wait_idle().await;
    machine.clock.advance(LONG);
    // Whoever has just noted the sync may still hold it for a moment.
    while engine.registry.loaded(id).is_some() {
        assert!(engine.evict_idle().is_empty());
        tokio::task::yield_now().await;
    }
    drop(engine);
    machine.cut_power();
    assert_eq!(held(&machine.start(Durability::Written), id).await, [(0, 5)]);
}

#[tokio::test]
async fn only_an_idle_upload_expires() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    machine.clock.advance(LONG);
    let (send, receive) = mpsc::unbounded_channel();
    send.send(Ok(Bytes::from_static(b"hel"))).unwrap();
    let sending = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.receive(id, chunk(0, 5, 10), None, Body(receive)).await }
    });
    while engine.stats().received_bytes.get() < 3 {
        tokio::task::yield_now().await;
    }
    engine.on_timer(id).await;
    assert_eq!(engine.status(id).await.unwrap().state, StateName::New, "somebody is sending");
    send.send(Ok(Bytes::from_static(b"lo"))).unwrap();
    drop(send);
    sending.await.unwrap().unwrap();
    engine.on_timer(id).await;
    assert_eq!(held(&engine, id).await, [(0, 5)], "it has just got bytes");
    machine.clock.advance(LONG);
    engine.on_timer(id).await;
    let status = engine.status(id).await.unwrap();
    assert_eq!(status.state, StateName::Cancelled);
    assert_eq!(status.reason.as_deref(), Some("upload timed out"));
}

/// An upload whose only call to its backend came to nothing.
async fn failed(machine: &Machine) -> (Arc<Engine>, TicketId) {
    let engine = machine.start_with(Durability::Durable, Duration::ZERO);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    begin(&engine, id).await.unwrap();
    engine.end_call(id, CallResult::Unanswered("down".into())).await.unwrap();
    assert_eq!(engine.status(id).await.unwrap().state, StateName::Failed);
    (engine, id)
}

#[tokio::test]
async fn a_retry_and_the_end_of_retention_exclude_each_other() {
    let (mut kept, mut gone) = (0, 0);
    for round in 0..200 {
        let machine = Machine::default();
        let (engine, id) = failed(&machine).await;
        machine.clock.advance(LONG);
        if round % 2 == 0 {
            // Both read it from its journal, then.
            engine.registry.remove(id);
        }
        let retry = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { engine.retry(id).await }
        });
        engine.on_timer(id).await;
        let file = |_: &Arc<Engine>| machine.store.published(id).unwrap();
        match retry.await.unwrap() {
            Ok(()) => {
                kept += 1;
                assert_eq!(file(&engine), Some(5));
                assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
            }
            Err(error) => {
                gone += 1;
                assert!(matches!(error, ChangeError::Unknown), "{error:?}");
                assert_eq!(file(&engine), None);
                assert!(matches!(engine.status(id).await, Err(LookupError::Unknown)));
            }
        }
        assert_eq!(engine.stats().faults.get(), 0);
    }
    assert_eq!(kept + gone, 200);
}

/// A crash between the two ends of retention, that of the file and that of the journal, leaves nothing to retry. Before,
/// the backend may have the file.
#[tokio::test]
async fn at_the_end_of_retention_a_failed_upload_without_its_file_is_over() {
    let machine = Machine::default();
    let (engine, id) = failed(&machine).await;
    machine.store.take(id);
    machine.clock.advance(Duration::from_secs(3600 - 20));
    let retried = engine.retry(id).await;
    let over = Refusal::UploadOver(Terminal::Failed);
    assert!(
        matches!(&retried, Err(ChangeError::Refused(refusal)) if *refusal == over),
        "{retried:?}"
    );
    assert_eq!(engine.status(id).await.unwrap().state, StateName::Failed);
}

/// It may have been the backend that took it: it is called, and knows.
#[tokio::test]
async fn a_failed_upload_without_its_file_is_tried_again() {
    let machine = Machine::default();
    let (engine, id) = failed(&machine).await;
    machine.store.take(id);
    engine.retry(id).await.unwrap();
    assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
}

#[tokio::test]
async fn a_ticket_counts_though_nobody_waits_for_it() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    {
        let asked = ticket(&engine);
        tokio::pin!(asked);
        // Mostly it is pending then; where the disk was faster, there is nothing to show.
        let _ = poll_once(asked.as_mut()).await;
    }
    engine.wait_idle().await;
    assert_eq!(engine.stats().uploads_open.value(), 1);
    machine.clock.advance(LONG);
    let id = machine.journals.list().unwrap()[0];
    engine.on_timer(id).await;
    // Its backend is to be told.
    assert_eq!(engine.stats().uploads_open.value(), 1);
    begin(&engine, id).await.unwrap();
    engine.end_call(id, CallResult::Done).await.unwrap();
    assert_eq!(engine.stats().uploads_open.value(), 0);
}

#[tokio::test]
async fn what_an_end_released_goes_also_where_somebody_asked_before_the_startup_scan() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
    engine.cancel(id, String::new(), Notice::NotDue).await.unwrap();
    drop(engine);
    // Killed after the end was recorded and before the part was removed.
    machine.store.create(id).unwrap();
    let engine = machine.start(Durability::Durable);
    assert_eq!(engine.status(id).await.unwrap().state, StateName::Cancelled);
    let sweep = tokio::spawn(Arc::clone(&engine).sweep());
    let removed = async {
        while machine.store.open(id).unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), removed).await.unwrap();
    engine.draining().cancel();
    sweep.await.unwrap();
}

#[tokio::test]
async fn a_journal_without_a_byte_is_a_forgotten_ticket_only_where_nothing_was_synced() {
    for ack in [Durability::Written, Durability::Durable] {
        let machine = Machine::default();
        let engine = machine.start(Durability::Written);
        let id = ticket(&engine).await;
        engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
        drop(engine);
        machine.cut_power();
        // What a disk may have kept of both.
        machine.journals.create(id, b"", SyncWhen::Now).unwrap();
        machine.store.create(id).unwrap();
        let engine = machine.start(ack);
        let sweep = tokio::spawn(Arc::clone(&engine).sweep());
        let found = engine.status(id).await;
        match ack {
            Durability::Written => {
                assert!(matches!(found, Err(LookupError::Unknown)));
                let removed = async {
                    while machine.journals.read(id).unwrap().is_some() {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(20), removed).await.unwrap();
                assert!(machine.store.open(id).unwrap().is_none());
            }
            Durability::Durable => {
                assert!(matches!(found, Err(LookupError::Fault(_))));
            }
        }
        engine.draining().cancel();
        sweep.await.unwrap();
        if ack == Durability::Durable {
            assert!(machine.store.open(id).unwrap().is_some(), "nothing of it is touched");
        }
    }
}

#[tokio::test]
async fn a_finish_while_the_digest_is_computed_leaves_no_call_and_no_fault() {
    let machine = Machine::default();
    let started: Arc<std::sync::OnceLock<Arc<Engine>>> = Arc::default();
    let (runtime, engine) = (tokio::runtime::Handle::current(), Arc::clone(&started));
    let finishes = move |id, step, _| {
        if step == Step::Read {
            runtime.block_on(engine.get().unwrap().finish(id)).unwrap();
        }
        Fate::Happens
    };
    let store = machine.store.judged(Arc::new(finishes));
    let engine = Machine { store, ..machine }.start(Durability::Durable);
    assert!(started.set(Arc::clone(&engine)).is_ok());
    let id =
        engine.new_upload(NewUpload { digest: DigestRequest::Sha256, ..wish() }).await.unwrap().0;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    assert!(begin(&engine, id).await.is_none(), "the backend has the file");
    assert_eq!(engine.status(id).await.unwrap().state, StateName::Finished);
}

#[tokio::test]
async fn a_complete_file_needs_no_client_to_get_to_its_place() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    machine.store.fail(Some((Step::Publish, io::ErrorKind::StorageFull)));
    let full = engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await;
    assert!(matches!(full, Err(TransferError::NoSpace)), "{full:?}");
    machine.store.fail(None);
    engine.on_timer(id).await;
    assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
}

/// Polls once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
