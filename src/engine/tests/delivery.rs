//! Deliveries: what is counted is what is pending, and new settings change what waits.

use super::*;
use crate::core::time::Timestamp;
use std::future::poll_fn;

/// A file that is called about, and has been taken out of the queue for that.
async fn called(engine: &Arc<Engine>) -> TicketId {
    let id = ticket(engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    assert_eq!(engine.next_due().await, id);
    begin(engine, id).await.unwrap();
    id
}

async fn said_wait(engine: &Arc<Engine>) -> TicketId {
    let id = called(engine).await;
    engine.end_call(id, CallResult::Wait).await.unwrap();
    engine.call_over(id, None, Duration::ZERO).await;
    id
}

fn pending(engine: &Arc<Engine>) -> (usize, usize) {
    (engine.outbox().pending().0, engine.outbox().waiting().0)
}

async fn leaves_memory(machine: &Machine, engine: &Arc<Engine>, id: TicketId) {
    engine.wait_idle().await;
    machine.clock.advance(Duration::from_secs(3600));
    // Whoever has just recorded something may still hold it for a moment.
    while engine.registry.loaded(id).is_some() {
        assert!(engine.evict_idle().is_empty());
        tokio::task::yield_now().await;
    }
}

/// Does something the next time that a random number is drawn.
#[derive(Default)]
struct Trap(std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Clock for Trap {
    fn date(&self) -> Timestamp {
        crate::storage::clock::SystemClock.date()
    }

    fn since_boot(&self) -> Duration {
        crate::storage::clock::SystemClock.since_boot()
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let act = self.0.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        crate::storage::clock::SystemClock.random()
    }
}

#[tokio::test]
async fn who_says_wait_while_settings_change_has_the_new_time_too() {
    let machine = Machine::default();
    let options = machine.start(Durability::Durable).options();
    let clock = Arc::new(Trap::default());
    let storage = machine.storage();
    let engine = Engine::new((*options).clone(), storage.clone(), storage, clock.clone());
    let id = said_wait(&engine).await;
    let upload = engine.find(id).await.unwrap().lock().upload.clone();
    let confirm_timeout = Duration::from_secs(60);
    let calls = RetryPolicy { confirm_timeout, ..options.calls };
    let (retuned, new) = (Arc::clone(&engine), Options { calls, ..(*options).clone() });
    *clock.0.lock().unwrap() = Some(Box::new(move || retuned.set_options(&new)));
    engine.enqueue(id, &upload, None);
    assert_eq!(engine.options().calls.confirm_timeout, confirm_timeout);
    let due = upload.pending_calls().unwrap().due(&engine.options().calls, 0.5);
    assert_eq!(engine.outbox().waiting(), (1, Some(due)));
}

#[tokio::test]
async fn an_upload_that_has_gone_owes_nothing() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = called(&engine).await;
    assert_eq!(pending(&engine), (1, 0));
    // It leaves memory, and somebody removes its journal.
    leaves_memory(&machine, &engine, id).await;
    machine.journals.remove(id).unwrap();
    engine.call_over(id, None, Duration::ZERO).await;
    assert_eq!(pending(&engine), (0, 0));
}

#[tokio::test]
async fn an_upload_that_cannot_be_read_stays_owed_and_is_called_again() {
    let machine = Machine::default();
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let judge = move |_, step, _| match step {
        crate::storage::memory::journals::Step::Read if failing.load(Ordering::Relaxed) => {
            Fate::Fails(io::ErrorKind::TooManyLinks)
        }
        _ => Fate::Happens,
    };
    let journals = machine.journals.judged(Arc::new(judge));
    let machine = Machine { journals, ..machine };
    let engine = machine.start(Durability::Durable);
    let id = called(&engine).await;
    leaves_memory(&machine, &engine, id).await;
    fails.store(true, Ordering::Relaxed);
    engine.call_over(id, None, Duration::ZERO).await;
    assert_eq!(pending(&engine), (1, 1), "nothing would ever call again");
    fails.store(false, Ordering::Relaxed);
    machine.clock.advance(Duration::from_secs(600));
    assert_eq!(engine.next_due().await, id);
}

#[tokio::test]
async fn backends_that_said_wait_have_the_time_of_new_settings() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let waiting = said_wait(&engine).await;
    let unanswered = called(&engine).await;
    engine.end_call(unanswered, CallResult::Unanswered("down".into())).await.unwrap();
    engine.call_over(unanswered, None, Duration::ZERO).await;
    let due = || engine.outbox().waiting().1.unwrap();
    let first = due();
    let confirm_within = |seconds: u64| {
        let before = engine.options();
        let calls = RetryPolicy { confirm_timeout: Duration::from_secs(seconds), ..before.calls };
        engine.set_options(&Options { calls, ..(*before).clone() });
    };
    confirm_within(300);
    confirm_within(1200);
    assert_eq!(due(), first, "a call that was not answered keeps its pause");
    machine.clock.advance(Duration::from_secs(30));
    assert_eq!(engine.next_due().await, unanswered);
    let late = due();
    confirm_within(600);
    assert_eq!(late.since(due()), Duration::from_secs(600));
    confirm_within(10);
    // Whoever waits for the next one is woken.
    let next = tokio::time::timeout(Duration::from_secs(20), engine.next_due());
    assert_eq!(next.await.unwrap(), waiting);
    assert_eq!(engine.outbox().waiting(), (0, None));
}

