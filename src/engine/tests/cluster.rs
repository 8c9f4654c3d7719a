//! Several engines over one log and one bucket, in memory: what one of them records holds at all, and what is due for one
//! that has died is done by another.

use super::*;
use crate::core::grid::MIN_PART_BYTES;
use crate::core::object_command::ObjectLimits;
use crate::core::piece_event::{Etag, ObjectName, Purpose};
use crate::core::time::{Stamp, Timestamp};
use crate::engine::agenda::{HOLD, marks};
use crate::engine::objects::storage::{BucketStorage, Place, Surroundings};
use crate::engine::objects::{Backing, ObjectEngine, ObjectTuning};
use crate::engine::options::SharedOptions;
use crate::storage::agenda::Agenda as _;
use crate::storage::event_log::{Append, Appended, EventLog, LogError, LogRead, Seen};
use crate::storage::memory::bucket::{
    BrokenPart, BucketRules, Etags, MemoryBucket, PartSizes, Unknown,
};
use crate::storage::memory::shared_log::SharedLog;
use crate::storage::objects::{Key, ObjectAnswer, ObjectError, ObjectRequest, Objects, OrphanRule};
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;

mod servers;
mod small_pieces;
mod takeover;

/// What servers share.
struct Cluster {
    log: SharedLog,
    bucket: Arc<Mutex<MemoryBucket>>,
    drawn: Arc<AtomicU64>,
    bucket_is_down: Arc<AtomicBool>,
    /// No object is stored that could be a file.
    refuses_files: Arc<AtomicBool>,
    /// Nor is one refused: the store is slow.
    delays_files: Arc<AtomicBool>,
    /// The same of all other objects, and how many of them wait.
    delays_fragments: Arc<AtomicBool>,
    fragments_delayed: Arc<AtomicU64>,
    /// How long the store takes to give bytes.
    reads_ms: Arc<AtomicU64>,
    /// And the database to read a log.
    log_reads_ms: Arc<AtomicU64>,
    /// Servers that stand still: dead, unless they go on later.
    still: Arc<Mutex<HashSet<u64>>>,
    machine: Machine,
}

/// A server's way to both.
struct Ways {
    server: u64,
    still: Arc<Mutex<HashSet<u64>>>,
    log: SharedLog,
    bucket: Arc<Mutex<MemoryBucket>>,
    bucket_is_down: Arc<AtomicBool>,
    refuses_files: Arc<AtomicBool>,
    delays_files: Arc<AtomicBool>,
    delays_fragments: Arc<AtomicBool>,
    fragments_delayed: Arc<AtomicU64>,
    reads_ms: Arc<AtomicU64>,
    log_reads_ms: Arc<AtomicU64>,
    drawn: Arc<AtomicU64>,
}

impl Cluster {
    fn new() -> Self {
        let rules = BucketRules {
            orphans: OrphanRule::Dropped,
            etags: Etags::OfContent,
            min_part_bytes: MIN_PART_BYTES,
            sizes: PartSizes::Any,
            unknown: Unknown::Gone,
            broken: BrokenPart::Destroys,
        };
        Self {
            log: SharedLog::new(1_700_000_000_000, 0),
            bucket: Arc::new(Mutex::new(MemoryBucket::new(rules))),
            drawn: Arc::default(),
            bucket_is_down: Arc::default(),
            refuses_files: Arc::default(),
            delays_files: Arc::default(),
            delays_fragments: Arc::default(),
            fragments_delayed: Arc::default(),
            reads_ms: Arc::default(),
            log_reads_ms: Arc::default(),
            still: Arc::default(),
            machine: Machine::default(),
        }
    }

