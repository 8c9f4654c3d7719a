//! Protects answers that are given while a body is still coming: they arrive whole, say that the
//! connection ends, and it does. Who asks before sending is refused before sending.

use crate::client::{Ask, Conn};
use crate::content::content;
use crate::server::Running;
use serde_json::json;

const BODY: usize = 8 << 20;
const ABSENT: &str = "/incoming/frontend/uploads/00000000-0000-4000-8000-000000000000";

#[tokio::test]
async fn a_whole_body_is_sent_before_the_answer_is_read() {
    let server = Running::start_with(|settings| {
        settings.max_upload_size = Some(1 << 20);
        settings.backend_token = Some(incoming::config::Secret::new("t"));
    })
    .await;
    let body = content(30, BODY);
    let ranged = format!("bytes 0-{}/{BODY}", BODY - 1);
    let backend = "/incoming/backend/new_upload";
    let cases = [
        (&server.public, Ask::new("PUT", ABSENT), 404),
        (&server.public, Ask::new("PUT", ABSENT).header("Content-Range", &ranged), 404),
        (&server.public, Ask::new("POST", ABSENT), 404),
        (&server.public, Ask::new("PUT", "/elsewhere"), 404),
        (&server.public, Ask::new("PATCH", ABSENT), 405),
        (&server.public, Ask::new("PUT", ABSENT).header("Content-Range", "nonsense"), 400),
        (&server.public, Ask::new("PUT", ABSENT).header("Host", "a").header("Host", "b"), 400),
        (&server.backend, Ask::new("POST", backend), 401),
        (&server.backend, Ask::new("GET", backend), 401),
    ];
    let mut wrong = String::new();
    for (place, ask, status) in cases {
        let ask = ask.body(&*body);
        let mut conn = Conn::open(place).await;
        conn.send(&ask.head()).await.unwrap();
        let sent = crate::in_time("the body", conn.send(&ask.body)).await;
        let reply = conn.reply(&ask.method).await;
        let shown = format!("{} {}", ask.method, ask.target);
        match (sent, reply) {
            (Ok(()), Ok(reply)) if reply.status == status => {
                assert_eq!(reply.header("connection"), Some("close"), "{shown}");
                assert!(!reply.body.is_empty(), "{shown}");
                assert!(conn.ends().await, "{shown}");
            }
            (sent, reply) => {
                let reply = reply.map(|reply| reply.status);
                wrong += &format!("{shown}: sent {sent:?}, answer {reply:?}, not {status}\n");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[tokio::test]
async fn the_answer_does_not_wait_for_the_body() {
    let server = Running::start_with(|settings| settings.max_upload_size = Some(1 << 20)).await;
    let upload = server.lonely_ticket().await;
    for (target, status) in [(ABSENT, 404), (&*upload.url, 413)] {
        let ask = Ask::new("PUT", target).body(content(30, BODY));
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        conn.send(&ask.body[..100_000]).await.unwrap();
        let reply = conn.reply("PUT").await.unwrap().expect(status);
        assert_eq!(reply.header("connection"), Some("close"));
        // What is sent now still finds somebody who reads it.
        conn.send(&ask.body[100_000..]).await.unwrap();
        assert!(conn.ends().await);
    }
    // Too large only in the middle of the body.
    let mut conn = Conn::open(&server.public).await;
    conn.send(&Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked").head())
        .await
        .unwrap();
    for part in content(30, BODY).chunks(1 << 20) {
        conn.send_chunk(part).await.unwrap();
    }
    conn.reply("PUT").await.unwrap().problem(413, "too-large", 11);
    assert!(conn.ends().await);
}

#[tokio::test]
async fn a_small_refused_body_leaves_the_connection_usable_or_closed() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let mut conn = Conn::open(&server.public).await;
    let reply = conn.ask(&Ask::new("PUT", ABSENT).body("small")).await.unwrap().expect(404);
    if reply.header("connection") == Some("close") {
        assert!(conn.ends().await);
    } else {
        conn.ask(&Ask::new("GET", &upload.url)).await.unwrap().expect(200);
    }
    // Without a body the connection always stays.
    let mut conn = Conn::open(&server.public).await;
    for _ in 0..3 {
        conn.ask(&Ask::new("GET", ABSENT)).await.unwrap().expect(404);
        conn.ask(&Ask::new("GET", &upload.url)).await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn who_asks_first_is_refused_before_the_body() {
    let server = Running::start_with(|settings| settings.max_chunk_size = Some(16 << 20)).await;
    let gone = server.lonely_ticket().await;
    gone.ask("DELETE").await.expect(200);
    let upload = server.lonely_ticket().await;
    upload.bind(r#"{"length": 100}"#).await.expect(200);
    let ranged = |range: &str| Ask::new("PUT", &upload.url).header("Content-Range", range);
    let cases = [
        (Ask::new("PUT", ABSENT), 404),
        (Ask::new("POST", ABSENT), 404),
        (Ask::new("PUT", &gone.url), 410),
        (Ask::new("POST", &gone.url), 410),
        (Ask::new("PUT", &upload.url), 409),
        (ranged("bytes 0-9/100"), 416),
        (ranged("bytes 0-8388607/8388608"), 409),
        (ranged("bytes 0-8388607/*"), 416),
        (Ask::new("PUT", "/incoming/backend/new_upload"), 404),
    ];
    let mut wrong = String::new();
    for (ask, status) in cases {
        let length = if ask.method == "POST" { 60 } else { BODY };
        let ask =
            ask.header("Expect", "100-continue").header("Content-Length", &length.to_string());
        let shown = format!("{} {} {:?}", ask.method, ask.target, ask.headers);
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        // An interim answer would mean that the body is wanted; then nothing else comes.
        let (first, _) = crate::in_time("an answer", conn.read_head()).await.unwrap();
        if first != status {
            wrong += &format!("{shown}: {first} instead of {status}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(upload.received().await, json!([]));
}

#[tokio::test]
async fn who_asks_first_and_is_welcome_sends() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let file = content(31, 100_000);
    let ask = upload.chunk(0, &file, Some(200_000)).header("Expect", "100-continue");
    let mut conn = Conn::open(&server.public).await;
    conn.send(&ask.head()).await.unwrap();
    let (first, _) = crate::in_time("an answer", conn.read_head()).await.unwrap();
    assert_eq!(first, 100);
    conn.send(&file).await.unwrap();
    let reply = conn.reply("PUT").await.unwrap().expect(200);
    assert!(reply.interim.is_empty(), "one is enough: {:?}", reply.interim);
    assert_eq!(reply.json()["received"], json!([[0, 100_000]]));
}

#[tokio::test]
async fn a_body_too_large_for_its_call_is_refused_unread() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let new_upload = "/incoming/backend/new_upload?signalFinishURL=http://127.0.0.1:9/";
    for expect in [None, Some("100-continue")] {
        for (place, target) in [(&server.public, &*upload.url), (&server.backend, new_upload)] {
            let mut ask = Ask::new("POST", target).header("Content-Length", "10000000000");
            ask.headers.extend(expect.map(|value| ("Expect".to_owned(), value.to_owned())));
            let mut conn = Conn::open(place).await;
            // Not a byte of the body is sent.
            conn.send(&ask.head()).await.unwrap();
            let reply = conn.reply("POST").await.unwrap().expect(413);
            assert!(reply.interim.is_empty(), "{target}: {:?}", reply.interim);
            assert_eq!(reply.header("connection"), Some("close"));
        }
    }
}

#[tokio::test]
async fn nobody_is_asked_for_a_body_that_is_not_read() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let show = format!("/incoming/backend/uploads/{}", upload.id);
    let cases = [
        (&server.public, "GET", &*upload.url),
        (&server.public, "HEAD", &upload.url),
        (&server.public, "OPTIONS", &upload.url),
        (&server.public, "GET", "/incoming/frontend/incoming.js"),
        (&server.backend, "GET", "/incoming/backend/uploads"),
        (&server.backend, "HEAD", "/incoming/backend/uploads"),
        (&server.backend, "GET", &show),
        (&server.backend, "GET", "/metrics"),
        (&server.public, "DELETE", &upload.url),
    ];
    for (place, method, target) in cases {
        let ask = Ask::new(method, target).header("Expect", "100-continue");
        let mut conn = Conn::open(place).await;
        conn.send(&ask.header("Content-Length", "10").head()).await.unwrap();
        let reply = conn.reply(method).await.unwrap();
        assert!((200..300).contains(&reply.status), "{method} {target}: {}", reply.status);
        assert!(reply.interim.is_empty(), "{method} {target}: {:?}", reply.interim);
        // Whether the body still comes is anybody's guess, so nothing may follow it.
        assert_eq!(reply.header("connection"), Some("close"), "{method} {target}");
        assert!(conn.ends().await, "{method} {target}");
    }
}

#[tokio::test]
async fn a_refused_peer_that_falls_silent_is_not_waited_for() {
    let server = Running::start().await;
    let ask = Ask::new("PUT", ABSENT).body(content(30, BODY));
    let mut conn = Conn::open(&server.public).await;
    conn.send(&ask.head()).await.unwrap();
    conn.send(&ask.body[..1000]).await.unwrap();
    conn.reply("PUT").await.unwrap().expect(404);
    let began = std::time::Instant::now();
    assert!(conn.ends().await);
    // One second is promised, ten are for those who still send.
    assert!(began.elapsed() < std::time::Duration::from_secs(6), "{:?}", began.elapsed());
}
