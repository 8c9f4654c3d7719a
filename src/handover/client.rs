//! One call to a backend, with a deadline.
//!
//! A call has one end: an [`Answer`], whatever its status, or a [`CallError`]. What either means for
//! the upload, and when to call again, is decided elsewhere. What is absent: redirects (a backend
//! that moved says so in its next ticket), proxies, cookies, and connections kept for the next call
//! (handovers are rare, and a stale connection would make a good backend look bad).

mod answer;
mod connect;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod target;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::deadline::within;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT,
};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;

use answer::read;
pub use answer::{Answer, Unreadable};
use connect::Resolver;
use target::Target;

/// Bytes hyper reads ahead, and with that the longest head of an answer.
const BUFFER_BYTES: usize = 64 * 1024;

/// TLS sessions remembered, each for a backend that will be called again.
const SESSIONS: usize = 64;

const CALLER: &str = concat!("incoming/", env!("CARGO_PKG_VERSION"));

/// Whom to call and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// For the whole call: resolving, connecting (each of these has 10 s at most), TLS, request and answer.
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
    resolver: Resolver,
}

/// What a call holds until everything that it started has ended; see [`Client::post_form`].
pub type Held = Arc<dyn Send + Sync>;

impl Client {
    /// A client that has not yet read the machine's trusted roots; the first https call does.
    ///
    /// They come from where the system keeps them, or from `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, tls: OnceCell::new(), resolver: Resolver::system() }
    }

    /// Posts a form to `url` on a connection of its own.
    ///
    /// `traceparent` is the trace that the call belongs to. Credentials in the URL are sent as basic authentication.
    /// Redirects are answers like others. `held` is dropped when all that the call started has ended: a name look-up
    /// that hangs outlives the call.
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
        held: Held,
    ) -> Result<Answer, CallError> {
        let target = Target::parse(url)?;
        let limit = self.options.timeout;
        let request = request(&target, body, idempotency_key, traceparent)?;
        match within(limit, self.call(&target, request, &held)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(CallError::Timeout(target.shown, limit)),
        }
    }

    async fn call(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
        held: &Held,
    ) -> Result<Answer, CallError> {
        let stream = self.connect(target, held).await?;
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
        .header(ACCEPT_ENCODING, "identity")
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
        .map_err(|_| CallError::BadUrl(target.shown.clone(), "it is not usable in a request"))
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
        tracing::warn!(%error, "could not read some trusted root certificates");
    }
    if taken == 0 {
        let why = "the machine has no trusted root certificates (install ca-certificates or set \
                   SSL_CERT_FILE)";
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
            Self::Tls(url, error) => write!(f, "TLS failed with {url}: {error}"),
            Self::Http(url, error) => {
                write!(f, "no HTTP answer from {url}: {error}")?;
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
