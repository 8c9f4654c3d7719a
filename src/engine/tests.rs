//! The engine over stores in memory: what a failing disk, a power cut and a rival request may and
//! may not do.

use super::delivery::{Begun, Call, CallKind, CallResult};
use super::error::{ChangeError, ClientFault, TransferError};
use super::options::{Options, Tuning};
use super::tickets::NewUpload;
use super::*;
use crate::core::command::{At, BodyScope, FileFacts, Offer};
use crate::core::digest::ChunkDigest;
use crate::core::event::{DigestRequest, Durability, Notice, Removal};
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::Limits;
use crate::core::refusal::Refusal;
use crate::core::retry::RetryPolicy;
use crate::core::state::StateName;
use crate::storage::local::blocking::Blocking;
use crate::storage::local::files::Files as _;
use crate::storage::local::journal_files::JournalFiles;
use crate::storage::local::options::LocalOptions;
use crate::storage::local::storage::LocalStorage;
use crate::storage::memory::journals::MemoryJournals;
use crate::storage::memory::store::{Fate, MemoryStore, Step};
use bytes::Bytes;
use futures_core::Stream;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

mod ahead;
mod behind;
mod cluster;
mod damaged_journals;
mod delivery;
mod failing_disk;
mod join;
mod journals;
mod offset;
mod over_time;
mod overview;
mod scan;
mod shared;
mod slow_disk;
mod uptime;

use uptime::HandClock;

/// Memory that outlives engines: a new engine on it is a restart.
#[derive(Clone, Default)]
struct Machine {
    store: MemoryStore,
    journals: MemoryJournals,
    clock: HandClock,
    tune: Tune,
    storage: Arc<Mutex<Option<Arc<LocalStorage>>>>,
}

#[derive(Clone)]
struct Tune(fn(&mut LocalOptions));

impl Default for Tune {
    fn default() -> Self {
        Self(|_| {})
    }
}

impl Machine {
    fn start(&self, ack: Durability) -> Arc<Engine> {
        self.start_with(ack, Duration::from_secs(600))
    }

    fn start_with(&self, ack: Durability, retry_for: Duration) -> Arc<Engine> {
        let options = Options {
            ack,
            limits: Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None },
            max_uploads: 100,
            min_free_bytes: 1000,
            max_idle: Duration::from_secs(3600),
            retain_finished: Duration::from_secs(3600),
            failed_retention: Duration::from_secs(3600),
            call_timeout: std::time::Duration::from_secs(55),
            calls: RetryPolicy { confirm_timeout: Duration::from_secs(600), retry_for },
            body_timeout: Duration::from_secs(30),
            min_rate: 0,
            tuning: Tuning::default(),
        };
        self.start_as(options)
    }

    fn start_as(&self, options: Options) -> Arc<Engine> {
        self.start_over(options, Arc::new(self.journals.clone()))
    }

    fn start_over(&self, options: Options, journals: Arc<dyn JournalFiles>) -> Arc<Engine> {
        let (store, clock) = (Arc::new(self.store.clone()), Arc::new(self.clock.clone()));
        let mut local = LocalOptions::new(options.ack, options.min_free_bytes, 1 << 20);
        self.tune.0(&mut local);
        let storage = LocalStorage::new(store, journals, clock.clone(), local, Blocking::Threads);
        *self.storage.lock().unwrap() = Some(Arc::clone(&storage));
        Engine::new(options, storage.clone(), storage, clock)
    }

    /// The same, whose storage is used so.
    fn tuned(&self, tune: fn(&mut LocalOptions)) -> Self {
        Self { tune: Tune(tune), ..self.clone() }
    }

    /// The storage of the engine that was started last.
    fn storage(&self) -> Arc<LocalStorage> {
        self.storage.lock().unwrap().clone().unwrap()
    }

    fn cut_power(&self) {
        self.store.cut_power();
        self.journals.cut_power();
    }
}

fn wish() -> NewUpload {
    NewUpload { secret: "secret".into(), ..NewUpload::new("http://backend/done".into()) }
}

async fn ticket(engine: &Arc<Engine>) -> TicketId {
    engine.new_upload(wish()).await.unwrap().0
}

async fn ticket_with(engine: &Arc<Engine>, digest: DigestRequest) -> TicketId {
    engine.new_upload(NewUpload { digest, ..wish() }).await.unwrap().0
}

