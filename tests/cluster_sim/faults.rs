//! What becomes of processes, of the log and of what lies in the bucket, behind everybody's back.

use crate::schedule::Schedule;
use crate::servers::{Done, ServerState, Work};
use incoming::core::command::Command;
use incoming::core::event::{Event, Notice};
use incoming::core::id::TicketId;
use incoming::core::object_command::ObjectCommand;
use incoming::core::object_upload::ObjectUpload;
use incoming::core::piece_event::ObjectEvent;
use incoming::core::upload::Phase;
use incoming::storage::event_log::LogRead;
use incoming::storage::objects::{Key, ObjectRequest};

impl Schedule {
    /// What becomes of processes, of the log and of what lies in the bucket, behind everybody's back.
    pub(crate) fn machine(&mut self) {
        if !self.is_rough {
            return;
        }
        let (every, set_back, losses) = {
            let world = self.world();
            (world.plan.machine_in, world.plan.set_back, world.plan.losses)
        };
        if every != 0 && self.world().dice.once_in(every / 4) {
            let count = self.servers.all.len() as u64;
            let server = usize::try_from(self.world().dice.below(count)).unwrap();
            let state = self.servers.all[server].state;
            let kills = self.world().dice.once_in(2);
            self.world().note(|| format!("server {server}, {state:?}, kill {kills}"));
            match state {
                ServerState::Runs if kills => self.kill(server),
                ServerState::Runs => self.servers.all[server].state = ServerState::Paused,
                ServerState::Paused => self.servers.all[server].state = ServerState::Runs,
                ServerState::Dead => self.servers.restart(server),
            }
        }
        let id = self.world().dice.of(&self.ids);
        if set_back && self.world().dice.once_in(10) {
            self.set_log_back(id);
        }
        if losses && self.world().dice.once_in(10) {
            self.lose(id);
        }
        self.stray(id);
    }

    pub(crate) fn kill(&mut self, server: usize) {
        self.kills += 1;
        let cut_off = self.servers.kill(server);
        for work in cut_off {
            self.cut_off(work);
        }
        self.calls.retain(|(of, _, _)| *of != server);
        self.ends.retain(|(of, _, _, _)| *of != server);
        for known in self.world().model.uploads.values_mut() {
            known.calling.retain(|(of, _)| *of != server as u64);
        }
    }

    /// A failover has lost the last appends.
    fn set_log_back(&self, id: TicketId) {
        let mut world = self.world();
        let takes_bytes = world.truth(id).is_some_and(ObjectUpload::takes_bytes);
        let Some(head) = world.log.head(id).filter(|_| takes_bytes) else { return };
        let seq = world.dice.between(1, head.seq);
        world.note(|| format!("the log is set back to {seq}"));
        world.log.set_back(id, seq);
        let LogRead::More(all) = world.log.read(id, None) else {
            return;
        };
        let mut events = all.iter().flat_map(|append| append.events.iter());
        let Some(ObjectEvent::Upload(Event::Created(ticket))) = events.next() else { return };
        let mut truth = ObjectUpload::new((**ticket).clone());
        events.for_each(|event| truth.apply(event));
        world.model.set_back(id, truth);
    }

    /// The store loses an object, or somebody's rule aborts a multipart upload.
    fn lose(&self, id: TicketId) {
        let mut world = self.world();
        if !world.truth(id).is_some_and(ObjectUpload::takes_bytes) {
            return;
        }
        world.model.known(id).may_lose = true;
        if let Some(request) = world.foreign_part(id).filter(|_| world.dice.once_in(2)) {
            world.note(|| format!("a stranger overwrites a part: {request:?}"));
            drop(world.bucket.act(&request));
            return;
        }
        let multipart = world.bucket.multiparts().into_iter().find(|it| it.key.id == id);
        // What counts: an object that is lost just before its record is lost to whoever asks for it, the backend too.
        let counts = |key: &Key| {
            let truth = world.truth(id).filter(|_| key.id == id);
            let is_lost_in_time = !world.is_being_published(*key);
            is_lost_in_time && truth.is_some_and(|truth| truth.pieces().refers_to(key.name))
        };
        let key = world.bucket.keys().into_iter().find(counts);
        let aborts = world.dice.once_in(2);
        let request = match (multipart, key) {
            (Some(multipart), _) if aborts => ObjectRequest::Abort(multipart),
            (_, Some(key)) => ObjectRequest::Delete(key),
            (_, None) => return,
        };
        world.note(|| "lost:".to_owned());
        drop(world.ask(&request));
    }

    /// A client cancels, an operator has a handover tried again.
    fn stray(&mut self, id: TicketId) {
        let running = self.servers.running();
        if running.is_empty() {
            return;
        }
        let command = {
            let mut world = self.world();
            let phase = world.truth(id).map(|truth| truth.upload().phase().clone());
            let may_cancel = self.clients.iter().any(|it| it.id == id && it.plan.may_cancel);
            match phase {
                Some(Phase::New | Phase::Uploading) if may_cancel && world.dice.once_in(6) => {
                    world.model.known(id).cancel_asked = true;
                    let notice = world.dice.of(&[Notice::Due, Notice::NotDue]);
                    Command::Cancel { reason: "asked".into(), notice }
                }
                Some(Phase::Failed { .. }) if world.dice.once_in(3) => Command::Retry,
                _ => return,
            }
        };
        let server = self.world().dice.of(&running);
        let ended = self.servers.begin(server, id, Work::Change, |engine| async move {
            let changed = engine.change(id, ObjectCommand::Upload(command)).await;
            Done::Plain(changed.map(|_| ()))
        });
        self.ended(ended);
    }
}
