//! What a part keeps, and what it is not published over.

use super::*;
use crate::core::event::Durability;
use crate::storage::clock::SystemClock;
use crate::storage::local::blocking::Blocking;
use crate::storage::local::options::LocalOptions;
use crate::storage::local::storage::LocalStorage;
use crate::storage::memory::journals::MemoryJournals;
use crate::storage::memory::store::{MemoryStore, Step};
use crate::storage::store::Parts as _;
use std::ops::ControlFlow;

#[tokio::test]
async fn reading_ends_with_who_asked() {
    let part = LocalStorage::of_memory().part(TicketId::from_random([1; 16]));
    let none = part.read(vec![], Box::new(|_, _| ControlFlow::Continue(()))).await;
    assert!(!none.unwrap(), "there is no part");
    let extent = Extent::new(0, 3 * PIECE_BYTES as u64 / 2).unwrap();
    let mut writer = part.writer(ExtentSet::of(extent), Announced::Yes, None).await.unwrap();
    let bytes = vec![Bytes::from(vec![7; 3 * PIECE_BYTES / 2])];
    writer.write(extent, bytes, 0).await.unwrap();
    for (wanted, pieces) in [(ControlFlow::Continue(()), 2), (ControlFlow::Break(()), 1)] {
        let read = Arc::new(Mutex::new(Vec::new()));
        let sunk = Arc::clone(&read);
        let sink = move |_: usize, bytes: &[u8]| {
            sunk.lock().unwrap().push(bytes.len());
            wanted
        };
        assert!(part.read(vec![extent], Box::new(sink)).await.unwrap());
        assert_eq!(read.lock().unwrap().len(), pieces, "in pieces that do not fit");
    }
}

/// A part of five bytes that are not synced.
async fn written(files: &MemoryStore) -> (TicketId, Arc<dyn Part>) {
    let options = LocalOptions::new(Durability::Written, 0, 1 << 20);
    let (store, clock) = (Arc::new(files.clone()), Arc::new(SystemClock));
    let journals = Arc::new(MemoryJournals::default());
    let storage = LocalStorage::new(store, journals, clock, options, Blocking::Threads);
    let (id, extent) = (TicketId::from_random([1; 16]), Extent::new(0, 5).unwrap());
    let part = storage.part(id);
    let mut writer = part.writer(ExtentSet::of(extent), Announced::Yes, None).await.unwrap();
    writer.write(extent, vec![Bytes::from_static(b"hello")], 0).await.unwrap();
    (id, part)
}

/// The next sync of the same file may say that all is well, and the publish behind it.
#[tokio::test]
async fn nothing_is_published_over_a_failed_flush() {
    let files = MemoryStore::default();
    let (id, part) = written(&files).await;
    files.fail(Some((Step::Sync, io::ErrorKind::Other)));
    assert!(matches!(part.flush().await, Err(StoreError::Fault(_))));
    files.fail(None);
    part.seal().await;
    assert!(matches!(part.sync().await, Err(StoreError::Fault(_))));
    assert!(matches!(part.publish(5).await, Err(StoreError::Fault(_))));
    assert_eq!(files.file(id), None);
}

/// The kernel tells of a failed write once: one sync beside another could say that all is well.
#[tokio::test]
async fn a_sync_waits_for_another_and_hears_that_it_failed() {
    let files = MemoryStore::default();
    let (id, part) = written(&files).await;
    files.hold(Some((id, Step::Sync)));
    files.fail(Some((Step::Sync, io::ErrorKind::Other)));
    let all = [0; 4].map(|_| {
        let part = Arc::clone(&part);
        tokio::spawn(async move { part.sync().await })
    });
    while files.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(files.waiting(), 1);
    files.hold(None);
    for one in all {
        assert!(matches!(one.await.unwrap(), Err(StoreError::Fault(_))));
    }
}
