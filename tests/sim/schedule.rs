//! One schedule: lives of the server, one after the other, on one machine; then a last one on a disk
//! that is well again, in which everything must come to its end.

use crate::backend::{self, Mood};
use crate::clients::{Client, Put};
use crate::join;
use crate::plan::{self, Death, FAILED_RETENTION, IDLE, RETAIN};
use crate::storm;
use crate::world::{Life, MachineClock, World};
use incoming::core::command::At;
use incoming::core::event::Durability;
use incoming::core::extent::Extent;
use incoming::core::id::TicketId;
use incoming::core::state::StateName;
use incoming::core::upload::Role;
use incoming::engine::Engine;
use incoming::storage::local::files::Files;
use incoming::storage::local::journal_files::JournalFiles;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What a schedule came to.
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    /// Hash and length of its trace.
    pub(crate) trace: (u64, u64),
    pub(crate) puts: u64,
    pub(crate) lives: u64,
    pub(crate) power_cuts: u64,
    pub(crate) finished: u64,
}

/// Runs the schedule of a seed.
pub(crate) fn run(seed: u64, loud: bool, clock: MachineClock) -> Outcome {
    let world = World::new(seed, loud, clock);
    let mut power_cuts = 0;
    let lives = world.plan.lives.clone();
    for plan in &lives {
        if world.violated().is_some() {
            break;
        }
        power_cuts += u64::from(one_life(&world, *plan));
    }
    if world.violated().is_none() {
        last_life(&world);
    }
    let model = world.model();
    let finished = model.uploads.values().filter(|known| known.state == StateName::Finished);
    Outcome {
        violation: world.violated(),
        trace: world.trace(),
        puts: model.requests.len() as u64,
        lives: lives.len() as u64 + 1,
        power_cuts,
        finished: finished.count() as u64,
    }
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(work)
}

/// A life of the server to its death; tells whether the power went.
fn one_life(world: &Arc<World>, plan: plan::Life) -> bool {
    let (power, clean) = in_runtime(async {
        let (life, engine) = begin(world, plan, Mood::Moody);
        let client = Client { life: Arc::clone(&life), engine: Arc::clone(&engine) };
        let died = life.died.clone();
        let (quiet, stopped) = tokio::select! {
            biased;
            () = died.cancelled() => (false, false),
            stopped = live(&client) => (true, stopped),
        };
        life.look();
        for known in world.model().uploads.values_mut() {
            let idle = life.now_ms() - known.last_byte_ms;
            known.idle_at_death_ms = known.idle_at_death_ms.max(idle);
            // A fault on the disk makes void what was only written.
            let void = world.plan.ack == Durability::Written
                && known.is_open()
                && life.faulted.load(Ordering::Relaxed);
            known.may_fall_back |= void;
            known.facts_may_fall_back |= void;
        }
        let well = !life.faulted.load(Ordering::Relaxed) && !life.was_full.load(Ordering::Relaxed);
        life.die();
        // How long the server is down is nothing to anybody.
        world.base_ms.store(life.now_ms(), Ordering::Relaxed);
        if world.dice().once_in(12) {
            world.note(0, format_args!("the count of running time is lost"));
            world.journals.lose_uptime();
        }
        let power = match plan.death {
            Death::PowerCut | Death::StopAndPowerCut => true,
            // With `ack = written` what a failed sync lost is known to nobody who has not noted it.
            Death::Crash | Death::Stop => {
                world.plan.ack == Durability::Written && life.sync_failed.load(Ordering::Relaxed)
            }
        };
        (power, quiet && stopped && well)
    });
    if power {
        world.note(0, format_args!("the power goes"));
        let sure = |id| world.journals.durable(id).is_some();
        world.model().power_went(sure, clean, world.base_ms.load(Ordering::Relaxed));
        let mut dice = world.dice();
        world.store.cut_power_with(&mut |below| dice.below(below));
        world.journals.cut_power_with(&mut |below| dice.below(below));
    }
    world.store.set_free_bytes(1 << 40);
    power
}

fn begin(world: &Arc<World>, plan: plan::Life, mood: Mood) -> (Arc<Life>, Arc<Engine>) {
    let (life, engine) = Life::start(world, plan);
    life.note(format_args!("lives: {plan:?}"));
    let now = life.now_ms();
    for known in world.model().uploads.values_mut() {
        // Time the server was down does not count.
        known.last_byte_ms = now;
        known.seen_in_this_life = false;
        known.quiescing = 0;
    }
    tokio::spawn(Arc::clone(&engine).sweep());
    tokio::spawn(Arc::clone(&engine).keep_uptime());
    let client = Client { life: Arc::clone(&life), engine: Arc::clone(&engine) };
    tokio::spawn(backend::run(client, mood));
    (life, engine)
}

