//! Protects the dialect tus: each request as tus 1.0 has it, what real clients rely on beyond that, and that bytes of several
//! dialects on one ticket never mix.

mod concat;
mod interop;
mod trailers;

use crate::backend::{Backend, Script};
use crate::client::{Ask, Conn, Reply};
use crate::content::{content, sha256};
use crate::server::Running;
use crate::until;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use incoming::core::callback::CallbackUrl;
use serde_json::json;
use sha2::Digest as _;

const APPEND: &str = "application/offset+octet-stream";
/// `filename film.mp4`, `filetype video/mp4`, a key without a value.
const METADATA: &str = "filename ZmlsbS5tcDQ=,filetype dmlkZW8vbXA0,relativePath";

/// An upload as a tus client sees it.
struct Tus<'a> {
    server: &'a Running,
    id: String,
    url: String,
}

impl<'a> Tus<'a> {
    async fn new(server: &'a Running, backend: &Backend) -> Self {
        Self::of(server, &server.ticket(backend).await.id)
    }

    fn of(server: &'a Running, id: &str) -> Self {
        Self { server, id: id.to_owned(), url: format!("/incoming/frontend/tus/{id}") }
    }

    fn ask(&self, method: &str) -> Ask {
        Ask::new(method, &self.url).header("Tus-Resumable", "1.0.0")
    }

    async fn send(&self, ask: &Ask) -> Reply {
        let reply = self.server.front(ask).await;
        assert_eq!(reply.header("tus-resumable"), Some("1.0.0"), "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-store"), "{reply:?}");
        reply
    }

    async fn create(&self, length: usize) -> Reply {
        self.send(&self.ask("POST").header("Upload-Length", &length.to_string())).await
    }

    fn patch_ask(&self, offset: usize, bytes: &[u8]) -> Ask {
        let ask = self.ask("PATCH").header("Content-Type", APPEND);
        ask.header("Upload-Offset", &offset.to_string()).body(bytes)
    }

    async fn patch(&self, offset: usize, bytes: &[u8]) -> Reply {
        self.send(&self.patch_ask(offset, bytes)).await
    }

    async fn offset(&self) -> Reply {
        self.send(&self.ask("HEAD")).await
    }

    async fn is_handed_over(&self, backend: &Backend, file: &[u8]) {
        let calls = backend.calls_for(&self.id, 1).await;
        assert_eq!(calls[0].sha256, Some(sha256(file)));
        assert_eq!(calls[0].field("length"), file.len().to_string());
    }
}

fn checksum(bytes: &[u8]) -> String {
    format!("sha256 {}", BASE64_STANDARD.encode(sha2::Sha256::digest(bytes)))
}

#[tokio::test]
async fn an_upload_from_creation_to_handover() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(70, 250_000);

    let create = tus.ask("POST").header("Upload-Length", "250000");
    let created = tus.send(&create.header("Upload-Metadata", METADATA)).await.expect(201);
    assert_eq!(created.header("location"), Some(&*tus.url));
    assert!(created.header("upload-expires").unwrap().ends_with(" GMT"));
    assert_eq!(created.header("upload-offset"), None);

    let first = tus.patch(0, &file[..100_000]).await.expect(204);
    assert_eq!(first.header("upload-offset"), Some("100000"));
    assert!(first.header("upload-expires").is_some());
    let head = tus.offset().await.expect(200);
    assert_eq!(head.header("upload-offset"), Some("100000"));
    assert_eq!(head.header("upload-length"), Some("250000"));
    assert_eq!(head.header("upload-defer-length"), None);
    assert_eq!(head.header("upload-metadata"), Some(METADATA));
    assert!(head.body.is_empty());

    let last = tus.patch(100_000, &file[100_000..]).await.expect(204);
    assert_eq!(last.header("upload-offset"), Some("250000"));
    assert_eq!(last.header("upload-expires"), None);
    tus.is_handed_over(&backend, &file).await;
    let call = &backend.calls_for(&tus.id, 1).await[0];
    assert_eq!(call.field("filenameFromBrowser"), "film.mp4");
    assert_eq!(call.field("uploadMetadata"), METADATA);
    // Who asks once more is told that it is done, and a DELETE forgets it.
    server.upload(&tus.id).reaches("finished").await;
    assert_eq!(tus.offset().await.expect(200).header("upload-offset"), Some("250000"));
    tus.send(&tus.ask("DELETE")).await.expect(204);
    tus.offset().await.expect(404);
}

