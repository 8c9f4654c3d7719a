//! HTTP on one side, the engine on the other: requests become typed offers and commands, answers
//! become status objects and problems.
//!
//! Absent: sockets, TLS, rules. The status codes of problems stand in a table of each dialect (`dialect/*/status.rs`,
//! `dialect/native/problem.rs`), but for those that a web app answers to `create_url` (`create.rs`).

pub mod access;
pub mod admin;
pub mod assets;
pub mod backend;
pub mod body;
pub mod browser;
mod client_slots;
pub mod content_digest;
pub mod cors;
pub mod create;
mod dialect;
pub mod doctor;
pub mod forwarded;
#[cfg(any(test, feature = "testing"))]
pub mod fuzzing;
mod head;
pub mod header;
pub mod overview;
pub mod page;
pub mod params;
pub mod problem;
pub mod redirect;
pub mod reply;
pub mod route;
mod servers;
mod trace;
mod unsupported;
mod upload_concat;
mod upload_metadata;

use crate::core::time::ms;
use crate::engine::Engine;
use crate::net::{InterimTo, PeerDisconnect, Protocol, RequestBody};
use access::Access;
use admin::AdminHooks;
use arc_swap::ArcSwap;
use body::BodyMemory;
use bytes::Bytes;
use client_slots::ClientSlots;
use cors::Cors;
use create::Creation;
use dialect::Dialect;
use doctor::Doctor;
use forwarded::Client;
use http_body_util::Full;
use hyper::body::Body as _;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HeaderName, HeaderValue, STRICT_TRANSPORT_SECURITY, VIA,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use problem::{Code, Problem};
use route::{Route, Target};
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

/// An answer. Bodies are small: files only come in.
pub type Answer = Response<Full<Bytes>>;

/// Settings of the HTTP surface.
#[derive(Clone, Debug)]
pub struct Options {
    /// Suggested bytes of a chunk.
    pub chunk_size: u64,
    /// Suggested chunks in flight.
    pub send_ahead: u32,
    /// Who may read answers from a page of another origin.
    pub cors: Cors,
    /// Who may call the backend surface.
    pub access: Access,
    /// Whether the path doctor answers.
    pub doctor: bool,
    /// Whether the operator's page is served.
    pub backend_page: bool,
    /// Where clients reach `/incoming/frontend`, without a slash at its end; none: answers name paths.
    pub frontend_url: Option<String>,
    /// Interop versions of the IETF's resumable uploads that are spoken.
    pub resumable_versions: Vec<u8>,
    /// To which of their clients `104` goes.
    pub resumable_104: InterimTo,
    /// The web app that is asked for tickets of uploads which clients create; none: they create none.
    pub creation: Option<Creation>,
    /// Where finished files go.
    pub destination: Destination,
    /// The settings in force as TOML, secrets left out.
    pub settings: Arc<str>,
}

/// Where finished files go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into a directory of this machine.
    File,
    /// Into a bucket.
    Bucket,
}

impl Options {
    /// The URL of something on the frontend, or its path where the URL is not known.
    pub(super) fn frontend(&self, path: &str) -> String {
        let front = self.frontend_url.as_deref().unwrap_or("/incoming/frontend");
        format!("{front}/{path}")
    }
}

/// Which paths a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/incoming/frontend/...` only.
    Public,
    /// `/incoming/backend/...`, metrics and health.
    Backend,
    /// Both, on one socket.
    Shared,
}

/// Who is at the other end of a connection.
#[derive(Clone)]
pub struct Caller {
    /// The address connected from, or named by a PROXY header; a unix socket counts as loopback. None where a proxy
    /// brings somebody and does not say whom.
    pub address: Option<IpAddr>,
    /// Its port there; none on a unix socket.
    pub port: Option<u16>,
    /// What it proved itself with, if with anything.
    pub certificate: Option<Certificate>,
}

/// Tells whether a client certificate that was shown and checked when the connection began is still good: not expired, and
/// from an authority that still counts.
pub type Certificate = Arc<dyn Fn() -> bool + Send + Sync>;

