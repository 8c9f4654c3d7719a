//! A disk that does not take one upload's bytes holds up that upload, and nobody else on its thread.

use super::*;
use crate::engine::slow_disk::SLOW_WRITE;
use tokio::time::Instant;

#[tokio::test]
async fn a_disk_that_hangs_stalls_nobody_else() {
    let cases = [
        (Durability::Written, Step::Allocate),
        (Durability::Written, Step::Write),
        (Durability::Durable, Step::Write),
    ];
    for (ack, step) in cases {
        let machine = Machine::default();
        let engine = machine.start(ack);
        let (slow, quick) = (ticket(&engine).await, ticket(&engine).await);
        // A write has just had to wait, so that the next ones leave the worker; there is only one.
        engine.slow_disk.wrote(SLOW_WRITE, Instant::now());
        machine.store.hold(Some((slow, step)));
        let stuck = tokio::spawn({
            let engine = Arc::clone(&engine);
            async move { engine.receive(slow, chunk(0, 5, 10), None, body(&[b"hello"])).await }
        });
        while machine.store.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        engine.receive(quick, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
        assert_eq!(held(&engine, quick).await, [(0, 5)]);
        assert_eq!(held(&engine, slow).await, []);
        assert!(!stuck.is_finished());
        machine.store.hold(None);
        stuck.await.unwrap().unwrap();
        assert_eq!(held(&engine, slow).await, [(0, 5)]);
    }
}

#[tokio::test]
async fn who_waits_for_a_slow_disk_can_be_taken_over() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    engine.slow_disk.wrote(SLOW_WRITE, Instant::now());
    let others = engine.slow_disk.permit(usize::MAX).await.unwrap();
    let send = |bytes: &'static [u8]| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { engine.receive(id, chunk(0, 5, 5), None, body(&[bytes])).await })
    };
    let older = send(b"older");
    while engine.stats.chunks_in_flight.value() < 1 {
        tokio::task::yield_now().await;
    }
    let newer = send(b"newer");
    assert!(matches!(older.await.unwrap(), Err(TransferError::Superseded)));
    assert_eq!(held(&engine, id).await, [], "nothing is written while others have all permits");
    drop(others);
    newer.await.unwrap().unwrap();
    let mut file = Vec::new();
    machine.store.read(id).unwrap().read_to_end(&mut file).unwrap();
    assert_eq!(file, b"newer");
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_slow_for_as_long_as_a_write_hangs() {
    let disk = crate::engine::slow_disk::SlowDisk::new(Instant::now(), 1 << 20);
    let (let_go, held) = tokio::sync::oneshot::channel::<()>();
    let hour = Duration::from_secs(3600);
    tokio::select! {
        _ = disk.during(held) => panic!("it hangs"),
        () = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(disk.is_slow(Instant::now()));
            tokio::time::sleep(hour).await;
            assert!(disk.is_slow(Instant::now()));
        } => {}
    }
    drop(let_go);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!disk.is_slow(Instant::now()));
}
