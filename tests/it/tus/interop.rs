//! What other servers of tus got wrong, and clients stumbled over: each test is named after the symptom.

use super::{APPEND, Tus, checksum};
use crate::backend::{Backend, Script};
use crate::client::{Ask, Conn};
use crate::content::content;
use crate::server::Running;
use std::time::Duration;

/// Where a proxy is in front, `Host` and what it adds say little about the page's URL.
#[tokio::test]
async fn issue_15_a_location_is_not_made_of_what_proxies_say() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let ask = tus.ask("POST").header("Upload-Length", "10").header("Host", "inside:8080");
    let ask = ask.header("X-Forwarded-Host", "evil.example").header("X-Forwarded-Proto", "https");
    let reply = tus.send(&ask.header("Forwarded", "host=evil.example;proto=https")).await;
    assert_eq!(reply.expect(201).header("location"), Some(&*tus.url));
}

/// An upload URL that the page was given: no creation says the length, so the ticket has to.
#[tokio::test]
async fn issue_15_an_offset_comes_with_the_length_where_the_ticket_has_it() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let id = server.ticket_with(&backend.url(), &[("length", "50")]).await.id;
    let tus = Tus::of(&server, &id);
    let head = tus.offset().await.expect(200);
    assert_eq!(
        (head.header("upload-offset"), head.header("upload-length")),
        (Some("0"), Some("50"))
    );
    assert_eq!(head.header("upload-defer-length"), None);
    let file = content(90, 50);
    tus.patch(0, &file).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
    // Never both, and always one of them.
    let tus = Tus::new(&server, &backend).await;
    let head = tus.offset().await.expect(200);
    assert_eq!(
        (head.header("upload-length"), head.header("upload-defer-length")),
        (None, Some("1"))
    );
}

/// The web app's own route is the endpoint: the client sends nothing after the creation of a file without bytes.
#[tokio::test]
async fn issue_15_an_empty_file_is_complete_when_the_web_app_says_its_length() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let parameters = [("length", "0"), ("uploadMetadata", super::METADATA)];
    let id = server.ticket_with(&backend.url(), &parameters).await.id;
    let tus = Tus::of(&server, &id);
    tus.is_handed_over(&backend, b"").await;
    assert_eq!(backend.calls_for(&id, 1).await[0].field("filenameFromBrowser"), "film.mp4");
    server.upload(&id).reaches("finished").await;
    // Who creates or sends it once more is told that it is there.
    tus.create(0).await.expect(201);
    assert_eq!(tus.patch(0, b"").await.expect(204).header("upload-offset"), Some("0"));
    let native = server.upload(&id).put_whole(b"").await;
    assert_eq!(native.status, 200, "{native:?}");
    assert_eq!(backend.calls_for(&id, 1).await.len(), 1);
}

/// The client still sends when the answer comes: it must not see its connection break instead.
#[tokio::test]
async fn issue_15_a_refusal_reaches_a_client_that_still_sends() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(91, 8 << 20);
    tus.create(4 << 20).await.expect(201);
    for (offset, status) in [(1, 409), (0, 413)] {
        let ask = tus.patch_ask(offset, &file);
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        conn.send(&file).await.unwrap();
        let reply = conn.reply("PATCH").await.unwrap().expect(status);
        assert_eq!(reply.header("upload-offset"), Some("0"));
    }
}

/// Java clients ask before they send.
#[tokio::test]
async fn issue_15_who_asks_first_is_refused_before_the_body() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    tus.create(10).await.expect(201);
    let ask = |offset: &str, kind: &str| {
        let ask = tus.ask("PATCH").header("Content-Type", kind).header("Upload-Offset", offset);
        ask.header("Expect", "100-continue").header("Transfer-Encoding", "chunked")
    };
    for (ask, status) in [(ask("3", APPEND), 409), (ask("0", "text/plain"), 415)] {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        let (first, _) = crate::in_time("an answer", conn.read_head()).await.unwrap();
        assert_eq!(first, status);
    }
    let mut conn = Conn::open(&server.public).await;
    conn.send(&ask("0", APPEND).head()).await.unwrap();
    let (first, _) = crate::in_time("an answer", conn.read_head()).await.unwrap();
    assert_eq!(first, 100);
    conn.send_chunk(b"0123456789").await.unwrap();
    conn.send(b"0\r\n\r\n").await.unwrap();
    conn.reply("PATCH").await.unwrap().expect(204);
    tus.is_handed_over(&backend, b"0123456789").await;
}

