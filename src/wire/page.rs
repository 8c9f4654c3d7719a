//! The operator's page: files from inside the binary, which show what the backend API answers and call it.
//!
//! They hold no secret and grant nothing, so they are served without a token; every other rule of the backend surface
//! holds. A browser is told to run nothing but these files, to connect to nothing but this server, and to keep nothing.

use super::problem::Problem;
use super::reply::{describe, moved_to};
use super::{Answer, Exchange};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use hyper::{Method, Response};

/// A file of the page: its place in the table of files. The first one is the page itself, without the slash at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagePart(usize);

impl PagePart {
    /// The file with this path behind `backend`.
    pub fn at(path: &str) -> Option<Self> {
        PARTS.iter().position(|part| part.path == path).map(Self)
    }
}

struct Part {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! script {
    ($name:literal) => {
        Part {
            path: concat!("/", $name),
            media_type: "text/javascript; charset=utf-8",
            bytes: include_bytes!(concat!("page/", $name)),
        }
    };
}

const HTML: &str = "text/html; charset=utf-8";

static PARTS: [Part; 8] = [
    Part { path: "", media_type: HTML, bytes: b"" },
    Part { path: "/", media_type: HTML, bytes: include_bytes!("page/index.html") },
    Part {
        path: "/page.css",
        media_type: "text/css; charset=utf-8",
        bytes: include_bytes!("page/page.css"),
    },
    script!("page.js"),
    script!("api.js"),
    script!("dom.js"),
    script!("format.js"),
    script!("sections.js"),
];

/// The answer to a request for a file of the page.
pub(super) fn answer(part: PagePart, exchange: &Exchange) -> Result<Answer, Problem> {
    let Exchange { head, surface, caller, options, .. } = exchange;
    options.access.check_without_token(*surface, caller, head)?;
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Err(Problem::method(&head.method, "GET, HEAD"));
    }
    let Part { path, media_type, bytes } = &PARTS[part.0];
    if path.is_empty() {
        // Its files are named relative to it.
        return Ok(moved_to(HeaderValue::from_static("backend/"), "the page is at backend/\n"));
    }
    let mut answer = Response::new(Full::new(Bytes::from_static(bytes)));
    describe(answer.headers_mut(), media_type);
    for (name, value) in HEADERS {
        // In place of the policy of texts.
        answer.headers_mut().insert(name, value);
    }
    Ok(answer)
}

/// Beside the headers of every answer. Source of the policy's words: CSP level 3, Trusted Types.
const HEADERS: [(HeaderName, HeaderValue); 5] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
             trusted-types 'none'",
        ),
    ),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];
