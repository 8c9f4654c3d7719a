//! Where the upload URL of a file comes from: the command line, what is remembered, or the backend API.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use sha2::Digest as _;

use super::UploadArgs;
use super::reporter::Reporter;
use crate::cli::local_server::public_beside;
use crate::cli::{CliError, credentials, server_settings};
use crate::client::{
    self, Backoff, BodyProgress, CallError, Endpoint, InvalidEndpoint, Observer, Offer,
    RequestError, UploadClient, UploadUrl,
};
use crate::config::Secret;
use crate::core::digest::hex;

/// How often the public listener is tried while the backend listener answers: for some seconds, as
/// long as a server may take from opening one to opening the other.
const TRIES: u32 = 4;

/// The longest path of an upload that is taken: this server's have 70 bytes.
const MOST_URL_BYTES: usize = 2048;

/// Where upload URLs come from.
pub(super) enum Source {
    /// This one was given.
    Url(UploadUrl),
    /// A ticket is asked for, for each file.
    Backend(Box<Backend>),
}

/// The backend API, and the public listener beside it.
pub(super) struct Backend {
    client: UploadClient,
    public: Arc<UploadClient>,
    known: Known,
    reached: Cell<bool>,
    authorization: Option<HeaderValue>,
    finish_url: String,
    /// Digest of the backendSecret.
    secret: Option<String>,
    form: String,
}

/// How the address of the public listener is known: the backend API does not tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Named,
    Guessed,
}

#[derive(Deserialize)]
struct Ticket {
    url: String,
}

impl Source {
    /// As the command line says.
    pub(super) fn of(args: &UploadArgs) -> Result<Self, CliError> {
        let protocol = if args.http2 { Offer::Http2 } else { Offer::Http1 };
        let client = |endpoint: Endpoint, protocol| {
            let tls = args.tls.config_for(&endpoint).map_err(CliError::usage)?;
            Ok::<_, CliError>(UploadClient::new(endpoint, tls, protocol))
        };
        let wrong = |key: &str, text: &str, why: InvalidEndpoint| {
            CliError::Usage(format!("--{key} = {text:?}: {why}"))
        };
        if let Some(url) = &args.url {
            let url = &credentials::url(url)?;
            let (endpoint, path) = Endpoint::of_url(url).map_err(|why| wrong("url", url, why))?;
            args.tls.check_use([&endpoint]).map_err(CliError::usage)?;
            let client = Arc::new(client(endpoint, protocol)?);
            return Ok(Self::Url(UploadUrl { client, path }));
        }
        let text = args.backend.as_deref().unwrap_or_default();
        let backend = Endpoint::of_listener(text).map_err(|why| wrong("backend", text, why))?;
        // Port and TLS of the public listener are where the server has them.
        let (_, settings) = server_settings(None)?;
        let (public, known) = match &args.public {
            Some(text) => {
                let named =
                    Endpoint::of_listener(text).map_err(|why| wrong("public", text, why))?;
                (named, Known::Named)
            }
            None => (public_beside(&backend, &settings), Known::Guessed),
        };
        args.tls.check_use([&backend, &public]).map_err(CliError::usage)?;
        let token =
            credentials::secret(args.token.as_ref(), "token-file", args.token_file.as_deref())?;
        let token = token.or(settings.backend_token);
        let secret =
            credentials::secret(args.secret.as_ref(), "secret-file", args.secret_file.as_deref())?;
        let finish_url = args.signal_finish_url.clone().unwrap_or_default();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("signalFinishURL", &finish_url);
        if let Some(secret) = &secret {
            form.append_pair("backendSecret", secret.expose());
        }
        let digest = |secret: &Secret| hex(&sha2::Sha256::digest(secret.expose()));
        Ok(Self::Backend(Box::new(Backend {
            // A unix socket speaks HTTP/1.1, and a ticket is one small request.
            client: client(backend, Offer::Http1)?,
            public: Arc::new(client(public, protocol)?),
            known,
            reached: Cell::new(false),
            authorization: token
                .as_ref()
                .map(client::bearer)
                .transpose()
                .map_err(CliError::usage)?,
            finish_url,
            secret: secret.as_ref().map(digest),
            form: form.finish(),
        })))
    }

    /// What tells the uploads of one file apart: the same file may go to several places. Another secret is another
    /// place, since a web app never takes a file that comes with a wrong one; of it only a digest is told.
    pub(super) fn target(&self) -> String {
        match self {
            Self::Url(url) => url.to_string(),
            Self::Backend(backend) => {
                let place = format!("{} {}", backend.public.endpoint(), backend.finish_url);
                match &backend.secret {
                    Some(digest) => format!("{place} {digest}"),
                    None => place,
                }
            }
        }
    }

    /// An upload that was begun before.
    pub(super) fn again(&self, path: &str) -> UploadUrl {
        match self {
            Self::Url(url) => url.clone(),
            Self::Backend(backend) => {
                UploadUrl { client: Arc::clone(&backend.public), path: path.to_owned() }
            }
        }
    }

