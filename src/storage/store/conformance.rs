//! What every store must do; each runs this suite.

use super::{Announced, Part, Store, WriteError, Writer};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::id::TicketId;
use crate::storage::rounds::Weight;
use bytes::Bytes;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// Runs the whole suite on an empty store.
pub(crate) async fn check(store: &dyn Store) {
    what_is_written_is_read(store).await;
    nothing_is_written_to_a_sealed_part(store).await;
    a_published_file_is_whole_and_goes_when_asked(store).await;
    a_part_takes_bytes_of_other_parts(store).await;
    a_round_runs_to_its_end(store).await;
    space_is_told(store).await;
}

fn id(seed: u8) -> TicketId {
    TicketId::from_random([seed; 16])
}

fn extent(start: u64, end: u64) -> Extent {
    Extent::new(start, end).unwrap()
}

async fn writer(part: &dyn Part, missing: Extent) -> Result<Box<dyn Writer>, WriteError> {
    part.writer(ExtentSet::of(missing), Announced::Yes, None).await
}

async fn write(part: &dyn Part, start: u64, bytes: &'static [u8]) -> Result<(), WriteError> {
    let all = extent(start, start + bytes.len() as u64);
    let mut writer = writer(part, all).await?;
    assert!(writer.permit(bytes.len()).is_none(), "nothing is slow");
    writer.write(all, vec![Bytes::from_static(bytes)], 0).await
}

async fn read(part: &dyn Part, extents: Vec<Extent>) -> Option<Vec<Vec<u8>>> {
    let read = Arc::new(Mutex::new(vec![Vec::new(); extents.len()]));
    let sunk = Arc::clone(&read);
    let sink = move |number: usize, bytes: &[u8]| {
        sunk.lock().unwrap()[number].extend_from_slice(bytes);
        ControlFlow::Continue(())
    };
    let found = part.read(extents, Box::new(sink)).await.unwrap();
    found.then(|| read.lock().unwrap().clone())
}

async fn what_is_written_is_read(store: &dyn Store) {
    let part = store.part(id(1));
    assert!(!store.has_part(id(1)).await);
    assert_eq!(read(&*part, vec![]).await, None);
    part.sync().await.unwrap();
    assert!(!part.flush().await.unwrap(), "there is nothing");
    write(&*part, 6, b"world").await.unwrap();
    write(&*part, 0, b"hello ").await.unwrap();
    assert!(store.has_part(id(1)).await);
    part.sync().await.unwrap();
    assert!(part.flush().await.unwrap());
    let pieces = read(&*part, vec![extent(2, 8), extent(10, 11)]).await.unwrap();
    assert_eq!(pieces, [b"llo wo".to_vec(), b"d".to_vec()]);
    let beyond = part.read(vec![extent(1 << 30, (1 << 30) + 1)], Box::new(|_, _| panic!())).await;
    assert!(beyond.is_err());
    // What breaks off gives back what was not written, and leaves what was.
    let mut broken = writer(&*part, extent(11, 1 << 20)).await.unwrap();
    broken.write(extent(11, 12), vec![Bytes::from_static(b"!")], 0).await.unwrap();
    broken.release(12).await;
    assert_eq!(read(&*part, vec![extent(6, 12)]).await.unwrap(), [b"world!".to_vec()]);
    assert_eq!(store.published(id(1)).await.unwrap(), None);
    store.discard(id(1)).await.unwrap();
    store.discard(id(1)).await.unwrap();
    assert!(!store.has_part(id(1)).await);
}

async fn nothing_is_written_to_a_sealed_part(store: &dyn Store) {
    let part = store.part(id(2));
    write(&*part, 0, b"hello").await.unwrap();
    let mut open = writer(&*part, extent(5, 6)).await.unwrap();
    part.seal().await;
    let late = open.write(extent(5, 6), vec![Bytes::from_static(b"!")], 0).await;
    assert!(matches!(late, Err(WriteError::Sealed)), "{late:?}");
    assert!(!part.flush().await.unwrap(), "who publishes syncs it");
    part.unseal();
    open.write(extent(5, 6), vec![Bytes::from_static(b"!")], 0).await.unwrap();
    assert_eq!(read(&*part, vec![extent(0, 6)]).await.unwrap(), [b"hello!".to_vec()]);
}

