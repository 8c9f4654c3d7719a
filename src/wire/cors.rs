//! What pages of other origins may do: everything the frontend surface offers, never with cookies.
//!
//! Source: the Fetch standard, section 3.2 (CORS protocol).

use super::reply::no_content;
use super::{Answer, Exchange};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ALLOW,
    HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
};

/// Origins that may read answers.
#[derive(Clone, Debug)]
pub enum Cors {
    /// Any.
    Any,
    /// Only these, compared as they are.
    Only(Vec<String>),
}

impl Cors {
    /// The headers that every frontend answer carries, errors too.
    pub(super) fn headers(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::Any => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
                headers.insert(TIMING_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Self::Only(origins) => {
                headers.append(VARY, HeaderValue::from_static("Origin"));
                let origin = request.get(ORIGIN);
                let allowed = origin
                    .filter(|origin| origins.iter().any(|o| o.as_bytes() == origin.as_bytes()));
                if let Some(origin) = allowed {
                    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                    headers.insert(TIMING_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers
    }
}

/// The answer to `OPTIONS` where these methods are taken: what may be asked, and what a preflight asks for.
pub(super) fn preflight_answer(exchange: &Exchange, methods: &'static str) -> Answer {
    let request = &exchange.head.headers;
    let mut answer = no_content();
    let headers = answer.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.append(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(SENT));
    if let Some(names) = asked(request) {
        headers.append(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200"));
    answer
}

/// The names that a preflight asks for, of all its lines; `None` where one is no name of a header, or they are
/// longer than a page's: whatever that is, no browser sent it, and it is not repeated.
fn asked(request: &HeaderMap) -> Option<HeaderValue> {
    let mut names = Vec::new();
    for line in request.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        let line = line.to_str().ok()?.split(',').map(str::trim);
        names.extend(line.filter(|name| !name.is_empty()));
    }
    let good = names.iter().all(|name| HeaderName::from_bytes(name.as_bytes()).is_ok());
    let names = names.join(", ");
    if names.is_empty() || names.len() > MOST_ASKED || !good {
        return None;
    }
    HeaderValue::from_str(&names).ok()
}

/// Bytes of such names. HTTP/2 says 32 KiB of them in a few bytes, a hundred times, and may leave the answers unread.
const MOST_ASKED: usize = 1024;
/// What requests in any dialect may have: allowed whatever a preflight asks for, so that one preflight serves an upload.
const SENT: &str = "authorization, content-type, content-range, content-digest, content-disposition, \
    tus-resumable, upload-length, upload-defer-length, upload-metadata, upload-offset, upload-concat, \
    upload-checksum, upload-complete, upload-draft-interop-version, x-http-method-override, \
    x-requested-with, x-request-id";
/// What a page may read of answers in any dialect, errors too: a client whose page cannot read one of them fails in
/// browsers alone.
const EXPOSED: &str = "Location, Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, \
    Upload-Expires, Upload-Concat, Upload-Complete, Upload-Incomplete, Upload-Limit, \
    Upload-Draft-Interop-Version, Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, \
    Tus-Checksum-Algorithm, Retry-After, X-Request-Id";
const TIMING_ALLOW_ORIGIN: &str = "timing-allow-origin";
