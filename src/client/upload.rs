//! The requests about one upload, at its URL.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Method, Request};

use super::answer::Answer;
use super::call::{BodyProgress, Client};
use super::chunk::{Chunk, Source};
use super::error::CallError;
use super::identity::FileError;
use super::status::{self, RequestError, Status, Verified};
use crate::core::extent::{Extent, ExtentSet};

/// How long a status may be waited for at a time.
pub(crate) const POLL: Duration = Duration::from_secs(25);

/// Whether chunks carry a digest. One that does counts as a whole or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Digests {
    None,
    Sha256,
}

/// The body of a request: small, or a chunk.
pub(crate) type RequestBody = Either<Full<Bytes>, Chunk>;
/// Calls one listener.
pub(crate) type UploadClient = Client<RequestBody>;

/// An upload URL: a path of a public listener.
#[derive(Clone)]
pub(crate) struct UploadUrl {
    pub(crate) client: Arc<UploadClient>,
    pub(crate) path: String,
}

impl fmt::Display for UploadUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.client.endpoint(), self.path)
    }
}

/// One upload of one file.
pub(crate) struct Upload {
    pub(crate) url: UploadUrl,
    pub(crate) source: Source,
}

impl Upload {
    /// Binds, asks, waits (with a `query`) or cancels: whatever is answered with the status alone.
    pub(crate) async fn ask(
        &self,
        method: &Method,
        query: &str,
        body: &str,
    ) -> Result<Status, RequestError> {
        let patience = if query.starts_with("wait=") { POLL } else { Duration::ZERO };
        let path = &self.url.path;
        let uri = match query {
            "" => path.clone(),
            query => format!("{path}{}{query}", if path.contains('?') { '&' } else { '?' }),
        };
        status::of_answer(&self.small(method, uri, body, patience).await?)
    }

    /// Compares pieces; the body has their digests.
    pub(crate) async fn verify(&self, body: &str) -> Result<Verified, RequestError> {
        let (path, query) = match self.url.path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (&*self.url.path, String::new()),
        };
        let uri = format!("{path}/verify{query}");
        status::read(&self.small(&Method::POST, uri, body, Duration::ZERO).await?)
    }

    /// Sends a chunk.
    pub(crate) async fn put(
        &self,
        extent: Extent,
        with: Digests,
        progress: &Arc<BodyProgress>,
    ) -> Result<Status, RequestError> {
        let length = self.source.stat.size;
        let range = format!("bytes {}-{}/{length}", extent.start(), extent.end() - 1);
        let mut request = Request::put(&self.url.path).header(CONTENT_RANGE, range);
        if with == Digests::Sha256 {
            let source = self.source.clone();
            let digest = tokio::task::spawn_blocking(move || source.digest(extent)).await;
            let digest = digest.unwrap_or_else(|stopped| Err(io::Error::other(stopped).into()));
            let failed = |error: FileError| CallError::Permanent(error.to_string());
            request = request.header("content-digest", digest.map_err(failed)?);
        }
        let chunk = Chunk::new(self.source.clone(), extent, Arc::clone(progress));
        let request = request
            .body(Either::Right(chunk))
            .map_err(|error| CallError::Permanent(error.to_string()))?;
        status::of_answer(&self.url.client.call(request, progress, Duration::ZERO).await?)
    }

    async fn small(
        &self,
        method: &Method,
        uri: String,
        body: &str,
        patience: Duration,
    ) -> Result<Answer, CallError> {
        let mut request = Request::builder().method(method).uri(uri);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request: Request<RequestBody> = request
            .body(Either::Left(Full::new(Bytes::from(body.to_owned()))))
            .map_err(|error| CallError::Permanent(error.to_string()))?;
        self.url.client.call(request, &BodyProgress::default(), patience).await
    }
}

/// The next chunk: the first bytes that are neither known nor under way, at most so many.
pub(super) fn next_chunk(taken: &ExtentSet, length: u64, most: u64) -> Option<Extent> {
    let missing = taken.missing_in(Extent::new(0, length)?);
    let first = *missing.as_slice().first()?;
    Extent::new(first.start(), first.end().min(first.start().saturating_add(most)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u64, u64)]) -> ExtentSet {
        let mut set = ExtentSet::new();
        for &(start, end) in ranges {
            set.insert(Extent::new(start, end).unwrap());
        }
        set
    }

    #[test]
    fn what_is_sent_next() {
        let check = |taken: &[(u64, u64)], expected: Option<(u64, u64)>| {
            let next = next_chunk(&set(taken), 100, 10);
            let next = next.map(|extent| (extent.start(), extent.end()));
            assert_eq!(next, expected, "{taken:?}");
        };
        check(&[], Some((0, 10)));
        check(&[(0, 10)], Some((10, 20)));
        check(&[(0, 10), (20, 30)], Some((10, 20)));
        check(&[(3, 50)], Some((0, 3)));
        check(&[(0, 95)], Some((95, 100)));
        check(&[(0, 100)], None);
        assert_eq!(next_chunk(&set(&[]), 0, 10), None);
        assert_eq!(next_chunk(&set(&[]), u64::MAX, u64::MAX).unwrap().len(), u64::MAX);
    }
}
