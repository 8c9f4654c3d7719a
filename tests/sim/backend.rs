//! The backend: deliveries that are due are made, and answered in every way there is. What a call finds
//! is judged at the moment it is made.

use crate::clients::Client;
use incoming::core::event::{Notice, Removal};
use incoming::core::id::TicketId;
use incoming::core::state::StateName;
use incoming::engine::delivery::{Begun, Call, CallKind, CallResult, Delivery};
use incoming::engine::error::ChangeError;
use incoming::handover::body::fields;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::time::Duration;

/// How a backend feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Moody,
    /// Every call is answered well.
    Helpful,
}

/// Makes the deliveries that are due, until the life ends.
pub(crate) async fn run(client: Client, mood: Mood) {
    loop {
        let delivery = client.engine.next_delivery().await;
        let client = client.clone();
        tokio::spawn(async move { deliver(&client, delivery, mood).await });
    }
}

async fn deliver(client: &Client, mut delivery: Delivery, mood: Mood) {
    let id = delivery.id();
    let failed = |what: &str, error: &ChangeError| {
        if matches!(error, ChangeError::Unknown) {
            return;
        }
        client.life.note(format_args!("{} {what}: {error:?}", id.short()));
        if let ChangeError::Fault(fault) = error {
            client.was_faulted(what, fault);
        }
    };
    let call = loop {
        let begun = match delivery.begin().await {
            Ok(Begun::Unhashed) => delivery.hash().await.map(|()| None),
            Ok(Begun::Call(call)) => Ok(Some(call)),
            Ok(Begun::Nothing) => {
                client.life.look();
                return;
            }
            Err(error) => Err(error),
        };
        client.life.look();
        match begun {
            Ok(Some(call)) => break call,
            Ok(None) => {}
            Err(error) => return failed("begin", &error),
        }
    };
    if client.life.is_dead() {
        return;
    }
    if client.life.world.model().uploads.contains_key(&id) {
        judge(client, &call);
    }
    let result = answer(client, &call, mood).await;
    let done = result == CallResult::Done && call.kind == CallKind::Handover;
    if let Some(known) = client.life.world.model().uploads.get_mut(&id) {
        known.taking |= done;
    }
    client.life.note(format_args!("{} {:?} {result:?}", id.short(), call.kind));
    let ended = delivery.finish(result).await;
    client.life.look();
    match ended {
        Ok(()) => {
            let mut model = client.life.world.model();
            if let Some(known) = model.uploads.get_mut(&id) {
                known.told_done |= done && !client.life.is_dead();
            }
        }
        Err(error) => failed("finish", &error),
    }
}

/// What a call promises the backend.
fn judge(client: &Client, call: &Call) {
    let (world, now) = (&client.life.world, client.life.now_ms());
    let mut model = world.model();
    let known = model.known(call.id());
    let fields = fields(call);
    let field = |name| fields.iter().find(|(key, _)| *key == name).map(|(_, v)| v.as_str());
    let wrong = match call.kind {
        CallKind::CancelNotice if known.state != StateName::Cancelled => {
            Some(format!("told of a cancel, and is {}", known.state))
        }
        CallKind::CancelNotice if known.part => Some("told of a part".into()),
        CallKind::CancelNotice => None,
        CallKind::Handover => {
            known.calls += 1;
            let file = world.store.file(call.id());
            let whole = file.is_some() && file == known.file();
            let excused = known.moved_away || known.may_be_back;
            let digest = file.map(|file| {
                let hash = Sha256::digest(&file);
                hash.iter().fold("sha-256=".to_owned(), |mut text, byte| {
                    write!(text, "{byte:02x}").unwrap();
                    text
                })
            });
            if known.part {
                Some("a part is handed over".into())
            } else if known.told_done && !known.may_be_back {
                Some("called after done was recorded".into())
            } else if known.told_cancelled {
                Some("handed over after a cancel".into())
            } else if !whole && !excused {
                Some("called, and the file is not whole".into())
            } else if known.wants_digest && whole && field("digest") != digest.as_deref() {
                Some(format!("the digest is {:?}, not {digest:?}", field("digest")))
            } else {
                None
            }
        }
    };
    drop(model);
    if let Some(what) = wrong {
        client.life.violation(format!("{} at {now}: {what}", call.id()));
    }
}

async fn answer(client: &Client, call: &Call, mood: Mood) -> CallResult {
    let (drawn, ms) = {
        let mut dice = client.life.world.dice();
        (dice.below(10), dice.of(&[0, 0, 3, 800, 20_000]))
    };
    let handover = call.kind == CallKind::Handover;
    if mood == Mood::Helpful {
        return if drawn < 3 && handover { wait(client, call.id()) } else { CallResult::Done };
    }
    tokio::time::sleep(Duration::from_millis(ms)).await;
    let known = client.life.world.model().uploads.get(&call.id()).cloned();
    let moves = known.as_ref().is_some_and(|known| known.removal == Removal::Keep);
    if handover && moves && (drawn == 8 || drawn < 2) && !client.life.is_dead() {
        // The backend moves the file to its own place, as it may; its answer may be lost then.
        client.life.world.model().known(call.id()).moved_away = true;
        client.life.world.store.take(call.id());
        client.life.note(format_args!("{} moved away", call.id().short()));
    }
    match drawn {
        0..3 => CallResult::Done,
        3 if known.is_some() && handover => {
            client.cancel(call.id(), Notice::NotDue).await;
            CallResult::Unanswered("busy".into())
        }
        4..6 if handover => wait(client, call.id()),
        6 => {
            tokio::time::sleep(crate::plan::CALL_TIMEOUT).await;
            CallResult::Unanswered("no answer".into())
        }
        _ => CallResult::Unanswered("status 500".into()),
    }
}

/// `wait`, and then `finish_upload`: before the answer was read, soon, late, or never.
fn wait(client: &Client, id: TicketId) -> CallResult {
    let known = client.life.world.model().uploads.contains_key(&id);
    let after = client.life.world.dice().of(&[0, 0, 1, 30_000, 120_000]);
    let client = client.clone();
    tokio::spawn(async move {
        if after > 0 {
            tokio::time::sleep(Duration::from_millis(after)).await;
        }
        if known {
            client.finish(id).await;
        }
    });
    CallResult::Wait
}