    fn start(&self, server: u64) -> Arc<Engine> {
        let log = self.log.server(server);
        let ways = Ways {
            server,
            still: Arc::clone(&self.still),
            log: log.clone(),
            bucket: Arc::clone(&self.bucket),
            bucket_is_down: Arc::clone(&self.bucket_is_down),
            refuses_files: Arc::clone(&self.refuses_files),
            delays_files: Arc::clone(&self.delays_files),
            delays_fragments: Arc::clone(&self.delays_fragments),
            fragments_delayed: Arc::clone(&self.fragments_delayed),
            reads_ms: Arc::clone(&self.reads_ms),
            log_reads_ms: Arc::clone(&self.log_reads_ms),
            drawn: Arc::clone(&self.drawn),
        };
        let tuning = ObjectTuning {
            multipart_lifetime: HOUR,
            hold: HOLD,
            call_hold: Duration::from_secs(90),
            second_look: Duration::from_secs(60),
            pause: Duration::from_millis(300),
            tries: 2,
        };
        let options = self.machine.start(Durability::Durable).options();
        let options = SharedOptions::from((*options).clone());
        let (rules, time) = (options.clone(), log.clone());
        let marking = move |before: Option<&_>, after: &_| {
            marks(&rules.load(), before, after, time.now(), 0.5)
        };
        let objects = ObjectEngine::new(ways, server, tuning).marking(Box::new(marking));
        let beside = Surroundings {
            place: Place::Shared(Arc::new(log)),
            address: Box::new(|key| ("bucket".into(), format!("{:?}", key.name))),
            link: Some(Box::new(|key| {
                crate::storage::promised::Promised::ready(Ok(format!("https://{:?}", key.name)))
            })),
            sweep: Box::new(|_| crate::storage::promised::Promised::ready(())),
            health: Box::new(|| crate::storage::promised::Promised::ready(Ok(()))),
            memory_bytes: 1 << 30,
            requests_of_one: REQUESTS_OF_ONE,
        };
        let storage = BucketStorage::new(objects, beside);
        Engine::new(options, storage.clone(), storage, Arc::new(self.machine.clock.clone()))
    }

    /// A server does nothing from now on, whatever it was at, or goes on with that.
    fn set_still(&self, server: u64, is_still: bool) {
        let mut still = self.still.lock().unwrap();
        _ = if is_still { still.insert(server) } else { still.remove(&server) };
    }

    fn set_bucket_down(&self, is_down: bool) {
        self.bucket_is_down.store(is_down, Ordering::Relaxed);
    }

    /// The files of an upload in the bucket.
    fn files(&self, id: TicketId) -> Vec<Bytes> {
        let mut bucket = self.bucket.lock().unwrap();
        let Ok(ObjectAnswer::Objects(all)) = bucket.act(&ObjectRequest::List(id)) else { panic!() };
        let files = all.into_iter().filter(|key| key.name.purpose == Purpose::File);
        files.filter_map(|key| bucket.object(key).cloned()).collect()
    }

    /// All that lies in the bucket for an upload.
    fn objects(&self, id: TicketId) -> Vec<Key> {
        let mut bucket = self.bucket.lock().unwrap();
        let Ok(ObjectAnswer::Objects(all)) = bucket.act(&ObjectRequest::List(id)) else { panic!() };
        all
    }

    /// A server has died behind storing something, before that was recorded.
    fn leave_fragment(&self, id: TicketId) {
        let name = ObjectName { purpose: Purpose::Fragment, random: [77; 16] };
        let put = ObjectRequest::Put(Key { id, name }, Bytes::from_static(b"left").into());
        self.bucket.lock().unwrap().act(&put).unwrap();
    }

    /// Lets time pass for all, so that what is due is taken.
    async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
}

