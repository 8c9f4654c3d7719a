//! How a chunk is said to a server: as this project does, or as those that it is compared with.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use clap::ValueEnum;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Method, Request};

use super::BenchError;
use crate::core::extent::Extent;
use crate::storage::clock::fill_random;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dialect {
    /// `PUT` with `Content-Range` to a ticket's URL.
    Incoming,
    /// `PUT` with `Content-Range` to a path for each file, no tickets.
    Range,
    /// `PUT` to a path for each chunk: what a plain file server takes.
    Files,
    /// tus 1.0: `PATCH` with `Upload-Offset`, to a ticket's tus URL or a file created at another server.
    Tus,
    /// The IETF's resumable uploads: `PATCH` with `Upload-Offset` and `Upload-Complete`, to a ticket's URL for that.
    Resumable,
}

/// The body of a request: small, or a chunk.
pub(super) type RequestBody = Either<Full<Bytes>, Chunk>;

/// A file on its way.
#[derive(Debug)]
pub(super) struct File {
    /// Where it is uploaded to.
    pub(super) path: String,
    /// Its number among the files.
    pub(super) number: u32,
    /// The ticket, where there is one.
    pub(super) id: String,
}

impl Dialect {
    /// As the command line has it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Incoming => "incoming",
            Self::Range => "range",
            Self::Files => "files",
            Self::Tus => "tus",
            Self::Resumable => "resumable",
        }
    }

    /// Whether a chunk is taken only behind those before it.
    pub(super) fn appends(self) -> bool {
        match self {
            Self::Incoming | Self::Range | Self::Files => false,
            Self::Tus | Self::Resumable => true,
        }
    }

    /// The request that stores `extent` of a file that is `length` long.
    pub(super) fn chunk(
        self,
        file: &File,
        extent: Extent,
        length: u64,
        body: Chunk,
    ) -> Request<RequestBody> {
        let mut request = Request::new(Either::Right(body));
        *request.method_mut() = if self.appends() { Method::PATCH } else { Method::PUT };
        let path = match self {
            Self::Files => format!("{}{}-{}", file.path, file.number, extent.start()),
            Self::Incoming | Self::Range | Self::Tus | Self::Resumable => file.path.clone(),
        };
        *request.uri_mut() = path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        match self {
            Self::Incoming | Self::Range => {
                let range = format!("bytes {}-{}/{length}", extent.start(), extent.end() - 1);
                headers.extend(range.parse().ok().map(|value| (CONTENT_RANGE, value)));
            }
            Self::Files => {}
            Self::Tus => {
                headers.insert("tus-resumable", hyper::http::HeaderValue::from_static("1.0.0"));
                headers.insert("upload-offset", extent.start().into());
                let kind = "application/offset+octet-stream";
                headers.insert(CONTENT_TYPE, hyper::http::HeaderValue::from_static(kind));
            }
            Self::Resumable => {
                headers.insert("upload-offset", extent.start().into());
                let complete = if extent.end() == length { "?1" } else { "?0" };
                let complete = hyper::http::HeaderValue::from_static(complete);
                headers.insert("upload-complete", complete);
                let kind = "application/partial-upload";
                headers.insert(CONTENT_TYPE, hyper::http::HeaderValue::from_static(kind));
            }
        }
        request
    }
}

/// The bytes of a chunk: slices of one piece of memory, none of them copied here.
pub(super) struct Chunk {
    content: Bytes,
    frame: usize,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl Chunk {
    /// `length` bytes in frames of `frame`, counted in `sent` as they are taken.
    pub(super) fn new(content: Bytes, frame: usize, length: u64, sent: Arc<AtomicU64>) -> Self {
        let frame = frame.min(content.len());
        Self { content, frame, left: length, sent }
    }
}

/// Chance bytes to slice from: larger than any frame, so that each has others.
pub(super) fn content() -> Result<Bytes, BenchError> {
    let mut content = vec![0; 4 * FRAME_MOST];
    fill_random(&mut content).map_err(BenchError::Random)?;
    Ok(content.into())
}

impl Body for Chunk {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = self.left.min(self.frame as u64);
        let spread = (self.content.len() - self.frame) as u64 + 1;
        // Somewhere else each time, without a generator on the way.
        let at = usize::try_from(self.left.wrapping_mul(SPREAD) % spread).unwrap_or(0);
        let bytes = self.content.slice(at..at + usize::try_from(length).unwrap_or(self.frame));
        self.left -= length;
        self.sent.fetch_add(length, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The largest frame.
pub(super) const FRAME_MOST: usize = 1 << 20;
/// A large prime: multiples of it fall everywhere.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C55;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_chunk_is_as_long_as_it_says() {
        let content = content().unwrap();
        for (frame, length) in [(1, 5), (16_384, 100_000), (FRAME_MOST, 3 << 20), (usize::MAX, 9)] {
            let sent = Arc::new(AtomicU64::new(0));
            let chunk = Chunk::new(content.clone(), frame, length, Arc::clone(&sent));
            assert_eq!(chunk.size_hint().exact(), Some(length));
            let bytes = chunk.collect().await.unwrap().to_bytes();
            assert_eq!((bytes.len() as u64, sent.load(Ordering::Relaxed)), (length, length));
        }
    }

    #[test]
    fn says_it_as_the_server_wants_it() {
        let check = |dialect: Dialect, line: &str, header: Option<(&str, &str)>| {
            let file = File { path: "/u/".into(), number: 3, id: String::new() };
            let chunk = Chunk::new(Bytes::from_static(b"x"), 1, 10, Arc::default());
            let request = dialect.chunk(&file, Extent::new(10, 20).unwrap(), 100, chunk);
            assert_eq!(format!("{} {}", request.method(), request.uri()), line);
            if let Some((name, value)) = header {
                assert_eq!(request.headers()[name], value);
            }
        };
        check(Dialect::Incoming, "PUT /u/", Some(("content-range", "bytes 10-19/100")));
        check(Dialect::Range, "PUT /u/", Some(("content-range", "bytes 10-19/100")));
        check(Dialect::Files, "PUT /u/3-10", None);
        check(Dialect::Tus, "PATCH /u/", Some(("upload-offset", "10")));
        check(Dialect::Resumable, "PATCH /u/", Some(("upload-complete", "?0")));
    }
}
