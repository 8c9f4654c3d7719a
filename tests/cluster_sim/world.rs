//! What all servers share: the log, the bucket, the clock, chance; and the model that watches every effect.

use crate::dice::Dice;
use crate::model::Model;
use crate::network::{Answer, Network, Pending, Wire};
use crate::plan::Plan;
use bytes::Bytes;
use incoming::core::grid::PartNumber;
use incoming::core::id::TicketId;
use incoming::core::object_upload::ObjectUpload;
use incoming::core::piece_event::{ObjectEvent, PieceEvent};
use incoming::storage::event_log::{Append, Appended, LogError, Seen};
use incoming::storage::memory::bucket::MemoryBucket;
use incoming::storage::memory::event_log::MemoryEventLog;
use incoming::storage::objects::{Key, Multipart, ObjectAnswer, ObjectError, ObjectRequest};
use std::collections::BTreeMap;

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    pub(crate) log: MemoryEventLog,
    pub(crate) bucket: MemoryBucket,
    pub(crate) network: Network,
    pub(crate) model: Model,
    pub(crate) now_ms: u64,
    /// Faults happen.
    pub(crate) is_rough: bool,
    /// Until then the store may say falsely that something is missing.
    pub(crate) flaky_until_ms: u64,
    names: BTreeMap<u64, u64>,
    trace: Trace,
    violation: Option<String>,
}

#[derive(Default)]
struct Trace {
    hash: u64,
    events: u64,
    loud: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It has its effect; the answer is lost.
    AnswerLost,
    /// It is given up, and has its effect later.
    Ghost,
    /// It never arrives, and nobody knows.
    Lost,
    /// Refused before anything was done.
    Busy,
    /// The store says that there is no such thing, and there is.
    SaidMissing,
}

impl World {
    pub(crate) fn new(seed: u64, loud: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::of(&mut dice);
        let trace = Trace { hash: 0xCBF2_9CE4_8422_2325, events: 0, loud };
        let mut world = Self {
            dice,
            log: MemoryEventLog::default(),
            bucket: MemoryBucket::new(plan.bucket),
            network: Network::default(),
            model: Model::default(),
            now_ms: 1000,
            is_rough: true,
            flaky_until_ms: 0,
            names: BTreeMap::new(),
            trace,
            violation: None,
            plan,
        };
        if loud {
            println!("{:?}", world.plan);
        }
        world.note(String::new);
        world
    }

