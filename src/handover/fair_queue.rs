//! Which of the calls that are due is made next: fair over destinations, whatever each of them does.
//!
//! A call takes a slot until it has ended. How many slots a destination may take depends on its
//! standing, and each standing has slots of its own. So a destination that keeps calls waiting takes none from
//! those that answer, however many calls are due for it and however many such destinations there are:
//!
//! | standing | its last call | calls at once | slots for the first calls | for further ones |
//! |---|---|---|---|---|
//! | answers | was answered, with whatever status | 16 | 1/4 of all | 3/16 |
//! | untried | there was none, or it failed at once | 4 | 3/8 | 1/16 |
//! | silent | waited in vain | 1 | 1/8 | none |
//!
//! Among the destinations that wait for slots of one kind it goes round; the calls of one destination
//! are made in the order in which they fell due. There is no clock here: how long a call took is an
//! argument.

use crate::core::host::Destination;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// The calls that are due, and the slots that running ones take.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    destinations: HashMap<Destination, State<T>>,
    /// For each kind of slot: destinations that have a call for one, in the order in which they are served.
    queues: [BTreeMap<u64, Destination>; KINDS.len()],
    free: [usize; KINDS.len()],
    next_position: u64,
    /// Destinations for which nothing is due and nothing runs.
    idle: usize,
}

/// A call that may be made now. Its slot is taken until [`FairQueue::release`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start<T> {
    pub(super) item: T,
    pub(super) destination: Destination,
    pub(super) kind: Kind,
}

/// How a call ended, as far as slots go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With an HTTP answer.
    Answered,
    /// Without one, after this long.
    Failed { after: Duration },
}

/// What kind of slot a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    standing: Standing,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Answers,
    Untried,
    Silent,
}

/// Whether other calls to the same destination run already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    First,
    Further,
}

#[derive(Debug)]
struct State<T> {
    standing: Standing,
    due: VecDeque<T>,
    running: usize,
    /// Where it stands in `queues`.
    position: Option<(Kind, u64)>,
    /// When its last call ended, counted in positions.
    last_end: u64,
}

impl<T> FairQueue<T> {
    /// A queue with so many slots, 32 at least.
    pub(super) fn new(slots: usize) -> Self {
        let slots = slots.max(LEAST_SLOTS);
        let free = KINDS.map(|kind| slots * kind.sixteenths() / 16);
        Self {
            destinations: HashMap::new(),
            queues: Default::default(),
            free,
            next_position: 0,
            idle: 0,
        }
    }

    /// A call is due.
    pub(super) fn push(&mut self, item: T, destination: &Destination) {
        let state = self.destinations.get_mut(destination);
        if state.as_ref().is_some_and(|state| state.is_idle()) {
            self.idle -= 1;
        }
        match state {
            Some(state) => state.due.push_back(item),
            None => {
                let state = State {
                    standing: Standing::Untried,
                    due: VecDeque::from([item]),
                    running: 0,
                    position: None,
                    last_end: 0,
                };
                self.destinations.insert(destination.clone(), state);
            }
        }
        self.enqueue(destination);
    }

    /// Takes the next call that has a slot.
    pub(super) fn next(&mut self) -> Option<Start<T>> {
        let kind = KINDS
            .into_iter()
            .find(|kind| self.free[kind.index()] > 0 && !self.queues[kind.index()].is_empty())?;
        let (_, destination) = self.queues[kind.index()].first_key_value()?;
        let destination = destination.clone();
        let state = self.destinations.get_mut(&destination)?;
        let item = state.due.pop_front()?;
        state.running += 1;
        self.free[kind.index()] -= 1;
        self.dequeue(&destination);
        self.enqueue(&destination);
        Some(Start { item, destination, kind })
    }

    /// A call has ended so; its slot is taken until it is released.
    pub(super) fn ended(&mut self, destination: &Destination, outcome: Outcome) {
        let Some(state) = self.destinations.get_mut(destination) else { return };
        state.standing = match (outcome, state.standing) {
            (Outcome::Answered, _) => Standing::Answers,
            (Outcome::Failed { after }, _) if after >= LONG => Standing::Silent,
            // It took no slot from anybody.
            (Outcome::Failed { .. }, Standing::Silent | Standing::Untried) => Standing::Untried,
            (Outcome::Failed { .. }, Standing::Answers) => Standing::Answers,
        };
        self.enqueue(destination);
    }

