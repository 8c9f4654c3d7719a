//! `ack = written`: bytes are synced while the file comes, and acknowledgements are ahead of the disk by so much alone.

use super::*;

fn machine() -> Machine {
    Machine::default().tuned(|local| {
        local.sync_point_bytes = 4;
        local.max_ahead_bytes = 12;
    })
}

#[tokio::test]
async fn issue_19_bytes_are_synced_while_the_file_comes() {
    let machine = machine();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    for (start, end, word) in [(0, 5, b"hello"), (5, 10, b"world")] {
        engine.receive(id, chunk(start, end, 20), None, body(&[word.as_slice()])).await.unwrap();
        engine.wait_idle().await;
    }
    drop(engine);
    machine.store.cut_power();
    let engine = machine.start(Durability::Written);
    assert_eq!(held(&engine, id).await, [(0, 10)]);
}

/// An upload that is too far ahead while its disk hangs: its chunk that waits, after two that did not.
async fn far(machine: &Machine, engine: &Arc<Engine>) -> (TicketId, Sent) {
    far_with(machine, engine, b"again", 15).await
}

/// The last chunk has these bytes, up to `end`.
async fn far_with(
    machine: &Machine,
    engine: &Arc<Engine>,
    last: &'static [u8],
    end: u64,
) -> (TicketId, Sent) {
    let id = ticket(engine).await;
    machine.store.hold(Some((id, Step::Sync)));
    engine.receive(id, chunk(0, 5, 20), None, body(&[b"hello"])).await.unwrap();
    while machine.store.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    engine.receive(id, chunk(5, 10, 20), None, body(&[b"world"])).await.unwrap();
    let sent = tokio::spawn({
        let engine = Arc::clone(engine);
        async move { engine.receive(id, chunk(10, 15, 20), None, body(&[last])).await }
    });
    while held(engine, id).await != [(0, end)] {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!sent.is_finished());
    assert_eq!(machine.store.waiting(), 1, "one sync at a time");
    (id, sent)
}

type Sent = tokio::task::JoinHandle<Result<status::Status, TransferError>>;

#[tokio::test]
async fn issue_19_acknowledgements_wait_where_they_are_too_far_ahead() {
    let machine = machine();
    let engine = machine.start(Durability::Written);
    let (id, sent) = far(&machine, &engine).await;
    let other = ticket(&engine).await;
    for (start, end, word) in [(0, 5, b"hello"), (5, 10, b"world"), (10, 15, b"again")] {
        let sent = engine.receive(other, chunk(start, end, 20), None, body(&[word.as_slice()]));
        sent.await.expect("one that waits keeps no other");
    }
    machine.store.hold(None);
    sent.await.unwrap().unwrap();
    engine.wait_idle().await;
    drop(engine);
    machine.store.cut_power();
    let engine = machine.start(Durability::Written);
    assert_eq!(held(&engine, id).await, [(0, 15)], "no chunk waits for a further sync");
}

#[tokio::test]
async fn issue_19_a_body_that_breaks_off_waits_as_well() {
    let machine = machine();
    let engine = machine.start(Durability::Written);
    let (id, sent) = far_with(&machine, &engine, b"aga", 13).await;
    machine.store.hold(None);
    sent.await.unwrap().expect_err("it was cut off");
    assert_eq!(held(&engine, id).await, [(0, 13)]);
}

#[tokio::test(start_paused = true)]
async fn issue_19_a_disk_that_hangs_keeps_a_chunk_for_so_long_alone() {
    let machine = machine();
    let engine = machine.start(Durability::Written);
    let (_, sent) = far(&machine, &engine).await;
    tokio::time::advance(Duration::from_secs(20)).await;
    sent.await.unwrap().unwrap();
    machine.store.hold(None);
}

#[tokio::test]
async fn issue_19_who_waits_for_a_sync_that_fails_hears_of_it() {
    let machine = machine();
    let engine = machine.start(Durability::Written);
    let (id, sent) = far(&machine, &engine).await;
    machine.store.fail(Some((Step::Sync, io::ErrorKind::Other)));
    machine.store.hold(None);
    let sent = sent.await.unwrap();
    assert!(matches!(sent, Err(TransferError::Fault(_))), "{sent:?}");
    machine.store.fail(None);
    let next = engine.receive(id, chunk(15, 20, 20), None, body(&[b"there"])).await;
    assert!(matches!(next, Err(TransferError::Fault(_))), "{next:?}");
    assert_eq!(machine.store.published(id).unwrap(), None);
}

/// A body that waits on the way lets go of its bytes when they come anew.
#[tokio::test]
async fn issue_19_a_body_that_waits_for_the_disk_keeps_no_newer_one() {
    let machine = machine();
    let options = (*machine.start(Durability::Written).options()).clone();
    let tuning = Tuning { batch_bytes: 1, checkpoint_bytes: 4 };
    let engine = machine.start_as(Options { tuning, ..options });
    let id = ticket(&engine).await;
    machine.store.hold(Some((id, Step::Sync)));
    let (send, receive) = mpsc::unbounded_channel();
    let older = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.receive(id, chunk(0, 30, 40), None, Body(receive)).await }
    });
    for (end, word) in [(5, "hello"), (10, "world"), (15, "again")] {
        send.send(Ok(Bytes::from_static(word.as_bytes()))).unwrap();
        while held(&engine, id).await != [(0, end)] {
            tokio::task::yield_now().await;
        }
    }
    send.send(Ok(Bytes::from_static(b"there"))).unwrap();
    while machine.store.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(held(&engine, id).await, [(0, 15)], "the client waits");
    let newer = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.receive(id, chunk(15, 30, 40), None, body(&[b"there, and then"])).await }
    });
    let older = older.await.unwrap();
    assert!(matches!(older, Err(TransferError::Superseded)), "{older:?}");
    assert_eq!(machine.store.waiting(), 1, "the disk hangs");
    machine.store.hold(None);
    newer.await.unwrap().unwrap();
    assert_eq!(held(&engine, id).await, [(0, 30)]);
}

/// One that fails ends the upload, and no later one says that all is well.
#[tokio::test]
async fn issue_19_a_sync_that_fails_meanwhile_stops_the_upload() {
    let machine = machine();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    machine.store.fail(Some((Step::Sync, io::ErrorKind::Other)));
    let first = engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await;
    first.unwrap();
    engine.wait_idle().await;
    machine.store.fail(None);
    let next = engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await;
    assert!(matches!(next, Err(TransferError::Fault(_))), "{next:?}");
    assert_eq!(machine.store.published(id).unwrap(), None);
}
