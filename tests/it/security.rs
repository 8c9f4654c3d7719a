//! Protects what docs/security.md promises and no other file here does: what is served can do nothing
//! in a browser, no link planted in the storage directory is followed, logs show no secrets and obey no
//! stranger, a backend's words never reach a browser.

use crate::backend::{Backend, Script};
use crate::child::Program;
use crate::client::{Ask, Reply};
use crate::server::Running;
use crate::until;
use incoming::core::signing::SigningSecrets;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

#[tokio::test]
async fn what_is_served_can_do_nothing_in_a_browser() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let json = |target: &str| Ask::new("GET", target).header("Accept", "application/json");
    let front = [
        Ask::new("GET", &upload.url),
        Ask::new("GET", "/"),
        Ask::new("GET", &format!("{}?state=%3Cscript%3E", upload.url)),
        Ask::new("PATCH", &upload.url),
        Ask::new("POST", &upload.url).body(r#"{"name": "<script>alert(1)</script>"}"#),
        Ask::new("PUT", &upload.url).header("Content-Range", "<script>").body("x"),
        Ask::new("DELETE", &upload.url),
    ];
    let back = [
        Ask::new("GET", "/metrics"),
        Ask::new("GET", "/healthz"),
        Ask::new("GET", "/readyz"),
        Ask::new("GET", "/nothing"),
        Ask::new("POST", "/incoming/backend/new_upload?destType=%3Cscript%3E"),
        Ask::new("POST", "/incoming/backend/cancel_upload?id=%3Cscript%3E"),
        json("/incoming/backend/uploads"),
        json(&format!("/incoming/backend/uploads/{}", upload.id)),
        json("/incoming/backend/uploads?state=%3Cscript%3E"),
    ];
    let check = |ask: &Ask, reply: &Reply| {
        let policy = reply.header("content-security-policy").unwrap_or_default();
        assert!(policy.contains("default-src 'none'"), "{ask:?}: {reply:?}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{ask:?}");
        let media_type = reply.header("content-type").unwrap_or_default();
        assert!(!media_type.contains("html") && !media_type.is_empty(), "{ask:?}: {media_type}");
    };
    for ask in &front {
        check(ask, &server.front(ask).await);
    }
    for ask in &back {
        check(ask, &server.back(ask).await);
    }
    let script = server.front(&Ask::new("GET", "/incoming/frontend/incoming.js")).await;
    assert_eq!(script.header("x-content-type-options"), Some("nosniff"));
}

#[tokio::test]
async fn the_demo_page_runs_its_own_scripts_alone() {
    let directory = tempfile::tempdir().unwrap();
    let demo = Program::start_demo(directory.path(), &[]);
    let ask = |method: &str, target: &str| Ask::new(method, target).header("Host", "localhost");
    let asks = [
        (ask("GET", "/"), 200),
        (ask("GET", "/page.js"), 200),
        (ask("GET", "/api/files"), 200),
        (ask("GET", "/%3Cscript%3E"), 404),
        (ask("PUT", "/"), 405),
        (ask("POST", "/api/tickets?size=%3Cscript%3E"), 400),
        (ask("POST", "/api/tickets").header("Origin", "http://evil.example"), 403),
        (Ask::new("GET", "/").header("Host", "evil.example"), 421),
    ];
    for (ask, status) in asks {
        let reply = crate::client::ask(&demo.public, &ask).await.expect(status);
        let policy = reply.header("content-security-policy").unwrap_or_default().to_owned();
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{ask:?}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{ask:?}");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "{ask:?}");
    }
}

