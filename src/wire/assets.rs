//! The browser library, served from inside the binary.

use super::Answer;
use super::header::accepts;
use super::problem::Problem;
use super::reply::no_content;
use crate::core::digest::hex;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use sha2::Digest as _;
use std::io::Write;
use std::sync::LazyLock;

struct Asset {
    plain: &'static [u8],
    gzip: Vec<u8>,
    tag: String,
}

impl Asset {
    fn new(plain: &'static [u8]) -> Self {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let gzip = gzip.write_all(plain).and_then(|()| gzip.finish()).unwrap_or_default();
        let digest = sha2::Sha256::digest(plain);
        let tag = hex(&digest[..8]);
        Self { plain, gzip, tag }
    }
}

/// A script that the server gives to pages: its place in the table of scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script(usize);

impl Script {
    /// The script with this path behind `frontend/`.
    pub fn at(path: &str) -> Option<Self> {
        SCRIPTS.iter().position(|(known, _)| *known == path).map(Self)
    }
}

macro_rules! script {
    ($path:literal) => {
        (
            $path,
            LazyLock::new(|| Asset::new(include_bytes!(concat!("../../incoming-js/dist/", $path)))),
        )
    };
}

/// Path and bytes of each script. Compressed when it is first asked for.
static SCRIPTS: [(&str, LazyLock<Asset>); 8] = [
    // The global `incoming`.
    script!("incoming.js"),
    // An ES module.
    script!("incoming.mjs"),
    // The element `<incoming-upload>`, with the library in it; its texts in other languages than English.
    script!("incoming-ui.js"),
    script!("locales/de.js"),
    script!("locales/es.js"),
    script!("locales/fr.js"),
    script!("locales/ja.js"),
    script!("locales/nb.js"),
];

/// The answer to a request for a script.
pub fn answer(script: Script, head: &Parts) -> Answer {
    if head.method == Method::OPTIONS {
        return no_content();
    }
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return Problem::method(&head.method, "GET, HEAD, OPTIONS").into_answer();
    }
    let (_, asset) = &SCRIPTS[script.0];
    let text = |name| head.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let gzip = !asset.gzip.is_empty() && accepts(&head.headers, "accept-encoding", "gzip");
    let tag = if gzip { format!("\"{}-gzip\"", asset.tag) } else { format!("\"{}\"", asset.tag) };
    let fresh = text(IF_NONE_MATCH).split(',').any(|held| {
        let held = held.trim();
        held == "*" || held.trim_start_matches("W/") == tag
    });
    let body = match (fresh, gzip) {
        (true, _) => Bytes::new(),
        (false, true) => Bytes::from_static(&asset.gzip),
        (false, false) => Bytes::from_static(asset.plain),
    };
    let mut answer = Response::new(Full::new(body));
    if fresh {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    // Pages that isolate themselves (COEP) may load it too.
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("cross-origin"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    if gzip && !fresh {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}
