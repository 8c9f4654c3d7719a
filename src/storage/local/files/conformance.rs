//! What every store must do; each runs this suite.

use super::Files;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::storage::location::Location;
use bytes::Bytes;
use std::io::Read;

/// Runs the whole suite on an empty store.
pub(crate) fn check(store: &dyn Files) {
    writes_land_where_they_say(store);
    publishing_is_whole_and_repeatable(store);
    an_empty_file_can_be_published(store);
    what_is_gone_stays_gone(store);
    copies_are_whole(store);
}

/// Also such as no file system shares blocks for, and more than is copied in one go through memory.
fn copies_are_whole(store: &dyn Files) {
    let source = store.create(id(4)).unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(3_000_001).collect();
    source.write_at(&[Bytes::from(bytes.clone())], 0).unwrap();
    let into = store.create(id(5)).unwrap();
    let copy = |start, end, at| into.copy_from(&*source, Extent::new(start, end).unwrap(), at);
    copy(0, 3_000_001, 4096).unwrap();
    copy(17, 4113, 0).unwrap();
    let mut found = vec![0; 3_004_097];
    into.read_at(&mut found, 0).unwrap();
    assert_eq!(found, [&bytes[17..4113], &bytes].concat());
    let beyond = copy(3_000_000, 3_000_002, 9).unwrap_err();
    assert_eq!(beyond.kind(), std::io::ErrorKind::UnexpectedEof);
    store.discard(id(4)).unwrap();
    store.discard(id(5)).unwrap();
}

fn id(seed: u8) -> TicketId {
    TicketId::from_random([seed; 16])
}

fn content(store: &dyn Files, id: TicketId) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(id, 0).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn writes_land_where_they_say(store: &dyn Files) {
    assert!(store.open(id(1)).unwrap().is_none());
    let blob = store.create(id(1)).unwrap();
    blob.allocate(Extent::new(0, 64).unwrap()).unwrap();
    blob.write_at(&[Bytes::from_static(b"wor"), Bytes::new(), Bytes::from_static(b"ld")], 6)
        .unwrap();
    blob.write_at(&[], 3).unwrap();
    store.create(id(1)).unwrap().write_at(&[Bytes::from_static(b"hello ")], 0).unwrap();
    let many: Vec<Bytes> = (0..3000u32).map(|n| Bytes::copy_from_slice(&n.to_le_bytes())).collect();
    blob.write_at(&many, 11).unwrap();
    // Neighbours of what is given back stay, to the byte.
    blob.write_at(&[Bytes::from(vec![7; 9000])], 12_011).unwrap();
    blob.release(Extent::new(12_011, 100_000).unwrap()).unwrap();
    assert!(blob.length().unwrap() >= 21_011);
    blob.sync().unwrap();
    let mut middle = [0; 7];
    blob.read_at(&mut middle, 2).unwrap();
    assert_eq!(&middle, b"llo wor");
    let beyond = blob.read_at(&mut middle, blob.length().unwrap() - 6).unwrap_err();
    assert_eq!(beyond.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(store.parts().unwrap(), [id(1)]);
    assert_eq!(store.published(id(1)).unwrap(), None);
    store.publish(id(1), 11 + 12_000).unwrap();
    let mut expected = b"hello world".to_vec();
    expected.extend(many.concat());
    assert_eq!(content(store, id(1)), expected);
}

fn publishing_is_whole_and_repeatable(store: &dyn Files) {
    assert!(store.publish(id(2), 5).is_err());
    let blob = store.create(id(2)).unwrap();
    blob.write_at(&[Bytes::from_static(b"12345 and what does not count")], 0).unwrap();
    assert_eq!(blob.length().unwrap(), 29);
    assert!(store.publish(id(2), 30).is_err(), "no byte is made up");
    store.publish(id(2), 5).unwrap();
    store.publish(id(2), 5).unwrap();
    assert_eq!(store.published(id(2)).unwrap(), Some(5));
    assert_eq!(content(store, id(2)), b"12345");
    let mut rest = Vec::new();
    store.read(id(2), 3).unwrap().read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"45");
    assert!(store.open(id(2)).unwrap().is_none());
    assert!(store.place(id(6), 0).is_err(), "there is none");
    let part = store.create(id(6)).unwrap();
    part.write_at(&[Bytes::from_static(b"123456")], 0).unwrap();
    assert!(part.prepare(7).is_err(), "no byte is made up");
    part.prepare(6).unwrap();
    // Still a part, that can be written to.
    assert_eq!((store.published(id(6)).unwrap(), part.length().unwrap()), (None, 6));
    part.write_at(&[Bytes::from_static(b"X")], 0).unwrap();
    part.prepare(6).unwrap();
    store.place(id(6), 6).unwrap();
    store.place(id(6), 6).unwrap();
    assert!(store.place(id(6), 7).is_err());
    assert_eq!(content(store, id(6)), b"X23456");
    let Location::Path(path) = store.location(id(2)) else { panic!("a file") };
    assert!(path.is_absolute());
}

fn an_empty_file_can_be_published(store: &dyn Files) {
    store.publish(id(3), 0).unwrap();
    assert_eq!(store.published(id(3)).unwrap(), Some(0));
}

fn what_is_gone_stays_gone(store: &dyn Files) {
    store.create(id(4)).unwrap();
    store.discard(id(4)).unwrap();
    store.discard(id(4)).unwrap();
    assert!(store.open(id(4)).unwrap().is_none());
    for seed in [1, 2, 3, 6] {
        store.withdraw(id(seed)).unwrap();
        store.withdraw(id(seed)).unwrap();
        assert_eq!(store.published(id(seed)).unwrap(), None);
    }
    assert!(store.parts().unwrap().is_empty());
    assert!(store.free_bytes().unwrap().is_none_or(|free| free > 0));
    assert_eq!(store.run(), store.run());
}
