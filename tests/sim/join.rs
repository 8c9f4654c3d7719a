//! Clients that send a file as several uploads, and ask for the file that these make.

use crate::clients::{Client, Put};
use crate::model::{Judgement, Model};
use crate::storm;
use incoming::core::event::Notice;
use incoming::core::extent::Extent;
use incoming::core::id::TicketId;
use incoming::core::state::StateName;
use incoming::core::upload::Role;
use incoming::engine::error::{ChangeError, JoinError};
use incoming::engine::join::Joinable;
use incoming::engine::status::Status;
use incoming::storage::memory::store::MemoryStore;
use std::time::Duration;
use tokio::task::JoinSet;

/// Some parts, what clients do to them, and two that want the file.
pub(crate) async fn parallel(client: Client) {
    let count = client.life.world.dice().between(1, 3);
    let mut parts = Vec::new();
    for _ in 0..count {
        let Some(id) = client.ticket().await else { return };
        let made = client.in_time("make_partial", client.engine.make_partial(id)).await;
        let Some(made) = made else { return };
        if made.is_ok() {
            client.life.world.model().known(id).part = true;
        }
        client.heard_change(id, "make_partial", &made);
        parts.push(id);
    }
    let mut clients = JoinSet::new();
    for id in &parts {
        if client.life.world.dice().once_in(3) {
            clients.spawn(storm::client(client.clone(), *id, false));
        }
        clients.spawn(send(client.clone(), *id));
    }
    for _ in 0..2 {
        clients.spawn(join(client.clone(), parts.clone()));
    }
    while clients.join_next().await.is_some() {}
}

/// Sends what is missing of a part.
pub(crate) async fn send(client: Client, id: TicketId) {
    for _ in 0..4 {
        let Some(status) = client.status(id).await else { return };
        if !matches!(status.state, StateName::New | StateName::Uploading) {
            return;
        }
        let file = client.life.world.model().known(id).file_bytes;
        let length = status.length.unwrap_or_else(|| file.max(status.received.end()));
        if status.length.is_none() {
            client.bind(id, Some(length)).await;
        }
        let Some(all) = Extent::new(0, length) else { return };
        for missing in status.received.missing_in(all).as_slice() {
            client.put(id, Put::chunk(missing.start(), missing.end(), Some(length))).await;
        }
    }
}

/// Asks for the file until there is one, or the client has had enough.
pub(crate) async fn join(client: Client, parts: Vec<TicketId>) {
    for _ in 0..5 {
        let ms = client.life.world.dice().of(&[0, 1, 30, 1000, 20_000]);
        tokio::time::sleep(Duration::from_millis(ms)).await;
        if client.life.is_dead() {
            return;
        }
        let checked = client.engine.check_parts(&parts);
        let Some(checked) = client.in_time("check_parts", checked).await else { return };
        client.life.note(format_args!("check_parts {checked:?}"));
        match checked {
            Ok(Joinable::Joined(into)) => return published(&client, into).await,
            Ok(Joinable::New(_)) => {}
            Err(error) => {
                judge(&client, &error);
                continue;
            }
        }
        let Some(into) = client.ticket().await else { continue };
        {
            let mut model = client.life.world.model();
            let known = model.known(into);
            known.made_of = Some(parts.clone());
            // Where it cannot be joined.
            known.cancel_asked = true;
        }
        let rival = client.life.world.dice().once_in(4);
        let rival = rival.then(|| tokio::spawn(storm::client(client.clone(), into, false)));
        let joined = client.engine.join(into, &parts, Notice::NotDue);
        let joined = client.in_time("join", joined).await;
        if let Some(rival) = rival {
            rival.abort();
        }
        let Some(joined) = joined else { return };
        client.life.note(format_args!("join {joined:?}"));
        match joined {
            Ok(into) => return published(&client, into).await,
            Err(error) => judge(&client, &error),
        }
    }
}

/// Somebody was told that the file is there.
async fn published(client: &Client, into: TicketId) {
    client.life.look();
    if client.life.is_dead() {
        return;
    }
    client.life.world.model().known(into).told_complete = true;
    let Some(status) = client.status(into).await else { return };
    if matches!(status.state, StateName::New | StateName::Uploading | StateName::Cancelled) {
        client.life.violation(format!("{into}: told joined, and is {}", status.state));
    }
}

fn judge(client: &Client, error: &JoinError) {
    match error {
        JoinError::Change(ChangeError::Fault(fault)) => client.was_faulted("a join", fault),
        JoinError::Change(ChangeError::NoSpace | ChangeError::Busy) => client.was_full("a join"),
        JoinError::Change(ChangeError::Exhausted) => {
            client.life.violation("a join: no disk here lacks descriptors".into());
        }
        JoinError::NoParts
        | JoinError::TooManyParts { .. }
        | JoinError::TooManyPieces { .. }
        | JoinError::Repeated { .. } => {
            client.life.violation(format!("a join: {error}"));
        }
        JoinError::Part(_)
        | JoinError::Change(ChangeError::Refused(_) | ChangeError::Unknown)
        | JoinError::Draining => {}
    }
}

/// What is allowed of parts.
impl Model {
    /// Parts are never handed over, are in one file at most, and go once that is in its place.
    pub(crate) fn judge_role(&mut self, store: &MemoryStore, status: &Status) -> Judgement {
        let over = matches!(
            status.state,
            StateName::HandingOver | StateName::Finished | StateName::Failed
        );
        match &status.role {
            Role::Whole if self.known(status.id).part => Err("a part became a file".into()),
            Role::Partial { into } if over => {
                let Some(into) = into.filter(|_| status.state == StateName::Finished) else {
                    return Err(format!("a part is {}", status.state));
                };
                let there = !self.known(into).is_open() || store.file(into).is_some();
                if there { Ok(()) } else { Err(format!("joined into {into}, which is not there")) }
            }
            Role::Final { parts } if over => {
                for part in parts.iter() {
                    let other = *self.known(*part).joined_into.get_or_insert(status.id);
                    if other != status.id {
                        return Err(format!("part {part} is in {other} already"));
                    }
                }
                Ok(())
            }
            Role::Whole | Role::Partial { .. } | Role::Final { .. } => Ok(()),
        }
    }

    /// Which bytes a file that is made of parts has to have, as far as they are known.
    pub(crate) fn joined(&self, parts: &[TicketId]) -> Vec<Option<u8>> {
        let mut all = Vec::new();
        for part in parts.iter().filter_map(|id| self.uploads.get(id)) {
            let end = all.len() + usize::try_from(part.length.unwrap_or(0)).unwrap();
            all.extend(&part.content);
            all.resize(end, None);
        }
        all
    }

    /// The parts of each file that somebody has asked for.
    pub(crate) fn lists_of_parts(&self) -> Vec<Vec<TicketId>> {
        let mut lists: Vec<_> =
            self.uploads.values().filter_map(|known| known.made_of.clone()).collect();
        lists.sort();
        lists.dedup();
        lists
    }
}
