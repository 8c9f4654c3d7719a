//! From what a client has seen of its path to what is wrong with it: a pure function, the same for the terminal and for
//! a page, which has it from the server.
//!
//! Every finding is a cause that is known to harm uploads, and has a line that fixes it. What was not examined is no
//! finding, and what the server allows for by its own settings is none either.

mod config_fix;
mod interim;
pub mod observed;

pub use config_fix::ConfigFix;
use config_fix::{ProxyIssue, config_fixes};
use observed::{Cap, MethodTried, Naming, Observed, ProbeOutcome, Silence, Silent};
use serde::Serialize;

use crate::core::units::size;

/// All that is wrong.
#[derive(Debug, PartialEq, Serialize)]
pub struct Findings {
    /// In the order in which they are best fixed.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The word for programs.
    pub code: &'static str,
    /// What is wrong and what comes of it, for people.
    pub what: String,
    /// What fixes it.
    pub cures: Vec<ConfigFix>,
}

impl Findings {
    /// What is wrong with this path.
    pub fn of(seen: &Observed) -> Self {
        let mut found = Vec::new();
        path(seen, &mut found);
        requests(seen, &mut found);
        bodies(seen, &mut found);
        answers(seen, &mut found);
        interim::interim(seen, &mut found);
        parties(seen, &mut found);
        Self { findings: found }
    }
}

impl Observed {
    fn finding(
        &self,
        code: &'static str,
        what: impl Into<String>,
        issue: ProxyIssue<'_>,
    ) -> Finding {
        Finding { code, what: what.into(), cures: config_fixes(self.proxy, issue) }
    }
}

/// Where requests go.
fn path(seen: &Observed, found: &mut Vec<Finding>) {
    if let Some(prefix) = &seen.stripped {
        let what = format!(
            "the path is rewritten on its way: {prefix} is removed, so the server does not find \
             what is requested"
        );
        found.push(seen.finding("path-rewritten", what, ProxyIssue::Prefix));
    }
    if seen.query_lost {
        let what = "the query is lost on its way: long polls answer at once, and reasons for \
                    cancelling do not arrive";
        found.push(seen.finding("query-lost", what, ProxyIssue::Query));
    }
    if seen.cached {
        let what = "answers come out of a cache, although they forbid it: a client sees an \
                    outdated state of its upload";
        found.push(seen.finding("cached", what, ProxyIssue::Cache));
    }
}

/// Methods and headers of requests.
fn requests(seen: &Observed, found: &mut Vec<Finding>) {
    for tried in &seen.methods {
        if tried.came == ProbeOutcome::Own {
            continue;
        }
        let harm = match tried.method.as_str() {
            "PUT" => "chunks do not arrive",
            "POST" => "no upload can begin in a browser",
            "DELETE" => "uploads cannot be cancelled",
            "HEAD" => {
                "tus and IETF clients cannot ask where to go on, and curl -I not how an upload stands"
            }
            "PATCH" => "tus and IETF clients (Uppy, TUSKit, URLSession) cannot append",
            "OPTIONS" => "pages of other origins cannot upload, and no client learns the limits",
            _ => "requests do not come through",
        };
        let how = match tried.came {
            ProbeOutcome::Other(200..=299) => "does not arrive as it is",
            _ => "is refused on the way",
        };
        let what = format!("{} {how} ({}): {harm}", tried.method, describe(tried.came));
        found.push(seen.finding("method-refused", what, ProxyIssue::Method(&tried.method)));
    }
    for name in &seen.request_headers_lost {
        let harm = match name.to_ascii_lowercase().as_str() {
            "content-range" => "a chunk is then taken for the whole file",
            "content-digest" | "upload-checksum" => "chunks are then not checked",
            "tus-resumable" => "tus clients are then refused",
            "upload-metadata" => "files of tus clients then come without name and type",
            "upload-offset" | "upload-length" | "upload-complete" => {
                "tus and IETF clients then cannot append"
            }
            "upload-draft-interop-version" => {
                "IETF clients then speak another version of the draft"
            }
            _ => "the server does not know how to read the body",
        };
        let what = format!("the header {name} of requests does not arrive as it was sent: {harm}");
        found.push(seen.finding("request-header-lost", what, ProxyIssue::RequestHeader(name)));
    }
}

