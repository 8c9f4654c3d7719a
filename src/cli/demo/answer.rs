//! What the web app answers with: text, JSON, the page from inside the binary, a received file; and the headers that all
//! its answers have.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream as _;
use http_body_util::{Either, Full};
use hyper::body::{Body, Frame};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, Take};
use tokio_util::io::ReaderStream;

/// Small, or a file from the disk.
pub(super) type AnswerBody = Either<Full<Bytes>, FileBody>;

/// An answer of the web app, or of the server beside it.
pub(super) type Answer = Response<AnswerBody>;

/// The page's own scripts, styles and requests, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'",
);
/// Bytes of a file that are read at a time.
const BLOCK_BYTES: usize = 256 << 10;

/// Text for programs and people.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Answer {
    whole(status, "text/plain; charset=utf-8", Bytes::from(text.into()))
}

/// JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(content) => whole(status, "application/json", content.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// The file of the page at this path; browsers ask for it anew each time, since it goes with the binary.
pub(super) fn asset(path: &str) -> Option<Answer> {
    let (content_type, content): (_, &'static [u8]) = match path {
        "/" => ("text/html; charset=utf-8", include_bytes!("page/index.html")),
        "/page.js" => ("text/javascript; charset=utf-8", include_bytes!("page/page.js")),
        "/doctor.js" => ("text/javascript; charset=utf-8", include_bytes!("page/doctor.js")),
        "/style.css" => ("text/css; charset=utf-8", include_bytes!("page/style.css")),
        "/favicon.svg" => ("image/svg+xml", include_bytes!("page/favicon.svg")),
        _ => return None,
    };
    let mut answer = whole(StatusCode::OK, content_type, Bytes::from_static(content));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(answer)
}

/// A file of `length` bytes, which the browser saves under this name and never shows.
pub(super) fn download(file: std::fs::File, length: u64, name: &str) -> Answer {
    let file = File::from_std(file).take(length);
    let body = FileBody(ReaderStream::with_capacity(file, BLOCK_BYTES));
    let mut answer = Response::new(Either::Right(body));
    // The extended notation of RFC 8187.
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let disposition = HeaderValue::try_from(format!("attachment; filename*=UTF-8''{name}"));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CONTENT_LENGTH, length.into());
    headers
        .insert(CONTENT_DISPOSITION, disposition.unwrap_or(HeaderValue::from_static("attachment")));
    answer
}

/// The path is right, the method is not.
pub(super) fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, format!("allowed here: {allowed}\n"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Adds the headers of every answer of the web app.
pub(super) fn guard(answer: &mut Answer) {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert("cross-origin-resource-policy", same_origin.clone());
    headers.insert("cross-origin-opener-policy", same_origin);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The answer to `HEAD`: hyper leaves the body out on HTTP/1.1 alone.
pub(super) fn head_only(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(CONTENT_LENGTH, length.into());
    }
    Response::from_parts(head, Either::Left(Full::default()))
}

fn whole(status: StatusCode, content_type: &'static str, content: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(content)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The bytes of a file, read block by block as the browser takes them.
pub(super) struct FileBody(ReaderStream<Take<File>>);

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.0).poll_next(cx).map_ok(Frame::data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn files_arrive_whole_under_their_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        for length in [0, 1, BLOCK_BYTES, 2 * BLOCK_BYTES + 17] {
            let content: Vec<u8> = (0..=250).cycle().take(length).collect();
            std::fs::write(&path, &content).unwrap();
            let file = std::fs::File::open(&path).unwrap();
            let answer = download(file, length as u64, "a \"b\"\r\nÜ.x");
            let name = &answer.headers()[CONTENT_DISPOSITION];
            assert_eq!(name, "attachment; filename*=UTF-8''a%20%22b%22%0D%0A%C3%9C%2Ex");
            assert_eq!(answer.headers()[CONTENT_LENGTH], length.to_string());
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), content);
        }
    }
}
