//! What clients do while the server lives: everything, at once, on the same bytes.

use crate::body::Ending;
use crate::clients::{Client, Put};
use crate::model::Promise;
use incoming::core::command::{At, BodyScope};
use incoming::core::event::Notice;
use incoming::core::id::TicketId;
use incoming::core::limits::MAX_FILE_BYTES;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// One client at one upload, until it has had enough.
pub(crate) async fn client(client: Client, id: TicketId, polls: bool) {
    if polls {
        for _ in 0..4 {
            client.long_poll(id, 20).await;
        }
        return;
    }
    let actions = client.life.world.dice().between(1, 8);
    for _ in 0..actions {
        if client.life.is_dead() {
            return;
        }
        let ms = {
            let mut dice = client.life.world.dice();
            if dice.once_in(2) { 0 } else { dice.of(&[0, 1, 30, 1000, 20_000, 70_000]) }
        };
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        act(&client, id).await;
    }
}

async fn act(client: &Client, id: TicketId) {
    let drawn = client.life.world.dice().below(40);
    match drawn {
        0..26 if client.life.world.plan.appends && client.life.world.dice().once_in(2) => {
            append(client, id).await;
        }
        0..26 => {
            let put = draw_put(client, id);
            client.put(id, put).await;
        }
        26..30 => {
            let length = length(client, id);
            client.bind(id, length).await;
        }
        30..32 => drop(client.status(id).await),
        32 => client.cancel(id, Notice::Due).await,
        33 => client.cancel(id, Notice::NotDue).await,
        34 => client.finish(id).await,
        35..37 => client.retry(id).await,
        37 => {
            // Nearly full for a while, then not.
            let plan = &client.life.world.plan;
            let room = client.life.world.dice().below(plan.largest_file);
            client.life.was_full.store(true, Ordering::Relaxed);
            client.life.world.store.set_free_bytes(plan.min_free_bytes + room);
            tokio::time::sleep(Duration::from_millis(300)).await;
            client.life.world.store.set_free_bytes(1 << 40);
        }
        _ => tokio::time::sleep(Duration::from_secs(100)).await,
    }
}

/// What a client of another dialect does: asks where to go on, and sends from there.
async fn append(client: &Client, id: TicketId) {
    // Some remember an offset, or were told it while another still wrote.
    let exact = !client.life.world.dice().once_in(4);
    let status = match exact {
        true => client.quiesced_status(id).await,
        false => client.status(id).await,
    };
    let Some(status) = status else { return };
    let told = status.received.contiguous_from_zero();
    let waits = client.life.world.dice().of(&[0, 0, 5, 2000]);
    if waits > 0 {
        tokio::time::sleep(Duration::from_millis(waits)).await;
    }
    let append = draw_append(client, id, told);
    client.put(id, append).await;
}

/// An append at the offset that a client was told, or next to it.
fn draw_append(client: &Client, id: TicketId, told: u64) -> Put {
    let put = draw_put(client, id);
    let mut dice = client.life.world.dice();
    let offset = match dice.below(12) {
        0 => told + 1,
        1 => told.saturating_sub(1),
        _ => told,
    };
    let sends_to = dice.between(offset, put.sends_to.max(offset));
    let open = dice.once_in(2) || sends_to == offset;
    let (end, scope) =
        if open { (MAX_FILE_BYTES, BodyScope::Open) } else { (sends_to, BodyScope::Range) };
    Put { start: offset, end, sends_to, at: At::Prefix(offset), scope, ..put }
}

/// The length a client says: most often that of its file.
fn length(client: &Client, id: TicketId) -> Option<u64> {
    let file = client.life.world.model().known(id).file_bytes;
    let mut dice = client.life.world.dice();
    match dice.below(12) {
        0 => Some(file + 1),
        1..4 => None,
        _ => Some(file),
    }
}

fn draw_put(client: &Client, id: TicketId) -> Put {
    let file = client.life.world.model().known(id).file_bytes;
    let length = length(client, id);
    let mut dice = client.life.world.dice();
    let whole = file == 0 || dice.once_in(6);
    let start = if whole { 0 } else { dice.below(file) };
    let end = if whole || dice.once_in(3) { file } else { dice.between(start + 1, file) };
    let sends_to = match dice.below(10) {
        0 if end > start => dice.between(start, end),
        1 => end + 1,
        _ => end,
    };
    Put {
        start,
        end,
        sends_to,
        length,
        at: At::Anywhere,
        scope: if whole && (file == 0 || dice.once_in(2)) {
            BodyScope::ToEnd
        } else {
            BodyScope::Range
        },
        promise: dice.of(&[Promise::None, Promise::None, Promise::Right, Promise::Wrong]),
        ending: dice.of(&[
            Ending::Whole,
            Ending::Whole,
            Ending::Whole,
            Ending::Whole,
            Ending::Broken,
            Ending::Silence,
        ]),
        leaves_after: dice.once_in(8).then(|| dice.of(&[0, 1, 40, 5000])),
    }
}
