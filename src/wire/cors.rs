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

/// Header names of a dialect.
pub(super) struct HeaderNames {
    /// What its requests may have: allowed whatever a preflight asks for, so that one preflight serves an upload.
    pub(super) sent: &'static str,
    /// What a page may read of its answers.
    pub(super) exposed: &'static str,
}

impl Cors {
    /// The headers that every frontend answer carries, errors too.
    pub(super) fn headers(&self, request: &HeaderMap, names: &HeaderNames) -> HeaderMap {
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
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(names.exposed));
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
    headers.append(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(exchange.dialect.header_names().sent),
    );
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
const TIMING_ALLOW_ORIGIN: &str = "timing-allow-origin";
