//! The machine that servers live and die on: its disk, its clock, its chance, and a trace of all
//! that happens. And one life of a server on it.

use crate::dice::Dice;
use crate::model::Model;
use crate::plan::{self, Plan};
use incoming::core::id::TicketId;
use incoming::core::time::Timestamp;
use incoming::engine::Engine;
use incoming::storage::clock::Clock;
use incoming::storage::local::blocking::{Blocking, Stage, Work};
use incoming::storage::local::files::Allocated;
use incoming::storage::local::storage::LocalStorage;
use incoming::storage::memory::file::Fate;
use incoming::storage::memory::journals::{self as journals, MemoryJournals};
use incoming::storage::memory::store::{self as store, MemoryStore};
use std::fmt::Write as _;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) store: MemoryStore,
    pub(crate) journals: MemoryJournals,
    dice: Mutex<Dice>,
    model: Mutex<Model>,
    trace: Mutex<Trace>,
    /// Milliseconds that servers have run before the present life.
    pub(crate) base_ms: AtomicU64,
    /// Sets the clock of the machine to and fro; `None` leaves it alone. Nothing may come of it.
    clock: Option<Mutex<Dice>>,
    /// The date, in steps of [`DATE_STEP_MS`].
    date_steps: AtomicU64,
    violation: Mutex<Option<String>>,
}

/// What becomes of the machine's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MachineClock {
    Steady,
    Jumps,
}

struct Trace {
    hash: u64,
    events: u64,
    loud: bool,
}

impl World {
    pub(crate) fn new(seed: u64, loud: bool, clock: MachineClock) -> Arc<Self> {
        let mut dice = Dice::new(seed);
        let mut plan = Plan::of(&mut dice);
        plan.vary(seed);
        let store = MemoryStore::default();
        store.set_allocates(if plan.allocates { Allocated::Yes } else { Allocated::No });
        let world = Arc::new(Self {
            model: Mutex::new(Model::new(plan.ack, if plan.interleaves { ROUND_MS } else { 0 })),
            store,
            journals: MemoryJournals::default(),
            dice: Mutex::new(dice),
            trace: Mutex::new(Trace { hash: 0xCBF2_9CE4_8422_2325, events: 0, loud }),
            base_ms: AtomicU64::new(0),
            clock: (clock == MachineClock::Jumps).then(|| Mutex::new(Dice::new(seed))),
            date_steps: AtomicU64::new(1600),
            violation: Mutex::new(None),
            plan,
        });
        world.note(0, format_args!("{:?}", world.plan));
        world
    }

