//! The digest of a published file, where its backend asked for it: made before the backend is called.

use crate::core::command::Command;
use crate::core::id::TicketId;
use crate::engine::Engine;
use crate::engine::digest::PartialDigest;
use crate::engine::error::{ChangeError, Fault};
use crate::engine::handle::UploadHandle;
use std::io::Read;
use std::sync::Arc;

impl Engine {
    /// Hashes the published file of `id` and records its digest.
    pub(in crate::engine) async fn hash_file(
        self: &Arc<Self>,
        id: TicketId,
    ) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        let sha256 = match self.file_digest(&handle).await {
            // `finish_upload` came meanwhile, and the file has gone.
            Err(_) if handle.upload().pending_calls().is_none() => return Ok(()),
            read => read?,
        };
        self.change(&handle, Command::Digest(sha256)).await
    }

    /// The published file's SHA-256; what of it was hashed while it came is not read. Files are read a
    /// slice at a time and in turn, so that many large ones do not keep a small one waiting.
    ///
    /// Cancel: the slice that is being read is read to its end; the next call begins from the start.
    async fn file_digest(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
    ) -> Result<[u8; 32], ChangeError> {
        let (id, mut hash, mut file) = (handle.id, handle.lock().prefix.take(), None);
        loop {
            let _turn = self.hashing.acquire().await.expect("turns at hashing are never closed");
            let engine = Arc::clone(self);
            let slice = self.ask_store(move || {
                let mut reader = match file {
                    Some(file) => file,
                    None => engine.store.read(id, hash.end())?,
                };
                let mut buffer = vec![0; READ_BYTES];
                for _ in 0..SLICE_BYTES / READ_BYTES {
                    match reader.read(&mut buffer)? {
                        0 => return Ok(Slice::Last(hash.finish())),
                        count => hash.update(&buffer[..count]),
                    }
                }
                Ok(Slice::More(hash, reader))
            });
            match slice.await? {
                Slice::Last(sha256) => return Ok(sha256),
                Slice::More(so_far, reader) => (hash, file) = (so_far, Some(reader)),
            }
        }
    }

    pub(in crate::engine) async fn ask_store<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, ChangeError> {
        match self.blocking.spawn(work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(ChangeError::Fault(Fault::new("the published file", &error))),
            Err(error) => Err(ChangeError::Fault(Fault::new("the published file", &error))),
        }
    }
}

/// What reading a slice of a file for its digest has come to.
enum Slice {
    Last([u8; 32]),
    More(PartialDigest, Box<dyn Read + Send>),
}

/// Files that are read for their digests at the same time.
pub(in crate::engine) const HASHING: usize = 2;
/// Bytes read at a time for the file's digest.
const READ_BYTES: usize = 256 * 1024;
/// Bytes read before other files have their turn: tens of milliseconds.
const SLICE_BYTES: usize = 16 << 20;