#[tokio::test]
async fn creations() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.max_upload_size = Some(1_000)).await;
    let check = async |headers: &[(&str, &str)], status: u16| {
        let tus = Tus::new(&server, &backend).await;
        let ask =
            headers.iter().fold(tus.ask("POST"), |ask, (name, value)| ask.header(name, value));
        tus.send(&ask).await.expect(status)
    };
    check(&[("Upload-Length", "10")], 201).await;
    check(&[("Upload-Defer-Length", "1")], 201).await;
    // Without a body the media type says nothing.
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    check(&[("Upload-Length", "10"), form], 201).await;
    // An odd pair is no reason to refuse a file.
    check(&[("Upload-Length", "10"), ("Upload-Metadata", "filename ??,a b c,")], 201).await;
    for bad in ["", "-1", "1.5", "x", "9223372036854775807", "0x10", " "] {
        check(&[("Upload-Length", bad)], 400).await;
    }
    check(&[], 400).await;
    check(&[("Upload-Defer-Length", "2")], 400).await;
    check(&[("Upload-Length", "1"), ("Upload-Defer-Length", "1")], 400).await;
    check(&[("Upload-Length", "1001")], 413).await;

    let tus = Tus::new(&server, &backend).await;
    tus.create(10).await.expect(201);
    tus.create(10).await.expect(201);
    tus.create(11).await.problem(400, "length-changed", 6);
    let offset = tus.create(11).await;
    assert_eq!(offset.header("upload-offset"), Some("0"));
}

#[tokio::test]
async fn issue_15_an_empty_file_is_complete_when_it_is_created() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    tus.create(0).await.expect(201);
    tus.is_handed_over(&backend, b"").await;
}

#[tokio::test]
async fn a_creation_brings_bytes_and_may_be_repeated() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(71, 50_000);
    let create = |bytes: &[u8], kind: &str| {
        let ask = tus.ask("POST").header("Upload-Length", "50000").header("Content-Type", kind);
        ask.body(bytes)
    };
    let too_long = [&file[..], b"x"].concat();
    for (ask, status) in
        [(create(&file[..10], "application/json"), 415), (create(&too_long, APPEND), 413)]
    {
        let reply = tus.send(&ask).await.expect(status);
        assert_eq!(reply.header("upload-offset"), Some("0"), "{reply:?}");
    }
    let kind = "Application/OFFSET+octet-stream; a=b";
    let first = tus.send(&create(&file[..20_000], kind)).await.expect(201);
    assert_eq!(first.header("upload-offset"), Some("20000"));
    // Its answer was lost: the client begins anew, and heals.
    let again = tus.send(&create(&file[..30_000], APPEND)).await.expect(201);
    assert_eq!(again.header("upload-offset"), Some("30000"));
    tus.patch(30_000, &file[30_000..]).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
}

#[tokio::test]
async fn appends_that_do_not_fit() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(72, 100);
    tus.create(100).await.expect(201);
    tus.patch(0, &file[..40]).await.expect(204);
    let check = async |ask: Ask, status: u16| {
        let reply = tus.send(&ask).await.expect(status);
        assert_eq!(reply.header("upload-offset"), Some("40"), "{reply:?}");
        reply
    };
    check(tus.patch_ask(39, b"x"), 409).await.problem(409, "offset-mismatch", 19);
    check(tus.patch_ask(41, b"x"), 409).await;
    check(tus.patch_ask(40, &[0; 61]), 413).await;
    check(tus.ask("PATCH").header("Content-Type", APPEND).body("x"), 400).await;
    let typed = |kind: &str| {
        tus.ask("PATCH").header("Content-Type", kind).header("Upload-Offset", "40").body("x")
    };
    check(typed("application/octet-stream"), 415).await;
    for bad in ["-1", "x", "", "40, 40"] {
        let ask = tus.ask("PATCH").header("Content-Type", APPEND).header("Upload-Offset", bad);
        check(ask.body("x"), 400).await;
    }
    check(tus.patch_ask(40, b"x").header("Upload-Length", "39"), 400).await;
    check(tus.patch_ask(40, b"x").header("Upload-Length", "101"), 400).await;
    check(tus.patch_ask(40, b"x").header("Content-Range", "bytes 50-50/100"), 400).await;
    // Nothing of these counts, and nothing is in the way of the right one.
    tus.patch(40, &file[40..]).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
    // An empty one at the end is what some clients close with.
    tus.patch(100, b"").await.expect(204);
    tus.patch(99, b"").await.expect(409);
    tus.patch(100, b"x").await.expect(413);
}

