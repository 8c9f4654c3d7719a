//! Protects the dialect of the IETF's resumable uploads: each request as the draft has it, in the versions that clients speak.

mod interop;

use crate::backend::{Backend, Script};
use crate::client::{Ask, Conn, Reply};
use crate::content::{content, sha256};
use crate::server::{Running, Upload};
use serde_json::json;

const APPEND: &str = "application/partial-upload";

/// The request for an upload's URL in this dialect.
fn ask(method: &str, upload: &Upload<'_>) -> Ask {
    Ask::new(method, &format!("/incoming/frontend/resumable/{}", upload.id))
}

fn complete(ask: Ask, complete: bool) -> Ask {
    ask.header("Upload-Complete", if complete { "?1" } else { "?0" })
}

fn append(upload: &Upload<'_>, offset: usize, bytes: &[u8], last: bool) -> Ask {
    let ask = ask("PATCH", upload).header("Content-Type", APPEND);
    complete(ask.header("Upload-Offset", &offset.to_string()).body(bytes), last)
}

#[track_caller]
fn stands(reply: &Reply, offset: usize, complete: &str) {
    assert_eq!(reply.header("upload-offset"), Some(&*offset.to_string()), "{reply:?}");
    assert_eq!(reply.header("upload-complete"), Some(complete), "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
}

async fn arrives(backend: &Backend, upload: &Upload<'_>, file: &[u8]) {
    let calls = backend.calls_for(&upload.id, 1).await;
    assert_eq!(calls[0].sha256, Some(sha256(file)));
    assert_eq!(calls[0].field("length"), file.len().to_string());
}

#[tokio::test]
async fn a_careful_upload() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.max_upload_size = Some(500_000)).await;
    let upload = server.ticket(&backend).await;
    let file = content(80, 250_000);
    let create = complete(ask("POST", &upload), false)
        .header("Upload-Length", "250000")
        .header("Content-Type", "video/mp4")
        .header("Content-Disposition", "attachment; filename=\"a/film.mp4\"");
    let reply = server.front(&create).await.expect(201);
    stands(&reply, 0, "?0");
    assert_eq!(reply.header("location"), Some(&*ask("GET", &upload).target));
    let limit = reply.header("upload-limit").unwrap();
    assert!(limit.starts_with("min-size=0, max-size=500000, max-age="), "{limit}");

    let reply = server.front(&append(&upload, 0, &file[..100_000], false)).await.expect(204);
    stands(&reply, 100_000, "?0");
    let reply = server.front(&ask("HEAD", &upload)).await.expect(204);
    stands(&reply, 100_000, "?0");
    assert_eq!(reply.header("upload-length"), Some("250000"));
    let reply = server.front(&append(&upload, 100_000, &file[100_000..], true)).await.expect(200);
    stands(&reply, 250_000, "?1");
    assert_eq!(reply.json()["length"], 250_000);
    arrives(&backend, &upload, &file).await;
    assert_eq!(backend.calls()[0].field("filenameFromBrowser"), "film.mp4");
    upload.reaches("finished").await;
    stands(&server.front(&ask("HEAD", &upload)).await.expect(204), 250_000, "?1");
    server.front(&ask("DELETE", &upload)).await.expect(204);
    server.front(&ask("HEAD", &upload)).await.expect(404);
}

/// One request is enough, and a PUT to the native URL that names this dialect is the same.
#[tokio::test]
async fn an_optimistic_upload() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(81, 100_000);
    for method in ["POST", "PUT"] {
        let upload = server.ticket(&backend).await;
        let mut create = complete(ask(method, &upload), true).body(&*file);
        if method == "PUT" {
            create.target = upload.url.clone();
        }
        let reply = server.front(&create).await.expect(200);
        stands(&reply, 100_000, "?1");
        assert_eq!(reply.header("location"), Some(&*ask("GET", &upload).target));
        arrives(&backend, &upload, &file).await;
    }
    let empty = server.ticket(&backend).await;
    let reply = server.front(&complete(ask("POST", &empty), true)).await.expect(200);
    stands(&reply, 0, "?1");
    arrives(&backend, &empty, b"").await;
}

#[tokio::test]
async fn a_broken_one_goes_on_at_its_offset() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    let file = content(82, 200_000);
    let mut conn = Conn::open(&server.public).await;
    conn.send(&complete(ask("POST", &upload), true).body(&*file).head()).await.unwrap();
    conn.send(&file[..70_000]).await.unwrap();
    upload.bytes_read(70_000).await;
    // The offset is exact, and the request before it is over.
    stands(&server.front(&ask("HEAD", &upload)).await.expect(204), 70_000, "?0");
    conn.reply("POST").await.unwrap().expect(400);
    let reply = server.front(&append(&upload, 70_000, &file[70_000..], true)).await.expect(200);
    stands(&reply, 200_000, "?1");
    arrives(&backend, &upload, &file).await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_taken() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    let file = content(83, 60_000);
    let chunked = async |ask: Ask, bytes: &[u8]| {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.header("Transfer-Encoding", "chunked").head()).await.unwrap();
        conn.send_chunk(bytes).await.unwrap();
        conn.send(b"0\r\n\r\n").await.unwrap();
        conn.reply("PATCH").await.unwrap()
    };
    let first = complete(ask("POST", &upload), false);
    stands(&chunked(first, &file[..20_000]).await.expect(201), 20_000, "?0");
    let middle = append(&upload, 20_000, b"", false);
    stands(&chunked(middle, &file[20_000..40_000]).await.expect(204), 40_000, "?0");
    let last = append(&upload, 40_000, b"", true);
    stands(&chunked(last, &file[40_000..]).await.expect(200), 60_000, "?1");
    arrives(&backend, &upload, &file).await;
}

