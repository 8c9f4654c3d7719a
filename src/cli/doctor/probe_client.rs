//! Sends probes: on connections as a browser makes them, each with a deadline.
//!
//! An answer is one to the probe: where the doctor at the other end has too much to do, it is asked again, so that its
//! own refusal is never taken for a proxy's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body as _;
use hyper::ext::on_informational;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use tokio::io::AsyncReadExt as _;
use tokio::time::{sleep, timeout};

use super::body::Steps;
use crate::cli::credentials::{Credentials, CredentialsError};
use crate::client::{
    CallError, ConnectError, Connection, Connector, Endpoint, Offer, PeerStream, ProtocolSniffer,
    lost,
};
use crate::diagnosis::observed::{Arrived, ProbeOutcome};
use crate::wire::doctor::MARK;
use crate::wire::problem::Code;

/// For a server to refuse what was agreed on in TLS: it does so at once, or not at all.
const ALERT: Duration = Duration::from_secs(5);
/// Longest answer read: the doctor's are a few hundred bytes, a proxy's pages a few thousand.
const ANSWER_BYTES: usize = 256 << 10;
/// For the body of an answer whose head has come.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How often a doctor is asked that has too much to do: others are done after some 20 s.
pub(super) const TRIES: usize = 12;
/// The pause before the next try, where the doctor names none, and the longest.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_LATEST: Duration = Duration::from_secs(5);

/// Sends probes to one endpoint.
#[derive(Clone)]
pub(super) struct ProbeClient {
    connector: Connector,
    /// Whether the doctor had too much to do to the last try.
    turned_away: Arc<AtomicBool>,
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
#[derive(Debug, thiserror::Error)]
pub(super) enum NoReply {
    /// There was no connection.
    #[error(transparent)]
    Unreachable(CallError),
    /// The connection ended.
    #[error(transparent)]
    Broken(CallError),
    /// It did not come in time.
    #[error("no answer in time")]
    Timeout,
}

/// A request, which can be sent again: its method, its path with the query, its headers, its body, and how long an answer is waited for.
#[derive(Clone)]
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

    /// When to ask again a doctor that has too much to do; none where this is another answer, such as a proxy's.
    pub(super) fn again(&self) -> Option<Duration> {
        let (status, word, _) = Code::TooMany.facts();
        let (name, mark) = MARK;
        let own = self.headers.get(name) == Some(&mark)
            || self.problem().is_some_and(|code| code == word);
        let after = self.header(RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
        (self.status.as_u16() == status && own)
            .then(|| after.map_or(AGAIN, Duration::from_secs).min(AGAIN_LATEST))
    }

    /// The code of the server's own problem, if this is one.
    pub(super) fn problem(&self) -> Option<String> {
        self.refusal().map(|problem| problem.code)
    }

    /// Whether the backend API gave this answer to a call with the wrong method, and nothing but a header of the request keeps it
    /// from being served: a token or an address that is asked for is a guard, a header is not.
    pub(super) fn is_exposed_backend(&self) -> bool {
        self.refusal().is_some_and(|Problem { code, status, detail, .. }| {
            code == "method-not-allowed"
                || (status == 403 && code == "forbidden" && detail.starts_with("header "))
        })
    }

    fn refusal(&self) -> Option<Problem> {
        let problem: Problem = serde_json::from_slice(&self.body).ok()?;
        problem.r#type.starts_with("/incoming/problems/").then_some(problem)
    }
}

/// The server's own problem.
#[derive(serde::Deserialize)]
struct Problem {
    r#type: String,
    code: String,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    detail: String,
}

/// Whose answer it is.
pub(super) fn outcome(
    reply: &Result<Reply, NoReply>,
    own: impl FnOnce(&Reply) -> bool,
) -> ProbeOutcome {
    match reply {
        Ok(reply) if own(reply) => ProbeOutcome::Own,
        Ok(reply) => ProbeOutcome::Other(reply.status.as_u16()),
        Err(NoReply::Unreachable(_) | NoReply::Broken(_)) => ProbeOutcome::Broken,
        Err(NoReply::Timeout) => ProbeOutcome::Nothing,
    }
}

impl ProbeClient {
    /// Blocks on reading trusted roots where it needs any.
    pub(super) fn new(
        endpoint: Endpoint,
        credentials: &Credentials,
        offer: Offer,
    ) -> Result<Self, CredentialsError> {
        credentials.check_use([&endpoint])?;
        let tls = credentials.config_for(&endpoint)?;
        let connector = Connector::new(endpoint, tls, offer);
        Ok(Self { connector, turned_away: Arc::default() })
    }

