//! One client on one connection: hyper's own, with bodies as browsers frame them.

use crate::place::Place;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONTENT_RANGE, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http1Tls,
    Http2Tls,
}

/// A connection.
pub enum Client {
    Http1(http1::SendRequest<Frames>),
    Http2(http2::SendRequest<Frames>),
}

impl Client {
    /// Connects to the server's public listener.
    pub async fn connect(place: &Place) -> Self {
        let tcp = TcpStream::connect(place.public).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        match place.protocol {
            Protocol::Http1 => Self::http1(tcp).await,
            Protocol::Http1Tls => Self::http1(tls(place, tcp, b"http/1.1").await).await,
            Protocol::Http2Tls => {
                let io = TokioIo::new(tls(place, tcp, b"h2").await);
                let shaken = http2::handshake(TokioExecutor::new(), io).await;
                let (client, connection) = shaken.unwrap();
                tokio::spawn(connection);
                Self::Http2(client)
            }
        }
    }

    async fn http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (client, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
        tokio::spawn(connection);
        Self::Http1(client)
    }

    /// Sends the file in chunks, one after the other. It is said to be a byte longer.
    pub async fn upload(&mut self, id: &str, file: &Bytes, chunk_bytes: u64) {
        let chunk_bytes = usize::try_from(chunk_bytes).unwrap();
        let path = format!("/incoming/frontend/uploads/{id}");
        for start in (0..file.len()).step_by(chunk_bytes) {
            let end = file.len().min(start + chunk_bytes);
            let range = format!("bytes {start}-{}/{}", end - 1, file.len() + 1);
            let request = Request::put(self.target(&path)).header(CONTENT_RANGE, range);
            let chunk = file.slice(start..end);
            let answer = match self {
                Self::Http1(client) => {
                    let request = request.header(HOST, NAME).body(Frames::whole(chunk)).unwrap();
                    client.ready().await.unwrap();
                    client.send_request(request).await
                }
                Self::Http2(client) => {
                    let request = request.body(Frames::small(chunk)).unwrap();
                    client.ready().await.unwrap();
                    client.send_request(request).await
                }
            };
            expect_good(answer.unwrap()).await;
        }
    }

    /// HTTP/2 names the host in the target.
    fn target(&self, path: &str) -> String {
        match self {
            Self::Http1(_) => path.to_owned(),
            Self::Http2(_) => format!("https://{NAME}{path}"),
        }
    }
}

/// Makes a call of the backend's. Answers its text.
pub async fn backend(at: SocketAddr, call: &str) -> String {
    let tcp = TcpStream::connect(at).await.unwrap();
    let (mut client, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("/incoming/backend/{call}")).header(HOST, NAME);
    let answer = client.send_request(request.body(Empty::<Bytes>::new()).unwrap()).await.unwrap();
    let text = expect_good(answer).await;
    drop(client);
    connection.await.unwrap().unwrap();
    text
}

/// A connection to the backend's listener.
pub struct Operator(http1::SendRequest<Empty<Bytes>>);

impl Operator {
    pub async fn connect(at: SocketAddr) -> Self {
        let tcp = TcpStream::connect(at).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (client, connection) = http1::handshake(TokioIo::new(tcp)).await.unwrap();
        tokio::spawn(connection);
        Self(client)
    }

    /// Reads the overview to its end. Answers its text.
    pub async fn overview(&mut self) -> String {
        self.0.ready().await.unwrap();
        let request = Request::get("/incoming/backend/overview").header(HOST, NAME);
        let answer = self.0.send_request(request.body(Empty::new()).unwrap()).await;
        expect_good(answer.unwrap()).await
    }
}

async fn expect_good(answer: Response<hyper::body::Incoming>) -> String {
    let status = answer.status();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    assert!(status == StatusCode::OK || status == StatusCode::NO_CONTENT, "{status} {text}");
    text
}

async fn tls(place: &Place, tcp: TcpStream, alpn: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(place.certificate.clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let mut config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(NAME).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap()
}

/// A body that shares the file's memory.
pub struct Frames {
    rest: Bytes,
    frame: usize,
}

impl Frames {
    /// In one piece: HTTP/1.1 has no frames.
    fn whole(rest: Bytes) -> Self {
        Self { frame: rest.len(), rest }
    }

    /// In frames of 16 KiB, as browsers send them over HTTP/2 whatever the server allows.
    fn small(rest: Bytes) -> Self {
        Self { frame: SMALL_BYTES, rest }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let bytes = self.frame.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

const NAME: &str = "localhost";
/// The largest frame of a client that does not look at what the server allows.
const SMALL_BYTES: usize = 16 << 10;