#[tokio::test]
async fn a_length_may_come_later() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(73, 100);
    tus.send(&tus.ask("POST").header("Upload-Defer-Length", "1")).await.expect(201);
    let head = tus.offset().await.expect(200);
    assert_eq!(head.header("upload-defer-length"), Some("1"));
    assert_eq!(head.header("upload-length"), None);
    tus.patch(0, &file[..60]).await.expect(204);
    let short = tus.patch_ask(60, b"").header("Upload-Length", "59");
    tus.send(&short).await.expect(400);
    let last = tus.patch_ask(60, &file[60..]).header("Upload-Length", "100");
    tus.send(&last).await.expect(204);
    tus.is_handed_over(&backend, &file).await;

    // Also without a byte.
    let tus = Tus::new(&server, &backend).await;
    tus.send(&tus.ask("POST").header("Upload-Defer-Length", "1")).await.expect(201);
    tus.patch(0, &file).await.expect(204);
    tus.send(&tus.patch_ask(100, b"").header("Upload-Length", "100")).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
}

/// The length comes with a body that goes past it: to drop the rest silently would be a success that is none.
#[tokio::test]
async fn a_body_past_the_length_that_it_tells_is_refused() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    for length in ["0", "5"] {
        let tus = Tus::new(&server, &backend).await;
        tus.send(&tus.ask("POST").header("Upload-Defer-Length", "1")).await.expect(201);
        let ask = tus.patch_ask(0, b"").header("Upload-Length", length);
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.header("Transfer-Encoding", "chunked").head()).await.unwrap();
        conn.send_chunk(b"0123456789").await.unwrap();
        conn.send(b"0\r\n\r\n").await.unwrap();
        conn.reply("PATCH").await.unwrap().expect(413);
    }
}

/// A body in chunked coding, of which nobody knows the length: Java clients send all so.
#[tokio::test]
async fn issue_15_a_body_of_unknown_length_is_taken() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(74, 60_000);
    tus.create(60_000).await.expect(201);
    let chunked = async |offset: usize, bytes: &[u8]| {
        let ask = tus.patch_ask(offset, b"").header("Transfer-Encoding", "chunked");
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        conn.send_chunk(bytes).await.unwrap();
        conn.send(b"0\r\n\r\n").await.unwrap();
        conn.reply("PATCH").await.unwrap()
    };
    chunked(0, &file[..20_000]).await.expect(204);
    // Longer than the file: nothing of it counts.
    chunked(20_000, &[0; 40_001]).await.expect(413);
    assert_eq!(tus.offset().await.header("upload-offset"), Some("20000"));
    let last = chunked(20_000, &file[20_000..]).await.expect(204);
    assert_eq!(last.header("upload-offset"), Some("60000"));
    tus.is_handed_over(&backend, &file).await;
}

#[tokio::test]
async fn issue_15_a_checksum_that_does_not_match_is_460() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(75, 100);
    tus.create(100).await.expect(201);
    let with = |value: &str| tus.patch_ask(0, &file[..50]).header("Upload-Checksum", value);
    tus.send(&with(&checksum(&file[..49]))).await.problem(460, "digest-mismatch", 2);
    // A value of no digest's length is that of no body.
    tus.send(&with("sha1 AAAA")).await.expect(460);
    for bad in ["crc32 AAAA", "sha1", "sha256 ?", ""] {
        tus.send(&with(bad)).await.expect(400);
    }
    let both = with(&checksum(&file[..50])).header("Content-Digest", "md5=:AAAA:");
    tus.send(&both).await.expect(400);
    let digested = |bytes: &[u8]| {
        let value = BASE64_STANDARD.encode(sha2::Sha256::digest(bytes));
        tus.patch_ask(0, &file[..50]).header("Content-Digest", &format!("sha-256=:{value}:"))
    };
    tus.send(&digested(&file[..49])).await.problem(460, "digest-mismatch", 2);
    assert_eq!(tus.offset().await.header("upload-offset"), Some("0"));
    tus.send(&digested(&file[..50])).await.expect(204);
    let sha1 = BASE64_STANDARD.encode(sha1::Sha1::digest(&file[50..75]));
    let ask = tus.patch_ask(50, &file[50..75]).header("Upload-Checksum", &format!("sha1 {sha1}"));
    tus.send(&ask).await.expect(204);
    let sha512 = BASE64_STANDARD.encode(sha2::Sha512::digest(&file[75..]));
    let ask = tus.patch_ask(75, &file[75..]).header("Upload-Checksum", &format!("sha512 {sha512}"));
    tus.send(&ask).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
}

