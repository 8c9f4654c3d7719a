//! Connections of the measuring client: HTTP/1.1 or HTTP/2, every knob set by hand.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, HOST, HeaderMap, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::endpoint::{Endpoint, Place};
use super::super::http::first_cause;
use super::super::terminal;
use super::super::trust::{self, Trust};
use super::dialect::RequestBody;
use super::plan::Protocol;

/// For connecting and agreeing on TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// The longest answer to a chunk: a slow line, or a disk that syncs for long.
const ANSWER: Duration = Duration::from_secs(300);
/// The longest answer read: metrics, or a status with very many ranges.
const ANSWER_BYTES: usize = 4 << 20;
/// What hyper collects before it writes: several of the largest frames of HTTP/1.1.
const SEND_BYTES: usize = 1 << 20;
/// Nobody sends bodies here.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Opens connections to one listener.
#[derive(Clone)]
pub(super) struct Connector {
    endpoint: Endpoint,
    protocol: Protocol,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection that requests are sent on.
pub(super) enum Sender {
    Http1(Box<http1::SendRequest<RequestBody>>, HeaderValue),
    /// Streams of one connection: clones share it.
    Http2(http2::SendRequest<RequestBody>, String),
}

impl Connector {
    /// Blocks on reading trusted roots where it needs any.
    pub(super) fn new(
        endpoint: Endpoint,
        protocol: Protocol,
        trust: Trust,
    ) -> Result<Self, String> {
        let alpn: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        let tls = endpoint.tls.then(|| trust::config(trust, alpn)).transpose()?;
        Ok(Self { tls, endpoint, protocol })
    }

    /// A new connection, whose task runs on the runtime that polls this.
    pub(super) async fn open(&self) -> Result<Sender, String> {
        let open = timeout(CONNECT, self.connect()).await;
        let open = open.map_err(|_| format!("{}: connection timed out", self.endpoint))?;
        // A certificate that does not fit is told with its names.
        open.map_err(|why| format!("{}: {}", self.endpoint, terminal::short(&why)))
    }

    async fn connect(&self) -> Result<Sender, String> {
        let (host, port) = match &self.endpoint.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
                return self.start(stream).await;
            }
            Place::Tcp { host, port } => (host, *port),
        };
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(config) = &self.tls else { return self.start(stream).await };
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, stream).await.map_err(|error| error.to_string())?;
        let spoken = stream.get_ref().1.alpn_protocol();
        if self.protocol == Protocol::Http2 && spoken != Some(b"h2") {
            return Err("does not support HTTP/2".into());
        }
        self.start(stream).await
    }

    /// The connection's task ends with its last sender; its errors reach those who wait.
    async fn start(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Sender, String> {
        let io = TokioIo::new(stream);
        match self.protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.max_buf_size(SEND_BYTES).writev(true);
                let (sender, connection) =
                    builder.handshake(io).await.map_err(|error| error.to_string())?;
                drop(tokio::spawn(connection));
                let host = HeaderValue::try_from(self.endpoint.authority());
                Ok(Sender::Http1(Box::new(sender), host.map_err(|error| error.to_string())?))
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .initial_stream_window_size(RECEIVE_WINDOW)
                    .initial_connection_window_size(RECEIVE_WINDOW)
                    .max_send_buf_size(SEND_BYTES);
                let (sender, connection) =
                    builder.handshake(io).await.map_err(|error| error.to_string())?;
                drop(tokio::spawn(connection));
                Ok(Sender::Http2(sender, self.endpoint.authority()))
            }
        }
    }
}

impl Sender {
    /// A further sender on the same connection, where the protocol has such a thing.
    pub(super) fn sibling(&self) -> Option<Self> {
        match self {
            Self::Http1(..) => None,
            Self::Http2(sender, authority) => Some(Self::Http2(sender.clone(), authority.clone())),
        }
    }

    /// Sends a request, whose target is a path, and reads the whole answer.
    pub(super) async fn ask(&mut self, request: Request<RequestBody>) -> Result<Answer, String> {
        timeout(ANSWER, self.exchange(request)).await.map_err(|_| "no answer in time")?
    }

    async fn exchange(&mut self, mut request: Request<RequestBody>) -> Result<Answer, String> {
        let answer = match self {
            Self::Http1(sender, host) => {
                request.headers_mut().insert(HOST, host.clone());
                sender.ready().await.map_err(|error| error.to_string())?;
                sender.send_request(request).await
            }
            Self::Http2(sender, authority) => {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                let uri = Uri::builder().scheme("https").authority(authority.as_str());
                let uri = uri.path_and_query(path).build().map_err(|error| error.to_string())?;
                *request.uri_mut() = uri;
                sender.ready().await.map_err(|error| error.to_string())?;
                sender.send_request(request).await
            }
        };
        let (head, body) = answer.map_err(|error| why(&error))?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| format!("the answer was cut off: {error}"))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// Sends a small request; anything but 2xx is an error.
    pub(super) async fn call(
        &mut self,
        request: hyper::http::request::Builder,
        body: String,
    ) -> Result<Answer, String> {
        let request = request
            .header(ACCEPT, "application/json")
            .body(Either::Left(Full::new(Bytes::from(body))))
            .map_err(|error| error.to_string())?;
        let path = request.uri().to_string();
        let answer = self.ask(request).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(refusal(&path, &answer)) }
    }
}

/// An answer that was not hoped for, in a line.
pub(super) fn refusal(path: &str, answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    format!("{}: {} {}", terminal::short(path), answer.status, terminal::short(&text))
}

fn why(error: &hyper::Error) -> String {
    format!("connection lost: {}", terminal::short(&first_cause(error).to_string()))
}
