//! Partial uploads that become one file: whatever happens meanwhile, their bytes are in the parts or in the file.

use super::*;
use crate::core::upload::Role;
use crate::engine::error::{Fault, JoinError};
use crate::engine::join::Joinable;
use std::collections::BTreeMap;

const PARTS: [&[u8]; 3] = [b"hello ", b"", b"world"];

/// A partial upload with these bytes.
async fn part(engine: &Arc<Engine>, bytes: &'static [u8]) -> TicketId {
    let id = ticket(engine).await;
    engine.make_partial(id).await.unwrap();
    let length = bytes.len() as u64;
    engine.bind(id, FileFacts { length: Some(length), ..FileFacts::default() }).await.unwrap();
    if length > 0 {
        engine.receive(id, chunk(0, length, length), None, body(&[bytes])).await.unwrap();
    }
    id
}

async fn parts(engine: &Arc<Engine>) -> Vec<TicketId> {
    let mut ids = Vec::new();
    for bytes in PARTS {
        ids.push(part(engine, bytes).await);
    }
    ids
}

fn file(machine: &Machine, id: TicketId) -> Option<String> {
    machine.store.file(id).map(|bytes| String::from_utf8(bytes).unwrap())
}

/// A join that waits with its first copied byte until the store lets it go.
async fn held_join(
    machine: &Machine,
    engine: &Arc<Engine>,
    into: TicketId,
    ids: &[TicketId],
) -> tokio::task::JoinHandle<Result<TicketId, JoinError>> {
    machine.store.hold(Some((into, Step::Write)));
    let (engine, ids) = (Arc::clone(engine), ids.to_vec());
    let join = tokio::spawn(async move { engine.join(into, &ids, Notice::Due).await });
    while machine.store.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    join
}

fn refused(result: Result<TicketId, JoinError>, number: usize, expected: Option<&Refusal>) {
    let error = result.unwrap_err();
    let JoinError::Part(part) = &error else { panic!("{error:?}") };
    assert_eq!((part.number, part.refusal.as_ref()), (number, expected));
}

#[tokio::test]
async fn parts_become_one_file_and_go() {
    for ack in [Durability::Durable, Durability::Written] {
        let machine = Machine::default();
        let engine = machine.start(ack);
        let ids = parts(&engine).await;
        for (id, bytes) in ids.iter().zip(PARTS) {
            let status = engine.status(*id).await.unwrap();
            assert_eq!((status.state, status.offset()), (StateName::Uploading, bytes.len() as u64));
            assert!(status.is_complete() && status.expires.is_some() && status.location.is_none());
        }
        assert_eq!(engine.check_parts(&ids).await.unwrap(), Joinable::New(11));
        let into = ticket(&engine).await;
        assert_eq!(engine.join(into, &ids, Notice::Due).await.unwrap(), into);
        assert_eq!(file(&machine, into).as_deref(), Some("hello world"));
        assert_eq!(engine.status(into).await.unwrap().state, StateName::HandingOver);
        for id in &ids {
            let status = engine.status(*id).await.unwrap();
            assert_eq!((status.state, status.is_complete()), (StateName::Finished, true));
            assert_eq!(status.role, Role::Partial { into: Some(into) });
            assert_eq!((machine.store.part(*id), machine.store.file(*id)), (None, None));
            assert!(begin(&engine, *id).await.is_none(), "a part is handed over");
        }
        // The same parts again are the same file, other ones cannot be.
        assert_eq!(engine.check_parts(&ids).await.unwrap(), Joinable::Joined(into));
        let (again, other) = (ticket(&engine).await, ticket(&engine).await);
        assert_eq!(engine.join(again, &ids, Notice::NotDue).await.unwrap(), into);
        assert_eq!(engine.status(again).await.unwrap().state, StateName::Cancelled);
        refused(engine.join(other, &ids[..1], Notice::NotDue).await, 1, Some(&Refusal::PartTaken));
        // It takes no bytes, and is handed over once.
        let late = engine.receive(into, chunk(0, 5, 11), None, body(&[b"HELLO"])).await;
        assert!(matches!(late, Err(TransferError::Refused(Refusal::MadeOfParts))), "{late:?}");
        assert_eq!(engine.next_due().await, into);
        assert!(begin(&engine, into).await.is_some());
        engine.end_call(into, CallResult::Done).await.unwrap();
        assert_eq!(engine.stats().finished.get(), 1);
        engine.wait_idle().await;
        assert_eq!(engine.stats().uploads_open.value(), 0);
    }
}

