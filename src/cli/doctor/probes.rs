//! The probes of a path, one after the other; what takes its time goes on beside them.

mod requests;

use std::time::Duration;

use hyper::{Method, StatusCode};

use super::super::terminal;
use super::body::{Step, Steps};
use super::probe_client::{Ask, NoReply, ProbeClient, Reply, outcome};
use super::{interim, sizes};
use crate::client::{CallError, Endpoint};
use crate::diagnosis::observed::{
    Arrived, Naming, Observed, Paced, ProbeOutcome, Proxy, RefusalTried, Silence, Silent,
};

/// Sent before a pause: more than proxies collect of a body before they pass a request on (Apache: 16 KiB).
const FIRST_PIECE: u64 = 64 << 10;
/// Headers of an answer that are compared.
const MOST_HEADERS: usize = 64;
/// A pause that no delay is taken for, and a longer one to make sure.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
/// For an answer after a silence.
const AFTER_SILENCE: Duration = Duration::from_secs(10);

/// How a path is examined.
pub(super) struct Examination {
    pub(super) client: ProbeClient,
    /// What stands before `/incoming/`.
    pub(super) base: String,
    pub(super) origin: String,
    pub(super) idle: Duration,
    pub(super) largest: u64,
    /// Tells people what is being done.
    pub(super) tell: fn(&str),
}

/// Why a path could not be examined.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotExamined {
    #[error("{0}: its doctor has reached its limit of runs; try again later")]
    Busy(Endpoint),
    #[error(transparent)]
    Call(CallError),
    #[error("{0}: no answer in time")]
    Timeout(Endpoint),
    #[error("{url} is redirected to {to}: examine that URL, and give it to clients")]
    Redirected { url: String, to: String },
    #[error("{0}: {1} answers {2}: it does not reach the server, or the server is not running")]
    Gateway(Endpoint, &'static str, StatusCode),
    #[error(
        "{0}: an Incoming!! server answers, but its doctor does not (doctor = false, or an older version)"
    )]
    NoDoctor(Endpoint),
    #[error(
        "{0}: an Incoming!! server answers {1} at {2}: a proxy rewrites the path, or this is its backend listener"
    )]
    OtherPath(Endpoint, StatusCode, String),
    #[error("{url}: {who} answers {status}, and it is not an Incoming!! server")]
    OtherServer { url: String, who: &'static str, status: StatusCode },
}

/// Where a doctor answered, and what it said.
struct Found {
    stripped: Option<String>,
    reply: Reply,
    arrived: Arrived,
}

impl Examination {
    /// Everything that can be seen from here. Errors: there is no doctor to be reached, or none that has the time, and
    /// why.
    pub(super) async fn observe(&self) -> Result<Observed, NotExamined> {
        let seen = self.look().await;
        if self.client.turned_away() {
            return Err(NotExamined::Busy(self.client.endpoint().clone()));
        }
        seen
    }

    async fn look(&self) -> Result<Observed, NotExamined> {
        let found = self.find().await?;
        let mut seen = Observed {
            proxy: program(&found.reply),
            http2: Some(found.reply.http2),
            stripped: found.stripped.clone(),
            query_lost: found.arrived.probe != 1,
            ..Observed::default()
        };
        seen.proxied = proxied(&found, seen.proxy);
        if seen.stripped.is_some() {
            // All that follows would go astray.
            return Ok(seen);
        }
        let first = found.arrived.clone();
        (self.tell)("methods and headers");
        // A client's own word about itself must not reach the server as the proxy's.
        let again = self.get("probe=2").header("forwarded", "for=192.0.2.60");
        let again = self.client.ask(again).await.ok().and_then(|reply| reply.arrived());
        seen.cached = again.as_ref().is_some_and(|again| again.serial == first.serial);
        compare(&found.reply, &first, &mut seen);
        seen.arrived = Some(found.arrived);
        if let Some(arrived) = &mut seen.arrived
            && again.as_ref().is_some_and(|again| again.naming == Naming::Contradiction)
        {
            arrived.naming = Naming::Contradiction;
        }
        let silences = self.silences();
        let rest = async {
            self.methods(&mut seen).await;
            seen.request_headers_lost = self.request_headers(&seen).await;
            self.refusals(&mut seen).await;
            seen.exposed = self.exposed(&seen).await;
            let http2 = seen.http2 == Some(true);
            seen.interim = Some(interim::tried(&self.client, &self.doctor(""), http2).await);
            (self.tell)("how bodies are passed on");
            if taken(&seen, "PUT") {
                seen.paced = self.paced().await;
                if seen.http2 == Some(true) {
                    seen.window_bytes = sizes::window(&self.client, &self.doctor("")).await;
                }
                (self.tell)("how large bodies may be");
                let path = self.doctor("");
                seen.cap = Some(sizes::cap(&self.client, &path, self.largest, &self.tell).await);
            }
            if !self.idle.is_zero() {
                (self.tell)(&format!("pauses of {:?} (--idle 0 skips them)", self.idle));
            }
        };
        let (silences, ()) = tokio::join!(silences, rest);
        // Where a method does not come through, that is the finding.
        seen.silences = silences
            .into_iter()
            .filter(|silence| silence.of == Silent::Server || taken(&seen, "PUT"))
            .collect();
        Ok(seen)
    }