/// The call that is pending, its file hashed if it has to be.
async fn begin(engine: &Arc<Engine>, id: TicketId) -> Option<Call> {
    loop {
        match engine.begin_call(id).await.unwrap() {
            Begun::Call(call) => return Some(call),
            Begun::Unhashed => engine.hash_file(id).await.unwrap(),
            Begun::Nothing => return None,
        }
    }
}

/// A body whose frames a test sends when it likes.
struct Body(mpsc::UnboundedReceiver<Result<Bytes, ClientFault>>);

impl Stream for Body {
    type Item = Result<Bytes, ClientFault>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

fn body(frames: &[&'static [u8]]) -> Body {
    let (send, receive) = mpsc::unbounded_channel();
    for frame in frames {
        send.send(Ok(Bytes::from_static(frame))).unwrap();
    }
    Body(receive)
}

fn chunk(start: u64, end: u64, length: u64) -> Offer {
    Offer {
        extent: Extent::new(start, end),
        length: Some(length),
        at: At::Anywhere,
        scope: BodyScope::Range,
    }
}

async fn held(engine: &Arc<Engine>, id: TicketId) -> Vec<(u64, u64)> {
    let status = engine.status(id).await.unwrap();
    status.received.as_slice().iter().map(|e| (e.start(), e.end())).collect()
}

#[tokio::test]
async fn durable_outlives_the_power_and_written_the_process() {
    for (ack, after_power) in [(Durability::Durable, vec![(0, 5)]), (Durability::Written, vec![])] {
        let machine = Machine::default();
        let engine = machine.start(ack);
        let id = ticket(&engine).await;
        if ack == Durability::Written {
            // The ticket itself was only written: make it durable as a sync by the kernel would.
            engine.bind(id, FileFacts { length: Some(10), ..FileFacts::default() }).await.unwrap();
        }
        engine.receive(id, chunk(0, 5, 10), None, body(&[b"he", b"llo"])).await.unwrap();
        drop(engine);
        let engine = machine.start(ack);
        assert_eq!(held(&engine, id).await, [(0, 5)], "{ack:?} after a crash");
        drop(engine);
        machine.store.cut_power();
        let engine = machine.start(ack);
        assert_eq!(held(&engine, id).await, after_power, "{ack:?} after a power cut");
        engine.receive(id, chunk(0, 10, 10), None, body(&[b"helloworld"])).await.unwrap();
        assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
        drop(engine);
        machine.cut_power();
        let engine = machine.start(ack);
        assert_eq!(
            engine.status(id).await.unwrap().state,
            StateName::HandingOver,
            "{ack:?} published"
        );
    }
}

#[tokio::test]
async fn a_newer_request_takes_over_and_the_prefix_stays() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    let (send, receive) = mpsc::unbounded_channel();
    send.send(Ok(Bytes::from_static(b"hel"))).unwrap();
    let first = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { engine.receive(id, chunk(0, 10, 10), None, Body(receive)).await }
    });
    while engine.stats().received_bytes.get() < 3 {
        tokio::task::yield_now().await;
    }
    let second = engine.receive(id, chunk(2, 10, 10), None, body(&[b"XXXXXXXX"])).await.unwrap();
    assert!(matches!(first.await.unwrap(), Err(TransferError::Superseded)));
    assert_eq!(second.state, StateName::HandingOver);
    let mut content = String::new();
    machine.store.read(id, 0).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "helXXXXXXX", "the prefix of the first is immutable");
    drop(send);
}

#[tokio::test]
async fn a_broken_body_keeps_its_prefix_but_not_with_a_digest() {
    for (digest, expected) in [(None, vec![(0, 3)]), (Some(ChunkDigest::Sha256([0; 32])), vec![])] {
        let engine = Machine::default().start(Durability::Durable);
        let id = ticket(&engine).await;
        let (send, receive) = mpsc::unbounded_channel();
        send.send(Ok(Bytes::from_static(b"hel"))).unwrap();
        send.send(Err(ClientFault::BrokeOff("reset".into()))).unwrap();
        let broken = engine.receive(id, chunk(0, 10, 10), digest, Body(receive)).await;
        assert!(matches!(broken, Err(TransferError::Client(_))));
        assert_eq!(held(&engine, id).await, expected);
    }
}

