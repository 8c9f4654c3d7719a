//! What other servers of resumable uploads got wrong: each test is named after the symptom. A client here uses `104` as iOS
//! does: its URL is all that is left of an upload whose request broke.

use super::{APPEND, ask, complete, stands};
use crate::backend::Backend;
use crate::client::{Ask, Conn};
use crate::content::content;
use crate::server::{Running, Upload};
use crate::tls::{Authority, Http2, certify, connect, files};
use incoming::net::InterimTo;

fn version(ask: Ask, number: &str) -> Ask {
    ask.header("Upload-Draft-Interop-Version", number)
}

/// The whole file in one request, as `version` 6.
fn create(upload: &Upload<'_>, file: &[u8]) -> Ask {
    version(complete(ask("POST", upload), true).body(file), "6")
}

fn value<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// A server behind a proxy that passes on what it is not asked for.
async fn announcing() -> Running {
    Running::start_with(|settings| settings.resumable_104 = InterimTo::Always).await
}

/// A server with a certificate of `authority`.
async fn secure(authority: &Authority, folder: &std::path::Path, http2: bool) -> Running {
    authority.issue(folder, "server");
    Running::start_with(|settings| {
        certify(settings, files(folder));
        settings.http2 = http2;
    })
    .await
}

/// A client has sent the head of a creation, and some bytes once it knew where they go. Then its line broke.
async fn breaks_and_goes_on(server: &Running, mut conn: Conn, backend: &Backend, expects: bool) {
    let upload = server.ticket(backend).await;
    let file = content(90, 300_000);
    let request = create(&upload, &file);
    let request = if expects { request.header("Expect", "100-continue") } else { request };
    conn.send(&request.head()).await.unwrap();
    // Before any byte of the body, and before the client is asked for it.
    let (status, headers) = conn.read_head().await.unwrap();
    assert_eq!(status, 104);
    assert_eq!(value(&headers, "upload-draft-interop-version"), Some("6"));
    let limit = value(&headers, "upload-limit").unwrap();
    assert!(limit.starts_with("min-size=0, max-age="), "{limit}");
    assert_eq!(value(&headers, "content-length"), None);
    let url = value(&headers, "location").unwrap().to_owned();
    assert_eq!(url, ask("GET", &upload).target);
    if expects {
        assert_eq!(conn.read_head().await.unwrap().0, 100);
    }
    conn.send(&file[..120_000]).await.unwrap();
    upload.bytes_read(120_000).await;
    drop(conn);
    let upload = server.upload(url.rsplit('/').next().unwrap());
    stands(&server.front(&version(ask("HEAD", &upload), "6")).await.expect(204), 120_000, "?0");
    let rest = version(ask("PATCH", &upload), "6").header("Content-Type", APPEND);
    let rest = complete(rest.header("Upload-Offset", "120000").body(&file[120_000..]), true);
    let reply = server.front(&rest).await.expect(200);
    stands(&reply, 300_000, "?1");
    assert_eq!(reply.interim, [] as [u16; 0]);
    super::arrives(backend, &upload, &file).await;
}

#[tokio::test]
async fn issue_15_an_upload_that_broke_goes_on_at_the_url_of_its_104() {
    let backend = Backend::start().await;
    for expects in [false, true] {
        let server = announcing().await;
        let conn = Conn::open(&server.public).await;
        breaks_and_goes_on(&server, conn, &backend, expects).await;
    }
}