#[tokio::test]
async fn appends_that_do_not_fit() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    let file = content(84, 100);
    let create = complete(ask("POST", &upload), false).header("Upload-Length", "100");
    server.front(&create).await.expect(201);
    server.front(&append(&upload, 0, &file[..40], false)).await.expect(204);
    let wrong = server.front(&append(&upload, 39, b"x", false)).await.expect(409);
    stands(&wrong, 40, "?0");
    let body = wrong.json();
    let kind = "https://iana.org/assignments/http-problem-types#mismatching-upload-offset";
    assert_eq!(body["type"], kind);
    assert_eq!((&body["expected-offset"], &body["provided-offset"]), (&json!(40), &json!(39)));
    let bare = |name: &str| {
        let mut ask = append(&upload, 40, b"x", false);
        ask.headers.retain(|(header, _)| header != name);
        ask
    };
    server.front(&bare("Content-Type")).await.problem(415, "unsupported-media-type", 20);
    server.front(&bare("Upload-Offset")).await.expect(400);
    server.front(&bare("Upload-Complete")).await.expect(400);
    server.front(&bare("").header("Upload-Length", "101")).await.expect(400);
    server.front(&ask("HEAD", &upload).header("Upload-Offset", "40")).await.expect(400);
    server.front(&bare("").header("Tus-Resumable", "1.0.0")).await.expect(400);
    server.front(&bare("").header("Content-Range", "bytes 50-50/100")).await.expect(400);
    // An empty one that says no more comes, too early.
    server.front(&append(&upload, 40, b"", true)).await.expect(400);
    server.front(&append(&upload, 40, &file[40..], true)).await.expect(200);
    arrives(&backend, &upload, &file).await;
    // The last answer was lost: it is given again.
    stands(&server.front(&append(&upload, 100, b"", true)).await.expect(200), 100, "?1");
    server.front(&append(&upload, 99, b"", true)).await.expect(409);
}

#[tokio::test]
async fn more_bytes_than_the_length_end_the_upload() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    let create = complete(ask("POST", &upload), false).header("Upload-Length", "100");
    server.front(&create).await.expect(201);
    let reply = server.front(&append(&upload, 0, &[0; 101], false)).await.expect(400);
    let kind = "https://iana.org/assignments/http-problem-types#inconsistent-upload-length";
    assert_eq!(reply.json()["type"], kind);
    assert_eq!(reply.header("upload-complete"), Some("?0"));
    server.front(&ask("HEAD", &upload)).await.expect(404);
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].field("cancelled"), "yes");
    // Lengths that contradict each other are refused before anything happens.
    for (last, length) in [(true, "4"), (true, "2"), (false, "2")] {
        let upload = server.ticket(&backend).await;
        let create = complete(ask("POST", &upload), last);
        let create = create.header("Upload-Length", length).body("abc");
        let reply = server.front(&create).await.expect(400);
        stands(&reply, 0, "?0");
        assert_eq!(reply.json()["type"], kind);
        assert_eq!(upload.status().await["state"], "new");
    }
}

#[tokio::test]
async fn the_length_is_known_at_the_end() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    let file = content(85, 100);
    server.front(&complete(ask("POST", &upload), false)).await.expect(201);
    server.front(&append(&upload, 0, &file, false)).await.expect(204);
    let head = server.front(&ask("HEAD", &upload)).await.expect(204);
    assert_eq!(head.header("upload-length"), None);
    // The last bytes do not end where the file does: they were cut on the way.
    let cut = append(&upload, 100, b"", true).header("Upload-Length", "200");
    let reply = server.front(&cut).await.expect(400);
    assert!(reply.text().contains("#inconsistent-upload-length"), "{}", reply.text());
    stands(&reply, 100, "?0");
    stands(&server.front(&append(&upload, 100, b"", true)).await.expect(200), 100, "?1");
    arrives(&backend, &upload, &file).await;
}

