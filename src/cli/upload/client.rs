//! Requests to one listener over HTTP/1.1, on connections that are used again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::super::endpoint::{Endpoint, Place};
use super::super::trust::{self, Trust};
use super::chunk::{Chunk, Gauge};
use super::status::Trouble;

/// For connecting and agreeing on TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a connection that was used may take to be free again: it is, or it is not.
const FREE: Duration = Duration::from_millis(50);
/// How long nothing may move before a request is given up. The longest silence that means no harm is
/// a server's that syncs a chunk to a busy disk.
const STANDSTILL: Duration = Duration::from_secs(90);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The longest answer read: a status with very many ranges.
const ANSWER_BYTES: usize = 4 << 20;
/// Heads of answers.
const HEAD_BYTES: usize = 64 << 10;

const CALLER: HeaderValue =
    HeaderValue::from_static(concat!("incoming-upload/", env!("CARGO_PKG_VERSION")));

/// The body of a request: small, or a chunk.
pub(super) type RequestBody = Either<Full<Bytes>, Chunk>;

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Bytes,
}

type Sender = http1::SendRequest<RequestBody>;

/// Calls one listener.
pub(super) struct Client {
    endpoint: Endpoint,
    host: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
    idle: Mutex<Vec<Sender>>,
}

impl Client {
    /// A client that has not connected yet. Blocks on reading trusted roots where it needs any.
    pub(super) fn new(endpoint: Endpoint, trust: Trust) -> Result<Self, String> {
        let tls = if endpoint.tls { Some(trust::config(trust, b"http/1.1")) } else { None };
        let tls = tls.transpose().map_err(|error| error.to_string())?;
        let host = HeaderValue::try_from(endpoint.authority())
            .map_err(|_| format!("{endpoint} cannot be asked"))?;
        Ok(Self { endpoint, host, tls, idle: Mutex::default() })
    }

    /// Where it calls.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request and reads the whole answer. `patience` is for an answer that is waited for on
    /// purpose. With a chunk, `gauge` is the chunk's.
    ///
    /// Cancel: the connection is dropped; the server may have acted on the request.
    pub(super) async fn call(
        &self,
        mut request: Request<RequestBody>,
        gauge: &Gauge,
        patience: Duration,
    ) -> Result<Answer, Trouble> {
        request.headers_mut().insert(HOST, self.host.clone());
        request.headers_mut().insert(USER_AGENT, CALLER);
        let mut sender = self.connection().await?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(|error| lost(&error))?;
            read(answer).await
        };
        let answer = tokio::select! {
            answer = exchange => answer,
            () = standstill(gauge, patience) => {
                return Err(Trouble::passing(format!("{}: nothing moves", self.endpoint)));
            }
        };
        if let Some(fault) = gauge.fault() {
            return Err(Trouble::Final(fault));
        }
        let answer = answer.map_err(|why| Trouble::passing(format!("{}: {why}", self.endpoint)))?;
        if !sender.is_closed() {
            self.idle().push(sender);
        }
        Ok(answer)
    }

    /// A connection that was used before and still stands, or a new one.
    async fn connection(&self) -> Result<Sender, Trouble> {
        loop {
            // In a step of its own: the lock is not held while waiting.
            let kept = self.idle().pop();
            let Some(mut sender) = kept else { break };
            if let Ok(Ok(())) = timeout(FREE, sender.ready()).await {
                return Ok(sender);
            }
        }
        let passing = |why: String| Trouble::passing(format!("{}: {why}", self.endpoint));
        match timeout(CONNECT, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(passing(format!("no connection within {CONNECT:?}"))),
        }
    }

    async fn connect(&self) -> Result<Sender, Trouble> {
        let broken = |error: std::io::Error| {
            Trouble::passing(format!("cannot connect to {}: {error}", self.endpoint))
        };
        let (host, port) = match &self.endpoint.place {
            Place::Unix(path) => {
                return start(UnixStream::connect(path).await.map_err(broken)?).await;
            }
            Place::Tcp { host, port } => (host, *port),
        };
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(broken)?;
        stream.set_nodelay(true).map_err(broken)?;
        let Some(config) = &self.tls else { return start(stream).await };
        let name = ServerName::try_from(host.clone())
            .map_err(|error| Trouble::Final(format!("{}: {error}", self.endpoint)))?;
        match TlsConnector::from(Arc::clone(config)).connect(name, stream).await {
            Ok(stream) => start(stream).await,
            Err(error) if is_distrust(&error) => Err(Trouble::Final(format!(
                "{} is not trusted: {error} (--insecure takes any certificate)",
                self.endpoint
            ))),
            Err(error) if is_no_tls(&error) => Err(Trouble::Final(format!(
                "{} does not speak TLS: {error}; is it http:// that is meant?",
                self.endpoint
            ))),
            Err(error) => Err(broken(error)),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Sender>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins HTTP on a stream; the connection's task ends with the sender, or when the server closes.
async fn start(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Sender, Trouble> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .writev(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Trouble::passing(lost(&error)))?;
    // Its errors reach those who wait for an answer.
    drop(tokio::spawn(connection));
    Ok(sender)
}

async fn read(answer: Response<hyper::body::Incoming>) -> Result<Answer, String> {
    let (head, body) = answer.into_parts();
    let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(body, ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
    Ok(Answer {
        status: head.status,
        retry_after: after.map(Duration::from_secs),
        body: body.to_bytes(),
    })
}

/// Ends when nothing has moved for too long.
async fn standstill(gauge: &Gauge, patience: Duration) {
    let limit = STANDSTILL + patience;
    let (mut moved, mut still) = (0, Duration::ZERO);
    while still < limit {
        tokio::time::sleep(LOOK).await;
        let now = gauge.moved();
        still = if now == moved { still + LOOK } else { Duration::ZERO };
        moved = now;
    }
}

/// Why a connection broke, in few words: where the system knows, what it says.
fn lost(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return format!("the connection broke: {}", io.kind());
        }
    }
    format!("the connection broke: {cause}")
}

/// Whether what answers speaks something else than TLS, which no retry cures.
fn is_no_tls(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidMessage(_)))
}

/// Whether TLS failed for the server's certificate, which no retry cures.
fn is_distrust(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}
