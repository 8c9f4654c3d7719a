//! One listener, and the connections to it.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::time::timeout;

use super::dial::{NotDialed, Stream, dial};
use super::gauge::Gauge;
use super::heard::{Heard, Listening};
use super::trouble::{Trouble, broke, lost, tls_fault};
use crate::cli::endpoint::Endpoint;
use crate::cli::terminal;
use crate::cli::trust::Credentials;

/// For connecting and agreeing on TLS.
const CONNECT: Duration = Duration::from_secs(15);
/// How long a connection that was used may take to be free again: it is, or it is not.
const FREE: Duration = Duration::from_millis(50);
/// How long nothing may move before a request is given up. The longest silence that means no harm is
/// a server's that syncs a chunk to a busy disk.
const STANDSTILL: Duration = Duration::from_secs(90);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// The longest answer read, where nobody asks for more: a status with very many ranges has 200 KiB.
const ANSWER_BYTES: usize = 1 << 20;
/// Heads of answers.
const HEAD_BYTES: usize = 64 << 10;
/// What HTTP/2 collects before it writes.
const SEND_BYTES: usize = 1 << 20;
/// What asks for another version of HTTP: without it HTTP/1.1 is spoken, which hardly anybody refuses.
const OTHER_HTTP: &str = "--http2 asks for HTTP/2";
/// Nobody sends large bodies here.
const RECEIVE_WINDOW: u32 = 1 << 20;

const CALLER: HeaderValue =
    HeaderValue::from_static(concat!("incoming/", env!("CARGO_PKG_VERSION")));

/// What the server answered.
#[derive(Debug)]
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: StatusCode,
    pub(in crate::cli) retry_after: Option<Duration>,
    pub(in crate::cli) location: Option<String>,
    pub(in crate::cli) body: Bytes,
}

/// Which HTTP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Protocol {
    Http1,
    /// Over TLS where both agree on it; on a plain socket without asking (prior knowledge).
    Http2,
}

/// A connection that requests are sent on.
enum Sender<B> {
    Http1(http1::SendRequest<B>),
    Http2(http2::SendRequest<B>),
}

struct Line<B> {
    sender: Sender<B>,
    heard: Heard,
}

/// Calls one listener.
pub(in crate::cli) struct Client<B> {
    endpoint: Endpoint,
    protocol: Protocol,
    host: HeaderValue,
    tls: Option<Arc<ClientConfig>>,
    /// Connections that nobody uses now; of HTTP/2 one is there for all.
    idle: Mutex<Vec<Line<B>>>,
    /// Whether there was an answer, ever.
    spoken: AtomicBool,
    /// The longest answer read.
    answer_bytes: usize,
}

