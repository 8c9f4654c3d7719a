//! What is allowed: a plain picture of every upload, beside the engine's own, that the engine is
//! held to after every step.
//!
//! It knows which request sends which byte (no two requests send the same), what was promised to
//! whom, and what the disk holds. It decides nothing: it says what must not be.

use crate::plan::{FAILED_RETENTION, IDLE, RETAIN};
use crate::world::World;
use incoming::core::event::{Durability, Removal};
use incoming::core::extent::{Extent, ExtentSet};
use incoming::core::id::RunIdentity;
use incoming::core::id::TicketId;
use incoming::core::state::StateName;
use incoming::core::time::Uptime;
use incoming::core::upload::{Phase, Role, Upload};
use incoming::engine::status::Status;
use incoming::storage::local::format::replay::replay;
use incoming::storage::memory::store::MemoryStore;
use std::collections::BTreeMap;

pub(crate) struct Model {
    pub(crate) ack: Durability,
    /// How long what is recorded may not be seen yet: the rest of its round.
    pub(crate) round_ms: u64,
    pub(crate) uploads: BTreeMap<TicketId, Known>,
    pub(crate) requests: Vec<Request>,
}

/// What is known of one upload.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The length that its clients mean.
    pub(crate) file_bytes: u64,
    pub(crate) removal: Removal,
    pub(crate) wants_digest: bool,
    pub(crate) state: StateName,
    pub(crate) length: Option<u64>,
    /// The acknowledged bytes as they were first seen.
    pub(crate) content: Vec<Option<u8>>,
    pub(crate) last_byte_ms: u64,
    /// How long it had been idle when the server last died.
    pub(crate) idle_at_death_ms: u64,
    pub(crate) over_since_ms: Option<u64>,
    pub(crate) seen_in_this_life: bool,
    pub(crate) cancel_asked: bool,
    pub(crate) retry_asked: bool,
    /// Somebody may have said that the backend has the file.
    pub(crate) taking: bool,
    /// Somebody was told.
    pub(crate) told_cancelled: bool,
    pub(crate) told_complete: bool,
    pub(crate) told_done: bool,
    /// Handover calls that were made.
    pub(crate) calls: u32,
    /// The backend has moved the file away.
    pub(crate) moved_away: bool,
    /// After a power cut: ranges that were only written may be gone, until it is seen again.
    pub(crate) may_fall_back: bool,
    /// The same for what was said of the file, which a clean stop does not sync either.
    pub(crate) facts_may_fall_back: bool,
    /// After a power cut: its ticket was never synced, and may be gone or unreadable.
    pub(crate) may_be_gone: bool,
    /// What the end of its retention removed may be back, in part.
    pub(crate) may_be_back: bool,
    pub(crate) forgotten: bool,
    /// Clients that wait for the exact offset.
    pub(crate) quiescing: u32,
    /// It was made a part of a file, for sure.
    pub(crate) part: bool,
    /// What a file may be made of.
    pub(crate) made_of: Option<Vec<TicketId>>,
    /// The file that a part is in.
    pub(crate) joined_into: Option<TicketId>,
}

/// One PUT.
pub(crate) struct Request {
    pub(crate) upload: TicketId,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) digest: Promise,
    /// Bytes that have left the client.
    pub(crate) sent: u64,
    /// All of them, and the end.
    pub(crate) ended: bool,
    /// What was acknowledged when its body was first asked for: the rest is its own to write.
    pub(crate) known_at_start: Option<ExtentSet>,
    pub(crate) over: bool,
    /// The engine is to count it at the end of the prefix alone, and it took this for that end.
    pub(crate) appends_at: Option<u64>,
    /// Somebody asked for the exact offset while it ran, and may have ended it.
    pub(crate) may_be_fenced: bool,
    /// Offsets that others were told to go on at while it ran: it must never count there.
    pub(crate) fenced_from: Vec<u64>,
    /// Older ones that were not over when it began: which of them came first is the engine's to say.
    pub(crate) rivals: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    None,
    Right,
    Wrong,
}

