//! Protects files that come as several uploads (tus 1.0, concatenation), as `parallelUploads` of tus-js-client has them.

use super::{METADATA, Tus};
use crate::backend::{Backend, Script};
use crate::child::Program;
use crate::client::{Ask, Conn, Reply};
use crate::content::content;
use crate::server::Running;
use crate::until;
use incoming::core::callback::CallbackUrl;
use serde_json::json;
use std::sync::Arc;

/// A page and its server, which creates uploads at a URL without an id.
struct Page<'a> {
    server: &'a Running,
    /// Where files are handed over.
    web_app: &'a Backend,
    /// Where tickets come from.
    creator: &'a Backend,
}

impl<'a> Page<'a> {
    fn post(&self, concat: &str) -> Ask {
        Ask::new("POST", "/incoming/frontend/tus")
            .header("Tus-Resumable", "1.0.0")
            .header("Upload-Concat", concat)
    }

    /// A creation that the web app has a new ticket for.
    async fn create(&self, ask: &Ask) -> Reply {
        let wish = json!({"signalFinishURL": self.web_app.url(), "metadata": "mine"}).to_string();
        self.creator.answer([Script::Answer(201, Box::leak(wish.into_boxed_str()))]);
        self.server.front(ask).await
    }

    fn created(&self, reply: &Reply) -> Tus<'a> {
        let location = reply.header("location").unwrap();
        Tus::of(self.server, location.rsplit('/').next().unwrap())
    }

    async fn part(&self, bytes: &[u8]) -> Tus<'a> {
        let ask = self.post("partial").header("Upload-Length", &bytes.len().to_string());
        let tus = self.created(&self.create(&ask).await.expect(201));
        if !bytes.is_empty() {
            tus.patch(0, bytes).await.expect(204);
        }
        tus
    }
}