/// Clients come and go; tells whether the server was stopped cleanly.
async fn live(client: &Client) -> bool {
    let life = &client.life;
    for _ in 0..life.plan.tickets {
        client.ticket().await;
    }
    let ids: Vec<TicketId> = life.world.model().uploads.keys().copied().collect();
    let mut clients = JoinSet::new();
    if life.world.plan.joins {
        clients.spawn(join::parallel(client.clone()));
        // What an earlier life left of such files.
        let lists = life.world.model().lists_of_parts();
        for parts in lists {
            for part in &parts {
                clients.spawn(join::send(client.clone(), *part));
            }
            clients.spawn(join::join(client.clone(), parts));
        }
    }
    for id in ids {
        for number in 0..life.plan.clients {
            let polls = number == 3;
            clients.spawn(storm::client(client.clone(), id, polls));
        }
    }
    let seconds = life.world.dice().of(&[0, 0, 10, 150, 1000]);
    let stops = matches!(life.plan.death, Death::Stop | Death::StopAndPowerCut);
    let hurry = stops && life.world.dice().once_in(2);
    let limit = Duration::from_secs(if hurry { 2 } else { 100_000 });
    let all = async { while clients.join_next().await.is_some() {} };
    if timeout(limit, all).await.is_ok() {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    if !stops {
        return false;
    }
    client.life.note(format_args!("stops"));
    client.engine.draining().cancel();
    // Their connections end; what they sent is counted without them.
    drop(clients);
    for _ in 0..2 {
        if timeout(Duration::from_secs(3000), client.engine.wait_idle()).await.is_err() {
            client.life.violation("the stop never ends".into());
        }
        client.engine.sync_all_written().await;
    }
    if timeout(Duration::from_secs(3000), client.engine.shut_down()).await.is_err() {
        client.life.violation("the stop never ends".into());
    }
    true
}

/// All is well again: whatever is not over can be finished, is handed over, and leaves nothing behind.
fn last_life(world: &Arc<World>) {
    let plan = plan::Life {
        death: Death::Stop,
        steps: u64::MAX,
        fault_in: 0,
        only_full: false,
        slow_in: 0,
        tickets: 0,
        clients: 0,
    };
    in_runtime(async {
        let (life, engine) = begin(world, plan, Mood::Helpful);
        let died = life.died.clone();
        let client = Client { life, engine };
        tokio::select! {
            biased;
            () = died.cancelled() => {}
            () = come_to_an_end(&client) => {}
        }
    });
}

async fn come_to_an_end(client: &Client) {
    let (world, engine) = (&client.life.world, &client.engine);
    let ids: Vec<TicketId> = world.model().uploads.keys().copied().collect();
    let mut all = JoinSet::new();
    for id in &ids {
        let (client, id) = (client.clone(), *id);
        all.spawn(async move { finish(&client, id).await });
    }
    while all.join_next().await.is_some() {}
    tokio::time::sleep(Duration::from_secs(60)).await;
    let complain = |what: String| client.life.violation(what);
    if engine.stats().chunks_in_flight.value() != 0 {
        complain(format!("{} chunks in flight", engine.stats().chunks_in_flight.value()));
    }
    world.store.set_free_bytes(world.plan.min_free_bytes);
    if let Err(what) = engine.readiness().await {
        complain(format!("space stays reserved, or the disk has failed: {what}"));
    }
    world.store.set_free_bytes(1 << 40);
    tokio::time::sleep(IDLE + RETAIN + FAILED_RETENTION + Duration::from_secs(1000)).await;
    client.life.look();
    if engine.stats().uploads_open.value() != 0 {
        complain(format!("{} uploads count as open", engine.stats().uploads_open.value()));
    }
    if engine.outbox().waiting().0 != 0 {
        complain(format!("{} deliveries are pending for ever", engine.outbox().waiting().0));
    }
    let model = world.model();
    let gone = |id: &TicketId| model.uploads.get(id).is_some_and(|known| known.may_be_gone);
    let kept: Vec<TicketId> = world.journals.list().unwrap();
    let kept: Vec<&TicketId> = kept.iter().filter(|id| !gone(id)).collect();
    let parts: Vec<TicketId> = world.store.parts().unwrap();
    let parts: Vec<&TicketId> = parts.iter().filter(|id| !gone(id)).collect();
    if !kept.is_empty() || !parts.is_empty() {
        client.life.world.violation(format!("left behind: journals {kept:?}, parts {parts:?}"));
    }
}

/// What any client can do: ask what is missing, and send it.
async fn finish(client: &Client, id: TicketId) {
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let appends = client.life.world.plan.appends;
        let status = match appends {
            true => client.quiesced_status(id).await,
            false => client.status(id).await,
        };
        let Some(status) = status else { return };
        let file = client.life.world.model().known(id).file_bytes;
        match status.state {
            // A part ends when its file is there, or when it has lain idle.
            StateName::New | StateName::Uploading
                if status.is_complete() && matches!(status.role, Role::Partial { .. }) =>
            {
                return;
            }
            StateName::New | StateName::Uploading => {
                let length = status.length.unwrap_or_else(|| file.max(status.received.end()));
                let Some(all) = Extent::new(0, length) else {
                    client.bind(id, Some(0)).await;
                    continue;
                };
                if status.length.is_none() {
                    client.bind(id, Some(length)).await;
                }
                if appends {
                    let offset = status.received.contiguous_from_zero();
                    let put = Put::chunk(offset, length, Some(length));
                    client.put(id, Put { at: At::Prefix(offset), ..put }).await;
                    continue;
                }
                for missing in status.received.missing_in(all).as_slice() {
                    let put = Put::chunk(missing.start(), missing.end(), Some(length));
                    client.put(id, put).await;
                }
            }
            StateName::HandingOver => drop(client.long_poll(id, 50).await),
            StateName::Failed => client.retry(id).await,
            StateName::Finished | StateName::Cancelled => return,
        }
    }
    client.life.violation(format!("{id} cannot be finished"));
}