    fn doctor(&self, query: &str) -> String {
        let mark = if query.is_empty() { "" } else { "?" };
        format!("{}/incoming/frontend/doctor{mark}{query}", self.base)
    }

    fn get(&self, query: &str) -> Ask {
        Ask::new(Method::GET, self.doctor(query)).header("origin", &self.origin)
    }

    /// The doctor, there or where a proxy that takes something off the path leads to it.
    async fn find(&self) -> Result<Found, NotExamined> {
        let reply = self.first(self.get("probe=1")).await?;
        if let Some(arrived) = reply.arrived() {
            return Ok(Found { stripped: None, reply, arrived });
        }
        if reply.status.as_u16() == 404 {
            for prefix in ["/incoming/frontend", "/incoming"] {
                let path = format!("{}{prefix}/incoming/frontend/doctor?probe=1", self.base);
                let reply = self.first(Ask::new(Method::GET, path)).await?;
                if let Some(arrived) = reply.arrived() {
                    return Ok(Found { stripped: Some(prefix.to_owned()), reply, arrived });
                }
            }
        }
        Err(self.none(&reply).await)
    }

    async fn first(&self, ask: Ask) -> Result<Reply, NotExamined> {
        match self.client.ask(ask).await {
            Ok(reply) => Ok(reply),
            Err(NoReply::Unreachable(why)) => Err(NotExamined::Call(why)),
            Err(NoReply::Broken(why)) => {
                Err(NotExamined::Call(self.client.refused().await.unwrap_or(why)))
            }
            Err(NoReply::Timeout) => Err(NotExamined::Timeout(self.client.endpoint().clone())),
        }
    }

    /// Why this is no doctor.
    async fn none(&self, reply: &Reply) -> NotExamined {
        let (endpoint, path, status) =
            (self.client.endpoint().clone(), self.doctor(""), reply.status);
        let url = format!("{endpoint}{path}");
        if status.is_redirection() {
            let to = reply
                .header("location")
                .map_or_else(|| "somewhere else".into(), |to| terminal::short(to_give(to)));
            return NotExamined::Redirected { url, to };
        }
        let who = program(reply).map_or("something", Proxy::word);
        if matches!(status.as_u16(), 502..=504) {
            return NotExamined::Gateway(endpoint, who, status);
        }
        let script = format!("{}/incoming/frontend/incoming.js", self.base);
        let script = self.client.ask(Ask::new(Method::GET, script)).await;
        if script.is_ok_and(|reply| reply.status.is_success()) {
            return NotExamined::NoDoctor(endpoint);
        }
        if reply.problem().is_some() {
            return NotExamined::OtherPath(endpoint, status, path);
        }
        NotExamined::OtherServer { url, who, status }
    }

    /// Whether refusals come back as they are.
    async fn refusals(&self, seen: &mut Observed) {
        for code in ["unknown-upload", "length-changed", "too-large"] {
            let ask = Ask::new(Method::GET, self.doctor(&format!("refuse={code}")));
            let reply = self.client.ask(ask).await;
            let came = outcome(&reply, |reply| reply.problem().as_deref() == Some(code));
            seen.refusals.push(RefusalTried { code: code.to_owned(), came });
        }
    }

    /// Paths for backends that answer through a proxy. Asked in a way that changes nothing and reads nothing.
    async fn exposed(&self, seen: &Observed) -> Vec<String> {
        let mut exposed = Vec::new();
        if seen.proxied == Some(false) {
            return exposed;
        }
        for path in ["/incoming/backend/new_upload", "/incoming/0.1/backend/new_upload"] {
            // The wrong method: who gets as far as being told so, or is kept out by a header alone, may call.
            let path = format!("{}{path}", self.base);
            let ask = Ask::new(Method::GET, &path).header("accept", "application/json");
            let reply = self.client.ask(ask).await;
            if reply.is_ok_and(|reply| reply.is_exposed_backend()) {
                exposed.push(path);
            }
        }
        let metrics = format!("{}/metrics", self.base);
        let reply = self.client.ask(Ask::new(Method::GET, &metrics)).await;
        if reply.is_ok_and(|reply| String::from_utf8_lossy(&reply.body).contains("incoming_")) {
            exposed.push(metrics);
        }
        exposed
    }

