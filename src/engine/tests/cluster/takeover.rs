//! What a server had taken when it died, stood still or stopped goes to others soon, and to none of them before.

use super::*;
use tokio::time::{Instant, timeout};

#[tokio::test(start_paused = true)]
async fn a_call_is_made_by_one_server_and_taken_over_when_it_dies() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 2), None, body(&[b"hi"])).await.unwrap();
    let call = begin(&one, id).await.expect("it is due");
    assert_eq!(call.attempt, 1);
    assert!(call.url.as_ref().is_some_and(|url| url.starts_with("https://")), "of the file");
    assert!(!format!("{call:?}").contains("https://"), "it is a secret");
    // Whatever the other thinks is due, it may not call.
    assert!(begin(&two, id).await.is_none(), "another server holds it");
    let sweeping = sweep(&two);
    // The first has died in the middle of it.
    drop(one);
    cluster.pass(11).await;
    assert!(matches!(two.begin_call(id).await.unwrap(), Begun::Nothing));
    cluster.pass(2).await;
    let mut delivery = two.next_delivery().await;
    assert_eq!(delivery.id(), id);
    let Begun::Call(call) = delivery.begin().await.unwrap() else { panic!("it is due again") };
    assert_eq!(call.attempt, 2);
    delivery.finish(CallResult::Done).await.unwrap();
    assert_eq!(two.status(id).await.unwrap().state, StateName::Finished);
    let three = cluster.start(3);
    assert!(begin(&three, id).await.is_none(), "no call begins behind a recorded end");
    sweeping.abort();
}

/// However long the backend takes; a server that stood still meanwhile makes no call, and ends the one that it makes.
#[tokio::test(start_paused = true)]
async fn a_call_is_held_as_long_as_its_server_runs() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 2), None, body(&[b"hi"])).await.unwrap();
    let mut delivery = one.next_delivery().await;
    assert!(matches!(delivery.begin().await.unwrap(), Begun::Call(_)));
    let kept = tokio::spawn(delivery.lost());
    for _ in 0..10 {
        cluster.pass(10).await;
        assert!(begin(&two, id).await.is_none(), "it is being made");
    }
    assert!(!kept.is_finished());
    // It stands still, as its own clock shows afterwards.
    kept.abort();
    cluster.pass(13).await;
    cluster.machine.clock.advance(Duration::from_secs(13));
    assert_eq!(begin(&two, id).await.expect("it is due again").attempt, 2);
    let at_once = timeout(Duration::ZERO, delivery.lost()).await;
    assert!(at_once.is_ok(), "before anything is sent");
    drop(delivery);
    tokio::task::yield_now().await;
    let three = cluster.start(3);
    assert!(begin(&three, id).await.is_none(), "the second still holds it");
}

