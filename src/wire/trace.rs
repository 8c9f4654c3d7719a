//! What a request is called in the log, and the trace it belongs to.
//!
//! Both come from outside and go into logs, headers and calls to backends, so they are taken from those who are
//! trusted alone, and in a strict form or not at all; neither is ever a reason to refuse a request.

use super::access::Access;
use super::{Caller, route::Route};
use crate::core::dialect::{Client, Dialect};
use crate::core::digest::hex;
use crate::engine::context::RequestContext;
use hyper::header::{HeaderMap, USER_AGENT};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// The header that names a request, in an answer and, from a trusted proxy, in a request.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// The request with these headers, as the cause of what follows from it.
pub(super) fn cause(
    headers: &HeaderMap,
    route: Route,
    caller: &Caller,
    access: &Access,
    dialect: Dialect,
) -> RequestContext {
    let trusted = access.trusts(caller);
    let given = headers.get(REQUEST_ID).filter(|_| trusted);
    let given = given.and_then(|value| value.to_str().ok()).filter(|id| is_request_id(id));
    // A ticket id opens an upload; as the name of a request it would get into the log.
    let given = given.filter(|id| route.ticket().is_none_or(|ticket| !tells(id, &ticket)));
    let request = given.map_or_else(fresh, str::to_owned);
    // An untrusted client's would put the backend's spans into a trace of its choice, sampled as it
    // likes; where none is passed on the backend begins one. What follows from a backend call follows where it was let in.
    // Source: W3C Trace Context, security considerations, denial of service.
    let believed = trusted || matches!(route, Route::Backend(_));
    let agent = if route.is_upload() { agent(headers) } else { None };
    let client = Client { dialect, agent };
    RequestContext::new(request, believed.then(|| traceparent(headers)).flatten(), client)
}

/// What the client says that it is, where that is plain text: it is kept with its upload.
fn agent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(USER_AGENT)?.to_str().ok()?;
    Some(text.chars().filter(|c| !c.is_control()).take(MOST_AGENT).collect())
}

/// A new id: 16 hexadecimal digits that tell neither how many came before nor which come next. Two of one run that
/// are alike are not to be expected before some billions.
///
/// A keyed hash of a counter; the key is this process's own, from the system's random source.
fn fresh() -> String {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static NEXT: AtomicU64 = AtomicU64::new(1);
    hex(&KEY.hash_one(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
}

/// Whether a name has this ticket id in it, however it is spelt.
fn tells(name: &str, ticket: &str) -> bool {
    let digits =
        |text: &str| text.replace(|c: char| !c.is_ascii_hexdigit(), "").to_ascii_lowercase();
    digits(name).contains(&digits(ticket))
}

fn is_request_id(id: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:=+/".contains(&byte);
    (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(fine)
}

/// The header `traceparent`, if it comes once and is one. A later version is passed on as far as it is
/// known, in the known version.
///
/// Source: W3C Trace Context, section 3.2.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (known, later) = value.split_at_checked(TRACEPARENT)?;
    let mut parts = known.split('-');
    let mut part = |digits: usize| {
        let part = parts.next()?;
        let hex = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (part.len() == digits && hex).then_some(part)
    };
    let (version, trace, parent, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
    let none = |id: &str| id.bytes().all(|digit| digit == b'0');
    let fits =
        if version == "00" { later.is_empty() } else { later.is_empty() || later.starts_with('-') };
    if version == "ff" || none(trace) || none(parent) || !fits {
        return None;
    }
    Some(format!("00-{trace}-{parent}-{flags}"))
}

/// Longer names are no names.
const MAX_REQUEST_ID: usize = 64;
/// Characters that are kept of a `User-Agent`: those of browsers name the machine first, which takes about 110.
const MOST_AGENT: usize = 200;
/// Characters of a `traceparent` of version 00.
const TRACEPARENT: usize = 55;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::id::TicketId;
    use crate::wire::route::{BackendCall, DoctorPart};
    use hyper::header::HeaderValue;

    fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_a_trusted_proxy_names_a_request() {
        let access =
            Access { trusted_proxies: vec!["10.0.0.1/32".parse().unwrap()], ..Access::default() };
        let ticket = TicketId::from_random([7; 16]);
        let name = |peer: &str, id: &str| {
            let caller = Caller { address: Some(peer.parse().unwrap()), ..Caller::unix() };
            let route = Route::Upload(Some(ticket));
            cause(&headers(REQUEST_ID, &[id]), route, &caller, &access, Dialect::Native)
                .request()
                .to_owned()
        };
        let long = "x".repeat(65);
        for good in ["a", "Root=1-67891233-abc", "4bf92f35:77", &long[1..]] {
            assert_eq!(name("10.0.0.1", good), good);
            assert_ne!(name("10.0.0.2", good), good);
        }
        let whole = ticket.to_string();
        let (loud, plain) = (whole.to_uppercase(), whole.replace('-', ""));
        let within = format!("x:{loud}/{}", &plain[..8]);
        for bad in ["", "a b", "a\"b", "{}", "<x>", "\tx", &long, &whole, &loud, &plain, &within] {
            let name = name("10.0.0.1", bad);
            assert!(name != bad && is_request_id(&name), "{bad}");
        }
    }

    /// A counter in a name tells clients how busy the server is.
    #[test]
    fn fresh_names_are_of_one_form_and_in_no_order() {
        let names: Vec<String> = (0..1000).map(|_| fresh()).collect();
        let number = |name: &String| u64::from_str_radix(name, 16).unwrap();
        for name in &names {
            assert!(name.len() == 16 && is_request_id(name), "{name}");
            assert_eq!(*name, format!("{:016x}", number(name)), "lower case");
        }
        let steps = names.windows(2).map(|pair| number(&pair[1]).wrapping_sub(number(&pair[0])));
        let steps: std::collections::HashSet<u64> = steps.collect();
        assert!(steps.len() > 990, "{} steps of 999 differ", steps.len());
    }

    #[test]
    fn only_who_is_trusted_names_a_trace() {
        let access =
            Access { trusted_proxies: vec!["10.0.0.1/32".parse().unwrap()], ..Access::default() };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let check = |peer: Option<&str>, route: Route, believed: bool| {
            let address = peer.map(|peer| peer.parse().unwrap());
            let caller = Caller { address, ..Caller::unix() };
            let cause =
                cause(&headers("traceparent", &[good]), route, &caller, &access, Dialect::Native);
            assert_eq!(cause.traceparent(), believed.then_some(good), "{peer:?} {route:?}");
        };
        for route in [Route::Upload(None), Route::Doctor(DoctorPart::Probe), Route::Unknown] {
            check(Some("10.0.0.1"), route, true);
            check(Some("10.0.0.2"), route, false);
            check(Some("127.0.0.1"), route, false);
            check(None, route, false);
        }
        let backend = Route::Backend(BackendCall::RetryHandover);
        check(Some("10.0.0.2"), backend, true);
        check(None, backend, true);
    }

    #[test]
    fn traces() {
        let check = |values: &[&str], expected: Option<&str>| {
            assert_eq!(
                traceparent(&headers("traceparent", values)).as_deref(),
                expected,
                "{values:?}"
            );
        };
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        check(&[good], Some(good));
        check(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-else"], Some(good));
        check(&["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"], Some(good));
        check(&[], None);
        check(&[good, good], None);
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        ] {
            check(&[bad], None);
        }
    }
}
