//! Protects the server against its own doctor: it tells a client what arrived, keeps nothing, and is bounded.

use crate::child::{command, ended};
use crate::client::{Ask, Conn, Place};
use crate::server::Running;
use crate::tls::{Authority, certify, certify_backend, files};
use crate::until;
use serde_json::json;
use std::process::Stdio;

const DOCTOR: &str = "/incoming/frontend/doctor";

fn ask(method: &str, query: &str) -> Ask {
    Ask::new(method, &format!("{DOCTOR}{query}"))
}

#[tokio::test]
async fn tells_what_arrived() {
    let server = Running::start().await;
    let sent = ask("PUT", "?probe=77&caller=192.0.2.1:5")
        .header("Content-Range", "bytes 0-9/100")
        .header("Cookie", "secret")
        .body("0123456789");
    let reply = server.front(&sent).await.expect(200);
    assert_eq!(reply.header("upload-offset"), Some("10"));
    assert_eq!(reply.header("incoming-doctor"), Some("1"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let told = reply.json();
    assert_eq!(
        (&told["doctor"], &told["probe"], &told["method"]),
        (&json!(1), &json!(77), &json!("PUT"))
    );
    assert_eq!(told["headers"], json!({"content-length": "10", "content-range": "bytes 0-9/100"}));
    assert_eq!(told["body"]["bytes"], 10);
    assert!(told["body"]["last_ms"].as_f64() >= told["body"]["first_ms"].as_f64());
    assert_eq!((&told["direct"], &told["client"]), (&json!(false), &json!("loopback")));
    assert_eq!(told["sent"]["upload-offset"], "10");
    assert_eq!(told["sent"]["access-control-allow-origin"], "*");
    for method in ["GET", "HEAD", "POST", "PATCH", "DELETE"] {
        let reply = server.front(&ask(method, "")).await.expect(200);
        // The answer to HEAD has nothing else to tell it by.
        assert_eq!(reply.header("incoming-doctor-method"), Some(method));
        assert_eq!(reply.header("tus-resumable"), Some("1.0.0"));
    }
    let append = ask("PATCH", "")
        .header("Tus-Resumable", "1.0.0")
        .header("Upload-Offset", "5")
        .header("Upload-Metadata", "filename cHJvYmU=")
        .header("Upload-Complete", "?0");
    let told = server.front(&append).await.expect(200).json();
    let arrived = json!({
        "tus-resumable": "1.0.0", "upload-offset": "5", "upload-metadata": "filename cHJvYmU=",
        "upload-complete": "?0",
    });
    assert_eq!(told["headers"], arrived);
    assert!(server.front(&ask("OPTIONS", "")).await.expect(204).joined("allow").contains("DELETE"));
    server.front(&ask("MOVE", "")).await.problem(405, "method-not-allowed", 5);
    // Nothing of it is kept.
    assert_eq!(std::fs::read_dir(server.storage().join("files")).unwrap().count(), 0);
}

#[tokio::test]
async fn sends_an_interim_answer_where_it_is_asked_to() {
    let server = Running::start().await;
    let check = async |query: &str, interim: &[u16]| {
        let reply =
            server.front(&ask("PUT", query).header("Expect", "100-continue").body("x")).await;
        assert_eq!(reply.interim, interim, "{query}");
        let told = reply.expect(200).json();
        assert_eq!(told["interim_sent"], interim.contains(&104));
        assert_eq!(told["limits"]["interim_always"], false);
    };
    check("?interim=1", &[104, 100]).await;
    check("?interim=0", &[100]).await;
    check("", &[100]).await;
    let mut conn = Conn::open(&server.public).await;
    conn.send(format!("GET {DOCTOR}?interim=1 HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
    let reply = conn.reply("GET").await.unwrap().expect(200);
    assert_eq!((&*reply.interim, &reply.json()["interim_sent"]), (&[][..], &json!(false)));
}

#[tokio::test]
async fn whom_it_takes_for_whom() {
    let server = Running::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let told = async |header: Option<(&str, &str)>| {
        let mut ask = ask("GET", "?caller=192.0.2.7:1");
        if let Some((name, value)) = header {
            ask = ask.header(name, value);
        }
        let told = server.front(&ask).await.expect(200).json();
        (told["naming"].clone(), told["client"].clone(), told["client_is_caller"].clone())
    };
    let said = |naming: &str, client: &str, own| (json!(naming), json!(client), json!(own));
    assert_eq!(told(None).await, said("nobody", "loopback", false));
    let named = told(Some(("X-Forwarded-For", "192.0.2.7"))).await;
    assert_eq!(named, said("believed", "192.0.2.7", true));
    // An address of the network behind is nobody's business before it.
    let named = told(Some(("X-Forwarded-For", "10.1.2.3"))).await;
    assert_eq!(named, said("believed", "private", false));
    let (naming, client, _) = told(Some(("X-Forwarded-For", "<script>"))).await;
    assert_eq!((naming, client), (json!("contradiction"), json!("unknown")));
}

#[tokio::test]
async fn refuses_what_it_is_asked_to_refuse() {
    let server = Running::start().await;
    let refused = async |query: &str| server.front(&ask("PUT", query).body("x")).await;
    refused("?refuse=unknown-upload").await.problem(404, "unknown-upload", 4);
    refused("?refuse=length-changed").await.problem(409, "length-changed", 6);
    let reply = refused("?refuse=too-large").await;
    reply.problem(413, "too-large", 11);
    assert!(reply.header("upload-offset").is_some());
    // Nothing that would make a proxy take the server for sick.
    for query in ["?refuse=unavailable", "?refuse=fault", "?refuse=503", "?wait=-1", "?wait=x"] {
        refused(query).await.problem(400, "bad-request", 1);
    }
}

/// By it a client tells the server's answers from a proxy's, those that say no above all.
#[tokio::test]
async fn every_answer_has_the_mark() {
    let server = Running::start().await;
    let check = async |ask: Ask, status: u16| {
        let what = format!("{} {}", ask.method, ask.target);
        let reply = server.front(&ask).await;
        assert_eq!((reply.status, reply.header("incoming-doctor")), (status, Some("1")), "{what}");
    };
    check(ask("GET", ""), 200).await;
    check(ask("HEAD", ""), 200).await;
    check(ask("OPTIONS", ""), 204).await;
    check(ask("MOVE", ""), 405).await;
    check(ask("PUT", "?wait=x").body("x"), 400).await;
    check(ask("PUT", "?refuse=length-changed").body("x"), 409).await;
    check(ask("GET", "").header("Host", "a@b"), 400).await;
    check(ask("POST", "/findings").body("{}"), 200).await;
    check(ask("POST", "/findings").body("[]"), 400).await;
    check(ask("POST", "/findings").body("x".repeat(70_000)), 413).await;
    check(ask("OPTIONS", "/findings"), 204).await;
    check(ask("GET", "/findings"), 405).await;
    // Nobody else's answer has it.
    let reply = server.front(&Ask::new("GET", "/incoming/frontend/incoming.js")).await;
    assert_eq!(reply.header("incoming-doctor"), None);
}

#[tokio::test]
async fn serves_few_at_a_time() {
    let server = Running::start().await;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut conn = Conn::open(&server.public).await;
        let head = format!("PUT {DOCTOR} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n");
        conn.send(head.as_bytes()).await.unwrap();
        held.push(conn);
    }
    until("one address has its share", async || {
        let reply = server.front(&ask("GET", "")).await;
        (reply.status == 429).then(|| {
            reply.problem(429, "too-many", 13);
            assert_eq!(reply.header("incoming-doctor"), Some("1"));
        })
    })
    .await;
    // Uploads and judgements of others go on; those who are gone leave their places.
    server.lonely_ticket().await.put(0, b"0123456789", 100).await.expect(200);
    drop(held);
    until("a place is free", async || {
        (server.front(&ask("GET", "")).await.status == 200).then_some(())
    })
    .await;
}

/// A wait that nobody stays for is not noticed before its end; it must not keep others out.
#[tokio::test]
async fn those_who_wait_keep_nobody_out() {
    let server = Running::start().await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut conn = Conn::open(&server.public).await;
        let head = format!("GET {DOCTOR}?wait=50 HTTP/1.1\r\nHost: a\r\n\r\n");
        conn.send(head.as_bytes()).await.unwrap();
        waiting.push(conn);
    }
    for _ in 0..20 {
        server.front(&ask("GET", "")).await.expect(200);
        server.front(&ask("POST", "/findings").body("{}")).await.expect(200);
    }
}

#[tokio::test]
async fn takes_no_more_than_a_probe() {
    let server = Running::start().await;
    let mut conn = Conn::open(&server.public).await;
    let bytes: usize = 161 << 20;
    let head = format!("PUT {DOCTOR} HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
    conn.send(head.as_bytes()).await.unwrap();
    let piece = vec![0; 1 << 20];
    for _ in 0..bytes >> 20 {
        // The answer may come before all is sent.
        if conn.send(&piece).await.is_err() {
            break;
        }
    }
    conn.reply("PUT").await.unwrap().problem(413, "too-large", 11);
}

#[tokio::test]
async fn judges_what_a_client_has_seen() {
    let server = Running::start().await;
    let judge = async |seen: &str| server.front(&ask("POST", "/findings").body(seen)).await;
    assert_eq!(judge("{}").await.expect(200).json(), json!({"findings": []}));
    let seen = r#"{"proxy": "nginx", "paced": {"paused_ms": 1000, "last_ms": 3}}"#;
    let told = judge(seen).await.expect(200).json();
    assert_eq!(told["findings"][0]["code"], "request-buffered");
    let cure = json!([{"program": "nginx", "line": "proxy_request_buffering off;"}]);
    assert_eq!(told["findings"][0]["cures"], cure);
    for bad in ["", "[]", r#"{"proxy": "<b>"}"#, r#"{"methods": 1}"#] {
        judge(bad).await.problem(400, "bad-request", 1);
    }
    judge(&format!(r#"{{"x": "{}"}}"#, "y".repeat(70_000))).await.problem(413, "too-large", 11);
    server.front(&ask("GET", "/findings")).await.problem(405, "method-not-allowed", 5);
}

#[tokio::test]
async fn the_command_says_how_to_trust_a_certificate() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue(folder.path(), "server");
    authority.write(&folder.path().join("ca.pem"));
    Authority::new().write(&folder.path().join("other.pem"));
    let tls = files(folder.path());
    let server = Running::start_with(|settings| certify(settings, tls)).await;
    let Place::Tcp(address) = server.public else { panic!("not on TCP") };
    let go = async |trust: &str| {
        let mut go = command(folder.path());
        go.args(["doctor", &format!("https://{address}"), "--http1", "--idle", "0"]);
        go.args(["--largest", "1KiB"]).args(trust.split_whitespace()).stdout(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || ended(go)).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, _, error) = go("--ca other.pem").await;
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("has an untrusted certificate") && error.contains("--ca"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for trust in ["--ca ca.pem", "--insecure"] {
        let (code, said, error) = go(trust).await;
        assert_eq!((code, said.contains("Nothing is wrong.")), (Some(0), true), "{said}{error}");
    }
}

/// The usual mistakes, in the words of the other commands.
#[tokio::test]
async fn the_command_says_what_a_listener_wants() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue(folder.path(), "server");
    authority.write(&folder.path().join("ca.pem"));
    let (tls, ca) = (files(folder.path()), folder.path().join("ca.pem"));
    let server = Running::start_with(|settings| {
        certify_backend(settings, tls);
        settings.backend_tls_client_ca = Some(ca);
    })
    .await;
    let Place::Tcp(address) = server.backend else { panic!("not on TCP") };
    for (line, says) in [
        (format!("https://{address} --ca ca.pem"), "requires a client certificate (--cert and"),
        (format!("http://{address}"), "speaks TLS; did you mean https://?"),
        (format!("http://{address} --ca absent.pem"), "--ca absent.pem has no effect"),
    ] {
        let mut go = command(folder.path());
        go.arg("doctor").args(line.split_whitespace()).stdout(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || ended(go)).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains(says), "{line}: {said}");
    }
}

#[tokio::test]
async fn can_be_switched_off() {
    let server = Running::start_with(|settings| settings.doctor = false).await;
    for path in ["", "/findings"] {
        let reply = server.front(&ask("POST", path)).await;
        reply.problem(404, "unknown-upload", 4);
        assert_eq!(reply.header("incoming-doctor"), None);
    }
    server.back(&ask("GET", "")).await.expect(404);
}