/// However long it waits for its turn, whether another server takes it meanwhile or not; who hashes it holds it.
#[tokio::test(start_paused = true)]
async fn a_file_that_waits_to_be_hashed_is_hashed_by_one_server() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let pass = async |seconds| {
        cluster.pass(seconds).await;
        cluster.machine.clock.advance(Duration::from_secs(seconds));
    };
    for meanwhile in ["nothing", "taken", "done"] {
        let id = ticket_with(&one, DigestRequest::Sha256).await;
        // Out of order, so that it is read.
        one.receive(id, chunk(1, 2, 2), None, body(&[b"i"])).await.unwrap();
        one.receive(id, chunk(0, 1, 2), None, body(&[b"h"])).await.unwrap();
        let mut delivery = one.next_delivery().await;
        assert!(matches!(delivery.begin().await.unwrap(), Begun::Unhashed));
        // Others wait before it.
        pass(15).await;
        if meanwhile != "nothing" {
            assert!(matches!(two.begin_call(id).await.unwrap(), Begun::Unhashed));
            if meanwhile == "done" {
                begin(&two, id).await.expect("it is due");
                two.end_call(id, CallResult::Done).await.unwrap();
                two.call_over(id, None, Duration::ZERO).await;
                cluster.reads_ms.store(100_000, Ordering::Relaxed);
            }
            let since = Instant::now();
            delivery.hash().await.expect("the other sees to it");
            assert!(since.elapsed() < Duration::from_secs(1), "nothing is read");
            assert!(matches!(delivery.begin().await.unwrap(), Begun::Nothing));
            drop(delivery);
            let call = begin(&two, id).await;
            assert_eq!(call.map(|it| it.attempt), (meanwhile == "taken").then_some(1));
            continue;
        }
        let turns = one.hashing.acquire_many(2).await.unwrap();
        let hashed = tokio::spawn(async move {
            delivery.hash().await.unwrap();
            delivery
        });
        for _ in 0..10 {
            cluster.pass(10).await;
            assert!(matches!(two.begin_call(id).await.unwrap(), Begun::Nothing), "it is held");
        }
        drop(turns);
        let mut delivery = hashed.await.unwrap();
        let Begun::Call(call) = delivery.begin().await.unwrap() else { panic!("it is hashed") };
        assert!(!call.upload.awaits_digest());
        delivery.finish(CallResult::Done).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_the_log_ends_its_call_before_another_makes_it() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 2), None, body(&[b"hi"])).await.unwrap();
    let mut delivery = one.next_delivery().await;
    assert!(matches!(delivery.begin().await.unwrap(), Begun::Call(_)));
    let clock = cluster.machine.clock.clone();
    let ticking = tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            clock.advance(Duration::from_millis(100));
        }
    });
    let lost = delivery.lost();
    tokio::pin!(lost);
    let longer = timeout(Duration::from_secs(31), &mut lost);
    assert!(longer.await.is_err());
    cluster.log.set_down(true);
    lost.await;
    ticking.abort();
    cluster.log.set_down(false);
    assert!(begin(&two, id).await.is_none(), "not yet");
    cluster.pass(3).await;
    assert!(begin(&two, id).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stops_leaves_what_it_holds_to_the_others_at_once() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 2), None, body(&[b"hi"])).await.unwrap();
    let mut delivery = one.next_delivery().await;
    assert!(matches!(delivery.begin().await.unwrap(), Begun::Call(_)));
    one.draining().cancel();
    drop(delivery);
    one.shut_down().await;
    one.release_holds().await;
    assert_eq!(begin(&two, id).await.expect("at once").attempt, 2);
    // One that is held by another server is not released.
    one.release_holds().await;
    assert!(begin(&one, id).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_complete_file_is_published_by_another_where_its_server_dies() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 4), None, body(&[b"ab"])).await.unwrap();
    // Its bytes count, and the bucket goes away before they are one file.
    let bytes = Bytes::from_static(b"cd");
    let (send, receive) = mpsc::unbounded_channel();
    send.send(Ok(bytes)).unwrap();
    drop(send);
    cluster.refuses_files.store(true, Ordering::Relaxed);
    let last = one.receive(id, chunk(2, 4, 4), None, Body(receive)).await;
    assert!(last.is_err(), "{last:?}");
    assert_eq!(held(&two, id).await, [(0, 4)]);
    assert_eq!(two.status(id).await.unwrap().state, StateName::Uploading);
    drop(one);
    cluster.refuses_files.store(false, Ordering::Relaxed);
    let sweeping = sweep(&two);
    cluster.pass(10).await;
    assert_eq!(two.status(id).await.unwrap().state, StateName::HandingOver);
    assert_eq!(cluster.files(id), ["abcd"]);
    sweeping.abort();
}

/// A client that repeats its last chunk at another server is answered within 5 s of the death; one server works alone as long
/// as it lives, and does no harm where it goes on later.
#[tokio::test(start_paused = true)]
async fn a_publish_is_taken_over_within_seconds() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 4), None, body(&[b"ab"])).await.unwrap();
    cluster.delays_files.store(true, Ordering::Relaxed);
    let sent = Arc::clone(&one);
    let last =
        tokio::spawn(async move { sent.receive(id, chunk(2, 4, 4), None, body(&[b"cd"])).await });
    cluster.pass(1).await;
    let meanwhile = two.receive(id, chunk(2, 4, 4), None, body(&[b"cd"])).await;
    assert!(matches!(meanwhile, Err(TransferError::Busy)), "it is held: {meanwhile:?}");
    cluster.set_still(1, true);
    cluster.delays_files.store(false, Ordering::Relaxed);
    let since = Instant::now();
    let status = two.receive(id, chunk(2, 4, 4), None, body(&[b"cd"])).await.unwrap();
    assert_eq!(status.state, StateName::HandingOver);
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
    cluster.set_still(1, false);
    assert_eq!(last.await.unwrap().unwrap().state, StateName::HandingOver);
    cluster.pass(60).await;
    assert_eq!(cluster.files(id), ["abcd"]);
    assert_eq!(one.status(id).await.unwrap().state, StateName::HandingOver);
}

/// A hundred pieces are read some at a time.
#[tokio::test(start_paused = true)]
async fn a_file_of_many_pieces_is_put_together_soon() {
    let cluster = Cluster::new();
    let one = cluster.start(1);
    let id = ticket(&one).await;
    let all = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(20);
    let all: &'static [u8] = all[..700].to_owned().leak().as_bytes();
    for (number, piece) in all.chunks(7).enumerate() {
        let start = number as u64 * 7;
        cluster.reads_ms.store(200, Ordering::Relaxed);
        let since = Instant::now();
        one.receive(id, chunk(start, start + 7, 700), None, body(&[piece])).await.unwrap();
        assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    }
    assert_eq!(one.status(id).await.unwrap().state, StateName::HandingOver);
    assert_eq!(cluster.files(id), [all]);
}