#[tokio::test]
async fn what_cannot_be_joined_leaves_the_parts_as_they_were() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let ids = parts(&engine).await;
    let whole = ticket(&engine).await;
    let short = ticket(&engine).await;
    engine.make_partial(short).await.unwrap();
    engine.receive(short, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
    let gone = part(&engine, b"x").await;
    engine.cancel(gone, "x".into(), Notice::Due).await.unwrap();
    assert!(begin(&engine, gone).await.is_none(), "a part is nothing that a backend knows");
    let unknown = TicketId::from_random([99; 16]);
    let over = Refusal::UploadOver(crate::core::refusal::Terminal::Cancelled);
    let lacking = Refusal::PartUnfinished { offset: 5, length: Some(10) };
    for (odd, expected) in [
        (whole, Some(Refusal::NotPartial)),
        (short, Some(lacking)),
        (gone, Some(over)),
        (unknown, None),
    ] {
        let list = [ids[0], ids[1], odd, ids[2]];
        let checked = engine.check_parts(&list).await;
        refused(checked.map(|_| odd), 3, expected.as_ref());
        let into = ticket(&engine).await;
        refused(engine.join(into, &list, Notice::NotDue).await, 3, expected.as_ref());
        assert_eq!(engine.status(into).await.unwrap().state, StateName::Cancelled);
    }
    for (list, text) in [
        (vec![], "no partial upload is named"),
        (vec![ids[0], ids[2], ids[0]], "partial upload 3 is named twice"),
        (vec![ids[0]; 257], "257 partial uploads are named, at most 256 are joined"),
    ] {
        assert_eq!(engine.check_parts(&list).await.unwrap_err().to_string(), text);
    }
    // A ticket for less, and one that is in use.
    let wish = NewUpload { max_bytes: Some(10), ..wish() };
    let small = engine.new_upload(wish).await.unwrap().0;
    let large = engine.join(small, &ids, Notice::NotDue).await.unwrap_err();
    let expected = Refusal::FileTooLarge { file: 11, limit: 10 };
    assert!(
        matches!(&large, JoinError::Change(ChangeError::Refused(it)) if *it == expected),
        "{large}"
    );
    let used = ticket(&engine).await;
    engine.receive(used, chunk(0, 1, 11), None, body(&[b"h"])).await.unwrap();
    for list in [&ids[..], &[ids[0], unknown], &[ids[1]]] {
        let error = engine.join(used, list, Notice::NotDue).await.unwrap_err();
        let in_use = matches!(error, JoinError::Change(ChangeError::Refused(Refusal::InUse)));
        assert!(in_use, "{error}");
        assert_eq!(held(&engine, used).await, [(0, 1)], "the bytes of another client are gone");
    }
    // A full disk.
    machine.store.set_free_bytes(1005);
    let into = ticket(&engine).await;
    let full = engine.join(into, &ids, Notice::NotDue).await.unwrap_err();
    assert!(matches!(full, JoinError::Change(ChangeError::NoSpace)), "{full}");
    assert_eq!(machine.store.part(into), None, "what was copied is given back");
    machine.store.set_free_bytes(1 << 40);
    let into = ticket(&engine).await;
    engine.join(into, &ids, Notice::NotDue).await.unwrap();
    assert_eq!(file(&machine, into).as_deref(), Some("hello world"));
}

/// Both ask at once: one file, and both are told of it.
#[tokio::test]
async fn the_same_parts_at_once_are_joined_once() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let ids = parts(&engine).await;
    let (one, two) = (ticket(&engine).await, ticket(&engine).await);
    let (first, second) = tokio::join!(
        engine.join(one, &ids, Notice::NotDue),
        engine.join(two, &ids, Notice::NotDue),
    );
    assert_eq!(first.unwrap(), second.unwrap());
    let found = [one, two].map(|id| file(&machine, id));
    assert_eq!(found.iter().flatten().count(), 1, "{found:?}");
}

