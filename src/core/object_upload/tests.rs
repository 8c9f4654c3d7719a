//! The rules of an upload in object storage, as tables.

use super::*;
use crate::core::grid::{BeyondTheGrid, PartNumber};
use crate::core::id::TicketId;
use crate::core::limits::Limits;
use crate::core::pieces::ObjectRange;
use crate::core::time::Timestamp;
use std::time::Duration;

const LIMITS: ObjectLimits = ObjectLimits {
    limits: Limits { max_chunk_bytes: None, max_upload_bytes: Some(1000), grid_bytes: None },
    part_bytes: 10,
};
const CLAIM: ClaimId = ClaimId(1);

fn at(uptime: u64) -> Stamp {
    Stamp { date: Timestamp(7), uptime: Uptime(uptime) }
}

fn extent(start: u64, end: u64) -> Extent {
    Extent::new(start, end).unwrap()
}

fn cell(number: u32) -> Cell {
    Cell::new(number).unwrap()
}

fn name(number: u8, purpose: Purpose) -> ObjectName {
    ObjectName { purpose, random: [number; 16] }
}

fn etag(text: &str) -> Etag {
    Etag(text.into())
}

fn new() -> ObjectUpload {
    ObjectUpload::new(Ticket::new(
        TicketId::from_random([9; 16]),
        at(500),
        "http://backend/done".into(),
    ))
}

/// Decides and applies; answers how many events it came to.
fn go(upload: &mut ObjectUpload, command: &ObjectCommand) -> usize {
    let events = upload.decide(command, at(1000), &LIMITS).unwrap();
    events.iter().for_each(|event| upload.apply(event));
    events.len()
}

fn fragment(number: u8, start: u64, end: u64) -> StoredPiece {
    let name = name(number, Purpose::Fragment);
    StoredPiece { extent: extent(start, end), piece: Piece::Fragment { name, offset: 0 } }
}

fn part(number: u32) -> StoredPiece {
    let start = u64::from(number) * 10;
    let piece = Piece::Part { generation: 0, cell: cell(number), etag: etag("direct") };
    StoredPiece { extent: extent(start, start + 10), piece }
}

fn count(pieces: Vec<StoredPiece>) -> ObjectCommand {
    ObjectCommand::Count { claim: CLAIM, pieces, length: Some(25) }
}

fn open(generation: u32) -> ObjectCommand {
    let object = name(100 + u8::try_from(generation).unwrap(), Purpose::File);
    let multipart = format!("m{generation}");
    ObjectCommand::Open { generation, object, multipart, length: Some(25) }
}

fn claim(start: u64, end: u64, claim: ClaimId) -> ObjectCommand {
    ObjectCommand::Claim { claim, extents: ExtentSet::of(extent(start, end)) }
}

fn range(number: u8, offset: u64, bytes: u64) -> ObjectRange {
    ObjectRange { object: name(number, Purpose::Fragment), offset, bytes }
}

/// What cells 1 and 2 of [`complete`] are copies of.
fn sources(number: u32) -> Vec<ObjectRange> {
    if number == 1 { vec![range(1, 0, 4), range(2, 0, 6)] } else { vec![range(3, 0, 5)] }
}

fn compose(generation: u32, number: u32) -> ObjectCommand {
    let (number, etag, from) = (cell(number).composed(), etag("composed"), sources(number));
    ObjectCommand::Compose { claim: COPY, generation, number, etag, from }
}

fn claim_copy(number: u32) -> ObjectCommand {
    ObjectCommand::ClaimCopy { claim: COPY, generation: 0, cell: cell(number) }
}

const COPY: ClaimId = ClaimId(77);

fn orphan(number: u32) -> Orphan {
    Orphan { number: PartNumber::new(number).unwrap(), bytes: 10, etag: etag("orphan") }
}

/// Of 25 bytes: cell 0 a direct part, cell 1 two fragments, cell 2 one.
fn complete() -> ObjectUpload {
    let mut upload = new();
    go(&mut upload, &open(0));
    go(&mut upload, &claim(0, 10, CLAIM));
    go(&mut upload, &count(vec![part(0), fragment(1, 10, 14), fragment(2, 14, 20)]));
    go(&mut upload, &count(vec![fragment(3, 20, 25)]));
    assert!(upload.awaits_publish());
    upload
}