    pub(crate) fn dice(&self) -> MutexGuard<'_, Dice> {
        self.dice.lock().unwrap()
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Adds an event to the trace.
    pub(crate) fn note(&self, at_ms: u64, event: std::fmt::Arguments<'_>) {
        let mut line = String::new();
        write!(line, "{at_ms} {event}").unwrap();
        let mut trace = self.trace.lock().unwrap();
        for byte in line.bytes() {
            trace.hash = (trace.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        trace.events += 1;
        if trace.loud {
            println!("{line}");
        }
    }

    /// Somebody may set the clock, from days to tens of years forward or back.
    fn set_clock(&self) {
        let Some(dice) = &self.clock else { return };
        let mut dice = dice.lock().unwrap();
        if dice.once_in(8) {
            let steps = dice.of(&[0, 1, 1599, 1600, 1601, 5000]);
            self.date_steps.store(steps, Ordering::Relaxed);
        }
    }

    /// The count of running time that a date was made of.
    pub(crate) fn run_ms_of(date: Timestamp) -> u64 {
        date.0 % DATE_STEP_MS
    }

    /// Hash and length of the trace so far.
    pub(crate) fn trace(&self) -> (u64, u64) {
        let trace = self.trace.lock().unwrap();
        (trace.hash, trace.events)
    }

    /// Something that must not be. The first one counts.
    pub(crate) fn violation(&self, what: String) {
        self.note(0, format_args!("VIOLATION {what}"));
        self.violation.lock().unwrap().get_or_insert(what);
    }

    pub(crate) fn violated(&self) -> Option<String> {
        self.violation.lock().unwrap().clone()
    }
}

/// One life of the server.
pub(crate) struct Life {
    pub(crate) world: Arc<World>,
    pub(crate) plan: plan::Life,
    began: Instant,
    base_ms: u64,
    steps_left: AtomicU64,
    engine: OnceLock<Weak<Engine>>,
    /// Nothing that happens from now on has happened.
    dead: AtomicBool,
    pub(crate) died: CancellationToken,
    /// A fault was injected; errors have a reason.
    pub(crate) faulted: AtomicBool,
    /// The disk was full at some time.
    pub(crate) was_full: AtomicBool,
    /// A sync of a part failed: what is read back need not be on the disk.
    pub(crate) sync_failed: AtomicBool,
}

impl Life {
    pub(crate) fn start(world: &Arc<World>, plan: plan::Life) -> (Arc<Self>, Arc<Engine>) {
        let life = Arc::new(Self {
            world: Arc::clone(world),
            plan,
            began: Instant::now(),
            base_ms: world.base_ms.load(Ordering::Relaxed),
            steps_left: AtomicU64::new(plan.steps),
            engine: OnceLock::new(),
            dead: AtomicBool::new(false),
            died: CancellationToken::new(),
            faulted: AtomicBool::new(false),
            was_full: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
        });
        let of_store = Arc::clone(&life);
        let of_journals = Arc::clone(&life);
        let clock = Arc::clone(&life) as Arc<dyn Clock>;
        let storage = LocalStorage::new(
            Arc::new(world.store.judged(Arc::new(move |id, step, bytes| {
                of_store.step(id, DiskStep::Store(step), bytes)
            }))),
            Arc::new(world.journals.judged(Arc::new(move |id, step, bytes| {
                of_journals.step(id, DiskStep::Journal(step), bytes)
            }))),
            Arc::clone(&clock),
            world.plan.local,
            Blocking::Staged(Arc::clone(&life) as Arc<dyn Stage>),
        );
        let engine = Engine::new(world.plan.options(), storage.clone(), storage, clock);
        life.engine.set(Arc::downgrade(&engine)).unwrap();
        (life, engine)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.base_ms + u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    pub(crate) fn note(&self, event: std::fmt::Arguments<'_>) {
        self.world.note(self.now_ms() % 1_000_000_000, event);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn die(&self) {
        if !self.dead.swap(true, Ordering::Relaxed) {
            self.note(format_args!("dies"));
        }
        self.died.cancel();
    }

    pub(crate) fn violation(&self, what: String) {
        if !self.is_dead() {
            self.world.violation(what);
            self.die();
        }
    }

    /// Looks at all uploads that are in memory, and compares them with the model and the disk.
    pub(crate) fn look(&self) {
        let Some(engine) = self.engine.get().and_then(Weak::upgrade) else { return };
        if self.is_dead() {
            return;
        }
        let mut model = self.world.model();
        let ids: Vec<TicketId> = model.uploads.keys().copied().collect();
        for id in ids {
            let Some(status) = engine.in_memory(id) else { continue };
            let seen = model.observe(&self.world.store, &status, self.now_ms());
            if let Err(what) = seen {
                drop(model);
                return self.violation(format!("{id}: {what}"));
            }
        }
        if engine.stats().uploads_open.value() < 0 || engine.stats().chunks_in_flight.value() < 0 {
            drop(model);
            self.violation("a gauge is below zero".into());
        }
    }

    /// A step of the disk is about to happen.
    fn step(&self, id: TicketId, step: DiskStep, bytes: usize) -> Fate {
        if self.is_dead() {
            return Fate::DEAD;
        }
        self.world.set_clock();
        self.look();
        self.check_removal(id, step);
        self.note(format_args!("{} {step:?} {bytes}", id.short()));
        let left = self.steps_left.fetch_sub(1, Ordering::Relaxed);
        if left == 1 {
            self.die();
            let whole = bytes as u64;
            let mut dice = self.world.dice();
            return match dice.below(3) {
                0 => Fate::Happens,
                1 if whole > 0 && step.can_stop() => {
                    let part = usize::try_from(dice.below(whole)).unwrap();
                    Fate::Stops(part, io::ErrorKind::NotConnected)
                }
                _ => Fate::DEAD,
            };
        }
        self.fate(id, step, bytes)
    }

    fn fate(&self, id: TicketId, step: DiskStep, bytes: usize) -> Fate {
        let mut dice = self.world.dice();
        let syncs_fail = self.plan.fault_in > 0 && self.world.plan.sync_fault_in > 0;
        let fault_in = match syncs_fail {
            true if step != DiskStep::Store(store::Step::Sync) => 0,
            true => self.world.plan.sync_fault_in,
            false => self.plan.fault_in,
        };
        if !dice.once_in(fault_in) {
            return Fate::Happens;
        }
        let full = !syncs_fail && (self.plan.only_full || dice.once_in(2));
        let kind = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        if full && !step.can_be_full() {
            return Fate::Happens;
        }
        self.was_full.fetch_or(full, Ordering::Relaxed);
        self.faulted.fetch_or(!full, Ordering::Relaxed);
        self.sync_failed.fetch_or(step.is_sync_of_part(), Ordering::Relaxed);
        let stops = usize::try_from(dice.below(bytes as u64 + 1)).unwrap();
        let fate = if step.can_stop() { Fate::Stops(stops, kind) } else { Fate::Fails(kind) };
        drop(dice);
        self.note(format_args!("{} {step:?} fails: {fate:?}", id.short()));
        fate
    }

    /// Nothing is removed but by a record that is durable.
    fn check_removal(&self, id: TicketId, step: DiskStep) {
        let removes_file = step == DiskStep::Store(store::Step::Withdraw);
        let removes_part = step == DiskStep::Store(store::Step::Discard);
        if !removes_file && !removes_part {
            return;
        }
        let journal = |id| self.world.journals.durable(id);
        let allowed = self.world.model().may_remove(id, removes_file, &journal, self.now_ms());
        if let Err(what) = allowed {
            self.violation(format!("{id}: {what}"));
        }
    }
}

/// The clock is set by as many of these: 12 days each, longer than all lives of a schedule.
const DATE_STEP_MS: u64 = 1 << 30;

/// Longer than the calls of a round together take, where others run between them.
const ROUND_MS: u64 = 2000;

/// A step of either disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DiskStep {
    Store(store::Step),
    Journal(journals::Step),
}

impl DiskStep {
    fn is_sync_of_part(self) -> bool {
        use store::Step::{PublishNames, Sync};
        matches!(self, Self::Store(Sync | PublishNames))
    }

    fn can_be_full(self) -> bool {
        use store::Step::{Allocate, Create, Publish, Write};
        matches!(
            self,
            Self::Store(Create | Allocate | Write | Publish)
                | Self::Journal(
                    journals::Step::Create
                        | journals::Step::Write
                        | journals::Step::Remake
                        | journals::Step::Count
                )
        )
    }

    fn can_stop(self) -> bool {
        matches!(
            self,
            Self::Store(store::Step::Write | store::Step::Sync)
                | Self::Journal(journals::Step::Write)
        )
    }
}

impl Clock for Life {
    fn date(&self) -> Timestamp {
        // So that a model can tell when it was, whatever the clock said then.
        assert!(self.now_ms() < DATE_STEP_MS);
        Timestamp(self.world.date_steps.load(Ordering::Relaxed) * DATE_STEP_MS + self.now_ms())
    }

    fn since_boot(&self) -> Duration {
        Duration::from_millis(self.now_ms() + 1_000_000)
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut dice = self.world.dice();
        let (high, low) = (dice.next(), dice.next());
        Ok((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
    }
}

/// Blocking work runs on the one thread there is, after some turns of everybody else.
impl Stage for Life {
    fn perform(&self, work: Work) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut dice = self.world.dice();
        let turns = dice.below(self.world.plan.turns + 1);
        let ms = if dice.once_in(20) { dice.between(1, 50) } else { 0 };
        // Who waits for a thread learns of its end some time later.
        let until_told = match self.world.plan.interleaves {
            true => dice.below(self.world.plan.turns + 1),
            false => 0,
        };
        drop(dice);
        let died = self.died.clone();
        Box::pin(async move {
            if ms > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(ms)).await;
            }
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            if died.is_cancelled() {
                // The process is gone, and its threads with it.
                std::future::pending::<()>().await;
            }
            work();
            for _ in 0..until_told {
                tokio::task::yield_now().await;
            }
        })
    }

    fn is_slow(&self) -> bool {
        self.world.dice().once_in(self.plan.slow_in)
    }

    fn in_one_piece(&self) -> bool {
        !self.world.plan.interleaves
    }
}
