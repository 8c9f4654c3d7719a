//! The line to the server: connections as a browser makes them, and requests with a deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as _;
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::super::endpoint::{Endpoint, Place};
use super::super::http::first_cause;
use super::super::trust::{self, Trust};
use super::body::Steps;
use crate::wire::doctor::observed::{Arrived, Came};

/// For connecting and agreeing on TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest answer read: the doctor's are a few hundred bytes, a proxy's pages a few thousand.
const ANSWER_BYTES: usize = 256 << 10;
/// For the body of an answer whose head has come.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// Which protocols are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// As a browser does: HTTP/2, else HTTP/1.1.
    Both,
    Http1,
}

/// Opens connections to one place.
#[derive(Clone)]
pub(super) struct Line {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
}

/// A connection before anything was sent.
pub(super) struct Opened {
    pub(super) io: Box<dyn Stream>,
    pub(super) http2: bool,
    /// The near end of it.
    pub(super) own: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) http2: bool,
    /// The near end of the connection.
    pub(super) own: SocketAddr,
}

/// Why there was none.
#[derive(Debug)]
pub(super) enum NoReply {
    /// There was no connection.
    Unreachable(String),
    /// The connection ended.
    Broken(String),
    /// It did not come in time.
    Nothing,
}

/// A request: its method, its path with the query, its headers, its body, and how long an answer is waited for.
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Steps,
    pub(super) patience: Duration,
}

impl Ask {
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        let (path, patience) = (path.into(), Duration::from_secs(20));
        Self { method, path, headers: Vec::new(), body: Steps::none(), patience }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn body(mut self, body: Steps) -> Self {
        self.body = body;
        self
    }

    pub(super) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl Reply {
    /// A header's only value, as text; nothing where it comes not at all or twice.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        value.to_str().ok()
    }

    /// The server's account of what arrived, if this is one.
    pub(super) fn arrived(&self) -> Option<Arrived> {
        let arrived: Arrived = serde_json::from_slice(&self.body).ok()?;
        (arrived.doctor == 1).then_some(arrived)
    }

    /// The code of the server's own problem, if this is one.
    pub(super) fn problem(&self) -> Option<String> {
        #[derive(serde::Deserialize)]
        struct Problem {
            r#type: String,
            code: String,
        }
        let problem: Problem = serde_json::from_slice(&self.body).ok()?;
        problem.r#type.starts_with("/incoming/problems/").then_some(problem.code)
    }
}

/// Whose answer it is.
pub(super) fn came(reply: &Result<Reply, NoReply>, own: impl FnOnce(&Reply) -> bool) -> Came {
    match reply {
        Ok(reply) if own(reply) => Came::Own,
        Ok(reply) => Came::Other(reply.status.as_u16()),
        Err(NoReply::Unreachable(_) | NoReply::Broken(_)) => Came::Broken,
        Err(NoReply::Nothing) => Came::Nothing,
    }
}

impl Line {
    /// Blocks on reading trusted roots where it needs any.
    pub(super) fn new(endpoint: Endpoint, trust: Trust, offer: Offer) -> Result<Self, String> {
        let tls = endpoint.tls.then(|| trust::config(trust, b"http/1.1")).transpose();
        let tls = tls.map_err(|error| error.to_string())?.map(|config| {
            let mut config = ClientConfig::clone(&config);
            if offer == Offer::Both {
                config.alpn_protocols.insert(0, b"h2".to_vec());
            }
            Arc::new(config)
        });
        Ok(Self { endpoint, tls })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whose page asks, as browsers say it.
    pub(super) fn origin(&self) -> String {
        let (scheme, usual) = if self.endpoint.tls { ("https", 443) } else { ("http", 80) };
        let authority = self.endpoint.authority();
        let usual = format!(":{usual}");
        format!("{scheme}://{}", authority.strip_suffix(&usual).unwrap_or(&authority))
    }

    pub(super) async fn open(&self) -> Result<Opened, String> {
        let opened = timeout(CONNECT, self.connect()).await;
        let opened = opened.map_err(|_| format!("{}: no connection in time", self.endpoint))?;
        opened.map_err(|why| format!("{}: {why}", self.endpoint))
    }

    async fn connect(&self) -> Result<Opened, String> {
        let Place::Tcp { host, port } = &self.endpoint.place else {
            return Err("the doctor needs a URL".into());
        };
        let text = |error: std::io::Error| error.to_string();
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(text)?;
        stream.set_nodelay(true).map_err(text)?;
        let own = stream.local_addr().map_err(text)?;
        let Some(config) = &self.tls else {
            return Ok(Opened { io: Box::new(stream), http2: false, own });
        };
        let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name, stream).await.map_err(text)?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Opened { io: Box::new(stream), http2, own })
    }

    /// Sends a request on a connection of its own. The server is told by the query who the client believes to be.
    ///
    /// Cancel: the connection is dropped.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Reply, NoReply> {
        let opened = self.open().await.map_err(NoReply::Unreachable)?;
        let broken = |error: hyper::Error| NoReply::Broken(first_cause(&error).to_string());
        let patience = ask.patience;
        let request = self.request(ask, &opened).map_err(NoReply::Broken)?;
        let (http2, own) = (opened.http2, opened.own);
        let io = TokioIo::new(opened.io);
        // The connection ends with this request.
        let (answer, _connection) = if http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder.max_send_buf_size(SEND_BYTES);
            let (mut sender, connection) = builder.handshake(io).await.map_err(broken)?;
            let connection = AbortOnDropHandle::new(tokio::spawn(async move {
                // Its errors reach who waits for the answer.
                let _ = connection.await;
            }));
            (timeout(patience, sender.send_request(request)).await, connection)
        } else {
            let (mut sender, connection) =
                http1::Builder::new().handshake(io).await.map_err(broken)?;
            let connection = AbortOnDropHandle::new(tokio::spawn(async move {
                let _ = connection.await;
            }));
            (timeout(patience, sender.send_request(request)).await, connection)
        };
        let (head, body) = answer.map_err(|_| NoReply::Nothing)?.map_err(broken)?.into_parts();
        let body = timeout(ANSWER_TIME, Limited::new(body, ANSWER_BYTES).collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            // What came of a head is told by it alone.
            Ok(Err(_)) | Err(_) => Bytes::new(),
        };
        Ok(Reply { status: head.status, headers: head.headers, body, http2, own })
    }

    /// `ask` as a request of hyper's.
    fn request(&self, ask: Ask, opened: &Opened) -> Result<Request<Steps>, String> {
        let join = if ask.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{join}caller={}", ask.path, opened.own);
        let mut request = Request::builder().method(ask.method);
        request = if opened.http2 {
            let uri = Uri::builder().scheme("https").authority(self.endpoint.authority());
            request.uri(uri.path_and_query(path).build().map_err(|error| error.to_string())?)
        } else {
            request.uri(path).header(HOST, self.endpoint.authority())
        };
        let own = concat!("incoming-doctor/", env!("CARGO_PKG_VERSION"));
        request = request.header("user-agent", HeaderValue::from_static(own));
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        let length = ask.body.size_hint().exact().filter(|length| *length > 0);
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        request.body(ask.body).map_err(|error| error.to_string())
    }
}

/// What hyper collects of an HTTP/2 body before it writes.
const SEND_BYTES: usize = 1 << 20;

/// TCP, or TLS over it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}
