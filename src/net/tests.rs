//! Real sockets against a served listener. Limits are small where they are waited for and far away
//! where they must not matter.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tls::{CertificateFiles, ClientAuth, TlsFiles, TlsReload};

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(20);
/// What a refused upload still sends.
const REST: usize = 8 << 20;

/// A served listener and what its requests wait for.
struct House {
    address: Address,
    stats: Arc<Stats>,
    drain: CancellationToken,
    gate: Arc<Semaphore>,
    serving: JoinHandle<()>,
    _workers: Workers,
}

impl House {
    fn open(options: Options, tls: Option<Arc<TlsReload>>) -> Self {
        Self::open_at(&"127.0.0.1:0".parse().unwrap(), options, tls)
    }

    fn open_at(address: &Address, options: Options, tls: Option<Arc<TlsReload>>) -> Self {
        let workers = Workers::start(2).unwrap();
        let listener = Listener::bind(address).unwrap();
        let address = listener.local_address().clone();
        let (stats, drain) = (Arc::<Stats>::default(), CancellationToken::new());
        let gate = Arc::new(Semaphore::new(0));
        let options = Arc::new(options);
        let proxy_protocol = None;
        let (stats_too, drain_too) = (Arc::clone(&stats), drain.clone());
        let setup = Setup { tls, proxy_protocol, options, stats: stats_too, drain: drain_too };
        let opened = Arc::clone(&gate);
        let make = move |peer: &Peer| {
            let (peer, gate) = (peer.clone(), Arc::clone(&opened));
            service_fn(move |request| answer(request, peer.clone(), Arc::clone(&gate)))
        };
        let serving = tokio::spawn(serve(listener, setup, &workers, make));
        Self { address, stats, drain, gate, serving, _workers: workers }
    }

    async fn tcp(&self) -> TcpStream {
        let Address::Tcp(address) = self.address else { panic!() };
        TcpStream::connect(address).await.unwrap()
    }

    async fn tls(&self, cert: &Path, alpn: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::CertificateDer::from_pem_file(cert).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.into()];
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, self.tcp().await).await.unwrap()
    }

    /// Drains, and says how long that took.
    async fn close(self) -> Duration {
        let begun = Instant::now();
        self.drain.cancel();
        timeout(LONG, self.serving).await.expect("serve returns").unwrap();
        begun.elapsed()
    }
}

async fn answer(
    request: Request<RequestBody>,
    peer: Peer,
    gate: Arc<Semaphore>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let refused = |text: &str| {
        let body = Full::new(Bytes::from(text.repeat(1000)));
        let answer = Response::builder().status(413).header("connection", "close");
        Ok(answer.body(body).unwrap())
    };
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/echo" => {
            let body = request.into_body().collect().await;
            Ok(Response::new(Full::new(body.map(|all| all.to_bytes()).unwrap_or_default())))
        }
        "/peer" => Ok(Response::new(Full::from(format!("{peer:?}")))),
        "/gate" => {
            gate.acquire().await.unwrap().forget();
            Ok(Response::new(Full::from("through")))
        }
        "/refuse-and-read" => {
            tokio::spawn(async move {
                let mut body = request.into_body();
                while let Some(Ok(_)) = body.frame().await {}
                gate.add_permits(1);
            });
            refused("no")
        }
        "/keep" => {
            // As an upload does whose client has gone.
            tokio::spawn(async move {
                let _kept = request;
                gate.acquire().await.unwrap().forget();
            });
            refused("no")
        }
        _ => refused("no"),
    }
}

fn options() -> Options {
    let far = LONG * 2;
    let limits = Limits { first_byte: far, head: far, idle: far, stalled_write: far, closing: far };
    Options { limits, ..Options::default() }
}

/// Writes a certificate for `localhost` and its key.
fn certificate(dir: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pair = CertificateFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
    std::fs::write(&pair.cert, made.cert.pem()).unwrap();
    std::fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
    TlsFiles {
        pairs: vec![pair],
        client_ca: None,
        client_auth: ClientAuth::Required,
        challenges: None,
    }
}

