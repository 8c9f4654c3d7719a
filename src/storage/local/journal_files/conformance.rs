//! What every store of journals must do; each runs this suite.

use super::{JournalFiles, SyncWhen};
use crate::core::id::TicketId;
use crate::core::time::Uptime;
use std::io::{self, Read};

/// Runs the whole suite on an empty store.
pub(crate) fn check(journals: &dyn JournalFiles) {
    what_is_written_is_read(journals);
    a_replaced_one_goes_on(journals);
    what_is_gone_stays_gone(journals);
    the_count_is_kept(journals);
}

fn id(seed: u8) -> TicketId {
    TicketId::from_random([seed; 16])
}

fn content(journals: &dyn JournalFiles, id: TicketId) -> Vec<u8> {
    let mut bytes = Vec::new();
    journals.read(id).unwrap().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn what_is_written_is_read(journals: &dyn JournalFiles) {
    assert!(journals.read(id(1)).unwrap().is_none());
    assert_eq!(journals.open(id(1)).err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
    for (seed, sync) in [(1, SyncWhen::Now), (2, SyncWhen::Later)] {
        journals.create(id(seed), b"ticket", sync).unwrap();
        assert_eq!(content(journals, id(seed)), b"ticket");
    }
    let mut file = journals.open(id(1)).unwrap();
    file.write_at(b", a chunk", 6).unwrap();
    assert_eq!(content(journals, id(1)), b"ticket, a chunk", "as soon as it is written");
    file.sync().unwrap();
    // A torn tail goes, and the next record comes in its place.
    file.truncate(6).unwrap();
    file.write_at(b" and", 6).unwrap();
    drop(file);
    journals.open(id(1)).unwrap().write_at(b"T", 0).unwrap();
    assert_eq!(content(journals, id(1)), b"Ticket and");
    let mut all = journals.list().unwrap();
    all.sort_unstable();
    assert_eq!(all, [id(1), id(2)]);
}

fn a_replaced_one_goes_on(journals: &dyn JournalFiles) {
    let mut before = journals.read(id(1)).unwrap().unwrap();
    let mut replaced = journals.replace(id(1), b"short").unwrap();
    replaced.named.unwrap();
    replaced.file.write_at(b"er", 5).unwrap();
    replaced.file.sync().unwrap();
    assert_eq!(content(journals, id(1)), b"shorter");
    // Who reads the old one reads all of it, and nothing of the new one.
    let mut old = Vec::new();
    before.read_to_end(&mut old).unwrap();
    assert_eq!(old, b"Ticket and");
    let absent = journals.replace(id(3), b"no journal is made so").map(drop).unwrap_err();
    assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    assert!(journals.read(id(3)).unwrap().is_none());
    journals.remove_leftovers().unwrap();
    journals.sync_names().unwrap();
    assert_eq!(content(journals, id(1)), b"shorter");
}

fn what_is_gone_stays_gone(journals: &dyn JournalFiles) {
    for seed in 1..4 {
        journals.remove(id(seed)).unwrap();
        journals.remove(id(seed)).unwrap();
        assert!(journals.read(id(seed)).unwrap().is_none());
    }
    assert!(journals.list().unwrap().is_empty());
}

fn the_count_is_kept(journals: &dyn JournalFiles) {
    assert_eq!(journals.read_uptime().unwrap(), None);
    for count in [Uptime(7), Uptime::first_of(9)] {
        journals.write_uptime(count).unwrap();
        assert_eq!(journals.read_uptime().unwrap(), Some(count));
    }
    assert!(journals.list().unwrap().is_empty(), "it is no journal");
}
