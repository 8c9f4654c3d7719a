//! Protects `checksum-trailer`: a checksum behind the body decides as one before it does.

use super::{Tus, checksum};
use crate::backend::Backend;
use crate::client::{Ask, Conn, Reply};
use crate::content::content;
use crate::server::Running;
use crate::tls::{Authority, certify, connect, files};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::Digest as _;

fn announced(tus: &Tus<'_>, offset: usize) -> Ask {
    tus.patch_ask(offset, b"").header("Trailer", "X-Time, Upload-Checksum")
}

/// A chunked body with this trailer section.
async fn send(server: &Running, ask: Ask, bytes: &[u8], trailers: &str) -> Reply {
    let mut conn = Conn::open(&server.public).await;
    conn.send(&ask.header("Transfer-Encoding", "chunked").head()).await.unwrap();
    for chunk in bytes.chunks(70_000) {
        conn.send_chunk(chunk).await.unwrap();
    }
    conn.send(format!("0\r\n{trailers}\r\n").as_bytes()).await.unwrap();
    conn.reply("PATCH").await.unwrap()
}

#[tokio::test]
async fn a_checksum_behind_the_body_decides() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(95, 300_000);
    tus.create(300_000).await.expect(201);
    let trailer = |value: &str| format!("X-Time: 1\r\nUpload-Checksum: {value}\r\n");
    let check = async |trailers: &str, status: u16| {
        let reply = send(&server, announced(&tus, 0), &file[..200_000], trailers).await;
        assert_eq!(reply.expect(status).header("upload-offset"), Some("0"), "{trailers}");
        assert_eq!(tus.offset().await.header("upload-offset"), Some("0"), "{trailers}");
    };
    let wrong =
        send(&server, announced(&tus, 0), &file[..200_000], &trailer(&checksum(b"x"))).await;
    wrong.problem(460, "digest-mismatch", 2);
    check(&trailer(&checksum(b"x")), 460).await;
    check(&trailer("sha1 AAAA"), 460).await;
    check(&trailer("crc32 AAAA"), 400).await;
    check(&trailer("sha1"), 400).await;
    // Announced, and a proxy has dropped it.
    check("", 400).await;
    check("X-Time: 1\r\n", 400).await;
    let good = trailer(&checksum(&file[..200_000]));
    let reply = send(&server, announced(&tus, 0), &file[..200_000], &good).await.expect(204);
    assert_eq!(reply.header("upload-offset"), Some("200000"));
    let sha1 = BASE64_STANDARD.encode(sha1::Sha1::digest(&file[200_000..250_000]));
    let sha1 = trailer(&format!("sha1 {sha1}"));
    send(&server, announced(&tus, 200_000), &file[200_000..250_000], &sha1).await.expect(204);
    let sha512 = BASE64_STANDARD.encode(sha2::Sha512::digest(&file[250_000..]));
    let sha512 = trailer(&format!("sha512 {sha512}"));
    send(&server, announced(&tus, 250_000), &file[250_000..], &sha512).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
}

#[tokio::test]
async fn where_it_cannot_decide_it_is_refused() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    tus.create(1000).await.expect(201);
    let good = checksum(&[7; 100]);
    // Two promises, and one that has no place.
    let both = announced(&tus, 0).header("Upload-Checksum", &good);
    let trailers = format!("Upload-Checksum: {good}\r\n");
    let digest = good.replace("sha256 ", "sha-256=:") + ":";
    let other = announced(&tus, 0).header("Content-Digest", &digest);
    send(&server, other, &[7; 100], &trailers).await.expect(400);
    send(&server, both, &[7; 100], &trailers).await.expect(400);
    let whole = tus.patch_ask(0, &[7; 100]).header("Trailer", "upload-checksum");
    tus.send(&whole).await.expect(400);
    // A body that breaks off has none.
    let mut conn = Conn::open(&server.public).await;
    let ask = announced(&tus, 0).header("Transfer-Encoding", "chunked");
    conn.send(&ask.head()).await.unwrap();
    conn.send_chunk(&[7; 100]).await.unwrap();
    server.upload(&tus.id).bytes_read(100).await;
    drop(conn);
    server.upload(&tus.id).in_flight(0).await;
    assert_eq!(tus.offset().await.header("upload-offset"), Some("0"));
}

