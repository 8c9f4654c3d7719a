//! The overview: what it shows, and that a request costs the same whatever number of uploads there are.

use super::*;
use crate::engine::overview::SHOWN;

/// An engine with `count` uploads that have a length, and no bytes.
async fn with_uploads(count: usize) -> Arc<Engine> {
    let engine = Machine::default().start(Durability::Written);
    engine.set_options(&Options { max_uploads: 1 << 20, ..(*engine.options()).clone() });
    tokio::spawn(Arc::clone(&engine).sample());
    for _ in 0..count {
        let id = ticket(&engine).await;
        engine.bind(id, FileFacts { length: Some(10), ..FileFacts::default() }).await.unwrap();
    }
    engine
}

#[tokio::test]
async fn issue_17_requests_share_a_sample_however_many_uploads_there_are() {
    let engine = with_uploads(10_000).await;
    let first = engine.overview().await;
    assert_eq!((first.live_count, first.live.len()), (10_000, SHOWN));
    // Fresh for two seconds: the request walks over no upload, it gets what the task has made.
    let (again, more) = tokio::join!(engine.overview(), engine.overview());
    assert!(Arc::ptr_eq(&again, &more), "two requests at one moment are two references");
}

#[tokio::test]
async fn issue_17_the_fastest_come_first_and_show_their_progress() {
    let engine = with_uploads(SHOWN + 50).await;
    engine.overview().await;
    let id = ticket(&engine).await;
    let name = Some("letter.pdf".into());
    engine.bind(id, FileFacts { length: Some(10), name, ..FileFacts::default() }).await.unwrap();
    let (send, receive) = mpsc::unbounded_channel();
    send.send(Ok(Bytes::from_static(b"hello"))).unwrap();
    let sending = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.receive(id, chunk(0, 10, 10), None, Body(receive)).await }
    });
    let shown = loop {
        let overview = engine.overview().await;
        let first = overview.live.first().cloned().unwrap();
        if first.id == id && first.under_way > 0 {
            break first;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((shown.chunks, shown.length, shown.acknowledged), (1, Some(10), 0));
    assert_eq!(shown.under_way, 5);
    send.send(Ok(Bytes::from_static(b"world"))).unwrap();
    drop(send);
    sending.await.unwrap().unwrap();
    // Complete: it is no longer live, and its handover is pending.
    let overview = loop {
        let overview = engine.overview().await;
        if overview.pending_count == 1 {
            break overview;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(overview.live.iter().all(|upload| upload.id != id));
    let call = &overview.pending[0];
    assert_eq!((call.id, call.kind, call.attempts), (id, CallKind::Handover, 0));
    assert_eq!(call.name.as_deref(), Some("letter.pdf"));
    assert_eq!(call.destination.parts(), ("backend", 80));
    let received = |overview: &crate::engine::overview::Overview| {
        overview.seconds.iter().map(|second| second.received).sum::<u64>()
    };
    while received(&*engine.overview().await) < 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn issue_17_an_overview_comes_without_a_sampler_too() {
    let engine = Machine::default().start(Durability::Written);
    ticket(&engine).await;
    assert_eq!(engine.overview().await.live_count, 0);
}
