//! An upload as the shortest history that leads to it: what its journal says once it is compacted.

use super::{Phase, Role, Upload};
use crate::core::event::{CallOutcome, Durability, Event, Notice, Ticket};
use crate::core::extent::{Extent, ExtentSet};
use crate::core::retry::{Calls, LastCall};
use crate::core::time::{Stamp, Uptime};
use std::sync::Arc;

impl Upload {
    /// Events that make exactly this upload, in order; the ticket is the first. Ranges are recorded as durable: the
    /// caller has synced them.
    pub fn snapshot_events(&self) -> Vec<Event> {
        let mut events = vec![Event::Created(Box::new(Ticket::clone(&self.ticket)))];
        events.extend(self.sha256.map(|sha256| Event::Digested { sha256 }));
        events.extend(self.client.clone().map(Event::SentBy));
        if self.is_partial() {
            events.push(Event::Partial { at: self.last_active });
            let taken = |into| Event::Taken { at: self.last_active, into };
            events.extend(self.taken_by().map(taken));
        }
        if self.phase == Phase::New {
            return events;
        }
        if let (Role::Final { parts }, Some(length)) = (&self.role, self.length) {
            events.push(Event::Final { at: self.last_active, parts: Arc::clone(parts), length });
        }
        events.push(self.facts_event());
        events.extend(self.range_events());
        // Of what follows only the count is kept.
        let stamp = |uptime: Uptime| Stamp { date: self.last_active.date, uptime };
        match &self.phase {
            Phase::New | Phase::Uploading => {}
            Phase::HandingOver(calls) => {
                events.push(Event::Published { at: stamp(calls.since) });
                events.extend(call_events(calls, stamp));
            }
            Phase::Finished { at, calls } => {
                let at = stamp(*at);
                if let Role::Partial { into: Some(into) } = self.role {
                    events.push(Event::Joined { at, into });
                    return events;
                }
                events.push(Event::Published { at });
                events.extend(begun(*calls, at));
                events.push(Event::Finished { at });
            }
            Phase::Failed { at, reason, calls } => {
                let at = stamp(*at);
                events.push(Event::Published { at });
                events.extend(begun(*calls, at));
                events.push(Event::Failed { at, reason: reason.clone() });
            }
            Phase::Cancelled { at, reason, calls } => {
                let at = stamp(*at);
                let notice = if calls.is_some() { Notice::Due } else { Notice::NotDue };
                events.push(Event::Cancelled { at, reason: reason.clone(), notice });
                if let Some(calls) = calls {
                    if calls.since != at.uptime && calls.begun == calls.unanswered {
                        // No call was begun before the answer that moved it on.
                        let (at, outcome) = (stamp(calls.since), CallOutcome::Wait);
                        events.push(Event::CallEnded { at, outcome });
                    }
                    events.extend(call_events(calls, stamp));
                }
            }
        }
        events
    }

    fn facts_event(&self) -> Event {
        Event::Bound {
            at: self.last_active,
            length: self.length.filter(|_| self.ticket.length.is_none()),
            name: self.name.clone(),
            media_type: self.media_type.clone(),
            last_modified: self.last_modified,
            client_metadata: self.client_metadata.clone(),
        }
    }

    fn range_events(&self) -> Vec<Event> {
        let (at, durability) = (self.last_active, Durability::Durable);
        // A cancelled upload claims no byte, but keeps when its last one came.
        let cancelled = matches!(self.phase, Phase::Cancelled { .. });
        let gone = Extent::new(0, 1).filter(|_| cancelled);
        let ranges = gone.map_or_else(|| self.received.clone(), ExtentSet::of);
        let stored = |extent: &Extent| Event::Stored { at, extent: *extent, durability };
        ranges.as_slice().iter().map(stored).collect()
    }
}

/// The calls after one became pending at `calls.since`.
fn call_events(calls: &Calls, stamp: impl Fn(Uptime) -> Stamp) -> Vec<Event> {
    let since = stamp(calls.since);
    // Those that were answered, or came before a retry.
    let earlier = calls.begun.saturating_sub(calls.unanswered);
    let mut events = begun(earlier, since);
    match &calls.last {
        LastCall::None if earlier > 0 => events.push(Event::RetryAsked { at: since }),
        LastCall::Waiting { at } => {
            events.push(Event::CallEnded { at: stamp(*at), outcome: CallOutcome::Wait });
        }
        LastCall::Begun | LastCall::Unanswered { .. } if earlier > 0 => {
            events.push(Event::CallEnded { at: since, outcome: CallOutcome::Wait });
        }
        LastCall::None | LastCall::Begun | LastCall::Unanswered { .. } => {}
    }
    events.extend(begun(calls.unanswered, calls.first.map_or(since, &stamp)));
    if let LastCall::Unanswered { at, reason } = &calls.last {
        let outcome = CallOutcome::Retry(reason.clone());
        events.push(Event::CallEnded { at: stamp(*at), outcome });
    }
    events
}

fn begun(count: u32, at: Stamp) -> Vec<Event> {
    (0..count).map(|_| Event::CallBegun { at }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::fuzzing::{Source, history};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        /// Whatever happened to an upload, its snapshot leads to the same one.
        #[test]
        fn a_snapshot_makes_the_same_upload(data in prop::collection::vec(any::<u8>(), 0..600)) {
            let history = history(&mut Source::new(&data));
            let events = history.upload.snapshot_events();
            let mut again = Upload::new(history.ticket);
            events.iter().for_each(|event| again.apply(event));
            prop_assert_eq!(&again, &history.upload, "{:?}", events);
            prop_assert_eq!(again.snapshot_events(), events);
        }
    }
}
