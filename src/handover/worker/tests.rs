//! What answers mean, and what a place is taken for.

use super::super::client::{self, Unreadable};
use super::*;
use crate::core::command::FileFacts;
use crate::core::event::{DigestRequest, Durability};
use crate::core::id::TicketId;
use crate::core::limits::Limits;
use crate::core::retry::RetryPolicy;
use crate::engine::options::Tuning;
use crate::engine::tickets::NewUpload;
use crate::engine::{self};
use crate::storage::clock::SystemClock;
use crate::storage::local::blocking::Blocking;
use crate::storage::local::options::LocalOptions;
use crate::storage::local::storage::LocalStorage;
use crate::storage::memory::journals::MemoryJournals;
use crate::storage::memory::store::{Fate, MemoryStore, Step};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

#[test]
fn answers() {
    let check = |kind, status, word: &str, done: Option<CallResult>| {
        let answer =
            Answer { status, word: Ok(word.to_owned()), retry_after: None, clock_off: None };
        let result = decide(kind, &answer);
        match done {
            Some(expected) => assert_eq!(result, expected, "{kind:?} {status} {word}"),
            None => {
                assert!(matches!(result, CallResult::Unanswered(_)), "{kind:?} {status} {word}")
            }
        }
    };
    check(CallKind::Handover, 200, "done", Some(CallResult::Done));
    check(CallKind::Handover, 200, "wait", Some(CallResult::Wait));
    check(CallKind::Handover, 200, "", None);
    check(CallKind::Handover, 200, "done?", None);
    check(CallKind::Handover, 201, "done", None);
    check(CallKind::Handover, 302, "done", None);
    check(CallKind::Handover, 404, "", None);
    check(CallKind::CancelNotice, 200, "", Some(CallResult::Done));
    check(CallKind::CancelNotice, 204, "", Some(CallResult::Done));
    check(CallKind::CancelNotice, 404, "no", Some(CallResult::Done));
    check(CallKind::CancelNotice, 410, "", Some(CallResult::Done));
    check(CallKind::CancelNotice, 500, "done", None);
    check(CallKind::CancelNotice, 302, "", None);
    let unreadable = |kind| {
        decide(
            kind,
            &Answer {
                status: 200,
                word: Err(Unreadable::Utf16),
                retry_after: None,
                clock_off: None,
            },
        )
    };
    assert_eq!(unreadable(CallKind::CancelNotice), CallResult::Done);
    let CallResult::Unanswered(why) = unreadable(CallKind::Handover) else { panic!() };
    assert!(why.contains("UTF-16"), "{why}");
}

#[test]
fn a_refused_signature_may_be_the_clocks_doing() {
    let said = |clock_off: Option<u64>| {
        let clock_off = clock_off.map(Duration::from_secs);
        let word = Ok(String::new());
        late("no".into(), &Answer { status: 401, word, retry_after: None, clock_off })
    };
    assert_eq!([said(None), said(Some(60))], ["no", "no"]);
    assert_eq!(said(Some(400)), "no; its clock and this one are 400 s apart");
}

const HOUR: Duration = Duration::from_secs(3600);

fn engine(store: MemoryStore) -> Arc<Engine> {
    let options = engine::options::Options {
        ack: Durability::Durable,
        limits: Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None },
        max_uploads: 100,
        min_free_bytes: 1000,
        max_idle: HOUR,
        retain_finished: HOUR,
        failed_retention: HOUR,
        call_timeout: std::time::Duration::from_secs(55),
        calls: RetryPolicy { confirm_timeout: HOUR, retry_for: HOUR },
        body_timeout: HOUR,
        min_rate: 0,
        tuning: Tuning::default(),
    };
    let (store, journals) = (Arc::new(store), Arc::new(MemoryJournals::default()));
    let (clock, local) = (Arc::new(SystemClock), LocalOptions::new(options.ack, 1000, 1 << 20));
    let storage = LocalStorage::new(store, journals, clock.clone(), local, Blocking::Threads);
    Engine::new(options, storage.clone(), storage, clock)
}

/// An upload without a byte, complete.
async fn completed(engine: &Arc<Engine>, finish_url: &str, digest: DigestRequest) -> TicketId {
    let wish = NewUpload { length: Some(0), digest, ..NewUpload::new(finish_url.into()) };
    let id = engine.new_upload(wish).await.unwrap().0;
    engine.bind(id, FileFacts { length: Some(0), ..FileFacts::default() }).await.unwrap();
    id
}

#[tokio::test]
async fn issue_13_files_that_are_hashed_take_no_place_of_a_call() {
    let (open, opened) = mpsc::channel::<()>();
    let opened = Mutex::new(opened);
    let hangs = move |_, step, _| {
        if step == Step::Read {
            let _ = opened.lock().unwrap().recv();
        }
        Fate::Happens
    };
    let engine = engine(MemoryStore::default().judged(Arc::new(hangs)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // More than a destination has places that was not called yet.
    for _ in 0..6 {
        completed(&engine, &url, DigestRequest::Sha256).await;
    }
    let id = completed(&engine, &url, DigestRequest::None).await;
    let client = client::Options { timeout: HOUR, allow: Vec::new() };
    let client = Arc::new(ArcSwap::from_pointee(Client::new(client)));
    let (stop, cut, calls) =
        (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    let running =
        run(Arc::clone(&engine), client, MAX_CALLS, stop.clone(), cut.clone(), calls.clone());
    let running = tokio::spawn(running);
    let called = async {
        let (mut io, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        while !String::from_utf8_lossy(&heard).contains(&id.to_string()) {
            assert_ne!(io.read_buf(&mut heard).await.unwrap(), 0);
        }
    };
    let called = tokio::time::timeout(Duration::from_secs(20), called).await;
    // Before anything fails: the reads would hold up the end of the test.
    drop(open);
    called.expect("a file that needs no hashing is called about");
    stop.cancel();
    cut.cancel();
    running.await.unwrap();
    calls.close();
    calls.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_is_kept_while_its_end_waits_and_ends_where_it_is_lost() {
    let minute = Duration::from_secs(60);
    let renewals = AtomicU32::new(0);
    let renews = async {
        loop {
            tokio::time::sleep(Duration::from_secs(3)).await;
            renewals.fetch_add(1, Ordering::Relaxed);
        }
    };
    let turn = || async {
        tokio::time::sleep(minute).await;
        7
    };
    assert_eq!(held(turn(), renews).await, 7);
    assert_eq!(renewals.into_inner(), 19);
    assert_eq!(held(turn(), async {}).await, 7);
}