#[test]
fn one_generation_is_open_and_each_slot_is_given_once() {
    let mut upload = new();
    assert_eq!(go(&mut upload, &claim(0, 25, CLAIM)), 0, "no generation is open");
    assert_eq!(go(&mut upload, &open(1)), 0, "its number is 0");
    assert_eq!(go(&mut upload, &open(0)), 2, "with the grid");
    assert_eq!(go(&mut upload, &open(0)), 0);
    assert_eq!(go(&mut upload, &open(1)), 0);
    let granted = upload.decide(&claim(5, 25, CLAIM), at(1), &LIMITS).unwrap();
    let claimed =
        PieceEvent::Claimed { claim: CLAIM, generation: 0, slots: vec![cell(1).direct()] };
    assert_eq!(granted, [ObjectEvent::Piece(claimed)], "only of cells that are filled");
    go(&mut upload, &claim(5, 25, CLAIM));
    assert_eq!(go(&mut upload, &claim(0, 20, ClaimId(2))), 1, "that of cell 0 is left");
    assert_eq!(go(&mut upload, &claim(0, 25, ClaimId(3))), 0);
}

#[test]
fn a_part_counts_whole_by_its_own_slot_or_not_at_all() {
    let check = |prepare: &dyn Fn(&mut ObjectUpload), expected: usize| {
        let mut upload = new();
        go(&mut upload, &open(0));
        prepare(&mut upload);
        go(&mut upload, &count(vec![part(0)]));
        assert_eq!(upload.upload().received().bytes(), expected as u64);
    };
    check(&|upload| _ = go(upload, &claim(0, 10, CLAIM)), 10);
    check(&|_| {}, 0);
    check(&|upload| _ = go(upload, &claim(0, 10, ClaimId(2))), 0);
    let seal = ObjectCommand::Seal { generation: 0, orphans: Vec::new() };
    check(&|upload| _ = (go(upload, &claim(0, 10, CLAIM)), go(upload, &seal)), 0);
    let first = |upload: &mut ObjectUpload| {
        go(upload, &claim(0, 10, CLAIM));
        go(upload, &count(vec![fragment(1, 3, 4)]));
    };
    check(&first, 1);
}

#[test]
fn the_first_append_wins_each_byte() {
    let mut upload = new();
    go(&mut upload, &count(vec![fragment(1, 4, 6)]));
    go(&mut upload, &count(vec![fragment(2, 2, 9)]));
    let ranges = upload.pieces().readable(extent(2, 9)).unwrap();
    let found: Vec<_> =
        ranges.iter().map(|it| (it.object.random[0], it.offset, it.bytes)).collect();
    assert_eq!(found, [(2, 0, 2), (1, 0, 2), (2, 4, 3)]);
    assert_eq!(go(&mut upload, &count(vec![fragment(3, 3, 8)])), 0);
    assert!(!upload.pieces().refers_to(name(3, Purpose::Fragment)));
    assert_eq!(upload.pieces().readable(extent(0, 9)), None);
}

#[test]
fn files_beyond_the_grid_are_refused() {
    let limits = ObjectLimits {
        limits: Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None },
        part_bytes: 64 << 20,
    };
    let file = (64 << 20) * 4999 + 1;
    let too_long = ObjectCommand::Count { claim: CLAIM, pieces: Vec::new(), length: Some(file) };
    let refused = new().decide(&too_long, at(1), &limits);
    assert_eq!(refused, Err(Refusal::BeyondTheGrid(BeyondTheGrid { file, limit: file - 1 })));
    // The grid stays what it was, whatever the setting is now.
    let mut upload = new();
    go(&mut upload, &count(vec![fragment(1, 0, 1)]));
    assert_eq!(upload.grid(None, &limits).unwrap().cell_bytes(), 10);
}

