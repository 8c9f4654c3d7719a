//! The serialised form of an event of an upload in object storage, in the frame of a journal's records.
//!
//! Events of any upload are those records. The others have kinds of their own, from 40 on, and always both times.

use super::fields::{Reader, checked_body, framed, text, u64};
use super::record::{self, HEAD_BYTES, MAX_BODY_BYTES, Record, Undecoded};
use crate::core::extent::Extent;
use crate::core::grid::{Cell, PartNumber};
use crate::core::piece_event::{
    ClaimId, Etag, Missing, ObjectEvent, ObjectName, Orphan, Piece, PieceEvent, Purpose,
};
use crate::core::time::{Stamp, Timestamp, Uptime};
use crate::storage::event_log::{Append, Tag};
use std::sync::Arc;

/// Appends the serialised form of `event` to `out`.
pub fn encode(event: &ObjectEvent, out: &mut Vec<u8>) {
    match event {
        ObjectEvent::Upload(event) => record::encode(&Record::Event(event.clone()), out),
        ObjectEvent::Piece(piece) => framed(out, |out| body(piece, out)),
    }
}

/// All events in `bytes`, which hold nothing else.
///
/// # Errors
/// The first that is none of this version.
pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<ObjectEvent>, Undecoded> {
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let (event, size) = decode(bytes)?;
        events.push(event);
        bytes = &bytes[size..];
    }
    Ok(events)
}

/// The form of a whole append: its tag and its events in one frame, so that it is there whole or not at all. `None` where
/// it is longer than a frame holds.
pub fn encode_append(append: &Append) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    framed(&mut bytes, |out| {
        u64(append.tag.0, out);
        append.events.iter().for_each(|event| encode(event, out));
    });
    (bytes.len() <= HEAD_BYTES + MAX_BODY_BYTES).then_some(bytes)
}

/// Reads the append at the start of `bytes`: it and its size in bytes.
///
/// # Errors
/// There is none of this version.
pub fn decode_append(bytes: &[u8]) -> Result<(Append, usize), Undecoded> {
    let body = checked_body(bytes).ok_or(Undecoded::Torn)?;
    let mut reader = Reader { rest: body, counted: false };
    // No append is empty: zeros are none.
    let tag = reader.u64().filter(|_| !reader.rest.is_empty()).ok_or(Undecoded::Torn)?;
    let events = decode_all(reader.rest)?;
    let append = Append { tag: Tag(tag), events: Arc::from(events), marks: None };
    Ok((append, HEAD_BYTES + body.len()))
}

fn decode(bytes: &[u8]) -> Result<(ObjectEvent, usize), Undecoded> {
    let body = checked_body(bytes).ok_or(Undecoded::Torn)?;
    let kind = *body.first().ok_or(Undecoded::Torn)?;
    let unknown = Undecoded::Unknown { kind, size: HEAD_BYTES + body.len() };
    if !(kind::FIRST..=kind::LAST).contains(&kind) {
        return match record::decode(bytes)? {
            (Record::Event(event), size) => Ok((ObjectEvent::Upload(event), size)),
            _ => Err(unknown),
        };
    }
    let mut reader = Reader { rest: &body[1..], counted: false };
    let piece = reader.piece(kind).filter(|_| reader.rest.is_empty()).ok_or(unknown)?;
    Ok((ObjectEvent::Piece(piece), HEAD_BYTES + body.len()))
}

mod kind {
    pub(super) const FIRST: u8 = GRID_SET;
    pub(super) const GRID_SET: u8 = 40;
    pub(super) const OPENED: u8 = 41;
    pub(super) const CLAIMED: u8 = 42;
    pub(super) const STORED: u8 = 43;
    pub(super) const COMPOSED: u8 = 44;
    pub(super) const SEALING: u8 = 45;
    pub(super) const SEALED: u8 = 46;
    pub(super) const PUBLISHED: u8 = 47;
    pub(super) const LOST: u8 = 48;
    pub(super) const RELEASED: u8 = 49;
    pub(super) const LAST: u8 = RELEASED;
}

