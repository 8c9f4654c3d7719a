//! A received file on its way to a browser: read block by block as the browser takes it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Either;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::task::JoinHandle;

use super::answer::Answer;

/// Bytes read at a time: a thread hop for each costs little, and a browser that reads slowly holds
/// no more than two of them.
const BLOCK_BYTES: usize = 256 << 10;

/// What stays as it is in an extended value, besides letters and digits. Source: RFC 8187, section
/// 3.2.1 (`attr-char`).
const ATTR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The answer that carries a file under this name; the browser saves it and never shows it. Blocking.
pub(super) fn answer(path: &Path, name: &str) -> io::Result<Answer> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut answer =
        Response::new(Either::Right(FileBody { state: State::Idle(file), left: length }));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CONTENT_DISPOSITION, disposition(name));
    Ok(answer)
}

/// Saved under this name: in full for whoever knows RFC 8187, in ASCII for the rest.
fn disposition(name: &str) -> HeaderValue {
    let plain = |c: char| match c {
        '"' | '\\' | '%' | '/' => '_',
        ' '..='~' => c,
        _ => '_',
    };
    let ascii: String = name.chars().map(plain).collect();
    let full = utf8_percent_encode(name, ATTR);
    HeaderValue::try_from(format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{full}"))
        .unwrap_or(HeaderValue::from_static("attachment"))
}

/// The bytes of a file. Dropped half-way, a read under way ends by itself.
pub(super) struct FileBody {
    state: State,
    left: u64,
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
                        let why = "the file became shorter while it was sent";
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
    let most = usize::try_from(left).map_or(BLOCK_BYTES, |left| left.min(BLOCK_BYTES));
    let mut block = vec![0; most];
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (file, Err(error)),
        }
    }
    block.truncate(filled);
    (file, Ok(block))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[test]
    fn names_in_headers() {
        let check = |name: &str, expected: &str| {
            let value = disposition(name);
            assert_eq!(value.to_str().unwrap(), format!("attachment; {expected}"));
        };
        check("film.mp4", "filename=\"film.mp4\"; filename*=UTF-8''film.mp4");
        check("a \"b\"\\%.x", "filename=\"a _b___.x\"; filename*=UTF-8''a%20%22b%22%5C%25.x");
        check("Ü'例", "filename=\"_'_\"; filename*=UTF-8''%C3%9C%27%E4%BE%8B");
        check("x\r\n<script>", "filename=\"x__<script>\"; filename*=UTF-8''x%0D%0A%3Cscript%3E");
    }

    #[tokio::test]
    async fn files_arrive_in_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for length in [0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 17] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            std::fs::write(&path, &content).unwrap();
            let answer = answer(&path, "file").unwrap();
            assert_eq!(answer.headers()[CONTENT_LENGTH], length.to_string());
            let body = answer.into_body().collect().await.unwrap();
            assert_eq!(body.to_bytes(), content);
        }
    }
}
