//! The store in memory is a store, and loses what a disk may lose.

use super::*;

#[test]
fn conforms() {
    crate::storage::local::files::conformance::check(&MemoryStore::default());
    let store = MemoryStore::default();
    store.set_allocates(Allocated::Yes);
    crate::storage::local::files::conformance::check(
        &store.judged(Arc::new(|_, _, _| Fate::Happens)),
    );
}

#[test]
fn names_come_true_in_their_order() {
    for kept in 0..4 {
        let store = MemoryStore::default();
        let [one, two] = [1, 2].map(|seed| TicketId::from_random([seed; 16]));
        let blob = store.create(one).unwrap();
        blob.write_at(&[Bytes::from_static(b"1")], 0).unwrap();
        blob.sync().unwrap();
        store.discard(one).unwrap();
        store.create(two).unwrap();
        store.create(one).unwrap();
        let mut first = Some(kept);
        store.cut_power_with(&mut |_| first.take().unwrap_or(0));
        let there = [one, two].map(|id| store.part(id));
        let (old, new) = (Some(b"1".to_vec()), Some(Vec::new()));
        let expected = match kept {
            0 => [old, None],
            1 => [None, None],
            2 => [None, new],
            _ => [new.clone(), new],
        };
        assert_eq!(there, expected, "{kept}");
    }
}
