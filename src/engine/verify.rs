//! Whether acknowledged bytes are the ones that somebody has: their digests, compared.
//!
//! A client that goes on with an upload after a restart asks this before it sends more, so that two
//! versions of a file are never mixed.

use super::Engine;
use super::error::{Fault, LookupError};
use super::live::Live;
use super::status::Status;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use sha2::Digest as _;
use std::io;
use std::sync::Arc;

/// A piece of a file and the SHA-256 that somebody has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it lies.
    pub extent: Extent,
    /// Its digest.
    pub sha256: [u8; 32],
}

/// What the server's bytes say to a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They have the same digest.
    Same,
    /// They have another one.
    Different,
    /// Not all of them are acknowledged, or they are no part any more.
    NotHeld,
}

/// Pieces that one request may ask for.
pub const MAX_PIECES: usize = 16;
/// Bytes of a piece, at most: with the count above, what one request makes the disk read.
pub const MAX_PIECE_BYTES: u64 = 1 << 20;
/// Bytes of a piece, at least, unless it is the whole file: nobody who only holds the id should find out a
/// file by guessing it byte by byte.
pub const MIN_PIECE_BYTES: u64 = 4 << 10;

impl Engine {
    /// Compares pieces with the acknowledged bytes of `id`, while they are a part; in the order of
    /// `pieces`. With it comes how the upload stands.
    ///
    /// Errors: a part that cannot be read is a fault, which stops nothing else. Cancel: nothing
    /// changes.
    pub async fn verify(
        self: &Arc<Self>,
        id: TicketId,
        pieces: Vec<Piece>,
    ) -> Result<(Status, Vec<Verdict>), LookupError> {
        let live = self.find(id).await?;
        let lost = |error: &dyn std::fmt::Display| {
            LookupError::Fault(Fault::new("reading the part", error))
        };
        let _turn = self.reading.acquire().await.map_err(|error| lost(&error))?;
        let (engine, of) = (Arc::clone(self), Arc::clone(&live));
        let compared = self.blocking.spawn(move || engine.compare(&of, &pieces));
        let verdicts =
            compared.await.map_err(|error| lost(&error))?.map_err(|error| lost(&error))?;
        Ok((self.status_of(&live), verdicts))
    }

    /// Blocks.
    fn compare(&self, live: &Live, pieces: &[Piece]) -> io::Result<Vec<Verdict>> {
        let none = || vec![Verdict::NotHeld; pieces.len()];
        let (received, held) = {
            let state = live.lock();
            (state.upload.received().clone(), state.blob.clone())
        };
        // Acknowledged bytes never change, so nothing is locked while they are read. A part that goes
        // away meanwhile was opened before.
        let blob = match held {
            Some(blob) => Some(blob),
            None => self.store.open(live.id)?,
        };
        let Some(blob) = blob else { return Ok(none()) };
        let mut buffer = Vec::new();
        let verdicts = pieces.iter().map(|piece| {
            if !received.contains(piece.extent) {
                return Ok(Verdict::NotHeld);
            }
            let bytes = usize::try_from(piece.extent.len()).map_err(io::Error::other)?;
            buffer.resize(bytes, 0);
            blob.read_at(&mut buffer, piece.extent.start())?;
            let found: [u8; 32] = sha2::Sha256::digest(&buffer).into();
            Ok(if found == piece.sha256 { Verdict::Same } else { Verdict::Different })
        });
        let verdicts = verdicts.collect::<io::Result<Vec<_>>>()?;
        // Cancelled while it was read: what was read may have been given back.
        let still = live.lock().upload.received().clone();
        let kept = |(verdict, piece): (Verdict, &Piece)| {
            if still.contains(piece.extent) { verdict } else { Verdict::NotHeld }
        };
        Ok(verdicts.into_iter().zip(pieces).map(kept).collect())
    }
}

/// Requests whose pieces are read at once; the rest waits in turn.
pub(super) const READERS: usize = 4;
