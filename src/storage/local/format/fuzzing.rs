//! Fuzz targets of the journal: whatever a disk gives back is read without harm, and never claims
//! more than its whole records prove. A second, naive reading is the judge.

use super::record::{MAGIC, Record, decode, encode};
use super::replay::{JournalState, Replayed, Unreadable, replay};
use crate::core::event::{Durability, Event};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::fuzzing::{History, Source, history};
use crate::core::id::RunIdentity;
use crate::core::id::TicketId;
use crate::core::time::Uptime;

/// Any bytes as records: raw, behind checksums that fit, and as a whole journal of such.
pub fn records(data: &[u8]) {
    let _ = decode(data);
    let mut id = TicketId::from_random([1; 16]);
    let _ = replay(data, id, RUNS[0], NOW);
    let mut source = Source::new(data);
    let mut journal = MAGIC.to_vec();
    while !source.is_empty() {
        let length = usize::from(source.byte());
        let body = source.take(length);
        let mut framed = u32::try_from(body.len()).expect("a short body").to_le_bytes().to_vec();
        framed.extend(crc32c::crc32c(body).to_le_bytes());
        framed.extend(body);
        if let Ok((record, size)) = decode(&framed) {
            assert_eq!(size, framed.len());
            let mut again = Vec::new();
            encode(&record, &mut again);
            assert_eq!(again, framed, "one record has two forms: {record:?}");
            if let (Record::Event(Event::Created(ticket)), 8) = (&record, journal.len()) {
                id = ticket.id;
            }
        }
        journal.extend(framed);
    }
    if let Ok(replayed) = replay(&journal, id, RUNS[0], NOW) {
        assert!(replayed.valid_bytes <= journal.len() as u64);
    }
}

/// The journal of an upload, with restarts, power cuts and faults in it: whole, cut anywhere, with
/// any one bit turned, and with anything behind it.
pub fn journal(data: &[u8]) {
    let mut source = Source::new(data);
    let mut choices = Source::new(source.take(CHOICES));
    let (cut, turned, now) = (choices.number(), choices.number(), choices.below(2));
    let now = RUNS[usize::from(now)];
    let plain = choices.flip();
    let tail = choices.take(8);
    let history = history(&mut source);
    let mut nothing = Source::new(&[]);
    let records = interleaved(&history, if plain { &mut nothing } else { &mut choices });
    let (bytes, starts) = written(&records);
    let id = history.ticket.id;

    let whole = replay(&bytes, id, now, NOW).expect("the journal is whole");
    assert_eq!(whole.valid_bytes, bytes.len() as u64);
    proven(&whole, &records, &starts, now);
    if plain && now == RUNS[0] {
        // Nothing was lost, so nothing is forgotten: what was decided is what is read.
        assert_eq!(format!("{:?}", whole.upload), format!("{:?}", history.upload));
    }

    compacted(&bytes, &starts, id, choices.byte());

    let at = |number: u64| usize::try_from(number % bytes.len() as u64).expect("a short journal");
    let cut = at(cut);
    same(replay(&bytes[..cut], id, now, NOW), &bytes, &starts, cut, id, now);

    let turned = (at(turned / 8), turned % 8);
    let mut damaged = bytes.clone();
    damaged[turned.0] ^= 1 << turned.1;
    let read = replay(&damaged, id, now, NOW);
    if turned.0 < MAGIC.len() {
        assert_eq!(read.map(drop), Err(Unreadable::WrongMagic));
    } else if turned.0 < starts[1] {
        assert_eq!(read.map(drop), Err(Unreadable::FirstDamaged));
    } else {
        same(read, &bytes, &starts, turned.0, id, now);
    }

    let mut longer = bytes.clone();
    longer.extend(tail);
    let torn = replay(&longer, id, now, NOW).expect("the journal is whole");
    assert_eq!(torn.valid_bytes, bytes.len() as u64, "a tail of 8 bytes is no record");
    let other_id = TicketId::from_random([!id.as_bytes()[0]; 16]);
    assert_eq!(replay(&bytes, other_id, now, NOW).map(drop), Err(Unreadable::WrongId));
}

/// A journal that was damaged `at` says exactly what its whole records before that say.
fn same(
    read: Result<Replayed, Unreadable>,
    bytes: &[u8],
    starts: &[usize],
    at: usize,
    id: TicketId,
    now: RunIdentity,
) {
    let good = starts.iter().copied().filter(|start| *start <= at).max().unwrap_or_default();
    if good <= MAGIC.len() {
        let expected = if at == 0 { Unreadable::Blank } else { Unreadable::Unborn };
        return assert_eq!(read.map(drop), Err(expected));
    }
    let (read, before) = (read.expect("its ticket is whole"), replay(&bytes[..good], id, now, NOW));
    let before = before.expect("its ticket is whole");
    assert_eq!(read.valid_bytes, good as u64);
    assert_eq!(format!("{read:?}"), format!("{before:?}"));
}

