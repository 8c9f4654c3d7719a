//! Why something happens: the request that asked for it, so that what follows from it, on whatever
//! thread, can name it in the log, and so that its trace goes on in the backend.
//!
//! It travels with the request's task; a change that is submitted takes it along. In memory only.

use crate::core::dialect::Client;
use std::future::Future;
use std::sync::Arc;

/// The request that something follows from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestContext(Arc<Fields>);

#[derive(Debug)]
struct Fields {
    request: String,
    traceparent: Option<String>,
    client: Client,
}

tokio::task_local! {
    static CURRENT: RequestContext;
}

impl RequestContext {
    /// The request with this id, and the trace it belongs to. Both are harmless text: whoever takes
    /// them from outside has checked that.
    pub fn new(request: String, traceparent: Option<String>, client: Client) -> Self {
        Self(Arc::new(Fields { request, traceparent, client }))
    }

    /// The request's id.
    pub fn request(&self) -> &str {
        &self.0.request
    }

    /// The trace it belongs to, as W3C writes it.
    pub fn traceparent(&self) -> Option<&str> {
        self.0.traceparent.as_deref()
    }

    /// Who sent it, and in which protocol.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// What `work` does follows from this.
    pub fn during<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// What the present task follows from, if it is a request.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }
}

/// The id of the request, for a log line; a field without a value is left out.
pub fn request_of(context: Option<&RequestContext>) -> Option<&str> {
    context.map(RequestContext::request)
}
