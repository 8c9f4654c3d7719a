//! Where the upload URL of a file comes from: the command line, or the backend API.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, StatusCode};
use serde::Deserialize;

use super::super::endpoint::Endpoint;
use super::super::trust::Trust;
use super::chunk::Gauge;
use super::client::Client;
use super::retry::Backoff;
use super::status::{self, Trouble};
use super::{CliError, UploadArgs};
use crate::config::{Layers, Secret, Settings, Typed};

/// Where upload URLs come from.
pub(super) enum Source {
    /// This one was given.
    Url(Place),
    /// A ticket is asked for, for each file.
    Backend(Box<Backend>),
}

/// An upload URL: a path of a public listener.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) client: Arc<Client>,
    pub(super) path: String,
}

/// The backend API, and the public listener beside it.
pub(super) struct Backend {
    client: Client,
    public: Arc<Client>,
    authorization: Option<HeaderValue>,
    form: String,
}

#[derive(Deserialize)]
struct Ticket {
    url: String,
}

impl Source {
    /// As the command line says.
    pub(super) fn of(args: &UploadArgs) -> Result<Self, CliError> {
        let trust = if args.insecure { Trust::Anybody } else { Trust::Roots };
        let client = |endpoint| Client::new(endpoint, trust).map_err(CliError::Failed);
        let wrong = |key: &str, text: &str, why: &str| {
            CliError::Usage(format!("--{key} = {text:?}: {why}"))
        };
        if let Some(url) = &args.url {
            let (endpoint, path) = Endpoint::of_url(url).map_err(|why| wrong("url", url, why))?;
            return Ok(Self::Url(Place { client: Arc::new(client(endpoint)?), path }));
        }
        let text = args.backend.as_deref().unwrap_or_default();
        let backend = Endpoint::of_listener(text).map_err(|why| wrong("backend", text, why))?;
        // Port and TLS of the public listener are where the server has them.
        let layers = Layers::gather(Typed::default(), None, std::env::vars_os())?;
        let settings = Settings::read(&layers)?;
        let public = match &args.public {
            Some(text) => Endpoint::of_listener(text).map_err(|why| wrong("public", text, why))?,
            None => backend.public_beside(&settings),
        };
        let authorization =
            args.token.clone().or(settings.backend_token).as_ref().map(bearer).transpose()?;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("signalFinishURL", args.signal_finish_url.as_deref().unwrap_or_default());
        if let Some(secret) = &args.secret {
            form.append_pair("backendSecret", secret.expose());
        }
        Ok(Self::Backend(Box::new(Backend {
            client: client(backend)?,
            public: Arc::new(client(public)?),
            authorization,
            form: form.finish(),
        })))
    }

    /// The upload URL for a file. Waits for a server that is away, telling `note` why.
    ///
    /// Cancel: there may be a ticket that nobody uses; it ends by itself.
    pub(super) async fn place(&self, note: impl Fn(&str)) -> Result<Place, String> {
        let backend = match self {
            Self::Url(place) => return Ok(place.clone()),
            Self::Backend(backend) => backend,
        };
        let mut backoff = Backoff::default();
        loop {
            match backend.ticket().await {
                Ok(path) => return Ok(Place { client: Arc::clone(&backend.public), path }),
                Err(Trouble::Final(why)) => return Err(why),
                Err(Trouble::Passing { why, after }) => {
                    note(&why);
                    tokio::time::sleep(backoff.pause(after)).await;
                }
            }
        }
    }
}

impl Backend {
    async fn ticket(&self) -> Result<String, Trouble> {
        let mut request = Request::post("/incoming/backend/new_upload")
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Either::Left(Full::new(Bytes::from(self.form.clone()))))
            .map_err(|error| Trouble::Final(error.to_string()))?;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = self.client.call(request, &Gauge::default(), Duration::ZERO).await?;
        let why = || format!("{}: {}", self.client.endpoint(), status::refusal(&answer));
        match answer.status {
            StatusCode::OK => serde_json::from_slice(&answer.body)
                .map(|ticket: Ticket| ticket.url)
                .map_err(|_| {
                    Trouble::Final(format!("{} is no backend listener", self.client.endpoint()))
                }),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Trouble::Passing { why: why(), after: answer.retry_after })
            }
            status if status.is_server_error() => {
                Err(Trouble::Passing { why: why(), after: answer.retry_after })
            }
            _ => Err(Trouble::Final(why())),
        }
    }
}

fn bearer(token: &Secret) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|_| CliError::Usage("--token cannot be sent as a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