fn body(event: &PieceEvent, out: &mut Vec<u8>) {
    match event {
        PieceEvent::GridSet { cell_bytes } => {
            out.push(kind::GRID_SET);
            u64(*cell_bytes, out);
        }
        PieceEvent::Opened { at, generation, object, multipart } => {
            out.push(kind::OPENED);
            stamp(*at, out);
            u32(*generation, out);
            name(*object, out);
            text(multipart, out);
        }
        PieceEvent::Claimed { claim, generation, slots } => {
            out.push(kind::CLAIMED);
            u64(claim.0, out);
            u32(*generation, out);
            list(slots, out, |slot, out| u32(slot.get(), out));
        }
        PieceEvent::Stored { at, extent, piece } => {
            out.push(kind::STORED);
            stamp(*at, out);
            u64(extent.start(), out);
            u64(extent.end(), out);
            place(piece, out);
        }
        PieceEvent::Composed { generation, number, etag } => {
            out.push(kind::COMPOSED);
            u32(*generation, out);
            u32(number.get(), out);
            text(&etag.0, out);
        }
        PieceEvent::Sealing { generation, orphans } => {
            out.push(kind::SEALING);
            u32(*generation, out);
            list(orphans, out, |orphan, out| {
                u32(orphan.number.get(), out);
                u64(orphan.bytes, out);
                text(&orphan.etag.0, out);
            });
        }
        PieceEvent::Sealed { generation, bytes } => {
            out.push(kind::SEALED);
            u32(*generation, out);
            u64(*bytes, out);
        }
        PieceEvent::Published { at, object } => {
            out.push(kind::PUBLISHED);
            stamp(*at, out);
            name(*object, out);
        }
        PieceEvent::Lost { missing } => {
            out.push(kind::LOST);
            match missing {
                Missing::Object(object) => {
                    out.push(0);
                    name(*object, out);
                }
                Missing::Multipart { generation } => {
                    out.push(1);
                    u32(*generation, out);
                }
                Missing::Part { generation, cell } => {
                    out.push(2);
                    u32(*generation, out);
                    u32(cell.number(), out);
                }
            }
        }
        PieceEvent::Released { at } => {
            out.push(kind::RELEASED);
            stamp(*at, out);
        }
    }
}

fn place(piece: &Piece, out: &mut Vec<u8>) {
    match piece {
        Piece::Part { generation, cell, etag } => {
            out.push(0);
            u32(*generation, out);
            u32(cell.number(), out);
            text(&etag.0, out);
        }
        Piece::Fragment { name: object, offset } => {
            out.push(1);
            name(*object, out);
            u64(*offset, out);
        }
    }
}

fn stamp(at: Stamp, out: &mut Vec<u8>) {
    u64(at.date.0, out);
    u64(at.uptime.0, out);
}

