//! The bytes of a file as a body: read block by block as the browser takes them.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

/// Bytes read at a time: a thread hop for each costs little, and a browser that reads slowly holds
/// no more than two of them.
const BLOCK_BYTES: u64 = 256 << 10;

/// The bytes of a file. Dropped half-way, a read under way ends by itself.
pub(super) struct FileBody {
    state: State,
    left: u64,
}

impl FileBody {
    /// The next `length` bytes of `file`.
    pub(super) fn new(file: File, length: u64) -> Self {
        Self { state: State::Idle(file), left: length }
    }
}

type Block = (File, io::Result<Vec<u8>>);

enum State {
    Idle(File),
    Reading(JoinHandle<Block>),
    Over,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Poll::Ready(None),
                State::Idle(_) if self.left == 0 => return Poll::Ready(None),
                State::Idle(file) => {
                    let left = self.left;
                    let read = move || read(file, left);
                    self.state = State::Reading(tokio::task::spawn_blocking(read));
                }
                State::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(cx) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    let (file, block) = read.map_err(io::Error::other)?;
                    let block = block?;
                    if block.is_empty() {
                        let why = "the file was truncated while it was sent";
                        return Poll::Ready(Some(Err(io::Error::other(why))));
                    }
                    self.left -= block.len() as u64;
                    self.state = State::Idle(file);
                    return Poll::Ready(Some(Ok(Frame::data(block.into()))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The next block, never beyond what was announced.
fn read(mut file: File, left: u64) -> Block {
    let most = left.min(BLOCK_BYTES);
    // Room for all of it, so that it is read in one go.
    let mut block = Vec::with_capacity(usize::try_from(most).unwrap_or(0));
    let read = (&mut file).take(most).read_to_end(&mut block);
    (file, read.map(|_| block))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn files_arrive_in_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for length in [0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 17] {
            let content: Vec<u8> =
                (0..=250).cycle().take(usize::try_from(length).unwrap()).collect();
            std::fs::write(&path, &content).unwrap();
            let body = FileBody::new(File::open(&path).unwrap(), length);
            assert_eq!(body.size_hint().exact(), Some(length));
            assert_eq!(body.collect().await.unwrap().to_bytes(), content);
        }
    }
}
