//! Headers that change what a request means are refused before the body is read, never passed over.

use crate::backend::{Backend, Script};
use crate::client::{Ask, Conn};
use crate::server::Running;
use serde_json::json;

/// Asks with `Expect: 100-continue`, so that it shows whether the body was asked for.
async fn unread(conn: &mut Conn, method: &str, url: &str, lines: &str) -> crate::client::Reply {
    let head = format!(
        "{method} {url} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n{lines}\r\n\r\n"
    );
    conn.send(head.as_bytes()).await.unwrap();
    let reply = conn.reply(method).await.unwrap();
    assert!(reply.interim.is_empty(), "the body was asked for: {method} {url} {lines}");
    reply
}

#[tokio::test]
async fn issue_13_an_encoded_body_is_refused_unread_on_every_call() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let verify = format!("{}/verify", upload.url);
    for (method, url) in [
        ("PUT", &*upload.url),
        ("POST", &upload.url),
        ("DELETE", &upload.url),
        ("POST", &verify),
        ("PUT", "/incoming/frontend/doctor"),
        ("POST", "/incoming/frontend/doctor/findings"),
    ] {
        let mut conn = Conn::open(&server.public).await;
        let reply = unread(&mut conn, method, url, "Content-Encoding: gzip").await;
        assert_eq!(reply.header("accept-encoding"), Some("identity"));
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        let detail = reply.problem(415, "unsupported-encoding", 17);
        assert!(detail.contains("Content-Encoding") && detail.contains("gzip"), "{detail}");
    }
    for name in ["new_upload", "cancel_upload", "finish_upload", "retry_handover", "log"] {
        let mut conn = Conn::open(&server.backend).await;
        let url = format!("/incoming/backend/{name}");
        let reply = unread(&mut conn, "POST", &url, "Content-Encoding: br").await;
        assert_eq!(reply.status, 415, "{name}");
    }
    assert_eq!(upload.status().await["state"], "new");
    let whole = Ask::new("PUT", &upload.url).header("Content-Encoding", "identity").body("bytes");
    server.front(&whole).await.expect(200);
}

#[tokio::test]
async fn issue_13_what_would_make_it_another_request_is_refused() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let cases = [
        ("PUT", "Content-Type: multipart/byteranges; boundary=x", 400),
        ("PUT", "Content-Type: multipart/form-data; boundary=x", 400),
        ("PUT", "Range: bytes=0-9", 400),
        ("PUT", "Upload-Offset: 0", 400),
        ("PUT", "Upload-Complete: yes", 400),
        ("PUT", "If-Match: \"abc\"", 412),
        ("PUT", "If-None-Match: *", 412),
        ("DELETE", "If-Match: \"abc\"", 412),
        ("DELETE", "Content-Range: bytes 0-9/10", 400),
        ("POST", "Content-Range: bytes 0-9/10", 400),
        ("POST", "X-HTTP-Method-Override: DELETE", 400),
        ("POST", "X-HTTP-Method: PUT", 400),
        ("PUT", "Expect: a-pony", 417),
    ];
    for (method, line, status) in cases {
        let mut conn = Conn::open(&server.public).await;
        let reply = unread(&mut conn, method, &upload.url, line).await;
        assert_eq!(reply.status, status, "{method} {line}");
        let problem = reply.json();
        let name = line.split(':').next().unwrap();
        assert!(problem["detail"].as_str().unwrap().contains(name), "{line}: {problem}");
    }
    let status = upload.status().await;
    assert_eq!((&status["state"], &status["received"]), (&json!("new"), &json!([])));
    // What only adds to a request is passed over, as it may be.
    let mut ask = upload.chunk(0, b"bytes", Some(5));
    for (name, value) in [
        ("Digest", "sha-256=AAAA"),
        ("Repr-Digest", "sha-256=:AAAA:"),
        ("Content-MD5", "AAAA"),
        ("If-Match", "*"),
        ("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Upgrade", "h2c"),
    ] {
        ask = ask.header(name, value);
    }
    server.front(&ask).await.expect(200);
}

#[tokio::test]
async fn issue_13_text_that_is_not_utf_8_is_refused_and_a_mark_before_it_passed_over() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let url = backend.url();
    let post = |kind: &str, body: &[u8]| {
        Ask::new("POST", "/incoming/backend/new_upload").header("Content-Type", kind).body(body)
    };
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("signalFinishURL", &url)
        .append_pair("metadata", "ü")
        .finish();
    const FORM: &str = "application/x-www-form-urlencoded";
    let latin = post(&format!("{FORM}; charset=iso-8859-1"), form.as_bytes());
    assert_eq!(server.back(&latin).await.status, 415);
    let latin = post(FORM, format!("{form}&backendSecret=%FC").as_bytes());
    let reply = server.back(&latin).await.expect(400).text();
    assert!(reply.contains("parameter \"backendSecret\" is not UTF-8"), "{reply}");
    let utf16 = post("application/json; charset=utf-16", b"\xFF\xFE{\0}\0");
    assert_eq!(server.back(&utf16).await.status, 415);
    let part = |head: &str| {
        let body = format!(
            "--b\r\nContent-Disposition: form-data; name=\"signalFinishURL\"\r\n{head}\r\n{url}\r\n--b--\r\n"
        );
        post("multipart/form-data; boundary=b", body.as_bytes())
    };
    server.back(&part("")).await.expect(200);
    server.back(&part("Content-Transfer-Encoding: binary\r\n")).await.expect(200);
    let coded = server.back(&part("Content-Transfer-Encoding: base64\r\n")).await;
    assert_eq!(coded.status, 415);
    // A byte order mark is no part of a text.
    let json = format!("\u{FEFF}{}", json!({ "signalFinishURL": url, "metadata": "ü" }));
    server.back(&post("application/json", json.as_bytes())).await.expect(200);
    let marked = format!("\u{FEFF}{form}");
    let id = server.back(&post(FORM, marked.as_bytes())).await.expect(200).text();
    let upload = server.upload(&id);
    upload.bind("\u{FEFF}{\"name\": \"a.txt\", \"length\": 0}").await.expect(200);
    let calls = backend.calls_for(&id, 1).await;
    assert_eq!(calls[0].field("metadata"), "ü");
    assert_eq!(calls[0].field("filenameFromBrowser"), "a.txt");
}

#[tokio::test]
async fn issue_13_a_mark_before_done_is_accepted_and_an_encoded_answer_named() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    for answer in ["\u{FEFF}done", "\u{FEFF}\u{FEFF}\r\nDone\r\n", "\"done\""] {
        let upload = server.ticket(&backend).await;
        backend.answer_for(&upload.id, [Script::Answer(200, answer)]);
        upload.bind(r#"{"length": 0}"#).await.expect(200);
        upload.reaches("finished").await;
        assert_eq!(backend.calls_for(&upload.id, 1).await.len(), 1, "{answer:?}");
    }
    let coded: &[(&[u8], &str)] = &[
        (b"HTTP/1.1 200 X\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\ndone", "gzip"),
        (b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n\xFF\xFEd\0o\0n\0e\0", "UTF-16"),
    ];
    for (answer, named) in coded {
        let upload = server.ticket(&backend).await;
        backend.answer_for(&upload.id, [Script::Raw(answer)]);
        upload.bind(r#"{"length": 0}"#).await.expect(200);
        backend.calls_for(&upload.id, 1).await;
        let reason = crate::until("a reason", async || {
            let status = upload.shown().await;
            status["reason"].as_str().map(str::to_owned)
        });
        let reason = reason.await;
        assert!(reason.contains(named), "{reason}");
        upload.reaches("finished").await;
    }
}
