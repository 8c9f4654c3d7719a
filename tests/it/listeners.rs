//! Protects the two doors: each serves its own paths and no other, over TCP and unix sockets alike.

use crate::backend::Backend;
use crate::client::Ask;
use crate::content::{content, sha256};
use crate::server::Running;
use incoming::app::Server;
use incoming::config::Address;

const ID: &str = "00000000-0000-4000-8000-000000000000";

/// Every path of a surface, with a method it knows.
fn frontend() -> Vec<Ask> {
    let paths = ["incoming.js".to_owned(), "incoming.mjs".into(), format!("uploads/{ID}")];
    both("frontend/", &paths)
}

fn backend() -> Vec<Ask> {
    let mut asks = both("backend/", &["uploads".to_owned(), format!("uploads/{ID}")]);
    let calls = ["new_upload", "cancel_upload", "finish_upload", "retry_handover"];
    let calls = both("backend/", &calls.map(str::to_owned));
    asks.extend(calls.into_iter().map(|ask| Ask { method: "POST".into(), ..ask }));
    asks.extend(["/metrics", "/healthz", "/readyz"].map(|path| Ask::new("GET", path)));
    asks
}

fn both(below: &str, paths: &[String]) -> Vec<Ask> {
    let prefixes = ["/incoming/", "/incoming/0.1/"];
    let all = prefixes.iter().flat_map(|prefix| paths.iter().map(move |path| (prefix, path)));
    all.map(|(prefix, path)| Ask::new("GET", &format!("{prefix}{below}{path}"))).collect()
}

/// Nothing is there, and nothing tells what might be.
fn is_nothing(reply: &crate::client::Reply) -> bool {
    reply.status == 404 && reply.text().contains("nothing at this path")
}

#[tokio::test]
async fn each_serves_its_own() {
    let server = Running::start().await;
    for ask in frontend() {
        assert!(!is_nothing(&server.front(&ask).await), "{}", ask.target);
        assert!(is_nothing(&server.back(&ask).await), "{}", ask.target);
    }
    for ask in backend() {
        assert!(!is_nothing(&server.back(&ask).await), "{}", ask.target);
        assert!(is_nothing(&server.front(&ask).await), "{}", ask.target);
    }
    let tricks = [
        "/incoming/frontend/../backend/uploads",
        "/incoming/frontend/%2e%2e/backend/uploads",
        "//incoming/backend/uploads",
        "/incoming//backend/uploads",
        "/Incoming/backend/uploads",
        "/incoming/0.1/0.1/backend/uploads",
        "/incoming/backend/uploads#",
        "http://127.0.0.2/incoming/backend/uploads",
        "/metrics/",
        "/",
        "/incoming",
        "*",
    ];
    for target in tricks {
        let reply = server.front(&Ask::new("GET", target)).await;
        assert!((400..500).contains(&reply.status), "{target}: {}", reply.status);
        assert!(!reply.text().contains("uploads\""), "{target}: {}", reply.text());
    }
}

#[tokio::test]
async fn one_socket_serves_both_where_both_name_it() {
    let server =
        Running::start_with(|settings| settings.backend_listen = settings.listen.clone()).await;
    for ask in frontend().iter().chain(&backend()) {
        assert!(!is_nothing(&server.front(ask).await), "{}", ask.target);
    }
    // What a proxy brings from elsewhere may not use the backend surface.
    let server = Running::start_with(|settings| {
        settings.backend_listen = settings.listen.clone();
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let list = Ask::new("GET", "/incoming/backend/uploads");
    // Nor what it brings without a word from where: the proxy's own address says nothing.
    server.front(&list).await.expect(403);
    server.front(&Ask::new("GET", "/healthz")).await.expect(403);
    server.front(&list.clone().header("X-Forwarded-For", "127.0.0.1")).await.expect(200);
    server.front(&list.header("X-Forwarded-For", "8.8.8.8")).await.expect(403);
    let metrics = Ask::new("GET", "/metrics").header("X-Forwarded-For", "8.8.8.8");
    server.front(&metrics).await.expect(403);
}

#[tokio::test]
async fn unix_sockets() {
    let owned = backend();
    let backend = Backend::start().await;
    let directory = tempfile::tempdir().unwrap();
    let socket = |name: &str| Address::Unix(directory.path().join(name));
    let mut server = Running::start_with(|settings| {
        settings.listen = socket("public.sock");
        settings.backend_listen = socket("backend.sock");
    })
    .await;
    let file = content(60, 200_000);
    let upload = server.ticket(&backend).await;
    upload.put(100_000, &file[100_000..], 200_000).await.expect(200);
    upload.put_whole(&file).await.expect(200);
    upload.reaches("finished").await;
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].sha256, Some(sha256(&file)));
    assert!(is_nothing(&server.front(&Ask::new("GET", "/metrics")).await));
    server.stop().await;
    assert!(!directory.path().join("public.sock").exists());
    let shared = Running::start_with(|settings| {
        settings.listen = socket("both.sock");
        settings.backend_listen = socket("both.sock");
    })
    .await;
    for ask in frontend().iter().chain(&owned) {
        assert!(!is_nothing(&shared.front(ask).await), "{}", ask.target);
    }
}

