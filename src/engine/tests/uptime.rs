//! Issue 13: elapsed time comes from the count of running time. Whatever the clock of the machine is set to, nothing
//! ends early by it and nothing that is due waits for it.

use super::*;
use crate::core::event::{Event, Ticket};
use crate::core::time::{Stamp, Timestamp, Uptime};
use crate::engine::error::LookupError;
use crate::storage::journal::ResyncNeed;
use crate::storage::local::format::record::{MAGIC, MAGIC_DATED, Record, encode};
use crate::storage::local::journal_files::SyncWhen;
use crate::storage::memory::journals::Step as JournalStep;
use std::sync::atomic::AtomicBool;

/// The system's clocks: the time since boot is ahead by as much as a test says, the date is what a test has set.
#[derive(Clone, Default)]
pub(super) struct HandClock {
    ahead_ms: Arc<AtomicU64>,
    date_ms: Arc<AtomicU64>,
    stopped_ms: Arc<AtomicU64>,
}

impl HandClock {
    /// So much time goes by.
    pub(super) fn advance(&self, time: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Time goes by only as a test says from now on.
    pub(super) fn stop(&self) {
        let now = crate::storage::clock::SystemClock.since_boot();
        self.stopped_ms.store(u64::try_from(now.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Somebody sets the clock of the machine.
    pub(super) fn set(&self, date_ms: u64) {
        self.date_ms.store(date_ms, Ordering::Relaxed);
    }
}

impl Clock for HandClock {
    fn date(&self) -> Timestamp {
        Timestamp(self.date_ms.load(Ordering::Relaxed))
    }

    fn since_boot(&self) -> Duration {
        let ahead = Duration::from_millis(self.ahead_ms.load(Ordering::Relaxed));
        let now = match self.stopped_ms.load(Ordering::Relaxed) {
            0 => crate::storage::clock::SystemClock.since_boot(),
            stopped => Duration::from_millis(stopped),
        };
        now + ahead
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        crate::storage::clock::SystemClock.random()
    }
}

const HOUR_MS: u64 = 3_600_000;
const TODAY_MS: u64 = 1_764_000_000_000;
/// What a clock may be set to: 1970, a second and hours and days to and fro, 2106.
const DATES: [u64; 8] = [
    0,
    TODAY_MS + 1000,
    TODAY_MS - 1000,
    TODAY_MS + 13 * HOUR_MS,
    TODAY_MS - 13 * HOUR_MS,
    TODAY_MS + 8 * 24 * HOUR_MS,
    TODAY_MS - 8 * 24 * HOUR_MS,
    4_294_967_296_000,
];

async fn state(engine: &Arc<Engine>, id: TicketId) -> Option<StateName> {
    engine.status(id).await.ok().map(|status| status.state)
}

async fn uploading(engine: &Arc<Engine>) -> TicketId {
    let id = ticket(engine).await;
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
    id
}

async fn complete(engine: &Arc<Engine>) -> TicketId {
    let id = ticket(engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    begin(engine, id).await.unwrap();
    id
}

/// The end of a process that is asked to stop.
async fn stop(engine: Arc<Engine>) {
    engine.shut_down().await;
}

#[tokio::test]
async fn issue_13_no_upload_ends_because_the_clock_is_set() {
    for date in DATES {
        let machine = Machine::default();
        machine.clock.set(TODAY_MS);
        let engine = machine.start_with(Durability::Durable, Duration::from_secs(60));
        let (fresh, sent) = (ticket(&engine).await, uploading(&engine).await);
        let (waits, failed, finished) =
            (complete(&engine).await, complete(&engine).await, complete(&engine).await);
        engine.end_call(waits, CallResult::Wait).await.unwrap();
        engine.end_call(finished, CallResult::Done).await.unwrap();
        engine.end_call(failed, CallResult::Unanswered("down".into())).await.unwrap();
        machine.clock.set(date);
        begin(&engine, failed).await.unwrap();
        engine.end_call(failed, CallResult::Unanswered("down".into())).await.unwrap();
        let still = state(&engine, failed).await;
        assert_eq!(still, Some(StateName::HandingOver), "{date}: given up by a date");
        machine.clock.advance(Duration::from_secs(61));
        begin(&engine, failed).await.unwrap();
        engine.end_call(failed, CallResult::Unanswered("down".into())).await.unwrap();
        let expected = [
            (fresh, StateName::New),
            (sent, StateName::Uploading),
            (waits, StateName::HandingOver),
            (failed, StateName::Failed),
            (finished, StateName::Finished),
        ];
        let all_as_they_were = async |engine: &Arc<Engine>| {
            for (id, expected) in expected {
                engine.on_timer(id).await;
                assert_eq!(state(engine, id).await, Some(expected), "{date}");
            }
        };
        all_as_they_were(&engine).await;
        stop(engine).await;
        machine.clock.set(TODAY_MS);
        let engine = machine.start(Durability::Durable);
        all_as_they_were(&engine).await;
        assert_eq!(held(&engine, sent).await, [(0, 5)]);
        assert_eq!(machine.store.published(failed).unwrap(), Some(5));
        // And all of them end when they should, whatever the clock says by then.
        machine.clock.set(date);
        machine.clock.advance(Duration::from_secs(3601));
        for id in [fresh, sent, failed, finished] {
            engine.on_timer(id).await;
        }
        assert_eq!(state(&engine, fresh).await, Some(StateName::Cancelled), "{date}");
        assert_eq!(state(&engine, sent).await, Some(StateName::Cancelled), "{date}");
        assert_eq!(state(&engine, failed).await, None, "{date}");
        assert_eq!(state(&engine, finished).await, None, "{date}");
    }
}

#[tokio::test]
async fn issue_13_no_call_waits_for_a_clock_to_come_round() {
    for date in DATES {
        let machine = Machine::default();
        machine.clock.set(TODAY_MS);
        let engine = machine.start(Durability::Durable);
        let id = complete(&engine).await;
        assert_eq!(engine.next_due().await, id);
        engine.end_call(id, CallResult::Unanswered("down".into())).await.unwrap();
        machine.clock.set(date);
        engine.call_over(id, None, Duration::ZERO).await;
        let next = async || {
            let next = tokio::time::timeout(Duration::from_secs(20), engine.next_due()).await;
            assert_eq!(next.expect("called after its pause"), id, "{date}");
        };
        // The first pause takes 1.2 s at most.
        machine.clock.advance(Duration::from_millis(1200));
        next().await;
        engine.end_call(id, CallResult::Wait).await.unwrap();
        engine.call_over(id, None, Duration::ZERO).await;
        machine.clock.set(TODAY_MS);
        machine.clock.advance(Duration::from_secs(600));
        next().await;
        assert_eq!(engine.pending_deliveries().0, 1);
        assert!(engine.pending_deliveries().1 < Duration::from_secs(700), "{date}");
    }
}

#[tokio::test]
async fn the_count_goes_on_from_process_to_process_and_stands_still_between() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = uploading(&engine).await;
    for _ in 0..2 {
        machine.clock.advance(Duration::from_secs(1700));
        engine.on_timer(id).await;
    }
    stop(engine).await;
    // A long time in which nothing runs.
    machine.clock.advance(Duration::from_secs(100_000));
    let engine = machine.start(Durability::Durable);
    machine.clock.advance(Duration::from_secs(150));
    engine.on_timer(id).await;
    assert_eq!(state(&engine, id).await, Some(StateName::Uploading), "idle for 3550 s of 3600");
    machine.clock.advance(Duration::from_secs(100));
    engine.on_timer(id).await;
    let still = state(&engine, id).await;
    assert_eq!(still, Some(StateName::Uploading), "its client has a while to come back");
    machine.clock.advance(Duration::from_secs(651));
    engine.on_timer(id).await;
    assert_eq!(state(&engine, id).await, Some(StateName::Cancelled));
}

#[tokio::test]
async fn issue_13_the_count_is_written_by_one_at_a_time() {
    let machine = Machine::default();
    let (enter, entered) = std::sync::mpsc::channel();
    let (entered, overlaps) = (std::sync::Mutex::new(entered), Arc::new(AtomicU64::new(0)));
    let (writers, seen) = (AtomicU64::new(0), Arc::clone(&overlaps));
    let judge = move |_, step, _| {
        if step == crate::storage::memory::journals::Step::Count {
            if writers.fetch_add(1, Ordering::SeqCst) > 0 {
                enter.send(()).unwrap();
            } else if entered.lock().unwrap().recv_timeout(Duration::from_millis(500)).is_ok() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            writers.fetch_sub(1, Ordering::SeqCst);
        }
        Fate::Happens
    };
    let journals = machine.journals.judged(Arc::new(judge));
    let engine = Machine { journals, ..machine }.start(Durability::Durable);
    // What ends at the drain while its write runs, and the last one of a stop.
    tokio::join!(engine.journal.keep_time(), engine.journal.keep_time());
    assert_eq!(overlaps.load(Ordering::SeqCst), 0, "two wrote at once");
}

#[tokio::test]
async fn a_crash_makes_things_due_later_and_never_earlier() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    engine.journal.keep_time().await;
    machine.clock.advance(Duration::from_secs(19));
    let id = uploading(&engine).await;
    engine.wait_idle().await;
    drop(engine);
    // The count lacks 19 s: what was recorded then lies ahead of it.
    let engine = machine.start(Durability::Durable);
    machine.clock.advance(Duration::from_secs(3590));
    engine.on_timer(id).await;
    assert_eq!(state(&engine, id).await, Some(StateName::Uploading));
    machine.clock.advance(Duration::from_secs(11 + 19));
    engine.on_timer(id).await;
    assert_eq!(state(&engine, id).await, Some(StateName::Cancelled));
}

#[tokio::test]
async fn a_count_that_is_lost_ends_nothing_early_and_all_of_it_once() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    machine.clock.advance(Duration::from_secs(90 * 24 * 3600));
    let id = uploading(&engine).await;
    machine.clock.advance(Duration::from_secs(3000));
    stop(engine).await;
    machine.journals.lose_uptime();
    for _ in 0..3 {
        let engine = machine.start(Durability::Durable);
        machine.clock.advance(Duration::from_secs(1000));
        engine.on_timer(id).await;
        assert_eq!(state(&engine, id).await, Some(StateName::Uploading));
        stop(engine).await;
    }
    let engine = machine.start(Durability::Durable);
    machine.clock.advance(Duration::from_secs(1000));
    engine.on_timer(id).await;
    assert_eq!(state(&engine, id).await, Some(StateName::Cancelled), "since the new beginning");
}

/// A ticket as the released version left it: dates alone.
fn released(machine: &Machine, date_ms: u64) -> TicketId {
    let id = TicketId::from_random([9; 16]);
    let ticket = Ticket {
        removal: Removal::Keep,
        length: Some(5),
        ..Ticket::new(
            id,
            Stamp { date: Timestamp(date_ms), uptime: Uptime::NONE },
            "http://backend/done".into(),
        )
    };
    let mut bytes = MAGIC_DATED.to_vec();
    encode(&Record::Event(Event::Created(Box::new(ticket))), &mut bytes);
    machine.journals.create(id, &bytes, SyncWhen::Now).unwrap();
    id
}

/// No record of this version comes into a journal that says it is of the released one, which would take it for a torn tail.
#[tokio::test]
async fn issue_13_a_full_disk_leaves_no_journal_of_two_versions() {
    // None of it can be written, or what is there can and nothing more.
    for short_of in [0, 50] {
        let machine = Machine::default();
        let id = released(&machine, TODAY_MS);
        let full = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&full);
        let judge = move |_, step, bytes: usize| {
            let grows = step == JournalStep::Write && (short_of == 0 || bytes < short_of);
            if grows && still.load(Ordering::Relaxed) {
                return Fate::Fails(io::ErrorKind::StorageFull);
            }
            Fate::Happens
        };
        let journals = machine.journals.judged(Arc::new(judge));
        let engine = Machine { journals, ..machine.clone() }.start(Durability::Durable);
        let found = engine.status(id).await.map(drop);
        let is_of_old = !machine.journals.live(id).unwrap().starts_with(MAGIC);
        assert_eq!(is_of_old, matches!(found, Err(LookupError::Busy)), "{short_of} {found:?}");
        assert_eq!(is_of_old, short_of == 0, "nobody need wait where all but the note is there");
        assert!(!machine.storage().is_settled(id));
        full.store(false, Ordering::Relaxed);
        if found.is_ok() {
            let before = machine.journals.live(id).unwrap();
            engine.make_log_durable(id).await.unwrap();
            let after = machine.journals.live(id).unwrap();
            assert!(before == after, "its commit queue alone appends, now that it is in memory");
        }
        engine.receive(id, chunk(0, 3, 5), None, body(&[b"hel"])).await.unwrap();
        assert!(machine.journals.live(id).unwrap().starts_with(MAGIC));
        drop(engine);
        let engine = machine.start(Durability::Durable);
        assert_eq!(held(&engine, id).await, [(0, 3)]);
        assert!(engine.journal.load(id).await.unwrap().resync_need == ResyncNeed::Nothing);
    }
}

/// The journal that the released version left: dates alone. They lie in the past or ahead, and count for nothing.
#[tokio::test]
async fn issue_13_what_a_version_with_dates_alone_left_is_idle_from_the_first_start_on() {
    for date in DATES {
        let machine = Machine::default();
        machine.clock.set(TODAY_MS);
        // A version that counts was here before, and has run for long.
        let engine = machine.start(Durability::Durable);
        machine.clock.advance(Duration::from_secs(1_000_000));
        stop(engine).await;
        let id = released(&machine, date);
        // Met at the start, by nobody's wish.
        let engine = machine.start(Durability::Durable);
        engine.startup_scan().await;
        // An older program, which would take what follows for a torn tail, does not touch it.
        let noted = async {
            while !machine.journals.live(id).unwrap().starts_with(MAGIC) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! { () = engine.note_uncounted() => {} () = noted => {} }
        machine.clock.advance(Duration::from_secs(1500));
        stop(engine).await;
        let engine = machine.start(Durability::Durable);
        machine.clock.advance(Duration::from_secs(1500));
        engine.on_timer(id).await;
        assert_eq!(state(&engine, id).await, Some(StateName::New), "{date}");
        stop(engine).await;
        let engine = machine.start(Durability::Durable);
        machine.clock.advance(Duration::from_secs(1000));
        engine.on_timer(id).await;
        assert_eq!(state(&engine, id).await, Some(StateName::Cancelled), "{date}: not ever anew");
    }
}