/// A TLS house; the certificate's file and the directory that must outlive it.
fn tls_house(options: Options) -> (House, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let tls = Arc::new(TlsReload::load(files.clone()).unwrap());
    (House::open(options, Some(tls)), files.pairs[0].cert.clone(), dir)
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").into_bytes()
}

/// Reads one answer with a content-length; head and body.
async fn read_answer<IO: AsyncReadExt + Unpin>(io: &mut IO) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LONG, io.read_u8()).await.expect("an answer comes").unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split_once("content-length: ").unwrap().1;
    let mut body = vec![0; length.split_once("\r\n").unwrap().0.parse().unwrap()];
    timeout(LONG, io.read_exact(&mut body)).await.unwrap().unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Waits until a counter, which other threads move, has this value.
async fn becomes(value: u64, counter: impl Fn() -> u64) {
    let begun = Instant::now();
    while counter() != value {
        assert!(begun.elapsed() < LONG, "{} is not {value}", counter());
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// The peer ends the connection, without a reset.
async fn ends<IO: AsyncReadExt + Unpin>(io: &mut IO) {
    let mut rest = Vec::new();
    timeout(LONG, io.read_to_end(&mut rest)).await.expect("it ends").unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

#[tokio::test]
async fn plain_http1_echoes_and_keeps_the_connection() {
    let house = House::open(options(), None);
    let mut io = house.tcp().await;
    for text in ["first", "second"] {
        let length = text.len();
        let request =
            format!("PUT /echo HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n\r\n{text}");
        io.write_all(request.as_bytes()).await.unwrap();
        let (head, body) = read_answer(&mut io).await;
        assert!(head.starts_with("http/1.1 200 ok") && body == text, "{head}{body}");
    }
    io.write_all(&get("/peer")).await.unwrap();
    let local = io.local_addr().unwrap();
    let peer = Peer {
        address: PeerAddress::Ip(local),
        tls: false,
        client_certificate: None,
        protocol: Protocol::Http1,
    };
    assert_eq!(read_answer(&mut io).await.1, format!("{peer:?}"));
    assert_eq!((house.stats.http1.now(), house.stats.http2.total()), (1, 0));
    let took = house.close().await;
    assert!(took < LONG / 2, "an idle connection ends at once: {took:?}");
    ends(&mut io).await;
}

#[tokio::test]
async fn a_client_that_ends_its_direction_gets_its_answer() {
    let house = House::open(options(), None);
    let mut io = house.tcp().await;
    io.write_all(&get("/gate")).await.unwrap();
    io.shutdown().await.unwrap();
    house.gate.add_permits(1);
    assert_eq!(read_answer(&mut io).await.1, "through");
    ends(&mut io).await;
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    let (house, cert, _dir) = tls_house(options());
    let mut io = house.tls(&cert, "http/1.1").await;
    io.write_all(&get("/peer")).await.unwrap();
    let (_, peer) = read_answer(&mut io).await;
    assert!(peer.contains("tls: true") && peer.contains("protocol: Http1"), "{peer}");

    let io = TokioIo::new(house.tls(&cert, "h2").await);
    let (mut send, conn) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let conn = tokio::spawn(conn);
    let request = |path: &str, body: Vec<u8>| {
        let uri = format!("https://localhost{path}");
        Request::put(uri).body(Full::new(Bytes::from(body))).unwrap()
    };
    let answer = send.send_request(request("/peer", Vec::new())).await.unwrap();
    let peer = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&peer).contains("protocol: Http2"), "{peer:?}");
    let large = vec![7; 3 << 20];
    let answer = send.send_request(request("/echo", large.clone())).await.unwrap();
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == large);
    // A refusal leaves the other streams alone, however much was under way.
    let refused = send.send_request(request("/no", large.clone())).await.unwrap();
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let answer = send.send_request(request("/echo", large.clone())).await.unwrap();
    assert!(answer.into_body().collect().await.unwrap().to_bytes() == large);
    assert_eq!((house.stats.http1.total(), house.stats.http2.now()), (1, 1));
    house.close().await;
    conn.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_idle_http2_connection_ends_in_good_order() {
    let mut options = options();
    options.limits.idle = SHORT;
    let (house, cert, _dir) = tls_house(options);
    let io = TokioIo::new(house.tls(&cert, "h2").await);
    let (mut send, conn) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let conn = tokio::spawn(conn);
    let request = Request::get("https://localhost/gate").body(Full::<Bytes>::default()).unwrap();
    let answer = tokio::spawn(async move { (send.send_request(request).await, send) });
    // A request that takes longer than the idle limit is not idle.
    tokio::time::sleep(SHORT * 4).await;
    house.gate.add_permits(1);
    let (answer, _send) = answer.await.unwrap();
    let body = answer.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "through");
    timeout(LONG, conn).await.expect("the connection ends").unwrap().unwrap();
    assert_eq!(house.stats.overdue.get(), 0);
}

