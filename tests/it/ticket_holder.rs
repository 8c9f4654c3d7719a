//! Protects the service from one holder of a ticket: what it may occupy is bounded, and what it no longer wants is given
//! back. Regressions of issue 13, section 2.

use crate::client::{Ask, Conn, Place};
use crate::server::Running;
use crate::tls::{self, Authority};
use crate::until;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use incoming::config::Ack;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const ABSENT: &str = "/incoming/frontend/uploads/00000000-0000-4000-8000-000000000000";

async fn connect(server: &Running) -> TcpStream {
    let Place::Tcp(address) = server.public else { panic!("not on TCP") };
    TcpStream::connect(address).await.unwrap()
}

/// Waits until so many connections are open, beside the one that asks.
async fn open_connections(server: &Running, count: usize) {
    let line = format!("incoming_connections_open {}", count + 1);
    until(&line, async || {
        let metrics = server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
        let all = metrics.lines().filter(|found| found.starts_with("incoming_connections_open{"));
        let all: Vec<_> = all.collect();
        let sum: f64 = all.iter().filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok()).sum();
        (sum <= (count + 1) as f64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_known_chunk_is_answered_while_its_body_trickles() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let bytes = [7; 100_000];
    upload.put(0, &bytes, 200_000).await.expect(200);
    let began = Instant::now();
    // One byte of it, and no more.
    let mut conn = upload.stalled(0, &bytes, 1, 200_000).await;
    let reply = conn.reply("PUT").await.unwrap().expect(200);
    assert_eq!(reply.json()["received"], json!([[0, 100_000]]));
    // Long before `body_timeout`.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    upload.in_flight(0).await;
    // Who sends the rest all the same finds somebody who reads it, and may go on.
    conn.send(&bytes[1..]).await.unwrap();
    if reply.header("connection") == Some("close") {
        assert!(conn.ends().await);
    } else {
        conn.ask(&Ask::new("GET", &upload.url)).await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn a_known_chunk_that_is_there_at_once_is_read_and_judged() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    upload.put(0, b"0123456789", 20).await.expect(200);
    let mut conn = Conn::open(&server.public).await;
    for _ in 0..3 {
        let ask = upload.chunk(2, b"2345", Some(20));
        let reply = conn.ask(&ask).await.unwrap().expect(200);
        assert_eq!(reply.header("connection"), None);
    }
    let wrong = format!("sha-256=:{}:", "A".repeat(43) + "=");
    let ask = upload.chunk(2, b"2345", Some(20)).header("Content-Digest", &wrong);
    server.front(&ask).await.problem(400, "digest-mismatch", 2);
}

/// A proxy asks on behalf of clients that send at once (Apache's `ping`); an answer before the body would leave such a
/// client, over HTTP/2, with a body that nobody takes.
#[tokio::test]
async fn who_asks_first_sends_a_known_chunk_too() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    upload.put(0, &[7; 100_000], 100_000).await.expect(200);
    for ask in [
        upload.chunk(0, &[7; 100_000], Some(100_000)),
        Ask::new("PUT", &upload.url).header("Content-Length", "100000"),
    ] {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.header("Expect", "100-continue").head()).await.unwrap();
        let (first, _) = crate::in_time("an answer", conn.read_head()).await.unwrap();
        assert_eq!(first, 100);
        conn.send(&[7; 100_000]).await.unwrap();
        conn.reply("PUT").await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn small_calls_look_at_the_id_first_and_at_little_after_it() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let refused = async |target: &str, length: usize, status: u16| {
        // Not a byte of the body is sent.
        let ask = Ask::new("POST", target).header("Content-Length", &length.to_string());
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        conn.reply("POST").await.unwrap().expect(status);
    };
    refused(&format!("{ABSENT}/verify"), 100, 404).await;
    refused(ABSENT, 100, 404).await;
    for target in [upload.url.clone(), format!("{}/verify", upload.url)] {
        refused(&target, 8193, 413).await;
        let wait = Ask::new("POST", &target).header("Content-Length", "8192");
        let mut held = Vec::new();
        for _ in 0..8 {
            let mut conn = Conn::open(&server.public).await;
            conn.send(&wait.head()).await.unwrap();
            held.push(conn);
        }
        // Too many for this upload, and for no other.
        let ask = Ask::new("POST", &target).body(" ");
        let reply = until("eight calls run", async || {
            let reply = server.front(&ask).await;
            (reply.status == 429).then_some(reply)
        })
        .await;
        assert!(reply.problem(429, "too-many", 13).contains("8 small requests"), "{reply:?}");
        assert_eq!(reply.header("retry-after"), Some("2"));
        server.lonely_ticket().await.bind("{}").await.expect(200);
        for (method, dialect, status) in [
            ("HEAD", "tus", 503),
            ("POST", "tus", 503),
            ("DELETE", "tus", 503),
            ("GET", "resumable", 429),
            ("POST", "resumable", 429),
            ("DELETE", "resumable", 429),
        ] {
            let ask = Ask::new(method, &format!("/incoming/frontend/{dialect}/{}", upload.id));
            let ask = match dialect {
                "tus" => ask.header("Tus-Resumable", "1.0.0"),
                _ => ask,
            };
            let ask = match method {
                "POST" => ask.header("Upload-Length", "10").header("Upload-Complete", "?0"),
                _ => ask,
            };
            let reply = server.front(&ask).await;
            assert_eq!(reply.status, status, "{method} {dialect}: {reply:?}");
        }
        drop(held);
        until("they are over", async || (server.front(&ask).await.status != 429).then_some(()))
            .await;
    }
}

#[tokio::test]
async fn a_poll_that_vanished_gives_its_connection_back() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let ask = Ask::new("GET", &format!("{}?wait=50", upload.url)).head();
    let mut polls = Vec::new();
    for _ in 0..5 {
        let mut poll = connect(&server).await;
        poll.write_all(&ask).await.unwrap();
        polls.push(poll);
    }
    // The sixth ends its own direction alone: it is answered, early.
    let mut half = connect(&server).await;
    half.write_all(&ask).await.unwrap();
    half.shutdown().await.unwrap();
    let began = Instant::now();
    Conn::over(half).reply("GET").await.unwrap().expect(200);
    for (number, poll) in polls.drain(..).enumerate() {
        if number % 2 == 0 {
            // A reset instead of an end.
            poll.set_zero_linger().unwrap();
        }
        drop(poll);
    }
    open_connections(&server, 0).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_poll_with_a_next_request_behind_it_keeps_both() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let mut conn = Conn::open(&server.public).await;
    let poll = Ask::new("GET", &format!("{}?wait=0.5", upload.url)).head();
    let next = Ask::new("GET", &upload.url).head();
    conn.send(&[poll, next.clone(), next].concat()).await.unwrap();
    for _ in 0..3 {
        conn.reply("GET").await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn polls_of_an_upload_have_a_bound() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let poll = Ask::new("GET", &format!("{}?wait=50", upload.url));
    let mut held = Vec::new();
    for _ in 0..64 {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&poll.head()).await.unwrap();
        // A second request on the same worker shows that the first has been read.
        upload.status().await;
        held.push(conn);
    }
    // One more is answered at once; those of another upload wait.
    let began = Instant::now();
    server.front(&poll).await.expect(200);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let other = server.lonely_ticket().await;
    let began = Instant::now();
    server.front(&Ask::new("GET", &format!("{}?wait=0.5", other.url))).await.expect(200);
    assert!(began.elapsed() >= Duration::from_millis(500));
    upload.bind(r#"{"length": 5}"#).await.expect(200);
    for mut conn in held {
        assert_eq!(conn.reply("GET").await.unwrap().expect(200).json()["state"], "uploading");
    }
}

#[tokio::test]
async fn the_doctor_sees_others_beside_one_address() {
    let server = Running::start().await;
    let Place::Tcp(address) = server.public else { panic!("not on TCP") };
    let ask = Ask::new("PUT", "/incoming/frontend/doctor").header("Content-Length", "10");
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        held.push(conn);
    }
    let get = Ask::new("GET", "/incoming/frontend/doctor");
    until("one address has its share", async || {
        (server.front(&get).await.status == 429).then_some(())
    })
    .await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.9:0".parse().unwrap()).unwrap();
    let mut other = Conn::over(socket.connect(address).await.unwrap());
    other.ask(&get).await.unwrap().expect(200);
}

#[tokio::test]
async fn large_answers_that_nobody_reads_are_counted() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let mut conn = Conn::open(&server.public).await;
    for at in 0..1000 {
        conn.ask(&upload.chunk(at * 1_000_000_000, b"x", None)).await.unwrap().expect(200);
    }
    let status = upload.status().await;
    assert_eq!(status["received"].as_array().unwrap().len(), 1000);
    // A thousand ranges are no reason to refuse who reads them.
    for _ in 0..300 {
        conn.ask(&Ask::new("GET", &upload.url)).await.unwrap().expect(200);
    }
}

