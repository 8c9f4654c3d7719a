//! Protects whoever gets it wrong: each malformed request is refused with a text that names the
//! header or parameter and its value, and nothing that looks like an id ever names a path.

use crate::client::{Ask, Conn};
use crate::server::Running;
use serde_json::json;

#[tokio::test]
async fn problems_name_what_is_wrong() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let url = &*upload.url;
    let put = |name: &str, value: &str| Ask::new("PUT", url).header(name, value).body("0123456789");
    let range = |value: &str| put("Content-Range", value);
    let bind = |body: &str| Ask::new("POST", url).body(body);
    let get = |query: &str| Ask::new("GET", &format!("{url}?{query}"));
    // Request, what the detail names, and the value in it.
    let cases: Vec<(Ask, &str, &str)> = vec![
        (range("bytes"), "Content-Range", "bytes"),
        (range("bytes 0-9"), "Content-Range", "bytes 0-9"),
        (range("bytes=0-9/10"), "Content-Range", "bytes=0-9/10"),
        (range("items 0-9/10"), "Content-Range", "items 0-9/10"),
        (range("bytes -9/10"), "Content-Range", "bytes -9/10"),
        (range("bytes 0-/10"), "Content-Range", "bytes 0-/10"),
        (range("bytes 9-0/10"), "Content-Range", "bytes 9-0/10"),
        (range("bytes */10"), "Content-Range", "bytes */10"),
        (range("bytes +0-9/10"), "Content-Range", "bytes +0-9/10"),
        (range("bytes 0-9/ten"), "Content-Range", "bytes 0-9/ten"),
        (range("bytes 0-9223372036854775807/*"), "Content-Range", "9223372036854775807"),
        (range("bytes 0-99999999999999999999/*"), "Content-Range", "99999999999999999999"),
        (range("bytes 0-9/10").header("Content-Range", "bytes 0-9/10"), "Content-Range", "once"),
        (put("Content-Range", "bytes 0-9/1\u{e9}"), "Content-Range", "plain text"),
        (put("Content-Digest", "sha-256"), "Content-Digest", "sha-256"),
        (put("Content-Digest", "sha-256=abc"), "Content-Digest", "sha-256=abc"),
        (put("Content-Digest", "sha-256=:AAAA:"), "Content-Digest", "sha-256=:AAAA:"),
        (put("Content-Digest", "sha-512=:!!!!:"), "Content-Digest", "sha-512=:!!!!:"),
        (
            put("Content-Type", "multipart/form-data; boundary=x"),
            "Content-Type",
            "multipart/form-data",
        ),
        (bind("{"), "JSON", ""),
        (bind("[]"), "JSON", ""),
        (bind("name=film.mp4"), "JSON", ""),
        (bind(r#"{"length": -1}"#), "length", "-1"),
        (bind(r#"{"length": 1.5}"#), "length", "1.5"),
        (bind(r#"{"length": "ten"}"#), "length", "ten"),
        (bind(r#"{"length": 9223372036854775807}"#), "length", "9223372036854775807"),
        (bind(r#"{"name": 77}"#), "name", "77"),
        (bind(r#"{"type": 77}"#), "type", "77"),
        (bind(r#"{"last_modified": "yesterday"}"#), "last_modified", "yesterday"),
        (get("wait=soon"), "wait", "soon"),
        (get("wait=-1"), "wait", "-1"),
        (get("wait=NaN"), "wait", "NaN"),
        (get("wait=inf"), "wait", "inf"),
        (get("wait="), "wait", ""),
        (get("wait=1&state=odd"), "state", "odd"),
        (get("state=odd"), "state", "odd"),
    ];
    let mut wrong = String::new();
    for (ask, name, value) in cases {
        let reply = server.front(&ask).await;
        let detail = match reply.header("content-type") {
            Some("application/problem+json") => reply.problem(400, "bad-request", 1),
            _ => format!("{} without a problem", reply.status),
        };
        if !detail.contains(name) || !detail.contains(value) {
            let sent = String::from_utf8_lossy(&ask.body).into_owned();
            wrong += &format!("{} {:?} {sent:?}: {detail:?}\n", ask.target, ask.headers);
        }
    }
    assert!(wrong.is_empty(), "the detail must hold name and value:\n{wrong}");
    let status = upload.status().await;
    assert_eq!((&status["state"], &status["received"]), (&json!("new"), &json!([])));
}

#[tokio::test]
async fn foreign_values_come_back_short_and_escaped() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let long = format!("bytes {}", "9".repeat(5_000));
    let reply = server.front(&Ask::new("PUT", &upload.url).header("Content-Range", &long)).await;
    assert!(reply.problem(400, "bad-request", 1).len() < 300);
    let reply = server.front(&Ask::new("GET", &format!("{}?state=a%0d%0ab%00", upload.url))).await;
    let detail = reply.problem(400, "bad-request", 1);
    assert!(!detail.contains(|c: char| c.is_control()), "{detail:?}");
}

#[tokio::test]
async fn ids_have_one_spelling() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let id = &*upload.id;
    let spellings = [
        id.to_uppercase(),
        id.replace('-', ""),
        format!("{{{id}}}"),
        format!("{id}/"),
        format!("{id}%00"),
        format!("{id}%2f"),
        format!("{id}.part"),
        format!("%2e/{id}"),
        format!("./{id}"),
        format!("/{id}"),
        format!("..%2fuploads%2f{id}"),
        format!("../uploads/{id}"),
        format!("%{:02x}{}", id.as_bytes()[0], &id[1..]),
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd".into(),
        "00000000-0000-4000-8000-000000000000".into(),
        "00000000-0000-0000-0000-000000000000".into(),
        "%00".into(),
        String::new(),
        "x".repeat(5_000),
    ];
    for spelling in spellings {
        for prefix in ["/incoming/", "/incoming/0.1/"] {
            let target = format!("{prefix}frontend/uploads/{spelling}");
            for method in ["GET", "HEAD", "POST", "PUT", "DELETE"] {
                let reply = server.front(&Ask::new(method, &target)).await;
                assert_eq!(reply.status, 404, "{method} {target}");
                if method != "HEAD" {
                    reply.problem(404, "unknown-upload", 4);
                }
            }
        }
    }
    assert_eq!(upload.status().await["state"], "new");
}

#[tokio::test]
async fn raw_bytes_that_are_no_good_request() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let url = &*upload.url;
    // Bytes, status, and what the detail names where the request was good enough to be judged.
    let cases: Vec<(String, u16, Option<&str>)> = vec![
        (format!("GET {url} HTTP/1.1\r\n\r\n"), 400, Some("Host")),
        (format!("GET {url} HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), 400, Some("Host")),
        (
            format!(
                "PUT {url} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
            ),
            400,
            None,
        ),
        (format!("PUT {url} HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd"), 400, None),
        (format!("PUT {url} HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"), 400, None),
        (format!("PUT {url} HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc"), 400, None),
        (format!("PUT {url} HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc"), 400, None),
        (format!("PUT {url} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"), 400, None),
        (format!("GET {url} HTTP/1.1\r\nHost: a\r\nBad Header: x\r\n\r\n"), 400, None),
        (format!("GET {url} HTTP/1.1\r\nHost : a\r\n\r\n"), 400, None),
        (format!("GET {url} HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"), 400, None),
        (format!("GET {url} HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"), 400, None),
        (format!("GET {url}\0 HTTP/1.1\r\nHost: a\r\n\r\n"), 400, None),
        (format!("GET {url} x HTTP/1.1\r\nHost: a\r\n\r\n"), 400, None),
        (format!("GET {url} HTTP/3.7\r\nHost: a\r\n\r\n"), 400, None),
        ("nonsense\r\n\r\n".to_owned(), 400, None),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n".to_owned(), 400, None),
        (format!("GET {url} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100_000)), 431, None),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000)), 414, None),
    ];
    let mut wrong = String::new();
    for (bytes, status, named) in cases {
        let mut conn = Conn::open(&server.public).await;
        // The answer may come before all is sent.
        let _ = conn.send(bytes.as_bytes()).await;
        let shown = &bytes[..bytes.len().min(120)];
        let Ok(reply) = conn.reply("GET").await else {
            wrong += &format!("{shown:?}: no answer\n");
            continue;
        };
        let too_long = [414, 431].contains(&status) && [414, 431].contains(&reply.status);
        if reply.status != status && !too_long {
            wrong +=
                &format!("{shown:?}: {} instead of {status}: {}\n", reply.status, reply.text());
        }
        if let Some(named) = named {
            let detail = reply.problem(400, "bad-request", 1);
            assert!(detail.contains(named), "{shown:?}: {detail}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(upload.received().await, json!([]));
}

/// Two ways to say where a body ends must not let a proxy and this server disagree.
#[tokio::test]
async fn no_request_is_smuggled_behind_another() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let mut conn = Conn::open(&server.public).await;
    let inner = format!("DELETE {} HTTP/1.1\r\nHost: a\r\n\r\n", upload.url);
    let bytes = format!(
        "PUT {} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        upload.url.replace("uploads", "nothing"),
        inner.len() + 5
    );
    conn.send(bytes.as_bytes()).await.unwrap();
    let reply = conn.reply("PUT").await.unwrap();
    assert!((400..500).contains(&reply.status), "{reply:?}");
    // Whoever read by Content-Length saw one request; so only one may be acted on.
    let rest = conn.reply("DELETE").await;
    assert!(rest.is_err(), "a second answer: {rest:?}");
    assert_eq!(upload.status().await["state"], "new");
}

#[tokio::test]
async fn other_forms_of_target_and_version() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    for bytes in [
        format!("GET http://anything{} HTTP/1.1\r\nHost: anything\r\n\r\n", upload.url),
        format!("GET {} HTTP/1.0\r\n\r\n", upload.url),
        format!("\r\nGET {}?unknown=1 HTTP/1.1\r\nHost: a\r\n\r\n", upload.url),
        format!("GET {} HTTP/1.1\r\nhOST: a\r\nX: \u{fc}\r\n\r\n", upload.url),
    ] {
        let mut conn = Conn::open(&server.public).await;
        conn.send(bytes.as_bytes()).await.unwrap();
        assert_eq!(conn.reply("GET").await.unwrap().expect(200).json()["state"], "new");
    }
}

#[tokio::test]
async fn a_bind_is_small() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let body = format!(r#"{{"name": "{}"}}"#, "x".repeat(100_000));
    upload.bind(&body).await.problem(413, "too-large", 11);
    assert_eq!(upload.status().await["state"], "new");
}