/// The byte that a request sends for an offset.
pub(crate) fn byte(request: usize, offset: u64) -> u8 {
    let mixed = (offset + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (request as u64 + 1) << 40;
    (mixed.wrapping_mul(0xD6E8_FEB8_6659_FD93) >> 56) as u8
}

impl Request {
    /// Whether a byte of it may ever be acknowledged.
    fn may_count(&self, number: usize, offset: u64, found: u8) -> bool {
        let sent = self.start <= offset && offset < self.start + self.sent;
        let honest = match self.digest {
            Promise::None => true,
            Promise::Right => self.ended,
            Promise::Wrong => false,
        };
        let fenced = self.fenced_from.contains(&offset);
        sent && honest && !fenced && byte(number, offset) == found
    }
}

impl Known {
    pub(crate) fn new(file_bytes: u64, removal: Removal, wants_digest: bool, now_ms: u64) -> Self {
        Self {
            file_bytes,
            removal,
            wants_digest,
            state: StateName::New,
            length: None,
            content: Vec::new(),
            last_byte_ms: now_ms,
            idle_at_death_ms: 0,
            over_since_ms: None,
            seen_in_this_life: true,
            cancel_asked: false,
            retry_asked: false,
            taking: false,
            told_cancelled: false,
            told_complete: false,
            told_done: false,
            calls: 0,
            moved_away: false,
            may_fall_back: false,
            facts_may_fall_back: false,
            may_be_gone: false,
            may_be_back: false,
            forgotten: false,
            quiescing: 0,
            part: false,
            made_of: None,
            joined_into: None,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.state, StateName::New | StateName::Uploading)
    }

    fn removes_file(&self) -> bool {
        self.removal == Removal::RemoveWhenFinished
    }

    /// Whether the end of what is kept of it may have come.
    pub(crate) fn may_be_forgotten(&self, now_ms: u64) -> bool {
        let kept = match self.state {
            StateName::Failed => FAILED_RETENTION,
            StateName::Finished | StateName::Cancelled => RETAIN,
            StateName::New | StateName::Uploading | StateName::HandingOver => return false,
        };
        let kept = u64::try_from(kept.as_millis()).unwrap();
        self.over_since_ms.is_some_and(|since| now_ms >= since + kept)
    }

    /// The whole file, if every byte of it is known.
    pub(crate) fn file(&self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.length?).unwrap();
        (self.content.len() >= length)
            .then(|| self.content[..length].iter().copied().collect())
            .flatten()
    }

    fn holds(&self, offset: u64) -> Option<u8> {
        self.content.get(usize::try_from(offset).unwrap()).copied().flatten()
    }
}

pub(crate) type Judgement = Result<(), String>;

impl Model {
    pub(crate) fn new(ack: Durability, round_ms: u64) -> Self {
        Self { ack, round_ms, uploads: BTreeMap::new(), requests: Vec::new() }
    }

    pub(crate) fn known(&mut self, id: TicketId) -> &mut Known {
        self.uploads.get_mut(&id).expect("uploads are known before anything happens to them")
    }

    /// Takes what the engine says of an upload, and judges it.
    pub(crate) fn observe(
        &mut self,
        store: &MemoryStore,
        status: &Status,
        now_ms: u64,
    ) -> Judgement {
        let round_ms = self.round_ms;
        let Some(known) = self.uploads.get_mut(&status.id) else { return Ok(()) };
        judge_state(known, status, now_ms)?;
        if known.state != status.state {
            let over = status.state.is_final();
            // It may have been recorded long ago, by a server that never came to show it.
            let since = if known.seen_in_this_life { now_ms.saturating_sub(round_ms) } else { 0 };
            known.over_since_ms = over.then_some(since);
            if status.state == StateName::HandingOver {
                known.retry_asked = false;
            }
        }
        known.state = status.state;
        known.seen_in_this_life = true;
        if known.length.is_some() && status.length != known.length && !known.facts_may_fall_back {
            return Err(format!("length {:?} became {:?}", known.length, status.length));
        }
        known.length = status.length;
        self.judge_role(store, status)?;
        self.judge_bytes(store, status, now_ms)?;
        let known = self.known(status.id);
        known.may_fall_back = false;
        known.facts_may_fall_back = false;
        known.may_be_gone = false;
        known.forgotten = false;
        Ok(())
    }

