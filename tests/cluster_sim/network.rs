//! Requests between servers, log and bucket: each waits until the schedule says what becomes of it.

use incoming::core::id::TicketId;
use incoming::storage::event_log::{Append, Appended, LogError, LogRead, Seen};
use incoming::storage::objects::{ObjectAnswer, ObjectError, ObjectRequest};
use std::sync::{Arc, Mutex};

/// What a server asks for.
#[derive(Clone, Debug)]
pub(crate) enum Wire {
    Read(TicketId, Option<Seen>),
    Append(TicketId, Seen, Append),
    /// By whom, for how many milliseconds.
    Hold(TicketId, u64, u64),
    Remove(TicketId, Seen),
    Store(ObjectRequest),
    /// Until this moment.
    Sleep(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Read(Result<LogRead, LogError>),
    Appended(Result<Appended, LogError>),
    Held(Result<bool, LogError>),
    Store(Result<ObjectAnswer, ObjectError>),
    Slept,
}

pub(crate) struct Pending {
    /// The task that waits for it.
    pub(crate) task: u64,
    pub(crate) wire: Wire,
    /// What it will be told, once that is settled.
    pub(crate) answer: Option<Answer>,
    slot: Arc<Mutex<Option<Answer>>>,
}

#[derive(Default)]
pub(crate) struct Network {
    pub(crate) pending: Vec<Pending>,
    /// Appends that were given up, and arrive all the same some time.
    pub(crate) ghosts: Vec<(TicketId, Seen, Append)>,
    /// The task that is running.
    pub(crate) running: u64,
}

impl Network {
    pub(crate) fn send(&mut self, wire: Wire, slot: Arc<Mutex<Option<Answer>>>) {
        self.pending.push(Pending { task: self.running, wire, answer: None, slot });
    }

    pub(crate) fn leave_ghost(&mut self, id: TicketId, seen: Seen, append: Append) {
        self.ghosts.push((id, seen, append));
    }

    /// Hands an answer to its task, which can run on then.
    pub(crate) fn deliver(&mut self, which: usize) -> u64 {
        let pending = self.pending.swap_remove(which);
        *pending.slot.lock().unwrap() = pending.answer;
        pending.task
    }

    /// The task is no more; answers what it had asked for and not been told of.
    pub(crate) fn abandon(&mut self, task: u64) -> Vec<Wire> {
        let mut left = Vec::new();
        self.pending.retain(|pending| {
            let is_its = pending.task == task;
            if is_its && pending.answer.is_none() {
                left.push(pending.wire.clone());
            }
            !is_its
        });
        left
    }
}
