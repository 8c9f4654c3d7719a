//! One call to a backend, with a deadline.
//!
//! A call has one end: an [`Answer`], whatever its status, or a [`CallError`]. What either means for
//! the upload, and when to call again, is decided elsewhere. What is absent: redirects (a backend
//! that moved says so in its next ticket), proxies, cookies, and connections kept for the next call
//! (handovers are rare, and a stale connection would make a good backend look bad).

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod target;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT,
};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use ipnet::{IpNet, Ipv6Net};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use target::Target;

/// Bytes read of an answer's body. The word is the first few; error pages are larger and not worth
/// the memory.
const BODY_BYTES: usize = 64 * 1024;

/// Characters kept of an answer's word: enough to recognise an error page in a log.
const WORD_CHARS: usize = 64;

/// How long one of several addresses may take to be connected to before the next is tried, so that a
/// dead one does not use up the call: two retransmissions of a lost first packet.
const CONNECT_EACH: Duration = Duration::from_secs(5);

/// Bytes hyper reads ahead, and with that the longest head of an answer.
const BUFFER_BYTES: usize = 64 * 1024;

/// TLS sessions remembered, each for a backend that will be called again.
const SESSIONS: usize = 64;

const CALLER: &str = concat!("incoming/", env!("CARGO_PKG_VERSION"));

/// Whom to call and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// For the whole call: resolving, connecting, TLS, request and answer.
    pub timeout: Duration,
    /// Who may be called; empty: everybody.
    pub allow: Vec<Rule>,
}

/// Someone who may be called. A call is allowed when any rule fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The host as it stands in the URL, in any case, whatever it resolves to.
    Host(String),
    /// The address really connected to, an IPv4 one never dressed as IPv6.
    Net(IpNet),
}

/// What a backend answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body without white space at its ends, in lower case, at most 64 characters; what was cut
    /// off, or not read because it lay beyond 64 KiB, shows as `…` at the end.
    pub word: String,
}

/// Why there is no answer. Each names the called URL without its credentials and query.
#[derive(Debug)]
pub enum CallError {
    /// The URL is none, or not of http or https.
    BadUrl(String, &'static str),
    /// No rule allows any of the addresses it has.
    NotAllowed(String, Vec<IpAddr>),
    /// Its host has no address.
    Resolve(String, io::Error),
    /// None of its addresses takes a connection; the last one's reason.
    Connect(String, io::Error),
    /// No TLS with it, or it is not who it should be.
    Tls(String, io::Error),
    /// It does not speak HTTP, or broke off.
    Http(String, hyper::Error),
    /// It took longer than this.
    Timeout(String, Duration),
}

/// Calls backends. Cheap to share; holds no connection.
#[derive(Debug)]
pub struct Client {
    options: Options,
    tls: OnceCell<Arc<ClientConfig>>,
}

impl Client {
    /// A client that has not yet read the machine's trusted roots; the first https call does.
    ///
    /// They come from where the system keeps them, or from `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, tls: OnceCell::new() }
    }

    /// Posts a form to `url` on a connection of its own.
    ///
    /// `traceparent` is the trace that the call belongs to. Credentials in the URL are sent as basic authentication. Redirects are answers like others.
    ///
    /// # Errors
    /// See [`CallError`]. The backend may have acted on the call all the same, except for the kinds up
    /// to [`CallError::Tls`].
    ///
    /// Cancel: the connection is dropped; the backend may have acted on the call.
    pub async fn post_form(
        &self,
        url: &str,
        body: String,
        idempotency_key: &str,
        traceparent: Option<&str>,
    ) -> Result<Answer, CallError> {
        let target = Target::parse(url)?;
        let limit = self.options.timeout;
        let request = request(&target, body, idempotency_key, traceparent)?;
        match timeout(limit, self.call(&target, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Timeout(target.shown, limit)),
        }
    }

    async fn call(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, CallError> {
        let stream = self.connect(target).await?;
        if !target.tls {
            return exchange(target, stream, request).await;
        }
        let failed = |error| CallError::Tls(target.shown.clone(), error);
        let config = self.tls.get_or_try_init(trust).await.map_err(failed)?;
        let name = ServerName::try_from(target.host.clone())
            .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let connecting = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        exchange(target, connecting.await.map_err(failed)?, request).await
    }

    /// Connects to the first address that is allowed and answers.
    async fn connect(&self, target: &Target) -> Result<TcpStream, CallError> {
        let stream = self.connect_to_one(target).await?;
        // 0.0.0.0 leads to this machine's loopback, and a kernel may have more such ways: what was
        // reached has to be allowed as well as what was asked for.
        let failed = |error| CallError::Connect(target.shown.clone(), error);
        let reached = stream.peer_addr().map_err(failed)?;
        let reached = SocketAddr::new(reached.ip().to_canonical(), reached.port());
        if self.allowed(target, &[reached]).is_empty() {
            return Err(CallError::NotAllowed(target.shown.clone(), vec![reached.ip()]));
        }
        Ok(stream)
    }

    async fn connect_to_one(&self, target: &Target) -> Result<TcpStream, CallError> {
        let failed = |error| CallError::Resolve(target.shown.clone(), error);
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let found: Vec<SocketAddr> = found
            .map_err(failed)?
            .map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()))
            .collect();
        let (last, earlier) = match self.allowed(target, &found)[..] {
            [ref earlier @ .., last] => (last, earlier.to_vec()),
            [] if found.is_empty() => {
                return Err(failed(io::Error::new(io::ErrorKind::NotFound, "no address")));
            }
            [] => {
                let addresses = found.iter().map(SocketAddr::ip).collect();
                return Err(CallError::NotAllowed(target.shown.clone(), addresses));
            }
        };
        for address in earlier {
            match timeout(CONNECT_EACH, connect_to(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => tracing::debug!(%address, %error, "trying the next address"),
                Err(_) => tracing::debug!(%address, "no answer, trying the next address"),
            }
        }
        connect_to(last).await.map_err(|error| {
            let at = io::Error::new(error.kind(), format!("{last}: {error}"));
            CallError::Connect(target.shown.clone(), at)
        })
    }

