//! Which of the calls that are due is made next: fair over destinations, whatever each of them does.
//!
//! A call takes a place until it has ended. How many places a destination may take depends on its
//! standing, and each standing has places of its own. So a destination that keeps calls waiting takes none from
//! those that answer, however many calls are due for it and however many such destinations there are:
//!
//! | standing | its last call | calls at once | places for the first calls | for further ones |
//! |---|---|---|---|---|
//! | answers | was answered, with whatever status | 16 | 1/4 of all | 3/16 |
//! | untried | there was none, or it failed at once | 4 | 3/8 | 1/16 |
//! | silent | waited in vain | 1 | 1/8 | none |
//!
//! Among the destinations that wait for places of one kind it goes round; the calls of one destination
//! are made in the order in which they fell due. There is no clock here: how long a call took is an
//! argument.

use crate::core::destination::Destination;
use crate::core::id::TicketId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// The calls that are due, and the places that running ones take.
#[derive(Debug)]
pub(super) struct Schedule {
    destinations: HashMap<Destination, State>,
    /// For each kind of place: destinations that have a call for one, in the order of their turns.
    turns: [BTreeMap<u64, Destination>; KINDS.len()],
    free: [usize; KINDS.len()],
    next_turn: u64,
    /// Destinations for which nothing is due and nothing runs.
    idle: usize,
}

/// A call that may be made now. Its place is taken until [`Schedule::release`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) id: TicketId,
    pub(super) destination: Destination,
    pub(super) kind: Kind,
}

/// How a call ended, as far as places go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With an HTTP answer.
    Answered,
    /// Without one, after this long.
    Failed { after: Duration },
}

/// What kind of place a call takes.
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
struct State {
    standing: Standing,
    due: VecDeque<TicketId>,
    running: usize,
    /// Where it stands in `turns`.
    turn: Option<(Kind, u64)>,
    /// When its last call ended, counted in turns.
    last_end: u64,
}

impl Schedule {
    /// A schedule with so many places, 32 at least.
    pub(super) fn new(places: usize) -> Self {
        let places = places.max(LEAST_PLACES);
        let free = KINDS.map(|kind| places * kind.sixteenths() / 16);
        Self {
            destinations: HashMap::new(),
            turns: Default::default(),
            free,
            next_turn: 0,
            idle: 0,
        }
    }

    /// A call is due.
    pub(super) fn push(&mut self, id: TicketId, destination: &Destination) {
        let state = self.destinations.get_mut(destination);
        if state.as_ref().is_some_and(|state| state.is_idle()) {
            self.idle -= 1;
        }
        match state {
            Some(state) => state.due.push_back(id),
            None => {
                let state = State {
                    standing: Standing::Untried,
                    due: VecDeque::from([id]),
                    running: 0,
                    turn: None,
                    last_end: 0,
                };
                self.destinations.insert(destination.clone(), state);
            }
        }
        self.line_up(destination);
    }

    /// Takes the next call that has a place.
    pub(super) fn next(&mut self) -> Option<Start> {
        let kind = KINDS
            .into_iter()
            .find(|kind| self.free[kind.index()] > 0 && !self.turns[kind.index()].is_empty())?;
        let (_, destination) = self.turns[kind.index()].first_key_value()?;
        let destination = destination.clone();
        let state = self.destinations.get_mut(&destination)?;
        let id = state.due.pop_front()?;
        state.running += 1;
        self.free[kind.index()] -= 1;
        self.leave(&destination);
        self.line_up(&destination);
        Some(Start { id, destination, kind })
    }

    /// A call has ended so; its place is taken until it is released.
    pub(super) fn ended(&mut self, destination: &Destination, outcome: Outcome) {
        let Some(state) = self.destinations.get_mut(destination) else { return };
        state.standing = match (outcome, state.standing) {
            (Outcome::Answered, _) => Standing::Answers,
            (Outcome::Failed { after }, _) if after >= LONG => Standing::Silent,
            // It took no place from anybody.
            (Outcome::Failed { .. }, Standing::Silent | Standing::Untried) => Standing::Untried,
            (Outcome::Failed { .. }, Standing::Answers) => Standing::Answers,
        };
        self.line_up(destination);
    }

    /// Gives back the place of a call.
    pub(super) fn release(&mut self, destination: &Destination, kind: Kind) {
        self.free[kind.index()] += 1;
        let Some(state) = self.destinations.get_mut(destination) else { return };
        state.running -= 1;
        state.last_end = self.next_turn;
        if state.is_idle() {
            self.idle += 1;
        }
        self.line_up(destination);
        if self.idle > REMEMBERED {
            self.forget();
        }
    }

    /// Puts a destination where it belongs now; at the end of the line, unless it stands in that line already.
    fn line_up(&mut self, destination: &Destination) {
        let Some(state) = self.destinations.get(destination) else { return };
        let wanted = state.wanted();
        if state.turn.map(|(kind, _)| kind) == wanted {
            return;
        }
        self.leave(destination);
        let Some(kind) = wanted else { return };
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns[kind.index()].insert(turn, destination.clone());
        if let Some(state) = self.destinations.get_mut(destination) {
            state.turn = Some((kind, turn));
        }
    }

    fn leave(&mut self, destination: &Destination) {
        let state = self.destinations.get_mut(destination);
        if let Some((kind, turn)) = state.and_then(|state| state.turn.take()) {
            self.turns[kind.index()].remove(&turn);
        }
    }

    /// Forgets destinations for which nothing is due and nothing runs: those that do not answer first, and of
    /// those the ones called longest ago.
    fn forget(&mut self) {
        let idle = |(destination, state): (&Destination, &State)| {
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

impl State {
    fn is_idle(&self) -> bool {
        self.due.is_empty() && self.running == 0
    }

    /// The kind of place that its next call needs, if it may be made.
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
/// Fewer places would leave a standing without one.
const LEAST_PLACES: usize = 32;
/// A call that fails sooner takes a place for so short a time that nobody waits for it: refused
/// connections, names that do not exist.
const LONG: Duration = Duration::from_secs(2);
/// Destinations whose standing is remembered although nothing is due for them.
const REMEMBERED: usize = 4096;

#[cfg(test)]
#[path = "schedule/tests.rs"]
mod tests;