impl Caller {
    /// Whoever connected over TCP from there, without a certificate.
    pub fn tcp(from: SocketAddr) -> Self {
        Self { address: Some(from.ip()), port: Some(from.port()), certificate: None }
    }

    /// Whoever connected on a unix socket, without a certificate.
    pub fn unix() -> Self {
        Self { address: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), port: None, certificate: None }
    }

    /// Whoever a proxy brings without a word.
    pub fn unknown() -> Self {
        Self { address: None, port: None, certificate: None }
    }

    /// Whether it is on a unix socket, where a browser cannot connect by itself.
    fn on_unix_socket(&self) -> bool {
        self.address.is_some() && self.port.is_none()
    }
}

/// The HTTP surface of an engine.
pub struct Wire {
    engine: Arc<Engine>,
    options: ArcSwap<Options>,
    hooks: AdminHooks,
    doctor: Doctor,
    body_memory: BodyMemories,
    creations: Arc<ClientSlots>,
    health: overview::HealthCache,
}

/// Memory for small bodies. Callers with a ticket, or with none, take nothing from the web apps' backends.
struct BodyMemories {
    frontend: BodyMemory,
    backend: BodyMemory,
}

/// One request on its way through the surface, and the settings in force when it came.
struct Exchange {
    head: Parts,
    surface: Surface,
    caller: Caller,
    options: Arc<Options>,
    dialect: Dialect,
    /// Whether the peer is still there; none on HTTP/2, where the request is dropped instead.
    disconnect: Option<PeerDisconnect>,
}

impl Exchange {
    /// Whether a proxy brings the request, as far as one says so.
    fn is_proxied(&self) -> bool {
        let trusted = &self.options.access.trusted_proxies;
        self.caller.address.is_none_or(|address| forwarded::contains(trusted, address))
            || self.caller.on_unix_socket()
            || PROXY_HEADERS.iter().any(|name| self.head.headers.contains_key(name))
    }

    /// Who the client is, as far as those know who are believed.
    fn client(&self) -> Result<Client, Problem> {
        self.options.access.client(self.surface, &self.caller, &self.head.headers)
    }
}

impl Wire {
    /// The HTTP surface of `engine`.
    pub fn new(engine: Arc<Engine>, options: Options, hooks: AdminHooks) -> Arc<Self> {
        let (doctor, options) = (Doctor::new(&engine), ArcSwap::from_pointee(options));
        let body_memory = BodyMemories {
            frontend: BodyMemory::new(BODY_MEMORY_BYTES),
            backend: BodyMemory::new(BODY_MEMORY_BYTES),
        };
        Arc::new(Self {
            engine,
            options,
            hooks,
            doctor,
            body_memory,
            creations: ClientSlots::new(create::CALLS),
            health: overview::HealthCache::default(),
        })
    }

    /// Puts other settings in force, for requests from now on.
    pub fn set_options(&self, options: Options) {
        self.options.store(Arc::new(options));
    }

    /// The service for one connection.
    pub fn service(self: &Arc<Self>, surface: Surface, caller: Caller) -> Service {
        Service { wire: Arc::clone(self), surface, caller, hsts: None }
    }

