//! Asks the web app for tickets of uploads that clients create: the wire's question, put by the client that calls backends.

use crate::config::Settings;
use crate::core::callback::CallbackUrl;
use crate::handover::client::{self, CallError, Client, RawAnswer, Rule};
use crate::wire::create::{CallWebApp, Calling, Creation, NoAnswer, WebAppAnswer};
use hyper::header::{HeaderMap, HeaderName};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Whom the wire asks, if a web app is named. `allow`: who may be called.
pub(super) fn creation(settings: &Settings, allow: Vec<Rule>) -> Option<Creation> {
    let url = settings.create_url.clone()?;
    let options = client::Options { timeout: settings.create_timeout, allow };
    let names = settings.create_forward_headers.iter();
    Some(Creation {
        web_app: Arc::new(WebApp(Arc::new(Inner { client: Client::new(options), url }))),
        forward_headers: names.filter_map(|name| name.parse::<HeaderName>().ok()).collect(),
        secret: settings.create_secret.as_ref().map(|secret| secret.expose().to_owned()),
    })
}

struct WebApp(Arc<Inner>);

struct Inner {
    client: Client,
    url: CallbackUrl,
}

impl CallWebApp for WebApp {
    fn post(&self, form: String, headers: HeaderMap, permit: OwnedSemaphorePermit) -> Calling {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let posted = inner.client.post(&inner.url, form, headers, Arc::new(permit));
            answer(posted.await).map_err(|why| NoAnswer(why.to_string()))
        })
    }
}

/// An answer that was read to its end.
fn answer(posted: Result<RawAnswer, CallError>) -> Result<WebAppAnswer, Unread> {
    let raw = posted?;
    if !raw.is_whole() {
        return Err(Unread::TooLong);
    }
    Ok(WebAppAnswer { status: raw.status, media_type: raw.media_type, body: raw.body? })
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] client::Unreadable),
    #[error("the answer is longer than 64 KiB")]
    TooLong,
}
