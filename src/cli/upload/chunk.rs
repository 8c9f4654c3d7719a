//! A chunk's bytes on their way out: read from the file where they are needed, block by block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::core::extent::Extent;

/// Bytes read at a time: a thread hop for each costs little, and each chunk in flight holds two.
const BLOCK_BYTES: u64 = 256 << 10;

/// What became of a chunk's bytes so far; the sender looks at it from outside.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    moved: AtomicU64,
    fault: Mutex<Option<String>>,
}

impl Gauge {
    /// Bytes handed to the network.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Why the file could not be read, if so.
    pub(super) fn fault(&self) -> Option<String> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The body of a chunk's request. Dropped half-way, a read under way ends by itself.
pub(super) struct Chunk {
    file: Arc<File>,
    at: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    gauge: Arc<Gauge>,
}

impl Chunk {
    pub(super) fn new(file: Arc<File>, extent: Extent, gauge: Arc<Gauge>) -> Self {
        Self { file, at: extent.start(), end: extent.end(), reading: None, gauge }
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
        let (at, length) = (self.at, (self.end - self.at).min(BLOCK_BYTES));
        let file = Arc::clone(&self.file);
        let reading = self.reading.get_or_insert_with(|| {
            tokio::task::spawn_blocking(move || {
                let mut block = vec![0; usize::try_from(length).unwrap_or(0)];
                file.read_exact_at(&mut block, at)?;
                Ok(block)
            })
        });
        let Poll::Ready(read) = Pin::new(reading).poll(cx) else { return Poll::Pending };
        self.reading = None;
        Poll::Ready(Some(match read.map_err(io::Error::other).and_then(|block| block) {
            Ok(block) => {
                self.at += length;
                self.gauge.moved.fetch_add(length, Ordering::Relaxed);
                Ok(Frame::data(block.into()))
            }
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::UnexpectedEof => "the file became shorter".to_owned(),
                    _ => format!("cannot be read: {error}"),
                };
                *self.gauge.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                Err(error)
            }
        }))
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
    async fn holds_exactly_its_range() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..=250).cycle().take(700_000).collect();
        std::fs::write(&path, &content).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        for (start, end) in [(0, 1), (3, 600_003), (699_999, 700_000)] {
            let gauge = Arc::new(Gauge::default());
            let extent = Extent::new(start, end).unwrap();
            let chunk = Chunk::new(Arc::clone(&file), extent, Arc::clone(&gauge));
            assert_eq!(chunk.size_hint().exact(), Some(end - start));
            let bytes = chunk.collect().await.unwrap().to_bytes();
            let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
            assert_eq!(bytes, content[range]);
            assert_eq!(gauge.moved(), end - start);
        }
        let gauge = Arc::new(Gauge::default());
        let extent = Extent::new(0, 700_001).unwrap();
        assert!(Chunk::new(file, extent, Arc::clone(&gauge)).collect().await.is_err());
        assert_eq!(gauge.fault().as_deref(), Some("the file became shorter"));
    }
}
