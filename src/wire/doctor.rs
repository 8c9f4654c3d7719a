//! `/incoming/frontend/doctor`: says what arrived of a request, so that a client can tell what the path between them
//! did to it.
//!
//! It keeps nothing and gives away nothing of uploads. Anyone may ask it, so everything is bounded: the bytes and
//! the time of a request, how many are served at once, the length of an answer. It answers JSON alone, repeats a few
//! named headers of the request only, and never answers 5xx by itself: no client shall make a proxy believe that the
//! server is sick. Absent: holding back a read. What a path takes without being read is told by HTTP/2's windows, which
//! the client sees.

mod findings;

use super::body::BodyMemory;
use super::client_slots::{ClientSlots, Slot};
use super::cors::preflight_answer;
use super::forwarded::{self, Client};
use super::problem::{Code, Problem};
use super::reply::{hold_until_sent, json_answer, shown};
use super::route::DoctorPart;
use super::{Answer, Exchange};
use crate::core::limits::SharedLimit;
use crate::diagnosis::observed::{Arrived, ArrivedBody, Limits, Naming};
use crate::engine::Engine;
use crate::net::{InterimTo, PeerDisconnect, RequestBody};
use hyper::Method;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(any(test, feature = "testing"))]
pub(super) use findings::{MOST_ANSWER_BYTES, observed};

/// The path doctor, a service beside the uploads. Its requests share these.
pub(super) struct Doctor {
    engine: Arc<Engine>,
    probes: Arc<ClientSlots>,
    /// For answers that wait. A client that asks for one may leave unnoticed, so they take no slot of a request
    /// that does something.
    waits: Arc<ClientSlots>,
    /// For answers that their clients have not taken.
    untaken: Arc<ClientSlots>,
    /// For judgements, until their answers are taken.
    judgements: Arc<ClientSlots>,
    /// Memory for what clients have seen.
    memory: BodyMemory,
    /// Answers given; two with one number came out of a cache.
    serial: AtomicU64,
}

/// The parameters of a probe, from the query.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ProbeParams {
    /// A number of the client's, sent back.
    pub(super) probe: u64,
    /// How long the answer is to wait, once the body is there.
    pub(super) wait: Duration,
    /// Answer as this problem, before the body is read.
    refuse: Option<Code>,
    /// Send an interim answer before the answer, where the protocol has such.
    interim: bool,
    /// What the client believes to be its own address and port.
    pub(super) caller: Option<SocketAddr>,
}