async fn a_published_file_is_whole_and_goes_when_asked(store: &dyn Store) {
    let part = store.part(id(2));
    part.seal().await;
    assert!(part.publish(7).await.is_err(), "it is too short");
    assert!(!part.prepare(4).await.unwrap(), "nothing is cut off");
    // It may be written to again until it is in its place.
    if part.prepare(6).await.unwrap() {
        part.unseal();
        write(&*part, 0, b"H").await.unwrap();
        write(&*part, 0, b"h").await.unwrap();
        part.seal().await;
    }
    part.publish(5).await.unwrap();
    part.publish(5).await.unwrap();
    part.close();
    assert_eq!(store.published(id(2)).await.unwrap(), Some(5));
    assert!(!store.has_part(id(2)).await);
    let read = Arc::new(Mutex::new(Vec::new()));
    let mut reader = Some(store.reader(id(2), 1));
    while let Some(next) = reader {
        let sunk = Arc::clone(&read);
        let sink = move |bytes: &[u8]| sunk.lock().unwrap().extend_from_slice(bytes);
        reader = next.next(1 << 20, Box::new(sink)).await.unwrap();
    }
    assert_eq!(*read.lock().unwrap(), b"ello");
    store.withdraw(id(2)).await.unwrap();
    store.withdraw(id(2)).await.unwrap();
    assert_eq!(store.published(id(2)).await.unwrap(), None);
    assert!(store.reader(id(2), 0).next(1, Box::new(|_| panic!())).await.is_err());
    // An empty file needs no part.
    let empty = store.part(id(3));
    empty.seal().await;
    empty.publish(0).await.unwrap();
    assert_eq!(store.published(id(3)).await.unwrap(), Some(0));
    store.withdraw(id(3)).await.unwrap();
}

async fn a_part_takes_bytes_of_other_parts(store: &dyn Store) {
    let (into, source) = (store.part(id(6)), store.part(id(7)));
    write(&*source, 0, b"hello world").await.unwrap();
    let from_start = into.copy_from(id(7), extent(0, 11), 5).await;
    if !store.copies() {
        return assert!(from_start.is_err());
    }
    from_start.unwrap();
    into.copy_from(id(7), extent(6, 11), 0).await.unwrap();
    assert_eq!(read(&*into, vec![extent(0, 16)]).await.unwrap(), [b"worldhello world".to_vec()]);
    // The other one stays, and may be read while it is sealed.
    source.seal().await;
    into.copy_from(id(7), extent(4, 5), 16).await.unwrap();
    assert_eq!(read(&*source, vec![extent(0, 11)]).await.unwrap(), [b"hello world".to_vec()]);
    for (from, bytes) in [(id(7), extent(5, 12)), (id(8), extent(0, 1))] {
        assert!(into.copy_from(from, bytes, 17).await.is_err(), "those bytes are not there");
    }
    if let Some(free) = store.free_bytes().await {
        store.keep_free(free.saturating_mul(2).max(1 << 60));
        let full = into.copy_from(id(7), extent(0, 1), 17).await;
        assert!(matches!(full, Err(WriteError::Reserve)), "{full:?}");
        store.keep_free(0);
    }
    into.seal().await;
    let late = into.copy_from(id(7), extent(0, 1), 17).await;
    assert!(matches!(late, Err(WriteError::Sealed)), "{late:?}");
    into.publish(17).await.unwrap();
    assert_eq!(store.published(id(6)).await.unwrap(), Some(17));
    store.withdraw(id(6)).await.unwrap();
    store.discard(id(7)).await.unwrap();
    assert_eq!(store.reserved_bytes(), 0);
}

async fn a_round_runs_to_its_end(store: &dyn Store) {
    let part = store.part(id(4));
    let (done, ended) = oneshot::channel();
    store.run(Box::pin(async move {
        part.sync().await.unwrap();
        // Waiting for something else than storage ends no round.
        tokio::task::yield_now().await;
        part.sync().await.unwrap();
        done.send(()).unwrap();
    }));
    ended.await.unwrap();
    assert!(!store.is_quick(Weight::Syncs));
}

async fn space_is_told(store: &dyn Store) {
    store.ready().await.unwrap();
    store.turn().await;
    assert!(store.has_room().await.unwrap());
    assert_eq!((store.reserved_bytes(), store.waiting_bytes().0), (0, 0));
    if let Some(free) = store.free_bytes().await {
        store.keep_free(free.saturating_mul(2).max(1 << 60));
        assert!(!store.has_room().await.unwrap());
        let full = write(&*store.part(id(5)), 0, b"x").await;
        assert!(matches!(full, Err(WriteError::Reserve)), "{full:?}");
        assert!(store.ready().await.is_err());
        store.keep_free(0);
    }
    write(&*store.part(id(5)), 0, b"x").await.unwrap();
    assert_eq!(store.reserved_bytes(), 0);
}
