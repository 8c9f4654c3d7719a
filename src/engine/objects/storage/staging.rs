//! Pieces of an upload that the bucket has, or is getting, and that no record names yet.

use super::lock;
use crate::core::extent::ExtentSet;
use crate::core::object_command::StoredPiece;
use crate::core::piece_event::{ClaimId, ObjectName, Piece, Purpose};
use std::collections::BTreeSet;
use std::sync::Mutex;
use tokio::sync::watch;

/// Of one upload.
#[derive(Default)]
pub(super) struct Staging {
    pieces: Mutex<Pieces>,
    under_way: watch::Sender<UnderWay>,
}

#[derive(Default)]
struct Pieces {
    stored: Vec<(ClaimId, StoredPiece)>,
    /// The writers whose pieces may still come to count.
    writers: BTreeSet<ClaimId>,
}

#[derive(Default)]
struct UnderWay {
    next: u64,
    numbers: BTreeSet<u64>,
}

impl Staging {
    /// A writer begins.
    pub(super) fn enter(&self, writer: ClaimId) {
        lock(&self.pieces).writers.insert(writer);
    }

    /// A writer has ended; answers the objects of its pieces that never came to count.
    pub(super) fn leave(&self, writer: ClaimId) -> Vec<ObjectName> {
        let mut pieces = lock(&self.pieces);
        pieces.writers.remove(&writer);
        let (left, kept) = std::mem::take(&mut pieces.stored)
            .into_iter()
            .partition::<Vec<_>, _>(|(of, _)| *of == writer);
        pieces.stored = kept;
        left.iter().filter_map(|(_, stored)| object_of(stored)).collect()
    }

    /// A request to the bucket begins; answers its number, for [`Self::end`].
    pub(super) fn begin(&self) -> u64 {
        let mut number = 0;
        self.under_way.send_modify(|it| {
            number = it.next;
            it.next += 1;
            it.numbers.insert(number);
        });
        number
    }

    /// A request to the bucket has ended.
    pub(super) fn end(&self, number: u64) {
        self.under_way.send_modify(|it| _ = it.numbers.remove(&number));
    }

    /// The bucket has a piece. Answers its object where it cannot come to count any more.
    pub(super) fn add(&self, writer: ClaimId, piece: StoredPiece) -> Option<ObjectName> {
        let mut pieces = lock(&self.pieces);
        if !pieces.writers.contains(&writer) {
            return object_of(&piece);
        }
        pieces.stored.push((writer, piece));
        None
    }

    /// What the bucket has.
    pub(super) fn all(&self) -> Vec<(ClaimId, StoredPiece)> {
        lock(&self.pieces).stored.clone()
    }

    /// Whether the bucket has no piece but one object that is a whole file of `length` bytes.
    pub(super) fn is_file(&self, length: u64) -> bool {
        let pieces = lock(&self.pieces);
        let [(_, StoredPiece { extent, piece: Piece::Fragment { name, offset: 0 } })] =
            &pieces.stored[..]
        else {
            return false;
        };
        (extent.start(), extent.end(), name.purpose) == (0, length, Purpose::File)
    }

    /// Records name these bytes, or may: the pieces that hold them stay, whatever becomes of their writers.
    pub(super) fn counted(&self, bytes: &ExtentSet) {
        let lies_in = |stored: &StoredPiece| !bytes.within(stored.extent).is_empty();
        lock(&self.pieces).stored.retain(|(_, stored)| !lies_in(stored));
    }

    /// Whether no request is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.borrow().numbers.is_empty()
    }

    /// Waits for all requests that have begun. Cancel: they go on.
    pub(super) async fn settled(&self) {
        let next = self.under_way.borrow().next;
        let mut changes = self.under_way.subscribe();
        // Its sender is here.
        let _ = changes.wait_for(|it| it.numbers.first().is_none_or(|first| *first >= next)).await;
    }
}

fn object_of(stored: &StoredPiece) -> Option<ObjectName> {
    match stored.piece {
        Piece::Fragment { name, .. } => Some(name),
        Piece::Part { .. } => None,
    }
}