fn u32(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn name(object: ObjectName, out: &mut Vec<u8>) {
    out.push(match object.purpose {
        Purpose::File => 0,
        Purpose::Fragment => 1,
    });
    out.extend_from_slice(&object.random);
}

fn list<T>(all: &[T], out: &mut Vec<u8>, put: impl Fn(&T, &mut Vec<u8>)) {
    u32(u32::try_from(all.len()).expect("there are at most as many as cells"), out);
    all.iter().for_each(|one| put(one, out));
}

impl Reader<'_> {
    fn piece(&mut self, kind: u8) -> Option<PieceEvent> {
        Some(match kind {
            kind::GRID_SET => PieceEvent::GridSet { cell_bytes: self.u64().filter(|it| *it > 0)? },
            kind::OPENED => PieceEvent::Opened {
                at: self.stamp()?,
                generation: self.u32()?,
                object: self.name()?,
                multipart: self.text()?,
            },
            kind::CLAIMED => PieceEvent::Claimed {
                claim: ClaimId(self.u64()?),
                generation: self.u32()?,
                slots: self.list(Self::number)?,
            },
            kind::STORED => PieceEvent::Stored {
                at: self.stamp()?,
                extent: Extent::new(self.u64()?, self.u64()?)?,
                piece: match self.u8()? {
                    0 => Piece::Part {
                        generation: self.u32()?,
                        cell: self.cell()?,
                        etag: Etag(self.text()?),
                    },
                    1 => Piece::Fragment { name: self.name()?, offset: self.u64()? },
                    _ => return None,
                },
            },
            kind::COMPOSED => PieceEvent::Composed {
                generation: self.u32()?,
                number: self.number()?,
                etag: Etag(self.text()?),
            },
            kind::SEALING => PieceEvent::Sealing {
                generation: self.u32()?,
                orphans: self.list(|reader| {
                    let number = reader.number()?;
                    Some(Orphan { number, bytes: reader.u64()?, etag: Etag(reader.text()?) })
                })?,
            },
            kind::SEALED => PieceEvent::Sealed { generation: self.u32()?, bytes: self.u64()? },
            kind::PUBLISHED => PieceEvent::Published { at: self.stamp()?, object: self.name()? },
            kind::LOST => PieceEvent::Lost {
                missing: match self.u8()? {
                    0 => Missing::Object(self.name()?),
                    1 => Missing::Multipart { generation: self.u32()? },
                    2 => Missing::Part { generation: self.u32()?, cell: self.cell()? },
                    _ => return None,
                },
            },
            kind::RELEASED => PieceEvent::Released { at: self.stamp()? },
            _ => return None,
        })
    }

    fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp { date: Timestamp(self.u64()?), uptime: Uptime(self.u64()?) })
    }

    fn cell(&mut self) -> Option<Cell> {
        Cell::new(self.u32()?)
    }

    fn number(&mut self) -> Option<PartNumber> {
        PartNumber::new(self.u32()?)
    }

    fn name(&mut self) -> Option<ObjectName> {
        let purpose = if self.flag()? { Purpose::Fragment } else { Purpose::File };
        Some(ObjectName { purpose, random: self.array()? })
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.u32()?;
        // Nothing is set aside for a count that no bytes follow.
        (0..count).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Event;

    fn all() -> Vec<ObjectEvent> {
        let at = Stamp { date: Timestamp(7), uptime: Uptime(9) };
        let cell = |number| Cell::new(number).unwrap();
        let object = |purpose| ObjectName { purpose, random: [3; 16] };
        let (file, fragment) = (object(Purpose::File), object(Purpose::Fragment));
        let extent = Extent::new(5, 8).unwrap();
        let etag = || Etag("e\"ü".into());
        let number = PartNumber::new(4).unwrap();
        let part = Piece::Part { generation: 1, cell: cell(2), etag: etag() };
        let within = Piece::Fragment { name: fragment, offset: 6 };
        let pieces = [
            PieceEvent::GridSet { cell_bytes: 8 },
            PieceEvent::Opened { at, generation: 2, object: file, multipart: "m".into() },
            PieceEvent::Claimed { claim: ClaimId(4), generation: 2, slots: vec![number, number] },
            PieceEvent::Stored { at, extent, piece: part },
            PieceEvent::Stored { at, extent, piece: within },
            PieceEvent::Composed { generation: 2, number, etag: etag() },
            PieceEvent::Sealing { generation: 2, orphans: vec![] },
            PieceEvent::Sealing {
                generation: 2,
                orphans: vec![Orphan { number, bytes: 9, etag: etag() }],
            },
            PieceEvent::Sealed { generation: 2, bytes: u64::MAX },
            PieceEvent::Published { at, object: file },
            PieceEvent::Lost { missing: Missing::Object(fragment) },
            PieceEvent::Lost { missing: Missing::Multipart { generation: 3 } },
            PieceEvent::Lost { missing: Missing::Part { generation: 3, cell: cell(7) } },
            PieceEvent::Released { at },
        ];
        let mut all: Vec<_> = pieces.into_iter().map(ObjectEvent::Piece).collect();
        all.push(ObjectEvent::Upload(Event::Published { at }));
        all.push(ObjectEvent::Upload(Event::Digested { sha256: [1; 32] }));
        all
    }

    #[test]
    fn events_come_back_as_they_were() {
        let mut bytes = Vec::new();
        all().iter().for_each(|event| encode(event, &mut bytes));
        assert_eq!(decode_all(&bytes), Ok(all()));
        assert_eq!(decode_all(&[]), Ok(vec![]));
    }

    /// Cut anywhere, or with any bit turned, it is no event and nothing panics.
    #[test]
    fn damage_is_noticed() {
        for event in all() {
            let mut bytes = Vec::new();
            encode(&event, &mut bytes);
            for cut in 1..bytes.len() {
                assert_eq!(decode_all(&bytes[..cut]), Err(Undecoded::Torn), "{event:?} {cut}");
            }
            for bit in 0..8 * bytes.len() {
                let mut turned = bytes.clone();
                turned[bit / 8] ^= 1 << (bit % 8);
                assert!(decode_all(&turned).is_err(), "{event:?} {bit}");
            }
        }
    }

    /// A body with the right checksum and other fields is of another version.
    #[test]
    fn other_versions_are_told_from_damage() {
        let check = |body: &[u8]| {
            let mut bytes = Vec::new();
            framed(&mut bytes, |out| out.extend_from_slice(body));
            let (kind, size) = (body[0], bytes.len());
            assert_eq!(decode_all(&bytes), Err(Undecoded::Unknown { kind, size }), "{body:?}");
        };
        check(&[kind::LAST + 1]);
        check(&[kind::GRID_SET, 0, 0, 0, 0, 0, 0, 0, 0]);
        check(&[kind::GRID_SET, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        check(&[kind::LOST, 3]);
        // A list that says it is longer than there are bytes.
        check(&[&[kind::CLAIMED], &[0; 12][..], &[0xff; 4]].concat());
        // What belongs to journals in files alone.
        check(&[34]);
    }
}
