//! Protects the planned end: what was begun is finished and acknowledged, nothing new is begun, and
//! the end comes in time.

use crate::backend::{Backend, Script};
use crate::child::Program;
use crate::client::{Ask, Conn};
use crate::content::content;
use crate::server::Running;
use rustix::process::Signal;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_chunk_in_flight_gets_its_acknowledgement() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let mut program = Program::start(directory.path(), &[]);
        let server = Running::of(&program, &directory);
        let file = content(70, 200_000);
        let upload = server.lonely_ticket().await;
        let id = upload.id.clone();
        let mut conn = upload.stalled(0, &file[..100_000], 40_000, 200_000).await;
        upload.in_flight(1).await;
        let mut idle = Conn::open(&server.public).await;
        idle.ask(&Ask::new("GET", &upload.url)).await.unwrap().expect(200);
        program.signal(signal);
        assert!(idle.ends().await, "an idle connection ends at once");
        crate::until("the listener is closed", async || {
            Conn::try_open(&server.public).await.is_err().then_some(())
        })
        .await;
        conn.send(&file[40_000..100_000]).await.unwrap();
        let reply = conn.reply("PUT").await.unwrap().expect(200);
        assert_eq!(reply.json()["received"], json!([[0, 100_000]]));
        assert_eq!(program.exit_code().await, Some(0));
        let program = Program::start(directory.path(), &[]);
        let server = Running::of(&program, &directory);
        assert_eq!(server.upload(&id).received().await, json!([[0, 100_000]]));
    }
}

#[tokio::test]
async fn grace_has_an_end() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut program = Program::start(directory.path(), &["--shutdown-grace", "500ms"]);
    let server = Running::of(&program, &directory);
    let file = content(71, 100_000);
    let upload = server.lonely_ticket().await;
    let id = upload.id.clone();
    let _conn = upload.stalled(0, &file, 40_000, 100_000).await;
    upload.bytes_read(40_000).await;
    let began = Instant::now();
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    // What had come by then is kept.
    let program = Program::start(directory.path(), &[]);
    let server = Running::of(&program, &directory);
    assert_eq!(server.upload(&id).received().await, json!([[0, 40_000]]));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut program = Program::start(directory.path(), &[]);
    let server = Running::of(&program, &directory);
    let upload = server.lonely_ticket().await;
    let _conn = upload.stalled(0, b"0123456789", 5, 10).await;
    upload.in_flight(1).await;
    program.signal(Signal::TERM);
    crate::until("the listener is closed", async || {
        Conn::try_open(&server.public).await.is_err().then_some(())
    })
    .await;
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(130));
}

#[tokio::test]
async fn nothing_new_is_begun() {
    let mut server = Running::start().await;
    let (public, backend) = (server.public.clone(), server.backend.clone());
    let (url, request, other) = {
        let upload = server.lonely_ticket().await;
        let request = upload.chunk(0, b"0123456789", Some(20));
        (upload.url.clone(), request, server.lonely_ticket().await.url)
    };
    // A chunk under way keeps the connections' grace open.
    let mut conn = Conn::open(&public).await;
    conn.send(&request.head()).await.unwrap();
    conn.send(b"01234").await.unwrap();
    // Requests whose heads have begun to arrive are served, and told to come back.
    let mut late = Conn::open(&public).await;
    late.send(format!("PUT {other} HTTP/1.1\r\nHost: a\r\n").as_bytes()).await.unwrap();
    let mut ticket = Conn::open(&backend).await;
    ticket
        .send(b"POST /incoming/backend/new_upload?signalFinishURL=http://h/ HTTP/1.1\r\n")
        .await
        .unwrap();
    let mut ready = Conn::open(&backend).await;
    ready.send(b"GET /readyz HTTP/1.1\r\n").await.unwrap();
    server.front(&Ask::new("GET", &url)).await.expect(200);
    server.upload("x").in_flight(1).await;
    server.begin_stop();
    crate::until("the listener is closed", async || {
        Conn::try_open(&public).await.is_err().then_some(())
    })
    .await;
    late.send(b"Content-Length: 3\r\n\r\nabc").await.unwrap();
    let reply = late.reply("PUT").await.unwrap();
    reply.problem(503, "unavailable", 14);
    assert!(reply.header("retry-after").is_some());
    ticket.send(b"Host: localhost\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let reply = ticket.reply("POST").await.unwrap().expect(503);
    assert!(reply.header("retry-after").is_some());
    ready.send(b"Host: a\r\n\r\n").await.unwrap();
    ready.reply("GET").await.unwrap().expect(503);
    conn.send(b"56789").await.unwrap();
    conn.reply("PUT").await.unwrap().expect(200);
    server.stop().await;
}

/// A backend that does not answer must not keep the successor from starting.
#[tokio::test]
async fn a_silent_backend_does_not_hold_the_directory() {
    let backend = Backend::start().await;
    backend.answer([Script::Silence]);
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    backend.calls_for(&upload.id, 1).await;
    let (id, server) = (upload.id.clone(), server.restart().await);
    server.upload(&id).reaches("finished").await;
}

/// The same over HTTP/1.1, where the server itself cuts the connection at the end of the grace.
#[tokio::test]
async fn a_cut_connection_is_never_the_end_of_a_file() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let mut program = Program::start(directory.path(), &["--shutdown-grace", "500ms"]);
    let server = Running::of(&program, &directory);
    let upload = server.lonely_ticket().await;
    let id = upload.id.clone();
    let mut conn = Conn::open(&server.public).await;
    let ask = Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked");
    conn.send(&ask.head()).await.unwrap();
    conn.send(b"5\r\nhello\r\n").await.unwrap();
    upload.bytes_read(5).await;
    program.signal(Signal::TERM);
    assert_eq!(program.exit_code().await, Some(0));
    let program = Program::start(directory.path(), &[]);
    let server = Running::of(&program, &directory);
    let status = server.upload(&id).status().await;
    assert_eq!((&status["received"], &status["length"]), (&json!([[0, 5]]), &json!(null)));
}
