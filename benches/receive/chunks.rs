//! Chunks for a real engine on a storage directory of its own.

use crate::frames::{Cut, Frames};
use crate::{CHUNK_BYTES, FILE_BYTES};
use bytes::Bytes;
use incoming::core::command::{At, BodyScope, Offer};
use incoming::core::digest::ChunkDigest;
use incoming::core::event::{Durability, Notice};
use incoming::core::extent::Extent;
use incoming::core::id::TicketId;
use incoming::core::limits::Limits;
use incoming::core::retry::RetryPolicy;
use incoming::engine::Engine;
use incoming::engine::options::{Options, Tuning};
use incoming::engine::tickets::NewUpload;
use incoming::storage::clock::SystemClock;
use incoming::storage::local::blocking::Blocking;
use incoming::storage::local::journals::LocalJournals;
use incoming::storage::local::options::LocalOptions;
use incoming::storage::local::storage::LocalStorage;
use incoming::storage::local::store::{Access, LocalStore};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// Whether a chunk promises a digest.
#[derive(Clone, Copy)]
pub enum Hash {
    None,
    Sha256,
}

/// An engine and the upload that its chunks go to.
pub struct Chunks {
    /// One thread, as each of the server's workers.
    runtime: Runtime,
    feed: Feed,
    _directory: TempDir,
}

struct Feed {
    engine: Arc<Engine>,
    frames: Frames,
    digest: Option<ChunkDigest>,
    /// The upload, and the offset of its next chunk.
    upload: Option<(TicketId, u64)>,
}

impl Chunks {
    pub fn new(payload: &Bytes, cut: Cut, ack: Durability, hash: Hash, batch: usize) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let access = Access { group: None, file_mode: 0o600, directory_mode: 0o700 };
        let store = Arc::new(LocalStore::open(directory.path(), access).unwrap());
        let journals = Arc::new(LocalJournals::open(store.directory()).unwrap());
        let (clock, local) = (Arc::new(SystemClock), LocalOptions::new(ack, 0, 256 << 20));
        let storage = LocalStorage::new(store, journals, clock.clone(), local, Blocking::Threads);
        let engine = Engine::new(options(ack, batch), storage.clone(), storage, clock);
        let digest = match hash {
            Hash::None => None,
            Hash::Sha256 => Some(ChunkDigest::Sha256(Sha256::digest(payload).into())),
        };
        let frames = Frames::new(payload, cut);
        Self {
            runtime: Builder::new_current_thread().enable_all().build().unwrap(),
            feed: Feed { engine, frames, digest, upload: None },
            _directory: directory,
        }
    }

    /// Receives so many chunks. Answers how long that took.
    pub fn receive(&mut self, chunks: u64) -> Duration {
        self.runtime.block_on(self.feed.receive(chunks))
    }
}

impl Feed {
    async fn receive(&mut self, chunks: u64) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..chunks {
            let (id, start) = match self.upload {
                Some((id, offset)) if offset < FILE_BYTES => (id, offset),
                _ => self.renew().await,
            };
            let began = Instant::now();
            self.put(id, start, self.frames.clone(), self.digest.clone()).await;
            took += began.elapsed();
            self.upload = Some((id, start + CHUNK_BYTES as u64));
        }
        took
    }

    /// Another upload for the one that has grown enough. It has its first chunk, so its part is open
    /// and its length known.
    async fn renew(&mut self) -> (TicketId, u64) {
        if let Some((id, _)) = self.upload.take() {
            self.engine.cancel(id, "enough".into(), Notice::NotDue).await.unwrap();
        }
        let (id, _) = self.engine.new_upload(wish()).await.unwrap();
        self.put(id, 0, self.frames.clone(), None).await;
        (id, CHUNK_BYTES as u64)
    }

    async fn put(&self, id: TicketId, start: u64, frames: Frames, digest: Option<ChunkDigest>) {
        let extent = Extent::new(start, start + CHUNK_BYTES as u64);
        let offer =
            Offer { extent, length: Some(NEVER_BYTES), at: At::Anywhere, scope: BodyScope::Range };
        self.engine.receive(id, offer, digest, frames).await.unwrap();
    }
}

fn options(ack: Durability, batch_bytes: usize) -> Options {
    const HOUR: Duration = Duration::from_secs(60 * 60);
    Options {
        ack,
        limits: Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None },
        max_uploads: 1000,
        min_free_bytes: 0,
        max_idle: HOUR,
        retain_finished: HOUR,
        failed_retention: HOUR,
        call_timeout: std::time::Duration::from_secs(55),
        calls: RetryPolicy { confirm_timeout: HOUR, retry_for: HOUR },
        body_timeout: Duration::from_secs(30),
        min_rate: 0,
        tuning: Tuning { batch_bytes, ..Tuning::default() },
    }
}

fn wish() -> NewUpload {
    NewUpload::new("http://127.0.0.1:9/".into())
}

/// The length that is claimed for the file, which it never has.
const NEVER_BYTES: u64 = 1 << 40;
