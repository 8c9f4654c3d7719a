//! The startup scan after a start, where the disk stumbles just then: no pending delivery is lost.

use super::*;
use crate::storage::memory::journals::Step as JournalStep;
use std::collections::HashMap;
use std::sync::Mutex;
use tokio::task::JoinHandle;

/// What becomes of a read of these journals. Others are read.
type Fates = Arc<Mutex<HashMap<TicketId, Misread>>>;

#[derive(Clone, Copy)]
enum Misread {
    Fails(io::ErrorKind),
    Panics,
    /// Its sync fails, not the read.
    Unsynced,
}

/// A file with a pending delivery, left by a server that was killed.
async fn left(machine: &Machine) -> TicketId {
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    engine.wait_idle().await;
    id
}

/// The next server, whose reads are judged, and its sweep.
fn starts(machine: &Machine, fates: &Fates) -> (Arc<Engine>, JoinHandle<()>) {
    let judged = Arc::clone(fates);
    let judge = move |id, step, _: usize| {
        let fate = judged.lock().unwrap().get(&id).copied();
        match (fate, step) {
            (Some(Misread::Fails(kind)), JournalStep::Read) => Fate::Fails(kind),
            (Some(Misread::Panics), JournalStep::Read) => {
                panic!("a bug that this journal brings out")
            }
            (Some(Misread::Unsynced), JournalStep::Sync) => Fate::Fails(io::ErrorKind::Other),
            _ => Fate::Happens,
        }
    };
    let journals = machine.journals.judged(Arc::new(judge));
    let engine = Machine { journals, ..machine.clone() }.start(Durability::Durable);
    (Arc::clone(&engine), tokio::spawn(engine.sweep()))
}

/// Lets the paused time run until so many cannot be read and so many deliveries are pending.
async fn until(engine: &Engine, unread: u64, pending: usize) {
    let stands = || (engine.uploads_unread(), engine.outbox().pending().0);
    for _ in 0..1000 {
        if stands() == (unread, pending) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?} are unread and pending, not {:?}", stands(), (unread, pending));
}

/// What the pass does now comes to its end, and the moment to look again.
async fn a_minute_goes_by(machine: &Machine) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    machine.clock.advance(Duration::from_secs(61));
}

async fn is_called(engine: &Arc<Engine>, id: TicketId) {
    let next = tokio::time::timeout(Duration::from_secs(600), engine.next_due()).await;
    assert_eq!(next.unwrap(), id);
    assert!(begin(engine, id).await.is_some());
}

async fn stop(engine: &Arc<Engine>, sweep: JoinHandle<()>) {
    engine.draining().cancel();
    sweep.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_cannot_be_read_at_the_start_is_met_later() {
    for misread in [Misread::Fails(io::ErrorKind::TooManyLinks), Misread::Panics] {
        let machine = Machine::default();
        let (bad, good) = (left(&machine).await, left(&machine).await);
        let fates = Fates::default();
        fates.lock().unwrap().insert(bad, misread);
        let (engine, sweep) = starts(&machine, &fates);
        until(&engine, 1, 1).await;
        is_called(&engine, good).await;
        // Still so after a minute.
        a_minute_goes_by(&machine).await;
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(engine.uploads_unread(), 1);
        fates.lock().unwrap().clear();
        a_minute_goes_by(&machine).await;
        until(&engine, 0, 2).await;
        is_called(&engine, bad).await;
        stop(&engine, sweep).await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_for_meanwhile_is_no_longer_missed() {
    let machine = Machine::default();
    let id = left(&machine).await;
    let fates = Fates::default();
    fates.lock().unwrap().insert(id, Misread::Fails(io::ErrorKind::Other));
    let (engine, sweep) = starts(&machine, &fates);
    until(&engine, 1, 0).await;
    fates.lock().unwrap().clear();
    assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
    assert_eq!((engine.uploads_unread(), engine.outbox().pending().0), (0, 1));
    stop(&engine, sweep).await;
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_listed_at_the_start_is_listed_later() {
    let machine = Machine::default();
    let id = left(&machine).await;
    machine.journals.fail_listing(Some(io::ErrorKind::PermissionDenied));
    let (engine, sweep) = starts(&machine, &Fates::default());
    until(&engine, 1, 0).await;
    machine.journals.fail_listing(None);
    a_minute_goes_by(&machine).await;
    until(&engine, 0, 1).await;
    is_called(&engine, id).await;
    stop(&engine, sweep).await;
}

/// A file that was complete when the server was killed, not yet in its place.
#[tokio::test(start_paused = true)]
async fn a_complete_file_whose_journal_cannot_be_synced_gets_to_its_place_later() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    machine.store.fail(Some((Step::Publish, io::ErrorKind::StorageFull)));
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap_err();
    engine.wait_idle().await;
    drop(engine);
    machine.store.fail(None);
    let fates = Fates::default();
    fates.lock().unwrap().insert(id, Misread::Unsynced);
    let (engine, sweep) = starts(&machine, &fates);
    until(&engine, 1, 0).await;
    fates.lock().unwrap().clear();
    a_minute_goes_by(&machine).await;
    until(&engine, 0, 1).await;
    is_called(&engine, id).await;
    stop(&engine, sweep).await;
}
