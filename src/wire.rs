//! HTTP on one side, the engine on the other: requests become typed offers and commands, answers
//! become status objects and problems.
//!
//! Absent: sockets, TLS, rules. Status codes stand in [`reply`] and nowhere else.

pub mod access;
pub mod assets;
pub mod backend;
mod bind;
pub mod body;
pub mod browser;
pub mod content_digest;
pub mod cors;
pub mod doctor;
mod findings;
pub mod forwarded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod guests;
mod head;
pub mod header;
pub mod health;
pub mod log;
mod meaning;
pub mod native;
pub mod params;
pub mod redirect;
pub mod refusals;
pub mod reply;
pub mod route;
pub mod status;
mod trace;
mod untaken;
mod verify;

use crate::core::time::ms;
use crate::engine::Engine;
use crate::engine::health::SingleFlight;
use crate::engine::swap::Swap;
use access::Access;
use body::{RequestBody, Room};
use bytes::Bytes;
use cors::Cors;
use forwarded::Client;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::{Method, Request, Response, Version};
use log::LogFilter;
use refusals::Refusals;
use reply::{Code, Problem};
use route::Route;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

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

/// How the text of `/metrics` is to look, and what was asked for it.
#[derive(Clone, Copy, Debug)]
pub struct Scrape {
    /// The format that the asker can read.
    pub format: MetricsFormat,
    /// Bytes free on the disk, where it said so in time.
    pub free_bytes: Option<u64>,
}

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsFormat {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own, version 0.0.4.
    Plain,
}

/// Makes the text of `/metrics`.
pub type RenderMetrics = Arc<dyn Fn(Scrape) -> String + Send + Sync>;

/// A runtime's loop, which health asks for a turn.
pub struct Turn {
    name: String,
    runtime: Handle,
    look: SingleFlight<()>,
}

impl Turn {
    /// The loop of `runtime`, which runs on the thread of this name.
    pub fn new(name: String, runtime: Handle) -> Self {
        Self { name, runtime, look: SingleFlight::default() }
    }

    fn ask(&self) -> impl Future<Output = Option<()>> + use<> {
        let runtime = self.runtime.clone();
        self.look.ask(move || runtime.spawn(async {}))
    }
}

/// What is found at the moment of the call, one line each, for people.
pub type Findings = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// What the surface shows beside the engine, and what it counts.
pub struct Beside {
    /// The text of `/metrics`.
    pub metrics: RenderMetrics,
    /// Where answers that say no are counted.
    pub refusals: Arc<Refusals>,
    /// The loops that must turn.
    pub loops: Vec<Turn>,
    /// What keeps the server from taking uploads, beside what the engine knows.
    pub unready: Findings,
    /// What is wrong while all is served.
    pub notes: Findings,
    /// The filter of the log, if it can be changed.
    pub log: Option<Arc<dyn LogFilter>>,
}

/// The HTTP surface of an engine.
pub struct Wire {
    engine: Arc<Engine>,
    options: Swap<Options>,
    beside: Beside,
    drains: TaskTracker,
    doctor: doctor::Doctor,
    rooms: Rooms,
}

/// Memory for small bodies. Whoever has a ticket, or none, takes nothing from the web apps' backends.
struct Rooms {
    frontend: Room,
    backend: Room,
}

impl Wire {
    /// The HTTP surface of `engine`.
    pub fn new(engine: Arc<Engine>, options: Options, beside: Beside) -> Arc<Self> {
        let (drains, doctor) = (TaskTracker::new(), doctor::Doctor::new());
        let options = Swap::new(options);
        let rooms = Rooms { frontend: Room::new(ROOM_BYTES), backend: Room::new(ROOM_BYTES) };
        Arc::new(Self { engine, options, beside, drains, doctor, rooms })
    }

    /// Puts other settings in force, for requests from now on.
    pub fn retune(&self, options: Options) {
        self.options.put(options);
    }

    /// Waits until bodies that are read only to be thrown away have ended. They have a deadline
    /// of their own. Dropping the future leaves them running.
    pub async fn drained(&self) {
        self.drains.close();
        self.drains.wait().await;
    }

