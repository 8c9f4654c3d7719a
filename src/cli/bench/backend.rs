//! The web app of the measurement: takes every file at once, and notes which.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use super::BenchError;
use super::dialect::File;
use super::plan::Plan;

/// The longest form: a few short fields.
const FORM_BYTES: usize = 64 << 10;
/// As many files as can be measured at once.
const MOST_FILES: usize = 100_000;
/// A head that takes longer than this is nobody's.
const HEAD: Duration = Duration::from_secs(15);
/// How long no file may come before the rest is given up: longer than any sync of one.
const STANDSTILL: Duration = Duration::from_secs(120);

/// Answers the server's calls with `done`.
pub(super) struct Backend {
    address: SocketAddr,
    expected: u64,
    handed_over: Arc<HandedOver>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct HandedOver {
    lengths: Mutex<HashMap<String, u64>>,
    more: Notify,
}

impl Backend {
    /// Listens where the plan says that the server can call.
    pub(super) async fn start(plan: &Plan) -> Result<Self, BenchError> {
        let failed = BenchError::io("cannot listen for the server's calls");
        let listener = TcpListener::bind((plan.callback, 0)).await.map_err(&failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let handed_over = Arc::new(HandedOver::default());
        let task = tokio::spawn(accept(listener, Arc::clone(&handed_over)));
        Ok(Self {
            address,
            expected: plan.length(),
            handed_over,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// What tickets name as `signalFinishURL`.
    pub(super) fn url(&self) -> String {
        format!("http://{}/finished", self.address)
    }

    /// Waits until each file has been handed over, at its full length.
    pub(super) async fn all_handed_over(
        &self,
        plan: &Plan,
        files: &[Arc<File>],
    ) -> Result<(), BenchError> {
        if !plan.tickets {
            return Ok(());
        }
        loop {
            let more = self.handed_over.more.notified();
            let (there, wrong) = {
                let lengths = self.handed_over.lengths();
                let there = files.iter().filter(|file| lengths.contains_key(&file.id)).count();
                let wrong = lengths.iter().find(|(_, length)| **length != self.expected);
                (
                    there,
                    wrong.map(|(id, length)| BenchError::Length { id: id.clone(), bytes: *length }),
                )
            };
            match wrong {
                Some(wrong) => return Err(wrong),
                None if there == files.len() => return Ok(()),
                None => {}
            }
            let waited = tokio::time::timeout(STANDSTILL, more).await;
            waited.map_err(|_| BenchError::NotHandedOver { there, all: files.len() })?;
        }
    }

    /// Waits until `file` has been handed over, at its full length, and forgets it.
    pub(super) async fn handed_over(&self, file: &File) -> Result<(), BenchError> {
        loop {
            let more = self.handed_over.more.notified();
            let length = self.handed_over.lengths().remove(&file.id);
            match length {
                Some(length) if length == self.expected => return Ok(()),
                Some(bytes) => return Err(BenchError::Length { id: file.id.clone(), bytes }),
                None => {}
            }
            let waited = tokio::time::timeout(STANDSTILL, more).await;
            waited.map_err(|_| BenchError::NotHandedOver { there: 0, all: 1 })?;
        }
    }
}

impl HandedOver {
    fn lengths(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, handed_over: Arc<HandedOver>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { return };
        let handed_over = Arc::clone(&handed_over);
        connections.spawn(async move {
            let service = service_fn(|request| answer(request, &handed_over));
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEAD).keep_alive(true);
            // A call that breaks off is made again by the server.
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    handed_over: &HandedOver,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = Limited::new(request.into_body(), FORM_BYTES).collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let fields: HashMap<_, _> = form_urlencoded::parse(&body).into_owned().collect();
    let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
    if field("cancelled") == "no" {
        let length = field("length").parse().unwrap_or(0);
        let mut lengths = handed_over.lengths();
        // Whoever else finds this port fills no memory.
        if lengths.len() < MOST_FILES {
            lengths.insert(field("id").to_owned(), length);
        }
        drop(lengths);
        handed_over.more.notify_waiters();
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"done"))))
}