#[tokio::test]
async fn versions() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    tus.create(10).await.expect(201);
    let check = async |method: &str, version: Option<&str>, status: u16| {
        let mut ask = Ask::new(method, &tus.url);
        if let Some(version) = version {
            ask = ask.header("Tus-Resumable", version);
        }
        let reply = tus.send(&ask).await.expect(status);
        if status == 412 {
            assert_eq!(reply.header("tus-version"), Some("1.0.0"), "{reply:?}");
            assert_eq!(reply.header("upload-offset"), None);
        }
    };
    for method in ["POST", "PATCH", "DELETE"] {
        check(method, None, 412).await;
        check(method, Some("0.2.2"), 412).await;
    }
    // Clients ask without it.
    check("HEAD", None, 200).await;
    check("HEAD", Some("1.0"), 412).await;
    check("GET", None, 200).await;
    check("PUT", Some("1.0.0"), 405).await;
}

#[tokio::test]
async fn issue_15_options_need_no_version_and_no_upload() {
    let server = Running::start_with(|settings| settings.max_upload_size = Some(1_000)).await;
    for path in
        ["/incoming/frontend/tus", "/incoming/frontend/tus/", "/incoming/0.1/frontend/tus/x"]
    {
        let ask = Ask::new("OPTIONS", path).header("Origin", "https://page.example");
        let reply = server.front(&ask).await.expect(200);
        assert_eq!(reply.header("tus-resumable"), Some("1.0.0"));
        assert_eq!(reply.header("tus-version"), Some("1.0.0"));
        assert_eq!(reply.header("tus-max-size"), Some("1000"));
        assert_eq!(reply.header("tus-checksum-algorithm"), Some("sha1,sha256,sha512"));
        let extensions = reply.header("tus-extension").unwrap();
        assert!(extensions.split(',').any(|it| it == "concatenation"), "{extensions}");
        assert!(!extensions.contains("unfinished"), "{extensions}");
        assert!(reply.body.is_empty());
    }
}

#[tokio::test]
async fn issue_15_every_header_that_a_client_reads_is_exposed_on_errors_too() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let page = |ask: Ask| ask.header("Origin", "https://page.example");
    for ask in
        [tus.ask("POST").header("Upload-Length", "10"), tus.patch_ask(3, b"x"), tus.ask("PUT")]
    {
        let reply = tus.send(&page(ask)).await;
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        let exposed = reply.header("access-control-expose-headers").unwrap().to_ascii_lowercase();
        let exposed: Vec<_> = exposed.split(',').map(str::trim).collect();
        for (name, _) in &reply.headers {
            let ours = name.to_ascii_lowercase();
            if ours.starts_with("upload-") || ours.starts_with("tus-") || ours == "location" {
                assert!(exposed.contains(&&*ours), "{ours} in {exposed:?}");
            }
        }
    }
    let preflight =
        page(Ask::new("OPTIONS", &tus.url)).header("Access-Control-Request-Method", "PATCH");
    let reply = server.front(&preflight).await.expect(200);
    assert!(reply.header("access-control-allow-methods").unwrap().contains("PATCH"));
    let allowed = reply.joined("access-control-allow-headers");
    for name in ["tus-resumable", "upload-offset", "upload-checksum", "x-http-method-override"] {
        assert!(allowed.contains(name), "{name} in {allowed}");
    }
}