#[tokio::test]
async fn a_backend_that_asks_to_be_left_alone_is_called_no_sooner_but_within_five_minutes() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    for (asked, given) in [(200, 200), (3600, 300)] {
        let mut delivery = engine.next_delivery().await;
        assert!(matches!(delivery.begin().await, Ok(Begun::Call(_))));
        delivery.postpone(Duration::from_secs(asked));
        delivery.finish(CallResult::Unanswered("busy".into())).await.unwrap();
        let due = engine.uptime().after(Duration::from_secs(given));
        assert_eq!(engine.outbox().waiting(), (1, Some(due)));
        machine.clock.advance(Duration::from_secs(given));
    }
    assert_eq!(engine.next_due().await, id);
}

#[tokio::test]
async fn issue_13_an_upload_that_waited_long_for_its_first_call_is_called_again() {
    let machine = Machine::default();
    let retry_for = Duration::from_secs(3600);
    let mut engine = machine.start_with(Durability::Durable, retry_for);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    let states = [StateName::HandingOver, StateName::HandingOver, StateName::Failed];
    // A backend that does not answer lets it wait in the queue for longer than calls are repeated.
    for (wait, expected) in [2 * retry_for, retry_for / 2, retry_for].into_iter().zip(states) {
        machine.clock.advance(wait);
        begin(&engine, id).await.unwrap();
        engine.end_call(id, CallResult::Unanswered("hangs".into())).await.unwrap();
        assert_eq!(engine.status(id).await.unwrap().state, expected, "{wait:?}");
        // What the first call's time is taken from is in the journal.
        engine.shut_down().await;
        drop(engine);
        engine = machine.start_with(Durability::Durable, retry_for);
    }
}

#[tokio::test]
async fn issue_13_a_small_file_is_hashed_while_large_ones_are() {
    const LARGE: usize = 33 << 20;
    static ZEROS: [u8; LARGE] = [0; LARGE];
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let order = std::sync::Mutex::new(Vec::new());
    let mut turns = engine.hashing.acquire_many(2).await.unwrap();
    let mut hashing: Vec<Pin<Box<dyn Future<Output = ()> + '_>>> = Vec::new();
    for length in [LARGE, LARGE, 5] {
        let id = ticket_with(&engine, DigestRequest::Sha256).await;
        // The first byte comes last, so that nothing is hashed while it comes.
        for (start, end) in [(1, length), (0, 1)] {
            let (from, to, whole) = (start as u64, end as u64, length as u64);
            let bytes = body(&[&ZEROS[start..end]]);
            engine.receive(id, chunk(from, to, whole), None, bytes).await.unwrap();
        }
        let handle = engine.find(id).await.unwrap();
        let (engine, order) = (&engine, &order);
        hashing.push(Box::pin(async move {
            engine.file_digest(&handle).await.unwrap();
            order.lock().unwrap().push(length);
        }));
    }
    let mut poll_all = |cx: &mut Context<'_>| {
        hashing.retain_mut(|hash| hash.as_mut().poll(cx).is_pending());
        if hashing.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    };
    // All of them wait, in this order. Then there is one turn, so that nothing depends on the speed of threads.
    let waits = poll_fn(|cx| Poll::Ready(poll_all(cx).is_pending())).await;
    assert!(waits);
    drop(turns.split(1));
    poll_fn(poll_all).await;
    assert_eq!(*order.lock().unwrap(), [5, LARGE, LARGE], "it waits for slices, not for files");
}

#[tokio::test]
async fn a_delivery_that_is_dropped_is_due_again() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    let counts = || {
        let stats = engine.stats();
        (stats.calls_waiting.value(), stats.calls_running.value())
    };
    for begins in [false, true] {
        let mut delivery = engine.next_delivery().await;
        assert_eq!((delivery.id(), counts()), (id, (1, 0)));
        if begins {
            delivery.start();
            assert!(matches!(delivery.begin().await, Ok(Begun::Call(_))));
            assert_eq!(counts(), (0, 1));
        }
        assert_eq!(pending(&engine), (1, 0), "one at a time");
        drop(delivery);
        assert_eq!((pending(&engine), counts()), ((1, 1), (0, 0)));
        machine.clock.advance(Duration::from_secs(120));
    }
    let mut delivery = engine.next_delivery().await;
    assert!(matches!(delivery.begin().await, Ok(Begun::Call(call)) if call.attempt == 2));
    delivery.finish(CallResult::Done).await.unwrap();
    assert_eq!((pending(&engine), counts()), ((0, 0), (0, 0)));
}

/// The record that a call begins waits for the disk where it decides whether the file was taken, else for that of its answer.
#[tokio::test]
async fn issue_19_a_power_cut_during_a_call_loses_its_count_at_most() {
    for (removal, again) in [(Removal::RemoveWhenFinished, 1), (Removal::Keep, 2)] {
        for ack in [Durability::Durable, Durability::Written] {
            let machine = Machine::default();
            let engine = machine.start(ack);
            let asked = NewUpload { removal, ..wish() };
            let id = engine.new_upload(asked).await.unwrap().0;
            engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
            assert_eq!(begin(&engine, id).await.unwrap().attempt, 1);
            drop(engine);
            machine.cut_power();
            let engine = machine.start(ack);
            let call = begin(&engine, id).await.unwrap();
            assert_eq!(call.attempt, again, "{removal:?}");
            assert_eq!(machine.store.file(id).unwrap(), b"hello");
            drop(engine);
            let engine = machine.start(ack);
            assert_eq!(begin(&engine, id).await.unwrap().attempt, again + 1, "after a crash");
            engine.end_call(id, CallResult::Done).await.unwrap();
            drop(engine);
            machine.cut_power();
            let engine = machine.start(ack);
            assert_eq!(engine.status(id).await.unwrap().state, StateName::Finished);
        }
    }
}