#[test]
fn a_generation_becomes_the_file() {
    let mut upload = complete();
    assert_eq!(upload.pieces().without_part(25), [cell(1), cell(2)]);
    assert_eq!(go(&mut upload, &compose(0, 0)), 0, "a direct part holds it");
    assert_eq!(go(&mut upload, &claim_copy(0)), 0, "a direct part holds it");
    assert_eq!(go(&mut upload, &compose(0, 1)), 0, "no request was given its number");
    assert_eq!(go(&mut upload, &claim_copy(1)) + go(&mut upload, &claim_copy(2)), 2);
    assert_eq!(go(&mut upload, &compose(0, 1)) + go(&mut upload, &compose(0, 2)), 2);
    assert_eq!(go(&mut upload, &compose(0, 1)) + go(&mut upload, &claim_copy(1)), 0);
    let place =
        ObjectCommand::Place { object: name(100, Purpose::File), bytes: 25, from: Vec::new() };
    assert_eq!(go(&mut upload, &place), 0, "not before the list is recorded");
    go(&mut upload, &ObjectCommand::Seal { generation: 0, orphans: Vec::new() });
    assert_eq!(go(&mut upload, &place), 1);
    assert_eq!(upload.kept_object(), Some(name(100, Purpose::File)));
    assert_eq!(go(&mut upload, &ObjectCommand::Lose(Missing::Multipart { generation: 0 })), 0);
}

#[test]
fn a_generation_with_orphans_is_read_from() {
    let mut upload = complete();
    go(&mut upload, &claim_copy(1));
    go(&mut upload, &compose(0, 1));
    let seal = |orphans| ObjectCommand::Seal { generation: 0, orphans };
    // Number 4 is recorded since it was listed.
    go(&mut upload, &seal(vec![orphan(2), orphan(4)]));
    assert_eq!(go(&mut upload, &seal(vec![orphan(2)])), 0, "recorded already");
    // A ghost has come.
    assert_eq!(go(&mut upload, &seal(vec![orphan(2), orphan(3)])), 1);
    let sealed = |bytes| ObjectCommand::Sealed { generation: 0, bytes };
    assert_eq!(go(&mut upload, &sealed(50)), 0, "of no list");
    let mut early = upload.clone();
    // cell 0, orphan 2, orphan 3, cell 1.
    assert_eq!(go(&mut upload, &sealed(40)), 1);
    let source = |upload: &ObjectUpload, from: u64| {
        upload
            .pieces()
            .readable(extent(from, from + 10))
            .map(|it| (it[0].object.random[0], it[0].offset))
    };
    assert_eq!((source(&upload, 0), source(&upload, 10)), (Some((100, 0)), Some((100, 30))));
    assert_eq!(upload.pieces().without_part(25), [cell(0), cell(1), cell(2)]);
    // Or by the first list.
    assert_eq!(go(&mut early, &sealed(30)), 1);
    assert_eq!((source(&early, 0), source(&early, 10)), (Some((100, 0)), Some((100, 20))));
    assert_eq!(go(&mut upload, &open(1)), 1);
    let lost = ObjectCommand::Lose(Missing::Object(name(100, Purpose::File)));
    assert_eq!(go(&mut upload, &lost), 1);
    assert_eq!(upload.upload().received().as_slice(), [extent(20, 25)]);
}

#[test]
fn what_is_lost_is_missing_again_where_nothing_else_holds_it() {
    let check = |prepare: &[ObjectCommand], missing: Missing, left: &[(u64, u64)]| {
        let mut upload = complete();
        prepare.iter().for_each(|command| _ = go(&mut upload, command));
        go(&mut upload, &ObjectCommand::Lose(missing));
        let left: Vec<_> = left.iter().map(|(start, end)| extent(*start, *end)).collect();
        assert_eq!(upload.upload().received().as_slice(), left);
    };
    let object = |number| Missing::Object(name(number, Purpose::Fragment));
    check(&[], object(1), &[(0, 10), (14, 25)]);
    check(&[claim_copy(1), compose(0, 1)], object(1), &[(0, 25)]);
    check(&[], object(9), &[(0, 25)]);
    check(&[], Missing::Part { generation: 0, cell: cell(0) }, &[(10, 25)]);
    check(&[], Missing::Part { generation: 0, cell: cell(1) }, &[(0, 25)]);
    check(&[claim_copy(1), compose(0, 1)], Missing::Multipart { generation: 0 }, &[(10, 25)]);
    check(&[], Missing::Multipart { generation: 1 }, &[(0, 25)]);
    let both = [claim_copy(1), compose(0, 1), ObjectCommand::Lose(object(1))];
    check(&both, Missing::Multipart { generation: 0 }, &[(14, 25)]);
}

