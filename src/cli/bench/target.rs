//! The server that is measured: its tickets, what it has used, and the end of what it was given.

use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION};
use serde::Deserialize;

use super::BenchError;
use super::connection::Sender;
use super::dialect::{Dialect, File};
use super::own_server::OwnServer;
use super::plan::{Plan, ServerUnderTest};
use super::process::{self, Cpu, MemoryUse};
use crate::cli::Credentials;
use crate::client::{Connector, Endpoint, Offer, bearer};

/// A server, running.
pub(super) struct Target {
    /// Ends with its owner.
    _own: Option<OwnServer>,
    public: Endpoint,
    path: String,
    backend: Connector,
    authorization: Option<HeaderValue>,
    process: Option<u32>,
    credentials: Credentials,
    dialect: Dialect,
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
}

impl Target {
    /// Starts one, or takes the one that runs.
    pub(super) fn open(plan: &Plan) -> Result<Self, BenchError> {
        let dialect = plan.dialect;
        let connector = |backend: Endpoint| {
            let tls = Credentials::of_anyone().config_for(&backend)?;
            Ok::<_, BenchError>(Connector::new(backend, tls, Offer::Http1))
        };
        match plan.server.clone() {
            ServerUnderTest::Own { tls, ack, dir, flags } => {
                let own = OwnServer::start(tls, &ack, &dir, &flags)?;
                Ok(Self {
                    public: own.public.clone(),
                    path: "/".into(),
                    backend: connector(own.backend.clone())?,
                    authorization: None,
                    process: Some(own.id()),
                    credentials: Credentials::of_anyone(),
                    dialect,
                    _own: Some(own),
                })
            }
            ServerUnderTest::Other { public, path, backend, token, process, insecure } => {
                Ok(Self {
                    authorization: token.as_ref().map(bearer).transpose()?,
                    _own: None,
                    public,
                    path,
                    backend: connector(backend)?,
                    process,
                    credentials: Credentials { insecure, ..Credentials::default() },
                    dialect,
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
            Dialect::Incoming => Some(Sender::open(&self.backend).await?),
            Dialect::Tus => {
                let connector = self.connector(Offer::Http1)?;
                Some(Sender::open(&connector).await?)
            }
            Dialect::Range | Dialect::Files => None,
        };
        for number in 0..plan.uploads {
            let (path, id) = match (&mut sender, self.dialect) {
                (Some(sender), Dialect::Incoming) => self.ticket(sender, done).await?,
                (Some(sender), _) => (self.created(sender, plan).await?, String::new()),
                (None, Dialect::Files) => (self.path.clone(), String::new()),
                (None, _) => (format!("{}{number}", self.path), String::new()),
            };
            files.push(Arc::new(File { path, number, id }));
        }
        Ok(files)
    }

    async fn ticket(
        &self,
        sender: &mut Sender,
        done: &str,
    ) -> Result<(String, String), BenchError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("signalFinishURL", done)
            .finish();
        let answer = sender.call(self.post("new_upload"), form).await?;
        let ticket: Ticket =
            serde_json::from_slice(&answer.body).map_err(|_| BenchError::NoBackend)?;
        Ok((ticket.url, ticket.id))
    }

    async fn created(&self, sender: &mut Sender, plan: &Plan) -> Result<String, BenchError> {
        let request = Request::post(&self.path)
            .header("tus-resumable", "1.0.0")
            .header("upload-length", plan.length());
        let answer = sender.call(request, String::new()).await?;
        let location = answer.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        let uri: Option<hyper::Uri> = location.and_then(|url| url.parse().ok());
        let path = uri.as_ref().and_then(|uri| uri.path_and_query()).map(ToString::to_string);
        path.ok_or(BenchError::NoLocation)
    }

    /// Cancels what is not to be finished.
    pub(super) async fn cancel(&self, files: &[Arc<File>]) -> Result<(), BenchError> {
        if self.dialect != Dialect::Incoming {
            return Ok(());
        }
        let mut sender = Sender::open(&self.backend).await?;
        for file in files {
            let form = format!("id={}", file.id);
            sender.call(self.post("cancel_upload"), form).await?;
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
        let syncs = if self.dialect == Dialect::Incoming {
            let mut sender = Sender::open(&self.backend).await?;
            let answer =
                sender.call(self.authorized(Request::get("/metrics")), String::new()).await?;
            Syncs::of(&String::from_utf8_lossy(&answer.body))
        } else {
            None
        };
        Ok(Usage { cpu, memory, syncs })
    }

    fn post(&self, call: &str) -> hyper::http::request::Builder {
        let request = Request::post(format!("/incoming/backend/{call}"));
        self.authorized(request.header(CONTENT_TYPE, "application/x-www-form-urlencoded"))
    }

    fn authorized(&self, request: hyper::http::request::Builder) -> hyper::http::request::Builder {
        match &self.authorization {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }
}

impl Syncs {
    fn of(metrics: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.trim().parse::<f64>().ok())
        };
        let time = Duration::try_from_secs_f64(value("incoming_disk_sync_seconds_sum")?).ok()?;
        Some(Self { count: value("incoming_disk_sync_seconds_count")?, time })
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