/// An acknowledged chunk was answered 429, so its client sent it again, while answers to others lay unread.
#[tokio::test]
async fn issue_13_unread_answers_refuse_what_is_new_and_hide_no_outcome() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let server =
        tls::start(&authority, folder.path(), |settings| settings.ack = Ack::Written).await;
    let upload = server.lonely_ticket().await;
    let connect = async |protocol: &str| {
        tls::connect(&server.public, authority.client(&[protocol], None)).await.unwrap()
    };
    let mut conn = Conn::over(connect("http/1.1").await);
    let chunk = |at: u64, bytes: &[u8]| upload.chunk(at * 4_000_000_000, bytes, None);
    for at in 0..1700 {
        conn.ask(&chunk(at, b"x")).await.unwrap().expect(200);
    }
    // Under way before it gets crowded.
    let mut early = Conn::over(connect("http/1.1").await);
    let under_way = chunk(3000, b"early");
    early.send(&under_way.head()).await.unwrap();
    early.send(b"ear").await.unwrap();
    until("it is under way", async || {
        let metrics = server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
        metrics.lines().any(|line| line == "incoming_chunks_in_flight 1").then_some(())
    })
    .await;

    // A peer asks and asks, and lets no body through.
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(16);
    let io = TokioIo::new(connect("h2").await);
    let (mut greedy, driver) = builder.handshake(io).await.unwrap();
    let driver = tokio::spawn(driver);
    let mut unread = Vec::new();
    let uri = format!("https://server.test{}", upload.url);
    loop {
        let ask = Request::get(&uri).body(Full::<Bytes>::default()).unwrap();
        greedy.ready().await.unwrap();
        let reply = greedy.send_request(ask).await.unwrap();
        if reply.status() == 429 {
            break;
        }
        unread.push(reply);
        assert!(unread.len() < 98, "nothing is counted");
    }
    // Outcomes are counted on top.
    let known = Request::put(&uri).header("content-range", "bytes 0-0/*");
    greedy.ready().await.unwrap();
    let reply = greedy.send_request(known.body(Full::from("x")).unwrap()).await.unwrap();
    assert_eq!(reply.status(), 200);
    unread.push(reply);

    // What was under way is acknowledged, what is new is refused before it is done.
    early.send(b"ly").await.unwrap();
    let done = early.reply("PUT").await.unwrap().expect(200).json();
    assert!(done["received"].to_string().ends_with(",[12000000000000,12000000000005]]"));
    let refused = [
        chunk(3001, b"late"),
        chunk(1, b"x"),
        chunk(1, b"x").header("Expect", "100-continue"),
        Ask::new("POST", &upload.url).body(r#"{"name": "late"}"#),
        Ask::new("POST", &format!("{}/verify", upload.url)).body("{}"),
        Ask::new("GET", &upload.url),
    ];
    for ask in refused {
        let mut conn = Conn::over(connect("http/1.1").await);
        let reply = conn.ask(&ask).await.unwrap();
        assert!(reply.problem(429, "too-many", 13).contains("are still unread"), "{reply:?}");
    }
    // Another refusal stays what it is, without the status that nobody would read.
    let wrong = conn.ask(&Ask::new("GET", &format!("{}?state=odd", upload.url))).await.unwrap();
    wrong.problem(400, "bad-request", 1);
    assert_eq!(wrong.json().get("upload"), None);
    // Other uploads notice nothing.
    let other = server.lonely_ticket().await;
    conn.ask(&other.chunk(0, b"x", None)).await.unwrap().expect(200);

    drop(unread);
    driver.abort();
    let late = until("they are given up", async || {
        let reply = conn.ask(&Ask::new("GET", &upload.url)).await.unwrap();
        (reply.status == 200).then(|| reply.json())
    })
    .await;
    assert_eq!(late["received"], done["received"]);
    assert_eq!(late["name"], done["name"]);
    conn.ask(&chunk(3001, b"late")).await.unwrap().expect(200);
}
