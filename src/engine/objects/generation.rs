//! Generations: multipart uploads that parts join. Beginning one, and leave to send its parts.

use super::{Backing, ObjectChangeError, ObjectEngine, View};
use crate::core::extent::ExtentSet;
use crate::core::grid::{Cell, Grid, PartNumber};
use crate::core::id::TicketId;
use crate::core::object_command::ObjectCommand;
use crate::core::piece_event::{ClaimId, ObjectEvent, PieceEvent, Purpose};
use crate::core::pieces::Generation;
use crate::storage::objects::{Key, Multipart, ObjectAnswer, ObjectError, ObjectRequest};
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Leave to send some parts, each once.
#[derive(Default)]
pub(super) struct Slots {
    of: Option<(Multipart, u32)>,
    numbers: Mutex<BTreeSet<PartNumber>>,
}

/// Leave to send one part.
pub(super) struct PartSlot {
    pub(super) number: PartNumber,
    pub(super) multipart: Multipart,
    pub(super) generation: u32,
}

impl Slots {
    /// Uses the leave for the direct part of `cell` up, if there is one.
    pub(super) fn take(&self, cell: Cell) -> Option<PartSlot> {
        self.take_if(|number| number == cell.direct())
    }

    fn take_if(&self, fits: impl Fn(PartNumber) -> bool) -> Option<PartSlot> {
        let (multipart, generation) = self.of.as_ref()?;
        let mut numbers = self.numbers.lock().expect("no holder of this lock panics");
        let number = numbers.iter().copied().find(|number| fits(*number))?;
        numbers.remove(&number);
        Some(PartSlot { number, multipart: multipart.clone(), generation: *generation })
    }
}

impl<B: Backing> ObjectEngine<B> {
    /// Leave for the direct parts of those cells that `missing` fills and that were never given out. It is in the log
    /// before it is here, so that a server that comes back after any time finds it taken.
    pub(super) async fn slots(
        &self,
        id: TicketId,
        view: &View,
        claim: ClaimId,
        missing: &ExtentSet,
        (grid, length): (Grid, Option<u64>),
    ) -> Result<Slots, ObjectChangeError> {
        let mut cut = missing.as_slice().iter().flat_map(|extent| grid.cut(*extent));
        let fills = cut.any(|extent| grid.direct_cell(extent).is_some());
        if !fills || view.upload.is_small(grid, length) || !view.upload.takes_bytes() {
            return Ok(Slots::default());
        }
        if view.upload.pieces().current().is_none() {
            self.open_generation(id, view, length).await?;
        }
        self.granted(id, ObjectCommand::Claim { claim, extents: missing.clone() }).await
    }

    /// Leave to send a copy of `cell`, under `claim`; `None` where both of its numbers were given to requests before, or the
    /// cell needs none.
    pub(super) async fn slot_for_copy(
        &self,
        id: TicketId,
        claim: ClaimId,
        (generation, cell): (u32, Cell),
    ) -> Result<Option<PartSlot>, ObjectChangeError> {
        let slots = self.granted(id, ObjectCommand::ClaimCopy { claim, generation, cell }).await?;
        Ok(slots.take_if(|_| true))
    }

    async fn granted(
        &self,
        id: TicketId,
        claim: ObjectCommand,
    ) -> Result<Slots, ObjectChangeError> {
        let changed = self.change(id, claim).await?;
        let mut granted = Slots::default();
        for event in changed.events.iter() {
            let ObjectEvent::Piece(PieceEvent::Claimed { generation, slots, .. }) = event else {
                continue;
            };
            let current = changed.view.upload.pieces().current();
            if let Some(current) = current.filter(|current| current.number == *generation) {
                granted.of = Some((multipart(id, current), *generation));
                granted.numbers = Mutex::new(slots.iter().copied().collect());
            }
        }
        Ok(granted)
    }

    /// Begins the next generation, unless another server does.
    pub(super) async fn open_generation(
        &self,
        id: TicketId,
        view: &View,
        length: Option<u64>,
    ) -> Result<(), ObjectChangeError> {
        let key = Key { id, name: self.backing.name(Purpose::File) };
        // One that was begun without an answer is found and aborted at the end of the upload.
        let answer = self.ask_again(ObjectRequest::Begin(key)).await?;
        let ObjectAnswer::Begun(begun) = answer else { return Err(ObjectError::Unsure.into()) };
        let open = ObjectCommand::Open {
            generation: view.upload.pieces().next_generation(),
            object: key.name,
            multipart: begun.name.clone(),
            length,
        };
        let opened = self.change(id, open).await;
        let surely_not = match &opened {
            Ok(changed) => changed.events.is_empty(),
            Err(ObjectChangeError::Refused(_) | ObjectChangeError::Unknown) => true,
            Err(ObjectChangeError::Unsure | ObjectChangeError::Store(_)) => false,
        };
        if surely_not {
            drop(self.ask_again(ObjectRequest::Abort(begun)).await);
        }
        opened.map(|_| ())
    }
}

/// The store's side of a generation.
pub(super) fn multipart(id: TicketId, generation: &Generation) -> Multipart {
    Multipart { key: Key { id, name: generation.object }, name: generation.multipart.clone() }
}