impl Doctor {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: Arc::clone(engine),
            probes: ClientSlots::new(PROBES),
            waits: ClientSlots::new(WAITS),
            untaken: ClientSlots::new(UNTAKEN),
            judgements: ClientSlots::new(PROBES),
            memory: BodyMemory::new(findings::BODY_MEMORY_BYTES),
            serial: AtomicU64::new(0),
        }
    }

    /// The answer to one request.
    pub(super) async fn answer(
        &self,
        part: DoctorPart,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        let head = &exchange.head;
        let (methods, known): (_, &[Method]) = match part {
            DoctorPart::Probe => (METHODS, &PROBED),
            DoctorPart::Findings => (findings::METHODS, &[Method::POST]),
        };
        if head.method == Method::OPTIONS {
            return preflight_answer(exchange, methods);
        }
        if !known.contains(&head.method) {
            return Problem::method(&head.method, methods).into_answer();
        }
        match part {
            DoctorPart::Probe => self.probe(exchange, body).await.unwrap_or_else(|problem| {
                let mut answer = problem.into_answer();
                answer.headers_mut().extend(specimens(0));
                answer
            }),
            DoctorPart::Findings => {
                self.findings(exchange, body).await.unwrap_or_else(|problem| problem.into_answer())
            }
        }
    }

    async fn probe(&self, exchange: &Exchange, body: RequestBody) -> Result<Answer, Problem> {
        let Exchange { head, options, .. } = exchange;
        let slot = take(&self.probes, exchange)?;
        let began = Instant::now();
        let params = probe_params(head)?;
        if let Some(code) = params.refuse {
            return Err(Problem::new(code, "refused, as requested"));
        }
        let interim = body.interim().filter(|_| params.interim);
        if let Some(interim) = &interim {
            interim.send("104 Upload Resumption Supported", &HeaderMap::from_iter([MARK])).await;
        }
        let body = read(body, began).await?;
        drop(slot);
        if !params.wait.is_zero() {
            let _waits = take(&self.waits, exchange)?;
            // At the end of the server or of the connection it ends at once, like a long poll.
            tokio::select! {
                () = tokio::time::sleep(params.wait) => {}
                () = self.engine.draining().cancelled() => {}
                () = PeerDisconnect::gone(exchange.disconnect.as_ref()) => {}
            }
        }
        let untaken = take(&self.untaken, exchange)?;
        let mut sent = specimens(body.bytes);
        // HEAD's answer has no body to say by what method it was asked for.
        sent.extend(HeaderValue::from_str(head.method.as_str()).ok().map(|name| (METHOD, name)));
        let mut said = options.cors.headers(&head.headers);
        said.extend(sent.clone());
        let report = Arrived {
            doctor: 1,
            probe: params.probe,
            serial: self.serial.fetch_add(1, Ordering::Relaxed),
            method: head.method.to_string(),
            version: format!("{:?}", head.version),
            headers: repeated(&head.headers),
            body,
            sent: texts(&said),
            interim_sent: interim.is_some(),
            limits: Limits {
                interim_always: options.resumable_104 == InterimTo::Always,
                chunk_size: options.chunk_size,
                max_chunk_size: self.engine.options().limits.max_chunk_bytes,
            },
            ..parties(exchange, params.caller)
        };
        let mut answer = json_answer(&report);
        answer.headers_mut().extend(sent);
        Ok(hold_until_sent(answer, untaken).await)
    }
}

/// A slot for the client of a request.
fn take(slots: &Arc<ClientSlots>, exchange: &Exchange) -> Result<Slot, Problem> {
    slots.take(exchange.client().unwrap_or(Client::Unknown)).ok_or_else(busy)
}

/// Whom the server takes for whom. Addresses of a private network stay in it.
fn parties(exchange: &Exchange, claimed: Option<SocketAddr>) -> Arrived {
    let Exchange { head, caller, options, .. } = exchange;
    let (access, client) = (&options.access, exchange.client());
    let trusted =
        caller.address.is_some_and(|peer| forwarded::contains(&access.trusted_proxies, peer));
    let spoken =
        ["forwarded", "x-forwarded-for"].iter().any(|name| head.headers.contains_key(*name));
    let is = |address: IpAddr| claimed.map(|own| own.ip().to_canonical() == address);
    Arrived {
        direct: claimed.map(|own| {
            caller.address.is_some_and(|peer| peer.to_canonical() == own.ip().to_canonical())
                && caller.port == Some(own.port())
        }),
        naming: match (&client, spoken) {
            (Err(_), _) => Naming::Contradiction,
            (Ok(_), true) if trusted => Naming::Believed,
            (Ok(_), true) => Naming::Untrusted,
            (Ok(_), false) => Naming::Nobody,
        },
        client: match client {
            Ok(Client::At(address)) => kind_of(address),
            Ok(Client::Unknown) | Err(_) => "unknown".to_owned(),
        },
        client_is_caller: match client {
            Ok(Client::At(address)) => is(address),
            Ok(Client::Unknown) | Err(_) => None,
        },
        ..Arrived::default()
    }
}

