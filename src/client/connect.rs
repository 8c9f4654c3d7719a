//! Connections to a listener, before HTTP is spoken on them: TCP or a unix socket, and TLS where the endpoint has it.
//!
//! Every connection notes the first bytes of its peer ([`ProtocolSniffer`]): they tell which protocol it speaks where
//! that is not the expected one, which no error of a parser says in words that help.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::{self, Connected};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::endpoint::{Endpoint, Transport};
use super::error::{CallError, ProtocolSniffer, tls_fault};
use crate::core::escape;

/// What a certificate on a unix socket has to name.
const LOCAL: &str = "localhost";
/// For connecting and agreeing on TLS.
const DEADLINE: Duration = Duration::from_secs(15);

/// Which versions of HTTP are offered in TLS. On a plain socket there is no asking: HTTP/2 is spoken where it alone is
/// offered (prior knowledge).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
    /// HTTP/2, else HTTP/1.1, as a browser does.
    Both,
}

/// Makes connections to one endpoint.
#[derive(Clone)]
pub(crate) struct Connector {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    offer: Offer,
    /// That of the connection made last.
    latest: Arc<Mutex<ProtocolSniffer>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The socket cannot be connected.
    #[error("{0}")]
    Socket(io::Error),
    /// The host cannot be the name on a certificate.
    #[error("{0}")]
    Name(InvalidDnsNameError),
    /// The TLS handshake failed.
    #[error("{0}")]
    Tls(io::Error),
    /// The server speaks TLS, but not HTTP/2, which alone was offered.
    #[error("no HTTP/2")]
    NoHttp2,
    /// No connection within the deadline.
    #[error("no connection within {DEADLINE:?}")]
    Timeout,
}

impl Connector {
    /// `tls` is used where the endpoint has TLS; its protocols are set here.
    pub(crate) fn new(endpoint: Endpoint, tls: Option<Arc<ClientConfig>>, offer: Offer) -> Self {
        let tls = tls.filter(|_| endpoint.tls).map(|config| {
            let mut config = Arc::unwrap_or_clone(config);
            let names: &[&[u8]] = match offer {
                Offer::Http1 => &[b"http/1.1"],
                Offer::Http2 => &[b"h2"],
                Offer::Both => &[b"h2", b"http/1.1"],
            };
            config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        });
        Self { endpoint, tls, offer, latest: Arc::default() }
    }

    /// The same, with another offer.
    pub(crate) fn offering(&self, offer: Offer) -> Self {
        Self::new(self.endpoint.clone(), self.tls.clone(), offer)
    }

    /// Where it connects.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the peer of the latest connection said first.
    pub(super) fn latest(&self) -> ProtocolSniffer {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A new connection, within 15 s.
    ///
    /// Cancel: the connection is dropped.
    pub(crate) async fn connect(&self) -> Result<PeerStream, ConnectError> {
        let connected = tokio::time::timeout(DEADLINE, self.dial()).await;
        let stream = connected.map_err(|_| ConnectError::Timeout)??;
        if self.tls.is_some() && self.offer == Offer::Http2 && !stream.http2 {
            return Err(ConnectError::NoHttp2);
        }
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = stream.sniffer.clone();
        Ok(stream)
    }

    async fn dial(&self) -> Result<PeerStream, ConnectError> {
        match &self.endpoint.transport {
            Transport::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(ConnectError::Socket)?;
                self.secure(stream, LOCAL, None).await
            }
            Transport::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(ConnectError::Socket)?;
                stream.set_nodelay(true).map_err(ConnectError::Socket)?;
                let own = stream.local_addr().map_err(ConnectError::Socket)?;
                self.secure(stream, host, Some(own)).await
            }
        }
    }

    async fn secure(
        &self,
        stream: impl Stream + 'static,
        host: &str,
        own: Option<SocketAddr>,
    ) -> Result<PeerStream, ConnectError> {
        let Some(config) = &self.tls else {
            return Ok(PeerStream::new(stream, self.offer == Offer::Http2, own));
        };
        let name = ServerName::try_from(host.to_owned()).map_err(ConnectError::Name)?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, stream).await.map_err(ConnectError::Tls)?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(PeerStream::new(stream, http2, own))
    }
}

/// The pool's way to connections: the URL says no more than the endpoint does.
impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<PeerStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _url: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

