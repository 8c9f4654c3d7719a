//! The probes of requests and of preflights: which methods come through, and which headers.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::Method;
use sha2::Digest as _;

use super::super::body::Steps;
use super::super::probe_client::{Ask, NoReply, Reply, outcome};
use super::{Examination, taken};
use crate::diagnosis::observed::{MethodTried, Observed, ProbeOutcome};
use crate::wire::doctor::METHOD;

impl Examination {
    /// Each method, and what a preflight's answer lacks.
    pub(super) async fn methods(&self, seen: &mut Observed) {
        let bodies = [Method::POST, Method::PUT, Method::PATCH];
        let others = [Method::GET, Method::HEAD, Method::DELETE];
        for method in others.into_iter().chain(bodies.clone()) {
            let body = if bodies.contains(&method) { 10 } else { 0 };
            let ask = || Ask::new(method.clone(), self.doctor("")).body(Steps::whole(body));
            let mut reply = self.client.ask(ask()).await;
            if let Err(NoReply::Broken(_) | NoReply::Unreachable(_)) = reply {
                // It may have been chance.
                reply = self.client.ask(ask()).await;
            }
            let came = outcome(&reply, |reply| match reply.arrived() {
                Some(arrived) => arrived.method == method.as_str(),
                // The answer to HEAD has no body to tell it by. Caches make it a GET, which does not say where to go on.
                None => {
                    method == Method::HEAD
                        && reply.status.is_success()
                        && reply.header(METHOD.as_str()) == Some("HEAD")
                }
            });
            if method == Method::HEAD
                && came == ProbeOutcome::Own
                && let Ok(reply) = &reply
            {
                let lost = OFFSETS.iter().filter(|name| reply.header(name).is_none());
                let lost: Vec<String> = lost.map(|name| (*name).to_owned()).collect();
                let known = &mut seen.answer_headers_lost;
                known.extend(
                    lost.into_iter().filter(|name| !known.contains(name)).collect::<Vec<_>>(),
                );
            }
            seen.methods.push(MethodTried { method: method.to_string(), came });
        }
        let ask = Ask::new(Method::OPTIONS, self.doctor(""))
            .header("origin", &self.origin)
            .header("access-control-request-method", "PUT")
            .header("access-control-request-headers", PREFLIGHT_HEADERS.join(","));
        let reply = self.client.ask(ask).await;
        let came = outcome(&reply, |reply| reply.status.is_success());
        seen.methods.push(MethodTried { method: "OPTIONS".into(), came });
        // A server that does not want this origin says so by silence.
        let wanted = seen
            .arrived
            .as_ref()
            .is_some_and(|arrived| arrived.sent.contains_key("access-control-allow-origin"));
        if let Ok(reply) = &reply
            && wanted
        {
            seen.preflight_lacks = Some(preflight_lacks(reply, &self.origin));
        }
    }

    /// Those headers of a chunk that do not arrive.
    pub(super) async fn request_headers(&self, seen: &Observed) -> Vec<String> {
        let digest = BASE64_STANDARD.encode(sha2::Sha256::digest([0; 10]));
        let native = [
            ("Content-Type", "application/octet-stream".to_owned()),
            ("Content-Range", "bytes 5-14/1000".to_owned()),
            ("Content-Digest", format!("sha-256=:{digest}:")),
        ];
        let appended = [
            ("Content-Type", "application/offset+octet-stream".to_owned()),
            ("Tus-Resumable", "1.0.0".to_owned()),
            ("Upload-Offset", "5".to_owned()),
            ("Upload-Length", "1000".to_owned()),
            ("Upload-Metadata", "filename cHJvYmU=".to_owned()),
            ("Upload-Checksum", format!("sha256 {digest}")),
            ("Upload-Complete", "?0".to_owned()),
            ("Upload-Draft-Interop-Version", "8".to_owned()),
        ];
        let mut lost = self.lost_on(Method::PUT, &native).await;
        let append = if taken(seen, "PATCH") { Method::PATCH } else { Method::PUT };
        let more = self.lost_on(append, &appended).await;
        lost.extend(more.into_iter().filter(|name| name != "Content-Type"));
        lost
    }

    async fn lost_on(&self, method: Method, sent: &[(&'static str, String)]) -> Vec<String> {
        let mut ask = Ask::new(method, self.doctor("")).body(Steps::whole(10));
        for (name, value) in sent {
            ask = ask.header(name, value);
        }
        let Ok(reply) = self.client.ask(ask).await else { return Vec::new() };
        let Some(arrived) = reply.arrived() else { return Vec::new() };
        let lost = sent
            .iter()
            .filter(|(name, value)| arrived.headers.get(&name.to_ascii_lowercase()) != Some(value));
        lost.map(|(name, _)| (*name).to_owned()).collect()
    }
}

/// What this answer lacks, so that a browser sends a chunk from a page of that origin.
fn preflight_lacks(reply: &Reply, origin: &str) -> Vec<String> {
    let list = |name: &str| -> Vec<String> {
        let lines = reply.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let names = lines.flat_map(|line| line.split(','));
        names.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
    };
    let mut lacks = Vec::new();
    let origins = list("access-control-allow-origin");
    if !matches!(&origins[..], [one] if one == "*" || one.eq_ignore_ascii_case(origin)) {
        lacks.push("one Access-Control-Allow-Origin".to_owned());
    }
    let allowed =
        |listed: &[String], name: &str| listed.iter().any(|one| one == name || one == "*");
    let methods = list("access-control-allow-methods");
    for method in ["PUT", "PATCH", "DELETE"] {
        if !allowed(&methods, &method.to_ascii_lowercase()) {
            lacks.push(format!("{method} in Access-Control-Allow-Methods"));
        }
    }
    let headers = list("access-control-allow-headers");
    for name in PREFLIGHT_HEADERS {
        if !allowed(&headers, name) {
            lacks.push(format!("{name} in Access-Control-Allow-Headers"));
        }
    }
    lacks
}

/// What pages of any dialect send with a chunk.
const PREFLIGHT_HEADERS: [&str; 8] = [
    "content-digest",
    "content-range",
    "content-type",
    "tus-resumable",
    "upload-checksum",
    "upload-length",
    "upload-metadata",
    "upload-offset",
];
/// By these the answer to HEAD says where to go on.
const OFFSETS: [&str; 2] = ["upload-offset", "upload-length"];
