//! Real sockets against a served listener. Limits are small where they are waited for and far away
//! where they must not matter.

mod answers;
mod interim;
mod shutdown;
mod timeouts;
mod tls;

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
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tls::{Alpn, CertificateFiles, ClientAuth, TlsFiles, TlsReload};

const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(20);
/// What a refused upload still sends.
const REST: usize = 8 << 20;

/// A served listener and what its requests wait for.
struct TestServer {
    address: Address,
    stats: Arc<Stats>,
    drain: CancellationToken,
    gate: Arc<Semaphore>,
    serving: JoinHandle<()>,
    _workers: Workers,
}

impl TestServer {
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

    async fn tls(&self, cert: &Path, alpn: &str) -> TlsStream<TcpStream> {
        connect_tls(cert, alpn, self.tcp().await).await
    }

    /// Drains, and says how long that took.
    async fn close(self) -> Duration {
        let begun = Instant::now();
        self.drain.cancel();
        timeout(LONG, self.serving).await.expect("serve returns").unwrap();
        begun.elapsed()
    }
}

/// TLS with a server whose certificate is `cert`.
async fn connect_tls<IO>(cert: &Path, alpn: &str, io: IO) -> TlsStream<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
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
    TlsConnector::from(Arc::new(config)).connect(name, io).await.unwrap()
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
        "/interim" => {
            if let Some(answers) = request.body().interim() {
                answers.send("104 Upload Resumption Supported", &interim::headers()).await;
            }
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
        alpn: Alpn::Http2,
    }
}

/// A TLS server; the certificate's file and the directory that must outlive it.
fn tls_server(options: Options) -> (TestServer, PathBuf, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let files = certificate(dir.path());
    let tls = Arc::new(TlsReload::load(files.clone()).unwrap());
    (TestServer::open(options, Some(tls)), files.pairs[0].cert.clone(), dir)
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
