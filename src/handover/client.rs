//! One call to a backend, with a deadline.
//!
//! A call has one end: an [`Answer`], whatever its status, or a [`CallError`]. What either means for
//! the upload, and when to call again, is decided elsewhere. What is absent: redirects (a backend
//! that moved says so in its next ticket), proxies, and cookies.
//!
//! A call is one future: dropping it closes its connection, and its deadline covers all of it. A call that may be repeated
//! may use the connection of an earlier one ([`Kept`]). Where that ends before an answer, which its peer may do at any time,
//! the call is sent once more, on a new connection.

pub(super) mod answer;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue,
    USER_AGENT,
};
use percent_encoding::percent_decode_str;

use super::connection::{Broken, Connection, MAX_INTERIM};
use super::connector::{Connector, Resolver};
use super::kept::{Kept, Peer};
use crate::core::callback::{CallbackTarget, CallbackUrl, CallbackUrlError};
use crate::core::signing::{SigningSecrets, UrlSecrets};
use crate::engine::deadline::within;

pub use super::connector::{Permit, Rule};
pub use answer::{Answer, CallError, RawAnswer, Unreadable};

const CALLER: &str = concat!("incoming/", env!("CARGO_PKG_VERSION"));

/// Whom to call and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// For the whole call: resolving, connecting (each of these has 10 s at most), TLS, request and answer.
    pub timeout: Duration,
    /// Who may be called; empty: everybody.
    pub allow: Vec<Rule>,
}

/// Calls backends. What it may call does not change, so neither does whom its kept connections lead to.
pub struct Client {
    timeout: Duration,
    connector: Connector,
    pub(super) kept: Kept,
    secrets: Vec<UrlSecrets>,
}