/// Of a publish, and of an end, whose server was killed behind it, nothing is left long before the end of what is kept.
#[tokio::test(start_paused = true)]
async fn what_a_killed_server_has_left_goes_soon() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let ids = [ticket(&one).await, ticket(&one).await, ticket(&one).await];
    let [published, finished, cancelled] = ids;
    for id in [published, finished] {
        one.receive(id, chunk(0, 2, 4), None, body(&[b"ab"])).await.unwrap();
        one.receive(id, chunk(2, 4, 4), None, body(&[b"cd"])).await.unwrap();
    }
    one.receive(cancelled, chunk(0, 2, 4), None, body(&[b"ab"])).await.unwrap();
    one.cancel(cancelled, String::new(), Notice::NotDue).await.unwrap();
    assert!(begin(&one, finished).await.is_some());
    one.end_call(finished, CallResult::Done).await.unwrap();
    ids.into_iter().for_each(|id| cluster.leave_fragment(id));
    drop(one);
    let sweeping = sweep(&two);
    cluster.pass(10).await;
    for (id, kept) in ids.into_iter().zip([1, 0, 0]) {
        assert_eq!((cluster.files(id).len(), cluster.objects(id).len()), (kept, kept));
        assert!(two.status(id).await.is_ok(), "it is known yet");
    }
    // Nothing more is asked of the bucket for them.
    ids.into_iter().for_each(|id| cluster.leave_fragment(id));
    cluster.pass(120).await;
    assert_eq!(cluster.objects(published).len(), 2);
    sweeping.abort();
}

#[tokio::test(start_paused = true)]
async fn backends_that_said_wait_have_the_time_of_settings_in_force_at_all_servers() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let within = |engine: &Engine, seconds| {
        let before = engine.options();
        let calls = RetryPolicy { confirm_timeout: Duration::from_secs(seconds), ..before.calls };
        Options { calls, ..(*before).clone() }
    };
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 2), None, body(&[b"hi"])).await.unwrap();
    let says_wait = async |engine: &Arc<Engine>, attempt| {
        // Not waited for: time would pass.
        assert_eq!(engine.outbox().pending().0, 1, "it is due");
        let mut delivery = engine.next_delivery().await;
        let Begun::Call(call) = delivery.begin().await.unwrap() else { panic!("it is due") };
        assert_eq!(call.attempt, attempt);
        delivery.finish(CallResult::Wait).await.unwrap();
    };
    says_wait(&one, 1).await;
    let sweeping = sweep(&two);
    cluster.pass(1).await;
    // Sooner, later, and sooner by a server that came later.
    [&one, &two].into_iter().for_each(|engine| engine.set_options(&within(engine, 60)));
    cluster.pass(55).await;
    assert_eq!(two.outbox().pending().0, 0, "it has a minute");
    cluster.pass(8).await;
    says_wait(&two, 2).await;
    [&one, &two].into_iter().for_each(|engine| engine.set_options(&within(engine, 120)));
    cluster.pass(115).await;
    assert_eq!(two.outbox().pending().0, 0, "it has two");
    cluster.pass(8).await;
    says_wait(&two, 3).await;
    sweeping.abort();
    let three = cluster.start(3);
    let sweeping = sweep(&three);
    three.set_options(&within(&three, 30));
    cluster.pass(25).await;
    assert_eq!(three.outbox().pending().0, 0, "it has half a minute");
    cluster.pass(8).await;
    says_wait(&three, 4).await;
    sweeping.abort();
}

/// Read one after the other, they would be free to others before all are read.
#[tokio::test(start_paused = true)]
async fn calls_that_are_taken_are_read_several_at_a_time() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    for _ in 0..16 {
        let id = ticket(&one).await;
        one.receive(id, chunk(0, 2, 2), None, body(&[b"hi"])).await.unwrap();
    }
    cluster.log_reads_ms.store(1000, Ordering::Relaxed);
    let sweeping = sweep(&two);
    cluster.pass(10).await;
    assert_eq!(two.outbox().pending().0, 16);
    sweeping.abort();
}

/// An operator's retry comes between the record of a call's end and the word that the next one waits.
#[tokio::test(start_paused = true)]
async fn a_retry_in_the_moment_of_a_calls_end_is_not_put_off() {
    let cluster = Cluster::new();
    let [one, two, three] = [1, 2, 3].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 2), None, body(&[b"hi"])).await.unwrap();
    let mut delivery = one.next_delivery().await;
    assert!(matches!(delivery.begin().await.unwrap(), Begun::Call(_)));
    cluster.log.pass(Duration::from_secs(1));
    let since = one.end_call(id, CallResult::Wait).await.unwrap();
    assert!(since.is_some());
    cluster.log.pass(Duration::from_secs(1));
    two.retry(id).await.unwrap();
    one.shared_call_over(id, since, Duration::from_secs(300)).await;
    let sweeping = sweep(&three);
    cluster.pass(3).await;
    assert_eq!(three.outbox().pending().0, 1, "it is due at once");
    sweeping.abort();
}