    /// The service for one connection.
    pub fn service(self: &Arc<Self>, surface: Surface, caller: Caller) -> Service {
        Service { wire: Arc::clone(self), surface, caller, hsts: None }
    }

    async fn answer(
        self: Arc<Self>,
        surface: Surface,
        caller: Caller,
        request: Request<Incoming>,
    ) -> Answer {
        let began = std::time::Instant::now();
        let client = tracing::enabled!(tracing::Level::DEBUG)
            .then(|| self.options.now().access.client(surface, &caller, request.headers()))
            .map(|client| tracing::field::debug(client.unwrap_or(Client::Unknown)));
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body, &head, &self.drains);
        let ended = body.ended();
        let (http1, waits) = (head.version < Version::HTTP_2, body::waits(&head.headers));
        let (method, route) = (head.method.clone(), Route::of(head.uri.path()));
        let frontend = route.is_frontend();
        let cause = trace::cause(&head.headers, route, &caller, &self.options.now().access);
        let cors = frontend.then(|| self.options.now().cors.headers(&head.headers));
        let mark = self.is_doctor(route, surface).then_some(doctor::MARK);
        let checked = head::check(&head).and_then(|()| meaning::check(&head));
        let mut answer = match checked.and_then(|()| route.on(surface)) {
            Ok(route) => {
                let work = self.dispatch(route, surface, caller, head, body);
                cause.clone().during(work).await
            }
            Err(problem) => {
                drop(body);
                if frontend || surface == Surface::Public {
                    problem.into_answer()
                } else {
                    backend::form(&head.headers).problem(problem)
                }
            }
        };
        if let Some(cors) = cors {
            answer.headers_mut().extend(cors);
        }
        answer.headers_mut().extend(mark);
        if method == Method::HEAD {
            // hyper leaves the body out on HTTP/1.1 alone.
            let length = answer.body().size_hint().exact().filter(|&bytes| bytes > 0);
            answer.headers_mut().extend(length.map(|bytes| (CONTENT_LENGTH, bytes.into())));
            *answer.body_mut() = Full::default();
        }
        // Whoever asked before sending may send or not; what comes next could be either.
        let unread = waits || !answer.status().is_success();
        if http1 && unread && !ended.is_set() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Ok(id) = HeaderValue::from_str(cause.request()) {
            answer.headers_mut().insert(trace::REQUEST_ID, id);
        }
        let code = answer.extensions_mut().remove::<Code>();
        if let Some(code) = code {
            self.beside.refusals.count(code);
        }
        tracing::debug!(
            request = cause.request(),
            trace = cause.traceparent(),
            %method,
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

    /// Whether the path doctor answers there.
    fn is_doctor(&self, route: Route, surface: Surface) -> bool {
        matches!(route, Route::Doctor | Route::DoctorFindings)
            && route.on(surface).is_ok()
            && self.options.now().doctor
    }

    async fn dispatch(
        self: &Arc<Self>,
        route: Route,
        surface: Surface,
        caller: Caller,
        head: hyper::http::request::Parts,
        body: RequestBody,
    ) -> Answer {
        match route {
            Route::Upload(id) => self.upload(id, head, body).await,
            Route::Verify(id) => self.verification(id, head, body).await,
            Route::Doctor if self.is_doctor(route, surface) => {
                self.doctor(surface, caller, head, body).await
            }
            Route::DoctorFindings if self.is_doctor(route, surface) => {
                self.doctor_findings(surface, caller, head, body).await
            }
            Route::Script(script) => assets::answer(script, &head),
            Route::Backend(call) => self.backend(call, surface, caller, head, body).await,
            Route::Metrics | Route::Health | Route::Ready => {
                self.health(route, surface, caller, &head).await
            }
            Route::Doctor | Route::DoctorFindings | Route::Unknown => {
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

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Answer;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
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

/// Memory for small bodies of one surface, in bytes: a thousand of the largest that uploads have, 32 of the largest of
/// backends.
const ROOM_BYTES: usize = 8 << 20;
