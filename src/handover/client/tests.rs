//! Calls to a backend made of raw sockets, so that it can misbehave.

use super::*;
use crate::handover::connector::{connect_to_one, tls_config_of};
use rustls::RootCertStore;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::mpsc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

const FAR: Duration = Duration::from_secs(20);

/// A backend that hears one request and says `answer`; what it heard comes back.
async fn backend(answer: impl Into<Vec<u8>>) -> (u16, tokio::task::JoinHandle<String>) {
    let answer = answer.into();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        hear(io, &answer).await
    });
    (port, serving)
}

async fn hear<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO, answer: &[u8]) -> String {
    let mut heard = String::new();
    let mut step = [0; 4096];
    while !heard.ends_with("id=7&cancelled=no") {
        let count = io.read(&mut step).await.unwrap();
        assert_ne!(count, 0, "{heard}");
        heard.push_str(std::str::from_utf8(&step[..count]).unwrap());
    }
    let _ = io.write_all(answer).await;
    let _ = io.shutdown().await;
    heard
}

fn says(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

async fn call(url: &str, timeout: Duration, allow: &[Rule]) -> Result<Answer, CallError> {
    let client = Client::new(Options { timeout, allow: allow.to_vec() });
    client
        .post_idempotent(
            &url.into(),
            "id=7&cancelled=no".to_owned(),
            "key-7",
            HeaderMap::new(),
            Arc::new(()),
        )
        .await
}

async fn check(answer: String, status: u16, word: &str) {
    let (port, _serving) = backend(answer.clone()).await;
    let found = call(&format!("http://127.0.0.1:{port}/"), FAR, &[]).await.unwrap();
    assert_eq!(
        found,
        Answer { status, word: Ok(word.to_owned()), retry_after: None, clock_off: None },
        "{answer:.80}"
    );
}

#[tokio::test]
async fn answers_of_all_kinds() {
    check(says("200 OK", "done"), 200, "done").await;
    check(says("200 OK", " \r\n Done\n"), 200, "done").await;
    check(says("200 OK", "WAIT"), 200, "wait").await;
    check(says("204 No Content", ""), 204, "").await;
    check(says("500 Oops", "<html>"), 500, "<html>").await;
    check("HTTP/1.0 200 OK\r\n\r\ndone".to_owned(), 200, "done").await;
    check("HTTP/1.1 100 Continue\r\n\r\n".to_owned() + &says("200 OK", "done"), 200, "done").await;
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\ndo\r\n2\r\nne\r\n0\r\n\r\n";
    check(chunked.to_owned(), 200, "done").await;
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    check(moved.to_owned(), 302, "").await;
}

#[tokio::test]
async fn long_answers_are_cut_and_never_mistaken() {
    check(says("200 OK", &"x".repeat(64)), 200, &"x".repeat(64)).await;
    check(says("200 OK", &"ä".repeat(65)), 200, &("ä".repeat(63) + "…")).await;
    check(says("404 Gone", &"E".repeat(300_000)), 404, &("e".repeat(63) + "…")).await;
    let hidden = "done".to_owned() + &" ".repeat(70_000) + "not";
    check(says("200 OK", &hidden), 200, "done…").await;
}

#[tokio::test]
async fn the_request_is_what_backends_expect() {
    let (port, serving) = backend(says("200 OK", "done")).await;
    call(&format!("http://me:pass@localhost:{port}/a/b?x=1&y=%20#z"), FAR, &[]).await.unwrap();
    let heard = serving.await.unwrap().to_lowercase();
    assert!(heard.starts_with("post /a/b?x=1&y=%20 http/1.1\r\n"), "{heard}");
    for header in [
        format!("host: localhost:{port}"),
        "content-type: application/x-www-form-urlencoded".to_owned(),
        "content-length: 17".to_owned(),
        "idempotency-key: key-7".to_owned(),
        "authorization: basic bwu6cgfzcw==".to_owned(),
        "accept: text/plain, */*".to_owned(),
        "connection: close".to_owned(),
        format!("user-agent: {CALLER}"),
    ] {
        assert!(heard.contains(&format!("\r\n{header}\r\n")), "{header} in {heard}");
    }
}

#[tokio::test]
async fn issue_13_a_mark_before_the_word_is_passed_over_and_an_encoded_body_is_not_read() {
    check(says("200 OK", "\u{FEFF}done"), 200, "done").await;
    check(says("200 OK", "\u{FEFF}\r\n\u{FEFF}Wait\n"), 200, "wait").await;
    check(says("200 OK", "\"done\""), 200, "done").await;
    let coded = |coding: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: {coding}\r\ncontent-length: 4\r\n\r\ndone")
    };
    check(coded("identity"), 200, "done").await;
    let (port, serving) = backend(coded("gzip")).await;
    let found = call(&format!("http://127.0.0.1:{port}/"), FAR, &[]).await.unwrap();
    assert_eq!(
        found,
        Answer {
            status: 200,
            word: Err(Unreadable::Coded("gzip".to_owned())),
            retry_after: None,
            clock_off: None
        }
    );
    let heard = serving.await.unwrap().to_lowercase();
    assert!(heard.contains("\r\naccept-encoding: identity\r\n"), "{heard}");
}