    /// The upload URL for a file; where it lies below a folder becomes the ticket's metadata. Waits
    /// for a server that is away. No ticket is asked for before the public listener has answered.
    ///
    /// Cancel: there may be a ticket that nobody uses; it ends by itself.
    pub(super) async fn url(
        &self,
        below: Option<&str>,
        retry_for: Option<Duration>,
        reporter: &Reporter,
    ) -> Result<UploadUrl, CallError> {
        let backend = match self {
            Self::Url(url) => return Ok(url.clone()),
            Self::Backend(backend) => backend,
        };
        let mut backoff = Backoff::new(retry_for);
        backend.reach(&mut backoff, reporter).await?;
        loop {
            match backend.ticket(below).await {
                Ok(path) => return Ok(UploadUrl { client: Arc::clone(&backend.public), path }),
                Err(CallError::Permanent(why)) => return Err(CallError::Permanent(why)),
                Err(CallError::Transient { why, after }) => {
                    let Some(pause) = backoff.pause(after) else {
                        return Err(CallError::Permanent(why));
                    };
                    reporter.waiting(&why, pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}

impl Backend {
    /// Once in a run: asks the public listener for anything, so that no ticket is taken in vain. A
    /// server that is away altogether is waited for; one whose backend listener alone answers is
    /// given [`TRIES`], since the address is a wrong one then.
    async fn reach(&self, backoff: &mut Backoff, reporter: &Reporter) -> Result<(), CallError> {
        if self.reached.get() {
            return Ok(());
        }
        let public = self.public.endpoint();
        if self.known == Known::Guessed {
            let why = "host of --backend, port of the setting `listen`";
            reporter.note(&format!("uploading to {public} ({why}; --public names another)"));
        }
        let mut tries = 0;
        loop {
            let (why, after, alone) = match knock(&self.public).await {
                Ok(()) => break,
                Err(CallError::Permanent(why)) => return Err(self.unreachable(&why)),
                Err(CallError::Transient { why, after }) => {
                    (why, after, knock(&self.client).await.is_ok())
                }
            };
            tries += u32::from(alone);
            let pause = backoff.pause(after).filter(|_| tries < TRIES);
            let Some(pause) = pause else { return Err(self.unreachable(&why)) };
            reporter.waiting(&why, pause);
            tokio::time::sleep(pause).await;
        }
        backoff.reset();
        self.reached.set(true);
        Ok(())
    }

    fn unreachable(&self, why: &str) -> CallError {
        let how = match self.known {
            Known::Named => "as --public says; is it the public listener?",
            Known::Guessed => "guessed; name the public listener with --public",
        };
        let public = self.public.endpoint();
        CallError::Permanent(format!("{why} ({public} is {how}); no ticket was requested"))
    }

    async fn ticket(&self, below: Option<&str>) -> Result<String, CallError> {
        let mut form = form_urlencoded::Serializer::new(self.form.clone());
        below.iter().for_each(|below| _ = form.append_pair("metadata", below));
        let mut request = Request::post("/incoming/backend/new_upload")
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Either::Left(Full::new(Bytes::from(form.finish()))))
            .map_err(|error| CallError::Permanent(error.to_string()))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = self.client.call(request, &BodyProgress::default(), Duration::ZERO).await?;
        let endpoint = self.client.endpoint();
        match client::read::<Ticket>(&answer) {
            Ok(ticket) if is_path(&ticket.url) => Ok(ticket.url),
            Ok(_) => Err(CallError::Permanent(format!(
                "{endpoint} did not return the path of an upload"
            ))),
            Err(RequestError::Unknown(why)) => Err(CallError::Permanent(format!(
                "{endpoint}: {why} (is this the backend listener?)"
            ))),
            Err(refused) => Err(match refused.into_call_error() {
                CallError::Permanent(_) if answer.status.is_success() => {
                    CallError::Permanent(format!("{endpoint} is not a backend listener"))
                }
                CallError::Permanent(why) => CallError::Permanent(format!("{endpoint}: {why}")),
                CallError::Transient { why, after } => {
                    CallError::Transient { why: format!("{endpoint}: {why}"), after }
                }
            }),
        }
    }
}

/// Whether this can be asked for at the public listener, remembered and typed again.
fn is_path(url: &str) -> bool {
    url.len() <= MOST_URL_BYTES
        && url.starts_with('/')
        && !url.starts_with("//")
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a listener answers, whatever it says.
async fn knock(client: &UploadClient) -> Result<(), CallError> {
    let request = Request::get("/incoming/frontend/")
        .header(ACCEPT, "application/json")
        .body(Either::Left(Full::default()))
        .map_err(|error| CallError::Permanent(error.to_string()))?;
    client.call(request, &BodyProgress::default(), Duration::ZERO).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_13_only_a_path_is_taken_for_an_upload() {
        let check = |url: &str, expected: bool| assert_eq!(is_path(url), expected, "{url:?}");
        check("/incoming/frontend/uploads/71272bb1-0102-4304-8506-0708090a0b0c", true);
        check("/u?x=1", true);
        for wrong in ["", "u", "//evil/u", "http://evil/u", "/u\u{1b}[31m", "/u v", "/ü"] {
            check(wrong, false);
        }
        check(&format!("/{}", "u".repeat(3000)), false);
    }
}