#[tokio::test]
async fn issue_15_what_is_over_or_unknown_is_404_without_an_offset() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let cancelled = Tus::new(&server, &backend).await;
    cancelled.create(10).await.expect(201);
    cancelled.send(&cancelled.ask("DELETE")).await.expect(204);
    assert_eq!(backend.calls_for(&cancelled.id, 1).await[0].field("cancelled"), "yes");
    let unknown = Tus::of(&server, "0189a6d0-0000-4000-8000-000000000000");
    let nonsense = Tus::of(&server, "nonsense");
    for tus in [&cancelled, &unknown, &nonsense] {
        for ask in [
            tus.ask("HEAD"),
            tus.ask("GET"),
            tus.patch_ask(0, b"x"),
            tus.ask("DELETE"),
            tus.ask("POST").header("Upload-Length", "10"),
        ] {
            let reply = tus.send(&ask).await;
            let again = std::ptr::eq(tus, &raw const cancelled) && ask.method == "DELETE";
            assert_eq!(reply.status, if again { 204 } else { 404 }, "{} {reply:?}", ask.method);
            assert_eq!(reply.header("upload-offset"), None, "{}", ask.method);
        }
    }
    assert_eq!(server.upload(&cancelled.id).status().await["state"], "cancelled");
}

#[tokio::test]
async fn an_upload_that_is_handed_over_cannot_be_cancelled() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    backend.answer([Script::Answer(200, "wait")]);
    let tus = Tus::new(&server, &backend).await;
    tus.create(3).await.expect(201);
    tus.patch(0, b"abc").await.expect(204);
    backend.calls_for(&tus.id, 1).await;
    tus.send(&tus.ask("DELETE")).await.expect(403);
    assert_eq!(tus.offset().await.expect(200).header("upload-offset"), Some("3"));
}

#[tokio::test]
async fn a_post_stands_for_another_method() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    tus.create(6).await.expect(201);
    let over = |mut ask: Ask, method: &str| {
        ask.method = "POST".into();
        ask.header("X-HTTP-Method-Override", method)
    };
    tus.send(&over(tus.patch_ask(0, b"abc"), "PATCH")).await.expect(204);
    let head = tus.send(&over(tus.ask("HEAD"), "HEAD")).await.expect(200);
    assert_eq!(head.header("upload-offset"), Some("3"));
    // An error has its body, as an answer to a POST.
    let wrong = tus.send(&over(Tus::of(&server, "x").ask("HEAD"), "HEAD")).await.expect(404);
    assert_eq!(wrong.json()["code"], "unknown-upload");
    tus.send(&over(tus.ask("PUT"), "PUT")).await.expect(400);
    tus.send(&over(tus.ask("DELETE"), "DELETE")).await.expect(204);
    tus.offset().await.expect(404);
}

/// A connection died unnoticed: its successor asks where to go on, and the told offset is one at which it can.
#[tokio::test]
async fn issue_15_a_dead_request_keeps_nobody_out() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(76, 200_000);
    tus.create(200_000).await.expect(201);
    let mut dead = Conn::open(&server.public).await;
    dead.send(&tus.patch_ask(0, &file).head()).await.unwrap();
    dead.send(&file[..70_000]).await.unwrap();
    server.upload(&tus.id).in_flight(1).await;
    server.upload(&tus.id).bytes_read(70_000).await;
    let head = tus.offset().await.expect(200);
    let offset: usize = head.header("upload-offset").unwrap().parse().unwrap();
    assert_eq!(offset, 70_000, "whatever came counts");
    // The older one is told so that it stops: nothing that a client would repeat.
    dead.reply("PATCH").await.unwrap().problem(400, "superseded", 7);
    assert_eq!(tus.offset().await.header("upload-offset"), Some("70000"));
    tus.patch(offset, &file[offset..]).await.expect(204);
    tus.is_handed_over(&backend, &file).await;
}

/// Observers do not end a transfer.
#[tokio::test]
async fn issue_15_a_look_at_the_status_fences_nobody() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let file = content(77, 50_000);
    tus.create(50_000).await.expect(201);
    let mut conn = Conn::open(&server.public).await;
    conn.send(&tus.patch_ask(0, &file).head()).await.unwrap();
    conn.send(&file[..10_000]).await.unwrap();
    server.upload(&tus.id).in_flight(1).await;
    let status = tus.send(&tus.ask("GET")).await.expect(200).json();
    assert_eq!((&status["state"], &status["length"]), (&json!("uploading"), &json!(50_000)));
    server.upload(&tus.id).ask("HEAD").await.expect(200);
    conn.send(&file[10_000..]).await.unwrap();
    conn.reply("PATCH").await.unwrap().expect(204);
    tus.is_handed_over(&backend, &file).await;
}

