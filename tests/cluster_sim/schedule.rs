//! One schedule: clients, servers that stop and stand still, requests that get lost, in an order that chance decides; then
//! a time without faults, in which everything must come to its end.

use crate::clients::Client;
use crate::model::Known;
use crate::mutation::Mutation;
use crate::network::Wire;
use crate::plan::{IDLE, RETAIN};
use crate::seen::Seen;
use crate::servers::{Done, Ended, ServerState, Servers, Work};
use crate::world::World;
use incoming::core::callback::CallbackUrl;
use incoming::core::event::{Event, Ticket};
use incoming::core::id::TicketId;
use incoming::core::object_upload::ObjectUpload;
use incoming::core::piece_event::{ObjectEvent, Purpose};
use incoming::core::time::{Stamp, Timestamp, Uptime};
use incoming::core::upload::Phase;
use incoming::engine::objects::{Call, CallEnd};
use incoming::storage::event_log::{Append, Tag};
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
    pub(crate) ids: Vec<TicketId>,
    /// Calls that were recorded, and are to be made.
    pub(crate) calls: Vec<(usize, TicketId, Call)>,
    /// Calls under way, until when, and how they end.
    pub(crate) ends: Vec<(usize, TicketId, u64, CallEnd)>,
    pub(crate) is_rough: bool,
    ghosts: u64,
    pub(crate) kills: u64,
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

    pub(crate) fn violated(&self) -> bool {
        self.world().violated().is_some()
    }

    fn begin_uploads(&mut self) {
        let plans = self.world().plan.uploads.clone();
        for (number, plan) in plans.into_iter().enumerate() {
            let id = TicketId::from_random([u8::try_from(number).unwrap(); 16]);
            let at = Stamp { date: Timestamp(0), uptime: Uptime(self.world().now_ms) };
            let ticket = Ticket {
                removal: plan.removal,
                ..Ticket::new(id, at, CallbackUrl::from("http://backend/done"))
            };
            let mut world = self.world();
            world.model.uploads.insert(id, Known::new(ObjectUpload::new(ticket.clone())));
            let created = ObjectEvent::Upload(Event::Created(Box::new(ticket)));
            let append =
                Append { tag: Tag(number as u64 + 1), events: Arc::from([created]), marks: None };
            world.log.create(id, append);
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
