//! One upload: clients send its bytes to whichever server, requests are given up at any point, and then the object, byte for
//! byte, and nothing else, must be there.

// Files of a test fit into memory.
#![allow(clippy::cast_possible_truncation)]

use super::proxy::{Faults, Proxy};
use super::{Dice, Place};
use crate::core::event::Ticket;
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::Limits;
use crate::core::object_command::ObjectLimits;
use crate::core::piece_event::{ClaimId, ObjectName};
use crate::core::pieces::ObjectRange;
use crate::core::time::{Stamp, Timestamp, Uptime};
use crate::core::upload::Phase;
use crate::engine::objects::{
    Backing, CallEnd, Chunk, ObjectEngine, ObjectTuning, SharedBacking, SharedClock,
};
use crate::storage::clock::SystemClock;
use crate::storage::objects::{ObjectAnswer, ObjectRequest, Objects, OrphanRule};
use crate::storage::postgres::PostgresLog;
use crate::storage::s3::S3Bucket;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

type Server = ObjectEngine<SharedBacking<PostgresLog, S3Bucket>>;

/// Bytes of a cell: the least that stores take.
const CELL: u64 = 5 << 20;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    bytes: u64,
    chunks: u64,
    given_up: u64,
    failed: u64,
}

impl Counts {
    pub(super) fn and(self, other: &Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            chunks: self.chunks + other.chunks,
            given_up: self.given_up + other.given_up,
            failed: self.failed + other.failed,
        }
    }
}

pub(super) async fn run(
    place: &Place,
    plain: &S3Bucket,
    rule: OrphanRule,
    proxy: &Proxy,
    seed: u64,
) -> Result<Counts, String> {
    let mut dice = Dice::new(seed);
    let length = [1, 100_000, CELL - 1, CELL, CELL + 1, 3 * CELL, 4 * CELL + 77, 6 * CELL + 5]
        [dice.below(8) as usize];
    let file = Bytes::from(
        (0..length).map(|at| (at.wrapping_mul(seed | 1) >> 3) as u8).collect::<Vec<_>>(),
    );
    let lifetime = Duration::from_secs([3, 10_000][dice.below(2) as usize]);
    let mut servers = Vec::new();
    for server in 1..=3 {
        servers.push(Arc::new(start(place, rule, proxy, server, lifetime).await));
    }
    let id = TicketId::from_random(
        servers[0].backing().name(crate::core::piece_event::Purpose::File).random,
    );
    // A log that breaks off is asked again, as a web app would.
    let mut created = servers[0].create(ticket(id)).await;
    for _ in 0..20 {
        if created.is_ok() {
            break;
        }
        created = servers[0].create(ticket(id)).await;
    }
    created.map_err(|error| error.to_string())?;
    let mut clients = JoinSet::new();
    for client in 0..2 {
        let (servers, file) = (servers.clone(), file.clone());
        let dice = Dice::new(seed * 100 + client);
        clients.spawn(async move { send(&servers, id, &file, dice).await });
    }
    let mut counts = Counts { bytes: length, ..Counts::default() };
    while let Some(sent) = clients.join_next().await {
        counts = counts.and(&sent.map_err(|error| error.to_string())??);
    }
    let object = publish(&servers, id, &mut dice).await?;
    compare(plain, id, object, &file).await?;
    end(&servers, id, proxy, &mut dice).await?;
    for all in [ObjectRequest::List(id), ObjectRequest::ListMultiparts(id)] {
        match plain.ask(all).await {
            Ok(ObjectAnswer::Objects(left)) if left.is_empty() => {}
            Ok(ObjectAnswer::Multiparts(left)) if left.is_empty() => {}
            other => return Err(format!("left over: {other:?}")),
        }
    }
    Ok(counts)
}

async fn start(
    place: &Place,
    rule: OrphanRule,
    proxy: &Proxy,
    server: u64,
    multipart_lifetime: Duration,
) -> Server {
    let tuning = ObjectTuning {
        multipart_lifetime,
        hold: Duration::from_secs(2),
        call_hold: Duration::from_secs(2),
        second_look: Duration::from_secs(1),
        pause: Duration::from_millis(20),
        tries: 5,
    };
    let limits = Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None };
    let limits = ObjectLimits { limits, part_bytes: CELL };
    let log = place.log();
    let clock = SharedClock::new(Arc::new(SystemClock));
    for _ in 0..20 {
        if let Ok(now) = log.date().await {
            clock.set(now);
            break;
        }
    }
    let bucket = place.bucket(&proxy.authority).await.with_orphan_rule(rule);
    ObjectEngine::new(SharedBacking::new(log, bucket, clock, limits), server, tuning)
}

fn ticket(id: TicketId) -> Ticket {
    Ticket::new(id, Stamp { date: Timestamp(0), uptime: Uptime(0) }, "http://127.0.0.1:1/".into())
}