/// The system's resolver has no deadline of its own that anybody could rely on.
#[tokio::test(start_paused = true)]
async fn issue_13_a_name_look_up_that_hangs_ends_the_call_and_keeps_what_it_holds() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let mut client = Client::new(Options { timeout: Duration::from_secs(55), allow: Vec::new() });
    client.connector.resolver = Resolver::new(move |_, _| {
        let _ = released.lock().unwrap().recv();
        Err(io::Error::other("released"))
    });
    let permit: Permit = Arc::new(());
    let began = tokio::time::Instant::now();
    let error = client
        .post_idempotent(
            &"http://hangs.example/".into(),
            String::new(),
            "k",
            HeaderMap::new(),
            Arc::clone(&permit),
        )
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::Resolve(..)), "{error}");
    assert!(error.to_string().contains("did not answer within 10s"), "{error}");
    assert_eq!(began.elapsed().as_secs(), 10);
    assert_eq!(Arc::strong_count(&permit), 2, "the thread is still there");
    // An address needs no look-up, so it goes on whatever the resolver does.
    let (port, _serving) = backend(says("200 OK", "done")).await;
    let url = format!("http://127.0.0.1:{port}/");
    let form = "id=7&cancelled=no".to_owned();
    let answer =
        client.post_idempotent(&url.into(), form, "key-7", HeaderMap::new(), Arc::new(())).await;
    assert_eq!(answer.unwrap().word.unwrap(), "done");
    drop(release);
    while Arc::strong_count(&permit) > 1 {
        std::thread::yield_now();
    }
}

/// A listener whose queue is full: the kernel drops what knocks, as an address without a route does.
async fn unreachable() -> (TcpListener, Vec<tokio::net::TcpStream>, SocketAddr) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    loop {
        let knock = tokio::net::TcpStream::connect(address);
        match tokio::time::timeout(Duration::from_millis(300), knock).await {
            Ok(stream) => waiting.push(stream.unwrap()),
            Err(_) => return (listener, waiting, address),
        }
    }
}

#[tokio::test]
async fn issue_13_connecting_has_a_deadline_of_its_own() {
    let (_listener, _waiting, address) = unreachable().await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let error =
        call(&format!("http://{address}/"), Duration::from_secs(55), &[]).await.unwrap_err();
    assert!(matches!(error, CallError::Connect(..)), "{error}");
    assert_eq!(began.elapsed().as_secs(), 10, "{error}");
    // Dead addresses of a name leave time for the one that lives.
    let (port, _serving) = backend(says("200 OK", "done")).await;
    let live: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
    let stream = connect_to_one(&[address, address, address, live]).await.unwrap();
    assert_eq!(stream.peer_addr().unwrap(), live);
}

