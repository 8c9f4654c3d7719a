//! What a client of the doctor has seen: the server's account of what arrived, and what came back of each probe.
//!
//! A browser sees less than a terminal; what was not looked at is left out and says nothing.

mod interim;

pub use interim::{InterimOutcome, InterimTried};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The server's account of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Arrived {
    /// 1, the version of this object: it comes from the doctor.
    pub doctor: u32,
    /// The number that the query held.
    pub probe: u64,
    /// Counts the answers of the server's doctor.
    pub serial: u64,
    /// The method that arrived.
    pub method: String,
    /// The protocol that it arrived by: `HTTP/1.1`, `HTTP/2.0`.
    pub version: String,
    /// Those headers of a chunk that arrived.
    pub headers: BTreeMap<String, String>,
    /// What arrived of the body.
    pub body: ArrivedBody,
    /// Whether the server's peer is the client itself; none where the client did not say who it is.
    pub direct: Option<bool>,
    /// What the peer says about the client.
    pub naming: Naming,
    /// Whom the server takes for the client: an address, or `loopback`, `private`, `unknown`.
    pub client: String,
    /// Whether that is who the client says it is.
    pub client_is_caller: Option<bool>,
    /// Headers that the answer left the server with.
    pub sent: BTreeMap<String, String>,
    /// Whether an interim answer went before this one, as it was asked for.
    pub interim_sent: bool,
    /// What the server suggests and allows.
    pub limits: Limits,
}

/// What arrived of a body. Times are milliseconds after the head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArrivedBody {
    /// All of it.
    pub bytes: u64,
    /// When the first byte came.
    pub first_ms: Option<f64>,
    /// When the last one came.
    pub last_ms: Option<f64>,
}

/// The server's limits for a chunk, in bytes, and what it sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// What it suggests.
    pub chunk_size: u64,
    /// The most it takes.
    pub max_chunk_size: Option<u64>,
    /// Whether it sends `104` through proxies too.
    pub interim_always: bool,
}

/// What a proxy says about the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Naming {
    /// Nothing.
    #[default]
    Nobody,
    /// Who it is, and the server believes it.
    Believed,
    /// Who it is, but the peer is no trusted proxy.
    Untrusted,
    /// What cannot be read, or two different clients.
    Contradiction,
}

/// What came back of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeOutcome {
    /// The server's own answer.
    Own,
    /// Somebody else's, with this status.
    Other(u16),
    /// The connection ended without one.
    Broken,
    /// Nothing, in the time that was waited.
    Nothing,
}

/// Everything a client has seen of its path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observed {
    /// The program in front, as the answers name it.
    pub proxy: Option<Proxy>,
    /// Whether there is somebody between client and server, as far as can be told.
    pub proxied: Option<bool>,
    /// Whether the client spoke HTTP/2.
    pub http2: Option<bool>,
    /// The server's account of a plain request.
    pub arrived: Option<Arrived>,
    /// What had to stand before the path so that it arrived as it should: what the proxy takes away.
    pub stripped: Option<String>,
    /// The query did not arrive.
    pub query_lost: bool,
    /// Two requests got one answer.
    pub cached: bool,
    /// Each method that was tried.
    pub methods: Vec<MethodTried>,
    /// Headers of the request that did not arrive as they were sent.
    pub request_headers_lost: Vec<String>,
    /// Headers of the answer that did not come back as they were sent.
    pub answer_headers_lost: Vec<String>,
    /// Headers of the answer that came back more than once.
    pub answer_headers_doubled: Vec<String>,
    /// What a preflight lacks so that a browser goes on; none where it was not tried.
    pub preflight_lacks: Option<Vec<String>>,
    /// A body sent with a pause.
    pub paced: Option<Paced>,
    /// How large bodies may be.
    pub cap: Option<Cap>,
    /// Waits in which nothing is sent.
    pub silences: Vec<Silence>,
    /// Refusals that were asked for, and what came.
    pub refusals: Vec<RefusalTried>,
    /// Bytes that one stream of HTTP/2 may send before the path has answered.
    pub window_bytes: Option<u64>,
    /// Interim answers.
    pub interim: Option<InterimTried>,
    /// Paths for backends that answer here.
    pub exposed: Vec<String>,
}

