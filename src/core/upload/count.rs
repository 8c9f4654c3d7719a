//! Uploads whose records hold dates alone, as versions before the count wrote them.

use super::{Phase, Upload};
use crate::core::retry::{Calls, LastCall};
use crate::core::time::Uptime;
use std::sync::Arc;

impl Upload {
    /// Whatever has no count happened at `from`. Tells whether there was such a thing.
    pub fn count_from(&mut self, from: Uptime) -> bool {
        let mut found = false;
        let mut set = |at: &mut Uptime| {
            if *at == Uptime::NONE {
                (*at, found) = (from, true);
            }
        };
        if self.ticket.created.uptime == Uptime::NONE {
            set(&mut Arc::make_mut(&mut self.ticket).created.uptime);
        }
        set(&mut self.last_active.uptime);
        match &mut self.phase {
            Phase::New | Phase::Uploading => {}
            Phase::HandingOver(calls) => times_of(calls).into_iter().for_each(set),
            Phase::Finished { at, .. } | Phase::Failed { at, .. } => set(at),
            Phase::Cancelled { at, calls, .. } => {
                set(at);
                calls.iter_mut().flat_map(times_of).for_each(set);
            }
        }
        found
    }
}

fn times_of(calls: &mut Calls) -> Vec<&mut Uptime> {
    let last = match &mut calls.last {
        LastCall::None | LastCall::Begun => None,
        LastCall::Waiting { at } | LastCall::Unanswered { at, .. } => Some(at),
    };
    std::iter::once(&mut calls.since).chain(last).collect()
}