/// While they are copied, parts are neither cancelled nor joined elsewhere, and the final upload takes no bytes.
#[tokio::test]
async fn parts_that_are_being_joined_stay() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let ids = parts(&engine).await;
    let (into, other) = (ticket(&engine).await, ticket(&engine).await);
    let join = held_join(&machine, &engine, into, &ids).await;
    let cancelled = engine.cancel(ids[2], "x".into(), Notice::Due).await;
    assert!(matches!(cancelled, Err(ChangeError::Refused(Refusal::PartTaken))), "{cancelled:?}");
    let list = [ids[2], ids[0]];
    refused(engine.join(other, &list, Notice::NotDue).await, 1, Some(&Refusal::PartTaken));
    let status = engine.status(into).await.unwrap();
    assert_eq!((status.length, status.offset(), status.is_complete()), (Some(11), 0, false));
    let late = engine.receive(into, chunk(0, 5, 11), None, body(&[b"HELLO"])).await;
    assert!(matches!(late, Err(TransferError::Refused(Refusal::MadeOfParts))), "{late:?}");
    machine.store.hold(None);
    assert_eq!(join.await.unwrap().unwrap(), into);
    assert_eq!(file(&machine, into).as_deref(), Some("hello world"));
}

/// A server that dies at its step number `steps`, counted in what it does to parts, files and journals. `None` once it gets to
/// the end of the join before.
async fn dies_after(machine: &Machine, ack: Durability, steps: u64) -> Option<Vec<TicketId>> {
    let left = Arc::new(AtomicU64::new(u64::MAX));
    let count = |left: &Arc<AtomicU64>| {
        let left = Arc::clone(left);
        move || {
            let before =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1));
            if before.is_ok() { Fate::Happens } else { Fate::DEAD }
        }
    };
    let (fate, other) = (count(&left), count(&left));
    let judged = Machine {
        store: machine.store.judged(Arc::new(move |_, _, _| fate())),
        journals: machine.journals.judged(Arc::new(move |_, _, _| other())),
        ..machine.clone()
    };
    let engine = judged.start(ack);
    let ids = parts(&engine).await;
    let into = ticket(&engine).await;
    left.store(steps, Ordering::SeqCst);
    let joined = engine.join(into, &ids, Notice::Due).await;
    engine.wait_idle().await;
    if left.load(Ordering::SeqCst) > 0 {
        assert_eq!(joined.unwrap(), into);
        return None;
    }
    left.store(0, Ordering::SeqCst);
    Some(ids)
}