/// Nothing announced it, so the bytes were not hashed: the client must not believe that they were compared. Nor may they
/// count, as if they had come without one.
#[tokio::test]
async fn issue_15_a_checksum_that_was_not_announced_discards_the_chunk() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(98, 1000);
    tus.create(1000).await.expect(201);
    for checked in [b"x", &file[..]] {
        let trailers = format!("Upload-Checksum: {}\r\n", checksum(checked));
        let reply = send(&server, tus.patch_ask(0, b""), &file, &trailers).await.expect(400);
        assert!(reply.text().contains("Trailer"), "{}", reply.text());
        assert_eq!(reply.header("upload-offset"), Some("0"));
        assert_eq!(tus.offset().await.header("upload-offset"), Some("0"));
    }
    assert!(backend.calls().is_empty(), "a file that may be wrong was handed over");
    tus.patch(0, &file).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
}

#[tokio::test]
async fn a_creation_with_bytes_has_one_too() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(96, 1000);
    for (digest, status) in [(checksum(b"x"), 460), (checksum(&file), 201)] {
        let tus = Tus::new(&server, &backend).await;
        let ask =
            tus.ask("POST").header("Upload-Length", "1000").header("Content-Type", super::APPEND);
        let ask = ask.header("Trailer", "Upload-Checksum").header("Transfer-Encoding", "chunked");
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        conn.send_chunk(&file).await.unwrap();
        conn.send(format!("0\r\nUpload-Checksum: {digest}\r\n\r\n").as_bytes()).await.unwrap();
        let reply = conn.reply("POST").await.unwrap().expect(status);
        let offset = if status == 201 { "1000" } else { "0" };
        assert_eq!(reply.header("upload-offset"), Some(offset));
    }
}

/// HTTP/2 has trailer sections also where the length is told.
#[tokio::test]
async fn over_http_2() {
    let (backend, authority) = (Backend::start().await, Authority::new());
    let folder = tempfile::tempdir().unwrap();
    authority.issue(folder.path(), "server");
    let server = Running::start_with(|settings| certify(settings, files(folder.path()))).await;
    let file = content(97, 100_000);
    let id = server.ticket_with(&backend.url(), &[("length", "100000")]).await.id;
    let stream = connect(&server.public, authority.client(&["h2"], None)).await.unwrap();
    let (mut sender, conn) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(conn);
    for (value, status, offset) in
        [(Some(checksum(b"x")), 460, "0"), (None, 400, "0"), (Some(checksum(&file)), 204, "100000")]
    {
        for length in [false, true] {
            let mut request =
                Request::patch(format!("https://server.test/incoming/frontend/tus/{id}"))
                    .header("tus-resumable", "1.0.0")
                    .header("content-type", super::APPEND)
                    .header("trailer", "upload-checksum")
                    .header("upload-offset", "0");
            if length {
                request = request.header("content-length", "100000");
            }
            let mut trailers = HeaderMap::new();
            trailers.extend(value.clone().map(|value| {
                (hyper::header::HeaderName::from_static("upload-checksum"), value.parse().unwrap())
            }));
            let body = Full::new(Bytes::from(file.clone()));
            let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
            sender.ready().await.unwrap();
            let reply = sender.send_request(request.body(body).unwrap()).await.unwrap();
            // The second time everything is there, and a PATCH at 0 is not where the upload ends.
            let status = if length && status == 204 { 409 } else { status };
            assert_eq!(reply.status(), status, "{value:?} {length}");
            assert_eq!(reply.headers()["upload-offset"], offset);
        }
    }
}
