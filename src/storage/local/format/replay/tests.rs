//! What a journal says, whatever its run and its tail.

use super::*;
use crate::core::event::{Notice, Removal, Ticket};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::retry::LastCall;
use crate::core::time::{Stamp, Timestamp};
use crate::core::upload::Phase;
use crate::storage::local::format::record::encode;
use std::time::Duration;

const RUN: RunIdentity = RunIdentity { boot: [1; 16], mount: 1 };
const OTHER: RunIdentity = RunIdentity { boot: [1; 16], mount: 2 };
const AT: Stamp = Stamp { date: Timestamp(7), uptime: Uptime(7) };
const NOW: Uptime = Uptime(1000);

fn id() -> TicketId {
    TicketId::from_random([9; 16])
}

fn ticket(created: Stamp) -> Ticket {
    Ticket { removal: Removal::Keep, length: Some(40), ..Ticket::new(id(), created, "".into()) }
}

fn journal(records: &[Record]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let ticket = ticket(Stamp { date: Timestamp(1), uptime: Uptime(1) });
    encode(&Record::Event(Event::Created(Box::new(ticket))), &mut bytes);
    for record in records {
        encode(record, &mut bytes);
    }
    bytes
}

fn stored(start: u64, end: u64, durability: Durability) -> Record {
    let extent = Extent::new(start, end).unwrap();
    Record::Event(Event::Stored { at: AT, extent, durability })
}

fn written(start: u64, end: u64) -> Record {
    stored(start, end, Durability::Written)
}

fn durable(start: u64, end: u64) -> Record {
    stored(start, end, Durability::Durable)
}

#[test]
fn what_was_only_written_holds_in_its_own_run() {
    let check = |records: &[Record], now: RunIdentity, expected: &[(u64, u64)]| {
        let replayed = replay(&journal(records), id(), now, NOW).unwrap();
        let mut set = ExtentSet::new();
        expected.iter().for_each(|(start, end)| set.insert(Extent::new(*start, *end).unwrap()));
        assert_eq!(replayed.upload.received(), &set, "{records:?} {now:?}");
    };
    let run = Record::Run;
    let synced = || Record::Synced { before: u64::MAX };
    check(&[run(RUN), written(0, 5)], RUN, &[(0, 5)]);
    check(&[run(RUN), written(0, 5)], OTHER, &[]);
    check(&[run(RUN), durable(0, 5)], OTHER, &[(0, 5)]);
    check(&[run(RUN), written(0, 5), synced(), written(5, 9)], OTHER, &[(0, 5)]);
    check(&[run(RUN), written(0, 5), Record::Synced { before: 0 }], OTHER, &[]);
    // A durable record means that the data before it was synced too.
    check(&[run(RUN), written(0, 5), durable(7, 9)], OTHER, &[(0, 5), (7, 9)]);
    // What was forgotten once stays forgotten, whatever is synced later.
    check(&[run(RUN), written(0, 5), run(OTHER), durable(7, 9)], OTHER, &[(7, 9)]);
    check(&[run(RUN), written(0, 5), run(OTHER), durable(7, 9)], RUN, &[(7, 9)]);
    check(&[run(RUN), written(0, 5), run(RUN), written(5, 6)], RUN, &[(0, 6)]);
    check(&[run(RUN), written(0, 5), Record::Faulted], RUN, &[]);
    check(&[run(RUN), written(0, 5), synced(), written(5, 9), Record::Faulted], RUN, &[(0, 5)]);
    // As older programs left it: nothing that follows a fault in its own run is known to be there.
    check(&[run(RUN), Record::Faulted, written(0, 5), run(RUN), written(5, 9)], RUN, &[(5, 9)]);
}

#[test]
fn other_facts_survive_forgotten_ranges() {
    let cancelled = Event::Cancelled { at: AT, reason: "x".into(), notice: Notice::NotDue };
    let records = [Record::Run(RUN), written(0, 5), Record::Event(cancelled)];
    let replayed = replay(&journal(&records), id(), OTHER, NOW).unwrap();
    assert!(matches!(replayed.upload.phase(), Phase::Cancelled { .. }));
    assert!(replayed.upload.received().is_empty());
    assert_eq!(replayed.unsynced_bytes, 0);
    let records = [Record::Run(RUN), durable(0, 2), written(2, 5)];
    assert_eq!(replay(&journal(&records), id(), RUN, NOW).unwrap().unsynced_bytes, 3);
}

#[test]
fn a_torn_tail_is_cut() {
    let whole = journal(&[Record::Run(RUN), durable(0, 5)]);
    let longer = journal(&[Record::Run(RUN), durable(0, 5), durable(5, 9)]);
    for cut in whole.len()..longer.len() {
        let replayed = replay(&longer[..cut], id(), RUN, NOW).unwrap();
        assert_eq!(replayed.valid_bytes, whole.len() as u64);
        assert_eq!(replayed.upload.received().end(), 5);
    }
    let mut zeroed = whole.clone();
    zeroed.extend([0; 300]);
    assert_eq!(replay(&zeroed, id(), RUN, NOW).unwrap().valid_bytes, whole.len() as u64);
}