/// Reads a body to its end and tells when it came.
async fn read(mut body: RequestBody, began: Instant) -> Result<ArrivedBody, Problem> {
    let mut seen = ArrivedBody::default();
    let deadline = tokio::time::Instant::from_std(began) + MOST_TIME;
    loop {
        let next = poll_fn(|cx| futures_core::Stream::poll_next(Pin::new(&mut body), cx));
        let until = deadline.min(tokio::time::Instant::now() + MOST_PAUSE);
        let slow = |_| Problem::new(Code::RequestTimeout, "the body took too long for a probe");
        let Some(piece) = tokio::time::timeout_at(until, next).await.map_err(slow)? else { break };
        let piece = piece.map_err(|fault| Problem::bad_request(fault.to_string()))?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        seen.first_ms.get_or_insert(ms);
        seen.last_ms = Some(ms);
        seen.bytes += piece.len() as u64;
        if seen.bytes > MOST_BYTES {
            let detail = format!("a probe's body has at most {MOST_BYTES} bytes");
            return Err(Problem::new(Code::TooLarge, detail));
        }
    }
    Ok(seen)
}

pub(super) fn probe_params(head: &Parts) -> Result<ProbeParams, Problem> {
    let mut params = ProbeParams::default();
    for (key, value) in form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()) {
        let bad = |right| {
            Problem::bad_request(format!("parameter {key} {}: expected {right}", shown(&value)))
        };
        match &*key {
            "probe" => params.probe = value.parse().map_err(|_| bad("a number"))?,
            "wait" => params.wait = wait(&value).ok_or_else(|| bad("seconds"))?,
            "refuse" => {
                let code = REFUSALS.iter().find(|(word, _)| *word == value);
                let words = "unknown-upload, length-changed or too-large";
                params.refuse = Some(code.ok_or_else(|| bad(words))?.1);
            }
            "interim" => params.interim = value == "1",
            "caller" => params.caller = Some(value.parse().map_err(|_| bad("IP:PORT"))?),
            _ => {}
        }
    }
    Ok(params)
}

fn wait(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    let seconds = Some(seconds).filter(|seconds| seconds.is_finite() && *seconds >= 0.0)?;
    // Cut as a number: a `Duration` holds less than a client can write.
    Some(Duration::from_secs_f64(seconds.min(MOST_WAIT.as_secs_f64())))
}

fn busy() -> Problem {
    Problem::new(Code::TooMany, "the doctor has reached its limit of runs; try again")
}

/// The headers that the acknowledgement of a chunk has, in any dialect.
fn specimens(bytes: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("upload-offset", HeaderValue::from(bytes));
    headers.insert("upload-length", HeaderValue::from(bytes));
    headers.insert("upload-complete", HeaderValue::from_static("?1"));
    headers.insert("tus-resumable", HeaderValue::from_static("1.0.0"));
    headers.insert("upload-metadata", HeaderValue::from_static("filename cHJvYmU="));
    headers
}

/// The headers of a request that a chunk may have, as they arrived.
fn repeated(headers: &HeaderMap) -> BTreeMap<String, String> {
    let shown = REPEATED.iter().filter_map(|name| {
        let value = headers.get(*name)?;
        let text: String =
            String::from_utf8_lossy(value.as_bytes()).chars().take(VALUE_CHARS).collect();
        Some(((*name).to_owned(), text))
    });
    shown.collect()
}