#[tokio::test]
async fn two_appends_at_one_offset_never_both_succeed() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let (first, second) = (vec![b'1'; 100_000], vec![b'2'; 100_000]);
    tus.create(100_000).await.expect(201);
    let mut conn = Conn::open(&server.public).await;
    conn.send(&tus.patch_ask(0, &first).head()).await.unwrap();
    conn.send(&first[..40_000]).await.unwrap();
    server.upload(&tus.id).bytes_read(40_000).await;
    tus.patch(0, &second).await.expect(204);
    conn.reply("PATCH").await.unwrap().problem(400, "superseded", 7);
    let stored = [&first[..40_000], &second[40_000..]].concat();
    tus.is_handed_over(&backend, &stored).await;
}

/// Chunks anywhere and appends on one ticket: each byte is of the request that was first to count it, and an append passes over
/// what is there.
#[tokio::test]
async fn dialects_mix_on_one_ticket() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let tus = Tus::new(&server, &backend).await;
    let upload = server.upload(&tus.id);
    let file = content(78, 100_000);
    tus.create(100_000).await.expect(201);
    upload.put(50_000, &file[50_000..60_000], 100_000).await.expect(200);
    assert_eq!(tus.offset().await.header("upload-offset"), Some("0"));
    let jump = tus.patch(0, &file[..50_000]).await.expect(204);
    assert_eq!(jump.header("upload-offset"), Some("60000"));
    // At the native URL a request names its dialect.
    let mut ask = tus.patch_ask(60_000, &file[60_000..80_000]);
    ask.target = upload.url.clone();
    tus.send(&ask).await.expect(204);
    let mut bare = Ask::new("PATCH", &upload.url).header("Content-Type", APPEND);
    bare = bare.header("Upload-Offset", "80000").body("x");
    tus.send(&bare).await.expect(412);
    // Content-Range is of the native one, whatever else is there.
    let native = upload.chunk(80_000, &file[80_000..], Some(100_000));
    let native = native.header("Tus-Resumable", "1.0.0").header("Upload-Offset", "1");
    let reply = server.front(&native).await.expect(200);
    assert_eq!(reply.header("tus-resumable"), None);
    assert_eq!(reply.json()["offset"], 100_000);
    tus.is_handed_over(&backend, &file).await;
}

#[tokio::test]
async fn clients_create_uploads_where_the_web_app_gives_tickets() {
    let backend = Backend::start().await;
    let plain = Running::start().await;
    let create = |headers: &[(&str, &str)]| {
        let ask = Ask::new("POST", "/incoming/frontend/tus").header("Tus-Resumable", "1.0.0");
        headers.iter().fold(ask, |ask, (name, value)| ask.header(name, value))
    };
    plain.front(&create(&[("Upload-Length", "10")])).await.problem(404, "unknown-upload", 4);

    let url = backend.url();
    let server = Running::start_with(|settings| {
        settings.create_url = Some(CallbackUrl::parse(url).unwrap());
        settings.frontend_url = Some("https://up.example.org/incoming/frontend".into());
    })
    .await;
    let id = server.ticket(&backend).await.id;
    let answer: &'static str = Box::leak(format!("{id}\n").into_boxed_str());
    backend.answer([Script::Answer(200, answer)]);
    let ask = create(&[("Upload-Length", "10"), ("Upload-Metadata", METADATA), ("Cookie", "a=b")]);
    let reply = server.front(&ask).await.expect(201);
    let location = format!("https://up.example.org/incoming/frontend/tus/{id}");
    assert_eq!(reply.header("location"), Some(&*location));
    let call = until("the call", async || backend.calls().into_iter().next()).await;
    assert_eq!((call.field("dialect"), call.field("length")), ("tus", "10"));
    assert_eq!((call.field("name"), call.field("type")), ("film.mp4", "video/mp4"));
    assert_eq!(call.field("uploadMetadata"), METADATA);
    assert_eq!(call.header("cookie"), Some("a=b"));
    Tus::of(&server, &id).patch(0, &content(79, 10)[..5]).await.expect(204);

    // A refusal reaches the client, and its words.
    backend.answer([Script::Answer(403, "over quota")]);
    let reply = server.front(&create(&[("Upload-Length", "10")])).await;
    assert_eq!(reply.problem(403, "refused", 18), "over quota");
    assert_eq!(reply.header("location"), None);
    // What has no chance is not asked for.
    server.front(&create(&[])).await.expect(400);
    assert_eq!(backend.calls().len(), 2);
}
