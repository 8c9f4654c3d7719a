//! HTTP on one side, the engine on the other: requests become typed offers and commands, answers
//! become status objects and problems.
//!
//! Absent: sockets, TLS, rules. Status codes stand in [`reply`] and nowhere else.

pub mod access;
pub mod assets;
pub mod backend;
mod bind;
pub mod body;
pub mod content_digest;
pub mod cors;
pub mod doctor;
pub mod forwarded;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod head;
pub mod header;
pub mod health;
pub mod native;
pub mod params;
pub mod redirect;
pub mod reply;
pub mod route;
pub mod status;
mod verify;

use crate::engine::Engine;
use access::Access;
use body::RequestBody;
use bytes::Bytes;
use cors::Cors;
use forwarded::Client;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderValue, STRICT_TRANSPORT_SECURITY};
use hyper::{Method, Request, Response, Version};
use reply::{Code, Problem};
use route::Route;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
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
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// The address connected from, or named by a PROXY header; a unix socket counts as loopback. None where a proxy
    /// brings somebody and does not say whom.
    pub address: Option<IpAddr>,
    /// Its port there, where it has one.
    pub port: Option<u16>,
    /// Whether a client certificate was shown and checked.
    pub client_certificate: bool,
}

/// Makes the text of `/metrics`.
pub type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// The HTTP surface of an engine.
pub struct Wire {
    engine: Arc<Engine>,
    options: Options,
    metrics: RenderMetrics,
    drains: TaskTracker,
    doctor: doctor::Doctor,
}

impl Wire {
    /// The HTTP surface of `engine`.
    pub fn new(engine: Arc<Engine>, options: Options, metrics: RenderMetrics) -> Arc<Self> {
        let (drains, doctor) = (TaskTracker::new(), doctor::Doctor::new());
        Arc::new(Self { engine, options, metrics, drains, doctor })
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
            .then(|| self.options.access.client(surface, &caller, request.headers()))
            .map(|client| tracing::field::debug(client.unwrap_or(Client::Unknown)));
        let (head, body) = request.into_parts();
        let body = RequestBody::new(body, &head, &self.drains);
        let ended = body.ended();
        let (http1, waits) = (head.version < Version::HTTP_2, body::waits(&head.headers));
        let (method, route) = (head.method.clone(), Route::of(head.uri.path()));
        let frontend = route.is_frontend();
        let cors = frontend.then(|| self.options.cors.headers(&head.headers));
        let mut answer = match head::check(&head).and_then(|()| route.on(surface)) {
            Ok(route) => self.dispatch(route, surface, caller, head, body).await,
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
        let ms = began.elapsed().as_secs_f64() * 1e3;
        tracing::debug!(%method, route = route.word(), status = answer.status().as_u16(), ms, client, "request");
        answer
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
            Route::Doctor if self.options.doctor => self.doctor(surface, caller, head, body).await,
            Route::DoctorFindings if self.options.doctor => self.doctor_findings(head, body).await,
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
        let (wire, surface, caller) = (Arc::clone(&self.wire), self.surface, self.caller);
        let hsts = self.hsts.clone();
        Box::pin(async move {
            let mut answer = wire.answer(surface, caller, request).await;
            answer.headers_mut().extend(hsts.map(|value| (STRICT_TRANSPORT_SECURITY, value)));
            Ok(answer)
        })
    }
}
