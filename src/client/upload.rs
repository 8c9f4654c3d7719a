//! The requests about one upload, at its URL.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE};
use hyper::{Method, Request};
use sha2::Digest as _;
use tokio::task::JoinHandle;

use super::call::{Answer, BodyProgress, Client};
use super::error::CallError;
use super::identity::{FileError, FileStat};
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
pub(super) fn next_chunk(taken: &ExtentSet, length: u64, size: ChunkBytes) -> Option<Extent> {
    let missing = taken.missing_in(Extent::new(0, length)?);
    let first = *missing.as_slice().first()?;
    let end = first.start().saturating_add(size.most);
    if end >= first.end() {
        return Some(first);
    }
    let whole = size.align.filter(|align| *align > 0).map(|align| end - end % align);
    whole
        .and_then(|end| Extent::new(first.start(), end))
        .or_else(|| Extent::new(first.start(), end))
}

/// How large a chunk is.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkBytes {
    /// At most so many bytes.
    pub(super) most: u64,
    /// Where it reaches a multiple of this, it ends there.
    pub(super) align: Option<u64>,
}

/// Bytes read at a time: a thread hop for each costs little, and each chunk in flight holds two.
const BLOCK_BYTES: u64 = 256 << 10;

/// The body of a chunk's request. Dropped half-way, a read under way ends by itself.
pub(crate) struct Chunk {
    source: Source,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<Result<Vec<u8>, FileError>>>,
    progress: Arc<BodyProgress>,
}

/// A file as it was when its upload began.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) file: Arc<File>,
    pub(crate) stat: FileStat,
}

impl Source {
    /// Blocks. Before the last bytes of a chunk leave, the file is looked at: without them the chunk
    /// is not whole, and the server cannot have the whole file.
    fn read(&self, at: u64, length: u64, end: u64) -> Result<Vec<u8>, FileError> {
        let mut block = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut block, at).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => FileError::Shorter,
            _ => error.into(),
        })?;
        if at + length == end {
            self.stat.still(&self.file)?;
        }
        Ok(block)
    }

    /// `Content-Digest` of a chunk. Blocks: reads it once more, mostly from memory.
    pub(super) fn digest(&self, extent: Extent) -> Result<String, FileError> {
        let mut hash = sha2::Sha256::new();
        let mut at = extent.start();
        while at < extent.end() {
            let length = (extent.end() - at).min(BLOCK_BYTES);
            hash.update(self.read(at, length, extent.end())?);
            at += length;
        }
        Ok(format!("sha-256=:{}:", BASE64_STANDARD.encode(hash.finalize())))
    }
}

impl Chunk {
    pub(crate) fn new(source: Source, extent: Extent, progress: Arc<BodyProgress>) -> Self {
        Self { source, at: extent.start(), end: extent.end(), reading: None, progress }
    }
}

impl Body for Chunk {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.at == self.end {
            return Poll::Ready(None);
        }
        let (at, end) = (self.at, self.end);
        let length = (end - at).min(BLOCK_BYTES);
        let source = self.source.clone();
        let reading = self.reading.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || source.read(at, length, end))
        });
        let Poll::Ready(read) = Pin::new(reading).poll(cx) else { return Poll::Pending };
        self.reading = None;
        Poll::Ready(Some(
            match read.unwrap_or_else(|stopped| Err(io::Error::other(stopped).into())) {
                Ok(block) => {
                    self.at += length;
                    self.progress.add(length);
                    Ok(Frame::data(block.into()))
                }
                Err(error) => {
                    self.progress.fail(error.to_string());
                    Err(io::Error::other(error))
                }
            },
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.at == self.end
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.end - self.at)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

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
        let size = |most, align| ChunkBytes { most, align };
        let check = |taken: &[(u64, u64)], size: ChunkBytes, expected: Option<(u64, u64)>| {
            let next = next_chunk(&set(taken), 100, size);
            let next = next.map(|extent| (extent.start(), extent.end()));
            assert_eq!(next, expected, "{taken:?} {size:?}");
        };
        let ten = size(10, None);
        check(&[], ten, Some((0, 10)));
        check(&[(0, 10)], ten, Some((10, 20)));
        check(&[(0, 10), (20, 30)], ten, Some((10, 20)));
        check(&[(3, 50)], ten, Some((0, 3)));
        check(&[(0, 95)], ten, Some((95, 100)));
        check(&[(0, 100)], ten, None);
        // It ends where a part of the server does, where it reaches one.
        check(&[], size(20, Some(8)), Some((0, 16)));
        check(&[(0, 6)], size(4, Some(8)), Some((6, 8)));
        check(&[(0, 9)], size(4, Some(8)), Some((9, 13)));
        check(&[(0, 9), (12, 20)], size(4, Some(8)), Some((9, 12)));
        check(&[(0, 90)], size(30, Some(8)), Some((90, 100)));
        check(&[], size(20, Some(0)), Some((0, 20)));
        assert_eq!(next_chunk(&set(&[]), 0, size(10, None)), None);
        assert_eq!(next_chunk(&set(&[]), u64::MAX, size(u64::MAX, None)).unwrap().len(), u64::MAX);
    }

    #[tokio::test]
    async fn holds_exactly_its_range_of_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..=250).cycle().take(700_000).collect();
        std::fs::write(&path, &content).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        let stat = FileStat::of(&file.metadata().unwrap());
        let source = Source { file, stat };
        let chunk = |start: u64, end: u64| {
            let progress = Arc::new(BodyProgress::default());
            let extent = Extent::new(start, end).unwrap();
            (Chunk::new(source.clone(), extent, Arc::clone(&progress)), progress)
        };
        for (start, end) in [(0, 1), (3, 600_003), (699_999, 700_000)] {
            let (body, progress) = chunk(start, end);
            assert_eq!(body.size_hint().exact(), Some(end - start));
            let bytes = body.collect().await.unwrap().to_bytes();
            let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
            assert_eq!(bytes, content[range]);
            assert_eq!(progress.moved(), end - start);
        }
        let digest = source.digest(Extent::new(3, 600_003).unwrap()).unwrap();
        let expected = BASE64_STANDARD.encode(sha2::Sha256::digest(&content[3..600_003]));
        assert_eq!(digest, format!("sha-256=:{expected}:"));
        let (body, progress) = chunk(0, 700_001);
        assert!(body.collect().await.is_err());
        assert_eq!(progress.fault().as_deref(), Some("the file was truncated"));
        // Changed behind the chunk: all of it but its last block leaves.
        let longer = File::options().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut { longer }, b"more").unwrap();
        let (body, progress) = chunk(0, 300_000);
        assert!(body.collect().await.is_err());
        assert_eq!(progress.moved(), BLOCK_BYTES);
        assert_eq!(progress.fault().as_deref(), Some("the file changed while it was uploaded"));
    }
}