impl<B> Client<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// A client that has not connected yet. Blocks on reading certificates where it needs any.
    pub(in crate::cli) fn new(
        endpoint: Endpoint,
        protocol: Protocol,
        credentials: &Credentials,
    ) -> Result<Self, String> {
        let alpn: &[u8] = match protocol {
            Protocol::Http1 => b"http/1.1",
            Protocol::Http2 => b"h2",
        };
        let tls = endpoint.tls.then(|| credentials.config(alpn)).transpose()?;
        let host = HeaderValue::try_from(endpoint.authority())
            .map_err(|_| format!("cannot build a request for {endpoint}"))?;
        Ok(Self {
            endpoint,
            protocol,
            host,
            tls,
            idle: Mutex::default(),
            spoken: AtomicBool::new(false),
            answer_bytes: ANSWER_BYTES,
        })
    }

    /// For a caller of whom longer answers are expected.
    pub(in crate::cli) fn reading_up_to(self, answer_bytes: usize) -> Self {
        Self { answer_bytes, ..self }
    }

    /// Where it calls.
    pub(in crate::cli) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends a request, whose target is a path, and reads the whole answer. `patience` is for an answer
    /// that is waited for on purpose. `gauge` is that of the body, where there is one.
    ///
    /// Cancel: the request is dropped; the server may have acted on it.
    pub(in crate::cli) async fn call(
        &self,
        mut request: Request<B>,
        gauge: &Gauge,
        patience: Duration,
    ) -> Result<Answer, Trouble> {
        request.headers_mut().insert(USER_AGENT, CALLER);
        self.address(&mut request)?;
        let mut line = self.connection().await?;
        let exchange = async {
            let answer = match &mut line.sender {
                Sender::Http1(sender) => sender.send_request(request).await,
                Sender::Http2(sender) => sender.send_request(request).await,
            };
            read(answer.map_err(Broken::Connection)?, self.answer_bytes).await
        };
        let answer = tokio::select! {
            answer = exchange => answer,
            () = standstill(gauge, patience) => {
                if self.protocol == Protocol::Http2 {
                    // The others on it stand still as well.
                    self.idle().clear();
                }
                return Err(Trouble::passing(format!("{}: stalled, no progress", self.endpoint)));
            }
        };
        if let Some(fault) = gauge.fault() {
            return Err(Trouble::Final(fault));
        }
        let answer = answer.map_err(|broken| self.why(&broken, &line.heard))?;
        self.spoken.store(true, Ordering::Relaxed);
        self.keep(line);
        Ok(answer)
    }

    /// Says whom the request is for, as its protocol does.
    fn address(&self, request: &mut Request<B>) -> Result<(), Trouble> {
        match self.protocol {
            Protocol::Http1 => _ = request.headers_mut().insert(HOST, self.host.clone()),
            Protocol::Http2 => {
                let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
                *request.uri_mut() = Uri::builder()
                    .scheme(if self.endpoint.tls { "https" } else { "http" })
                    .authority(self.endpoint.authority())
                    .path_and_query(path)
                    .build()
                    .map_err(|error| Trouble::Final(format!("{}: {error}", self.endpoint)))?;
            }
        }
        Ok(())
    }

    fn why(&self, broken: &Broken, heard: &Heard) -> Trouble {
        let endpoint = &self.endpoint;
        if !endpoint.tls && heard.is_tls() {
            let why = format!("{endpoint} speaks TLS; did you mean https://?");
            return Trouble::Final(why);
        }
        // A server of HTTP/2 speaks first. One that has nothing to say to it does not know it.
        let deaf = heard.is_empty() && !self.spoken.load(Ordering::Relaxed);
        if !endpoint.tls && self.protocol == Protocol::Http2 && (heard.is_http1() || deaf) {
            return Trouble::Final(format!(
                "{endpoint} does not speak HTTP/2 without TLS; leave out --http2"
            ));
        }
        match broken {
            Broken::Connection(error) => match tls_fault(error, OTHER_HTTP)
                .or_else(|| tls_fault(heard.fault()?, OTHER_HTTP))
            {
                Some(why) => Trouble::Final(format!("{endpoint} {why}")),
                None => Trouble::passing(format!("{endpoint}: {}", lost(error))),
            },
            Broken::TooLong(most) => Trouble::Final(format!(
                "{endpoint}: the answer is larger than {}",
                indicatif::HumanBytes(*most as u64)
            )),
            Broken::Answer(why) => {
                Trouble::passing(format!("{endpoint}: the answer was cut off: {why}"))
            }
        }
    }

    fn keep(&self, line: Line<B>) {
        let open = match &line.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            // It never left.
            Sender::Http2(_) => false,
        };
        if open {
            self.idle().push(line);
        }
    }

    /// A connection that was used before and still stands, or a new one.
    async fn connection(&self) -> Result<Line<B>, Trouble> {
        loop {
            // In a step of its own: the lock is not held while waiting.
            let Some(mut line) = self.kept() else { break };
            let ready = async {
                match &mut line.sender {
                    Sender::Http1(sender) => sender.ready().await,
                    Sender::Http2(sender) => sender.ready().await,
                }
            };
            if let Ok(Ok(())) = timeout(FREE, ready).await {
                return Ok(line);
            }
            if let Sender::Http2(_) = line.sender {
                self.idle().clear();
            }
        }
        let passing = |why: String| Trouble::passing(format!("{}: {why}", self.endpoint));
        let line = match timeout(CONNECT, self.connect()).await {
            Ok(connected) => connected?,
            Err(_) => return Err(passing(format!("no connection within {CONNECT:?}"))),
        };
        if let Sender::Http2(sender) = &line.sender {
            let shared = Line { sender: Sender::Http2(sender.clone()), heard: line.heard.clone() };
            *self.idle() = vec![shared];
        }
        Ok(line)
    }

    fn kept(&self) -> Option<Line<B>> {
        let mut idle = self.idle();
        match idle.last() {
            Some(Line { sender: Sender::Http2(sender), heard }) => {
                Some(Line { sender: Sender::Http2(sender.clone()), heard: heard.clone() })
            }
            Some(Line { sender: Sender::Http1(_), .. }) | None => idle.pop(),
        }
    }

    async fn connect(&self) -> Result<Line<B>, Trouble> {
        let endpoint = &self.endpoint;
        let dialed = dial(endpoint, self.tls.as_ref()).await.map_err(|error| match error {
            NotDialed::Socket(error) => {
                let why = format!("cannot connect to {endpoint}: {error}");
                match error.kind() {
                    std::io::ErrorKind::PermissionDenied => Trouble::Final(format!(
                        "{why} (only root and the socket's group may connect; for the packages \
                         that is the group incoming)"
                    )),
                    _ => Trouble::passing(why),
                }
            }
            NotDialed::Name(error) => Trouble::Final(format!("{endpoint}: {error}")),
            NotDialed::Tls(error) => match tls_fault(&error, OTHER_HTTP) {
                Some(why) => Trouble::Final(format!("{endpoint} {why}")),
                None => Trouble::passing(format!(
                    "cannot agree on TLS with {endpoint}: {}",
                    terminal::short(&error.to_string())
                )),
            },
        })?;
        if self.tls.is_some() && self.protocol == Protocol::Http2 && !dialed.http2 {
            let why = "does not support HTTP/2; leave out --http2";
            return Err(Trouble::Final(format!("{endpoint} {why}")));
        }
        self.start(dialed.stream).await
    }

    /// Begins HTTP on a stream; the connection's task ends with its last sender, or when the server
    /// closes. Its errors reach those who wait for an answer.
    async fn start(&self, stream: Box<dyn Stream>) -> Result<Line<B>, Trouble> {
        let (stream, heard) = Listening::to(stream);
        let io = TokioIo::new(stream);
        let failed = |error: hyper::Error| self.why(&Broken::Connection(error), &heard);
        let sender = match self.protocol {
            Protocol::Http1 => {
                let mut builder = http1::Builder::new();
                builder.max_buf_size(HEAD_BYTES).writev(true);
                let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
                drop(tokio::spawn(connection));
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .initial_stream_window_size(RECEIVE_WINDOW)
                    .initial_connection_window_size(RECEIVE_WINDOW)
                    .max_header_list_size(u32::try_from(HEAD_BYTES).unwrap_or(u32::MAX))
                    .max_send_buf_size(SEND_BYTES);
                let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
                drop(tokio::spawn(connection));
                Sender::Http2(sender)
            }
        };
        Ok(Line { sender, heard })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Line<B>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What broke.
enum Broken {
    Connection(hyper::Error),
    Answer(String),
    /// It has more than so many bytes.
    TooLong(usize),
}

async fn read(answer: Response<hyper::body::Incoming>, most: usize) -> Result<Answer, Broken> {
    let (head, body) = answer.into_parts();
    let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let body = Limited::new(body, most).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => Broken::TooLong(most),
        false => Broken::Answer(broke(error.as_ref())),
    })?;
    Ok(Answer {
        status: head.status,
        retry_after: after.map(Duration::from_secs),
        location: location.map(str::to_owned),
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