fn list(parts: &[Tus<'_>]) -> String {
    let urls: Vec<_> =
        parts.iter().map(|part| format!("https://proxy.example/x/tus/{}", part.id)).collect();
    format!("final;{}", urls.join(" "))
}

async fn server(creator: &Backend) -> Running {
    let url = CallbackUrl::parse(creator.url()).unwrap();
    Running::start_with(|settings| settings.create_url = Some(url)).await
}

#[tokio::test]
async fn issue_15_parallel_parts_become_one_file_that_is_handed_over_once() {
    let (web_app, creator) = (Backend::start().await, Backend::start().await);
    let server = server(&creator).await;
    let page = Page { server: &server, web_app: &web_app, creator: &creator };
    let file = content(100, 300_001);
    let mut parts = Vec::new();
    for (start, end) in [(0, 100_000), (100_000, 100_000), (100_000, 300_001)] {
        parts.push(page.part(&file[start..end]).await);
    }
    let told = creator.calls();
    assert!(told.iter().all(|call| call.field("uploadConcat") == "partial"), "{told:?}");
    for part in &parts {
        let head = part.offset().await.expect(200);
        assert_eq!(head.header("upload-concat"), Some("partial"));
        assert_eq!(head.header("upload-offset"), head.header("upload-length"));
    }
    let ask = page.post(&list(&parts)).header("Upload-Metadata", METADATA);
    let whole = page.created(&page.create(&ask).await.expect(201));
    let asked = creator.calls()[3].clone();
    assert_eq!((asked.field("uploadConcat"), asked.field("length")), (&*list(&parts), "300001"));
    assert_eq!((asked.field("name"), asked.field("uploadMetadata")), ("film.mp4", METADATA));

    let head = whole.offset().await.expect(200);
    assert_eq!(head.header("upload-offset"), Some("300001"));
    assert_eq!(head.header("upload-length"), Some("300001"));
    let urls: Vec<_> = parts.iter().map(|part| &*part.url).collect();
    assert_eq!(head.header("upload-concat"), Some(&*format!("final;{}", urls.join(" "))));
    assert_eq!(head.header("upload-metadata"), Some(METADATA));
    whole.is_handed_over(&web_app, &file).await;
    server.upload(&whole.id).reaches("finished").await;
    // The answer was lost, or a page asks again: the same file, and the web app is not asked.
    let calls = creator.calls().len();
    let again = server.front(&ask).await.expect(201);
    assert_eq!(again.header("location"), Some(&*whole.url));
    assert_eq!(creator.calls().len(), calls);
    for part in &parts {
        assert_eq!(part.offset().await.expect(200).header("upload-concat"), Some("partial"));
        assert_eq!(server.upload(&part.id).shown().await["state"], "finished");
        assert_eq!(server.traces(&part.id), ["ID.journal"], "its bytes are gone");
    }
    let other = page.post(&list(&parts[..1]));
    let why = server.front(&other).await.problem(400, "bad-request", 1);
    assert!(why.contains("belongs to another"), "{why}");
    assert_eq!(web_app.calls().len(), 1, "no part is handed over");
}

#[tokio::test]
async fn a_final_upload_takes_no_bytes_of_its_own() {
    let (web_app, creator) = (Backend::start().await, Backend::start().await);
    let server = server(&creator).await;
    let page = Page { server: &server, web_app: &web_app, creator: &creator };
    let part = page.part(b"0123456789").await;
    let whole = page.created(&page.create(&page.post(&list(&[part]))).await.expect(201));
    for offset in [0, 10, 3] {
        whole.patch(offset, b"x").await.problem(403, "wrong-state", 10);
    }
    server.upload(&whole.id).put(0, b"x", 10).await.problem(412, "wrong-state", 10);
    whole.is_handed_over(&web_app, b"0123456789").await;
}

#[tokio::test]
async fn issue_15_what_is_no_list_of_finished_parts_is_400_before_the_web_app_is_asked() {
    let (web_app, creator) = (Backend::start().await, Backend::start().await);
    let server = server(&creator).await;
    let page = Page { server: &server, web_app: &web_app, creator: &creator };
    let part = page.part(b"0123456789").await;
    let open = page.create(&page.post("partial").header("Upload-Length", "9")).await.expect(201);
    let open = page.created(&open);
    open.patch(0, b"0123").await.expect(204);
    let gone = page.part(b"x").await;
    gone.send(&gone.ask("DELETE")).await.expect(204);
    let whole = Tus::new(&server, &web_app).await;
    let (good, url) = (format!("final;{}", part.url), "/incoming/frontend/tus");
    let calls = creator.calls().len();
    let check = async |ask: Ask, text: &str| {
        let why = server.front(&ask).await.problem(400, "bad-request", 1);
        assert!(why.contains(text), "{why}");
    };
    for (value, text) in [
        ("final;", "no partial upload is named"),
        ("whole", "expected partial"),
        (&format!("{good} {}", part.url), "partial upload 2 is named twice"),
        (&format!("{good} {}", open.url), "partial upload 2: it has 4 of 9 bytes"),
        (&format!("{good} {}", gone.url), "partial upload 2: the upload is cancelled"),
        (&format!("{good} {}", whole.url), "partial upload 2: it is not a partial upload"),
        (&format!("{good} {url}/00000000-0000-4000-8000-000000000000"), "partial upload 2: there"),
        (&format!("{good} {url}/x"), "not that of a tus upload"),
        (&format!("{good} https://other.example/"), "not that of a tus upload"),
        (&format!("final;{}", format!("{url}/{} ", part.id).repeat(257)), "at most 256"),
    ] {
        check(page.post(value), text).await;
    }
    check(page.post(&good).header("Upload-Length", "10"), "Upload-Length").await;
    check(page.post(&good).header("Upload-Defer-Length", "1"), "Upload-Defer-Length").await;
    check(page.post(&good).body(b"x"), "no body").await;
    assert_eq!(creator.calls().len(), calls);
    // The ticket's own URL cannot be several uploads.
    for value in ["partial", &good] {
        let ask = whole.ask("POST").header("Upload-Length", "10").header("Upload-Concat", value);
        let why = whole.send(&ask).await.problem(400, "bad-request", 1);
        assert!(why.contains("uploadConcat") && why.contains("parallelUploads"), "{why}");
    }
    page.create(&page.post(&good)).await.expect(201);
}

/// The route of a web app is the endpoint, and calls `new_upload` for each creation.
#[tokio::test]
async fn a_web_app_passes_the_header_on() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(101, 90_000);
    let mut urls = Vec::new();
    for bytes in [&file[..30_000], &file[30_000..]] {
        let length = bytes.len().to_string();
        let params = [("uploadConcat", "partial"), ("length", &*length)];
        let tus = Tus::of(&server, &server.ticket_with(&backend.url(), &params).await.id);
        tus.patch(0, bytes).await.expect(204);
        urls.push(tus.url);
    }
    let list = format!("final;{}", urls.join(" "));
    let params = [("uploadConcat", &*list), ("uploadMetadata", METADATA), ("metadata", "m")];
    let whole = Tus::of(&server, &server.ticket_with(&backend.url(), &params).await.id);
    assert_eq!(whole.offset().await.expect(200).header("upload-offset"), Some("90000"));
    whole.is_handed_over(&backend, &file).await;
    let call = backend.calls_for(&whole.id, 1).await[0].clone();
    assert_eq!((call.field("filenameFromBrowser"), call.field("metadata")), ("film.mp4", "m"));
    // A client repeats it: the web app learns the same upload.
    assert_eq!(server.ticket_with(&backend.url(), &params).await.id, whole.id);
    let url = backend.url();
    let bad = [("signalFinishURL", &*url), ("uploadConcat", "final;x")];
    assert!(server.call("new_upload", &bad).await.expect(400).text().contains("Upload-Concat"));
    assert_eq!(backend.calls().len(), 1, "no part was handed over, and no refusal told");
}

