//! Protects what a request's head says before anything is done: one Host that can be one, one coding
//! of the body, digests by the letter. Whoever gets it wrong learns what and where, unread.

use crate::client::{Ask, Conn};
use crate::server::Running;
use crate::until;
use serde_json::json;

/// A body still encoded must not be taken for the bytes of a file.
#[tokio::test]
async fn a_body_is_chunked_once_or_not_at_all() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let cases = [
        ("Transfer-Encoding: gzip, chunked\r\n", "gzip, chunked"),
        ("Transfer-Encoding: foo, chunked\r\n", "foo, chunked"),
        ("Transfer-Encoding: chunked, chunked\r\n", "chunked, chunked"),
        ("Transfer-Encoding: , chunked\r\n", ", chunked"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "chunked, chunked"),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", "gzip, chunked"),
    ];
    for (lines, value) in cases {
        let bytes = format!(
            "PUT {} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{lines}\r\n",
            upload.url
        );
        let mut conn = Conn::open(&server.public).await;
        conn.send(bytes.as_bytes()).await.unwrap();
        let reply = conn.reply("PUT").await.unwrap();
        let detail = reply.problem(400, "bad-request", 1);
        assert!(detail.contains("Transfer-Encoding") && detail.contains(value), "{detail}");
        assert!(reply.interim.is_empty(), "the body was asked for: {lines:?}");
        assert_eq!(reply.header("connection"), Some("close"));
    }
    assert_eq!(upload.received().await, json!([]));
    for value in ["chunked", "Chunked", "CHUNKED"] {
        let mut conn = Conn::open(&server.public).await;
        let ask = Ask::new("PUT", &upload.url).header("Transfer-Encoding", value);
        let ask = ask.header("Content-Range", "bytes 0-3/10");
        conn.send(&ask.head()).await.unwrap();
        conn.send(b"4\r\nfour\r\n0\r\n\r\n").await.unwrap();
        conn.reply("PUT").await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn a_host_is_one() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let ask = async |value: &str| {
        let mut conn = Conn::open(&server.public).await;
        let bytes = format!("GET {} HTTP/1.1\r\nHost: {value}\r\n\r\n", upload.url);
        conn.send(bytes.as_bytes()).await.unwrap();
        conn.reply("GET").await.unwrap()
    };
    for value in [
        "", "a b", "user@a", "a/b", "a?b", "a,b", "a, a", "[::1", "::1]", "x[::1]", "[::1]x",
        "[x]", "a:port", "a:65536", "a:-1", "a:+1", "a:1:2", ":80", "a#b", "a\\b", "a%62", "\"a\"",
    ] {
        let detail = ask(value).await.problem(400, "bad-request", 1);
        let shown = value.escape_debug().to_string();
        assert!(detail.contains("Host") && detail.contains(&shown), "{value:?}: {detail}");
    }
    for value in ["a", "a:80", "a:", "A.example.:65535", "my_backend", "127.0.0.1:1", "[::1]:80"] {
        ask(value).await.expect(200);
    }
}

#[tokio::test]
async fn a_digest_is_by_the_letter_or_refused() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let put = async |values: &[&str]| {
        let mut ask = Ask::new("PUT", &upload.url).header("Content-Range", "bytes 0-9/10");
        for value in values {
            ask = ask.header("Content-Digest", value);
        }
        server.front(&ask.body("0123456789")).await
    };
    let sha = ":hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:";
    for bad in [
        &[&*format!("SHA-256={sha}")][..],
        &[&format!("sha-256 ={sha}")],
        &[&format!("sha-256= {sha}")],
        &[&format!("sha-256={sha},")],
        &[&format!("sha-256={sha}"), ""],
        &["="],
        &[","],
        &[""],
        &["md5=x"],
        &["md5"],
        &["md5=?1"],
    ] {
        let detail = put(bad).await.problem(400, "bad-request", 1);
        let shown = bad[0].trim_end_matches(':');
        let shown = &shown[..shown.len().min(12)];
        assert!(detail.contains("Content-Digest") && detail.contains(shown), "{bad:?}: {detail}");
    }
    assert_eq!(upload.received().await, json!([]));
    put(&[&format!("sha-256={sha};a=1;b=\"x\", md5=:AAAA:")]).await.expect(200);
}

#[tokio::test]
async fn what_decides_comes_once() {
    let server = Running::start_with(|settings| {
        settings.backend_token = Some(incoming::config::Secret::new("tok-en"));
    })
    .await;
    let call = || {
        Ask::new("POST", "/incoming/backend/new_upload?signalFinishURL=http://127.0.0.1:9/")
            .header("Authorization", "Bearer tok-en")
    };
    let form = "application/x-www-form-urlencoded";
    let cases = [
        (call().header("Authorization", "Bearer tok-en"), "Authorization", "once"),
        (call().header("Authorization", "Bearer other"), "Authorization", "once"),
        (
            call().header("Content-Type", form).header("Content-Type", form).body("a=b"),
            "Content-Type",
            "once",
        ),
        (call().header("Content-Type", "text/\u{fc}").body("a=b"), "Content-Type", "plain text"),
    ];
    for (ask, name, why) in cases {
        let line = server.back(&ask).await.expect(400).text();
        assert!(line.contains(name) && line.contains(why), "{ask:?}: {line}");
        assert!(!line.contains("tok-en"), "{line}");
    }
    server.back(&call().header("Content-Type", form).body("a=b")).await.expect(200);
}

/// A page may say what its file is; it may not fill the disk with that, nor keep an upload alive.
#[tokio::test]
async fn what_is_said_of_a_file_is_written_once() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    upload.bind(r#"{"name": "first", "length": 10}"#).await.expect(200);
    let journal = server.storage().join(format!("{}.journal", upload.id));
    let written =
        async || until("a journal", async || std::fs::metadata(&journal).ok()).await.len();
    upload.bind(r#"{"type": "text/plain", "last_modified": 7}"#).await.expect(200);
    let before = written().await;
    let shown = upload.shown().await;
    for n in 0..50 {
        let facts =
            json!({"name": format!("n{n}"), "length": 10, "type": "x/y", "last_modified": n});
        let status = upload.bind(&facts.to_string()).await.expect(200).json();
        assert_eq!(status["name"], "first");
    }
    assert_eq!(written().await, before);
    assert_eq!(upload.shown().await["last_active"], shown["last_active"]);
}