    /// Gives back the slot of a call.
    pub(super) fn release(&mut self, destination: &Destination, kind: Kind) {
        self.free[kind.index()] += 1;
        let Some(state) = self.destinations.get_mut(destination) else { return };
        state.running -= 1;
        state.last_end = self.next_position;
        if state.is_idle() {
            self.idle += 1;
        }
        self.enqueue(destination);
        if self.idle > REMEMBERED {
            self.evict();
        }
    }

    /// Puts a destination where it belongs now; at the end of the line, unless it stands in that line already.
    fn enqueue(&mut self, destination: &Destination) {
        let Some(state) = self.destinations.get(destination) else { return };
        let wanted = state.wanted();
        if state.position.map(|(kind, _)| kind) == wanted {
            return;
        }
        self.dequeue(destination);
        let Some(kind) = wanted else { return };
        let position = self.next_position;
        self.next_position += 1;
        self.queues[kind.index()].insert(position, destination.clone());
        if let Some(state) = self.destinations.get_mut(destination) {
            state.position = Some((kind, position));
        }
    }

    fn dequeue(&mut self, destination: &Destination) {
        let state = self.destinations.get_mut(destination);
        if let Some((kind, position)) = state.and_then(|state| state.position.take()) {
            self.queues[kind.index()].remove(&position);
        }
    }

    /// Forgets destinations for which nothing is due and nothing runs: those that do not answer first, and of
    /// those the ones called longest ago.
    fn evict(&mut self) {
        let idle = |(destination, state): (&Destination, &State<T>)| {
            let answers = state.standing == Standing::Answers;
            state.is_idle().then(|| (answers, state.last_end, destination.clone()))
        };
        let mut idle: Vec<_> = self.destinations.iter().filter_map(idle).collect();
        idle.sort_unstable_by_key(|(answers, last_end, _)| (*answers, *last_end));
        for (_, _, destination) in idle.into_iter().take(REMEMBERED / 4) {
            self.destinations.remove(&destination);
            self.idle -= 1;
        }
    }
}

impl<T> State<T> {
    fn is_idle(&self) -> bool {
        self.due.is_empty() && self.running == 0
    }

    /// The kind of slot that its next call needs, if it may be made.
    fn wanted(&self) -> Option<Kind> {
        if self.due.is_empty() || self.running >= self.standing.calls_at_once() {
            return None;
        }
        let order = if self.running == 0 { Order::First } else { Order::Further };
        Some(Kind { standing: self.standing, order })
    }
}

impl Standing {
    fn calls_at_once(self) -> usize {
        match self {
            Self::Answers => 16,
            Self::Untried => 4,
            Self::Silent => 1,
        }
    }
}

impl Kind {
    fn index(self) -> usize {
        match (self.standing, self.order) {
            (Standing::Answers, Order::First) => 0,
            (Standing::Answers, Order::Further) => 1,
            (Standing::Untried, Order::First) => 2,
            (Standing::Untried, Order::Further) => 3,
            (Standing::Silent, Order::First) => 4,
            (Standing::Silent, Order::Further) => 5,
        }
    }

    fn sixteenths(self) -> usize {
        match (self.standing, self.order) {
            (Standing::Answers, Order::First) => 4,
            (Standing::Answers, Order::Further) => 3,
            (Standing::Untried, Order::First) => 6,
            (Standing::Untried, Order::Further) => 1,
            (Standing::Silent, Order::First) => 2,
            (Standing::Silent, Order::Further) => 0,
        }
    }
}

const KINDS: [Kind; 6] = [
    Kind { standing: Standing::Answers, order: Order::First },
    Kind { standing: Standing::Answers, order: Order::Further },
    Kind { standing: Standing::Untried, order: Order::First },
    Kind { standing: Standing::Untried, order: Order::Further },
    Kind { standing: Standing::Silent, order: Order::First },
    Kind { standing: Standing::Silent, order: Order::Further },
];
/// Fewer slots would leave a standing without one.
const LEAST_SLOTS: usize = 32;
/// A call that fails sooner takes a slot for so short a time that nobody waits for it: refused
/// connections, names that do not exist.
const LONG: Duration = Duration::from_secs(2);
/// Destinations whose standing is remembered although nothing is due for them.
const REMEMBERED: usize = 4096;

#[cfg(test)]
#[path = "fair_queue/tests.rs"]
mod tests;