    fn judge_bytes(&mut self, store: &MemoryStore, status: &Status, now_ms: u64) -> Judgement {
        let joined = match &status.role {
            Role::Final { parts } => self.joined(parts),
            Role::Whole | Role::Partial { .. } => Vec::new(),
        };
        let Self { uploads, requests, .. } = self;
        let Some(known) = uploads.get_mut(&status.id) else { return Ok(()) };
        let id = status.id;
        let held = match status.state {
            StateName::Cancelled => {
                known.content.clear();
                return if status.received.is_empty() {
                    Ok(())
                } else {
                    Err("cancelled, and claims bytes".into())
                };
            }
            StateName::New | StateName::Uploading => store.part(id).or_else(|| store.file(id)),
            // Its bytes are in the file, and judged there.
            StateName::Finished if matches!(status.role, Role::Partial { .. }) => return Ok(()),
            StateName::HandingOver | StateName::Failed | StateName::Finished => {
                let file = store.file(id);
                if file.is_none() {
                    return judge_absence(known, now_ms);
                }
                if let (Some(file), Some(length)) = (&file, status.length)
                    && file.len() as u64 != length
                {
                    return Err(format!("the file has {} bytes, not {length}", file.len()));
                }
                file
            }
        };
        let held = held.unwrap_or_default();
        let end = usize::try_from(status.received.end()).unwrap();
        if held.len() < end {
            return Err(format!("claims {end} bytes, the disk has {}", held.len()));
        }
        if known.content.len() < end {
            known.content.resize(end, None);
        }
        let mut news = false;
        for (offset, seen) in known.content.iter_mut().enumerate() {
            let at = offset as u64;
            let claimed = Extent::new(at, at + 1).is_some_and(|one| status.received.contains(one));
            match (claimed, *seen) {
                (true, Some(byte)) if byte == held[offset] => {}
                (true, Some(_)) => return Err(format!("acknowledged byte {at} has changed")),
                (false, Some(_)) if known.may_fall_back => *seen = None,
                (false, Some(_)) => return Err(format!("acknowledged byte {at} is lost")),
                (true, None) => {
                    let of_part = joined.get(offset).copied().flatten() == Some(held[offset]);
                    let of_somebody = of_part
                        || requests.iter().enumerate().any(|(number, request)| {
                            request.upload == id && request.may_count(number, at, held[offset])
                        });
                    if !of_somebody {
                        return Err(format!("nobody sent what byte {at} holds"));
                    }
                    (*seen, news) = (Some(held[offset]), true);
                }
                (false, None) => {}
            }
        }
        if news {
            known.last_byte_ms = known.last_byte_ms.max(World::run_ms_of(status.last_active));
            known.idle_at_death_ms = 0;
        }
        Ok(())
    }