impl Ways {
    /// Waits while the server stands still.
    async fn run(&self) {
        while self.still.lock().unwrap().contains(&self.server) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl EventLog for Ways {
    async fn create(&self, id: TicketId, append: Append) -> Result<Appended, LogError> {
        self.run().await;
        self.log.create(id, append).await
    }

    async fn read(&self, id: TicketId, seen: Option<Seen>) -> Result<LogRead, LogError> {
        self.run().await;
        tokio::time::sleep(Duration::from_millis(self.log_reads_ms.load(Ordering::Relaxed))).await;
        self.log.read(id, seen).await
    }

    async fn append(&self, id: TicketId, seen: Seen, append: Append) -> Result<Appended, LogError> {
        self.run().await;
        self.log.append(id, seen, append).await
    }

    async fn hold(&self, id: TicketId, holder: u64, time: Duration) -> Result<bool, LogError> {
        self.run().await;
        self.log.hold(id, holder, time).await
    }

    async fn remove(&self, id: TicketId, seen: Seen) -> Result<Appended, LogError> {
        self.run().await;
        self.log.remove(id, seen).await
    }
}

impl Objects for Ways {
    async fn ask(&self, request: ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        self.run().await;
        if self.bucket_is_down.load(Ordering::Relaxed) {
            return Err(ObjectError::Busy);
        }
        if let ObjectRequest::Get(..) = &request {
            let time = Duration::from_millis(self.reads_ms.load(Ordering::Relaxed));
            tokio::time::sleep(time).await;
        }
        if matches!(&request, ObjectRequest::Put(key, _) if key.name.purpose == Purpose::Fragment) {
            self.fragments_delayed.fetch_add(1, Ordering::Relaxed);
            while self.delays_fragments.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            self.fragments_delayed.fetch_sub(1, Ordering::Relaxed);
        }
        if let ObjectRequest::Put(key, _) = &request
            && key.name.purpose == Purpose::File
        {
            while self.delays_files.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            self.run().await;
            if self.refuses_files.load(Ordering::Relaxed) {
                return Err(ObjectError::Busy);
            }
        }
        self.bucket.lock().unwrap().act(&request)
    }

    fn orphan_rule(&self) -> OrphanRule {
        OrphanRule::Dropped
    }

    fn etag_of(&self, parts: &[&Etag]) -> Option<Etag> {
        Some(MemoryBucket::etag_of(parts))
    }
}

impl Backing for Ways {
    fn now(&self) -> Stamp {
        let uptime = self.log.now();
        Stamp { date: Timestamp(uptime.0), uptime }
    }

    fn local_ms(&self) -> u64 {
        self.log.now().0
    }

    fn random(&self) -> u64 {
        self.drawn.fetch_add(1, Ordering::Relaxed)
    }

    fn name(&self, purpose: Purpose) -> ObjectName {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.random().to_be_bytes());
        ObjectName { purpose, random }
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn limits(&self) -> ObjectLimits {
        let limits = Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None };
        ObjectLimits { limits, part_bytes: MIN_PART_BYTES }
    }
}

/// Requests at once that store bytes of one upload.
const REQUESTS_OF_ONE: usize = 16;

/// Does what is due, until it is aborted.
fn sweep(engine: &Arc<Engine>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(Arc::clone(engine).sweep())
}

#[tokio::test(start_paused = true)]
async fn any_server_takes_any_request() {
    let cluster = Cluster::new();
    let [one, two, three] = [1, 2, 3].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    // Made at one, known at all; and what each acknowledges, the others have.
    assert_eq!(two.status(id).await.unwrap().state, StateName::New);
    two.receive(id, chunk(0, 4, 12), None, body(&[b"here"])).await.unwrap();
    for engine in [&one, &two, &three] {
        assert_eq!(held(engine, id).await, [(0, 4)]);
    }
    // Of bytes that another has, none is stored again: the first that counted stay.
    three.receive(id, chunk(2, 8, 12), None, body(&[b"xx and"])).await.unwrap();
    let status = one.receive(id, chunk(8, 12, 12), None, body(&[b" now"])).await.unwrap();
    assert_eq!(status.state, StateName::HandingOver);
    assert_eq!(cluster.files(id), ["here and now"]);
    for engine in [&one, &two, &three] {
        assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
        assert_eq!(engine.stats().faults.get(), 0);
    }
    assert_eq!(three.list(None, None, 10).await.unwrap().uploads.len(), 1);
    let late = two.cancel(id, String::new(), Notice::NotDue).await;
    assert!(matches!(late, Err(ChangeError::Refused(_))), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_called_again_after_its_pause_and_not_before() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 2), None, body(&[b"hi"])).await.unwrap();
    let mut delivery = one.next_delivery().await;
    assert!(matches!(delivery.begin().await.unwrap(), Begun::Call(_)));
    delivery.postpone(Duration::from_secs(20));
    delivery.finish(CallResult::Unanswered("no".into())).await.unwrap();
    assert!(begin(&two, id).await.is_none(), "not yet");
    two.shared_call_over(id, None, Duration::ZERO).await;
    let sweeping = sweep(&two);
    cluster.pass(15).await;
    assert_eq!(two.outbox().pending().0, 0, "the backend asked for 20 s");
    cluster.pass(8).await;
    let mut delivery = two.next_delivery().await;
    assert!(matches!(delivery.begin().await.unwrap(), Begun::Call(_)));
    sweeping.abort();
}

