//! What is decided of any upload, as the log of one in object storage has it: with the pieces that its bytes lie in.

use super::ObjectUpload;
use crate::core::event::Event;
use crate::core::extent::{Extent, ExtentSet};
use crate::core::object_command::{ObjectLimits, StoredPiece};
use crate::core::piece_event::{ClaimId, ObjectEvent, ObjectName, Piece, PieceEvent, Purpose};
use crate::core::pieces::ObjectRange;

impl ObjectEvent {
    /// Whether it says something of the upload as of any; else it is about pieces alone.
    pub fn is_plain(&self) -> bool {
        match self {
            Self::Upload(_) => true,
            Self::Piece(
                PieceEvent::Stored { .. } | PieceEvent::Published { .. } | PieceEvent::Lost { .. },
            ) => true,
            Self::Piece(
                PieceEvent::GridSet { .. }
                | PieceEvent::Opened { .. }
                | PieceEvent::Claimed { .. }
                | PieceEvent::Composed { .. }
                | PieceEvent::Sealing { .. }
                | PieceEvent::Sealed { .. }
                | PieceEvent::Released { .. },
            ) => false,
        }
    }
}

impl ObjectUpload {
    /// `events` as they are appended, with the pieces among `stored` that hold their bytes. `None` where some bytes lie in
    /// none of them, or no longer may, or where it is to be published and no piece is the file as it is: then nothing is to
    /// be appended.
    pub fn recorded(
        &self,
        events: &[Event],
        stored: &[(ClaimId, StoredPiece)],
        limits: &ObjectLimits,
    ) -> Option<Vec<ObjectEvent>> {
        let (mut after, mut all) = (self.clone(), Vec::new());
        for event in events {
            let next = match event {
                Event::Stored { at, extent, .. } => {
                    let grid = after.grid(None, limits).ok()?;
                    if let Some(set) = after.grid_set(grid).map(ObjectEvent::Piece) {
                        after.apply(&set);
                        all.push(set);
                    }
                    let mut left = ExtentSet::of(*extent);
                    let mut next = Vec::new();
                    for (claim, piece) in stored {
                        let Some(piece) = piece.within(*extent) else { continue };
                        for event in after.stored(*claim, &piece, *at) {
                            if let PieceEvent::Stored { extent, .. } = &event {
                                left.remove(*extent);
                            }
                            let event = ObjectEvent::Piece(event);
                            after.apply(&event);
                            next.push(event);
                        }
                    }
                    if !left.is_empty() {
                        return None;
                    }
                    all.extend(next);
                    continue;
                }
                Event::Published { at } => {
                    let object = after.whole_file()?;
                    ObjectEvent::Piece(PieceEvent::Published { at: *at, object })
                }
                other => ObjectEvent::Upload(other.clone()),
            };
            after.apply(&next);
            all.push(next);
        }
        Some(all)
    }

    /// The object that holds the file as it came.
    fn whole_file(&self) -> Option<ObjectName> {
        let length = self.upload.length().filter(|_| self.awaits_publish())?;
        let ranges = self.pieces.readable(Extent::new(0, length)?)?;
        let [ObjectRange { object, offset: 0, .. }] = ranges[..] else { return None };
        Some(object).filter(|object| object.purpose == Purpose::File)
    }
}

impl StoredPiece {
    /// What of it lies in `extent`; a part lies there whole or not at all.
    fn within(&self, extent: Extent) -> Option<Self> {
        let start = self.extent.start().max(extent.start());
        let cut = Extent::new(start, self.extent.end().min(extent.end()))?;
        let piece = match &self.piece {
            Piece::Part { .. } if cut != self.extent => return None,
            Piece::Part { .. } => self.piece.clone(),
            Piece::Fragment { name, offset } => {
                let offset = offset + (start - self.extent.start());
                Piece::Fragment { name: *name, offset }
            }
        };
        Some(Self { extent: cut, piece })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{CallFormat, DigestRequest, Durability, Removal, Ticket, TicketFile};
    use crate::core::id::TicketId;
    use crate::core::limits::Limits;
    use crate::core::signing::SigningSecrets;
    use crate::core::time::{Stamp, Timestamp, Uptime};

    const AT: Stamp = Stamp { date: Timestamp(1), uptime: Uptime(1) };
    const LIMITS: ObjectLimits = ObjectLimits {
        limits: Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None },
        part_bytes: 10,
    };

    fn extent(start: u64, end: u64) -> Extent {
        Extent::new(start, end).unwrap()
    }

    fn upload() -> ObjectUpload {
        ObjectUpload::new(Ticket {
            id: TicketId::from_random([1; 16]),
            created: AT,
            finish_url: "http://127.0.0.1/".into(),
            secret: String::new(),
            removal: Removal::Keep,
            max_bytes: None,
            length: Some(25),
            digest: DigestRequest::None,
            metadata: String::new(),
            idle_timeout: None,
            file: TicketFile::default(),
            signing: SigningSecrets::default(),
            format: CallFormat::Form,
        })
    }

    fn fragment(start: u64, end: u64) -> (ClaimId, StoredPiece) {
        let name = ObjectName { purpose: Purpose::Fragment, random: [7; 16] };
        let piece = Piece::Fragment { name, offset: 0 };
        (ClaimId(1), StoredPiece { extent: extent(start, end), piece })
    }

    fn stored(start: u64, end: u64) -> Event {
        Event::Stored { at: AT, extent: extent(start, end), durability: Durability::Durable }
    }

    #[test]
    fn bytes_count_where_a_piece_holds_them() {
        let check = |events: &[Event], pieces: &[(ClaimId, StoredPiece)], counts: Option<usize>| {
            let recorded = upload().recorded(events, pieces, &LIMITS);
            assert_eq!(recorded.as_ref().map(Vec::len), counts, "{events:?} {pieces:?}");
            let mut after = upload();
            recorded.iter().flatten().for_each(|event| after.apply(event));
            let mut expected = upload().upload().clone();
            if counts.is_some() {
                events.iter().for_each(|event| expected.apply(event));
            }
            assert_eq!(after.upload(), &expected);
        };
        check(&[], &[], Some(0));
        check(&[stored(0, 5)], &[fragment(0, 5)], Some(2));
        check(&[stored(0, 5)], &[fragment(0, 4)], None);
        check(&[stored(2, 5)], &[fragment(0, 9)], Some(2));
        check(&[stored(0, 8)], &[fragment(0, 4), fragment(4, 9)], Some(3));
        check(&[stored(0, 4), stored(4, 8)], &[fragment(0, 8)], Some(3));
        let published = Event::Published { at: AT };
        check(std::slice::from_ref(&published), &[], None);
        check(&[stored(0, 25), published.clone()], &[fragment(0, 25)], None);
        let file = |start, end| {
            let (claim, mut stored) = fragment(start, end);
            let Piece::Fragment { name, .. } = &mut stored.piece else { panic!("a fragment") };
            name.purpose = Purpose::File;
            (claim, stored)
        };
        check(&[stored(0, 25), published.clone()], &[file(0, 25)], Some(3));
        check(&[stored(0, 24), published.clone()], &[file(0, 25)], None);
        check(&[stored(0, 25), published], &[file(0, 20), fragment(20, 25)], None);
        // A part whose number was given to another request.
        let part = Piece::Part {
            generation: 0,
            cell: crate::core::grid::Cell::new(0).unwrap(),
            etag: crate::core::piece_event::Etag("e".into()),
        };
        let part = (ClaimId(1), StoredPiece { extent: extent(0, 10), piece: part });
        check(&[stored(0, 10)], &[part], None);
    }
}