/// A client that gives up removes its parts, also those that are complete; the web app is not called for them.
#[tokio::test]
async fn parts_can_be_removed() {
    let (web_app, creator) = (Backend::start().await, Backend::start().await);
    let server = server(&creator).await;
    let page = Page { server: &server, web_app: &web_app, creator: &creator };
    let part = page.part(b"0123456789").await;
    part.send(&part.ask("DELETE")).await.expect(204);
    part.offset().await.expect(404);
    assert_eq!(server.traces(&part.id), ["ID.journal"]);
    let other = page.part(b"x").await;
    let whole = page.created(&page.create(&page.post(&list(&[other]))).await.expect(201));
    whole.is_handed_over(&web_app, b"x").await;
    assert_eq!(web_app.calls().len(), 1);
}

/// A join may take minutes: who asks for it again and again takes the places of the first part.
#[tokio::test]
async fn issue_15_requests_for_a_file_of_parts_have_a_bound() {
    let (web_app, creator) = (Backend::start().await, Backend::start().await);
    let server = server(&creator).await;
    let page = Page { server: &server, web_app: &web_app, creator: &creator };
    let parts = [page.part(b"0123456789").await, page.part(b"x").await];
    let wait = Ask::new("POST", &server.upload(&parts[0].id).url).header("Content-Length", "100");
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&wait.head()).await.unwrap();
        held.push(conn);
    }
    until("eight calls run", async || (parts[0].offset().await.status == 503).then_some(())).await;
    let ask = page.post(&list(&parts));
    server.front(&ask).await.problem(503, "too-many", 13);
    drop(held);
    until("they are over", async || (parts[0].offset().await.status == 200).then_some(())).await;
    let whole = page.created(&page.create(&ask).await.expect(201));
    whole.is_handed_over(&web_app, b"0123456789x").await;
}

/// Where the server is when it is killed.
#[derive(Clone, Copy, Debug)]
enum Point {
    /// It may not have read the request.
    Asked,
    /// The first bytes are being copied.
    Copying,
    /// The file is in its place.
    Placed,
    /// The first part is gone.
    Released,
}

#[tokio::test]
async fn killed_while_parts_are_joined() {
    for (number, ack) in ["durable", "written"].into_iter().enumerate() {
        for point in [Point::Asked, Point::Copying, Point::Placed, Point::Released] {
            killed_at(point, ack, 110 + number as u64).await;
        }
    }
}

async fn killed_at(point: Point, ack: &str, seed: u64) {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let (web_app, creator) = (Backend::start().await, Backend::start().await);
    let url = creator.url();
    let flags = ["--ack", ack, "--create-url", &*url];
    let file = content(seed, 24_000_001);
    let program = Program::start(directory.path(), &flags);
    let server = Running::of(&program, &directory);
    let page = Page { server: &server, web_app: &web_app, creator: &creator };
    let mut ids = Vec::new();
    for bytes in file.chunks(8_000_001) {
        ids.push(page.part(bytes).await.id);
    }
    let parts: Vec<_> = ids.iter().map(|id| Tus::of(&server, id)).collect();
    let ask = page.post(&list(&parts));
    let whole = server.ticket(&web_app).await.id;
    creator.answer([Script::Answer(201, Box::leak(whole.clone().into_boxed_str()))]);
    let mut conn = Conn::open(&server.public).await;
    conn.send(&ask.head()).await.unwrap();
    let storage = server.storage();
    until("the moment", async || {
        let there = |name: &str| storage.join(name).exists();
        let reached = match point {
            Point::Asked => true,
            Point::Copying => there(&format!("{whole}.part")),
            Point::Placed => false,
            Point::Released => !there(&format!("{}.part", ids[0])),
        };
        // It may be past that already.
        let placed = there(&format!("files/{whole}"));
        (reached || placed && !matches!(point, Point::Released)).then_some(())
    })
    .await;
    program.kill();
    drop(conn);
    println!("{point:?} {ack}: {:?}", server.traces(&whole));

    // The client finds its parts as they were, or joined, and asks for the file again.
    let program = Program::start(directory.path(), &flags);
    let server = Running::of(&program, &directory);
    let page = Page { server: &server, web_app: &web_app, creator: &creator };
    for (id, bytes) in ids.iter().zip(file.chunks(8_000_001)) {
        let head = Tus::of(&server, id).offset().await.expect(200);
        assert_eq!(head.header("upload-offset"), Some(&*bytes.len().to_string()));
    }
    let whole = page.created(&page.create(&ask).await.expect(201));
    whole.is_handed_over(&web_app, &file).await;
    server.upload(&whole.id).reaches("finished").await;
    for id in &ids {
        until("the end of a part", async || (server.traces(id) == ["ID.journal"]).then_some(()))
            .await;
    }
    // A call whose answer the kill cut off is made again, for the same upload.
    for call in web_app.calls() {
        assert_eq!(call.field("id"), whole.id, "{point:?} {ack}: another file is handed over");
    }
}