/// hyper reads interim answers without a bound, and a fast peer keeps the task from ever waiting.
#[tokio::test]
async fn endless_interim_answers_end_the_call() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let flood = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut peer, _) = listener.accept().unwrap();
        // Whatever comes before the request is taken for the end of the connection.
        assert!(peer.read(&mut [0; 4096]).unwrap() > 0);
        let hints = "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n".repeat(1000);
        while peer.write_all(hints.as_bytes()).is_ok() {}
    });
    let ended = call(&url, FAR, &[]).await;
    assert!(matches!(ended, Err(CallError::Interim(_, MAX_INTERIM))), "{ended:?}");
    flood.join().unwrap();
}

#[tokio::test]
async fn a_call_has_a_deadline() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://me:secret@{}/x?secret", listener.local_addr().unwrap());
    let error = call(&url, Duration::from_millis(40), &[]).await.unwrap_err();
    assert!(matches!(error, CallError::Timeout(..)));
    let shown = error.to_string();
    assert!(shown.contains("/x within 40ms") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn failures_say_what_failed() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let error = call(&format!("http://{gone}/"), FAR, &[]).await.unwrap_err();
    assert!(matches!(error, CallError::Connect(..)), "{error}");
    let error = call("http://no-such-host.invalid/", FAR, &[]).await.unwrap_err();
    assert!(matches!(error, CallError::Resolve(..)), "{error}");
    for broken in ["", "nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\ndone"] {
        let (port, _serving) = backend(broken).await;
        let error = call(&format!("http://127.0.0.1:{port}/"), FAR, &[]).await.unwrap_err();
        assert!(matches!(error, CallError::Http(..)), "{broken:?}: {error}");
    }
    let (port, serving) = backend("").await;
    let error = call(&format!("https://127.0.0.1:{port}/"), Duration::from_secs(2), &[]).await;
    assert!(matches!(error, Err(CallError::Tls(..) | CallError::Timeout(..))), "{error:?}");
    serving.abort();
    let error = call("gopher://x/", FAR, &[]).await.unwrap_err();
    assert!(matches!(error, CallError::BadUrl(..)), "{error}");
}

async fn check_rules(url: &str, rules: &[Rule], allowed: bool) {
    let (port, _serving) = backend(says("200 OK", "done")).await;
    match call(&url.replace("PORT", &port.to_string()), FAR, rules).await {
        Ok(_) => assert!(allowed, "{url} {rules:?}"),
        Err(CallError::NotAllowed(..)) => assert!(!allowed, "{url} {rules:?}"),
        Err(error) => panic!("{url} {rules:?}: {error}"),
    }
}

#[tokio::test]
async fn rules_judge_the_name_or_the_address_connected_to() {
    let host = |name: &str| [Rule::Host(name.to_owned())];
    let net = |net: &str| [Rule::Net(net.parse().unwrap())];
    check_rules("http://localhost:PORT/", &host("LocalHost"), true).await;
    check_rules("http://127.0.0.1:PORT/", &host("localhost"), false).await;
    check_rules("http://localhost@127.0.0.1:PORT/", &host("localhost"), false).await;
    check_rules("http://localhost:PORT/", &net("127.0.0.0/8"), true).await;
    check_rules("http://localhost:PORT/", &net("10.0.0.0/8"), false).await;
    check_rules("http://[::ffff:127.0.0.1]:PORT/", &net("127.0.0.0/8"), true).await;
    check_rules("http://[::ffff:127.0.0.1]:PORT/", &net("10.0.0.0/8"), false).await;
    check_rules("http://[::ffff:7f00:1]:PORT/", &[], true).await;
    // Other spellings of the loopback are judged by what they resolve to.
    for odd in [
        "http://2130706433:PORT/",
        "http://0x7f.1:PORT/",
        "http://0X7F000001:PORT/",
        "http://127.1:PORT/",
        "http://0177.0.0.1:PORT/",
        "http://017700000001:PORT/",
    ] {
        check_rules(odd, &net("10.0.0.0/8"), false).await;
        check_rules(odd, &net("127.0.0.1/32"), true).await;
    }
    let both = [host("elsewhere")[0].clone(), net("127.0.0.1/32")[0].clone()];
    check_rules("http://localhost:PORT/", &both, true).await;
}