fn texts(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// An address that is known to the whole network as it is, any other by its kind.
fn kind_of(address: IpAddr) -> String {
    let private = match address {
        // RFC 6598: carriers and clouds use 100.64.0.0/10 for inner networks.
        IpAddr::V4(v4) => {
            v4.is_private() || v4.is_link_local() || matches!(v4.octets(), [100, 64..128, ..])
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    match (address.is_loopback(), private) {
        (true, _) => "loopback".to_owned(),
        (false, true) => "private".to_owned(),
        (false, false) => address.to_string(),
    }
}

/// On every answer of the doctor: proxies have pages of their own. `Wire::answer` sets it, so that none goes without.
pub const MARK: (HeaderName, HeaderValue) =
    (HeaderName::from_static("incoming-doctor"), HeaderValue::from_static("1"));
/// The method that a probe arrived with.
pub const METHOD: HeaderName = HeaderName::from_static("incoming-doctor-method");
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const PROBED: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
/// Refusals that can be asked for. No 5xx and no 429: proxies take servers out of service for those.
const REFUSALS: [(&str, Code); 3] = [
    ("unknown-upload", Code::UnknownUpload),
    ("length-changed", Code::LengthChanged),
    ("too-large", Code::TooLarge),
];
const REPEATED: [&str; 11] = [
    "content-type",
    "content-length",
    "content-range",
    "content-digest",
    "tus-resumable",
    "upload-offset",
    "upload-length",
    "upload-metadata",
    "upload-checksum",
    "upload-complete",
    "upload-draft-interop-version",
];
const VALUE_CHARS: usize = 200;
/// Requests served at once, and of one address: one examination makes three at a time.
const PROBES: SharedLimit = SharedLimit { each: 8, all: 16, parts: 1 };
/// Answers that wait at once: for 50 s at most each holds a timer, a connection and nothing else.
const WAITS: SharedLimit = SharedLimit { each: 128, all: 256, parts: 1 };
/// Answers that are not taken yet, of 4 KiB at most each.
const UNTAKEN: SharedLimit = SharedLimit { each: 128, all: 256, parts: 1 };
/// A body's most: more than the cap of 128 MiB that some proxies have.
pub const MOST_BYTES: u64 = 160 << 20;
/// A body's whole time, and how long it may stand still: longer than a proxy's usual 60 s.
const MOST_TIME: Duration = Duration::from_secs(120);
const MOST_PAUSE: Duration = Duration::from_secs(70);
/// As long as a long poll (contract, section 2).
pub(super) const MOST_WAIT: Duration = Duration::from_secs(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        let read = |query: &str| {
            let request = hyper::Request::get(format!("/d?{query}")).body(()).unwrap();
            probe_params(&request.into_parts().0).ok()
        };
        assert_eq!(read(""), Some(ProbeParams::default()));
        let expected = ProbeParams {
            probe: 7,
            wait: Duration::from_millis(1500),
            refuse: Some(Code::LengthChanged),
            interim: true,
            caller: Some("[::1]:9".parse().unwrap()),
        };
        let query = "probe=7&wait=1.5&refuse=length-changed&interim=1&caller=%5B::1%5D:9&new=1";
        assert_eq!(read(query), Some(expected));
        for bad in ["probe=-1", "refuse=unavailable", "refuse=503", "caller=a"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let check = |wait: &str, expected: Option<Duration>| {
            let read = read(&format!("wait={wait}"));
            assert_eq!(read.map(|params| params.wait), expected, "{wait}");
        };
        check("0", Some(Duration::ZERO));
        check("1e-300", Some(Duration::ZERO));
        check("49.5", Some(Duration::from_millis(49_500)));
        // More than there is, than seconds are counted in, and than that.
        for long in ["51", "1e9", "18446744073709551616", "1e19", "1e300"] {
            check(long, Some(MOST_WAIT));
        }
        for bad in ["", "inf", "-inf", "1e400", "nan", "-1", "-1e300", "1s"] {
            check(bad, None);
        }
    }

    #[test]
    fn addresses_of_private_networks_are_not_told() {
        let check = |address: &str, expected: &str| {
            assert_eq!(kind_of(address.parse().unwrap()), expected, "{address}");
        };
        check("127.0.0.2", "loopback");
        check("::1", "loopback");
        check("10.1.2.3", "private");
        check("169.254.1.1", "private");
        check("100.64.0.1", "private");
        check("100.127.255.255", "private");
        check("100.128.0.1", "100.128.0.1");
        check("fd00::1", "private");
        check("192.0.2.7", "192.0.2.7");
    }

    #[test]
    fn only_named_headers_are_repeated_and_not_at_length() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_static("secret"));
        headers.insert("authorization", HeaderValue::from_static("secret"));
        headers.insert("content-type", HeaderValue::from_str(&"x".repeat(5000)).unwrap());
        let repeated = repeated(&headers);
        assert_eq!(repeated.len(), 1);
        assert_eq!(repeated["content-type"].len(), VALUE_CHARS);
    }
}