impl Observed {
    /// How many entries the longest of its lists has that findings are made of.
    pub fn longest_list(&self) -> usize {
        let Self {
            methods,
            request_headers_lost,
            answer_headers_lost,
            answer_headers_doubled,
            preflight_lacks,
            silences,
            refusals,
            exposed,
            ..
        } = self;
        let names = [request_headers_lost, answer_headers_lost, answer_headers_doubled, exposed];
        let names = names.into_iter().chain(preflight_lacks).map(Vec::len);
        let others = [methods.len(), silences.len(), refusals.len()];
        names.chain(others).max().unwrap_or_default()
    }

    /// Cuts what findings repeat: methods, names of headers and codes to `name` characters, other texts to `text`.
    /// Characters that a terminal would obey go.
    pub fn shorten(&mut self, name: usize, text: usize) {
        let Self {
            stripped,
            methods,
            request_headers_lost,
            answer_headers_lost,
            answer_headers_doubled,
            preflight_lacks,
            refusals,
            exposed,
            ..
        } = self;
        let tried = methods.iter_mut().map(|tried| &mut tried.method);
        let tried = tried.chain(refusals.iter_mut().map(|tried| &mut tried.code));
        let headers = [request_headers_lost, answer_headers_lost, answer_headers_doubled];
        for one in tried.chain(headers.into_iter().flatten()) {
            cut(one, name);
        }
        let lacks = preflight_lacks.iter_mut().flatten();
        for one in stripped.iter_mut().chain(lacks).chain(exposed) {
            cut(one, text);
        }
    }
}

fn cut(text: &mut String, chars: usize) {
    text.retain(|c| !c.is_control());
    if let Some((end, _)) = text.char_indices().nth(chars) {
        text.truncate(end);
    }
}

/// A program that stands before servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // Names.
pub enum Proxy {
    Nginx,
    Haproxy,
    Caddy,
    Apache,
}

impl Proxy {
    /// The program that writes such a `Server` or `Via` header.
    pub fn of_header(value: &str) -> Option<Self> {
        let value = value.to_ascii_lowercase();
        let names = [
            ("nginx", Self::Nginx),
            ("haproxy", Self::Haproxy),
            ("caddy", Self::Caddy),
            ("apache", Self::Apache),
        ];
        names.iter().find(|(name, _)| value.contains(name)).map(|(_, proxy)| *proxy)
    }

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Caddy => "caddy",
            Self::Apache => "apache",
        }
    }
}

/// A method, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodTried {
    /// As it was sent.
    pub method: String,
    /// What came.
    pub came: ProbeOutcome,
}

/// A refusal that was asked for by its code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalTried {
    /// The code.
    pub code: String,
    /// What came.
    pub came: ProbeOutcome,
}

/// A body that was sent with a pause in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paced {
    /// How long the pause was.
    pub paused_ms: f64,
    /// How long after the head the last byte arrived.
    pub last_ms: f64,
}

/// Sizes of bodies. The path takes the one and refuses the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cap {
    /// Largest that was taken; 0: none was.
    pub taken: u64,
    /// Smallest that was refused; none: no cap was met.
    pub refused: Option<u64>,
    /// What came of that.
    pub came: ProbeOutcome,
}

/// A wait in which nothing is sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Silence {
    /// Who is silent.
    pub of: Silent,
    /// How long it was to be, in seconds.
    pub asked_s: f64,
    /// When it was over, in seconds.
    pub after_s: f64,
    /// What came.
    pub came: ProbeOutcome,
}

/// Who is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Silent {
    /// The client, in the middle of a body.
    Client,
    /// The server, before its answer.
    Server,
}