    /// A body with a pause in it; where it seems to be buffered, once more with a longer one.
    async fn paced(&self) -> Option<Paced> {
        let mut paced = None;
        for pause in PAUSES {
            let length = 2 * FIRST_PIECE;
            let steps = [Step::Bytes(FIRST_PIECE), Step::Pause(pause), Step::Bytes(FIRST_PIECE)];
            let ask = Ask::new(Method::PUT, self.doctor(""))
                .body(Steps::new(length, steps))
                .patience(pause + AFTER_SILENCE);
            let arrived = self.client.ask(ask).await.ok()?.arrived()?;
            let last_ms = arrived.body.last_ms?;
            let paused_ms = pause.as_secs_f64() * 1e3;
            paced = Some(Paced { paused_ms, last_ms });
            if last_ms >= paused_ms / 2.0 {
                break;
            }
        }
        paced
    }

    /// A client that says nothing in the middle of a body, and a server that says nothing before its answer.
    async fn silences(&self) -> Vec<Silence> {
        if self.idle.is_zero() {
            return Vec::new();
        }
        let (idle, patience) = (self.idle, self.idle + AFTER_SILENCE);
        let steps = [Step::Bytes(FIRST_PIECE), Step::Pause(idle), Step::Bytes(1)];
        let body = Ask::new(Method::PUT, self.doctor(""))
            .body(Steps::new(FIRST_PIECE + 1, steps))
            .patience(patience);
        let wait = format!("wait={}", idle.as_secs_f64());
        let answer = Ask::new(Method::GET, self.doctor(&wait)).patience(patience);
        let (client, server) =
            tokio::join!(self.silence(Silent::Client, body), self.silence(Silent::Server, answer));
        vec![client, server]
    }

    async fn silence(&self, of: Silent, ask: Ask) -> Silence {
        let (reply, after) = self.client.timed(ask).await;
        let after_s = after.as_secs_f64();
        let came = outcome(&reply, |reply| reply.arrived().is_some());
        Silence { of, asked_s: self.idle.as_secs_f64(), after_s, came }
    }
}

fn taken(seen: &Observed, method: &str) -> bool {
    seen.methods.iter().any(|tried| tried.method == method && tried.came == ProbeOutcome::Own)
}

/// The program that writes its name into this answer: the server writes none.
fn program(reply: &Reply) -> Option<Proxy> {
    let names = ["server", "via"].into_iter().flat_map(|name| reply.headers.get_all(name));
    names.filter_map(|value| value.to_str().ok()).find_map(Proxy::of_header)
}

/// Whether somebody stands between, as far as the two ends can tell: addresses change on their way without one too.
fn proxied(found: &Found, proxy: Option<Proxy>) -> Option<bool> {
    let Found { arrived, reply, .. } = found;
    // Sockets on one machine are not renamed.
    let here = reply.own.ip().is_loopback() && arrived.direct == Some(false);
    let there = arrived.client == "loopback" && !reply.own.ip().is_loopback();
    let speaks_otherwise = reply.http2 != arrived.version.starts_with("HTTP/2");
    if proxy.is_some() || arrived.naming != Naming::Nobody || here || there || speaks_otherwise {
        return Some(true);
    }
    (arrived.direct == Some(true)).then_some(false)
}

/// What became of the headers that the answer left the server with.
fn compare(reply: &Reply, arrived: &Arrived, seen: &mut Observed) {
    // The server sets about ten; what has more is another one.
    for (name, sent) in arrived.sent.iter().take(MOST_HEADERS) {
        let values: Vec<&[u8]> =
            reply.headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        match values[..] {
            [value] if value == sent.as_bytes() => {}
            [] | [_] => seen.answer_headers_lost.push(name.clone()),
            [..] => seen.answer_headers_doubled.push(name.clone()),
        }
    }
}

/// What of the place of a redirect is to be given instead of what was: without what a probe had behind it.
fn to_give(location: &str) -> &str {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let place = &location[..end];
    let given = place.strip_suffix("/incoming/frontend/doctor").unwrap_or(place);
    // A path alone, or nothing, is no place that could be given.
    if given.contains("://") { given } else { place }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_told_as_what_to_give() {
        let check = |location: &str, expected: &str| assert_eq!(to_give(location), expected);
        let probe = "/incoming/frontend/doctor?probe=1&caller=127.0.0.1%3A5";
        check(&format!("https://a.example{probe}"), "https://a.example");
        check(&format!("https://a.example:8443/files{probe}"), "https://a.example:8443/files");
        check(&format!("/new{probe}"), "/new/incoming/frontend/doctor");
        check(&format!("https://a.example/login?next={probe}"), "https://a.example/login");
        check("https://a.example/#start", "https://a.example/");
        check(probe, "/incoming/frontend/doctor");
        check("https://a.example/", "https://a.example/");
    }
}
