//! `/healthz`, `/readyz` and `/metrics`, on the backend surface.

use super::reply::{Code, Problem, text_answer};
use super::route::Route;
use super::{Answer, Caller, Surface, Wire};
use hyper::Method;
use hyper::http::request::Parts;
use std::sync::Arc;

impl Wire {
    pub(super) async fn health(
        self: &Arc<Self>,
        route: Route,
        surface: Surface,
        caller: Caller,
        head: &Parts,
    ) -> Answer {
        // A balancer that asks whether the server lives has no token; the address rule holds.
        if !matches!(head.method, Method::GET | Method::HEAD) {
            return Problem::method(&head.method, "GET, HEAD").into_text();
        }
        if let Err(problem) = self.options.access.check_address(surface, &caller, &head.headers) {
            return problem.into_text();
        }
        match route {
            Route::Metrics => match self.options.access.check(surface, &caller, &head.headers) {
                Ok(()) => text_answer((self.metrics)()),
                Err(problem) => problem.into_text(),
            },
            Route::Ready => match self.engine.readiness().await {
                Ok(()) => text_answer("ready\n".into()),
                Err(why) => Problem::new(Code::Unavailable, why).into_text(),
            },
            _ => text_answer("ok\n".into()),
        }
    }
}
