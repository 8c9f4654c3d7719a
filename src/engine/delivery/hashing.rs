//! The digest of a published file, where a ticket asks for it and it did not come with the bytes (`digest.rs`).

use super::FILE;
use crate::core::command::Command;
use crate::core::id::TicketId;
use crate::engine::Engine;
use crate::engine::error::ChangeError;
use crate::engine::handle::UploadHandle;
use std::sync::{Arc, Mutex, PoisonError};

impl Engine {
    /// Hashes the published file of `id` and records its digest.
    pub(in crate::engine) async fn hash_file(
        self: &Arc<Self>,
        id: TicketId,
    ) -> Result<(), ChangeError> {
        let handle = self.find(id).await?;
        let upload = handle.upload();
        if !upload.awaits_digest() || upload.pending_calls().is_none() {
            // While it waited for its turn another server was first, or `finish_upload` came.
            return Ok(());
        }
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
    pub(in crate::engine) async fn file_digest(
        self: &Arc<Self>,
        handle: &Arc<UploadHandle>,
    ) -> Result<[u8; 32], ChangeError> {
        let hash = {
            let mut state = handle.lock();
            let length = state.upload.length().unwrap_or_default();
            state.prefix.take(length)
        };
        let mut reader = self.store.reader(handle.id, hash.end());
        let hash = Arc::new(Mutex::new(Some(hash)));
        loop {
            let _turn = self.hashing.acquire().await.expect("turns at hashing are never closed");
            let sunk = Arc::clone(&hash);
            let sink = move |bytes: &[u8]| {
                if let Some(hash) = &mut *sunk.lock().unwrap_or_else(PoisonError::into_inner) {
                    hash.update(bytes);
                }
            };
            let slice = reader.next(SLICE_BYTES, Box::new(sink)).await;
            match slice.map_err(|error| ChangeError::store(FILE, error))? {
                Some(more) => reader = more,
                None => break,
            }
        }
        let hash =
            hash.lock().unwrap_or_else(PoisonError::into_inner).take().expect("only this takes it");
        Ok(hash.finish())
    }
}

/// Files that are read for their digests at the same time.
pub(in crate::engine) const HASHING: usize = 2;
/// Bytes read before other files have their turn: tens of milliseconds.
const SLICE_BYTES: u64 = 16 << 20;