#[tokio::test(start_paused = true)]
async fn one_server_ends_idle_and_old_uploads() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let (idle, active) = (ticket(&one).await, ticket(&one).await);
    let sweeping = [sweep(&one), sweep(&two)];
    cluster.log.pass(HOUR - Duration::from_secs(10));
    two.receive(active, chunk(0, 2, 4), None, body(&[b"ab"])).await.unwrap();
    cluster.pass(60).await;
    assert_eq!(two.status(idle).await.unwrap().state, StateName::Cancelled);
    assert_eq!(one.status(active).await.unwrap().state, StateName::Uploading, "it has a byte");
    assert_eq!(one.stats().cancelled.get() + two.stats().cancelled.get(), 1);
    // Its backend is told, and after its retention it is unknown.
    let mut delivery = one.next_delivery().await;
    let Begun::Call(call) = delivery.begin().await.unwrap() else { panic!("a notice is due") };
    assert_eq!(call.kind, CallKind::CancelNotice);
    delivery.finish(CallResult::Done).await.unwrap();
    cluster.log.pass(HOUR + Duration::from_secs(1));
    cluster.pass(70).await;
    for engine in [&one, &two] {
        assert!(engine.status(idle).await.is_err());
    }
    sweeping.into_iter().for_each(|it| it.abort());
}

#[tokio::test(start_paused = true)]
async fn long_polls_and_requests_hear_of_what_others_record() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    let sweeping = sweep(&one);
    let polled = Arc::clone(&one);
    let poll = tokio::spawn(async move {
        let (most, gone) = (Duration::from_secs(20), std::future::pending());
        polled.wait(id, Some(StateName::New), most, gone).await.unwrap().state
    });
    let (_send, silent) = mpsc::unbounded_channel();
    let sent = Arc::clone(&one);
    let put =
        tokio::spawn(async move { sent.receive(id, chunk(0, 9, 9), None, Body(silent)).await });
    tokio::time::sleep(Duration::from_millis(10)).await;
    two.cancel(id, "no more".into(), Notice::NotDue).await.unwrap();
    cluster.pass(3).await;
    assert_eq!(poll.await.unwrap(), StateName::Cancelled);
    let answer = put.await.unwrap();
    assert!(matches!(answer, Err(TransferError::Refused(Refusal::UploadOver(_)))), "{answer:?}");
    sweeping.abort();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_while_the_log_is_away_and_nothing_lost() {
    let cluster = Cluster::new();
    let one = cluster.start(1);
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 4), None, body(&[b"ab"])).await.unwrap();
    cluster.log.set_down(true);
    assert!(matches!(one.status(id).await, Err(crate::engine::error::LookupError::Busy)));
    let answer = one.receive(id, chunk(2, 4, 4), None, body(&[b"cd"])).await;
    assert!(matches!(answer, Err(TransferError::Busy)), "{answer:?}");
    assert!(one.new_upload(wish()).await.is_err());
    assert!(one.readiness().await.is_err());
    cluster.log.set_down(false);
    assert!(one.readiness().await.is_ok());
    // The same for the bucket.
    cluster.set_bucket_down(true);
    assert!(one.receive(id, chunk(2, 4, 4), None, body(&[b"cd"])).await.is_err());
    assert_eq!(held(&one, id).await, [(0, 2)]);
    cluster.set_bucket_down(false);
    one.receive(id, chunk(2, 4, 4), None, body(&[b"cd"])).await.unwrap();
    assert_eq!(cluster.files(id), ["abcd"]);
    assert_eq!(one.stats().faults.get(), 0);
}

/// A failover has lost appends; others stand in their place, as many of them.
#[tokio::test(start_paused = true)]
async fn a_log_that_was_set_back_is_read_anew() {
    let cluster = Cluster::new();
    let [one, two] = [1, 2].map(|server| cluster.start(server));
    let id = ticket(&one).await;
    one.receive(id, chunk(0, 2, 6), None, body(&[b"ab"])).await.unwrap();
    let before = cluster.log.inner().head(id).unwrap();
    one.receive(id, chunk(2, 4, 6), None, body(&[b"xy"])).await.unwrap();
    let lost = cluster.log.inner().head(id).unwrap();
    cluster.log.inner().set_back(id, before.seq);
    two.receive(id, chunk(4, 6, 6), None, body(&[b"ef"])).await.unwrap();
    let found = cluster.log.inner().head(id).unwrap();
    assert!(found.seq == lost.seq && found.tag != lost.tag, "the same number by another");
    assert_eq!(held(&one, id).await, [(0, 2), (4, 6)]);
    let status = one.receive(id, chunk(2, 4, 6), None, body(&[b"cd"])).await.unwrap();
    assert_eq!(status.state, StateName::HandingOver);
    assert_eq!(cluster.files(id), ["abcdef"], "not what was lost");
}

const HOUR: Duration = Duration::from_secs(3600);