/// A second request for a number may destroy what the store has acknowledged to the first.
#[test]
fn each_number_for_a_copy_is_given_once() {
    let mut upload = complete();
    let given = |upload: &mut ObjectUpload, number: u32| {
        let events = upload.decide(&claim_copy(number), at(1), &LIMITS).unwrap();
        go(upload, &claim_copy(number));
        events.iter().find_map(|event| match event {
            ObjectEvent::Piece(PieceEvent::Claimed { slots, .. }) => Some(slots[0].get()),
            _ => None,
        })
    };
    let all: Vec<_> = (0..3).map(|_| given(&mut upload, 1)).collect();
    assert_eq!(all, [Some(4), Some(3), None], "and then the other one of the cell");
    // A short part that no record names would lie before the last one for ever.
    assert_eq!([given(&mut upload, 2), given(&mut upload, 2)], [Some(6), None]);
    let of_another = ObjectCommand::Compose {
        claim: CLAIM,
        generation: 0,
        number: cell(1).composed(),
        etag: etag("composed"),
        from: sources(1),
    };
    assert_eq!(go(&mut upload, &of_another), 0);
    assert_eq!(go(&mut upload, &compose(0, 1)), 1);
    go(&mut upload, &ObjectCommand::Seal { generation: 0, orphans: Vec::new() });
    assert_eq!(go(&mut upload, &compose(0, 2)), 0, "no part joins it");
}

/// A copy that a server made of other bytes than those that count now: they were lost, or the log was set back, and other
/// bytes were acknowledged in their place.
#[test]
fn a_copy_counts_only_while_its_sources_do() {
    let mut upload = complete();
    go(&mut upload, &claim_copy(1));
    go(&mut upload, &ObjectCommand::Lose(Missing::Object(name(2, Purpose::Fragment))));
    go(&mut upload, &count(vec![fragment(4, 14, 20)]));
    assert!(upload.awaits_publish());
    assert_eq!(go(&mut upload, &compose(0, 1)), 0);

    let mut small = new();
    let small_count =
        |piece| ObjectCommand::Count { claim: CLAIM, pieces: vec![piece], length: Some(5) };
    go(&mut small, &small_count(fragment(1, 0, 2)));
    go(&mut small, &small_count(fragment(2, 2, 5)));
    let place = |second| {
        let from = vec![range(1, 0, 2), range(second, 0, 3)];
        ObjectCommand::Place { object: name(9, Purpose::File), bytes: 5, from }
    };
    assert_eq!(go(&mut small.clone(), &place(2)), 1);
    go(&mut small, &ObjectCommand::Lose(Missing::Object(name(2, Purpose::Fragment))));
    go(&mut small, &small_count(fragment(3, 2, 5)));
    assert_eq!(go(&mut small, &place(2)), 0);
    assert_eq!(go(&mut small, &place(3)), 1);
}

#[test]
fn an_object_goes_by_a_recorded_end_alone() {
    let mut upload = new();
    let name = name(1, Purpose::File);
    let piece = StoredPiece { extent: extent(0, 5), piece: Piece::Fragment { name, offset: 0 } };
    let count = ObjectCommand::Count { claim: CLAIM, pieces: vec![piece], length: Some(5) };
    assert_eq!(go(&mut upload, &count), 4, "grid, length, bytes, published: one append");
    assert_eq!(upload.kept_object(), Some(name));
    go(&mut upload, &ObjectCommand::Upload(Command::GiveUp("gone".into())));
    assert_eq!(upload.kept_object(), Some(name));
    let release = |ms| ObjectCommand::Release { kept: Duration::from_millis(ms) };
    assert_eq!(go(&mut upload, &release(1)), 0);
    assert_eq!(go(&mut upload, &release(0)), 1);
    assert_eq!(upload.kept_object(), None);
    let retry = ObjectCommand::Upload(Command::Retry);
    assert_eq!(upload.decide(&retry, at(1), &LIMITS), Err(Refusal::NothingToRetry));
}
