//! The backend: calls to it, one at a time, and what it answers.

use crate::schedule::Schedule;
use crate::servers::{Done, ServerState, Work};
use crate::world::World;
use incoming::core::event::{CallOutcome, Removal};
use incoming::core::id::TicketId;
use incoming::core::upload::Phase;
use incoming::engine::objects::{Call, CallEnd};
use incoming::storage::objects::Key;
use std::sync::Arc;

impl Schedule {
    /// The first byte of a call, or its end.
    pub(crate) fn make_call(&mut self) {
        let which = self.world().dice.below(self.calls.len() as u64);
        let (server, id, call) = self.calls.swap_remove(usize::try_from(which).unwrap());
        match self.servers.all[server].state {
            ServerState::Paused => return self.calls.push((server, id, call)),
            ServerState::Dead => return,
            ServerState::Runs => {}
        }
        let engine = Arc::clone(&self.servers.all[server].engine);
        let local_ms = incoming::engine::objects::Backing::local_ms(engine.backing());
        if local_ms > call.begin_before_ms {
            return;
        }
        let mut world = self.world();
        let judged = judge_call(&mut world, id, server as u64, call);
        world.check(judged);
        let deaf = world.plan.deaf_backend;
        let again = world.dice.once_in(4);
        let sent = world.model.known(id).calls_sent;
        let end = if deaf && sent >= 2 {
            world.model.known(id).gave_up = true;
            CallEnd::GivenUp("no answer".into())
        } else if deaf || again {
            CallEnd::Open(CallOutcome::Retry("no answer".into()))
        } else if world.dice.once_in(6) {
            CallEnd::Open(CallOutcome::Wait)
        } else {
            world.model.known(id).settled = true;
            CallEnd::Delivered
        };
        // It lasts a while, but no longer than its deadline.
        let until = world.now_ms + world.dice.of(&[0, 3_000, 55_000]);
        world.model.known(id).calling.push((server as u64, until));
        drop(world);
        self.ends.push((server, id, until, end));
    }

    /// A call comes to its end, if one does now.
    pub(crate) fn end_call(&mut self) {
        let now = self.world().now_ms;
        let runs = |server: usize| self.servers.all[server].state == ServerState::Runs;
        let due = self.ends.iter().position(|(server, _, until, _)| *until <= now && runs(*server));
        let Some((server, id, until, end)) = due.map(|which| self.ends.swap_remove(which)) else {
            return;
        };
        self.world().model.known(id).calling.retain(|it| *it != (server as u64, until));
        let ended = self.servers.begin(server, id, Work::Change, |engine| async move {
            Done::Plain(engine.end_call(id, end).await)
        });
        self.ended(ended);
    }
}

fn judge_call(world: &mut World, id: TicketId, server: u64, call: Call) -> Result<(), String> {
    let (now, void) = (world.now_ms, world.plan.holds_are_void);
    let file =
        call.object.map(|name| world.bucket.object(Key { id, name }).map(|held| held.to_vec()));
    let known = world.model.known(id);
    known.calls_sent += 1;
    if known.calls_sent > known.calls_begun {
        return Err("a call without a record".into());
    }
    if now > known.last_begun_ms + 5000 {
        return Err("a call long after its record".into());
    }
    if known.calling.iter().any(|(of, until)| *of != server && *until > now) && !void {
        return Err("two calls at once".into());
    }
    let removed = known.truth.upload().ticket().removal == Removal::RemoveWhenFinished
        && matches!(known.truth.upload().phase(), Phase::Finished { .. });
    match file {
        Some(file) if file != known.file() && !removed => Err("handed over another file".into()),
        _ => Ok(()),
    }
}