    /// Adds a step to the trace.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        self.trace.events += 1;
        let state = self.dice.next() ^ self.now_ms;
        self.trace.hash = (self.trace.hash ^ state).wrapping_mul(0x0000_0100_0000_01B3);
        if self.trace.loud {
            println!("{:>9} {}", self.now_ms, what());
        }
    }

    pub(crate) fn trace(&self) -> (u64, u64) {
        (self.trace.hash, self.trace.events)
    }

    pub(crate) fn violation(&mut self, what: String) {
        if self.trace.loud {
            println!("{:>9} VIOLATION {what}", self.now_ms);
        }
        self.violation.get_or_insert(what);
    }

    pub(crate) fn violated(&self) -> Option<&String> {
        self.violation.as_ref()
    }

    pub(crate) fn check(&mut self, judged: Result<(), String>) {
        if let Err(what) = judged {
            self.violation(what);
        }
    }

    pub(crate) fn truth(&self, id: TicketId) -> Option<&ObjectUpload> {
        self.model.truth(id)
    }

    pub(crate) fn count_name(&mut self, server: u64) -> u64 {
        let _ = server;
        let count = self.names.entry(server).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn fragments_of(&self, id: TicketId) -> Vec<Key> {
        self.bucket.keys().into_iter().filter(|key| key.id == id).collect()
    }

    pub(crate) fn recorded_numbers(&self, id: TicketId) -> Vec<PartNumber> {
        let current = self.truth(id).and_then(|truth| truth.pieces().current());
        current.into_iter().flat_map(|current| current.parts()).map(|part| part.number).collect()
    }

    /// A request that overwrites a direct part that counts, as none of ours does. A log that was set back no longer says that
    /// it was found out.
    pub(crate) fn foreign_part(&self, id: TicketId) -> Option<ObjectRequest> {
        if self.plan.set_back {
            return None;
        }
        let current = self.truth(id)?.pieces().current()?;
        let part = current.parts().find(|part| part.number.is_direct())?;
        let key = Key { id, name: current.object };
        let multipart = Multipart { key, name: current.multipart.clone() };
        Some(ObjectRequest::Part(multipart, part.number, Bytes::from_static(b"stranger").into()))
    }

    /// Whether a server looks for this object, or has found it and says so.
    pub(crate) fn is_being_published(&self, key: Key) -> bool {
        let says = |append: &Append| {
            append.events.iter().any(|event| {
                matches!(event, ObjectEvent::Piece(PieceEvent::Published { object, .. }) if *object == key.name)
            })
        };
        let asks = |pending: &Pending| match &pending.wire {
            Wire::Store(ObjectRequest::Describe(asked)) => *asked == key,
            Wire::Append(id, _, append) => *id == key.id && says(append),
            _ => false,
        };
        let late = |(id, _, append): &(TicketId, Seen, Append)| *id == key.id && says(append);
        self.network.pending.iter().any(asks) || self.network.ghosts.iter().any(late)
    }

    /// Requests that were given up and may still arrive.
    pub(crate) fn ghosts(&self) -> usize {
        self.bucket.ghosts() + self.network.ghosts.len()
    }

    pub(crate) fn has_requests_under_way(&self) -> bool {
        let waits = |pending: &Pending| matches!(pending.wire, Wire::Store(_));
        self.bucket.ghosts() > 0 || self.network.pending.iter().any(waits)
    }

    fn fate(&mut self, wire: &Wire) -> Fate {
        if !self.is_rough {
            return Fate::Answered;
        }
        if let Wire::Store(request) = wire
            && self.now_ms < self.flaky_until_ms
            && !matches!(request, ObjectRequest::Put(..) | ObjectRequest::Begin(_))
            && self.dice.once_in(2)
        {
            return match request {
                ObjectRequest::Get(..)
                | ObjectRequest::Head(_)
                | ObjectRequest::Describe(_)
                | ObjectRequest::Part(..)
                | ObjectRequest::CopyPart(..)
                | ObjectRequest::Complete(..)
                | ObjectRequest::ListParts(_) => Fate::SaidMissing,
                _ => Fate::Answered,
            };
        }
        if !self.dice.once_in(self.plan.fault_in) {
            return Fate::Answered;
        }
        match wire {
            Wire::Read(..) | Wire::Hold(..) => self.dice.of(&[Fate::Answered, Fate::Lost]),
            Wire::Append(..) | Wire::Remove(..) => {
                self.dice.of(&[Fate::AnswerLost, Fate::Ghost, Fate::Lost])
            }
            Wire::Store(_) => self.dice.of(&[
                Fate::AnswerLost,
                Fate::AnswerLost,
                Fate::Ghost,
                Fate::Ghost,
                Fate::Lost,
                Fate::Busy,
            ]),
            Wire::Sleep(_) => Fate::Answered,
        }
    }

    /// Settles what becomes of a request, and what its sender will be told.
    pub(crate) fn settle(&mut self, wire: Wire) -> Answer {
        let fate = self.fate(&wire);
        if fate != Fate::Answered {
            self.note(|| format!("{fate:?}: {wire:?}"));
        }
        match fate {
            Fate::Answered => self.act(wire),
            Fate::AnswerLost => {
                let unsure = unsure(&wire);
                self.act(wire);
                unsure
            }
            Fate::Ghost => {
                let unsure = unsure(&wire);
                self.leave_ghost(wire);
                unsure
            }
            Fate::Lost => {
                if let Wire::Store(request) = &wire {
                    self.bucket.break_off(request);
                    self.after(request);
                }
                unsure(&wire)
            }
            Fate::Busy => Answer::Store(Err(ObjectError::Busy)),
            Fate::SaidMissing => Answer::Store(Err(ObjectError::Gone)),
        }
    }

    /// A request that nobody waits for any more arrives later.
    pub(crate) fn leave_ghost(&mut self, wire: Wire) {
        match wire {
            Wire::Append(id, seen, append) => self.network.leave_ghost(id, seen, append),
            Wire::Store(request) => self.bucket.leave_ghost(request),
            Wire::Read(..) | Wire::Hold(..) | Wire::Remove(..) | Wire::Sleep(_) => {}
        }
    }

    fn act(&mut self, wire: Wire) -> Answer {
        match wire {
            Wire::Read(id, seen) => Answer::Read(Ok(self.log.read(id, seen))),
            Wire::Append(id, seen, append) => Answer::Appended(Ok(self.append(id, seen, append))),
            Wire::Hold(id, holder, time_ms) => {
                self.note(|| format!("hold {holder} {time_ms}"));
                let free = self.log.hold(id, holder, self.now_ms, time_ms);
                // Servers that all go on at the same pace would make orphans for each other without end.
                let is_void = self.plan.holds_are_void && self.is_rough;
                Answer::Held(Ok(free || (is_void && self.truth(id).is_some())))
            }
            Wire::Remove(id, seen) => {
                let removed = self.log.remove(id, seen);
                if matches!(removed, Appended::At(_)) {
                    let judged = self.model.forgotten(id);
                    self.check(judged);
                }
                Answer::Appended(Ok(removed))
            }
            Wire::Store(request) => Answer::Store(self.ask(&request)),
            Wire::Sleep(_) => Answer::Slept,
        }
    }

    pub(crate) fn append(&mut self, id: TicketId, seen: Seen, append: Append) -> Appended {
        let events = std::sync::Arc::clone(&append.events);
        let appended = self.log.append(id, seen, append);
        if matches!(appended, Appended::At(_)) {
            self.note(|| format!("appended {events:?}"));
            let judged = self.model.appended(id, &events, &self.bucket, self.now_ms);
            self.check(judged);
            let judged = self.model.look(id, &self.bucket);
            self.check(judged);
        }
        appended
    }

    pub(crate) fn ask(&mut self, request: &ObjectRequest) -> Result<ObjectAnswer, ObjectError> {
        let judged = self.model.before(request, &self.bucket);
        self.check(judged);
        let answer = self.bucket.act(request);
        if answer.is_ok() {
            let judged = self.model.part_stored(request);
            self.check(judged);
        }
        self.note(|| format!("{request:?} -> {answer:?}"));
        self.after(request);
        answer
    }

    pub(crate) fn let_ghost_act(&mut self, which: usize) {
        let request = self.bucket.take_ghost(which);
        self.note(|| "a ghost:".to_owned());
        drop(self.ask(&request));
    }

    /// Whatever may have changed what lies there.
    fn after(&mut self, request: &ObjectRequest) {
        let changed = match request {
            ObjectRequest::Put(key, _) | ObjectRequest::Delete(key) => key.id,
            ObjectRequest::Part(multipart, ..)
            | ObjectRequest::CopyPart(multipart, ..)
            | ObjectRequest::Complete(multipart, _)
            | ObjectRequest::Abort(multipart) => multipart.key.id,
            ObjectRequest::Get(..)
            | ObjectRequest::Head(_)
            | ObjectRequest::Describe(_)
            | ObjectRequest::Begin(_)
            | ObjectRequest::ListParts(_)
            | ObjectRequest::List(_)
            | ObjectRequest::ListMultiparts(_) => return,
        };
        let judged = self.model.look(changed, &self.bucket);
        self.check(judged);
    }
}

fn unsure(wire: &Wire) -> Answer {
    match wire {
        Wire::Read(..) => Answer::Read(Err(LogError::Unsure)),
        Wire::Append(..) | Wire::Remove(..) => Answer::Appended(Err(LogError::Unsure)),
        Wire::Hold(..) => Answer::Held(Err(LogError::Unsure)),
        Wire::Store(_) => Answer::Store(Err(ObjectError::Unsure)),
        Wire::Sleep(_) => Answer::Slept,
    }
}
