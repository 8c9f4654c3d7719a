//! The answer that carries a received file to a browser, which saves it.

use std::io;
use std::path::Path;

use http_body_util::Either;
use hyper::Response;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::Answer;
use super::disk;
use super::file_body::FileBody;

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
    let file = disk::open(path)?;
    let length = file.metadata()?.len();
    let mut answer = Response::new(Either::Right(FileBody::new(file, length)));
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
