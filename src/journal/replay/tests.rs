//! What a journal says, whatever its run and its tail.

use super::*;
use crate::core::event::{DigestWish, Notice, Removal, Ticket};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::time::{Stamp, Timestamp};
use crate::core::upload::Phase;
use crate::journal::record::encode;
use std::time::Duration;

const RUN: RunIdentity = RunIdentity { boot: [1; 16], mount: 1 };
const OTHER: RunIdentity = RunIdentity { boot: [1; 16], mount: 2 };
const AT: Stamp = Stamp { date: Timestamp(7), uptime: Uptime(7) };
const NOW: Uptime = Uptime(1000);

fn id() -> TicketId {
    TicketId::from_random([9; 16])
}

fn journal(records: &[Record]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let ticket = Ticket {
        id: id(),
        created: Stamp { date: Timestamp(1), uptime: Uptime(1) },
        finish_url: String::new(),
        secret: String::new(),
        removal: Removal::Keep,
        max_bytes: None,
        length: Some(40),
        digest: DigestWish::None,
        metadata: String::new(),
        idle_timeout: None,
    };
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
}

#[test]
fn other_facts_survive_forgotten_ranges() {
    let cancelled = Event::Cancelled { at: AT, reason: "x".into(), notice: Notice::NotOwed };
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
    check(&[], id(), Unreadable::Unborn);
    check(&[0; 200], id(), Unreadable::Unborn);
    check(&bytes[..bytes.len() - 1], id(), Unreadable::Unborn);
    check(b"NOTJRNL1 something", id(), Unreadable::WrongMagic);
    check(&bytes, TicketId::from_random([8; 16]), Unreadable::WrongId);
    let mut headless = MAGIC.to_vec();
    encode(&Record::Faulted, &mut headless);
    check(&headless, id(), Unreadable::NoTicket);
}

#[test]
fn issue_13_a_journal_of_dates_alone_counts_from_the_beginning_of_the_count() {
    let released = Stamp { date: Timestamp(1_700_000_000_000), uptime: Uptime::NONE };
    let now = Uptime::first_of(3).after(Duration::from_secs(50));
    let at = |uptime: Uptime| {
        let stamp = Stamp { uptime, ..released };
        let extent = Extent::new(0, 5).unwrap();
        let durability = Durability::Durable;
        let mut bytes = journal(&[Record::Event(Event::Stored { at: stamp, extent, durability })]);
        if uptime == Uptime::NONE {
            bytes[..MAGIC.len()].copy_from_slice(MAGIC_DATED);
        }
        let replayed = replay(&bytes, id(), RUN, now).unwrap();
        assert_eq!(replayed.upload.received().bytes(), 5);
        assert_eq!(replayed.upload.last_active().date, released.date, "dates stay what they were");
        replayed.upload.last_active().uptime
    };
    let first = Uptime::first_of(3);
    assert_eq!(at(Uptime::NONE), first);
    assert_eq!(at(first.after(Duration::from_secs(7))), first.after(Duration::from_secs(7)));
    // A crash has cost the count some seconds; the count was lost and began again.
    assert_eq!(at(first.after(Duration::from_secs(60))), now);
    assert_eq!(at(Uptime::first_of(2).after(Duration::from_secs(7))), first);
}