#[test]
fn a_foreign_or_unborn_journal_is_no_upload() {
    let bytes = journal(&[]);
    let check = |bytes: &[u8], id: TicketId, expected| {
        assert_eq!(replay(bytes, id, RUN, NOW).map(drop), Err(expected));
    };
    check(&[], id(), Unreadable::Blank);
    check(&[0; 200], id(), Unreadable::Blank);
    check(&bytes[..bytes.len() - 1], id(), Unreadable::Unborn);
    check(b"NOTJRNL1 something", id(), Unreadable::WrongMagic);
    check(&bytes, TicketId::from_random([8; 16]), Unreadable::WrongId);
    let mut headless = MAGIC.to_vec();
    encode(&Record::Faulted, &mut headless);
    check(&headless, id(), Unreadable::NoTicket);
}

/// A whole record that only a later version knows is no torn tail, wherever it lies.
#[test]
fn a_record_of_a_later_version_is_an_error() {
    let body = [99, 1, 2, 3];
    let mut unknown = 4_u32.to_le_bytes().to_vec();
    unknown.extend(crc32c::crc32c(&body).to_le_bytes());
    unknown.extend(body);
    let known = journal(&[Record::Run(RUN), durable(0, 5)]);
    let check = |bytes: &[u8], at: usize| {
        let expected = Unreadable::UnknownRecord { at: at as u64, kind: 99 };
        let read = JournalState::read_whole(bytes, id(), NOW).unwrap();
        assert_eq!(read.map(drop), Err(expected));
    };
    check(&[&known[..], &unknown].concat(), known.len());
    check(&[&known[..], &unknown, &[1; 5]].concat(), known.len());
    check(&[&MAGIC[..], &unknown].concat(), MAGIC.len());
    let mut dated = [&known[..], &unknown].concat();
    dated[..MAGIC.len()].copy_from_slice(MAGIC_DATED);
    check(&dated, known.len());
    // Behind a damaged record, and a whole one after it.
    let more = journal(&[Record::Run(RUN), durable(0, 5), durable(5, 6), durable(6, 7)]);
    let mut damaged = [&more[..], &unknown].concat();
    damaged[known.len() + 9] ^= 1;
    check(&damaged, more.len());
    // One that is cut short is a torn tail as ever.
    let torn = [&known[..], &unknown[..11]].concat();
    assert_eq!(replay(&torn, id(), RUN, NOW).unwrap().valid_bytes, known.len() as u64);
}

/// A ticket that was given out is not forgotten because a bit of its record reads wrong.
#[test]
fn issue_14_a_damaged_first_record_is_told_from_a_journal_without_one() {
    let check = |bytes: &[u8], expected| {
        assert_eq!(replay(bytes, id(), RUN, NOW).map(drop), Err(expected));
    };
    let first = journal(&[]).len();
    let mut bytes = journal(&[Record::Run(RUN)]);
    for at in [MAGIC.len(), MAGIC.len() + 5, MAGIC.len() + 9, first - 1] {
        bytes[at] ^= 1;
        check(&bytes, Unreadable::FirstDamaged);
        check(&bytes[..first], Unreadable::Unborn);
        bytes[at] ^= 1;
    }
    let longer = [&MAGIC[..], &[7; 2 << 20]].concat();
    check(&longer, Unreadable::FirstDamaged);
}

#[test]
fn issue_13_a_journal_of_dates_alone_counts_from_where_it_was_first_met() {
    let released = Stamp { date: Timestamp(1_700_000_000_000), uptime: Uptime::NONE };
    let now = Uptime::first_of(3).after(Duration::from_secs(50));
    let at = |uptime: Uptime, counted: Option<Uptime>| {
        let stamp = Stamp { uptime, ..released };
        let extent = Extent::new(0, 5).unwrap();
        let durability = Durability::Durable;
        let mut bytes = MAGIC_DATED.to_vec();
        let created = Stamp { uptime, ..released };
        encode(&Record::Event(Event::Created(Box::new(ticket(created)))), &mut bytes);
        encode(&Record::Event(Event::Stored { at: stamp, extent, durability }), &mut bytes);
        if let Some(from) = counted {
            encode(&Record::Counted { from }, &mut bytes);
            bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        }
        let replayed = replay(&bytes, id(), RUN, now).unwrap();
        assert_eq!(replayed.upload.received().bytes(), 5);
        assert_eq!(replayed.upload.last_active().date, released.date, "dates stay what they were");
        (replayed.upload.last_active().uptime, replayed.uncounted)
    };
    let first = Uptime::first_of(3);
    let (some, other) = (first.after(Duration::from_secs(7)), first.after(Duration::from_secs(9)));
    assert_eq!(at(Uptime::NONE, None), (now, Some(now)));
    assert_eq!(at(Uptime::NONE, Some(some)), (some, None));
    assert_eq!(at(other, Some(some)), (other, None));
    // A crash has cost the count some seconds; the count was lost and began again.
    assert_eq!(at(first.after(Duration::from_secs(60)), None), (now, None));
    assert_eq!(at(Uptime::first_of(2).after(Duration::from_secs(7)), None), (first, None));
    assert_eq!(at(Uptime::NONE, Some(Uptime::first_of(2))), (first, None));
}