#[test]
fn each_address_of_a_name_is_judged_alone() {
    let client = |nets: &[&str]| {
        let allow = nets.iter().map(|net| Rule::Net(net.parse().unwrap())).collect();
        Client::new(Options { timeout: FAR, allow })
    };
    let url = CallbackUrl::from("http://several.example/");
    let target = url.target().unwrap();
    let found = ["10.1.2.3", "127.0.0.1", "::1", "fd00::7", "64:ff9b::7f00:1", "64:ff9b::a01:203"];
    let found = found.map(|ip| SocketAddr::new(ip.parse().unwrap(), 80));
    let check = |nets: &[&str], expected: &[&str]| {
        let allowed = client(nets).connector.allowed(&target, &found);
        let allowed: Vec<_> = allowed.iter().map(|address| address.ip().to_string()).collect();
        assert_eq!(allowed, expected, "{nets:?}");
    };
    check(&["10.0.0.0/8"], &["10.1.2.3", "64:ff9b::a01:203"]);
    check(&["fd00::/8"], &["fd00::7"]);
    check(&["8.8.8.8/32"], &[]);
    // All of IPv6 is not all of IPv4 behind NAT64.
    check(&["::/0"], &["::1", "fd00::7"]);
    check(&["64:ff9b::/96"], &["64:ff9b::7f00:1", "64:ff9b::a01:203"]);
    check(&["64:ff9b::a00:0/104"], &["64:ff9b::a01:203"]);
}

#[tokio::test]
async fn what_was_reached_is_judged_as_well() {
    // The kernel takes 0.0.0.0 for 127.0.0.1, which this rule does not name.
    let net = |net: &str| Rule::Net(net.parse().unwrap());
    for host in ["0.0.0.0", "0", "0x0", "[::ffff:0.0.0.0]"] {
        let url = format!("http://{host}:PORT/");
        check_rules(&url, &[net("0.0.0.0/32")], false).await;
        check_rules(&url, &[net("127.0.0.1/32")], false).await;
        check_rules(&url, &[net("0.0.0.0/32"), net("127.0.0.0/8")], true).await;
    }
}

#[tokio::test]
async fn https_backends_must_be_who_they_should_be() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let served = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::ring::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .unwrap()
    .with_no_client_auth()
    .with_single_cert(vec![made.cert.der().clone()], key)
    .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(served));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            if let Ok(io) = acceptor.accept(io).await {
                hear(io, says("200 OK", "done").as_bytes()).await;
            }
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut client = Client::new(Options { timeout: FAR, allow: Vec::new() });
    client.connector.tls = OnceCell::new_with(Some(tls_config_of(Arc::new(roots)).unwrap()));
    let good = CallbackUrl::from(format!("https://localhost:{port}/"));
    for _ in 0..2 {
        let answer = client
            .post_idempotent(
                &good,
                "id=7&cancelled=no".to_owned(),
                "key-7",
                HeaderMap::new(),
                Arc::new(()),
            )
            .await;
        assert_eq!(answer.unwrap().word.unwrap(), "done");
    }
    let wrong = client
        .post_idempotent(
            &format!("https://127.0.0.1:{port}/").into(),
            String::new(),
            "k",
            HeaderMap::new(),
            Arc::new(()),
        )
        .await;
    assert!(matches!(wrong, Err(CallError::Tls(..))), "{wrong:?}");
    let untrusting = Client::new(Options { timeout: FAR, allow: Vec::new() });
    let wrong =
        untrusting.post_idempotent(&good, String::new(), "k", HeaderMap::new(), Arc::new(())).await;
    assert!(matches!(wrong, Err(CallError::Tls(..))), "{wrong:?}");
    serving.abort();
}

#[test]
fn credentials_become_basic_authentication() {
    let header = basic("me:p%40ss");
    assert_eq!(header, format!("Basic {}", STANDARD.encode("me:p@ss")));
    assert!(header.is_sensitive());
}