    fn allowed(&self, target: &Target, found: &[SocketAddr]) -> Vec<SocketAddr> {
        let rules = &self.options.allow;
        let fits = |address: &&SocketAddr| {
            rules.is_empty()
                || rules.iter().any(|rule| match rule {
                    Rule::Host(host) => target.is_host(host),
                    Rule::Net(net) => holds(net, address.ip()),
                })
        };
        found.iter().filter(fits).copied().collect()
    }
}

/// Whether a network holds the address. One behind NAT64 is the IPv4 address that it leads to, so that
/// a rule for all of IPv6 does not open this machine's neighbours; or a rule names the prefix itself.
/// Source: RFC 6052, section 2.1.
fn holds(net: &IpNet, address: IpAddr) -> bool {
    const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);
    match address {
        IpAddr::V6(v6) if NAT64.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            let explicit = IpNet::V6(NAT64).contains(net) && net.contains(&address);
            explicit || net.contains(&IpAddr::from([a, b, c, d]))
        }
        IpAddr::V4(_) | IpAddr::V6(_) => net.contains(&address),
    }
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // The request is one small write that is waited for.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn request(
    target: &Target,
    body: String,
    key: &str,
    traceparent: Option<&str>,
) -> Result<Request<Full<Bytes>>, CallError> {
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let mut request = Request::post(target.path.as_str())
        .header(HOST, target.authority.as_str())
        .header(CONTENT_TYPE, form)
        .header(USER_AGENT, CALLER)
        .header(ACCEPT, "text/plain, */*")
        .header(CONNECTION, "close")
        .header("idempotency-key", key);
    if let Some(trace) = traceparent {
        request = request.header("traceparent", trace);
    }
    if let Some(credentials) = &target.authorization {
        request = request.header(AUTHORIZATION, credentials.clone());
    }
    request
        .body(Full::from(body))
        .map_err(|_| CallError::BadUrl(target.shown.clone(), "it makes no valid request"))
}

/// Sends the request and reads the answer, polling the connection itself beside them.
async fn exchange<IO>(
    target: &Target,
    io: IO,
    request: Request<Full<Bytes>>,
) -> Result<Answer, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error| CallError::Http(target.shown.clone(), error);
    let (mut sender, conn) = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .max_headers(100)
        .title_case_headers(false)
        .preserve_header_case(false)
        .writev(true)
        .http09_responses(false)
        .handshake(TokioIo::new(io))
        .await
        .map_err(failed)?;
    let answering = async {
        let answer = sender.send_request(request).await?;
        read(answer).await
    };
    // When the connection ends first, what it has read is still to be taken; its error, if any, is
    // the answer's as well.
    beside(answering, conn).await.map_err(failed)
}

async fn read(answer: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = BODY_BYTES - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok(Answer { status, word: word(&bytes, Rest::Unread) });
        }
    }
    Ok(Answer { status, word: word(&bytes, Rest::None) })
}

/// Whether more came than was read.
#[derive(Clone, Copy)]
enum Rest {
    None,
    Unread,
}

fn word(bytes: &[u8], rest: Rest) -> String {
    let text = String::from_utf8_lossy(bytes.trim_ascii()).to_lowercase();
    match rest {
        Rest::None if text.chars().count() <= WORD_CHARS => text,
        Rest::None | Rest::Unread => {
            text.chars().take(WORD_CHARS - 1).chain(std::iter::once('…')).collect()
        }
    }
}

/// Completes with `main`, polling `side` as long as it goes.
async fn beside<T>(main: impl Future<Output = T>, side: impl Future) -> T {
    let (mut main, mut side) = (pin!(main), pin!(side));
    tokio::select! { biased;
        done = main.as_mut() => return done,
        _ = side.as_mut() => {}
    }
    main.await
}

/// The machine's trusted roots, every knob set by hand.
async fn trust() -> io::Result<Arc<ClientConfig>> {
    let found = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await?;
    let mut roots = RootCertStore::empty();
    let (taken, _unusable) = roots.add_parsable_certificates(found.certs);
    for error in &found.errors {
        tracing::warn!(%error, "cannot read some trusted roots");
    }
    if taken == 0 {
        let why = "the machine has no trusted roots (install ca-certificates or set SSL_CERT_FILE)";
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    tls_config(roots)
}

fn tls_config(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    // A call must not be replayable.
    config.enable_early_data = false;
    config.enable_sni = true;
    Ok(Arc::new(config))
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl(url, why) => write!(f, "cannot call {url:?}: {why}"),
            Self::NotAllowed(url, addresses) => {
                write!(f, "not allowed to call {url} at {addresses:?}")
            }
            Self::Resolve(url, error) => write!(f, "cannot resolve the host of {url}: {error}"),
            Self::Connect(url, error) => write!(f, "cannot connect to {url}: {error}"),
            Self::Tls(url, error) => write!(f, "no tls with {url}: {error}"),
            Self::Http(url, error) => {
                write!(f, "no http answer from {url}: {error}")?;
                match std::error::Error::source(error) {
                    Some(source) => write!(f, ": {source}"),
                    None => Ok(()),
                }
            }
            Self::Timeout(url, limit) => write!(f, "no answer from {url} within {limit:?}"),
        }
    }
}

impl std::error::Error for CallError {}