/// As the version before the count has written it, byte by byte.
#[test]
fn issue_13_a_journal_of_the_released_version_is_read() {
    let bytes = hex(RELEASED);
    let id = TicketId::parse("486c6d7f-0158-4d9b-94f0-af4c908eaf54").unwrap();
    let now = Uptime::first_of(3).after(Duration::from_secs(50));
    let replayed = replay(&bytes, id, OTHER, now).unwrap();
    let (valid, uncounted) = (replayed.valid_bytes, replayed.uncounted);
    assert_eq!((valid, uncounted), (bytes.len() as u64, Some(now)));
    let upload = replayed.upload;
    assert_eq!(upload.last_active().date, Timestamp(1_795_819_273_709));
    let Phase::HandingOver(calls) = upload.phase() else { panic!("{upload:?}") };
    assert_eq!((calls.begun, calls.since), (2, now));
    let reason = "the backend answered with status 500".to_owned();
    assert_eq!(calls.last, LastCall::Unanswered { at: now, reason });
    let mut counted = bytes.clone();
    let from = Uptime::first_of(3);
    encode(&Record::Counted { from }, &mut counted);
    let upload = replay(&counted, id, OTHER, now).unwrap().upload;
    assert_eq!(upload.pending_calls().unwrap().since, from);
    assert_eq!(upload.ticket().created.uptime, from);
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// Ticket, run, length, two chunks, published, two calls that were answered with 500.
const RELEASED: &str = "
    494e434a524e4c3149000000041bd67a01486c6d7f01584d9b94f0af4c908eaf54a57d2b1fa20100001f00000068
    7474703a2f2f3132372e302e302e313a34313832312f66696e697368656400000000000000000000000000190000
    006494a0fc20cec32350408741b498e9478e28d9a7ff1c00008000000000150000002fd1232102e07d2b1fa20100
    00010a000000000000000000001a000000a561e60103e07d2b1fa201000005000000000000000a00000000000000
    011a0000000a49c3b903ed7d2b1fa2010000000000000000000005000000000000000109000000a8bee71704f47d
    2b1fa2010000090000007adb1ecf06097e2b1fa20100003200000070debcbd07167e2b1fa2010000012400000074
    6865206261636b656e6420616e737765726564207769746820737461747573203530300900000015a72b78064c82
    2b1fa20100003200000000d09333074e822b1fa20100000124000000746865206261636b656e6420616e73776572
    656420776974682073746174757320353030";
proptest::proptest! {
    // fuzz/run does the same in a release build, some thousand times a second, by what reaches new code.
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1_000))]
    /// Whole, cut, damaged, compacted: whatever happened to an upload, with restarts, faults and syncs between.
    #[test]
    fn a_journal_says_what_it_proves(
        data in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..500),
    ) {
        crate::storage::local::format::fuzzing::journal(&data);
    }
}

/// What a backend that is called for months leaves behind, and a client that sends a byte at a time.
#[test]
fn issue_13_a_long_journal_becomes_a_short_one() {
    let mut records = vec![Record::Run(RUN)];
    records.extend((0..100_000).map(|at| written(at % 40, at % 40 + 1)));
    let long = journal(&records);
    let state = JournalState::read(&long[..], id(), NOW).unwrap().unwrap();
    let short = state.compacted();
    assert!(long.len() > 3_000_000 && short.len() < 400, "{} {}", long.len(), short.len());
    for (now, bytes) in [(RUN, 40), (OTHER, 0)] {
        let replayed = replay(&short, id(), now, NOW).unwrap();
        assert_eq!((replayed.upload.received().bytes(), replayed.unsynced_bytes), (bytes, bytes));
    }
    // A fault makes void what is unsynced, before and after.
    records.push(Record::Faulted);
    let state = JournalState::read(&journal(&records)[..], id(), NOW).unwrap().unwrap();
    let replayed = replay(&state.compacted(), id(), RUN, NOW).unwrap();
    assert!(replayed.faulted && replayed.upload.received().is_empty());
}
