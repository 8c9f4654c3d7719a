//! The load: uploaders that send one chunk after the other, and what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::BenchError;
use super::connection::{Sender, refused};
use super::dialect::{self, Chunk, File};
use super::plan::Plan;
use crate::client::{Connector, Offer};
use crate::core::extent::Extent;
use crate::net::Workers;

/// Connections that are open, each with its uploader; the files they send are shared among them.
pub(super) struct Load {
    uploaders: Vec<Uploader>,
    shared: Arc<Shared>,
}

struct Shared {
    plan: Arc<Plan>,
    content: Bytes,
    sent: Arc<AtomicU64>,
}

struct Uploader {
    /// The runtime that its connection lives on.
    runtime: Handle,
    sender: Sender,
    file: Arc<Progress>,
    /// Sends the last chunk of its file.
    first: bool,
}

/// A file, and which of its chunks is next.
struct Progress {
    file: Arc<File>,
    next: AtomicU64,
}

impl Load {
    /// Opens all connections, dealt to the workers in turn.
    ///
    /// Cancel: they close.
    pub(super) async fn open(
        plan: &Arc<Plan>,
        workers: &Workers,
        connector: &Connector,
        files: &[Arc<File>],
    ) -> Result<Self, BenchError> {
        let mut senders = Vec::new();
        if plan.protocol == Offer::Http2 {
            for _ in 0..plan.connections {
                senders.push(open(workers.next(), connector).await?);
            }
        }
        let mut uploaders = Vec::new();
        for file in files {
            let next = AtomicU64::new(0);
            let progress = Arc::new(Progress { file: Arc::clone(file), next });
            for number in 0..plan.parallel {
                let there = senders.get(uploaders.len() % senders.len().max(1));
                let sibling = there.and_then(|(on, sender)| Some((on.clone(), sender.sibling()?)));
                let (runtime, sender) = match sibling {
                    Some(sibling) => sibling,
                    None => open(workers.next(), connector).await?,
                };
                uploaders.push(Uploader {
                    runtime,
                    sender,
                    file: Arc::clone(&progress),
                    first: number == 0,
                });
            }
        }
        let content = dialect::content()?;
        let shared = Shared { plan: Arc::clone(plan), content, sent: Arc::default() };
        Ok(Self { uploaders, shared: Arc::new(shared) })
    }

    /// Chunks in flight.
    pub(super) fn count(&self) -> usize {
        self.uploaders.len()
    }

    /// Sends every chunk but the last of each file. `progress` is told now and then how many bytes
    /// have left. The answer: how long each acknowledgement took, sorted.
    ///
    /// Cancel: chunks in flight break off.
    pub(super) async fn chunks(
        &mut self,
        progress: impl Fn(u64),
    ) -> Result<Vec<Duration>, BenchError> {
        let running = self.uploaders.drain(..).map(|uploader| {
            let shared = Arc::clone(&self.shared);
            AbortOnDropHandle::new(uploader.runtime.clone().spawn(uploader.chunks(shared)))
        });
        let mut running: Vec<_> = running.collect();
        let mut acks = Vec::new();
        let mut tick = tokio::time::interval(TICK);
        while let Some(task) = running.last_mut() {
            let ended = tokio::select! {
                ended = &mut *task => ended,
                _ = tick.tick() => {
                    progress(self.shared.sent.load(Ordering::Relaxed));
                    continue;
                }
            };
            running.pop();
            let (uploader, times) = ended??;
            self.uploaders.push(uploader);
            acks.extend(times);
        }
        acks.sort_unstable();
        Ok(acks)
    }

    /// Sends the last chunk of each file: when this returns, the files are in their place.
    ///
    /// Cancel: chunks in flight break off.
    pub(super) async fn last_chunks(self) -> Result<Vec<Duration>, BenchError> {
        let Self { uploaders, shared } = self;
        let running =
            uploaders.into_iter().filter(|uploader| uploader.first).map(|mut uploader| {
                let shared = Arc::clone(&shared);
                let runtime = uploader.runtime.clone();
                AbortOnDropHandle::new(runtime.spawn(async move {
                    let plan = &shared.plan;
                    let extent = Extent::new(plan.chunks() * plan.chunk, plan.file);
                    match extent {
                        Some(extent) => uploader.put(&shared, extent).await,
                        None => Ok(Duration::ZERO),
                    }
                }))
            });
        let mut acks = Vec::new();
        for task in running.collect::<Vec<_>>() {
            acks.push(task.await??);
        }
        acks.sort_unstable();
        Ok(acks)
    }
}

impl Uploader {
    async fn chunks(mut self, shared: Arc<Shared>) -> Result<(Self, Vec<Duration>), BenchError> {
        let plan = Arc::clone(&shared.plan);
        let mut acks = Vec::new();
        loop {
            let number = self.file.next.fetch_add(1, Ordering::Relaxed);
            if number >= plan.chunks() {
                return Ok((self, acks));
            }
            let start = plan.start_at + number * plan.chunk;
            let Some(extent) = Extent::new(start, start + plan.chunk) else { continue };
            acks.push(self.put(&shared, extent).await?);
        }
    }

    /// Sends a chunk; the answer is how long its acknowledgement took, the wait for a stream
    /// of a connection that has no more of them included.
    async fn put(&mut self, shared: &Shared, extent: Extent) -> Result<Duration, BenchError> {
        let plan = &shared.plan;
        let sent = Arc::clone(&shared.sent);
        let body = Chunk::new(shared.content.clone(), plan.frame, extent.len(), sent);
        let request = plan.dialect.chunk(&self.file.file, extent, plan.length(), body);
        let path = request.uri().to_string();
        let began = Instant::now();
        let answer = self.sender.ask(request).await?;
        let took = began.elapsed();
        if answer.status.is_success() { Ok(took) } else { Err(refused(&path, &answer)) }
    }
}

async fn open(runtime: Handle, connector: &Connector) -> Result<(Handle, Sender), BenchError> {
    let connector = connector.clone();
    let opened = runtime.spawn(async move { Sender::open(&connector).await }).await;
    Ok((runtime, opened??))
}

/// How often people want to see a number.
const TICK: Duration = Duration::from_millis(500);
