//! One schedule: clients, servers that stop and stand still, requests that get lost, in an order that chance decides; then
//! a time without faults, in which everything must come to its end.

use crate::clients::Client;
use crate::model::{Known, Seen};
use crate::mutation::Mutation;
use crate::network::Wire;
use crate::plan::{IDLE, RETAIN};
use crate::servers::{Done, Ended, ServerState, Servers, Work};
use crate::world::World;
use incoming::core::callback::CallbackUrl;
use incoming::core::command::Command;
use incoming::core::event::{
    CallOutcome, DigestRequest, Event, Notice, Removal, Ticket, TicketFile,
};
use incoming::core::id::TicketId;
use incoming::core::object_upload::{ObjectCommand, ObjectUpload};
use incoming::core::piece_event::{ObjectEvent, Purpose};
use incoming::core::time::{Stamp, Timestamp, Uptime};
use incoming::core::upload::Phase;
use incoming::engine::objects::{Call, CallEnd};
use incoming::storage::event_log::Tag;
use incoming::storage::objects::{Key, ObjectRequest};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a schedule came to.
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    pub(crate) trace: (u64, u64),
    pub(crate) puts: u64,
    pub(crate) finished: u64,
    pub(crate) ghosts: u64,
    pub(crate) kills: u64,
    pub(crate) seen: BTreeMap<Seen, u64>,
}

pub(crate) struct Schedule {
    pub(crate) servers: Servers,
    pub(crate) clients: Vec<Client>,
    ids: Vec<TicketId>,
    /// Calls that were recorded, and are to be made.
    calls: Vec<(usize, TicketId, Call)>,
    /// Calls under way, until when, and how they end.
    ends: Vec<(usize, TicketId, u64, CallEnd)>,
    pub(crate) is_rough: bool,
    ghosts: u64,
    kills: u64,
}

/// Steps without faults after which everything must have come to rest.
const REST: u64 = 6000;

pub(crate) fn run(seed: u64, loud: bool, mutation: Option<Mutation>) -> Outcome {
    let world = Arc::new(Mutex::new(World::new(seed, loud)));
    let mut schedule = Schedule {
        servers: Servers::new(&world, mutation),
        clients: Vec::new(),
        ids: Vec::new(),
        calls: Vec::new(),
        ends: Vec::new(),
        is_rough: true,
        ghosts: 0,
        kills: 0,
    };
    schedule.begin_uploads();
    let steps = world.lock().unwrap().plan.steps;
    for _ in 0..steps {
        if schedule.violated() {
            break;
        }
        schedule.step();
    }
    schedule.settle();
    let world = world.lock().unwrap();
    let finished = |known: &&Known| matches!(known.truth.upload().phase(), Phase::Finished { .. });
    Outcome {
        violation: world.violated().cloned(),
        trace: world.trace(),
        puts: world.model.requests.len() as u64,
        finished: world.model.uploads.values().filter(finished).count() as u64,
        ghosts: schedule.ghosts,
        kills: schedule.kills,
        seen: world.model.seen.clone(),
    }
}