#[tokio::test]
async fn health_and_metrics() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let get = |path: &str| Ask::new("GET", path);
    assert_eq!(server.back(&get("/healthz")).await.expect(200).text().trim(), "ok");
    server.back(&get("/readyz")).await.expect(200);
    server.back(&Ask::new("HEAD", "/healthz")).await.expect(200);
    let upload = server.ticket(&backend).await;
    upload.put(0, b"01234", 10).await.expect(200);
    upload.put(0, b"01234", 10).await.expect(200);
    upload.put(5, b"56789", 10).await.expect(200);
    upload.reaches("finished").await;
    let text = server.back(&get("/metrics")).await.expect(200).text();
    for line in [
        "incoming_received_bytes_total 15",
        "incoming_acknowledged_bytes_total 10",
        "incoming_tickets_total 1",
        "incoming_finished_total 1",
        "incoming_uploads_open 0",
        "incoming_chunks_in_flight 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    let named = text.lines().filter(|line| !line.starts_with('#'));
    assert!(named.clone().all(|line| line.starts_with("incoming_")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("# TYPE incoming_received_bytes")), "{text}");
    assert!(!text.contains(&upload.id), "ids are capabilities");
}

#[tokio::test]
async fn two_servers_do_not_share_a_directory() {
    let server = Running::start().await;
    let Err(error) = Server::start(server.settings().clone()) else { panic!("a second server") };
    let line = error.to_string();
    assert!(line.contains("storage_dir") && line.contains("another server"), "{line}");
    // The first one has not been disturbed.
    server.lonely_ticket().await;
}

#[tokio::test]
async fn a_unix_socket_needs_a_directory() {
    let server = Running::start().await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let check = |place: &str, why: &str| {
        let mut settings = server.settings().clone();
        settings.storage_dir = directory.path().join("data");
        std::fs::create_dir_all(&settings.storage_dir).unwrap();
        let parent = directory.path().join(place);
        settings.listen = Address::Unix(parent.join("public.sock"));
        let Err(error) = Server::start(settings) else { panic!("it listens in {place}") };
        let line = error.to_string();
        let right = format!("its directory {} must exist: {why}; choose", parent.display());
        assert!(line.starts_with("listen ") && line.contains(&right), "{line}");
        assert!(!parent.is_dir(), "a directory was made");
    };
    check("absent", "it does not exist");
    check("file", "it is not a directory");
}

#[tokio::test]
async fn no_more_connections_than_allowed() {
    use crate::client::Conn;
    let server = Running::start_with(|settings| settings.max_connections = 2).await;
    let upload = server.lonely_ticket().await;
    let mut first = Conn::open(&server.public).await;
    let mut second = Conn::open(&server.public).await;
    for conn in [&mut first, &mut second] {
        conn.ask(&Ask::new("GET", &upload.url)).await.unwrap().expect(200);
    }
    // The third waits in the kernel's queue until one of them ends.
    let mut third = Conn::open(&server.public).await;
    third.send(&Ask::new("GET", &upload.url).head()).await.unwrap();
    first.ask(&Ask::new("GET", &upload.url)).await.unwrap().expect(200);
    drop(second);
    third.reply("GET").await.unwrap().expect(200);
}
