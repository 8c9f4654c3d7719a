//! Protects the long poll: it answers when there is something to tell, and not before.

use crate::backend::{Backend, Script};
use crate::client::Ask;
use crate::server::{Running, Upload};
use std::time::{Duration, Instant};

fn poll(upload: &Upload<'_>, query: &str) -> Ask {
    Ask::new("GET", &format!("{}?{query}", upload.url))
}

#[tokio::test]
async fn answers_when_the_state_changes() {
    let backend = Backend::start().await;
    backend.answer([Script::Answer(200, "wait")]);
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    let began = Instant::now();
    let waiting = [poll(&upload, "wait=50&state=new"), poll(&upload, "wait=50")];
    let (first, second, bound) =
        tokio::join!(server.front(&waiting[0]), server.front(&waiting[1]), async {
            upload.bind(r#"{"length": 10}"#).await
        });
    bound.expect(200);
    assert_eq!(first.expect(200).json()["state"], "uploading");
    assert_eq!(second.expect(200).json()["state"], "uploading");
    upload.put_whole(b"0123456789").await.expect(200);
    backend.calls_for(&upload.id, 1).await;
    let waiting = poll(&upload, "wait=50&state=handing_over");
    let (reply, finished) = tokio::join!(server.front(&waiting), async {
        server.call("finish_upload", &[("id", &upload.id)]).await
    });
    finished.expect(200);
    assert_eq!(reply.expect(200).json()["state"], "finished");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn answers_when_the_time_is_up() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    for (query, least) in [("wait=0.3", 300), ("wait=0.3&state=new", 300), ("wait=0", 0)] {
        let began = Instant::now();
        let status = server.front(&poll(&upload, query)).await.expect(200).json();
        assert_eq!(status["state"], "new");
        assert!(began.elapsed() >= Duration::from_millis(least), "{query}: {:?}", began.elapsed());
        assert!(began.elapsed() < Duration::from_secs(10), "{query}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn answers_at_once_where_there_is_nothing_to_wait_for() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let began = Instant::now();
    let fresh = server.ticket(&backend).await;
    server.front(&poll(&fresh, "wait=50&state=uploading")).await.expect(200);
    server.front(&poll(&fresh, "wait=50&state=handing_over")).await.expect(200);
    server.front(&poll(&fresh, "state=handing_over")).await.expect(200);
    let cancelled = server.ticket(&backend).await;
    cancelled.ask("DELETE").await.expect(200);
    let finished = server.ticket(&backend).await;
    finished.put_whole(b"x").await.expect(200);
    finished.reaches("finished").await;
    for (upload, state) in [(&cancelled, "cancelled"), (&finished, "finished")] {
        for query in ["wait=50".to_owned(), format!("wait=50&state={state}")] {
            let status = server.front(&poll(upload, &query)).await.expect(200).json();
            assert_eq!(status["state"], state);
        }
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// Bytes that arrive are no change of state.
#[tokio::test]
async fn is_not_woken_by_every_chunk() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    upload.put(0, b"01234", 100).await.expect(200);
    let began = Instant::now();
    let waiting = poll(&upload, "wait=0.5&state=uploading");
    let (reply, put) = tokio::join!(server.front(&waiting), upload.put(5, b"56789", 100));
    put.expect(200);
    assert_eq!(reply.expect(200).json()["offset"], 10);
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn answers_when_the_server_stops() {
    let mut server = Running::start().await;
    let target = server.lonely_ticket().await.url;
    let mut conn = crate::client::Conn::open(&server.public).await;
    conn.send(&Ask::new("GET", &format!("{target}?wait=50")).head()).await.unwrap();
    // A second request on the same server shows that the first has been read.
    server.front(&Ask::new("GET", &target)).await.expect(200);
    let began = Instant::now();
    server.begin_stop();
    assert_eq!(conn.reply("GET").await.unwrap().expect(200).json()["state"], "new");
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
