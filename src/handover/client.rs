//! One call to a backend, with a deadline.
//!
//! A call has one end: an [`Answer`], whatever its status, or a [`CallError`]. What either means for
//! the upload, and when to call again, is decided elsewhere. What is absent: redirects (a backend
//! that moved says so in its next ticket), proxies, cookies, and connections kept for the next call
//! (handovers are rare, and a stale connection would make a good backend look bad).
//!
//! It stands on hyper's connection, not on the pooling client of hyper-util: that one keeps connections, sends a request
//! again on another one, and drives each by a task that the call does not own. Here a call is one future: dropping it
//! closes its connection, and its deadline covers all of it.

pub(super) mod answer;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use answer::read;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::ext::on_informational;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue,
    USER_AGENT,
};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::coop::unconstrained;

use super::connector::{Connection, Connector, Resolver};
use crate::core::callback::{CallbackTarget, CallbackUrl, CallbackUrlError};
use crate::core::signing::{SigningSecrets, UrlSecrets};
use crate::engine::deadline::within;

pub use super::connector::{Permit, Rule};
pub use answer::{Answer, CallError, RawAnswer, Unreadable};

/// Bytes hyper reads ahead, and with that the longest head of an answer.
const BUFFER_BYTES: usize = 64 * 1024;

const CALLER: &str = concat!("incoming/", env!("CARGO_PKG_VERSION"));

/// Whom to call and how long to wait.
#[derive(Clone, Debug)]
pub struct Options {
    /// For the whole call: resolving, connecting (each of these has 10 s at most), TLS, request and answer.
    pub timeout: Duration,
    /// Who may be called; empty: everybody.
    pub allow: Vec<Rule>,
}

/// Calls backends. Cheap to share; holds no connection.
#[derive(Debug)]
pub struct Client {
    timeout: Duration,
    connector: Connector,
    secrets: Vec<UrlSecrets>,
}

impl Client {
    /// A client that has not yet read the machine's trusted roots; the first https call does.
    ///
    /// They come from where the system keeps them, or from `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let connector = Connector::new(Resolver::system(), options.allow);
        Self { timeout: options.timeout, connector, secrets: Vec::new() }
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

    /// Posts to `url` on a connection of its own: a form, unless `headers` have another `Content-Type`.
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
        self.post(url, body, headers, permit).await.map(Answer::from)
    }

    /// Posts a form as [`Self::post_idempotent`] does, with these headers besides, which replace its own; credentials in the URL
    /// replace theirs.
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
        let request = request(&target, body, headers)?;
        let call = async {
            match self.connector.connect(&target, &permit).await? {
                Connection::Plain(io) => exchange(&target, io, request).await,
                Connection::Tls(io) => exchange(&target, io, request).await,
            }
        };
        let limit = self.timeout;
        within(limit, call).await.unwrap_or_else(|_| Err(CallError::Timeout(url.shown(), limit)))
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
        (CONNECTION, "close"),
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

/// Sends the request and reads the answer, polling the connection itself beside them.
async fn exchange<IO>(
    target: &CallbackTarget<'_>,
    io: IO,
    mut request: Request<Full<Bytes>>,
) -> Result<RawAnswer, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |error| CallError::Http(target.shown(), error);
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
    let too_many = Arc::new(Notify::new());
    let (count, exceeded) = (AtomicUsize::new(0), Arc::clone(&too_many));
    on_informational(&mut request, move |_| {
        if count.fetch_add(1, Ordering::Relaxed) == MAX_INTERIM {
            exceeded.notify_one();
        }
    });
    let answering = async {
        let answer = sender.send_request(request).await?;
        read(answer).await
    };
    // When the connection ends first, what it has read is still to be taken; its error, if any, is
    // the answer's as well.
    let answered = beside(answering, conn);
    tokio::select! { biased;
        () = unconstrained(too_many.notified()) => {
            Err(CallError::Interim(target.shown(), MAX_INTERIM))
        }
        answer = answered => answer.map_err(failed),
    }
}

/// Interim answers (1xx) before the final one: hyper reads any number of them. RFC 9110, section 15.2, asks a client
/// to take one or more; no framework sends more than a few.
const MAX_INTERIM: usize = 32;

/// Completes with `main`, polling `side` as long as it goes.
async fn beside<T>(main: impl Future<Output = T>, side: impl Future) -> T {
    let (mut main, mut side) = (pin!(main), pin!(side));
    tokio::select! { biased;
        done = main.as_mut() => return done,
        _ = side.as_mut() => {}
    }
    main.await
}
