//! What every shared log must do; each runs this suite, the one in memory and those of real databases.

use super::{Append, Appended, EventLog, LogRead, Seen, Tag};
use crate::core::event::Event;
use crate::core::id::TicketId;
use crate::core::piece_event::{ClaimId, ObjectEvent, PieceEvent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Runs the suite. `seed` sets its names apart from those of other runs on the same log.
pub(crate) async fn check(log: Arc<impl EventLog + 'static>, seed: [u8; 15]) {
    one_append_stands_at_one_place(&*log, id(seed, 1)).await;
    appends_come_back_as_they_were(&*log, id(seed, 2)).await;
    rivals_append_one_after_the_other(&log, id(seed, 3)).await;
    a_hold_ends_by_itself_and_is_never_made_shorter(&*log, id(seed, 4)).await;
    a_log_is_removed_where_nothing_was_appended(&*log, id(seed, 5)).await;
}

pub(crate) fn id(seed: [u8; 15], number: u8) -> TicketId {
    let mut bytes = [number; 16];
    bytes[..15].copy_from_slice(&seed);
    TicketId::from_random(bytes)
}

fn digested(byte: u8) -> ObjectEvent {
    ObjectEvent::Upload(Event::Digested { sha256: [byte; 32] })
}

pub(crate) fn append(tag: u64) -> Append {
    Append { tag: Tag(tag), events: Arc::from([digested(tag.to_be_bytes()[7])]), marks: None }
}

pub(crate) async fn created(log: &impl EventLog, id: TicketId, tag: u64) -> Seen {
    at(log.create(id, append(tag)).await.unwrap())
}

fn at(appended: Appended) -> Seen {
    let Appended::At(seen) = appended else { panic!("behind") };
    seen
}

pub(crate) async fn more(log: &impl EventLog, id: TicketId, seen: Option<Seen>) -> Vec<Append> {
    let read = log.read(id, seen).await.unwrap();
    let LogRead::More(more) = read else { panic!("{read:?}") };
    more
}

fn tags(appends: &[Append]) -> Vec<u64> {
    appends.iter().map(|append| append.tag.0).collect()
}

async fn one_append_stands_at_one_place(log: &impl EventLog, id: TicketId) {
    assert!(matches!(log.read(id, None).await, Ok(LogRead::Unknown)));
    let nowhere = Seen { seq: 1, tag: Tag(1) };
    assert!(matches!(log.read(id, Some(nowhere)).await, Ok(LogRead::Unknown)));
    assert_eq!(log.append(id, nowhere, append(2)).await, Ok(Appended::Behind));
    // The largest number that a tag can be.
    let first = created(log, id, u64::MAX).await;
    assert_eq!(first, Seen { seq: 1, tag: Tag(u64::MAX) });
    assert_eq!(log.create(id, append(11)).await, Ok(Appended::Behind));
    let second = at(log.append(id, first, append(20)).await.unwrap());
    assert_eq!(second, Seen { seq: 2, tag: Tag(20) });
    assert_eq!(log.append(id, first, append(30)).await, Ok(Appended::Behind));
    // The same again, as after an answer that was lost.
    assert_eq!(log.append(id, first, append(20)).await, Ok(Appended::Behind));
    assert_eq!(tags(&more(log, id, None).await), [u64::MAX, 20]);
    assert_eq!(tags(&more(log, id, Some(first)).await), [20]);
    assert_eq!(tags(&more(log, id, Some(second)).await), [0; 0]);
    // What never was, at a place that there is, and at one that there is not.
    for other in [Seen { seq: 2, tag: Tag(21) }, Seen { seq: 3, tag: Tag(30) }] {
        assert!(matches!(log.read(id, Some(other)).await, Ok(LogRead::OtherHistory)));
        assert_eq!(log.append(id, other, append(40)).await, Ok(Appended::Behind));
        assert_eq!(log.remove(id, other).await, Ok(Appended::Behind));
    }
    assert_eq!(tags(&more(log, id, None).await), [u64::MAX, 20]);
}

async fn appends_come_back_as_they_were(log: &impl EventLog, id: TicketId) {
    let mut seen = created(log, id, 1).await;
    let slots = (0..4000).filter_map(crate::core::grid::PartNumber::new).collect();
    let large = PieceEvent::Claimed { claim: ClaimId(u64::MAX), generation: 7, slots };
    let sets: [Vec<ObjectEvent>; 3] = [
        vec![ObjectEvent::Piece(PieceEvent::GridSet { cell_bytes: 8 << 20 }), digested(9)],
        vec![ObjectEvent::Piece(large)],
        (0..=255).map(digested).collect(),
    ];
    for (number, events) in sets.iter().enumerate() {
        let append = Append {
            tag: Tag(number as u64 + 2),
            events: Arc::from(events.as_slice()),
            marks: None,
        };
        seen = at(log.append(id, seen, append).await.unwrap());
    }
    let all = more(log, id, None).await;
    let found: Vec<_> = all[1..].iter().map(|append| append.events.to_vec()).collect();
    assert_eq!(found, sets);
}

/// Every append that was acknowledged is in the log, once, where its author was told.
async fn rivals_append_one_after_the_other(log: &Arc<impl EventLog + 'static>, id: TicketId) {
    const RIVALS: u64 = 8;
    const EACH: u64 = 20;
    let first = created(&**log, id, 1).await;
    let mut rivals = JoinSet::new();
    for rival in 1..=RIVALS {
        let log = Arc::clone(log);
        rivals.spawn(async move {
            let (mut seen, mut acknowledged) = (first, Vec::new());
            for number in 0..EACH {
                let tag = rival * 1000 + number;
                while let Appended::Behind = log.append(id, seen, append(tag)).await.unwrap() {
                    for append in more(&*log, id, Some(seen)).await {
                        seen = Seen { seq: seen.seq + 1, tag: append.tag };
                    }
                }
                seen = Seen { seq: seen.seq + 1, tag: Tag(tag) };
                acknowledged.push((seen.seq, tag));
            }
            acknowledged
        });
    }
    let acknowledged: BTreeMap<u64, u64> = rivals.join_all().await.into_iter().flatten().collect();
    let all = more(&**log, id, None).await;
    let found: BTreeMap<u64, u64> = (1..).zip(tags(&all)).skip(1).collect();
    assert_eq!(found.len() as u64, RIVALS * EACH);
    assert_eq!(found, acknowledged);
}

async fn a_hold_ends_by_itself_and_is_never_made_shorter(log: &impl EventLog, id: TicketId) {
    const TIME: Duration = Duration::from_secs(2);
    let hold = async |holder, time| log.hold(id, holder, time).await.unwrap();
    assert!(!hold(1, TIME).await, "there is no such log");
    created(log, id, 1).await;
    let since = Instant::now();
    assert!(hold(u64::MAX, TIME).await);
    assert!(hold(u64::MAX, Duration::from_millis(1)).await, "its own");
    // It is asked for until it is free: by the log's clock, which no test can move.
    while !hold(2, Duration::from_secs(60)).await {
        assert!(since.elapsed() < 10 * TIME);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The clocks may differ a little in how they run.
    assert!(since.elapsed() >= TIME.mul_f64(0.9), "{:?}", since.elapsed());
    assert!(!hold(u64::MAX, TIME).await);
}

async fn a_log_is_removed_where_nothing_was_appended(log: &impl EventLog, id: TicketId) {
    let first = created(log, id, 1).await;
    let second = at(log.append(id, first, append(2)).await.unwrap());
    assert_eq!(log.remove(id, first).await, Ok(Appended::Behind));
    assert_eq!(tags(&more(log, id, None).await), [1, 2]);
    assert_eq!(log.remove(id, second).await, Ok(Appended::At(second)));
    assert!(matches!(log.read(id, None).await, Ok(LogRead::Unknown)));
    assert_eq!(log.remove(id, second).await, Ok(Appended::Behind));
    // A ghost finds nothing to append to.
    assert_eq!(log.append(id, second, append(3)).await, Ok(Appended::Behind));
    assert!(matches!(log.read(id, Some(second)).await, Ok(LogRead::Unknown)));
}

mod memory {
    use super::*;
    use crate::storage::event_log::LogError;
    use crate::storage::memory::event_log::MemoryEventLog;
    use std::sync::{Mutex, MutexGuard};

    struct Shared(Mutex<MemoryEventLog>, Instant);

    impl Shared {
        fn log(&self) -> MutexGuard<'_, MemoryEventLog> {
            self.0.lock().unwrap()
        }
    }

    impl EventLog for Shared {
        async fn create(&self, id: TicketId, append: Append) -> Result<Appended, LogError> {
            Ok(self.log().create(id, append))
        }

        async fn read(&self, id: TicketId, seen: Option<Seen>) -> Result<LogRead, LogError> {
            Ok(self.log().read(id, seen))
        }

        async fn append(
            &self,
            id: TicketId,
            seen: Seen,
            append: Append,
        ) -> Result<Appended, LogError> {
            Ok(self.log().append(id, seen, append))
        }

        async fn hold(&self, id: TicketId, holder: u64, time: Duration) -> Result<bool, LogError> {
            let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap();
            Ok(self.log().hold(id, holder, ms(self.1.elapsed()), ms(time)))
        }

        async fn remove(&self, id: TicketId, seen: Seen) -> Result<Appended, LogError> {
            Ok(self.log().remove(id, seen))
        }
    }

    #[tokio::test]
    async fn log_in_memory() {
        let log = Shared(Mutex::default(), Instant::now());
        check(Arc::new(log), [7; 15]).await;
    }
}