#[tokio::test]
async fn versions_of_the_draft() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(86, 100);
    for version in 3..=10 {
        let upload = server.ticket(&backend).await;
        let negated = version == 3;
        let told = |ask: Ask, last: bool| {
            let ask = ask.header("Upload-Draft-Interop-Version", &version.to_string());
            match negated {
                true => ask.header("Upload-Incomplete", if last { "?0" } else { "?1" }),
                false => complete(ask, last),
            }
        };
        let check = |reply: &Reply, last: bool| {
            let number = version.to_string();
            assert_eq!(reply.header("upload-draft-interop-version"), Some(&*number));
            let field = if negated { "upload-incomplete" } else { "upload-complete" };
            let value = if last == negated { "?0" } else { "?1" };
            assert_eq!(reply.header(field), Some(value), "{version} {reply:?}");
        };
        let reply = server.front(&told(ask("POST", &upload).body(&file[..40]), false)).await;
        check(&reply.expect(201), false);
        let patch = |offset: usize, bytes: &[u8]| {
            let ask = ask("PATCH", &upload).header("Upload-Offset", &offset.to_string());
            let ask = if version < 6 { ask } else { ask.header("Content-Type", APPEND) };
            ask.body(bytes)
        };
        let reply = server.front(&told(patch(40, &file[40..70]), false)).await;
        check(&reply.expect(if version <= 6 { 201 } else { 204 }), false);
        let reply = server.front(&told(patch(70, &file[70..]), true)).await.expect(200);
        check(&reply, true);
        arrives(&backend, &upload, &file).await;
    }
}

#[tokio::test]
async fn cancelling() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    server.front(&complete(ask("POST", &upload), false)).await.expect(201);
    server.front(&ask("DELETE", &upload)).await.expect(204);
    for method in ["HEAD", "GET", "DELETE"] {
        let reply = server.front(&ask(method, &upload)).await.expect(404);
        assert_eq!(reply.header("upload-offset"), None);
    }
    // A handover under way is nothing that can be cancelled.
    let upload = server.ticket(&backend).await;
    backend.answer_for(&upload.id, [Script::Answer(200, "wait")]);
    server.front(&complete(ask("POST", &upload), true).body("abc")).await.expect(200);
    backend.calls_for(&upload.id, 1).await;
    server.front(&ask("DELETE", &upload)).await.expect(404);
    stands(&server.front(&ask("HEAD", &upload)).await.expect(204), 3, "?1");
}

/// Three dialects on one ticket: bytes never mix, and offsets are true in each.
#[tokio::test]
async fn dialects_mix_on_one_ticket() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    let file = content(87, 100_000);
    let create = complete(ask("POST", &upload), false).header("Upload-Length", "100000");
    server.front(&create.body(&file[..20_000])).await.expect(201);
    let tus = Ask::new("PATCH", &format!("/incoming/frontend/tus/{}", upload.id))
        .header("Tus-Resumable", "1.0.0")
        .header("Content-Type", "application/offset+octet-stream")
        .header("Upload-Offset", "20000")
        .body(&file[20_000..40_000]);
    server.front(&tus).await.expect(204);
    upload.put(60_000, &file[60_000..80_000], 100_000).await.expect(200);
    stands(&server.front(&ask("HEAD", &upload)).await.expect(204), 40_000, "?0");
    // At the native URL a PATCH of no other dialect is one of this.
    let mut patch = append(&upload, 40_000, &file[40_000..60_000], false);
    patch.target = upload.url.clone();
    stands(&server.front(&patch).await.expect(204), 80_000, "?0");
    upload.put(80_000, &file[80_000..], 100_000).await.expect(200);
    stands(&server.front(&ask("HEAD", &upload)).await.expect(204), 100_000, "?1");
    arrives(&backend, &upload, &file).await;
}

#[tokio::test]
async fn limits_are_told() {
    let server = Running::start_with(|settings| {
        settings.max_upload_size = Some(1_000);
        settings.max_chunk_size = Some(100);
        settings.chunk_size = 100;
    })
    .await;
    let all = server.front(&Ask::new("OPTIONS", "/incoming/frontend/resumable")).await.expect(204);
    assert_eq!(all.header("upload-limit"), Some("min-size=0, max-size=1000, max-append-size=100"));
    let upload = server.lonely_ticket().await;
    let create = complete(ask("POST", &upload), false).body(vec![0; 101]);
    let reply = server.front(&create).await.expect(413);
    assert!(reply.header("upload-limit").unwrap().contains("max-append-size=100"));
    // A limit comes before the length: what breaks it may be sent again in pieces, and the upload lives.
    let upload = server.lonely_ticket().await;
    let create = complete(ask("POST", &upload), false).header("Upload-Length", "50");
    server.front(&create).await.expect(201);
    let reply = server.front(&append(&upload, 0, &[0; 101], false)).await.expect(413);
    assert!(reply.header("upload-limit").unwrap().contains("max-append-size=100"));
    server.front(&append(&upload, 0, &[0; 50], false)).await.expect(200);
    // What is said of the length is answered with what it may be.
    let upload = server.lonely_ticket().await;
    let create = complete(ask("POST", &upload), true).header("Upload-Length", "1001").body(b"x");
    let reply = server.front(&create).await.expect(400);
    assert!(reply.header("upload-limit").unwrap().contains("max-size=1000"));
    // Nothing is created here without the web app.
    let create = complete(Ask::new("POST", "/incoming/frontend/resumable"), false);
    server.front(&create).await.problem(404, "unknown-upload", 4);
}