async fn survives_a_death_at_every_step(ack: Durability, power: bool) {
    for steps in 0..1000 {
        let machine = Machine::default();
        let Some(ids) = dies_after(&machine, ack, steps).await else {
            assert!(steps > 20, "it ended after {steps} steps");
            return;
        };
        if power {
            machine.cut_power();
        }
        let engine = machine.start(ack);
        let sweep = tokio::spawn(Arc::clone(&engine).sweep());
        // What a client does: it asks for its parts, and for the file anew.
        let into = match engine.check_parts(&ids).await.unwrap() {
            Joinable::Joined(into) => into,
            Joinable::New(bytes) => {
                assert_eq!(bytes, 11);
                let into = ticket(&engine).await;
                engine.join(into, &ids, Notice::Due).await.unwrap()
            }
        };
        assert_eq!(file(&machine, into).as_deref(), Some("hello world"), "{steps}");
        // Whatever was left over by the dead one comes to an end.
        loop {
            let page = engine.list(None, None, 100).await.unwrap();
            let left = ids.iter().all(|id| machine.store.part(*id).is_none());
            let mut states = BTreeMap::new();
            page.uploads.iter().for_each(|it| *states.entry(it.state.word()).or_insert(0) += 1);
            let open = page.uploads.iter().any(|it| {
                matches!(it.role, Role::Final { .. }) && it.state == StateName::Uploading
            });
            if !open && states.get("finished") == Some(&3) && left {
                assert_eq!(states.get("handing_over"), Some(&1), "{steps} {states:?}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        engine.draining().cancel();
        sweep.await.unwrap();
        engine.wait_idle().await;
    }
}

#[tokio::test]
async fn a_kill_at_any_step_loses_nothing() {
    for ack in [Durability::Durable, Durability::Written] {
        survives_a_death_at_every_step(ack, false).await;
    }
}

#[tokio::test]
async fn a_power_cut_at_any_step_loses_nothing() {
    survives_a_death_at_every_step(Durability::Durable, true).await;
}

/// With `ack = written`: what a power cut leaves of a part is a part, and one that was taken has its bytes.
#[tokio::test]
async fn a_power_cut_leaves_parts_what_they_are() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let ids = parts(&engine).await;
    drop(engine);
    machine.cut_power();
    let engine = machine.start(Durability::Written);
    let marked = async |engine: &Arc<Engine>| {
        for id in &ids {
            let status = engine.status(*id).await.unwrap();
            assert!(matches!(status.role, Role::Partial { .. }), "{status:?}");
        }
    };
    marked(&engine).await;
    assert_eq!(held(&engine, ids[0]).await, [], "its bytes were only written");
    let facts = |length| FileFacts { length: Some(length), ..FileFacts::default() };
    for (id, bytes) in ids.iter().zip(PARTS) {
        let length = bytes.len() as u64;
        engine.bind(*id, facts(length)).await.unwrap();
        if length > 0 {
            engine.receive(*id, chunk(0, length, length), None, body(&[bytes])).await.unwrap();
        }
    }
    let into = ticket(&engine).await;
    machine.store.fail(Some((Step::Write, io::ErrorKind::Other)));
    engine.join(into, &ids, Notice::Due).await.unwrap_err();
    machine.store.fail(None);
    engine.wait_idle().await;
    drop(engine);
    machine.cut_power();
    let engine = machine.start(Durability::Written);
    marked(&engine).await;
    assert_eq!(held(&engine, ids[0]).await, [(0, 6)]);
    assert_eq!(engine.check_parts(&ids).await.unwrap(), Joinable::Joined(into));
    assert_eq!(file(&machine, into).as_deref(), Some("hello world"));
}

#[tokio::test]
async fn a_disk_that_fails_stops_the_final_upload_until_a_restart() {
    for step in [Step::Write, Step::Sync, Step::Publish] {
        let machine = Machine::default();
        let engine = machine.start(Durability::Durable);
        let ids = parts(&engine).await;
        let into = ticket(&engine).await;
        machine.store.fail(Some((step, io::ErrorKind::Other)));
        let failed = engine.join(into, &ids, Notice::Due).await.unwrap_err();
        assert!(matches!(failed, JoinError::Change(ChangeError::Fault(_))), "{step:?} {failed}");
        machine.store.fail(None);
        // Who asks again is told so at once: nobody hears of a file that is not in its place.
        let again = engine.check_parts(&ids).await;
        let faulted = matches!(again, Err(JoinError::Change(ChangeError::Fault(_))));
        assert!(faulted, "{step:?} {again:?}");
        engine.wait_idle().await;
        drop(engine);
        let engine = machine.start(Durability::Durable);
        let into = match engine.check_parts(&ids).await.unwrap() {
            Joinable::Joined(into) => into,
            Joinable::New(_) => {
                engine.join(ticket(&engine).await, &ids, Notice::Due).await.unwrap()
            }
        };
        assert_eq!(file(&machine, into).as_deref(), Some("hello world"), "{step:?}");
    }
}

/// Nor does anyone wait for a join that a fault of a part prevents.
#[tokio::test(start_paused = true)]
async fn a_part_on_a_failing_disk_is_told_at_once() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let ids = parts(&engine).await;
    let into = ticket(&engine).await;
    let join = held_join(&machine, &engine, into, &ids).await;
    engine.draining().cancel();
    machine.store.hold(None);
    join.await.unwrap().unwrap_err();
    engine.wait_idle().await;
    drop(engine);
    let engine = machine.start(Durability::Written);
    let last = engine.find(ids[2]).await.unwrap();
    engine.latch(&last, Fault("its disk".into()));
    let told = engine.check_parts(&ids).await;
    assert!(matches!(told, Err(JoinError::Change(ChangeError::Fault(_)))), "{told:?}");
}

/// A stop does not wait for the copy, and the next start goes on with it.
#[tokio::test]
async fn a_stop_leaves_the_join_to_the_next_start() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let ids = parts(&engine).await;
    let into = ticket(&engine).await;
    let join = held_join(&machine, &engine, into, &ids).await;
    engine.draining().cancel();
    machine.store.hold(None);
    assert!(matches!(join.await.unwrap(), Err(JoinError::Draining)));
    engine.wait_idle().await;
    drop(engine);
    let engine = machine.start(Durability::Durable);
    let sweep = tokio::spawn(Arc::clone(&engine).sweep());
    assert_eq!(engine.next_due().await, into);
    assert_eq!(file(&machine, into).as_deref(), Some("hello world"));
    engine.draining().cancel();
    sweep.await.unwrap();
}
