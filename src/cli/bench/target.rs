//! The server that is measured: its tickets, what it has used, and the end of what it was given.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::Request;
use hyper::header::LOCATION;
use serde::Deserialize;

use super::BenchError;
use super::connection::{Sender, refused};
use super::dialect::{Dialect, File};
use super::own_server::OwnServer;
use super::plan::{Plan, ServerUnderTest};
use super::process::{self, Cpu, MemoryUse};
use crate::cli::Credentials;
use crate::cli::backend::{BackendClient, BackendError};
use crate::client::{Connector, Endpoint, Offer};
use crate::config::Secret;

/// A server, running.
pub(super) struct Target {
    /// Ends with its owner.
    _own: Option<OwnServer>,
    public: Endpoint,
    path: String,
    backend: BackendClient,
    process: Option<u32>,
    credentials: Credentials,
    dialect: Dialect,
    tickets: bool,
}

/// What a server has used since it began, as far as can be told from here.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu: Option<Cpu>,
    pub(super) memory: Option<MemoryUse>,
    pub(super) syncs: Option<Syncs>,
}

/// Waits for the disk: how many, and how long all together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Syncs {
    pub(super) count: f64,
    pub(super) time: Duration,
}

#[derive(Deserialize)]
struct Ticket {
    id: String,
    url: String,
    tus_url: String,
    resumable_url: String,
}

impl Ticket {
    /// Where its file goes.
    fn path(&self, dialect: Dialect) -> Result<String, BenchError> {
        match dialect {
            Dialect::Tus => path_of(&self.tus_url),
            Dialect::Resumable => path_of(&self.resumable_url),
            Dialect::Incoming | Dialect::Range | Dialect::Files => Ok(self.url.clone()),
        }
    }
}

/// The path of a URL, which may be one alone.
fn path_of(url: &str) -> Result<String, BenchError> {
    let uri: Option<hyper::Uri> = url.parse().ok();
    let path = uri.as_ref().and_then(hyper::Uri::path_and_query).map(ToString::to_string);
    path.ok_or(BenchError::NoLocation)
}

/// The call for a ticket.
const NEW_UPLOAD: &str = "/incoming/backend/new_upload";
/// Uploads whose handover is not recorded yet.
const HANDING_OVER: &str = "incoming_uploads{state=\"handing_over\"}";
/// How long that may take for the last ones, and how often it is asked.
const SETTLED: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

impl Target {
    /// Starts one, or takes the one that runs.
    pub(super) fn open(plan: &Plan) -> Result<Self, BenchError> {
        let (dialect, tickets) = (plan.dialect, plan.tickets);
        let client = |backend: Endpoint, token: Option<&Secret>| {
            BackendClient::new(backend, token, &Credentials::of_anyone())
        };
        match plan.server.clone() {
            ServerUnderTest::Own { tls, ack, dir, flags } => {
                let own = OwnServer::start(tls, &ack, &dir, &flags)?;
                Ok(Self {
                    public: own.public.clone(),
                    path: "/".into(),
                    backend: client(own.backend.clone(), None)?,
                    process: Some(own.id()),
                    credentials: Credentials::of_anyone(),
                    dialect,
                    tickets,
                    _own: Some(own),
                })
            }
            ServerUnderTest::Other { public, path, backend, token, process, insecure } => {
                Ok(Self {
                    _own: None,
                    public,
                    path,
                    backend: client(backend, token.as_ref())?,
                    process,
                    credentials: Credentials { insecure, ..Credentials::default() },
                    dialect,
                    tickets,
                })
            }
        }
    }

    /// The way to the public listener. Blocks on reading trusted roots.
    pub(super) fn connector(&self, protocol: Offer) -> Result<Connector, BenchError> {
        let tls = self.credentials.config_for(&self.public)?;
        Ok(Connector::new(self.public.clone(), tls, protocol))
    }

