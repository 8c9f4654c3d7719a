//! Clients: they send chunks with bytes of their own to any server, ask how things stand, and hold the servers to what
//! they were told.

use crate::model::{Request, byte};
use crate::plan::{CELL, UploadPlan};
use crate::schedule::Schedule;
use crate::servers::{Done, Work};
use bytes::Bytes;
use incoming::core::extent::{Extent, ExtentSet};
use incoming::core::id::TicketId;
use incoming::core::piece_event::ClaimId;
use incoming::core::upload::Phase;
use incoming::engine::objects::{Chunk, ObjectChangeError, View};

pub(crate) struct Client {
    pub(crate) id: TicketId,
    pub(crate) plan: UploadPlan,
    actions: u64,
    /// What it waits for.
    waits: Option<Waiting>,
    /// What it was last told is there.
    told: Option<ExtentSet>,
}

#[derive(Clone, Debug)]
enum Waiting {
    Put(usize),
    /// What had been acknowledged when it asked.
    Status(ExtentSet),
}

impl Client {
    pub(crate) fn new(id: TicketId, plan: UploadPlan) -> Self {
        Self { id, plan, actions: plan.actions, waits: None, told: None }
    }
}

impl Schedule {
    pub(crate) fn client_acts(&mut self) {
        let running = self.servers.running();
        let idle = |number: &usize| {
            let client = &self.clients[*number];
            client.waits.is_none() && (client.actions > 0 || !self.is_rough)
        };
        let idle: Vec<usize> = (0..self.clients.len()).filter(idle).collect();
        if idle.is_empty() || running.is_empty() {
            return;
        }
        let (number, server) = {
            let mut world = self.world();
            (world.dice.of(&idle), world.dice.of(&running))
        };
        let (id, plan) = (self.clients[number].id, self.clients[number].plan);
        let open = self
            .world()
            .truth(id)
            .is_some_and(|truth| truth.takes_bytes() && !truth.awaits_publish());
        if !open {
            return;
        }
        self.clients[number].actions = self.clients[number].actions.saturating_sub(1);
        let missing = match (&self.clients[number].told, self.is_rough) {
            (None, false) => return self.ask_status(number, server),
            (Some(told), false) => {
                // An honest client: what it was told is missing, and the length.
                let whole = Extent::new(0, plan.bytes);
                whole.and_then(|whole| told.missing_in(whole).as_slice().first().copied())
            }
            (_, true) => {
                if self.world().dice.once_in(5) {
                    return self.ask_status(number, server);
                }
                self.draw_extent(plan)
            }
        };
        self.put(number, server, missing);
    }

    fn draw_extent(&self, plan: UploadPlan) -> Option<Extent> {
        let mut world = self.world();
        let dice = &mut world.dice;
        match dice.below(4) {
            0 => Extent::new(0, plan.bytes),
            1 => {
                // Whole cells.
                let cells = plan.bytes.div_ceil(CELL);
                let first = dice.below(cells);
                let last = dice.between(first, cells.max(1) - 1);
                Extent::new(first * CELL, ((last + 1) * CELL).min(plan.bytes))
            }
            _ => {
                let start = dice.below(plan.bytes);
                let end = dice.between(start, plan.bytes);
                Extent::new(start, end)
            }
        }
    }

    fn put(&mut self, client: usize, server: usize, extent: Option<Extent>) {
        let (id, plan) = (self.clients[client].id, self.clients[client].plan);
        let (start, end) = extent.map_or((0, 0), |extent| (extent.start(), extent.end()));
        let tells = plan.tells_length || !self.is_rough;
        if extent.is_none() && !tells {
            return;
        }
        let (request, chunk, shrunk) = {
            let mut world = self.world();
            let request = world.model.requests.len();
            world.model.requests.push(Request { id, start, end });
            let body: Vec<u8> = (start..end).map(|offset| byte(request, offset)).collect();
            let chunk = Chunk {
                claim: ClaimId(request as u64),
                offset: start,
                body: Bytes::from(body),
                length: tells.then_some(plan.bytes),
                pieces_an_append: world.plan.pieces_an_append,
            };
            world.note(|| format!("client {client} sends {start}..{end} to {server}"));
            (request, chunk, world.model.known(id).shrunk)
        };
        self.clients[client].waits = Some(Waiting::Put(request));
        let work = Work::Put { request, shrunk };
        let ended = self.servers.begin(server, id, work, |engine| async move {
            Done::View(engine.receive(id, chunk).await)
        });
        self.ended(ended);
    }

