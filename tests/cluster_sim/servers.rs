//! The servers of a schedule and their tasks, each polled only when the schedule delivers what it waits for.

use crate::backing::SimBacking;
use crate::mutation::Mutation;
use crate::world::World;
use incoming::core::id::TicketId;
use incoming::engine::objects::{Call, ObjectChangeError, ObjectEngine, View};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

pub(crate) type Engine = Arc<ObjectEngine<SimBacking>>;

pub(crate) struct Servers {
    pub(crate) world: Arc<Mutex<World>>,
    pub(crate) all: Vec<Server>,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    mutation: Option<Mutation>,
}

pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) state: ServerState,
    /// How often it was started: each time it has another name.
    starts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerState {
    Runs,
    /// It stands still; its requests go on without it.
    Paused,
    Dead,
}

/// What a task was for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A request, and how often bytes had become missing again when it began.
    Put {
        request: usize,
        shrunk: u32,
    },
    Status {
        client: usize,
        shrunk: u32,
    },
    Change,
    Advance,
    Clean,
    Call,
    Forget,
}

pub(crate) enum Done {
    View(Result<View, ObjectChangeError>),
    Call(Result<Option<Call>, ObjectChangeError>),
    Plain(Result<(), ObjectChangeError>),
}

pub(crate) struct Task {
    pub(crate) server: usize,
    pub(crate) id: TicketId,
    pub(crate) work: Work,
    future: Pin<Box<dyn Future<Output = Done>>>,
}

/// A task that has come to its end.
pub(crate) struct Ended {
    pub(crate) server: usize,
    pub(crate) id: TicketId,
    pub(crate) work: Work,
    pub(crate) done: Done,
}

/// A process is called by its server's number times this, and how often that has started.
pub(crate) const STARTS: u64 = 1000;

impl Servers {
    pub(crate) fn new(world: &Arc<Mutex<World>>, mutation: Option<Mutation>) -> Self {
        let world = Arc::clone(world);
        let count = world.lock().unwrap().plan.servers;
        let mut servers =
            Self { world, all: Vec::new(), tasks: BTreeMap::new(), next_task: 0, mutation };
        for number in 0..count {
            let engine = servers.engine(number * STARTS);
            servers.all.push(Server { engine, state: ServerState::Runs, starts: 0 });
        }
        servers
    }

    fn engine(&self, server: u64) -> Engine {
        let tuning = self.world.lock().unwrap().plan.tuning();
        let (world, mutation) = (Arc::clone(&self.world), self.mutation);
        Arc::new(ObjectEngine::new(SimBacking { world, server, mutation }, server, tuning))
    }

    pub(crate) fn running(&self) -> Vec<usize> {
        let runs = |number: &usize| self.all[*number].state == ServerState::Runs;
        (0..self.all.len()).filter(runs).collect()
    }

    /// Begins a task; it runs until it waits for the first time.
    pub(crate) fn begin<F>(
        &mut self,
        server: usize,
        id: TicketId,
        work: Work,
        make: impl FnOnce(Engine) -> F,
    ) -> Option<Ended>
    where
        F: Future<Output = Done> + 'static,
    {
        let future = Box::pin(make(Arc::clone(&self.all[server].engine)));
        let number = self.next_task;
        self.next_task += 1;
        self.tasks.insert(number, Task { server, id, work, future });
        self.poll(number)
    }

    pub(crate) fn poll(&mut self, number: u64) -> Option<Ended> {
        self.world.lock().unwrap().network.running = number;
        let task = self.tasks.get_mut(&number)?;
        let Poll::Ready(done) = task.future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        else {
            return None;
        };
        let Task { server, id, work, .. } = self.tasks.remove(&number)?;
        self.abandon(number);
        Some(Ended { server, id, work, done })
    }

    pub(crate) fn task(&self, number: u64) -> Option<&Task> {
        self.tasks.get(&number)
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// The process is killed: what it had asked for may arrive all the same. Answers the work that was cut off.
    pub(crate) fn kill(&mut self, server: usize) -> Vec<Work> {
        self.all[server].state = ServerState::Dead;
        let its = self.tasks.iter().filter(|(_, task)| task.server == server);
        let numbers: Vec<u64> = its.map(|(number, _)| *number).collect();
        let mut cut_off = Vec::new();
        for number in numbers {
            cut_off.extend(self.tasks.remove(&number).map(|task| task.work));
            self.abandon(number);
        }
        cut_off
    }

    /// What a task had asked for that is no more may arrive all the same.
    fn abandon(&self, task: u64) {
        let mut world = self.world.lock().unwrap();
        for wire in world.network.abandon(task) {
            if world.dice.once_in(2) {
                world.leave_ghost(wire);
            }
        }
    }

    pub(crate) fn restart(&mut self, server: usize) {
        let starts = self.all[server].starts + 1;
        let engine = self.engine(server as u64 * STARTS + starts);
        self.all[server] = Server { engine, state: ServerState::Runs, starts };
    }
}
