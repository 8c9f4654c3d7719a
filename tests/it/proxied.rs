//! Protects what a proxy in front says of the client: believed from trusted proxies alone, by PROXY header or by
//! request header, and what is unclear is refused where the address decides.

use crate::client::{Ask, Conn, Place, Reply};
use crate::server::Running;
use incoming::config::{Address, Settings};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A PROXY header of version 2 that names this IPv4 address.
pub fn named(ip: [u8; 4]) -> Vec<u8> {
    [SIGNATURE, &[0x21, 0x11, 0, 12], &ip, &[127, 0, 0, 1, 0x1f, 0x90, 0, 80]].concat()
}

/// A header that says nothing, by this command.
fn nameless(command: u8) -> Vec<u8> {
    [SIGNATURE, &[command, 0, 0, 0]].concat()
}

/// The answer to a request that these bytes go before; none where the connection is closed instead.
async fn after(place: &Place, before: &[u8], ask: &Ask) -> Option<Reply> {
    let mut conn = Conn::open(place).await;
    // One that is refused may be gone before all was sent.
    let sent = conn.send(&[before, &ask.head()].concat()).await;
    let reply = conn.reply(&ask.method).await;
    reply.ok().filter(|_| sent.is_ok())
}

pub async fn status(place: &Place, before: &[u8], ask: &Ask) -> Option<u16> {
    after(place, before, ask).await.map(|reply| reply.status)
}

/// Whether `/metrics` has this line; `before` stands before the request.
async fn metrics_say(server: &Running, before: &[u8], line: &str) {
    let ask = Ask::new("GET", "/metrics");
    let text = after(&server.backend, before, &ask).await.unwrap().expect(200).text();
    assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
}

fn list() -> Ask {
    Ask::new("GET", "/incoming/backend/uploads")
}

#[tokio::test]
async fn a_proxy_header_names_the_client() {
    let server = Running::start_with(|settings| {
        settings.proxy_protocol = true;
        settings.backend_proxy_protocol = true;
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        settings.backend_allow = vec!["192.0.2.0/24".parse().unwrap()];
    })
    .await;
    let script = Ask::new("GET", "/incoming/frontend/incoming.js");
    let (public, backend) = (&server.public, &server.backend);
    assert_eq!(status(public, &named([192, 0, 2, 7]), &script).await, Some(200));
    assert_eq!(status(public, &nameless(0x20), &script).await, Some(200));
    assert_eq!(status(public, &nameless(0x21), &script).await, Some(200));
    assert_eq!(status(public, b"", &script).await, None, "a header is required");
    assert_eq!(status(public, b"PROXY UNKNOWN\r\n", &script).await, None);
    for line in [
        "incoming_proxy_header_failures_total{reason=\"untrusted_peer\"} 0",
        "incoming_proxy_header_failures_total{reason=\"malformed\"} 2",
        "incoming_accept_errors_total 0",
    ] {
        metrics_say(&server, &named([192, 0, 2, 7]), line).await;
    }
    assert_eq!(status(backend, &named([192, 0, 2, 7]), &list()).await, Some(200));
    assert_eq!(status(backend, &named([8, 8, 8, 8]), &list()).await, Some(403));
    // The proxy itself, and somebody whom it does not name.
    assert_eq!(status(backend, &nameless(0x20), &list()).await, Some(403));
    assert_eq!(status(backend, &nameless(0x21), &list()).await, Some(403));
    // Whom the proxy names is no trusted proxy: what it says of others does not count.
    let told = list().header("X-Forwarded-For", "192.0.2.7");
    assert_eq!(status(backend, &named([8, 8, 8, 8]), &told).await, Some(403));
    // One in front of it that is trusted counts.
    assert_eq!(status(backend, &named([127, 0, 0, 1]), &told).await, Some(200));
}