/// Somebody put links where this server's files would lie.
#[tokio::test]
async fn links_in_the_storage_directory_are_not_followed() {
    let backend = Backend::start().await;
    let mut server = Running::start().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(server.ticket(&backend).await.id);
    }
    let [part, journal, read, published] = &ids[..] else { unreachable!() };
    server.upload(read).put(0, b"01234", 10).await.expect(200);
    server.stop().await;
    let data = server.storage();
    let victim = server.directory.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let moved = server.directory.path().join("moved.journal");
    std::fs::rename(data.join(format!("{journal}.journal")), &moved).unwrap();
    let foreign = std::fs::read(&moved).unwrap();
    symlink(&moved, data.join(format!("{journal}.journal"))).unwrap();
    symlink(&victim, data.join(format!("{part}.part"))).unwrap();
    std::fs::remove_file(data.join(format!("{read}.part"))).unwrap();
    symlink(&victim, data.join(format!("{read}.part"))).unwrap();
    symlink(&victim, data.join("files").join(published)).unwrap();

    let server = Running::start_in(Arc::clone(&server.directory), server.settings().clone()).await;
    server.upload(part).put(0, b"evil", 10).await.problem(500, "fault", 16);
    server.upload(read).put(5, b"56789", 10).await.problem(500, "fault", 16);
    server.upload(journal).put(0, b"evil", 10).await.problem(500, "fault", 16);
    server.upload(journal).ask("GET").await.problem(500, "fault", 16);
    // The link gives way to the file.
    let upload = server.upload(published);
    upload.put_whole(b"ours").await.expect(200);
    let calls = backend.calls_for(published, 1).await;
    assert_eq!(calls[0].sha256, Some(crate::content::sha256(b"ours")));
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(std::fs::read(&moved).unwrap(), foreign);
}

/// Ids are bearer capabilities and journals hold secrets: nobody else on this machine may read them.
#[tokio::test]
async fn what_is_stored_is_private() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    upload.put(0, b"01234", 10).await.expect(200);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let data = server.storage();
    assert_eq!((mode(&data), mode(&data.join("files"))), (0o700, 0o700));
    for ending in ["part", "journal"] {
        assert_eq!(mode(&data.join(format!("{}.{ending}", upload.id))), 0o600);
    }
}

/// Characters that a terminal obeys, a line of a log that never was, and text that reads backwards.
const EVIL: &str = "x\r\n2026-01-01T00:00:00Z ERROR fake\u{1b}[2J\u{9b}31m\u{202e}\u{2028}";

/// `s3cret-` and a number, in base64.
const NEW_SECRET: &str = "whsec_czNjcmV0LTEtLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0=";
const OLD_SECRET: &str = "whsec_czNjcmV0LTItLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0=";

/// A handover whose ticket has no secret, and a call of `create_url`, have signatures by both of the server's own secrets.
async fn is_signed_by_the_server(server: &Running, backend: &Backend, url: &str) {
    let unsigned = server.ticket_with(url, &[("metadata", "s3cret-m")]).await;
    unsigned.put_whole(b"file").await.expect(200);
    let create = Ask::new("POST", "/incoming/frontend/tus").header("Tus-Resumable", "1.0.0");
    server.front(&create.header("Upload-Length", "1")).await.expect(503);
    let (ours, calls) = (backend.calls_for(&unsigned.id, 1).await, backend.calls());
    let created = calls.iter().find(|call| call.fields.iter().any(|(name, _)| name == "dialect"));
    for call in [&ours[0], created.expect("a call")] {
        let seconds = call.header("webhook-timestamp").unwrap().parse().unwrap();
        let (id, signature) =
            ["webhook-id", "webhook-signature"].map(|it| call.header(it).unwrap()).into();
        for secret in [NEW_SECRET, OLD_SECRET] {
            let secret = SigningSecrets::parse(secret).unwrap();
            assert!(secret.verify(id, seconds, &call.body, signature), "{signature}");
        }
    }
}

