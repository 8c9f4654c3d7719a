//! Protects pages of other origins: preflights are answered once for a whole upload, and every
//! answer, errors too, can be read by those who may.

use crate::client::{Ask, Reply};
use crate::server::Running;
use std::collections::BTreeSet;

const PAGE: &str = "https://app.example";

fn words(list: &str) -> BTreeSet<String> {
    list.split(',').map(|word| word.trim().to_ascii_lowercase()).collect()
}

fn assert_readable(reply: &Reply, origin: &str) {
    assert_eq!(reply.header("access-control-allow-origin"), Some(origin), "{reply:?}");
    assert_eq!(reply.header("timing-allow-origin"), Some(origin), "{reply:?}");
    assert_eq!(reply.header("access-control-allow-credentials"), None);
    let exposed = words(&reply.joined("access-control-expose-headers"));
    for name in ["upload-offset", "upload-length", "upload-complete", "retry-after"] {
        assert!(exposed.contains(name), "{name} in {exposed:?}");
    }
}

#[tokio::test]
async fn one_preflight_serves_an_upload() {
    let server = Running::start_with(|settings| {
        settings.max_upload_size = Some(1_000_000);
        settings.max_chunk_size = Some(10_000);
        settings.chunk_size = 10_000;
    })
    .await;
    let upload = server.lonely_ticket().await;
    let ask = Ask::new("OPTIONS", &upload.url)
        .header("Origin", PAGE)
        .header("Access-Control-Request-Method", "PUT")
        .header("Access-Control-Request-Headers", "content-range,x-mine");
    let reply = server.front(&ask).await.expect(204);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("access-control-max-age"), Some("7200"));
    let methods = words(&reply.joined("access-control-allow-methods"));
    for method in ["get", "head", "post", "put", "delete"] {
        assert!(methods.contains(method), "{method} in {methods:?}");
    }
    let headers = words(&reply.joined("access-control-allow-headers"));
    for name in ["content-range", "content-digest", "content-type", "x-mine"] {
        assert!(headers.contains(name), "{name} in {headers:?}");
    }
    assert!(reply.header("allow").unwrap().contains("PUT"));
    let limits = reply.header("upload-limit").unwrap();
    assert!(limits.contains("1000000") && limits.contains("10000"), "{limits}");
}

#[tokio::test]
async fn all_headers_that_are_asked_for_are_allowed() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let allowed = async |lines: &[&str]| {
        let mut ask = Ask::new("OPTIONS", &upload.url).header("Origin", PAGE);
        for line in lines {
            ask = ask.header("Access-Control-Request-Headers", line);
        }
        words(&server.front(&ask).await.expect(204).joined("access-control-allow-headers"))
    };
    let plain = allowed(&[]).await;
    let names = |more: &[&str]| -> BTreeSet<String> {
        plain.iter().cloned().chain(more.iter().map(|&name| name.to_owned())).collect()
    };
    assert_eq!(allowed(&["x-a,x-b", "x-c"]).await, names(&["x-a", "x-b", "x-c"]));
    // What is no list of names is not repeated.
    for bad in [&["x a"][..], &["x-a", "x(b)"], &["x-a\u{fc}"], &["\"x\""], &["x-a;q=1"]] {
        assert_eq!(allowed(bad).await, plain, "{bad:?}");
    }
    // Nor is what no page sends.
    let long = |bytes: usize| format!("x-{}", "a".repeat(bytes - 2));
    assert_eq!(allowed(&[&long(1024)]).await, names(&[&long(1024)]));
    assert_eq!(allowed(&[&long(1025)]).await, plain);
    assert_eq!(allowed(&[&long(600), &long(600)]).await, plain);
}

#[tokio::test]
async fn every_answer_can_be_read() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let gone = server.lonely_ticket().await;
    let get = |url: &str| Ask::new("GET", url).header("Origin", PAGE);
    let put = |range: &str| {
        Ask::new("PUT", &upload.url).header("Origin", PAGE).header("Content-Range", range).body("x")
    };
    let delete = Ask::new("DELETE", &gone.url).header("Origin", PAGE);
    let cases = [
        (get(&upload.url), 200),
        (put("bytes 0-0/10"), 200),
        (delete, 200),
        (Ask::new("PUT", &gone.url).header("Origin", PAGE), 410),
        (put("nonsense"), 400),
        (put("bytes 0-0/11"), 409),
        (put("bytes 5-6/10"), 416),
        (
            get(&upload
                .url
                .to_uppercase()
                .replace("INCOMING/FRONTEND/UPLOADS", "incoming/frontend/uploads")),
            404,
        ),
        (get("/incoming/frontend/uploads/odd"), 404),
        (get("/incoming/0.1/frontend/uploads/odd"), 404),
        (Ask::new("PATCH", &upload.url).header("Origin", PAGE), 405),
        (get("/incoming/frontend/incoming.js"), 200),
        (get("/incoming/frontend/incoming.mjs"), 200),
        (get(&upload.url).header("Host", "a").header("Host", "b"), 400),
    ];
    for (ask, status) in cases {
        let reply = server.front(&ask).await;
        assert_eq!(reply.status, status, "{ask:?}");
        assert_readable(&reply, "*");
    }
    let list = Ask::new("GET", "/incoming/backend/uploads").header("Origin", PAGE);
    let reply = server.back(&list).await.expect(403);
    assert_eq!(
        reply.header("access-control-allow-origin"),
        None,
        "the backend is no page's business"
    );
}

#[tokio::test]
async fn only_origins_on_the_list() {
    let server = Running::start_with(|settings| {
        settings.cors_origins = vec![PAGE.into(), "http://localhost:8000".into()];
    })
    .await;
    let upload = server.lonely_ticket().await;
    for method in ["GET", "OPTIONS", "PATCH"] {
        for origin in [PAGE, "http://localhost:8000"] {
            let reply = server.front(&Ask::new(method, &upload.url).header("Origin", origin)).await;
            assert_eq!(reply.header("access-control-allow-origin"), Some(origin), "{method}");
            assert!(words(&reply.joined("vary")).contains("origin"), "{reply:?}");
        }
        for origin in
            ["https://evil.example", "https://app.example.evil", "http://app.example", "null"]
        {
            let reply = server.front(&Ask::new(method, &upload.url).header("Origin", origin)).await;
            assert_eq!(reply.header("access-control-allow-origin"), None, "{method} {origin}");
            assert!(words(&reply.joined("vary")).contains("origin"), "{reply:?}");
        }
        let reply = server.front(&Ask::new(method, &upload.url)).await;
        assert_eq!(reply.header("access-control-allow-origin"), None);
    }
}
