//! Whole lives of files: a ticket, one request with all bytes, the handover, the record that the backend has it. What small
//! files cost, which bytes do not tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::backend::Backend;
use super::connection::{Sender, refused};
use super::dialect::{self, Chunk};
use super::plan::Plan;
use super::report::{Phase, Rows, Times};
use super::target::Target;
use super::{BenchError, phase};
use crate::cli::terminal;
use crate::client::Connector;
use crate::core::extent::Extent;
use crate::core::units::size;
use crate::net::Workers;

/// The figures. Sizes in bytes, times in seconds; CPU in milliseconds for each file.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    files: u32,
    file_bytes: u64,
    at_once: u32,
    seconds: f64,
    files_per_second: f64,
    /// From the call for the ticket to the answer of the backend that it has the file.
    lives: Times,
    server_cpu_ms: Option<f64>,
    client_cpu_ms: f64,
    syncs: Option<f64>,
}

/// Sends `files` files, `plan.uploads` of them at a time.
///
/// Cancel: tickets that were given out end by themselves.
pub(super) async fn measure(
    plan: &Arc<Plan>,
    files: u32,
    workers: &Workers,
    connector: &Connector,
    backend: &Arc<Backend>,
    target: &Arc<Target>,
) -> Result<Report, BenchError> {
    let content = dialect::content()?;
    let next = Arc::new(AtomicU32::new(0));
    let mut uploaders = Vec::new();
    for _ in 0..plan.uploads.min(files) {
        let runtime = workers.next();
        let opening = connector.clone();
        let sender = runtime.spawn(async move { Sender::open(&opening).await }).await??;
        let life = Life {
            plan: Arc::clone(plan),
            files,
            next: Arc::clone(&next),
            content: content.clone(),
            backend: Arc::clone(backend),
            target: Arc::clone(target),
        };
        uploaders.push((runtime, sender, life));
    }
    let all = async {
        let start = |(runtime, sender, life): (Handle, Sender, Life)| {
            AbortOnDropHandle::new(runtime.spawn(life.all(sender)))
        };
        let running: Vec<_> = uploaders.into_iter().map(start).collect();
        let mut lives = Vec::new();
        for task in running {
            lives.extend(task.await??);
        }
        target.settled().await?;
        lives.sort_unstable();
        Ok(lives)
    };
    let phase = phase(target, all).await?;
    Ok(Report::new(plan, files, &phase))
}

/// What sends one file after the other.
struct Life {
    plan: Arc<Plan>,
    files: u32,
    next: Arc<AtomicU32>,
    content: Bytes,
    backend: Arc<Backend>,
    target: Arc<Target>,
}

impl Life {
    /// How long each took.
    async fn all(self, mut sender: Sender) -> Result<Vec<Duration>, BenchError> {
        let mut lives = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.files {
                return Ok(lives);
            }
            let began = Instant::now();
            self.one(number, &mut sender).await?;
            lives.push(began.elapsed());
        }
    }

    async fn one(&self, number: u32, sender: &mut Sender) -> Result<(), BenchError> {
        let plan = &*self.plan;
        let file = self.target.ticket(plan, &self.backend.url(), number).await?;
        let Some(extent) = Extent::new(0, plan.file) else { return Ok(()) };
        let sent = Arc::new(AtomicU64::new(0));
        let body = Chunk::new(self.content.clone(), plan.frame, extent.len(), sent);
        let request = plan.dialect.chunk(&file, extent, plan.length(), body);
        let path = request.uri().to_string();
        let answer = sender.ask(request).await?;
        if !answer.status.is_success() {
            return Err(refused(&path, &answer));
        }
        self.backend.handed_over(&file).await
    }
}

impl Report {
    fn new(plan: &Plan, files: u32, phase: &Phase) -> Self {
        let seconds = phase.wall.as_secs_f64();
        let each = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(files);
        let server = phase.before.cpu.zip(phase.after.cpu).map(|(from, to)| to.since(from));
        let syncs = phase.before.syncs.zip(phase.after.syncs).map(|(from, to)| to.since(from));
        Self {
            files,
            file_bytes: plan.file,
            at_once: plan.uploads,
            seconds,
            files_per_second: f64::from(files) / seconds,
            lives: Times::of(&phase.acks),
            server_cpu_ms: server.map(|cpu| each(cpu.total())),
            client_cpu_ms: each(phase.client.total()),
            syncs: syncs.map(|syncs| syncs.count / f64::from(files)),
        }
    }

    /// One object on one line.
    pub(super) fn json(&self) -> String {
        terminal::json(self).unwrap_or_default()
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut rows = Rows::default();
        let mut row = |name: &str, value: String| rows.add(name, &value);
        let Self { files, at_once, seconds, files_per_second, .. } = self;
        row("work", format!("{files} files of {}, {at_once} at a time", size(self.file_bytes)));
        row("files", format!("{files_per_second:.1} /s ({seconds:.2} s)"));
        row("ticket to done", self.lives.text());
        match self.server_cpu_ms {
            Some(ms) => row("server CPU", format!("{ms:.3} ms a file")),
            None => row("server CPU", "unknown: name its process with --server-pid".into()),
        }
        row("client CPU", format!("{:.3} ms a file", self.client_cpu_ms));
        if let Some(syncs) = self.syncs {
            row("disk syncs", format!("{syncs:.2} a file"));
        }
        rows.text()
    }
}