#[tokio::test]
async fn strangers_cannot_name_clients() {
    let server = Running::start_with(|settings| {
        settings.proxy_protocol = true;
        settings.trusted_proxies = vec!["192.0.2.1/32".parse().unwrap()];
    })
    .await;
    let script = Ask::new("GET", "/incoming/frontend/incoming.js");
    assert_eq!(status(&server.public, &named([192, 0, 2, 1]), &script).await, None);
    assert_eq!(status(&server.public, b"", &script).await, None);
    let line = "incoming_proxy_header_failures_total{reason=\"untrusted_peer\"} 2";
    metrics_say(&server, b"", line).await;
    metrics_say(&server, b"", "incoming_accept_errors_total 0").await;
    // The backend's own listener was not asked to have headers.
    assert_eq!(status(&server.backend, b"", &list()).await, Some(200));
    assert_eq!(status(&server.backend, &named([127, 0, 0, 1]), &list()).await, Some(400));
}

#[tokio::test]
async fn whoever_may_open_a_unix_socket_names_clients() {
    let directory = tempfile::tempdir().unwrap();
    let socket = Address::Unix(directory.path().join("both.sock"));
    let server = Running::start_with(|settings| {
        settings.proxy_protocol = true;
        (settings.listen, settings.backend_listen) = (socket.clone(), socket);
    })
    .await;
    // A shared socket lets loopback alone call the backend surface, and the header says who is that.
    assert_eq!(status(&server.public, &named([127, 0, 0, 1]), &list()).await, Some(200));
    assert_eq!(status(&server.public, &named([8, 8, 8, 8]), &list()).await, Some(403));
    assert_eq!(status(&server.public, &nameless(0x21), &list()).await, Some(403));
    assert_eq!(status(&server.public, &nameless(0x20), &list()).await, Some(200));
    assert_eq!(status(&server.public, b"", &list()).await, None);
}

fn behind_loopback(settings: &mut Settings) {
    settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    settings.backend_allow = vec!["192.0.2.0/24".parse().unwrap()];
}

#[tokio::test]
async fn headers_name_the_client_and_must_be_clear() {
    let server = Running::start_with(behind_loopback).await;
    let check = async |lines: &[(&str, &str)], expected: u16| {
        let ask = lines.iter().fold(list(), |ask, (name, value)| ask.header(name, value));
        let reply = server.back(&ask).await;
        assert_eq!(reply.status, expected, "{lines:?}: {}", reply.text());
        reply.text()
    };
    check(&[("Forwarded", "for=192.0.2.7;proto=https;by=127.0.0.1")], 200).await;
    check(&[("Forwarded", "for=192.0.2.7, for=8.8.8.8")], 403).await;
    check(&[("Forwarded", "for=unknown")], 403).await;
    check(&[("X-Forwarded-For", "192.0.2.7:4711")], 200).await;
    check(&[("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")], 200).await;
    let said = check(&[("X-Forwarded-For", "8.8.8.8"), ("Forwarded", "for=192.0.2.7")], 400).await;
    assert!(said.contains("different clients"), "{said}");
    let said = check(&[("Forwarded", "for=192.0.2.7;for=8.8.8.8")], 400).await;
    assert!(said.contains("header Forwarded \"for=192.0.2.7;for=8.8.8.8\""), "{said}");
    check(&[("X-Forwarded-For", "nonsense")], 400).await;
    // Neither the scheme nor the host is read.
    let rest =
        [("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Proto", "?"), ("X-Forwarded-Host", "?")];
    check(&rest, 200).await;
    // Uploads are not judged by address, so nothing unclear about it keeps them away.
    let script = Ask::new("GET", "/incoming/frontend/incoming.js").header("Forwarded", "nonsense");
    server.front(&script).await.expect(200);
}

#[tokio::test]
async fn headers_of_strangers_count_for_nothing() {
    let server = Running::start_with(|settings| {
        behind_loopback(settings);
        settings.trusted_proxies = vec!["192.0.2.1/32".parse().unwrap()];
        settings.backend_allow = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    for (name, value) in
        [("Forwarded", "for=8.8.8.8"), ("X-Forwarded-For", "8.8.8.8"), ("Forwarded", "\"")]
    {
        server.back(&list().header(name, value)).await.expect(200);
    }
}