    /// The same client, with another offer of protocols.
    pub(super) fn offering(&self, offer: Offer) -> Self {
        Self {
            connector: self.connector.offering(offer),
            turned_away: Arc::clone(&self.turned_away),
        }
    }

    /// A connection for several requests.
    ///
    /// Cancel: the connection is dropped.
    pub(super) async fn open(&self) -> Result<ProbeConnection, NoReply> {
        let stream = self.connect().await.map_err(NoReply::Unreachable)?;
        let (http2, sniffer) = (stream.http2, stream.sniffer());
        let own = stream.own.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
        let endpoint = self.endpoint().clone();
        let connection = Connection::start(stream).await;
        let connection =
            connection.map_err(|error| NoReply::Broken(lost(&endpoint, &error, &sniffer)))?;
        Ok(ProbeConnection { connection, endpoint, sniffer, http2, own })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        self.connector.endpoint()
    }

    /// Whose page asks, as browsers say it.
    pub(super) fn origin(&self) -> String {
        let (scheme, usual) = if self.endpoint().tls { ("https", 443) } else { ("http", 80) };
        let authority = self.endpoint().authority();
        let usual = format!(":{usual}");
        format!("{scheme}://{}", authority.strip_suffix(&usual).unwrap_or(&authority))
    }

    /// A connection on which nothing was asked.
    pub(super) async fn connect(&self) -> Result<PeerStream, CallError> {
        self.connector.connect().await.map_err(|error| error.about(self.endpoint()))
    }

    /// Why TLS is refused after its handshake, as a certificate that is missing is. To whoever speaks at once that may be
    /// lost, since what the server leaves unread resets the connection: so this one only listens.
    ///
    /// Cancel: the connection is dropped.
    pub(super) async fn refused(&self) -> Option<CallError> {
        let mut byte = [0];
        let listened = timeout(ALERT, async {
            let mut stream = self.connector.connect().await.ok()?;
            stream.read(&mut byte).await.err()
        });
        match ConnectError::Tls(listened.await.ok()??).about(self.endpoint()) {
            fault @ CallError::Permanent(_) => Some(fault),
            CallError::Transient { .. } => None,
        }
    }

    /// Whether the doctor had too much to do for some request, so that what came of it says nothing of the path.
    pub(super) fn turned_away(&self) -> bool {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Sends a request on a connection of its own, and again as long as the doctor has too much to do. The server is
    /// told by the query who the client believes to be.
    ///
    /// Cancel: the connection is dropped.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Reply, NoReply> {
        self.timed(ask).await.0
    }

    /// As [`Self::ask`], and how long it took, waits for the doctor not counted.
    pub(super) async fn timed(&self, ask: Ask) -> (Result<Reply, NoReply>, Duration) {
        let mut tries = 0;
        loop {
            let began = Instant::now();
            let reply = self.once(ask.clone()).await;
            let took = began.elapsed();
            let Some(pause) = reply.as_ref().ok().and_then(Reply::again) else {
                return (reply, took);
            };
            tries += 1;
            // Once was enough to know that this leads to nothing.
            if tries >= TRIES || self.turned_away() {
                self.turned_away.store(true, Ordering::Relaxed);
                return (reply, took);
            }
            sleep(pause).await;
        }
    }

