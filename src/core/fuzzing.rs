//! Fuzz targets of the rules: sets of bytes against a bitmap, uploads against what must hold after
//! every command, file names, ids. Each takes any bytes and panics where a promise is broken.

use super::command::{At, BodyScope, Command, FileFacts, Offer};
use super::dialect::{Client, Dialect};
use super::event::{
    CallFormat, CallOutcome, DigestRequest, Durability, Event, Notice, Removal, Ticket, TicketFile,
};
use super::extent::{Extent, ExtentSet};
use super::id::TicketId;
use super::limits::Limits;
use super::name;
use super::signing::{SigningSecrets, UrlSecrets};
use super::time::{Stamp, Timestamp, Uptime};
use super::upload::{Phase, Upload};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Any bytes as a source of choices; at its end every choice is the first one.
#[derive(Debug)]
pub struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    /// Choices from these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left to choose from.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// A number below `end`, which is at least 1.
    pub fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    /// One of two.
    pub fn flip(&mut self) -> bool {
        self.below(2) == 1
    }

    /// Any number; small ones are as likely as large ones.
    pub fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => u64::from(self.byte()),
            1 => u64::MAX - u64::from(self.byte()),
            2 => i64::MAX as u64 - u64::from(self.byte()),
            _ => (0..8).fold(0, |number, _| number << 8 | u64::from(self.byte())),
        }
    }

    /// The next bytes, `count` at most.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Any short text.
    pub fn text(&mut self) -> String {
        let length = self.below(32);
        String::from_utf8_lossy(self.take(length.into())).into_owned()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Sets of bytes against single bits, anywhere in a file.
pub fn extents(data: &[u8]) {
    let mut source = Source::new(data);
    let base = [0, 1 << 32, u64::MAX - 600][usize::from(source.below(3))];
    let (mut set, mut other) = (ExtentSet::new(), ExtentSet::new());
    let (mut bits, mut other_bits) = ([false; 512], [false; 512]);
    while !source.is_empty() {
        let start = usize::from(source.byte());
        let end = start + usize::from(source.byte().max(1));
        let extent = Extent::new(base + start as u64, base + end as u64).expect("it has a byte");
        match source.below(4) {
            0 | 1 => {
                set.insert(extent);
                bits[start..end].fill(true);
            }
            2 => {
                other.insert(extent);
                other_bits[start..end].fill(true);
            }
            _ => {
                set.insert_all(&other);
                for (bit, also) in bits.iter_mut().zip(other_bits) {
                    *bit |= also;
                }
            }
        }
        assert_eq!(bitmap(&set, base), bits, "{set:?}");
        let probe = &bits[start..end];
        assert_eq!(set.contains(extent), probe.iter().all(|bit| *bit), "{set:?} {extent:?}");
        let (missing, within) = (set.missing_in(extent), set.within(extent));
        let (missing_bits, within_bits) = (bitmap(&missing, base), bitmap(&within, base));
        for at in 0..512 {
            let inside = (start..end).contains(&at);
            assert_eq!(missing_bits[at], inside && !bits[at], "{set:?} {extent:?} {at}");
            assert_eq!(within_bits[at], inside && bits[at], "{set:?} {extent:?} {at}");
        }
        let both = bits.iter().zip(other_bits).any(|(bit, also)| *bit && also);
        assert_eq!(set.overlaps(&other), both, "{set:?} {other:?}");
        assert_eq!(other.overlaps(&set), both, "{set:?} {other:?}");
        let count = bits.iter().filter(|bit| **bit).count() as u64;
        assert_eq!((set.bytes(), set.is_empty()), (count, count == 0));
        let last = bits.iter().rposition(|bit| *bit);
        assert_eq!(set.end(), last.map_or(0, |last| base + last as u64 + 1));
        let run = bits.iter().take_while(|bit| **bit).count() as u64;
        assert_eq!(set.contiguous_from_zero(), if base == 0 { run } else { 0 });
    }
}

/// The bits of a set; its extents must be in order and neither touch nor overlap.
fn bitmap(set: &ExtentSet, base: u64) -> [bool; 512] {
    let mut bits = [false; 512];
    let mut before = None;
    for extent in set.as_slice() {
        assert!(extent.start() < extent.end(), "{set:?}");
        assert!(before.is_none_or(|before| before < extent.start()), "{set:?}");
        before = Some(extent.end());
        for at in extent.start()..extent.end() {
            bits[usize::try_from(at - base).expect("it lies behind the base")] = true;
        }
    }
    bits
}

/// Any commands in any order: after each, what the rules promise must hold.
pub fn upload(data: &[u8]) {
    history(&mut Source::new(data));
}

/// What became of an upload under commands from a source.
#[derive(Debug)]
pub struct History {
    /// The ticket it began with.
    pub ticket: Ticket,
    /// All that came true, in order.
    pub events: Vec<Event>,
    /// Where it stands.
    pub upload: Upload,
}

/// Lets an upload take commands until the source ends, 100 at most, and checks each step.
pub fn history(source: &mut Source<'_>) -> History {
    let ticket = ticket(source);
    let limits = Limits {
        max_chunk_bytes: source.flip().then_some(40),
        max_upload_bytes: source.flip().then_some(100),
        grid_bytes: None,
    };
    let (mut upload, mut events) = (Upload::new(ticket.clone()), Vec::new());
    for now in 1000..1100 {
        if source.is_empty() {
            break;
        }
        admitted(&upload, source, &limits);
        let command = command(source);
        let decided = upload.decide(&command, stamp(now), &limits);
        let Ok(decided) = decided else { continue };
        let before = upload.clone();
        for event in &decided {
            let complete = upload.is_complete();
            upload.apply(event);
            assert!(complete || !matches!(event, Event::Published { .. }), "published unfinished");
        }
        stepped(&before, &upload, &command, &decided);
        repeated(&upload, &command, stamp(now + 1), &limits);
        let sends = matches!(command, Command::Bind(_) | Command::Store { .. });
        let first = sends && !decided.is_empty() && upload.client().is_none();
        events.extend(decided);
        if first {
            let agent = source.flip().then(|| source.text());
            let sent_by = Event::SentBy(Arc::new(Client { dialect: Dialect::Tus, agent }));
            upload.apply(&sent_by);
            events.push(sent_by);
        }
    }
    History { ticket, events, upload }
}

/// A moment of the count. The clock is set to and fro meanwhile, which must change nothing.
fn stamp(uptime: u64) -> Stamp {
    Stamp { date: Timestamp(uptime.wrapping_mul(0x9E37_79B9_7F4A_7C15)), uptime: Uptime(uptime) }
}

/// What must hold between one state and the next.
fn stepped(before: &Upload, after: &Upload, command: &Command, events: &[Event]) {
    let context = || format!("{command:?} made {events:?} of {before:?}");
    let rank = |upload: &Upload| match upload.phase() {
        Phase::New => 0,
        Phase::Uploading => 1,
        Phase::HandingOver(_) => 2,
        Phase::Failed { .. } => 3,
        Phase::Finished { .. } | Phase::Cancelled { .. } => 4,
    };
    let retried = matches!(command, Command::Retry);
    assert!(rank(after) >= rank(before) || retried, "{}", context());
    if rank(before) == 4 {
        let same = std::mem::discriminant(before.phase()) == std::mem::discriminant(after.phase());
        assert!(same, "an end was left: {}", context());
    }
    let cancelled = matches!(after.phase(), Phase::Cancelled { .. });
    assert!(!cancelled || after.received().is_empty(), "{}", context());
    let kept = before.received().as_slice().iter().all(|held| after.received().contains(*held));
    assert!(cancelled || kept, "an acknowledged byte was lost: {}", context());
    assert!(before.length().is_none() || before.length() == after.length(), "{}", context());
    assert!(before.name().is_none() || before.name() == after.name(), "{}", context());
    let end = after.received().end();
    assert!(after.length().is_none_or(|length| end <= length), "beyond the end: {}", context());
    if rank(after) >= 2 && !cancelled {
        let length = after.length().expect("a published file has a length");
        assert_eq!(after.received().contiguous_from_zero(), length, "{}", context());
    }
    let called = after.pending_calls().is_some() || after.awaits_publish();
    assert!(!after.is_partial() || !called, "a part is handed over: {}", context());
    let ended = matches!(after.phase(), Phase::Finished { .. } | Phase::Failed { .. });
    assert!(!ended || after.pending_calls().is_none(), "{}", context());
}

/// A request that is repeated, since its answer was lost, must change nothing more.
fn repeated(upload: &Upload, command: &Command, now: Stamp, limits: &Limits) {
    let idempotent = matches!(
        command,
        Command::Bind(_)
            | Command::Store { .. }
            | Command::Publish
            | Command::Digest(_)
            | Command::Cancel { .. }
            | Command::Finish
            | Command::GiveUp(_)
            | Command::MakePartial
            | Command::MakeFinal { .. }
            | Command::Join
            | Command::Take { .. }
            | Command::Release { .. }
    );
    if idempotent {
        assert_eq!(upload.decide(command, now, limits), Ok(vec![]), "{command:?} {upload:?}");
    }
}

/// What a chunk is told to send must be exactly what is missing of it.
fn admitted(upload: &Upload, source: &mut Source<'_>, limits: &Limits) {
    let offer = Offer {
        extent: extent(source),
        length: source.flip().then(|| u64::from(source.below(96))),
        at: At::Anywhere,
        scope: if source.flip() { BodyScope::ToEnd } else { BodyScope::Range },
    };
    let Ok(missing) = upload.admit(&offer, limits) else { return };
    assert!(!missing.overlaps(upload.received()), "{offer:?} {upload:?}");
    let Some(extent) = offer.extent else { return assert!(missing.is_empty()) };
    let mut all = upload.received().clone();
    all.insert_all(&missing);
    let length = upload.length().or(offer.length);
    let bounded = Extent::new(extent.start(), length.unwrap_or(u64::MAX).min(extent.end()));
    assert!(bounded.is_none_or(|bounded| all.contains(bounded)), "{offer:?} {upload:?}");
    assert!(missing.end() <= extent.end() && length.is_none_or(|length| missing.end() <= length));
}

/// Any text is refused without being shown, or holds secrets: of a ticket, or of a URL.
pub fn signing_secrets(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match SigningSecrets::parse(&text) {
        Ok(secrets) => {
            assert_eq!(secrets.is_empty(), text.trim_ascii().is_empty(), "{text:?}");
            assert_eq!(SigningSecrets::parse(&secrets.expose()), Ok(secrets.clone()), "{text:?}");
            let signature = secrets.sign("id", 7, data);
            assert_eq!(secrets.verify("id", 7, data, &signature), !secrets.is_empty());
            assert!(!secrets.verify("id", 8, data, &signature));
        }
        Err(error) => assert!(error.to_string().len() < 80, "{error}"),
    }
    match UrlSecrets::parse(&text) {
        Ok(found) => {
            assert!(found.prefix.covers(&found.prefix) && !found.secrets.is_empty(), "{text:?}");
            assert!(
                !format!("{found:?}").contains("whsec_")
                    || found.prefix.as_str().contains("whsec_")
            );
        }
        Err(error) => assert!(error.to_string().len() < 80, "{error}"),
    }
}

fn ticket(source: &mut Source<'_>) -> Ticket {
    Ticket {
        id: TicketId::from_random([source.byte(); 16]),
        created: stamp(500),
        finish_url: source.text().into(),
        secret: source.text(),
        signing: SigningSecrets::default(),
        format: CallFormat::Form,
        removal: if source.flip() { Removal::Keep } else { Removal::RemoveWhenFinished },
        max_bytes: source.flip().then(|| u64::from(source.byte())),
        length: source.flip().then(|| u64::from(source.below(64))),
        digest: if source.flip() { DigestRequest::Sha256 } else { DigestRequest::None },
        metadata: source.text(),
        idle_timeout: None,
        file: TicketFile {
            name: source.flip().then(|| name::harmless(&source.text())),
            media_type: source.flip().then(|| source.text()),
            client_metadata: source.flip().then(|| source.text()),
        },
    }
}

fn extent(source: &mut Source<'_>) -> Option<Extent> {
    let start = u64::from(source.below(64));
    Extent::new(start, start + u64::from(source.below(64)))
}

fn other_id(source: &mut Source<'_>) -> TicketId {
    TicketId::from_random([source.below(4); 16])
}

fn command(source: &mut Source<'_>) -> Command {
    match source.below(20) {
        0 => Command::Bind(FileFacts {
            length: source.flip().then(|| u64::from(source.below(64))),
            name: source.flip().then(|| name::harmless(&source.text())),
            media_type: source.flip().then(|| source.text()),
            last_modified: source.flip().then(|| source.number()),
            client_metadata: source.flip().then(|| source.text()),
        }),
        1..=5 => {
            let mut extents = ExtentSet::new();
            for _ in 0..source.below(3) {
                extent(source).into_iter().for_each(|extent| extents.insert(extent));
            }
            let length = source.flip().then(|| u64::from(source.below(64)));
            let durability = if source.flip() { Durability::Written } else { Durability::Durable };
            Command::Store { extents, length, durability }
        }
        6 => Command::Publish,
        7 => Command::Digest([source.byte(); 32]),
        8 => Command::Cancel {
            reason: source.text(),
            notice: if source.flip() { Notice::Due } else { Notice::NotDue },
        },
        9 => Command::BeginCall,
        10 if source.flip() => Command::EndCall(CallOutcome::Wait),
        10 => Command::EndCall(CallOutcome::Retry(source.text())),
        11 => Command::Finish,
        12 if source.flip() => Command::GiveUp(source.text()),
        12 => Command::Delivered,
        13 => Command::MakePartial,
        14 => Command::MakeFinal {
            parts: (0..source.below(4)).map(|_| other_id(source)).collect(),
            length: u64::from(source.below(64)),
        },
        15 => Command::Join,
        18 => Command::GiveUpJoin {
            parts: (0..source.below(4)).map(|_| other_id(source)).collect(),
            reason: source.text(),
            notice: Notice::NotDue,
        },
        17 => {
            Command::Take { into: other_id(source), void: source.flip().then(|| other_id(source)) }
        }
        16 => Command::Release { into: other_id(source) },
        _ => Command::Retry,
    }
}

/// Whatever a browser sends becomes one harmless name, and stays it.
pub fn file_name(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let made = name::harmless(&text);
    assert!((1..=name::MAX_NAME_BYTES).contains(&made.len()), "{made:?}");
    assert!(!matches!(&*made, "." | ".."), "{made:?}");
    assert!(!made.contains(['/', '\\']) && !made.contains(name::is_hidden), "{made:?}");
    assert!(made.chars().all(|c| !c.is_control()), "{made:?}");
    assert_eq!(name::harmless(&made), made, "not its own name");
    let kept: BTreeSet<char> = text.chars().chain(name::UNNAMED.chars()).collect();
    assert!(made.chars().all(|c| kept.contains(&c)), "a character came from nowhere: {made:?}");
}

/// An id has one spelling, and that spelling is a plain file name.
pub fn ticket_id(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(id) = TicketId::parse(&text) {
        assert_eq!(id.to_string(), text, "two spellings");
        assert_eq!(TicketId::from_bytes(*id.as_bytes()), Ok(id));
        assert!(text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{text:?}");
    }
    let mut source = Source::new(data);
    let id = TicketId::from_random(std::array::from_fn(|_| source.byte()));
    assert_eq!(TicketId::parse(&id.to_string()), Ok(id));
}