/// Bodies on their way to the server.
fn bodies(seen: &Observed, found: &mut Vec<Finding>) {
    if let Some(paced) = seen.paced
        && paced.last_ms < paced.paused_ms / 2.0
    {
        let what = "requests are buffered: the proxy keeps a body until it has all of it, and only then does the server \
                    see its first byte. Progress is then the proxy's and not the server's, each chunk takes twice as \
                    long, and what was sent of one that breaks is lost";
        found.push(seen.finding("request-buffered", what, ProxyIssue::Buffering));
    }
    if let Some(cap) = seen.cap {
        found.extend(capped(seen, cap));
    }
    // A gateway's time-out strikes while either is silent: one cause.
    let gateway = |silence: &&Silence| silence.came == ProbeOutcome::Other(504);
    let waits = seen.silences.iter().filter(|silence| silence.of == Silent::Server);
    let once = waits.filter(gateway).count() > 0;
    for silence in &seen.silences {
        if !(once && silence.of == Silent::Client && gateway(&silence)) {
            found.extend(cut(seen, silence));
        }
    }
    if let Some(window) = seen.window_bytes.filter(|window| *window < GOOD_WINDOW_BYTES) {
        let what = format!(
            "HTTP/2 is throttled: a stream may send {} before it has to wait for the proxy, so \
             over a connection with a round trip of 100 ms a chunk is sent with at most {:.1} \
             Mbit/s",
            size(window),
            window as f64 * 8.0 / 0.1 / 1e6
        );
        found.push(seen.finding("window-small", what, ProxyIssue::Window));
    }
}

fn capped(seen: &Observed, cap: Cap) -> Option<Finding> {
    let refused = cap.refused?;
    let limits = seen.arrived.as_ref().map(|arrived| arrived.limits).unwrap_or_default();
    // Then nobody sends what the path does not take.
    if limits.max_chunk_size.is_some_and(|most| most < refused) {
        return None;
    }
    let at = if refused == cap.taken.saturating_add(1) {
        format!("more than {} ({} bytes)", size(cap.taken), cap.taken)
    } else if cap.taken == 0 {
        format!("{} and perhaps less", size(refused))
    } else {
        format!("{} or more ({} still pass)", size(refused), size(cap.taken))
    };
    let harm = if limits.chunk_size <= cap.taken {
        format!(
            "chunks of {} pass, but larger ones, and whole files in one request (curl -T), do not",
            size(limits.chunk_size)
        )
    } else {
        format!("chunks of {}, which the server suggests, do not pass", size(limits.chunk_size))
    };
    let what =
        format!("bodies are capped: {at} are refused on the way ({}): {harm}", describe(cap.came));
    let mut finding = seen.finding("body-capped", what, ProxyIssue::Cap);
    if cap.taken > 0 {
        let line = format!("max_chunk_size = {}  (if the proxy must have its cap)", cap.taken);
        finding.cures.push(ConfigFix::setting(line));
    }
    Some(finding)
}

fn cut(seen: &Observed, silence: &Silence) -> Option<Finding> {
    if silence.came == ProbeOutcome::Own {
        return None;
    }
    let (after, how) = (format!("{:.0} s", silence.after_s.max(1.0)), describe(silence.came));
    Some(match silence.of {
        Silent::Client => {
            let what = format!(
                "a body that pauses is cut off on the way after {after} ({how}): a client on a \
                 bad line, or one that went to sleep, has to start its chunk again"
            );
            seen.finding("body-cut", what, ProxyIssue::SilentClient)
        }
        Silent::Server => {
            let what = format!(
                "an answer that takes its time is cut off on the way after {after} ({how}): long polls end in errors, \
                 and so may the end of a large file"
            );
            seen.finding("answer-cut", what, ProxyIssue::SilentServer)
        }
    })
}