impl Schedule {
    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.servers.world.lock().unwrap()
    }

    fn violated(&self) -> bool {
        self.world().violated().is_some()
    }

    fn begin_uploads(&mut self) {
        let plans = self.world().plan.uploads.clone();
        for (number, plan) in plans.into_iter().enumerate() {
            let id = TicketId::from_random([u8::try_from(number).unwrap(); 16]);
            let at = Stamp { date: Timestamp(0), uptime: Uptime(self.world().now_ms) };
            let ticket = Ticket {
                id,
                created: at,
                finish_url: CallbackUrl::from("http://backend/done"),
                secret: String::new(),
                removal: plan.removal,
                max_bytes: None,
                length: None,
                digest: DigestRequest::None,
                metadata: String::new(),
                idle_timeout: None,
                file: TicketFile::default(),
            };
            let mut world = self.world();
            world.model.uploads.insert(id, Known::new(ObjectUpload::new(ticket.clone())));
            let created = ObjectEvent::Upload(Event::Created(Box::new(ticket)));
            world.log.create(id, Tag(number as u64 + 1), created);
            drop(world);
            self.ids.push(id);
            for _ in 0..plan.clients {
                self.clients.push(Client::new(id, plan));
            }
        }
    }

    fn step(&mut self) {
        {
            let mut world = self.world();
            let more = world.dice.of(&[0, 1, 10, 300]);
            world.now_ms += more;
            if world.is_rough && world.dice.once_in(80) {
                // Also longer than any hold.
                let more = world.dice.of(&[7_000, 20_000, 70_000, 100_000]);
                world.now_ms += more;
            }
            // Once, and shorter than the pause before a second look.
            let may = world.plan.flaky && world.is_rough && world.flaky_until_ms == 0;
            if may && world.dice.once_in(30) {
                world.flaky_until_ms = world.now_ms + 40_000;
            }
        }
        let drawn = self.world().dice.below(20);
        match drawn {
            0..12 if self.deliver() => {}
            0..14 => self.client_acts(),
            14..17 => self.background(),
            17 => self.ghost_acts(),
            _ => self.machine(),
        }
    }

    /// Settles what becomes of a request, or tells its sender.
    fn deliver(&mut self) -> bool {
        let mut world = self.world();
        let now = world.now_ms;
        let ready: Vec<usize> = (0..world.network.pending.len())
            .filter(|number| {
                let pending = &world.network.pending[*number];
                let sleeps = matches!(pending.wire, Wire::Sleep(until) if until > now);
                let stands_still = pending.answer.is_some()
                    && self.servers.task(pending.task).is_some_and(|task| {
                        self.servers.all[task.server].state == ServerState::Paused
                    });
                !sleeps && !stands_still
            })
            .collect();
        if ready.is_empty() {
            return false;
        }
        let which = world.dice.of(&ready);
        if world.network.pending[which].answer.is_none() {
            let wire = world.network.pending[which].wire.clone();
            let answer = world.settle(wire);
            world.network.pending[which].answer = Some(answer);
            let task = world.network.pending[which].task;
            let stands_still = self
                .servers
                .task(task)
                .is_some_and(|task| self.servers.all[task.server].state == ServerState::Paused);
            if stands_still || world.dice.once_in(2) {
                return true;
            }
        }
        let task = world.network.deliver(which);
        drop(world);
        let ended = self.servers.poll(task);
        self.ended(ended);
        true
    }

    pub(crate) fn ended(&mut self, ended: Option<Ended>) {
        let Some(Ended { server, id, work, done }) = ended else { return };
        match (work, done) {
            (Work::Put { request, shrunk }, Done::View(result)) => {
                self.put_ended(id, request, shrunk, result);
            }
            (Work::Status { client, shrunk }, Done::View(result)) => {
                self.status_ended(id, client, shrunk, result);
            }
            (Work::Call, Done::Call(Ok(Some(call)))) => self.calls.push((server, id, call)),
            (_, Done::Plain(Ok(()))) if matches!(work, Work::Advance | Work::Clean) => {}
            (_, _) => {}
        }
    }

    /// What servers do by themselves, when the row of an upload says that it is due.
    fn background(&mut self) {
        if !self.calls.is_empty() && self.world().dice.once_in(2) {
            return self.make_call();
        }
        self.end_call();
        let running = self.servers.running();
        if running.is_empty() {
            return;
        }
        let (server, id) = {
            let mut world = self.world();
            (world.dice.of(&running), world.dice.of(&self.ids))
        };
        let Some(work) = self.due(id) else { return };
        let busy = self.servers.tasks().any(|task| {
            task.server == server
                && task.id == id
                && std::mem::discriminant(&task.work) == std::mem::discriminant(&work)
        });
        if busy {
            return;
        }
        let ended = self.servers.begin(server, id, work, |engine| async move {
            match work {
                Work::Advance => Done::Plain(engine.advance(id).await),
                Work::Clean => Done::Plain(engine.clean(id).await),
                Work::Call => Done::Call(engine.begin_call(id).await),
                Work::Forget => Done::Plain(engine.forget(id, RETAIN).await.map(|_| ())),
                Work::Change => Done::Plain(engine.expire(id, IDLE).await),
                Work::Put { .. } | Work::Status { .. } => Done::Plain(Ok(())),
            }
        });
        self.ended(ended);
    }

    fn due(&self, id: TicketId) -> Option<Work> {
        let mut world = self.world();
        let now = Uptime(world.now_ms);
        let truth = world.truth(id)?;
        let phase = truth.upload().phase().clone();
        let idle = now.since(truth.upload().last_active().uptime) >= IDLE;
        let has_generation = truth.pieces().current().is_some();
        let awaits_publish = truth.awaits_publish();
        let over = truth.over_since().is_some_and(|since| now.since(since) >= RETAIN);
        // No request is under way for longer than an upload is kept.
        let over = over && !world.has_requests_under_way();
        Some(match phase {
            Phase::New | Phase::Uploading if awaits_publish => Work::Advance,
            Phase::New | Phase::Uploading if idle => Work::Change,
            Phase::New | Phase::Uploading if has_generation => Work::Advance,
            Phase::New | Phase::Uploading => return None,
            _ if over => Work::Forget,
            _ if world.dice.once_in(3) => Work::Clean,
            Phase::HandingOver(_) | Phase::Cancelled { calls: Some(_), .. } => Work::Call,
            Phase::Failed { .. } | Phase::Finished { .. } | Phase::Cancelled { .. } => return None,
        })
    }

    /// The first byte of a call, or its end.
    fn make_call(&mut self) {
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
            CallEnd::Settled
        };
        // It lasts a while, but no longer than its deadline.
        let until = world.now_ms + world.dice.of(&[0, 3_000, 55_000]);
        world.model.known(id).calling.push((server as u64, until));
        drop(world);
        self.ends.push((server, id, until, end));
    }

    /// A call comes to its end, if one does now.
    fn end_call(&mut self) {
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

    fn ghost_acts(&mut self) {
        let mut world = self.world();
        let (objects, appends) = (world.bucket.ghosts() as u64, world.network.ghosts.len() as u64);
        if objects + appends == 0 {
            return;
        }
        let which = world.dice.below(objects + appends);
        match which.checked_sub(objects) {
            None => world.let_ghost_act(usize::try_from(which).unwrap()),
            Some(which) => {
                let which = usize::try_from(which).unwrap();
                let (id, seen, append) = world.network.ghosts.swap_remove(which);
                world.note(|| "a ghost:".to_owned());
                world.append(id, seen, append);
            }
        }
        drop(world);
        self.ghosts += 1;
    }

    /// What becomes of processes, of the log and of what lies in the bucket, behind everybody's back.
    fn machine(&mut self) {
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

    fn kill(&mut self, server: usize) {
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
        let incoming::storage::event_log::LogRead::More(all) = world.log.read(id, None) else {
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
        let multipart = world.bucket.multiparts().into_iter().find(|it| it.key.id == id);
        // What counts: an object that is lost just before its record is lost to whoever asks for it, the backend too.
        let counts = |key: &Key| {
            let truth = world.truth(id).filter(|_| key.id == id);
            truth.is_some_and(|truth| truth.pieces().refers_to(key.name))
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

    /// Without faults: servers run, ghosts come, clients send what is missing. Then nothing may be left over.
    fn settle(&mut self) {
        self.is_rough = false;
        for server in 0..self.servers.all.len() {
            match self.servers.all[server].state {
                ServerState::Runs => {}
                ServerState::Paused => self.servers.all[server].state = ServerState::Runs,
                ServerState::Dead => self.servers.restart(server),
            }
        }
        {
            let mut world = self.world();
            world.is_rough = false;
            world.plan.deaf_backend = false;
            world.note(|| "no more faults".to_owned());
        }
        let mut quiet = 0;
        for _ in 0..REST {
            if self.violated() {
                return;
            }
            self.step();
            let over = self.world().model.uploads.values().all(|known| known.forgotten);
            let idle = self.servers.tasks().next().is_none();
            let ghosts = self.world().ghosts();
            if over && idle && ghosts == 0 {
                return self.look_for_litter();
            }
            // Nobody moves: time passes.
            let moves = idle && self.calls.is_empty() || quiet > 20;
            quiet = if moves { 0 } else { quiet + 1 };
            if moves {
                self.pass_time();
            }
        }
        let states: Vec<_> = self.world().model.uploads.values().map(describe).collect();
        self.world().violation(format!("does not come to rest: {states:?}"));
    }

    fn pass_time(&self) {
        let mut world = self.world();
        let ghosts = world.ghosts();
        let over = world.model.uploads.values().all(Known::is_over);
        // Retention is longer than any ghost waits.
        world.now_ms += if over && ghosts == 0 { 400_000 } else { 2_000 };
    }

    /// The sweep removes what belongs to uploads without a log, and never a file.
    fn look_for_litter(&self) {
        let mut world = self.world();
        let keys = world.bucket.keys();
        let swept = keys.iter().filter(|key| key.name.purpose == Purpose::Fragment);
        for key in swept.copied().collect::<Vec<Key>>() {
            drop(world.bucket.act(&ObjectRequest::Delete(key)));
        }
        let kept: Vec<Key> = world
            .model
            .uploads
            .iter()
            .filter_map(|(id, known)| known.truth.kept_object().map(|name| Key { id: *id, name }))
            .collect();
        for key in &kept {
            let held = world.bucket.object(*key).map(|held| held.to_vec());
            let fits = held.is_some() && held == world.model.known(key.id).file();
            if !fits {
                world.violation("the file of a backend is gone".into());
            }
        }
        let left = world.bucket.keys().into_iter().find(|key| !kept.contains(key));
        if let Some(key) = left {
            world.violation(format!("left over: {:?}", key.name));
        }
    }
}

fn describe(known: &Known) -> String {
    let upload = known.truth.upload();
    let (phase, received) = (upload.phase(), upload.received());
    format!(
        "{phase:?} {:?} of {:?}, {:?}",
        received.as_slice(),
        upload.length(),
        known.truth.pieces().current()
    )
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