impl ConnectError {
    /// As a line about `endpoint`, and whether it may work later.
    pub(crate) fn about(&self, endpoint: &Endpoint) -> CallError {
        match self {
            Self::Socket(error) => {
                let why = format!("cannot connect to {endpoint}: {error}");
                match error.kind() {
                    io::ErrorKind::PermissionDenied => CallError::Permanent(format!(
                        "{why} (only root and the socket's group may connect; for the packages that is the group incoming)"
                    )),
                    _ => CallError::transient(why),
                }
            }
            Self::Name(error) => CallError::Permanent(format!("{endpoint}: {error}")),
            Self::Tls(error) => match tls_fault(error) {
                Some(why) => CallError::Permanent(format!("{endpoint} {why}")),
                None => CallError::transient(format!(
                    "cannot agree on TLS with {endpoint}: {}",
                    escape::excerpt(&error.to_string())
                )),
            },
            Self::NoHttp2 => CallError::Permanent(format!(
                "{endpoint} does not support HTTP/2; leave out --http2"
            )),
            Self::Timeout => CallError::transient(format!("{endpoint}: {self}")),
        }
    }
}

/// TCP, a unix socket, or TLS over either.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on which nothing was asked yet.
pub(crate) struct PeerStream {
    stream: Box<dyn Stream>,
    sniffer: ProtocolSniffer,
    /// Whether HTTP/2 is spoken on it.
    pub(crate) http2: bool,
    /// The near end, where it is TCP.
    pub(crate) own: Option<SocketAddr>,
}

impl PeerStream {
    fn new(stream: impl Stream + 'static, http2: bool, own: Option<SocketAddr>) -> Self {
        Self { stream: Box::new(stream), sniffer: ProtocolSniffer::default(), http2, own }
    }

    /// What its peer says first, as soon as it has.
    pub(crate) fn sniffer(&self) -> ProtocolSniffer {
        self.sniffer.clone()
    }
}

impl connect::Connection for PeerStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(self.sniffer.clone());
        if self.http2 { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.sniffer.note(&buf.filled()[before..], &polled);
        polled
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What is collected before it is written: several of the largest frames of HTTP/1.1.
const SEND_BYTES: usize = 1 << 20;
/// No large bodies are received here.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// A connection that requests are sent on. Its task ends with the last of its clones.
pub(crate) struct Connection<B> {
    sender: Sender<B>,
    task: Arc<AbortOnDropHandle<()>>,
}

enum Sender<B> {
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// Begins HTTP on a stream; its task runs on the runtime that polls this.
    pub(crate) async fn start(stream: PeerStream) -> hyper::Result<Self> {
        let http2 = stream.http2;
        let io = TokioIo::new(stream);
        // Errors of a connection reach those who wait for an answer.
        let (sender, task) = if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .initial_stream_window_size(RECEIVE_WINDOW)
                .initial_connection_window_size(RECEIVE_WINDOW)
                .max_send_buf_size(SEND_BYTES);
            let (sender, connection) = builder.handshake(io).await?;
            (Sender::Http2(sender), tokio::spawn(async { _ = connection.await }))
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(SEND_BYTES).writev(true);
            let (sender, connection) = builder.handshake(io).await?;
            (Sender::Http1(sender), tokio::spawn(async { _ = connection.await }))
        };
        Ok(Self { sender, task: Arc::new(AbortOnDropHandle::new(task)) })
    }

    /// A further sender on the same connection, where the protocol has such a thing.
    pub(crate) fn sibling(&self) -> Option<Self> {
        let Sender::Http2(sender) = &self.sender else { return None };
        Some(Self { sender: Sender::Http2(sender.clone()), task: Arc::clone(&self.task) })
    }

    /// Sends a request to `endpoint`, whose target is a path, as soon as the connection takes one.
    ///
    /// Cancel: the request is dropped; the server may have acted on it.
    pub(crate) async fn send(
        &mut self,
        endpoint: &Endpoint,
        mut request: Request<B>,
    ) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                request.headers_mut().entry(HOST).or_insert_with(|| host(endpoint));
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                *request.uri_mut() = absolute(endpoint, request.uri());
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// The `Host` header of requests to `endpoint`.
pub(super) fn host(endpoint: &Endpoint) -> HeaderValue {
    HeaderValue::try_from(endpoint.authority()).unwrap_or(HeaderValue::from_static("localhost"))
}

/// The path and query of `target` at `endpoint`.
pub(super) fn absolute(endpoint: &Endpoint, target: &Uri) -> Uri {
    let path = target.path_and_query().map_or("/", |path| path.as_str());
    let url = Uri::builder()
        .scheme(if endpoint.tls { "https" } else { "http" })
        .authority(endpoint.authority())
        .path_and_query(path);
    // An authority that is no URL's was refused when the endpoint was read.
    url.build().unwrap_or_else(|_| target.clone())
}