/// Answers on their way to the client.
fn answers(seen: &Observed, found: &mut Vec<Finding>) {
    let is_cors = |name: &str| name.to_ascii_lowercase().starts_with("access-control-");
    for name in &seen.answer_headers_lost {
        let (code, harm) = if is_cors(name) {
            ("cors-lost", "pages of other origins cannot read the answer, and see a network error")
        } else {
            ("answer-header-lost", "clients that rely on it do not learn the state of an upload")
        };
        let what =
            format!("the header {name} of answers does not come back as it was sent: {harm}");
        found.push(seen.finding(code, what, ProxyIssue::AnswerHeader(name)));
    }
    for name in &seen.answer_headers_doubled {
        let (code, harm) = if is_cors(name) {
            (
                "cors-doubled",
                "the server sets it already, and browsers reject two of them: pages of other \
                 origins see a network error",
            )
        } else {
            ("answer-header-doubled", "the server sets it already, and clients may use either")
        };
        let what = format!("the header {name} of answers comes twice: {harm}");
        found.push(seen.finding(code, what, ProxyIssue::Doubled(name)));
    }
    let refused =
        |tried: &MethodTried| tried.method == "OPTIONS" && tried.came != ProbeOutcome::Own;
    let unheard = seen.methods.iter().any(refused);
    let mut spoiled = seen.answer_headers_lost.iter().chain(&seen.answer_headers_doubled);
    let known = spoiled.any(|name| name.eq_ignore_ascii_case("access-control-allow-origin"));
    let lacks = seen.preflight_lacks.iter().flatten();
    let lacks: Vec<&str> = lacks
        .map(String::as_str)
        .filter(|lack| !(unheard || known && lack.ends_with("Access-Control-Allow-Origin")))
        .collect();
    if !lacks.is_empty() {
        let what = format!(
            "preflights are answered on the way and not by the server, without {}: pages of other origins cannot upload",
            lacks.join(", ")
        );
        found.push(seen.finding("preflight-swallowed", what, ProxyIssue::Preflight));
    }
    let replaced: Vec<String> = seen
        .refusals
        .iter()
        .filter_map(|tried| match tried.came {
            ProbeOutcome::Other(status) => {
                Some(format!("{} by a page with status {status}", tried.code))
            }
            ProbeOutcome::Own | ProbeOutcome::Broken | ProbeOutcome::Nothing => None,
        })
        .collect();
    // What is asked for by the query is not to be had without it.
    if !replaced.is_empty() && !seen.query_lost {
        let what = format!(
            "error answers are replaced on the way ({}): clients cannot tell what is wrong, so \
             they retry in vain or give up too early",
            replaced.join(", ")
        );
        found.push(seen.finding("error-replaced", what, ProxyIssue::Page));
    }
}

/// Who is who, and who reaches what.
fn parties(seen: &Observed, found: &mut Vec<Finding>) {
    if !seen.exposed.is_empty() {
        let what = format!(
            "the backend API answers through the proxy ({}): anyone who reaches it can create \
             tickets, list uploads and cancel them",
            seen.exposed.join(", ")
        );
        let mut finding = seen.finding("backend-exposed", what, ProxyIssue::Exposed);
        let line =
            "backend_listen = \"127.0.0.1:4001\"  (a listener of its own, which no proxy knows)";
        finding.cures.push(ConfigFix::setting(line));
        found.push(finding);
    }
    let Some(arrived) = seen.arrived.as_ref().filter(|_| seen.proxied == Some(true)) else {
        return;
    };
    match arrived.naming {
        Naming::Believed => {}
        // A PROXY header names the client before any request.
        Naming::Nobody
            if arrived.client_is_caller == Some(true) && arrived.direct == Some(true) => {}
        Naming::Nobody => {
            let what = "the proxy does not say who the client is: the server sees the proxy's \
                        address as every client's, in its log and where addresses decide who may \
                        call";
            found.push(seen.finding("client-unnamed", what, ProxyIssue::Nameless));
        }
        Naming::Untrusted => {
            let what = "the proxy says who the client is, but the server does not believe it: \
                        the proxy is not in trusted_proxies";
            let line = "trusted_proxies = [\"ADDRESS OF THE PROXY\"]  (127.0.0.1 where it is on the same machine)";
            let cures = vec![ConfigFix::setting(line)];
            found.push(Finding { code: "proxy-untrusted", what: what.into(), cures });
        }
        Naming::Contradiction => {
            let what = "the proxy sets one of X-Forwarded-For and Forwarded and passes on the other as the client wrote \
                        it: the server cannot tell which to believe";
            found.push(seen.finding("client-contradicted", what, ProxyIssue::TwoNames));
        }
    }
}

fn describe(came: ProbeOutcome) -> String {
    match came {
        ProbeOutcome::Own => "the server's own answer".to_owned(),
        ProbeOutcome::Other(status) => format!("status {status}"),
        ProbeOutcome::Broken => "the connection was closed".to_owned(),
        ProbeOutcome::Nothing => "no answer".to_owned(),
    }
}

/// From here on a window is good: 42 Mbit/s for one chunk over a round trip of 100 ms, and several are in flight.
pub const GOOD_WINDOW_BYTES: u64 = 512 << 10;

#[cfg(test)]
mod tests;