    async fn once(&self, ask: Ask) -> Result<Reply, NoReply> {
        // The connection ends with this request.
        self.open().await?.send(ask, |_| {}).await
    }
}

/// A connection for several requests, one after the other.
pub(super) struct ProbeConnection {
    connection: Connection<Steps>,
    endpoint: Endpoint,
    sniffer: ProtocolSniffer,
    http2: bool,
    own: SocketAddr,
}

impl ProbeConnection {
    /// Sends a request. `interim` hears the statuses of interim answers, on HTTP/1.1 alone.
    ///
    /// Cancel: the request is dropped.
    pub(super) async fn send(
        &mut self,
        ask: Ask,
        interim: impl Fn(u16) + Send + Sync + 'static,
    ) -> Result<Reply, NoReply> {
        let Self { connection, endpoint, sniffer, http2, own } = self;
        let broken = |error: hyper::Error| NoReply::Broken(lost(endpoint, &error, sniffer));
        let patience = ask.patience;
        let request = request(ask, *own);
        let mut request =
            request.map_err(|error| NoReply::Broken(CallError::transient(error.to_string())))?;
        on_informational(&mut request, move |answer| interim(answer.status().as_u16()));
        let answer = timeout(patience, connection.send(endpoint, request)).await;
        let (head, body) = answer.map_err(|_| NoReply::Timeout)?.map_err(broken)?.into_parts();
        let body = timeout(ANSWER_TIME, Limited::new(body, ANSWER_BYTES).collect()).await;
        let body = match body {
            Ok(Ok(body)) => body.to_bytes(),
            // What came of a head is told by it alone.
            Ok(Err(_)) | Err(_) => Bytes::new(),
        };
        Ok(Reply { status: head.status, headers: head.headers, body, http2: *http2, own: *own })
    }
}

/// `ask` as a request of hyper's.
fn request(ask: Ask, own: SocketAddr) -> Result<Request<Steps>, hyper::http::Error> {
    let join = if ask.path.contains('?') { '&' } else { '?' };
    let caller = concat!("incoming-doctor/", env!("CARGO_PKG_VERSION"));
    let mut request = Request::builder()
        .method(ask.method)
        .uri(format!("{}{join}caller={own}", ask.path))
        .header("user-agent", HeaderValue::from_static(caller));
    for (name, value) in ask.headers {
        request = request.header(name, value);
    }
    let length = ask.body.size_hint().exact().filter(|length| *length > 0);
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    request.body(ask.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    const TOO_MANY: &str = r#"{"type": "/incoming/problems/too-many", "code": "too-many"}"#;

    fn answer(status: u16, header: &str, body: &str) -> String {
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{header}\r\n\r\n{body}")
    }

    /// Asks somebody who gives these answers in turn, the last one for ever: the status that comes of it, how many
    /// requests it took, and whether the doctor had no time.
    async fn asked(answers: &[String]) -> (u16, usize, bool) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (endpoint, _) = Endpoint::of_url(&url).unwrap();
        let client = ProbeClient::new(endpoint, &Credentials::default(), Offer::Both).unwrap();
        let mut requests = 0;
        let serve = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                // A body is there whole, each time anew.
                while !read.ends_with(&[0; 7]) {
                    assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "{read:?}");
                }
                let now = &answers[requests.min(answers.len() - 1)];
                requests += 1;
                stream.write_all(now.as_bytes()).await.unwrap();
            }
        };
        let probe = Ask::new(Method::PUT, "/incoming/frontend/doctor").body(Steps::whole(7));
        let status = tokio::select! {
            reply = client.ask(probe) => reply.unwrap().status.as_u16(),
            () = serve => unreachable!("it serves for ever"),
        };
        (status, requests, client.turned_away())
    }

    #[tokio::test]
    async fn a_doctor_that_has_too_much_to_do_is_asked_again() {
        let own = answer(200, "Incoming-Doctor: 1", "");
        let marked = answer(429, "Incoming-Doctor: 1\r\nRetry-After: 0", "");
        // Where somebody takes unknown headers away, the body says whose it is.
        let told = answer(429, "Retry-After: 0", TOO_MANY);
        assert_eq!(asked(&[marked.clone(), told, own]).await, (200, 3, false));
        // Not for ever.
        assert_eq!(asked(&[marked]).await, (429, TRIES, true));
    }

    #[tokio::test]
    async fn a_refusal_of_a_proxy_is_an_answer() {
        for body in ["<html>", "", r#"{"type": "/incoming/problems/no-space", "code": "no-space"}"#]
        {
            let other = answer(429, "Retry-After: 0", body);
            assert_eq!(asked(&[other]).await, (429, 1, false), "{body}");
        }
        let unmarked = answer(503, "Incoming-Doctor: 1\r\nRetry-After: 0", "");
        assert_eq!(asked(&[unmarked]).await, (503, 1, false));
    }
}