/// Sends what is missing, in chunks of any size at any place, until nothing is.
async fn send(
    servers: &[Arc<Server>],
    id: TicketId,
    file: &Bytes,
    mut dice: Dice,
) -> Result<Counts, String> {
    let (mut counts, length) = (Counts::default(), file.len() as u64);
    for _ in 0..2000 {
        let server = &servers[dice.below(servers.len() as u64) as usize];
        let whole = Extent::new(0, length).expect("no file is empty");
        let Ok(view) = server.view(id).await else { continue };
        if view.upload.upload().is_complete() || !view.upload.takes_bytes() {
            return Ok(counts);
        }
        let missing = view.upload.upload().received().missing_in(whole);
        let missing = missing.as_slice();
        let gap = missing[dice.below(missing.len() as u64) as usize];
        // Aligned to cells as the library does, or anywhere, also over what is there.
        let (start, size) = if dice.once_in(2) {
            (gap.start() / CELL * CELL, CELL * (1 + dice.below(3)))
        } else {
            (gap.start().saturating_sub(dice.below(3) * 1000), 1 + dice.below(2 * CELL))
        };
        let end = (start + size).min(length);
        let body = file.slice(start as usize..end as usize);
        let claim = ClaimId(server.backing().random());
        let chunk = Chunk { claim, offset: start, body, length: Some(length), pieces_an_append: 3 };
        counts.chunks += 1;
        // The client goes away, or its server dies, at any point.
        let patience = if dice.once_in(5) { dice.below(400) } else { 60_000 };
        match timeout(Duration::from_millis(patience), server.receive(id, chunk)).await {
            Err(_) => counts.given_up += 1,
            Ok(Err(_)) => counts.failed += 1,
            Ok(Ok(_)) => {
                // What was acknowledged is so at any other server too.
                let other = &servers[dice.below(servers.len() as u64) as usize];
                let Ok(view) = other.view(id).await else { continue };
                let sent = Extent::new(start, end).expect("a chunk has bytes");
                if view.upload.takes_bytes()
                    && !view.upload.upload().received().missing_in(sent).is_empty()
                {
                    return Err(format!("{sent:?} was acknowledged and is missing"));
                }
            }
        }
    }
    Err("the clients do not come to an end".to_owned())
}

async fn publish(
    servers: &[Arc<Server>],
    id: TicketId,
    dice: &mut Dice,
) -> Result<ObjectName, String> {
    let mut last = String::new();
    for _ in 0..400 {
        let server = &servers[dice.below(servers.len() as u64) as usize];
        let patience = if dice.once_in(4) { dice.below(500) } else { 60_000 };
        if let Ok(Err(error)) = timeout(Duration::from_millis(patience), server.advance(id)).await {
            last = error.to_string();
        }
        let Ok(view) = server.view(id).await else { continue };
        if let Some(object) = view.upload.pieces().published() {
            return Ok(object);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let view = servers[0].view(id).await.map(|view| format!("{:?}", view.upload.pieces()));
    Err(format!("not published: {last}, {view:?}"))
}

async fn compare(
    plain: &S3Bucket,
    id: TicketId,
    object: ObjectName,
    file: &Bytes,
) -> Result<(), String> {
    let range = ObjectRange { object, offset: 0, bytes: file.len() as u64 };
    match plain.ask(ObjectRequest::Get(id, range)).await {
        Ok(ObjectAnswer::Bytes(bytes)) if bytes == *file => Ok(()),
        Ok(ObjectAnswer::Bytes(bytes)) => {
            let at = bytes.iter().zip(file).position(|(found, sent)| found != sent);
            Err(format!("other bytes: {} of {}, from {at:?} on", bytes.len(), file.len()))
        }
        other => Err(format!("no object: {other:?}")),
    }
}

/// The backend takes the file; then all of the upload goes.
async fn end(
    servers: &[Arc<Server>],
    id: TicketId,
    proxy: &Proxy,
    dice: &mut Dice,
) -> Result<(), String> {
    for _ in 0..400 {
        let server = &servers[dice.below(servers.len() as u64) as usize];
        if matches!(server.begin_call(id).await, Ok(Some(_))) {
            let _ = server.end_call(id, CallEnd::Delivered).await;
        }
        let finished = server
            .view(id)
            .await
            .is_ok_and(|view| matches!(view.upload.upload().phase(), Phase::Finished { .. }));
        if finished {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Retention is longer than requests are under way.
    proxy.set(Faults { seed: 1, one_in: 0 });
    proxy.drained().await;
    for _ in 0..50 {
        if server_forgets(&servers[dice.below(3) as usize], id).await {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err("it is not forgotten".to_owned())
}

async fn server_forgets(server: &Server, id: TicketId) -> bool {
    server.forget(id, Duration::ZERO).await == Ok(true) || server.view(id).await.is_err()
}