/// A 104 leaves through a flush of TLS too, and only HTTP/1.1 has one.
#[tokio::test]
async fn issue_15_104_over_tls() {
    let (backend, authority) = (Backend::start().await, Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let server = secure(&authority, folder.path(), true).await;
    let file = content(91, 100_000);
    let upload = server.ticket(&backend).await;
    let stream = connect(&server.public, authority.client(&["http/1.1"], None)).await.unwrap();
    let reply = Conn::over(stream).ask(&create(&upload, &file)).await.unwrap().expect(200);
    assert_eq!(reply.interim, [104]);
    let upload = server.ticket(&backend).await;
    let http2 = Http2::open(&server.public, authority.client(&["h2"], None)).await;
    stands(&http2.ask(&create(&upload, &file)).await.expect(200), 100_000, "?1");
}

/// nginx takes a 104 for the answer: uploads of HTTP/2 clients fail then ("PROTOCOL_ERROR"), which go well without one.
#[tokio::test]
async fn issue_15_a_proxy_that_does_not_know_104_is_sent_none() {
    let (backend, authority) = (Backend::start().await, Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let server = secure(&authority, folder.path(), true).await;
    let check = async |headers: &[(&str, &str)], interim: &[u16]| {
        let upload = server.ticket(&backend).await;
        let request = create(&upload, b"abc");
        let request = headers.iter().fold(request, |ask, (name, value)| ask.header(name, value));
        let stream = connect(&server.public, authority.client(&["http/1.1"], None)).await.unwrap();
        let reply = Conn::over(stream).ask(&request).await.unwrap().expect(200);
        assert_eq!(reply.interim, interim, "{headers:?}");
    };
    check(&[], &[104]).await;
    check(&[("Via", "1.1 proxy")], &[]).await;
    check(&[("X-Forwarded-For", "192.0.2.1")], &[]).await;
    check(&[("Forwarded", "for=192.0.2.1")], &[]).await;
    check(&[("X-Real-IP", "192.0.2.1")], &[]).await;
    let sends = async |when: InterimTo, tls: bool, trusted: bool| {
        let server = Running::start_with(|settings| {
            settings.resumable_104 = when;
            settings.trusted_proxies =
                if trusted { vec!["127.0.0.0/8".parse().unwrap()] } else { Vec::new() };
            if tls {
                certify(settings, files(folder.path()));
            }
        })
        .await;
        let upload = server.ticket(&backend).await;
        let request = create(&upload, b"abc");
        let reply = match tls {
            true => {
                let client = authority.client(&["http/1.1"], None);
                let stream = connect(&server.public, client).await.unwrap();
                Conn::over(stream).ask(&request).await.unwrap()
            }
            false => server.front(&request).await,
        };
        reply.expect(200).interim == [104]
    };
    // Plain HTTP is what proxies speak; clients of the internet come by TLS.
    assert!(!sends(InterimTo::Direct, false, false).await);
    assert!(!sends(InterimTo::Direct, true, true).await);
    assert!(sends(InterimTo::Always, false, true).await);
    assert!(!sends(InterimTo::Never, true, false).await);
}

/// iOS names both protocols and uses what the server picks: with HTTP/2 there is no 104, and no upload goes on.
#[tokio::test]
async fn issue_15_a_listener_that_offers_http_1_1_alone() {
    let (backend, authority) = (Backend::start().await, Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let server = secure(&authority, folder.path(), false).await;
    let file = content(92, 100_000);
    let upload = server.ticket(&backend).await;
    let offers = |names: &[&str]| authority.client(names, None);
    let stream = connect(&server.public, offers(&["h2", "http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let reply = Conn::over(stream).ask(&create(&upload, &file)).await.unwrap().expect(200);
    assert_eq!(reply.interim, [104]);
    // RFC 7301: no protocol in common ends the handshake.
    assert!(connect(&server.public, offers(&["h2"])).await.is_err());
}

/// Go's client, and so Caddy, gives up where more than a few interim answers come ("too many 1xx informational responses"),
/// and Envoy passes on the first alone.
#[tokio::test]
async fn issue_15_one_104_and_before_100_continue() {
    let backend = Backend::start().await;
    let server = announcing().await;
    let file = content(93, 5 << 20);
    let check = async |request: Ask, interim: &[u16]| {
        let reply = server.front(&request).await;
        assert!((200..300).contains(&reply.status), "{}", reply.text());
        assert_eq!(reply.interim, interim, "{request:?}");
    };
    let upload = server.ticket(&backend).await;
    check(create(&upload, &file), &[104]).await;
    let upload = server.ticket(&backend).await;
    check(create(&upload, &file).header("Expect", "100-continue"), &[104, 100]).await;
    let upload = server.ticket(&backend).await;
    let careful = version(complete(ask("POST", &upload), false), "10");
    check(careful, &[104]).await;
    let patch = version(ask("PATCH", &upload), "10").header("Content-Type", APPEND);
    let patch = complete(patch.header("Upload-Offset", "0").body(&*file), true);
    check(patch.header("Expect", "100-continue"), &[100]).await;
    // Who names no version, or one that is not spoken, must get none.
    let plain = |upload: &Upload<'_>| complete(ask("POST", upload), true).body("abc");
    check(plain(&server.ticket(&backend).await), &[]).await;
    check(version(plain(&server.ticket(&backend).await), "11"), &[]).await;
    check(version(plain(&server.ticket(&backend).await), "2"), &[]).await;
    // What is refused is refused at once.
    let refused = version(plain(&upload), "6").header("Upload-Length", "9");
    let reply = server.front(&refused).await.expect(400);
    assert_eq!(reply.interim, [] as [u16; 0]);
}

/// Two creations on one connection, sent in one piece: each has its own.
#[tokio::test]
async fn issue_15_104_of_pipelined_creations() {
    let backend = Backend::start().await;
    let server = announcing().await;
    let (first, second) = (server.ticket(&backend).await, server.ticket(&backend).await);
    let mut sent = Vec::new();
    for upload in [&first, &second] {
        let request = create(upload, &content(94, 50_000));
        sent.extend(request.head());
        sent.extend(&request.body);
    }
    let mut conn = Conn::open(&server.public).await;
    conn.send(&sent).await.unwrap();
    for upload in [&first, &second] {
        let (status, headers) = conn.read_head().await.unwrap();
        assert_eq!(status, 104);
        assert_eq!(value(&headers, "location"), Some(&*ask("GET", upload).target));
        stands(&conn.reply("POST").await.unwrap().expect(200), 50_000, "?1");
    }
}

/// RFC 9110, section 15.2: a client of HTTP/1.0 would take it for the answer.
#[tokio::test]
async fn issue_15_no_104_for_http_1_0() {
    let backend = Backend::start().await;
    let server = announcing().await;
    let upload = server.ticket(&backend).await;
    let head = String::from_utf8(create(&upload, b"abc").head()).unwrap();
    let mut conn = Conn::open(&server.public).await;
    conn.send(head.replace("HTTP/1.1", "HTTP/1.0").as_bytes()).await.unwrap();
    conn.send(b"abc").await.unwrap();
    let reply = conn.reply("POST").await.unwrap().expect(200);
    assert_eq!(reply.interim, [] as [u16; 0]);
    stands(&reply, 3, "?1");
}

/// A draft that is withdrawn, or a client of one that is broken: an operator can leave its version out.
#[tokio::test]
async fn issue_15_the_versions_are_a_setting() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.resumable_versions = vec![6];
        settings.resumable_104 = InterimTo::Always;
    })
    .await;
    let upload = server.ticket(&backend).await;
    let other = version(complete(ask("POST", &upload), true).body("abc"), "8");
    let reply = server.front(&other).await.expect(200);
    assert_eq!((reply.header("upload-draft-interop-version"), &*reply.interim), (None, &[][..]));
    // The field of version 3 alone means nothing then.
    let upload = server.ticket(&backend).await;
    let old = ask("POST", &upload).header("Upload-Incomplete", "?0").body("abc");
    server.front(&version(old, "3")).await.expect(400);
    let reply = server.front(&create(&upload, b"abc")).await.expect(200);
    assert_eq!(reply.header("upload-draft-interop-version"), Some("6"));
    assert_eq!(reply.interim, [104]);
}
