//! A chunk's bytes on their way out: read from the file where they are needed, block by block, and
//! never finished of a file that has changed since its upload began.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use sha2::Digest as _;
use tokio::task::JoinHandle;

use super::call::BodyProgress;
use super::identity::{FileError, FileStat};
use crate::core::extent::Extent;

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
    use super::*;
    use http_body_util::BodyExt;

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
