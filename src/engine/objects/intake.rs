//! From the bytes of a chunk to their acknowledgement: pieces are stored, then one append makes them count.

use super::generation::PartSlot;
use super::{Backing, ObjectChangeError, ObjectEngine, View};
use crate::core::command::{At, BodyScope, Offer};
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::object_command::{ObjectCommand, StoredPiece};
use crate::core::piece_event::{ClaimId, Piece, Purpose};
use crate::storage::objects::{Key, ObjectAnswer, ObjectError, ObjectRequest, Payload};
use bytes::Bytes;

/// The bytes of one request, or as much of them as has come.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Names the request.
    pub claim: ClaimId,
    /// Where the bytes begin in the file.
    pub offset: u64,
    /// The bytes. Kept until all of them count.
    pub body: Bytes,
    /// Total length of the file, if the request gave it.
    pub length: Option<u64>,
    /// So many pieces are counted by one append.
    pub pieces_an_append: usize,
}

impl<B: Backing> ObjectEngine<B> {
    /// Stores what is missing of a chunk and makes it count. When this is `Ok`, every byte of its range is acknowledged:
    /// those of this request, or of the ones that were first.
    ///
    /// Cancel: what was appended counts. Errors: some of it may count, which the client learns from the status.
    pub async fn receive(&self, id: TicketId, chunk: Chunk) -> Result<View, ObjectChangeError> {
        let extent = Extent::new(chunk.offset, chunk.offset + chunk.body.len() as u64);
        let offer =
            Offer { extent, length: chunk.length, at: At::Anywhere, scope: BodyScope::Range };
        let mut view = self.view(id).await?;
        let mut slots = None;
        for _ in 0..self.tuning.tries {
            let limits = self.backing.limits();
            let refused = ObjectChangeError::Refused;
            let missing = view.upload.admit(&offer, &limits).map_err(refused)?;
            let tells_length = chunk.length.is_some() && view.upload.upload().length().is_none();
            if missing.is_empty() && !tells_length {
                return Ok(view);
            }
            let grid = view.upload.grid(chunk.length, &limits).map_err(refused)?;
            let slots = match &slots {
                Some(slots) => slots,
                None => {
                    let sizes = (grid, chunk.length);
                    slots.insert(self.slots(id, &view, chunk.claim, &missing, sizes).await?)
                }
            };
            let is_small = view.upload.is_small(grid, chunk.length);
            let mut stored = Vec::new();
            for extent in missing.as_slice().iter().flat_map(|extent| grid.cut(*extent)) {
                let whole = is_small && extent.start() == 0 && Some(extent.end()) == chunk.length;
                let purpose = if whole { Purpose::File } else { Purpose::Fragment };
                let place =
                    |offset: u64| usize::try_from(offset - chunk.offset).unwrap_or(usize::MAX);
                let bytes = chunk.body.slice(place(extent.start())..place(extent.end()));
                let slot = grid.direct_cell(extent).and_then(|cell| slots.take(cell));
                let piece = self.store_piece(id, bytes.into(), slot, purpose).await?;
                stored.push(StoredPiece { extent, piece });
                if stored.len() >= chunk.pieces_an_append {
                    self.count(id, &chunk, std::mem::take(&mut stored)).await?;
                }
            }
            view = self.count(id, &chunk, stored).await?;
            // A part that was to hold a whole cell, of which others stored some bytes meanwhile, does not count: what is
            // missing of it is stored once more, as a fragment.
        }
        Err(ObjectChangeError::Unsure)
    }

    /// Stores the bytes of `extent`, which lies in one cell. The answer names a piece only if the store has said so for
    /// exactly the request that wrote it.
    pub(super) async fn store_piece(
        &self,
        id: TicketId,
        bytes: Payload,
        slot: Option<PartSlot>,
        purpose: Purpose,
    ) -> Result<Piece, ObjectChangeError> {
        if let Some(PartSlot { number, multipart, generation }) = slot {
            let (cell, request) =
                (number.cell(), ObjectRequest::Part(multipart, number, bytes.clone()));
            match self.ask_once_done(request).await {
                Ok(ObjectAnswer::Part(etag)) => return Ok(Piece::Part { generation, cell, etag }),
                // It may lie there now, or later: the number is not used again.
                Ok(_) | Err(ObjectError::Unsure) => {}
                // Sealed meanwhile, or cancelled.
                Err(ObjectError::Gone | ObjectError::Busy) => {}
                Err(error) => return Err(error.into()),
            }
        }
        for _ in 0..self.tuning.tries {
            // Each try has its own name.
            let name = self.backing.name(purpose);
            match self.ask_once_done(ObjectRequest::Put(Key { id, name }, bytes.clone())).await {
                Ok(_) => return Ok(Piece::Fragment { name, offset: 0 }),
                Err(ObjectError::Unsure | ObjectError::Busy) => self.pause().await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(ObjectError::Unsure.into())
    }

    async fn count(
        &self,
        id: TicketId,
        chunk: &Chunk,
        pieces: Vec<StoredPiece>,
    ) -> Result<View, ObjectChangeError> {
        let fragments: Vec<_> = pieces
            .iter()
            .filter_map(|stored| match &stored.piece {
                Piece::Fragment { name, .. } => Some(*name),
                Piece::Part { .. } => None,
            })
            .collect();
        let command = ObjectCommand::Count { claim: chunk.claim, pieces, length: chunk.length };
        let counted = self.change(id, command).await;
        // Surely not counted: nothing else names them, and no other server knows the names.
        let void: Vec<_> = match &counted {
            Ok(changed) => {
                let held = changed.view.upload.pieces();
                fragments.into_iter().filter(|name| !held.refers_to(*name)).collect()
            }
            Err(ObjectChangeError::Refused(_) | ObjectChangeError::Unknown) => fragments,
            Err(ObjectChangeError::Unsure | ObjectChangeError::Store(_)) => Vec::new(),
        };
        for name in void {
            self.delete(Key { id, name }).await;
        }
        counted.map(|changed| changed.view)
    }

    /// Asks until the bucket was not merely busy. So at most one of the requests has ever had, or will have, its effect.
    pub(super) async fn ask_once_done(
        &self,
        request: ObjectRequest,
    ) -> Result<ObjectAnswer, ObjectError> {
        let mut answer = Err(ObjectError::Busy);
        for _ in 0..self.tuning.tries {
            answer = self.backing.ask(request.clone()).await;
            if answer != Err(ObjectError::Busy) {
                break;
            }
            self.pause().await;
        }
        answer
    }

    /// Asks until the answer is clear: only for what may be done twice.
    pub(super) async fn ask_again(
        &self,
        request: ObjectRequest,
    ) -> Result<ObjectAnswer, ObjectError> {
        let mut answer = Err(ObjectError::Busy);
        for _ in 0..self.tuning.tries {
            answer = self.backing.ask(request.clone()).await;
            if !matches!(answer, Err(ObjectError::Busy | ObjectError::Unsure)) {
                break;
            }
            self.pause().await;
        }
        answer
    }

    /// Removes an object, as well as may be: what stays is removed at the end of the upload.
    pub(super) async fn delete(&self, key: Key) {
        drop(self.ask_again(ObjectRequest::Delete(key)).await);
    }
}
