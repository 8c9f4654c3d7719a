//! What every journal must do; each runs this suite.

use super::{Append, Appended, Claims, Journal, LoadError, Loaded, Read, Removed, Version};
use crate::core::event::{Durability, Event, Notice, Ticket};
use crate::core::id::TicketId;
use crate::core::state::StateName;
use crate::core::time::{Stamp, Timestamp};
use std::sync::Arc;

/// Runs the suite on an empty journal.
pub(crate) async fn check(journal: &dyn Journal) {
    an_upload_is_the_sum_of_its_events(journal).await;
    pages_follow_each_other_and_removed_ones_are_gone(journal).await;
}

/// Runs what more there is on an empty journal that two servers share.
pub(crate) async fn check_shared(one: &dyn Journal, other: &dyn Journal) {
    who_is_behind_appends_nothing(one, other).await;
}

fn id(seed: u8) -> TicketId {
    TicketId::from_random([seed; 16])
}

async fn create(journal: &dyn Journal, seed: u8) -> Version {
    let created = Stamp { date: Timestamp(7), uptime: journal.now() };
    let ticket = Ticket {
        secret: "secret".into(),
        ..Ticket::new(id(seed), created, "http://backend/done".into())
    };
    let created = journal.create(&ticket, Durability::Durable).await.map_err(drop).unwrap();
    if let Some(begun) = created.loaded {
        let found = load(journal, seed).await;
        assert_eq!((begun.upload, begun.version), (found.upload, found.version));
        assert!(!begun.log.wants_upkeep() && !begun.log.is_full() && !begun.log.has_unflushed());
    }
    created.version
}

fn cancelled(journal: &dyn Journal) -> Append {
    let at = Stamp { date: Timestamp(9), uptime: journal.now() };
    Append {
        events: vec![Event::Cancelled { at, reason: "enough".into(), notice: Notice::NotDue }],
        durability: Durability::Durable,
        claims: Claims::AsEachSays,
        state: Some(StateName::Cancelled),
    }
}

fn bound(journal: &dyn Journal, length: u64) -> Append {
    let at = Stamp { date: Timestamp(8), uptime: journal.now() };
    Append {
        events: vec![Event::Bound {
            at,
            length: Some(length),
            name: None,
            media_type: None,
            last_modified: None,
            client_metadata: None,
        }],
        durability: Durability::Durable,
        claims: Claims::AsEachSays,
        state: Some(StateName::Uploading),
    }
}

async fn load(journal: &dyn Journal, seed: u8) -> Loaded {
    let loaded = journal.load(id(seed)).await.unwrap();
    loaded.log.make_durable().await.unwrap();
    loaded.log.make_durable().await.unwrap();
    loaded
}

fn version(appended: Appended) -> Version {
    let Appended::At(version) = appended else { panic!("nobody else is here") };
    version
}

async fn an_upload_is_the_sum_of_its_events(journal: &dyn Journal) {
    assert!(matches!(journal.load(id(1)).await, Err(LoadError::Unknown)));
    create(journal, 1).await;
    let loaded = load(journal, 1).await;
    assert_eq!(loaded.upload.ticket().id, id(1));
    assert_eq!(loaded.upload.phase().state(), StateName::New);
    let log = &loaded.log;
    let first = version(log.append(loaded.version, bound(journal, 5)).await.unwrap());
    assert!(first > loaded.version);
    // What is appended is there for the next that reads it, in another server too.
    let again = journal.load(id(1)).await.unwrap();
    assert_eq!((again.upload.length(), again.upload.received().bytes()), (Some(5), 0));
    let second = version(log.append(first, cancelled(journal)).await.unwrap());
    assert!(second > first);
    let Read::More(events, now) = log.read(second).await.unwrap() else { panic!("it is there") };
    assert_eq!((events.len(), now), (0, second));
    let again = journal.load(id(1)).await.unwrap();
    assert_eq!(again.upload.phase().state(), StateName::Cancelled);
    // There was nothing to keep in shape.
    if log.wants_upkeep() {
        log.upkeep(Arc::new(again.upload)).await.unwrap();
    }
    assert!(!log.wants_upkeep() && !log.is_full() && !log.has_unflushed());
}

async fn pages_follow_each_other_and_removed_ones_are_gone(journal: &dyn Journal) {
    for seed in [9, 5, 7] {
        create(journal, seed).await;
    }
    let ids = |page: Result<Vec<TicketId>, _>| -> Vec<TicketId> { page.map_err(drop).unwrap() };
    let page = ids(journal.page(None, None, 2).await);
    assert_eq!(page, [id(1), id(5)]);
    assert_eq!(ids(journal.page(None, Some(id(5)), 9).await), [id(7), id(9)]);
    let new = ids(journal.page(Some(StateName::New), None, 9).await);
    assert_eq!(new, [id(5), id(7), id(9)], "the first one was cancelled");
    let mut inventory = journal.inventory().await.unwrap();
    inventory.uploads.sort_unstable();
    assert_eq!(inventory.uploads, [id(1), id(5), id(7), id(9)]);
    assert!(inventory.orphans.is_empty());
    journal.discard_orphan(id(5)).await;
    assert!(journal.load(id(5)).await.is_ok(), "it is none");
    let loaded = load(journal, 5).await;
    let removed = journal.remove(id(5), Some(loaded.version)).await.unwrap();
    assert_eq!(removed, Removed::Done);
    for seed in [1, 5, 7, 9] {
        assert_eq!(journal.remove(id(seed), None).await.unwrap(), Removed::Done);
        assert!(matches!(journal.load(id(seed)).await, Err(LoadError::Unknown)));
    }
    assert!(ids(journal.page(None, None, 9).await).is_empty());
    let before = journal.now();
    journal.keep_time().await;
    assert!(journal.now() >= before);
}

async fn who_is_behind_appends_nothing(one: &dyn Journal, other: &dyn Journal) {
    let created = create(one, 1).await;
    let (mine, theirs) = (load(one, 1).await, load(other, 1).await);
    assert_eq!((mine.version, theirs.version), (created, created));
    let first = version(mine.log.append(created, bound(one, 5)).await.unwrap());
    let behind = theirs.log.append(created, bound(other, 6)).await.unwrap();
    assert_eq!(behind, Appended::Behind);
    let found = other.load(id(1)).await.unwrap();
    assert_eq!((found.upload.length(), found.version), (Some(5), first), "nothing was appended");
    let Read::More(events, now) = theirs.log.read(created).await.unwrap() else { panic!() };
    assert_eq!((events.len(), now), (1, first));
    let mut upload = theirs.upload;
    events.iter().for_each(|event| upload.apply(event));
    assert_eq!(upload.length(), Some(5));
    let second = version(theirs.log.append(first, cancelled(other)).await.unwrap());
    // Nor is a log removed by who has not seen all of it.
    assert_eq!(one.remove(id(1), Some(first)).await.unwrap(), Removed::Behind);
    assert!(matches!(
        mine.log.read(Version::of(second.number + 1)).await.unwrap(),
        Read::OtherHistory
    ));
    assert_eq!(one.remove(id(1), Some(second)).await.unwrap(), Removed::Done);
    assert!(matches!(theirs.log.read(second).await.unwrap(), Read::Unknown));
    assert_eq!(theirs.log.append(second, bound(other, 7)).await.unwrap(), Appended::Behind);
}
