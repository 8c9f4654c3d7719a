//! A disk that does not take one upload's bytes holds up that upload, and nobody else on its thread.

use super::*;
use crate::core::command::Command;
use crate::core::extent::ExtentSet;
use crate::engine::handle::Op;
use crate::storage::local::blocking::{Blocking, Stage, Work};
use crate::storage::local::journal_files::{JournalFile, JournalFiles, Replaced, SyncWhen};
use crate::storage::local::slow_disk::SLOW_WRITE;
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
        machine.storage().slow_disk().waited(SLOW_WRITE, Instant::now());
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
    machine.storage().slow_disk().waited(SLOW_WRITE, Instant::now());
    let others = machine.storage().slow_disk().permit(usize::MAX).await.unwrap();
    let send = |bytes: &'static [u8]| {
        let engine = Arc::clone(&engine);
        tokio::spawn(async move { engine.receive(id, chunk(0, 5, 5), None, body(&[bytes])).await })
    };
    let older = send(b"older");
    let handle = engine.find(id).await.unwrap();
    while handle.lock().claims.count() < 1 {
        tokio::task::yield_now().await;
    }
    let newer = send(b"newer");
    assert!(matches!(older.await.unwrap(), Err(TransferError::Superseded)));
    assert_eq!(held(&engine, id).await, [], "nothing is written while others have all permits");
    drop(others);
    newer.await.unwrap().unwrap();
    let mut file = Vec::new();
    machine.store.read(id, 0).unwrap().read_to_end(&mut file).unwrap();
    assert_eq!(file, b"newer");
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_slow_for_as_long_as_a_write_hangs() {
    let disk =
        crate::storage::local::slow_disk::SlowDisk::new(Instant::now(), 1 << 20, Blocking::Threads);
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

#[tokio::test]
async fn nothing_is_set_aside_for_what_is_published() {
    let machine = Machine::default();
    let engine = machine.start(Durability::Written);
    let id = ticket(&engine).await;
    let handle = engine.find(id).await.unwrap();
    handle.part.seal().await;
    let sent = engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await;
    assert!(matches!(sent, Err(TransferError::Superseded)), "{sent:?}");
    handle.part.unseal();
    engine.receive(id, chunk(0, 5, 10), None, body(&[b"hello"])).await.unwrap();
    machine.store.fail(Some((Step::Allocate, io::ErrorKind::Other)));
    handle.part.seal().await;
    let sent = engine.receive(id, chunk(5, 10, 10), None, body(&[b"world"])).await;
    assert!(matches!(sent, Err(TransferError::Superseded)), "it was not even tried: {sent:?}");
}

/// Journals whose appends sleep, as those of a throttled writer do.
struct Sleepy(MemoryJournals);
struct SleepyFile(Box<dyn JournalFile>);

impl JournalFiles for Sleepy {
    fn create(&self, id: TicketId, bytes: &[u8], sync: SyncWhen) -> io::Result<()> {
        self.0.create(id, bytes, sync)
    }

    fn read(&self, id: TicketId) -> io::Result<Option<Box<dyn Read + Send>>> {
        self.0.read(id)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.0.sync_names()
    }

    fn replace(&self, id: TicketId, bytes: &[u8]) -> io::Result<Replaced> {
        self.0.replace(id, bytes)
    }

    fn open(&self, id: TicketId) -> io::Result<Box<dyn JournalFile>> {
        Ok(Box::new(SleepyFile(self.0.open(id)?)))
    }

    fn remove(&self, id: TicketId) -> io::Result<()> {
        self.0.remove(id)
    }

    fn remove_leftovers(&self) -> io::Result<()> {
        self.0.remove_leftovers()
    }

    fn list(&self) -> io::Result<Vec<TicketId>> {
        self.0.list()
    }

    fn read_uptime(&self) -> io::Result<Option<Uptime>> {
        self.0.read_uptime()
    }

    fn write_uptime(&self, uptime: Uptime) -> io::Result<()> {
        self.0.write_uptime(uptime)
    }
}

impl JournalFile for SleepyFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::thread::sleep(2 * SLOW_WRITE);
        self.0.write_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }
}

/// With `ack = written` a record is a write like any other: it tells that the disk is slow, and leaves
/// the worker while it is.
#[tokio::test]
async fn a_journal_that_sleeps_makes_the_disk_slow() {
    let machine = Machine::default();
    let options = machine.start(Durability::Written).options().as_ref().clone();
    let engine = machine.start_over(options, Arc::new(Sleepy(machine.journals.clone())));
    let id = ticket(&engine).await;
    let handle = engine.find(id).await.unwrap();
    let ask = |start, end| {
        let offer = chunk(start, end, 10);
        engine.receive(id, offer, None, body(&[b"hello"]))
    };
    ask(0, 5).await.unwrap();
    assert!(machine.storage().slow_disk().is_slow(Instant::now()));
    let extents = ExtentSet::of(Extent::new(5, 8).unwrap());
    let durability = Durability::Written;
    let store = Command::Store { extents, length: None, durability };
    let mut pending = engine.submit(&handle, Op::Change(store));
    assert!(pending.poll().is_none(), "it is done elsewhere");
    pending.done().await.unwrap();
}

/// Counts how often work leaves its thread.
#[derive(Default)]
struct Hops(AtomicU64);

impl Stage for Hops {
    fn perform(&self, work: Work) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { work() })
    }

    fn is_slow(&self) -> bool {
        false
    }
}

/// While the page cache is quick a chunk that is only written stays on its worker, and a group commit that syncs leaves it
/// once, however much it syncs.
#[tokio::test]
async fn a_chunk_leaves_its_thread_for_syncs_alone_and_once() {
    for (ack, middle, last) in [(Durability::Written, 0, 1), (Durability::Durable, 1, 1)] {
        let machine = Machine::default();
        let options = machine.start(ack).options().as_ref().clone();
        let (store, journals) = (Arc::new(machine.store.clone()), machine.journals.clone());
        let (clock, hops) = (Arc::new(machine.clock.clone()), Arc::new(Hops::default()));
        let local = LocalOptions::new(ack, options.min_free_bytes, 1 << 20);
        let blocking = Blocking::Staged(Arc::clone(&hops) as Arc<dyn Stage>);
        let journals = Arc::new(journals);
        let storage = LocalStorage::new(store, journals, clock.clone(), local, blocking);
        let engine = Engine::new(options, storage.clone(), storage, clock);
        let id = ticket(&engine).await;
        // Loads the upload and opens its part.
        engine.receive(id, chunk(0, 5, 15), None, body(&[b"hello"])).await.unwrap();
        let taken = || hops.0.swap(0, Ordering::Relaxed);
        taken();
        engine.receive(id, chunk(5, 10, 15), None, body(&[b"he", b"llo"])).await.unwrap();
        assert_eq!(taken(), middle, "{ack:?}");
        // Synced, recorded, sealed, published, recorded.
        engine.receive(id, chunk(10, 15, 15), None, body(&[b"hello"])).await.unwrap();
        assert_eq!(taken(), last, "{ack:?}");
        assert_eq!(engine.status(id).await.unwrap().state, StateName::HandingOver);
    }
}