#[tokio::test]
async fn a_wrong_digest_counts_nothing_and_a_short_or_long_body_is_refused() {
    let engine = Machine::default().start(Durability::Durable);
    let id = ticket(&engine).await;
    let wrong = Some(ChunkDigest::Sha256([0; 32]));
    let result = engine.receive(id, chunk(0, 5, 10), wrong, body(&[b"hello"])).await;
    assert!(matches!(result, Err(TransferError::DigestMismatch { .. })));
    assert_eq!(held(&engine, id).await, []);
    let long = engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello!"])).await;
    assert!(matches!(
        long,
        Err(TransferError::Refused(Refusal::RangeMismatch { range: 5, body: 6 }))
    ));
    let short = engine.receive(id, chunk(0, 5, 10), None, body(&[b"hell"])).await;
    assert!(matches!(
        short,
        Err(TransferError::Refused(Refusal::RangeMismatch { range: 5, body: 4 }))
    ));
}

#[tokio::test]
async fn a_handover_is_called_until_done_and_not_again() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    assert_eq!(engine.next_due().await, id);
    let call = begin(&engine, id).await.unwrap();
    assert_eq!(call.kind, CallKind::Handover);
    drop(engine);

    // The server died with the call under way: it is due again at once.
    let engine = machine.start(Durability::Durable);
    engine.status(id).await.unwrap();
    assert_eq!(engine.next_due().await, id);
    let call = begin(&engine, id).await.unwrap();
    assert_eq!(call.attempt, 2);
    engine.end_call(id, CallResult::Done).await.unwrap();
    assert_eq!(engine.status(id).await.unwrap().state, StateName::Finished);
    assert!(begin(&engine, id).await.is_none());
    assert_eq!(machine.store.published(id).unwrap(), None, "removed when finished");
    assert!(matches!(
        engine.cancel(id, "x".into(), Notice::Due).await,
        Err(ChangeError::Refused(Refusal::UploadOver(_)))
    ));
}

#[tokio::test]
async fn an_old_unanswered_call_is_made_once_more_before_it_is_given_up() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Durable);
    let id = ticket(&engine).await;
    engine.receive(id, chunk(0, 5, 5), None, body(&[b"hello"])).await.unwrap();
    begin(&engine, id).await.unwrap();
    engine.end_call(id, CallResult::Unanswered("down".into())).await.unwrap();
    drop(engine);
    // As after a stop that was longer than calls are repeated for.
    let engine = machine.start_with(Durability::Durable, Duration::ZERO);
    assert!(begin(&engine, id).await.is_some(), "called first");
    engine.end_call(id, CallResult::Unanswered("down".into())).await.unwrap();
    assert_eq!(engine.status(id).await.unwrap().state, StateName::Failed);
}

#[tokio::test]
async fn a_file_that_comes_in_order_is_not_read_for_its_digest() {
    use sha2::Digest as _;
    let expected = sha2::Sha256::digest(b"helloworld");
    let expected: [u8; 32] = expected.into();
    let digest_of =
        async |engine: &Arc<Engine>, id| *begin(engine, id).await.unwrap().upload.sha256().unwrap();
    for ack in [Durability::Durable, Durability::Written] {
        let (reads, machine) = (Arc::new(AtomicU64::new(0)), Machine::default());
        let counted = Arc::clone(&reads);
        let store = machine.store.judged(Arc::new(move |_, step, bytes| {
            if step == Step::Read {
                counted.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Fate::Happens
        }));
        let engine = Machine { store, ..machine }.start(ack);
        let id = ticket_with(&engine, DigestRequest::Sha256).await;
        // What a wrong digest brought does not count, and a broken body's prefix does.
        let wrong = Some(ChunkDigest::Sha256([0; 32]));
        engine.receive(id, chunk(0, 3, 10), wrong, body(&[b"HEL"])).await.unwrap_err();
        let (send, receive) = mpsc::unbounded_channel();
        send.send(Ok(Bytes::from_static(b"hel"))).unwrap();
        send.send(Err(ClientFault::BrokeOff("on purpose".into()))).unwrap();
        engine.receive(id, chunk(0, 5, 10), None, Body(receive)).await.unwrap_err();
        engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
        engine.receive(id, chunk(5, 10, 10), None, body(&[b"wor", b"ld"])).await.unwrap();
        assert_eq!(digest_of(&engine, id).await, expected);
        assert_eq!(reads.load(Ordering::Relaxed), 0, "{ack:?}");

        let id = ticket_with(&engine, DigestRequest::Sha256).await;
        engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await.unwrap();
        engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
        assert_eq!(digest_of(&engine, id).await, expected);
        assert_eq!(reads.load(Ordering::Relaxed), 5, "{ack:?}: what came first is read");
    }
}