    /// A PUT was acknowledged: every byte of it counts, and those that were its own to write are its
    /// own.
    pub(crate) fn acknowledged(&mut self, number: usize) -> Judgement {
        let request = &self.requests[number];
        let end = request.end.min(request.start + request.sent);
        let prefix = request.known_at_start.as_ref().map(ExtentSet::contiguous_from_zero);
        if let (Some(told), Some(prefix)) = (request.appends_at, prefix)
            && prefix < told
        {
            return Err(format!("append {number} at {told}, where the prefix ends at {prefix}"));
        }
        let Some(known) = self.uploads.get(&request.upload) else { return Ok(()) };
        if known.state == StateName::Cancelled {
            return Ok(());
        }
        // It was forgotten between the claim, which found every byte there, and the body.
        let forgotten = request.known_at_start.is_none() && known.state == StateName::Finished;
        for offset in request.start..end {
            let Some(found) = known.holds(offset) else {
                return Err(format!("request {number} is acknowledged, but not byte {offset}"));
            };
            let before = request.known_at_start.as_ref().is_some_and(|before| {
                Extent::new(offset, offset + 1).is_some_and(|one| before.contains(one))
            });
            if !before && !forgotten && found != byte(number, offset) {
                return Err(format!("byte {offset} was request {number}'s and is another's"));
            }
        }
        Ok(())
    }

    /// A request begins; tells its number.
    pub(crate) fn begin(&mut self, request: Request) -> usize {
        let running = self.requests.iter().enumerate().filter(|(_, older)| !older.over);
        let rivals = running.map(|(number, _)| number).collect();
        let may_be_fenced = self.known(request.upload).quiescing > 0;
        self.requests.push(Request { rivals, may_be_fenced, ..request });
        self.requests.len() - 1
    }

    /// Somebody asks for the exact offset: whoever appends may be ended.
    pub(crate) fn quiesces(&mut self, id: TicketId) {
        self.known(id).quiescing += 1;
        for request in self.requests.iter_mut().filter(|one| one.upload == id && !one.over) {
            request.may_be_fenced = true;
        }
    }

    /// Somebody was told to go on at `offset`: no request that had begun may still count there.
    pub(crate) fn quiesced(&mut self, id: TicketId, offset: u64) {
        let begun =
            |one: &&mut Request| one.upload == id && !one.over && one.known_at_start.is_some();
        for request in self.requests.iter_mut().filter(begun) {
            request.fenced_from.push(offset);
        }
    }

    /// Whether another request wanted some byte of this one while it ran.
    pub(crate) fn was_overtaken(&self, number: usize) -> bool {
        let mine = &self.requests[number];
        if mine.may_be_fenced {
            return true;
        }
        let newer = number + 1..self.requests.len();
        mine.rivals.iter().copied().chain(newer).any(|other| {
            let other = &self.requests[other];
            other.upload == mine.upload && other.start < mine.end && mine.start < other.end
        })
    }

    /// Whether bytes may be removed, going by what the journal says for sure.
    pub(crate) fn may_remove(
        &self,
        id: TicketId,
        file: bool,
        journal: &dyn Fn(TicketId) -> Option<Vec<u8>>,
        now_ms: u64,
    ) -> Judgement {
        let Some(known) = self.uploads.get(&id) else { return Ok(()) };
        let run = RunIdentity { boot: [0; 16], mount: 0 };
        let recorded = |id| {
            let replayed = replay(&journal(id)?, id, run, Uptime(u64::MAX));
            replayed.ok().map(|replayed| replayed.upload)
        };
        let upload = recorded(id);
        let phase = upload.as_ref().map(|upload| upload.phase().clone());
        match (file, &phase) {
            // A part, whose bytes are in a file for sure.
            (false, Some(Phase::Finished { .. }))
                if upload.as_ref().is_some_and(Upload::is_partial) =>
            {
                let into = upload.and_then(|upload| upload.taken_by());
                let whole =
                    into.and_then(recorded).is_some_and(|file| file.joined_parts().is_some());
                // That may have been forgotten before it.
                let gone = into.is_some_and(|into| journal(into).is_none());
                if whole || gone {
                    Ok(())
                } else {
                    Err("a part goes before its file is there".into())
                }
            }
            (true, Some(Phase::Finished { .. })) if known.removes_file() => Ok(()),
            (true, Some(Phase::Failed { .. })) if known.may_be_forgotten(now_ms) => Ok(()),
            (false, Some(Phase::Cancelled { .. })) => Ok(()),
            // A part that belongs to nobody.
            (false, None) if known.forgotten || known.may_be_gone || known.may_be_back => Ok(()),
            _ => Err(format!("bytes are removed (file: {file}) while recorded: {phase:?}")),
        }
    }

