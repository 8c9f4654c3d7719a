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

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::deadline::within;
use crate::tls::{Trust, client_config, machine_roots};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT,
};
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::ServerName;
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
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The URL is none, or not of http or https.
    #[error("cannot call {0:?}: {1}")]
    BadUrl(String, &'static str),
    /// No rule allows any of the addresses it has.
    #[error("not allowed to call {0} at {1:?}")]
    NotAllowed(String, Vec<IpAddr>),
    /// Its host has no address.
    #[error("cannot resolve the host of {0}: {1}")]
    Resolve(String, #[source] io::Error),
    /// None of its addresses takes a connection; the last one's reason.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, #[source] io::Error),
    /// No TLS with it, or it is not who it should be.
    #[error("TLS failed with {0}: {1}")]
    Tls(String, #[source] io::Error),
    /// It does not speak HTTP, or broke off.
    #[error("no HTTP answer from {}: {}", .0, with_source(.1))]
    Http(String, #[source] hyper::Error),
    /// It took longer than this.
    #[error("no answer from {0} within {1:?}")]
    Timeout(String, Duration),
}

/// hyper's errors say the kind; what happened is their source.
fn with_source(error: &hyper::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
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
        let config = self.tls.get_or_try_init(tls_config).await.map_err(failed)?;
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

/// The machine's trusted roots, for backends.
async fn tls_config() -> io::Result<Arc<ClientConfig>> {
    let roots = tokio::task::spawn_blocking(machine_roots).await?;
    let roots = roots.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
    tls_config_of(roots)
}

fn tls_config_of(roots: Arc<RootCertStore>) -> io::Result<Arc<ClientConfig>> {
    client_config(Trust::Roots(roots), None, b"http/1.1", SESSIONS).map_err(io::Error::other)
}
