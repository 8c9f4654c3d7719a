//! The load: lanes that send one chunk after the other, and what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use super::connection::{Connector, Sender, refusal};
use super::dialect::{self, Chunk, File};
use super::plan::{Plan, Protocol};
use crate::core::extent::Extent;
use crate::net::Workers;

/// Connections that are open, each with its lane; the files they send are shared among them.
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    shared: Arc<Shared>,
}

struct Shared {
    plan: Arc<Plan>,
    content: Bytes,
    sent: Arc<AtomicU64>,
}

struct Lane {
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

impl Lanes {
    /// Opens all connections, dealt to the workers in turn.
    ///
    /// Cancel: they close.
    pub(super) async fn open(
        plan: &Arc<Plan>,
        workers: &Workers,
        connector: &Connector,
        files: &[Arc<File>],
    ) -> Result<Self, String> {
        let mut senders = Vec::new();
        if plan.protocol == Protocol::Http2 {
            for _ in 0..plan.connections {
                senders.push(open(workers.next(), connector).await?);
            }
        }
        let mut lanes = Vec::new();
        for file in files {
            let next = AtomicU64::new(0);
            let progress = Arc::new(Progress { file: Arc::clone(file), next });
            for number in 0..plan.parallel {
                let there = senders.get(lanes.len() % senders.len().max(1));
                let sibling = there.and_then(|(on, sender)| Some((on.clone(), sender.sibling()?)));
                let (runtime, sender) = match sibling {
                    Some(sibling) => sibling,
                    None => open(workers.next(), connector).await?,
                };
                lanes.push(Lane {
                    runtime,
                    sender,
                    file: Arc::clone(&progress),
                    first: number == 0,
                });
            }
        }
        let content = dialect::content()?;
        let shared = Shared { plan: Arc::clone(plan), content, sent: Arc::default() };
        Ok(Self { lanes, shared: Arc::new(shared) })
    }

    /// Chunks in flight.
    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Sends every chunk but the last of each file. `progress` is told now and then how many bytes
    /// have left. The answer: how long each acknowledgement took, sorted.
    ///
    /// Cancel: chunks in flight break off.
    pub(super) async fn chunks(&mut self, progress: impl Fn(u64)) -> Result<Vec<Duration>, String> {
        let running = self.lanes.drain(..).map(|lane| {
            let shared = Arc::clone(&self.shared);
            AbortOnDropHandle::new(lane.runtime.clone().spawn(lane.chunks(shared)))
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
            let (lane, times) =
                ended.map_err(|error| format!("an upload task panicked: {error}"))??;
            self.lanes.push(lane);
            acks.extend(times);
        }
        acks.sort_unstable();
        Ok(acks)
    }

    /// Sends the last chunk of each file: when this returns, the files are in their place.
    ///
    /// Cancel: chunks in flight break off.
    pub(super) async fn last_chunks(self) -> Result<Vec<Duration>, String> {
        let Self { lanes, shared } = self;
        let running = lanes.into_iter().filter(|lane| lane.first).map(|mut lane| {
            let shared = Arc::clone(&shared);
            let runtime = lane.runtime.clone();
            AbortOnDropHandle::new(runtime.spawn(async move {
                let plan = &shared.plan;
                let extent = Extent::new(plan.chunks() * plan.chunk, plan.file);
                match extent {
                    Some(extent) => lane.put(&shared, extent).await,
                    None => Ok(Duration::ZERO),
                }
            }))
        });
        let mut acks = Vec::new();
        for task in running.collect::<Vec<_>>() {
            acks.push(task.await.map_err(|error| format!("an upload task panicked: {error}"))??);
        }
        acks.sort_unstable();
        Ok(acks)
    }
}

impl Lane {
    async fn chunks(mut self, shared: Arc<Shared>) -> Result<(Self, Vec<Duration>), String> {
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
    async fn put(&mut self, shared: &Shared, extent: Extent) -> Result<Duration, String> {
        let plan = &shared.plan;
        let sent = Arc::clone(&shared.sent);
        let body = Chunk::new(shared.content.clone(), plan.frame, extent.len(), sent);
        let request = plan.dialect.chunk(&self.file.file, extent, plan.length(), body);
        let path = request.uri().to_string();
        let began = Instant::now();
        let answer = self.sender.ask(request).await?;
        let took = began.elapsed();
        if answer.status.is_success() { Ok(took) } else { Err(refusal(&path, &answer)) }
    }
}

async fn open(runtime: Handle, connector: &Connector) -> Result<(Handle, Sender), String> {
    let connector = connector.clone();
    let opened = runtime.spawn(async move { connector.open().await }).await;
    Ok((runtime, opened.map_err(|error| error.to_string())??))
}

/// How often people want to see a number.
const TICK: Duration = Duration::from_millis(500);