    /// The power went: what was only written may be gone.
    pub(crate) fn power_went(
        &mut self,
        is_sure: impl Fn(TicketId) -> bool,
        clean: bool,
        now_ms: u64,
    ) {
        for (id, known) in &mut self.uploads {
            if self.ack == Durability::Written {
                known.may_fall_back |= known.is_open() && !clean;
                known.facts_may_fall_back |= known.is_open();
                known.may_be_gone |= !is_sure(*id);
            }
            known.may_be_back |= known.forgotten || known.may_be_forgotten(now_ms);
        }
    }

    /// Nothing of the upload was found.
    pub(crate) fn unknown(&mut self, id: TicketId, now_ms: u64) -> Judgement {
        let known = self.known(id);
        if known.may_be_gone || known.forgotten || known.may_be_forgotten(now_ms) {
            known.forgotten = true;
            return Ok(());
        }
        Err(format!("an upload in state {} is unknown", known.state))
    }
}

/// The file of a complete upload is not there.
fn judge_absence(known: &Known, now_ms: u64) -> Judgement {
    let removed = known.state == StateName::Finished && known.removes_file();
    if removed || known.moved_away || known.may_be_back || known.may_be_forgotten(now_ms) {
        return Ok(());
    }
    Err(format!("the file of an upload that is {} is gone", known.state))
}

/// Phases only move forward, each for its reason.
fn judge_state(known: &Known, status: &Status, now_ms: u64) -> Judgement {
    use StateName::{Cancelled, Failed, Finished, HandingOver, New, Uploading};
    let (from, to) = (known.state, status.state);
    let forward = match (from, to) {
        (New, _) | (Uploading, Uploading | HandingOver | Finished | Failed | Cancelled) => true,
        (Uploading, New) => known.facts_may_fall_back,
        (HandingOver, HandingOver | Finished | Failed) | (Finished, Finished) => true,
        (Failed, Failed) | (Cancelled, Cancelled) => true,
        (Failed, HandingOver | Finished) => known.retry_asked,
        _ => false,
    };
    if !forward {
        return Err(format!("{from} became {to}"));
    }
    let timed_out = status.reason.as_deref() == Some("upload timed out");
    let idle = now_ms.saturating_sub(known.last_byte_ms).max(known.idle_at_death_ms) + SLACK_MS;
    match to {
        Cancelled if known.told_complete => Err("told complete, and cancelled".into()),
        Cancelled if timed_out && idle < u64::try_from(IDLE.as_millis()).unwrap() => {
            Err(format!("timed out after {idle} ms"))
        }
        Cancelled if !timed_out && !known.cancel_asked => {
            Err("cancelled, and nobody asked".to_owned())
        }
        _ if known.told_cancelled && to != Cancelled => Err(format!("told cancelled, and is {to}")),
        HandingOver | Finished | Failed if !status.is_complete() => {
            Err(format!("{to} with {:?} of {:?}", status.received, status.length))
        }
        Finished if matches!(status.role, Role::Partial { .. }) => Ok(()),
        Finished if !known.taking && !known.moved_away && !known.may_be_back => {
            Err("finished by nobody".into())
        }
        Failed if known.calls == 0 => Err("given up before a call".into()),
        New | Uploading | HandingOver if known.told_done => Err(format!("told done, and is {to}")),
        New | Uploading if known.told_complete => Err(format!("told complete, and is {to}")),
        _ => Ok(()),
    }
}

/// What is seen may have happened a little earlier.
const SLACK_MS: u64 = 2000;
