//! The requests about one upload.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Method, Request};

use super::chunk::{Chunk, Source};
use super::status::{self, Refused, Status, Verified};
use super::ticket::{Place, RequestBody};
use crate::cli::http::{Answer, Gauge, Trouble};
use crate::core::extent::Extent;

/// How long a status may be waited for at a time.
pub(super) const POLL: Duration = Duration::from_secs(25);

/// Whether chunks carry a digest. One that does counts as a whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digests {
    None,
    Sha256,
}

/// One upload of one file.
pub(super) struct Upload {
    pub(super) place: Place,
    pub(super) source: Source,
}

impl Upload {
    /// Binds, asks, waits (with a `query`) or cancels: whatever is answered with the status alone.
    pub(super) async fn ask(
        &self,
        method: &Method,
        query: &str,
        body: &str,
    ) -> Result<Status, Refused> {
        let patience = if query.starts_with("wait=") { POLL } else { Duration::ZERO };
        let path = &self.place.path;
        let uri = match query {
            "" => path.clone(),
            query => format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }),
        };
        status::judge(&self.small(method, uri, body, patience).await?)
    }

    /// Compares pieces; the body has their digests.
    pub(super) async fn verify(&self, body: &str) -> Result<Verified, Refused> {
        let (path, query) = match self.place.path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (&*self.place.path, String::new()),
        };
        let uri = format!("{path}/verify{query}");
        status::read(&self.small(&Method::POST, uri, body, Duration::ZERO).await?)
    }

    /// Sends a chunk.
    pub(super) async fn put(
        &self,
        extent: Extent,
        with: Digests,
        gauge: &Arc<Gauge>,
    ) -> Result<Status, Refused> {
        let length = self.source.facts.size;
        let range = format!("bytes {}-{}/{length}", extent.start(), extent.end() - 1);
        let mut request = Request::put(&self.place.path).header(CONTENT_RANGE, range);
        if with == Digests::Sha256 {
            let source = self.source.clone();
            let digest = tokio::task::spawn_blocking(move || source.digest(extent)).await;
            let digest = digest.map_err(|error| error.to_string()).and_then(|digest| digest);
            request = request.header("content-digest", digest.map_err(Trouble::Final)?);
        }
        let chunk = Chunk::new(self.source.clone(), extent, Arc::clone(gauge));
        let request = request
            .body(Either::Right(chunk))
            .map_err(|error| Trouble::Final(error.to_string()))?;
        status::judge(&self.place.client.call(request, gauge, Duration::ZERO).await?)
    }

    async fn small(
        &self,
        method: &Method,
        uri: String,
        body: &str,
        patience: Duration,
    ) -> Result<Answer, Trouble> {
        let mut request = Request::builder().method(method).uri(uri);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request: Request<RequestBody> = request
            .body(Either::Left(Full::new(Bytes::from(body.to_owned()))))
            .map_err(|error| Trouble::Final(error.to_string()))?;
        self.place.client.call(request, &Gauge::default(), patience).await
    }
}