    async fn answer(
        self: Arc<Self>,
        surface: Surface,
        caller: Caller,
        request: Request<RequestBody>,
    ) -> Answer {
        let began = std::time::Instant::now();
        let (mut head, body) = request.into_parts();
        let (options, disconnect) = (self.options.load_full(), body.disconnect());
        let route = Route::of(head.uri.path());
        let dialect = Dialect::of(route, &head, &options);
        let is_head = head.method == Method::HEAD;
        dialect.override_method(&mut head);
        let exchange = Exchange { head, surface, caller, options, dialect, disconnect };
        let Exchange { head, options, .. } = &exchange;
        let client = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| tracing::field::debug(exchange.client().unwrap_or(Client::Unknown)));
        let ended = body.ended();
        let (http1, waits) = (body.protocol() == Protocol::Http1, body.awaits_continue());
        let cause = trace::cause(&head.headers, route, &exchange.caller, &options.access, dialect);
        let found = route.on(surface, options);
        let is_doctor = matches!(found, Ok(Route::Doctor(_)));
        let checked = head::check(head).and_then(|()| unsupported::check(head));
        let mut answer = match checked.and(found) {
            Ok(route) => {
                if route.is_upload() {
                    self.engine.stats().requests.of(dialect).inc();
                }
                let work = self.dispatch(route, &exchange, body);
                cause.clone().during(work).await
            }
            Err(problem) => {
                drop(body);
                if route.is_frontend() || surface == Surface::Public {
                    dialect.problem(&problem)
                } else {
                    backend::form(&head.headers).problem(problem)
                }
            }
        };
        if route.is_frontend() {
            answer.headers_mut().extend(options.cors.headers(&head.headers));
            dialect.mark(answer.headers_mut());
        }
        answer.headers_mut().extend(is_doctor.then_some(doctor::MARK));
        if is_head {
            // hyper leaves the body out on HTTP/1.1 alone.
            let length = answer.body().size_hint().exact().filter(|&bytes| bytes > 0);
            answer.headers_mut().extend(length.map(|bytes| (CONTENT_LENGTH, bytes.into())));
            *answer.body_mut() = Full::default();
        }
        // A client that asked before sending may send or not; what comes next could be either.
        let unread = waits || !answer.status().is_success();
        if http1 && unread && !ended.is_set() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Ok(id) = HeaderValue::from_str(cause.request()) {
            answer.headers_mut().insert(trace::REQUEST_ID, id);
        }
        let code = answer.extensions_mut().remove::<Code>();
        if let Some(code) = code {
            self.hooks.refusals.count(code, dialect);
        }
        tracing::debug!(
            request = cause.request(),
            trace = cause.traceparent(),
            method = %head.method,
            route = route.word(),
            upload = route.upload().map(tracing::field::display),
            status = answer.status().as_u16(),
            code = code.map(|code| code.facts().1),
            ms = ms(began.elapsed()),
            client,
            "request"
        );
        answer
    }

    async fn dispatch(
        self: &Arc<Self>,
        route: Route,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Answer {
        match route {
            Route::Upload(id) => self.upload(Target::Upload(id), exchange, body).await,
            Route::Tus(target) | Route::Resumable(target) => {
                self.upload(target, exchange, body).await
            }
            Route::Verify(id) => self.comparison(id, exchange, body).await,
            Route::Doctor(part) => self.doctor.answer(part, exchange, body).await,
            Route::Script(script) => assets::answer(script, &exchange.head),
            Route::Backend(call) => self.backend(call, exchange, body).await,
            Route::Page(part) => page::answer(part, exchange)
                .unwrap_or_else(|problem| backend::form(&exchange.head.headers).problem(problem)),
            Route::Metrics | Route::Health | Route::Ready => self.health(route, exchange).await,
            Route::Unknown => {
                Problem::new(Code::UnknownUpload, "there is nothing at this path").into_answer()
            }
        }
    }
}

/// hyper's service for one connection.
#[derive(Clone)]
pub struct Service {
    wire: Arc<Wire>,
    surface: Surface,
    caller: Caller,
    hsts: Option<HeaderValue>,
}

impl Service {
    /// The same, that tells browsers to stay on https. For connections of this server's own TLS alone:
    /// over plain HTTP the word would not count. Source: RFC 6797, section 7.2.
    #[must_use]
    pub fn strict(self, hsts: Option<HeaderValue>) -> Self {
        Self { hsts, ..self }
    }
}

impl hyper::service::Service<Request<RequestBody>> for Service {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let wire = Arc::clone(&self.wire);
        let (surface, caller) = (self.surface, self.caller.clone());
        let hsts = self.hsts.clone();
        Box::pin(async move {
            let mut answer = wire.answer(surface, caller, request).await;
            answer.headers_mut().extend(hsts.map(|value| (STRICT_TRANSPORT_SECURITY, value)));
            Ok(answer)
        })
    }
}

/// What proxies add to requests.
const PROXY_HEADERS: [HeaderName; 6] = [
    VIA,
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];
/// Memory for small bodies of one surface, in bytes: a thousand of the largest that uploads have, 32 of the largest of
/// backends.
const BODY_MEMORY_BYTES: usize = 8 << 20;
