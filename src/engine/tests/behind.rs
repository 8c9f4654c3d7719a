//! A journal that several engines share: who is behind reads on and decides anew. The files are of one disk, which the
//! engines do not write to at the same time here.

use super::*;
use crate::storage::memory::logs::MemoryLogs;

/// Two engines on one journal and one disk.
fn two(machine: &Machine, logs: &MemoryLogs) -> [Arc<Engine>; 2] {
    let options = machine.start(Durability::Durable).options();
    [(); 2].map(|()| {
        machine.start(Durability::Durable);
        let (logs, clock) = (Arc::new(logs.clone()), Arc::new(machine.clock.clone()));
        Engine::new((*options).clone(), machine.storage(), logs, clock)
    })
}

#[tokio::test]
async fn who_is_behind_applies_what_others_recorded_and_decides_anew() {
    let (machine, logs) = (Machine::default(), MemoryLogs::default());
    let [one, other] = two(&machine, &logs);
    let id = ticket(&one).await;
    for engine in [&one, &other] {
        assert_eq!(engine.status(id).await.unwrap().state, StateName::New);
    }
    one.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
    // The other knows nothing of it, and the first byte of what it gets is stored already.
    let status = other.receive(id, chunk(4, 8, 10), None, body(&[b"o wo"])).await.unwrap();
    assert_eq!((status.offset(), status.length), (8, Some(10)));
    assert_eq!(held(&other, id).await, [(0, 8)]);
    // Now the first is behind, and its chunk is the last: it publishes all of them.
    let status = one.receive(id, chunk(8, 10, 10), None, body(&[b"rl"])).await.unwrap();
    assert_eq!(status.state, StateName::HandingOver);
    assert_eq!(machine.store.file(id).unwrap(), b"hello worl");
    // What is over by another's word is over: nothing is decided by what was known before.
    let appends = logs.appends(id);
    let late = other.cancel(id, "late".into(), Notice::NotDue).await;
    assert!(matches!(late, Err(ChangeError::Refused(_))), "{late:?}");
    assert_eq!(logs.appends(id), appends, "nothing was appended");
    assert_eq!(other.status(id).await.unwrap().state, StateName::HandingOver);
    for engine in [&one, &other] {
        assert_eq!(engine.stats().faults.get(), 0);
        assert!(held(engine, id).await == [(0, 10)]);
    }
}

#[tokio::test]
async fn an_upload_that_another_forgot_is_unknown() {
    use crate::storage::journal::Journal as _;
    let (machine, logs) = (Machine::default(), MemoryLogs::default());
    let [one, other] = two(&machine, &logs);
    let id = ticket(&one).await;
    other.status(id).await.unwrap();
    one.cancel(id, String::new(), Notice::NotDue).await.unwrap();
    machine.clock.advance(Duration::from_secs(4000));
    logs.remove(id, None).await.unwrap();
    let late = other.cancel(id, String::new(), Notice::NotDue).await;
    assert!(matches!(late, Err(ChangeError::Unknown)), "{late:?}");
    assert!(other.status(id).await.is_err(), "it has left memory");
}

/// However often another is first, a change comes through.
#[tokio::test]
async fn two_that_write_at_once_both_come_through() {
    let (machine, logs) = (Machine::default(), MemoryLogs::default());
    let [one, other] = two(&machine, &logs);
    let id = ticket(&one).await;
    let send = |engine: &Arc<Engine>, odd: u64| {
        let engine = Arc::clone(engine);
        tokio::spawn(async move {
            for number in 0..50 {
                let at = 2 * number + odd;
                let put = engine.receive(id, chunk(at, at + 1, 200), None, body(&[b"x"])).await;
                put.unwrap();
            }
        })
    };
    let (first, second) = (send(&one, 0), send(&other, 1));
    first.await.unwrap();
    second.await.unwrap();
    // One more makes sure that each has seen all.
    one.receive(id, chunk(100, 101, 200), None, body(&[b"x"])).await.unwrap();
    assert_eq!(held(&one, id).await, [(0, 101)]);
    assert_eq!(logs.appends(id), 101, "each byte was appended once");
}