/// Every pause began at 0 again: what came before a break counts.
#[tokio::test]
async fn issue_15_a_broken_append_keeps_what_came() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(92, 100_000);
    tus.create(100_000).await.expect(201);
    let cut = async |ask: &Ask, sent: &[u8], read: u64| {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        conn.send(sent).await.unwrap();
        server.upload(&tus.id).bytes_read(read).await;
        drop(conn);
        server.upload(&tus.id).in_flight(0).await;
    };
    cut(&tus.patch_ask(0, &file), &file[..30_000], 30_000).await;
    assert_eq!(tus.offset().await.expect(200).header("upload-offset"), Some("30000"));
    // With a checksum nothing of it counts: that is its price.
    let rest = &file[30_000..];
    let promised = tus.patch_ask(30_000, rest).header("Upload-Checksum", &checksum(rest));
    cut(&promised, &rest[..20_000], 50_000).await;
    assert_eq!(tus.offset().await.expect(200).header("upload-offset"), Some("30000"));
    tus.send(&promised).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
}

/// A body that ends in the middle of its coding, as where a proxy's own peer has gone: clients repeat 5xx alone.
#[tokio::test]
async fn issue_15_a_broken_body_is_one_that_clients_send_again() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    tus.create(20).await.expect(201);
    let broken = async |ask: Ask| {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.header("Transfer-Encoding", "chunked").head()).await.unwrap();
        conn.send_chunk(b"0123456789").await.unwrap();
        conn.send(b"no length\r\n").await.unwrap();
        conn.reply("PATCH").await.unwrap()
    };
    let reply = broken(tus.patch_ask(0, b"")).await;
    reply.problem(503, "unavailable", 14);
    assert_eq!(reply.header("upload-offset"), Some("10"), "what came counts");
    let append = Ask::new("PATCH", &format!("/incoming/frontend/resumable/{}", tus.id))
        .header("Content-Type", "application/partial-upload")
        .header("Upload-Offset", "10")
        .header("Upload-Complete", "?0");
    broken(append).await.problem(503, "unavailable", 14);
    tus.is_handed_over(&backend, b"01234567890123456789").await;
}

/// A background session sends its request again as it was: it is told where to go on, each time, and stores nothing twice.
#[tokio::test]
async fn issue_15_a_request_that_is_sent_again_is_told_the_offset() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(93, 100);
    tus.create(100).await.expect(201);
    tus.patch(0, &file[..60]).await.expect(204);
    for _ in 0..3 {
        let reply = tus.patch(0, &file[..60]).await;
        reply.problem(409, "offset-mismatch", 19);
        assert_eq!(reply.header("upload-offset"), Some("60"));
    }
    tus.patch(60, &file[60..]).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
    server.upload(&tus.id).reaches("finished").await;
    // Its last answer was lost, after the file was handed over.
    assert_eq!(tus.patch(60, &file[60..]).await.expect(409).header("upload-offset"), Some("100"));
    tus.patch(100, b"").await.expect(204);
    assert_eq!(backend.calls_for(&tus.id, 1).await.len(), 1);
}

/// A file that the web app would not have must not look like one that it has.
#[tokio::test]
async fn issue_15_a_failed_handover_is_no_success() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.handover_retry_for = Duration::ZERO).await;
    let tus = Tus::new(&server, &backend).await;
    backend.answer_for(&tus.id, [Script::Answer(500, "")]);
    tus.create(3).await.expect(201);
    tus.patch(0, b"abc").await.expect(204);
    server.upload(&tus.id).reaches("failed").await;
    for ask in [tus.ask("HEAD"), tus.ask("GET"), tus.patch_ask(3, b"")] {
        let reply = tus.send(&ask).await;
        assert_eq!(reply.status, 404, "{} {reply:?}", ask.method);
        assert_eq!(reply.header("upload-offset"), None, "{}", ask.method);
    }
}