#[tokio::test]
async fn an_http2_peer_that_lets_no_answer_through_ends() {
    let mut options = options();
    options.limits.stalled_write = SHORT;
    let (house, cert, _dir) = tls_house(options);
    let io = TokioIo::new(house.tls(&cert, "h2").await);
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    // Its connection is well all the time: pings and settings are answered.
    let (mut send, conn) = builder.initial_stream_window_size(0).handshake(io).await.unwrap();
    let conn = tokio::spawn(conn);
    let ask = |path: &str| {
        Request::get(format!("https://localhost{path}")).body(Full::<Bytes>::default())
    };
    // While something is being served nobody waits for the peer.
    let served = send.send_request(ask("/gate").unwrap());
    let unread = send.send_request(ask("/peer").unwrap()).await.unwrap();
    tokio::time::sleep(SHORT * 4).await;
    assert_eq!((house.stats.overdue.get(), house.stats.http2.now()), (0, 1));
    house.gate.add_permits(1);
    let served = served.await.unwrap();
    becomes(1, || house.stats.overdue.get()).await;
    becomes(0, || house.stats.http2.now()).await;
    drop((unread, served));
    let _ = timeout(LONG, conn).await.expect("the connection ends");
}

#[tokio::test]
async fn silent_stalled_and_half_said_connections_end() {
    let mut options = options();
    options.limits.first_byte = SHORT;
    options.limits.head = SHORT * 3;
    options.limits.idle = SHORT;
    options.handshake = SHORT * 10;
    let house = House::open(options.clone(), None);
    let mut silent = house.tcp().await;
    ends(&mut silent).await;
    assert_eq!(house.stats.overdue.get(), 1);

    let mut half = house.tcp().await;
    half.write_all(b"GET /echo HTTP/1.1\r\nho").await.unwrap();
    ends(&mut half).await;
    assert_eq!(house.stats.overdue.get(), 2);

    let mut idle = house.tcp().await;
    idle.write_all(&get("/peer")).await.unwrap();
    read_answer(&mut idle).await;
    ends(&mut idle).await;
    assert_eq!((house.stats.overdue.get(), house.stats.http1.total()), (2, 3));

    let (house, cert, _dir) = tls_house(options);
    let mut stalled = house.tcp().await;
    stalled.write_all(&[22, 3, 1]).await.unwrap();
    ends(&mut stalled).await;
    let mut plain = house.tcp().await;
    plain.write_all(&get("/peer")).await.unwrap();
    let mut alert = Vec::new();
    timeout(LONG, plain.read_to_end(&mut alert)).await.unwrap().unwrap();
    becomes(2, || house.stats.tls_failures.get()).await;
    // The handshake's end begins the limit of the first byte.
    let mut quiet = house.tls(&cert, "h2").await;
    let mut greeting = Vec::new();
    let _ = timeout(LONG, quiet.read_to_end(&mut greeting)).await.expect("it ends");
    assert_eq!(house.stats.overdue.get(), 1);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_ends() {
    let mut options = options();
    options.limits.stalled_write = SHORT;
    let house = House::open(options, None);
    let mut io = house.tcp().await;
    let request = format!("PUT /echo HTTP/1.1\r\nhost: here\r\ncontent-length: {REST}\r\n\r\n");
    io.write_all(request.as_bytes()).await.unwrap();
    io.write_all(&vec![1; REST]).await.unwrap();
    becomes(1, || house.stats.overdue.get()).await;
    becomes(0, || house.stats.http1.now()).await;
}

/// An upload that is refused in mid-body and only then goes on, slowly.
async fn refused_upload<IO>(io: IO, path: &str) -> (String, String)
where
    IO: AsyncReadExt + AsyncWriteExt + Unpin,
{
    let mut io = io;
    let head = format!("PUT {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {REST}\r\n\r\n");
    io.write_all(head.as_bytes()).await.unwrap();
    io.write_all(&[1; 1000]).await.unwrap();
    let mut first = [0; 12];
    timeout(LONG, io.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
    // The answer stands; the client has not noticed and sends all the same.
    for _ in 0..64 {
        io.write_all(&vec![1; (REST - 1000) / 64]).await.expect("no reset while it sends");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    io.write_all(&[1; (REST - 1000) % 64]).await.unwrap();
    io.flush().await.unwrap();
    let answer = read_answer(&mut io).await;
    ends(&mut io).await;
    answer
}

#[tokio::test]
async fn an_early_answer_arrives_while_the_service_reads_on() {
    let house = House::open(options(), None);
    let (head, body) = refused_upload(house.tcp().await, "/refuse-and-read").await;
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, "no".repeat(1000));
    timeout(LONG, house.gate.acquire()).await.expect("the whole body was read").unwrap().forget();
    let (house, cert, _dir) = tls_house(options());
    let io = house.tls(&cert, "http/1.1").await;
    assert_eq!(refused_upload(io, "/refuse-and-read").await.1, "no".repeat(1000));
    house.close().await;
}

#[tokio::test]
async fn an_early_answer_arrives_although_the_body_is_dropped() {
    let house = House::open(options(), None);
    let (head, body) = refused_upload(house.tcp().await, "/no").await;
    assert!(head.contains("connection: close") && body == "no".repeat(1000), "{head}");
    let (house, cert, _dir) = tls_house(options());
    let io = house.tls(&cert, "http/1.1").await;
    assert_eq!(refused_upload(io, "/no").await.1, "no".repeat(1000));
}

#[tokio::test]
async fn a_refusal_before_100_continue_costs_no_body() {
    let house = House::open(options(), None);
    let mut io = house.tcp().await;
    let head =
        "PUT /no HTTP/1.1\r\nhost: here\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    io.write_all(head.as_bytes()).await.unwrap();
    let (head, _) = read_answer(&mut io).await;
    assert!(head.starts_with("http/1.1 413"), "{head}");
    ends(&mut io).await;
}

#[tokio::test]
async fn drain_lets_a_running_request_end() {
    let house = House::open(options(), None);
    let mut io = house.tcp().await;
    let mut silent = house.tcp().await;
    io.write_all(&get("/gate")).await.unwrap();
    becomes(2, || house.stats.accepted.now()).await;
    house.drain.cancel();
    ends(&mut silent).await;
    let Address::Tcp(address) = house.address else { panic!() };
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_ok() {
        assert!(begun.elapsed() < LONG, "the socket closes");
        tokio::task::yield_now().await;
    }
    assert!(!house.serving.is_finished());
    house.gate.add_permits(1);
    let (head, body) = read_answer(&mut io).await;
    assert!(head.contains("connection: close") && body == "through", "{head}{body}");
    ends(&mut io).await;
    house.close().await;
}

#[tokio::test]
async fn grace_has_an_end() {
    let house = House::open(Options { shutdown_grace: Grace::new(SHORT), ..options() }, None);
    let mut io = house.tcp().await;
    io.write_all(&get("/gate")).await.unwrap();
    becomes(1, || house.stats.http1.now()).await;
    let stats = Arc::clone(&house.stats);
    assert!(house.close().await < LONG / 2);
    assert_eq!((stats.accepted.now(), stats.http1.now()), (0, 0));
    let mut rest = Vec::new();
    let _ = timeout(LONG, io.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn no_more_connections_than_permits() {
    let house = House::open(Options { max_connections: 1, ..options() }, None);
    let mut first = house.tcp().await;
    first.write_all(&get("/peer")).await.unwrap();
    read_answer(&mut first).await;
    let mut second = house.tcp().await;
    second.write_all(&get("/peer")).await.unwrap();
    assert!(timeout(SHORT, second.read_u8()).await.is_err());
    assert_eq!((house.stats.accepted.now(), house.stats.accepted.total()), (1, 1));
    drop(first);
    read_answer(&mut second).await;
    assert_eq!(house.stats.accepted.total(), 2);
    house.close().await;
}

#[tokio::test]
async fn a_unix_socket_serves_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.sock");
    let house = House::open_at(&Address::Unix(path.clone()), options(), None);
    let mut io = UnixStream::connect(&path).await.unwrap();
    io.write_all(&get("/peer")).await.unwrap();
    assert!(read_answer(&mut io).await.1.contains("address: unix"));
    assert_eq!(refused_upload(io_again(&path).await, "/no").await.1, "no".repeat(1000));
    house.close().await;
    ends(&mut io).await;
    assert!(!path.exists());
}

async fn io_again(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.unwrap()
}

#[tokio::test]
async fn a_bad_new_certificate_leaves_the_old_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let CertificateFiles { cert, key } = files.pairs[0].clone();
    let tls = Arc::new(TlsReload::load(files.clone()).unwrap());
    let old = tls.current();
    std::fs::write(&cert, "-----BEGIN NOTHING-----").unwrap();
    let error = tls.reload().await.unwrap_err().to_string();
    assert!(error.contains(cert.to_str().unwrap()), "{error}");
    assert!(Arc::ptr_eq(&tls.current(), &old));

    let kept = std::fs::read(&key).unwrap();
    certificate(dir.path());
    std::fs::write(&key, kept).unwrap();
    let error = tls.reload().await.unwrap_err().to_string();
    assert!(error.contains("key.pem"), "{error}");
    assert!(Arc::ptr_eq(&tls.current(), &old));

    let stop = CancellationToken::new();
    let watching = tokio::spawn(Arc::clone(&tls).watch(SHORT / 10, stop.clone()));
    tokio::time::sleep(SHORT).await;
    assert!(Arc::ptr_eq(&tls.current(), &old));
    certificate(dir.path());
    let begun = Instant::now();
    while Arc::ptr_eq(&tls.current(), &old) {
        assert!(begun.elapsed() < LONG, "the watch takes what is good again");
        tokio::time::sleep(SHORT / 10).await;
    }
    stop.cancel();
    watching.await.unwrap();

    std::fs::remove_file(&key).unwrap();
    let error = TlsReload::load(files).unwrap_err().to_string();
    assert!(error.contains("key.pem") && error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn a_client_ca_lets_in_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = certificate(dir.path());
    let cert = files.pairs[0].cert.clone();
    files.client_ca = Some(cert.clone());
    let tls = Arc::new(TlsReload::load(files.clone()).unwrap());
    let house = House::open(options(), Some(tls));
    let mut stranger = house.tls(&cert, "http/1.1").await;
    // TLS 1.3: the client learns of its refusal only after it believes the handshake done.
    let _ = stranger.write_all(&get("/peer")).await;
    assert!(timeout(LONG, stranger.read_u8()).await.unwrap().is_err());
    becomes(1, || house.stats.tls_failures.get()).await;
    assert_eq!(house.stats.http1.total(), 0);
}

#[tokio::test]
async fn unread_bytes_count_until_their_body_is_gone() {
    let mut options = options();
    (options.limits.idle, options.limits.closing) = (SHORT, SHORT);
    let memory = Arc::clone(&options.memory);
    let all = memory.left();
    let house = House::open(options, None);
    let mut client = house.tcp().await;
    client
        .write_all(b"PUT /keep HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
        .await
        .unwrap();
    let mut answer = Vec::new();
    client.shutdown().await.unwrap();
    client.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 413"));
    drop(client);
    becomes(0, || house.stats.accepted.now()).await;
    assert!(memory.left() < all, "the body is still held");
    house.gate.add_permits(1);
    becomes(all, || memory.left()).await;
}
