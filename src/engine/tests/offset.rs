//! The offset that a client which appends is told, and the end of what is kept.

use super::*;
use crate::engine::error::LookupError;

fn append(offset: u64, length: u64) -> Offer {
    Offer {
        extent: Extent::new(offset, length),
        length: Some(length),
        at: At::Prefix(offset),
        scope: BodyScope::Open,
    }
}

#[tokio::test]
async fn the_told_offset_is_exact_and_can_be_appended_at() {
    let engine = Machine::default().start(Durability::Durable);
    let id = ticket(&engine).await;
    let (send, receive) = mpsc::unbounded_channel();
    let sending = {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { engine.receive(id, append(0, 10), None, Body(receive)).await })
    };
    send.send(Ok(Bytes::from_static(b"0123"))).unwrap();
    let handle = engine.find(id).await.unwrap();
    while handle.lock().claims.count() == 0 {
        tokio::task::yield_now().await;
    }
    // What has come by then counts, and nothing moves it afterwards.
    let status = engine.quiesced_status(id).await.unwrap();
    assert!(matches!(sending.await.unwrap(), Err(TransferError::Superseded)));
    drop(send.send(Ok(Bytes::from_static(b"4567"))));
    assert_eq!(engine.status(id).await.unwrap().offset(), status.offset());
    assert!(status.expires.is_some());
    let rest = &b"0123456789"[usize::try_from(status.offset()).unwrap()..];
    let done = engine.receive(id, append(status.offset(), 10), None, body(&[rest])).await.unwrap();
    assert_eq!((done.state, done.expires), (StateName::HandingOver, None));
    // Nobody writes any more: it is only looked at.
    assert_eq!(engine.quiesced_status(id).await.unwrap().offset(), 10);
}

/// A client that is told an offset at the end goes away: what keeps the file from its place must reach it.
#[tokio::test]
async fn no_offset_is_told_at_the_end_of_a_file_that_is_not_published() {
    for (kind, full) in [(io::ErrorKind::StorageFull, true), (io::ErrorKind::Other, false)] {
        let machine = Machine::default();
        let engine = machine.start(Durability::Durable);
        let id = ticket(&engine).await;
        machine.store.fail(Some((Step::Publish, kind)));
        engine.receive(id, append(0, 3), None, body(&[b"abc"])).await.unwrap_err();
        assert_eq!(engine.status(id).await.unwrap().offset(), 3, "the bytes are there");
        let told = engine.quiesced_status(id).await;
        assert!(
            matches!(
                (&told, full),
                (Err(ChangeError::NoSpace), true) | (Err(ChangeError::Fault(_)), false)
            ),
            "{told:?}"
        );
        machine.store.fail(None);
        let told = engine.quiesced_status(id).await;
        match full {
            true => assert_eq!(told.unwrap().state, StateName::HandingOver),
            false => assert!(matches!(told, Err(ChangeError::Fault(_))), "{told:?}"),
        }
    }
}

/// Its ticket says that the file is empty: no byte will come, so the question is all that comes.
#[tokio::test]
async fn an_empty_file_is_begun_by_who_asks_where_to_go_on() {
    let engine = Machine::default().start(Durability::Durable);
    let (id, _) = engine.new_upload(NewUpload { length: Some(0), ..wish() }).await.unwrap();
    let status = engine.quiesced_status(id).await.unwrap();
    assert_eq!((status.state, status.offset()), (StateName::HandingOver, 0));
}

#[tokio::test]
async fn only_what_is_finished_is_forgotten_before_its_time() {
    let engine = Machine::default().start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.forget(id).await.unwrap();
    assert_eq!(engine.status(id).await.unwrap().state, StateName::New);
    engine.receive(id, append(0, 3), None, body(&[b"abc"])).await.unwrap();
    engine.forget(id).await.unwrap();
    assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
    engine.finish(id).await.unwrap();
    engine.forget(id).await.unwrap();
    assert!(matches!(engine.status(id).await, Err(LookupError::Unknown)));
}

/// A body whose trailer section is refused: what of it was counted on the way stays, and no file is complete by it.
#[tokio::test]
async fn bad_trailers_drop_what_was_not_counted_before() {
    for (frames, expected) in [(&["helloworld"][..], vec![]), (&["hell", "oworld"], vec![(0, 4)])] {
        let machine = Machine::default();
        let options = (*machine.start(Durability::Durable).options()).clone();
        let tuning = Tuning { batch_bytes: 1, checkpoint_bytes: 4 };
        let engine = machine.start_as(Options { tuning, ..options });
        let id = ticket(&engine).await;
        let (send, receive) = mpsc::unbounded_channel();
        for frame in frames {
            send.send(Ok(Bytes::from_static(frame.as_bytes()))).unwrap();
        }
        send.send(Err(ClientFault::BadTrailers("on purpose".into()))).unwrap();
        let refused = engine.receive(id, chunk(0, 10, 10), None, Body(receive)).await;
        assert!(matches!(refused, Err(TransferError::Client(_))), "{refused:?}");
        assert_eq!(held(&engine, id).await, expected, "{frames:?}");
        assert_ne!(engine.status(id).await.unwrap().state, StateName::HandingOver);
        engine.receive(id, chunk(0, 10, 10), None, body(&[b"helloworld"])).await.unwrap();
        assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
    }
}