#[tokio::test]
async fn logs_show_no_secrets_and_obey_no_stranger() {
    let backend = Backend::start().await;
    let port = backend.url().rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
    let directory = tempfile::tempdir().unwrap();
    // Of the server's own secrets, both signing handovers of one web app and one signing the call of `create_url`.
    let (own, old) = (NEW_SECRET, OLD_SECRET);
    let create_url = backend.url();
    let settings = [
        ("INCOMING_SIGNING_SECRETS", &*format!("http://127.0.0.1:{port}/ {own} {old}")),
        ("INCOMING_CREATE_SECRET", &*format!("{own} {old}")),
        ("INCOMING_CREATE_URL", &*create_url),
    ];
    let mut program = Program::start_logging(directory.path(), &settings).await;
    let server = Running::of(&program, &Arc::new(tempfile::tempdir().unwrap()));
    let url = format!("http://me:s3cret-p@127.0.0.1:{port}/finished?key=s3cret-q");
    let signing = ("signingSecret", "whsec_czNjcmV0LXMtMDEyMzQ1Njc4OTAxMjM0NTY3ODk=");
    let params =
        [("backendSecret", "s3cret-b"), ("metadata", "s3cret-m"), (EVIL, "s3cret-v"), signing];
    let mut ids = Vec::new();
    let long = EVIL.repeat(20);
    let long: &'static str = Box::leak(long.into_boxed_str());
    let scripts = [
        Script::Answer(200, EVIL),
        Script::Answer(500, EVIL),
        Script::Answer(200, long),
        Script::Raw(b"HTTP/1.1 200 \x1b[2J\r\nX: \x1b\r\n\r\ndone"),
        Script::Raw(b"\x1b[2J nonsense\r\n\r\n"),
        Script::Redirect("http://127.0.0.1:1/".into()),
    ];
    for script in scripts {
        let upload = server.ticket_with(&url, &params).await;
        backend.answer_for(&upload.id, [script]);
        let facts = serde_json::json!({"name": EVIL, "type": EVIL, "length": 4});
        upload.bind(&facts.to_string()).await.expect(200);
        upload.put_whole(b"file").await.expect(200);
        // A browser learns that the web app did not take it, never what it said.
        let calls = backend.calls_for(&upload.id, 1).await;
        assert_eq!(calls[0].field("backendSecret"), "s3cret-b");
        let reason = upload.status().await["reason"].as_str().unwrap_or_default().to_owned();
        assert!(!reason.contains("fake") && !reason.contains("status"), "{reason}");
        ids.push(upload.id);
    }
    is_signed_by_the_server(&server, &backend, &url).await;
    let encoded: String = form_urlencoded::byte_serialize(EVIL.as_bytes()).collect();
    let cancelled = server.ticket_with(&url, &params).await;
    let target = format!("{}?reason={encoded}", cancelled.url);
    server.front(&Ask::new("DELETE", &target)).await.expect(200);
    ids.push(cancelled.id.clone());
    for ask in [
        Ask::new("GET", &format!("/incoming/frontend/uploads/{encoded}")),
        Ask::new("GET", &format!("{}?state={encoded}", cancelled.url)),
        Ask::new("B^|~REW", &cancelled.url),
        Ask::new("PUT", &cancelled.url).header("Content-Range", "bytes \u{9b}31m").body("x"),
    ] {
        server.front(&ask).await;
    }
    let wrong = [("id", ids[0].as_str()), ("backendSecret", "s3cret-x")];
    server.call("cancel_upload", &wrong).await.expect(403);
    let malformed = [("signalFinishURL", &*url), ("signingSecret", "whsec_s3cret-w")];
    let refused = server.call("new_upload", &malformed).await.expect(400);
    assert!(!refused.text().contains("s3cret"));
    until("the calls are logged", async || {
        (program.log().matches("backend call failed").count() >= 6).then_some(())
    })
    .await;
    program.signal(rustix::process::Signal::TERM);
    program.exit_code().await;

    let log = program.log();
    assert!(log.contains("unknown backend parameter") && log.contains("upload cancelled"), "{log}");
    assert!(!log.contains("s3cret") && !log.contains("czNjcmV0") && !log.contains("v1,"), "{log}");
    for id in &ids {
        assert!(log.contains(&id[..8]) && !log.contains(id.as_str()), "{id} in {log}");
        // One search finds them all.
        let lines = log.lines().filter(|line| line.contains(&id[..8]));
        let other = lines.clone().find(|line| !line.contains(&format!(" upload={} ", &id[..8])));
        let requests = lines.filter(|line| line.contains(" route=")).count();
        assert!(other.is_none() && requests > 0, "{other:?}, {requests} requests");
    }
    for line in log.lines() {
        let stamp = line.len() > 20
            && line[..20].bytes().all(|b| b.is_ascii_digit() || b"-:T.".contains(&b));
        assert!(stamp, "a line from elsewhere: {line:?}");
        assert!(!line.contains(incoming::core::name::is_hidden), "{line:?}");
    }
}