/// Its first records are compacted, and the rest follows: to every run it says what it said, and takes what comes
/// as it would have taken it.
fn compacted(bytes: &[u8], starts: &[usize], id: TicketId, first: u8) {
    let split = starts[1..][usize::from(first) % (starts.len() - 1)..].first().copied();
    let split = split.unwrap_or(bytes.len());
    let read = |bytes: &[u8]| {
        let state = JournalState::read(bytes, id, NOW).expect("bytes in memory can be read");
        state.expect("it is whole")
    };
    let before = read(&bytes[..split]);
    let mut short = before.compacted();
    let same = |a: JournalState, b: JournalState| {
        assert!(a.says_the_same(&b), "{a:?} {b:?}");
        for now in RUNS {
            let (a, b) = (a.clone().seen_in(now), b.clone().seen_in(now));
            assert_eq!(a.upload, b.upload);
            assert_eq!((a.run, a.faulted), (b.run, b.faulted));
            assert_eq!(a.unsynced_bytes, b.unsynced_bytes);
        }
    };
    let again = read(&short);
    assert_eq!(again.valid_bytes(), short.len() as u64);
    assert_eq!(again.compacted(), short, "it is as short as can be");
    same(again, before);
    let (mut plain, moved) = (bytes[..split].to_vec(), (short.len(), split));
    let mut rest = &bytes[split..];
    while let Ok((record, size)) = decode(rest) {
        rest = &rest[size..];
        let (mut here, mut there) = (record.clone(), record);
        if let (Record::Synced { before: a }, Record::Synced { before: b }) =
            (&mut here, &mut there)
        {
            // While a sync is under way nothing is compacted, so its offset is one of the same journal.
            *a = (*a).max(split as u64);
            *b = a.saturating_sub(moved.1 as u64).saturating_add(moved.0 as u64);
        }
        encode(&here, &mut plain);
        encode(&there, &mut short);
    }
    same(read(&plain), read(&short));
}

/// The events of an upload with what else a journal holds between them.
fn interleaved(history: &History, choices: &mut Source<'_>) -> Vec<Record> {
    let created = Event::Created(Box::new(history.ticket.clone()));
    let mut records = vec![Record::Event(created), Record::Run(RUNS[0])];
    for event in &history.events {
        match choices.below(16) {
            1 | 2 => records.push(Record::Run(RUNS[usize::from(choices.below(2))])),
            3 | 4 => records.push(Record::Synced { before: u64::from(choices.byte()) * 4 }),
            5 => records.push(Record::Synced { before: choices.number() }),
            6 => records.push(Record::Faulted),
            _ => {}
        }
        records.push(Record::Event(event.clone()));
    }
    records
}

/// The bytes of a journal, and where each of its records begins.
fn written(records: &[Record]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (MAGIC.to_vec(), Vec::new());
    for record in records {
        starts.push(bytes.len());
        encode(record, &mut bytes);
    }
    (bytes, starts)
}

/// The naive reading: each range with where it is claimed and whether a sync is proven.
fn proven(replayed: &Replayed, records: &[Record], starts: &[usize], now: RunIdentity) {
    let mut claims: Vec<(u64, Extent, bool)> = Vec::new();
    let (mut run, mut faulted, mut cancelled) = (None, false, false);
    let sync = |claims: &mut Vec<(u64, Extent, bool)>, before: u64| {
        claims.iter_mut().filter(|(at, _, _)| *at < before).for_each(|(_, _, sure)| *sure = true);
    };
    let forget = |claims: &mut Vec<(u64, Extent, bool)>| claims.retain(|(_, _, sure)| *sure);
    for (record, start) in records.iter().zip(starts) {
        match record {
            Record::Run(next) => {
                if run != Some(*next) || faulted {
                    forget(&mut claims);
                }
                (run, faulted) = (Some(*next), false);
            }
            Record::Faulted => {
                forget(&mut claims);
                faulted = true;
            }
            Record::Synced { before } => sync(&mut claims, *before),
            Record::Event(Event::Stored { extent, durability, .. }) => {
                let sure = *durability == Durability::Durable;
                if sure {
                    sync(&mut claims, u64::MAX);
                }
                claims.push((*start as u64, *extent, sure));
            }
            Record::Event(Event::Published { .. }) => sync(&mut claims, u64::MAX),
            Record::Event(Event::Cancelled { .. }) => {
                claims.clear();
                cancelled = true;
            }
            Record::Event(_) | Record::Counted { .. } => {}
        }
    }
    assert_eq!((replayed.run, replayed.faulted), (run, faulted));
    let sure = claims.iter().filter(|(_, _, sure)| *sure).map(|(_, extent, _)| *extent);
    let sure = set(sure).bytes();
    if run != Some(now) || faulted {
        forget(&mut claims);
    }
    let claimed = set(claims.iter().map(|(_, extent, _)| *extent));
    assert_eq!(replayed.upload.received(), &claimed, "{records:?}");
    assert!(replayed.unsynced_bytes <= claimed.bytes());
    if !cancelled {
        assert_eq!(replayed.unsynced_bytes, claimed.bytes() - sure, "{records:?}");
    }
}

fn set(extents: impl Iterator<Item = Extent>) -> ExtentSet {
    extents.fold(ExtentSet::new(), |mut set, extent| {
        set.insert(extent);
        set
    })
}

const RUNS: [RunIdentity; 2] =
    [RunIdentity { boot: [1; 16], mount: 1 }, RunIdentity { boot: [1; 16], mount: 2 }];
/// The count of who reads: nothing that a history holds lies ahead of it.
const NOW: Uptime = Uptime(1 << 40);
/// Bytes that choose what happens to a journal; the rest chooses what happens to its upload.
const CHOICES: usize = 64;