/// Without the secrets.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Client {
    /// A client that has not yet read the machine's trusted roots; the first https call does.
    ///
    /// They come from where the system keeps them, or from `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let connector = Connector::new(Resolver::system(), options.allow);
        Self { timeout: options.timeout, connector, kept: Kept::default(), secrets: Vec::new() }
    }

    /// The same client, with secrets for the calls of tickets that have none; see [`Self::secrets`].
    #[must_use]
    pub fn signing(self, secrets: Vec<UrlSecrets>) -> Self {
        Self { secrets, ..self }
    }

    /// What signs a call to `url` whose ticket has no secrets.
    pub fn secrets(&self, url: &CallbackUrl) -> Option<&SigningSecrets> {
        UrlSecrets::of(&self.secrets, url)
    }

    /// Posts to `url`: a form, unless `headers` have another `Content-Type`. The call may be sent twice: where a kept
    /// connection ends before an answer, and the backend may have acted on it.
    ///
    /// `headers` are sent besides. Credentials in the URL are sent as basic authentication.
    /// Redirects are answers like others. `permit` is dropped when all that the call started has ended: a name look-up
    /// that hangs outlives the call.
    ///
    /// # Errors
    /// See [`CallError`]. The backend may have acted on the call all the same, except for the kinds up
    /// to [`CallError::Tls`].
    ///
    /// Cancel: the connection is dropped; the backend may have acted on the call.
    pub async fn post_idempotent(
        &self,
        url: &CallbackUrl,
        body: String,
        idempotency_key: &str,
        mut headers: HeaderMap,
        permit: Permit,
    ) -> Result<Answer, CallError> {
        let value = HeaderValue::from_str(idempotency_key);
        let value = value.map_err(|_| CallError::BadUrl(url.shown(), CallbackUrlError::Syntax))?;
        headers.insert("idempotency-key", value);
        let target = url.target().map_err(|error| CallError::BadUrl(url.shown(), error))?;
        let request = request(&target, body, headers)?;
        let call = async {
            let peer = Peer::of(&target);
            let (answer, connection) = match self.post_kept(&target, &peer, &request).await? {
                Some(answered) => answered,
                None => self.post_new(&target, request, &permit).await?,
            };
            if answer.is_read() {
                self.kept.put(peer, connection).await;
            }
            Ok(Answer::from(answer))
        };
        self.within_timeout(url, call).await
    }

    /// Posts a form as [`Self::post_idempotent`] does, with these headers besides, which replace its own; credentials in the URL
    /// replace theirs. On a connection of its own, and once.
    ///
    /// # Errors
    /// As [`Self::post_idempotent`].
    ///
    /// Cancel: the connection is dropped; the backend may have acted on the call.
    pub async fn post(
        &self,
        url: &CallbackUrl,
        body: String,
        headers: HeaderMap,
        permit: Permit,
    ) -> Result<RawAnswer, CallError> {
        let target = url.target().map_err(|error| CallError::BadUrl(url.shown(), error))?;
        let mut request = request(&target, body, headers)?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let call = async {
            let (answer, _) = self.post_new(&target, request, &permit).await?;
            Ok(answer)
        };
        self.within_timeout(url, call).await
    }

    /// On a connection of an earlier call; `None` if there is none, or it ended before an answer.
    async fn post_kept(
        &self,
        target: &CallbackTarget<'_>,
        peer: &Peer,
        request: &Request<Full<Bytes>>,
    ) -> Result<Option<(RawAnswer, Connection)>, CallError> {
        let Some(mut connection) = self.kept.take(peer).await else { return Ok(None) };
        match connection.exchange(request.clone()).await {
            Ok(answer) => Ok(Some((answer, connection))),
            Err(Broken::BeforeAnswer(error)) if !error.is_parse() => {
                tracing::debug!(url = target.shown(), %error, "kept connection to backend ended");
                Ok(None)
            }
            Err(broken) => Err(call_error(target, broken)),
        }
    }

    async fn post_new(
        &self,
        target: &CallbackTarget<'_>,
        request: Request<Full<Bytes>>,
        permit: &Permit,
    ) -> Result<(RawAnswer, Connection), CallError> {
        let stream = self.connector.connect(target, permit).await?;
        let begun = Connection::begin(stream).await;
        let mut connection = begun.map_err(|error| CallError::Http(target.shown(), error))?;
        let answer = connection.exchange(request).await;
        Ok((answer.map_err(|broken| call_error(target, broken))?, connection))
    }

    async fn within_timeout<T>(
        &self,
        url: &CallbackUrl,
        call: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let limit = self.timeout;
        within(limit, call).await.unwrap_or_else(|_| Err(CallError::Timeout(url.shown(), limit)))
    }
}

fn call_error(target: &CallbackTarget<'_>, broken: Broken) -> CallError {
    match broken {
        Broken::BeforeAnswer(error) | Broken::InAnswer(error) => {
            CallError::Http(target.shown(), error)
        }
        Broken::Interim => CallError::Interim(target.shown(), MAX_INTERIM),
    }
}

fn request(
    target: &CallbackTarget<'_>,
    body: String,
    headers: HeaderMap,
) -> Result<Request<Full<Bytes>>, CallError> {
    let mut request = Request::post(target.path())
        .header(HOST, target.authority())
        .body(Full::from(body))
        .map_err(|_| CallError::BadUrl(target.shown(), CallbackUrlError::Syntax))?;
    let given = request.headers_mut();
    for (name, value) in [
        (CONTENT_TYPE, "application/x-www-form-urlencoded"),
        (USER_AGENT, CALLER),
        (ACCEPT, "text/plain, */*"),
        (ACCEPT_ENCODING, "identity"),
    ] {
        given.insert(name, HeaderValue::from_static(value));
    }
    given.extend(headers);
    if let Some(credentials) = target.credentials {
        given.insert(AUTHORIZATION, basic(credentials));
    }
    Ok(request)
}

/// The header of basic authentication, from a URL's percent-encoded credentials.
fn basic(credentials: &str) -> HeaderValue {
    let (name, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let mut pair: Vec<u8> = percent_decode_str(name).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}
