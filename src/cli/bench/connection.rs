//! The measuring client's connections, each of them counted: no pool decides how many there are.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::header::HeaderMap;
use hyper::{Request, StatusCode};
use tokio::time::timeout;

use super::BenchError;
use super::dialect::RequestBody;
use crate::cli::terminal;
use crate::client::{Connection, Connector, Endpoint, ProtocolSniffer, lost};

/// The longest answer to a chunk: a slow line, or a disk that syncs for long.
const ANSWER: Duration = Duration::from_secs(300);
/// The longest answer read: a status with very many ranges.
const ANSWER_BYTES: usize = 4 << 20;

/// What the server answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A connection that requests are sent on.
pub(super) struct Sender {
    connection: Connection<RequestBody>,
    sniffer: ProtocolSniffer,
    endpoint: Endpoint,
}

impl Sender {
    /// A new connection, whose task runs on the runtime that polls this.
    pub(super) async fn open(connector: &Connector) -> Result<Self, BenchError> {
        let endpoint = connector.endpoint().clone();
        let stream = connector.connect().await.map_err(|error| error.about(&endpoint))?;
        let sniffer = stream.sniffer();
        let connection = Connection::start(stream).await;
        let connection = connection.map_err(|error| lost(&endpoint, &error, &sniffer))?;
        Ok(Self { connection, sniffer, endpoint })
    }

    /// A further sender on the same connection, where the protocol has such a thing.
    pub(super) fn sibling(&self) -> Option<Self> {
        let connection = self.connection.sibling()?;
        Some(Self { connection, sniffer: self.sniffer.clone(), endpoint: self.endpoint.clone() })
    }

    /// Sends a request, whose target is a path, and reads the whole answer.
    pub(super) async fn ask(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Answer, BenchError> {
        timeout(ANSWER, self.exchange(request)).await.map_err(|_| BenchError::AnswerTimeout)?
    }

    async fn exchange(&mut self, request: Request<RequestBody>) -> Result<Answer, BenchError> {
        let answer = self.connection.send(&self.endpoint, request).await;
        let answer = answer.map_err(|error| lost(&self.endpoint, &error, &self.sniffer))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await;
        let body = body.map_err(|error| BenchError::BrokenAnswer(error.to_string()))?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// An answer that was not hoped for.
pub(super) fn refused(path: &str, answer: &Answer) -> BenchError {
    let text = String::from_utf8_lossy(&answer.body);
    let (path, text) = (terminal::short(path), terminal::short(&text));
    BenchError::Refused { path, status: answer.status, text }
}