    /// A place for each file.
    ///
    /// Cancel: tickets that were given out end by themselves.
    pub(super) async fn files(
        &self,
        plan: &Plan,
        done: &str,
    ) -> Result<Vec<Arc<File>>, BenchError> {
        let mut files = Vec::new();
        let mut sender = match self.dialect {
            Dialect::Tus if !self.tickets => {
                Some(Sender::open(&self.connector(Offer::Http1)?).await?)
            }
            _ => None,
        };
        for number in 0..plan.uploads {
            let (path, id) = if self.tickets {
                files.push(Arc::new(self.ticket(plan, done, number).await?));
                continue;
            } else if let Some(sender) = &mut sender {
                (self.created(sender, plan).await?, String::new())
            } else if self.dialect == Dialect::Files {
                (self.path.clone(), String::new())
            } else {
                (format!("{}{number}", self.path), String::new())
            };
            files.push(Arc::new(File { path, number, id }));
        }
        Ok(files)
    }

    /// A ticket for one file.
    pub(super) async fn ticket(
        &self,
        plan: &Plan,
        done: &str,
        number: u32,
    ) -> Result<File, BenchError> {
        let length = plan.length().to_string();
        let fields = [("signalFinishURL", done), ("length", &length)];
        let ticket = self.backend.ask::<Ticket>(NEW_UPLOAD, &fields).await;
        let ticket = ticket.map_err(|error| match error {
            BackendError::OtherAnswer(..) => BenchError::NoBackend,
            error => error.into(),
        })?;
        Ok(File { path: ticket.path(self.dialect)?, number, id: ticket.id })
    }

    /// Waits until the server has recorded what became of every handover.
    pub(super) async fn settled(&self) -> Result<(), BenchError> {
        let settled = async {
            while value(&self.backend.text("/metrics").await?, HANDING_OVER) != Some(0.0) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Ok(())
        };
        let waited = tokio::time::timeout(SETTLED, settled).await;
        waited.map_err(|_| BenchError::AnswerTimeout)?
    }

    async fn created(&self, sender: &mut Sender, plan: &Plan) -> Result<String, BenchError> {
        let request = Request::post(&self.path)
            .header("tus-resumable", "1.0.0")
            .header("upload-length", plan.length())
            .body(Either::Left(Full::default()))?;
        let answer = sender.ask(request).await?;
        if !answer.status.is_success() {
            return Err(refused(&self.path, &answer));
        }
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        path_of(location.ok_or(BenchError::NoLocation)?)
    }

    /// Cancels what is not to be finished.
    pub(super) async fn cancel(&self, files: &[Arc<File>]) -> Result<(), BenchError> {
        if !self.tickets {
            return Ok(());
        }
        for file in files {
            self.backend.post("/incoming/backend/cancel_upload", &[("id", &file.id)]).await?;
        }
        Ok(())
    }

    /// What it has used up to now.
    pub(super) async fn usage(&self) -> Result<Usage, BenchError> {
        let process = match self.process {
            Some(id) => Some(process::tree(id).ok_or(BenchError::NoProcess(id))?),
            None => None,
        };
        let (cpu, memory) = process.unzip();
        let syncs =
            if self.tickets { Syncs::of(&self.backend.text("/metrics").await?) } else { None };
        Ok(Usage { cpu, memory, syncs })
    }
}

/// A figure of the server's metrics.
fn value(metrics: &str, name: &str) -> Option<f64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.trim().parse().ok())
}

impl Syncs {
    fn of(metrics: &str) -> Option<Self> {
        let time = value(metrics, "incoming_disk_sync_seconds_sum")?;
        let time = Duration::try_from_secs_f64(time).ok()?;
        Some(Self { count: value(metrics, "incoming_disk_sync_seconds_count")?, time })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self { count: self.count - before.count, time: self.time.saturating_sub(before.time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_metrics() {
        let text = "# TYPE incoming_disk_sync_seconds histogram\nincoming_disk_sync_seconds_sum 0.5\n\
                    incoming_disk_sync_seconds_count 4\n";
        let expected = Syncs { count: 4.0, time: Duration::from_millis(500) };
        assert_eq!(Syncs::of(text), Some(expected));
        assert_eq!(Syncs::of("incoming_disk_sync_seconds_count 4\n"), None);
    }
}