    fn ask_status(&mut self, client: usize, server: usize) {
        let id = self.clients[client].id;
        let (acknowledged, shrunk) = {
            let mut world = self.world();
            let known = world.model.known(id);
            (known.acknowledged.clone(), known.shrunk)
        };
        self.clients[client].waits = Some(Waiting::Status(acknowledged));
        let work = Work::Status { client, shrunk };
        let ended = self
            .servers
            .begin(server, id, work, |engine| async move { Done::View(engine.view(id).await) });
        self.ended(ended);
    }

    pub(crate) fn put_ended(
        &mut self,
        id: TicketId,
        request: usize,
        shrunk: u32,
        result: Result<View, ObjectChangeError>,
    ) {
        self.free_client_of(request);
        let mut world = self.world();
        let (start, end) = (world.model.requests[request].start, world.model.requests[request].end);
        world.note(|| format!("{start}..{end} answered: {:?}", result.as_ref().err()));
        let (Ok(_), Some(extent)) = (result, Extent::new(start, end)) else { return };
        let known = world.model.known(id);
        if known.forgotten || known.shrunk != shrunk {
            return;
        }
        let is_cancelled = matches!(known.truth.upload().phase(), Phase::Cancelled { .. });
        let counts = known.truth.upload().received().contains(extent);
        known.acknowledged.insert(extent);
        if !counts && !is_cancelled {
            world.violation(format!("{extent:?} is acknowledged, and does not count"));
        }
    }

    pub(crate) fn status_ended(
        &mut self,
        id: TicketId,
        client: usize,
        shrunk: u32,
        result: Result<View, ObjectChangeError>,
    ) {
        let Some(Waiting::Status(acknowledged)) = self.clients[client].waits.take() else { return };
        let mut world = self.world();
        let Ok(view) = result else { return };
        let known = world.model.known(id);
        if known.forgotten || known.shrunk != shrunk {
            return;
        }
        let received = view.upload.upload().received();
        let shows = acknowledged.as_slice().iter().all(|extent| received.contains(*extent));
        let is_cancelled = matches!(view.upload.upload().phase(), Phase::Cancelled { .. });
        let is_truth = *view.upload == known.truth;
        if !shows && !is_cancelled {
            world.violation("what was acknowledged is not shown".into());
        }
        if world.log.head(id) == Some(view.seen) && !is_truth {
            world.violation("memory is not what the log says".into());
        }
        let known_seq = world.log.head(id).is_some_and(|head| view.seen.seq <= head.seq);
        let history = world.log.read(id, Some(view.seen));
        let is_known = matches!(history, incoming::storage::event_log::LogRead::More(_));
        if !(known_seq && is_known) {
            world.violation("what is shown is not in the log".into());
        }
        drop(world);
        self.clients[client].told = Some(view.upload.upload().received().clone());
    }

    /// The server has died: the client hears nothing.
    pub(crate) fn cut_off(&mut self, work: Work) {
        match work {
            Work::Put { request, .. } => self.free_client_of(request),
            Work::Status { client, .. } => self.clients[client].waits = None,
            _ => {}
        }
    }

    fn free_client_of(&mut self, request: usize) {
        for client in &mut self.clients {
            if matches!(client.waits, Some(Waiting::Put(of)) if of == request) {
                client.waits = None;
                client.told = None;
            }
        }
    }
}
