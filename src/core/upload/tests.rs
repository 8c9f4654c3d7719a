//! The rules of an upload, as tables.

use super::*;
use crate::core::command::{At, BodyScope, Offer};
use crate::core::event::{CallOutcome, TicketFile};
use crate::core::id::TicketId;
use crate::core::limits::MAX_DISJOINT_EXTENTS;
use crate::core::retry::RetryPolicy;
use crate::core::time::Timestamp;
use std::time::Duration;

const LIMITS: Limits =
    Limits { max_chunk_bytes: Some(100), max_upload_bytes: Some(1000), grid_bytes: None };
const NOW: Stamp = at(1_000);

const fn at(uptime: u64) -> Stamp {
    Stamp { date: Timestamp(7), uptime: Uptime(uptime) }
}

fn ticket() -> Ticket {
    Ticket {
        secret: "secret".into(),
        ..Ticket::new(TicketId::from_random([9; 16]), at(500), "http://backend/done".into())
    }
}

fn extent(start: u64, end: u64) -> Extent {
    Extent::new(start, end).unwrap()
}

fn chunk(start: u64, end: u64, length: Option<u64>) -> Offer {
    Offer { extent: Some(extent(start, end)), length, at: At::Anywhere, scope: BodyScope::Range }
}

fn store(start: u64, end: u64, length: Option<u64>) -> Command {
    let extents = ExtentSet::of(extent(start, end));
    Command::Store { extents, length, durability: Durability::Durable }
}

fn cancel() -> Command {
    Command::Cancel { reason: "enough".into(), notice: Notice::Due }
}

/// Decides and applies; panics if the rules refuse.
fn go(upload: &mut Upload, command: &Command) {
    for event in upload.decide(command, NOW, &LIMITS).unwrap() {
        upload.apply(&event);
    }
}

fn uploading() -> Upload {
    let mut upload = Upload::new(ticket());
    go(&mut upload, &store(0, 10, Some(20)));
    upload
}

fn handing_over() -> Upload {
    let mut upload = uploading();
    go(&mut upload, &store(10, 20, None));
    assert!(upload.awaits_publish());
    go(&mut upload, &Command::Publish);
    upload
}

fn finished() -> Upload {
    let mut upload = handing_over();
    go(&mut upload, &Command::BeginCall);
    go(&mut upload, &Command::Delivered);
    upload
}

fn cancelled() -> Upload {
    let mut upload = uploading();
    go(&mut upload, &cancel());
    upload
}

fn failed() -> Upload {
    let mut upload = handing_over();
    go(&mut upload, &Command::GiveUp("gone".into()));
    upload
}

#[test]
fn offers() {
    let check = |upload: &Upload, offer: Offer, expected: Result<&[(u64, u64)], Refusal>| {
        let expected = expected.map(|ranges| {
            let mut set = ExtentSet::new();
            ranges.iter().for_each(|(start, end)| set.insert(extent(*start, *end)));
            set
        });
        assert_eq!(upload.admit(&offer, &LIMITS), expected, "{offer:?}");
    };
    let whole = |end, length| Offer {
        extent: Extent::new(0, end),
        length,
        at: At::Anywhere,
        scope: BodyScope::ToEnd,
    };
    let fresh = Upload::new(ticket());
    check(&fresh, chunk(0, 10, None), Ok(&[(0, 10)]));
    check(&fresh, chunk(5, 10, Some(10)), Ok(&[(5, 10)]));
    check(&fresh, chunk(0, 101, None), Err(Refusal::ChunkTooLarge { chunk: 101, limit: 100 }));
    check(&fresh, chunk(990, 1001, None), Err(Refusal::FileTooLarge { file: 1001, limit: 1000 }));
    check(&fresh, chunk(0, 1, Some(1001)), Err(Refusal::FileTooLarge { file: 1001, limit: 1000 }));
    check(&fresh, whole(50, Some(50)), Ok(&[(0, 50)]));
    check(&fresh, whole(500, Some(500)), Err(Refusal::ChunkTooLarge { chunk: 500, limit: 100 }));
    check(&fresh, whole(0, Some(0)), Ok(&[]));
    check(&fresh, whole(u64::MAX / 4, None), Ok(&[(0, u64::MAX / 4)]));

    let part = uploading();
    check(&part, chunk(0, 10, None), Ok(&[]));
    check(&part, chunk(5, 15, Some(20)), Ok(&[(10, 15)]));
    check(&part, chunk(5, 15, Some(21)), Err(Refusal::LengthChanged { known: 20, offered: 21 }));
    check(&part, chunk(15, 21, None), Err(Refusal::RangeOutside { end: 21, length: 20 }));
    check(&part, whole(u64::MAX / 4, None), Ok(&[(10, 20)]));
    check(&part, whole(20, Some(20)), Ok(&[(10, 20)]));

    // Appending: exactly at the end of the prefix, with an end that is open.
    let append = |at, end| Offer {
        extent: Extent::new(at, end),
        length: None,
        at: At::Prefix(at),
        scope: BodyScope::Open,
    };
    check(&fresh, append(0, u64::MAX / 4), Ok(&[(0, u64::MAX / 4)]));
    check(&part, append(10, u64::MAX / 4), Ok(&[(10, 20)]));
    check(&part, append(9, 15), Err(Refusal::OffsetMismatch { expected: 10, offered: 9 }));
    check(&part, append(11, 15), Err(Refusal::OffsetMismatch { expected: 10, offered: 11 }));
    check(&handing_over(), append(20, 20), Ok(&[]));
    check(
        &handing_over(),
        append(10, 20),
        Err(Refusal::OffsetMismatch { expected: 20, offered: 10 }),
    );

    // The lost answer: a chunk of a complete upload is acknowledged again.
    for over in [handing_over(), finished()] {
        check(&over, chunk(10, 20, Some(20)), Ok(&[]));
        check(
            &over,
            chunk(10, 20, Some(30)),
            Err(Refusal::LengthChanged { known: 20, offered: 30 }),
        );
    }
    check(&cancelled(), chunk(0, 10, None), Err(Refusal::UploadOver(Terminal::Cancelled)));
    check(&failed(), chunk(0, 10, None), Err(Refusal::UploadOver(Terminal::Failed)));
    check(&cancelled(), append(10, 20), Err(Refusal::UploadOver(Terminal::Cancelled)));
    check(&failed(), append(10, 20), Err(Refusal::UploadOver(Terminal::Failed)));
}

#[test]
fn a_ticket_bounds_its_file() {
    let mut limited = Upload::new(Ticket { max_bytes: Some(50), ..ticket() });
    let refused = Err(Refusal::FileTooLarge { file: 51, limit: 50 });
    assert_eq!(limited.admit(&chunk(0, 1, Some(51)), &LIMITS), refused);
    go(&mut limited, &store(0, 10, None));
    let shrunk = limited.decide(&store(10, 11, Some(5)), NOW, &LIMITS);
    assert_eq!(shrunk, Err(Refusal::LengthChanged { known: 10, offered: 5 }));
    let known = Upload::new(Ticket { length: Some(7), ..ticket() });
    assert_eq!(known.length(), Some(7));
}

#[test]
fn binding_is_idempotent() {
    let facts = FileFacts { length: Some(20), name: Some("a".into()), ..FileFacts::default() };
    let mut upload = Upload::new(ticket());
    go(&mut upload, &Command::Bind(facts.clone()));
    assert_eq!(
        (upload.length(), upload.name(), upload.phase()),
        (Some(20), Some("a"), &Phase::Uploading)
    );
    assert_eq!(upload.decide(&Command::Bind(facts), NOW, &LIMITS), Ok(vec![]));
    let other = Command::Bind(FileFacts { length: Some(21), ..FileFacts::default() });
    assert_eq!(
        upload.decide(&other, NOW, &LIMITS),
        Err(Refusal::LengthChanged { known: 20, offered: 21 })
    );
    assert_eq!(
        handing_over().decide(&Command::Bind(FileFacts::default()), NOW, &LIMITS),
        Ok(vec![]),
        "a page that was reloaded learns how things stand"
    );
    let mut told = Upload::new(Ticket { length: Some(0), ..ticket() });
    assert!(!told.awaits_publish(), "its name is still to come");
    let nothing = Command::Store {
        extents: ExtentSet::new(),
        length: Some(0),
        durability: Durability::Durable,
    };
    go(&mut told, &nothing);
    assert!(told.awaits_publish());
    let mut empty = Upload::new(ticket());
    go(&mut empty, &Command::Bind(FileFacts { length: Some(0), ..FileFacts::default() }));
    assert!(empty.awaits_publish());
}

#[test]
fn the_first_word_on_a_file_holds() {
    let facts = |n: u64| FileFacts {
        length: Some(20),
        name: Some(format!("name {n}")),
        media_type: Some(format!("type/{n}")),
        last_modified: Some(n),
        client_metadata: Some(format!("filename {n}")),
    };
    let only_name = FileFacts { name: Some("first".into()), ..FileFacts::default() };
    let mut upload = Upload::new(ticket());
    let mut records = 0;
    for bind in [FileFacts::default(), only_name].into_iter().chain((0..100).map(facts)) {
        let events = upload.decide(&Command::Bind(bind), NOW, &LIMITS).unwrap();
        records += events.len();
        events.iter().for_each(|event| upload.apply(event));
    }
    assert_eq!(records, 3);
    assert_eq!((upload.name(), upload.media_type()), (Some("first"), Some("type/0")));
    assert_eq!((upload.length(), upload.last_modified), (Some(20), Some(0)));
    assert_eq!(upload.client_metadata(), Some("filename 0"));
}

#[test]
fn the_ticket_has_the_first_word_on_its_file() {
    let text = |it: &str| Some(it.to_owned());
    let said = |by: &str| (text(by), text(by), text(by));
    let (name, media_type, client_metadata) = said("backend");
    let file = TicketFile { name, media_type, client_metadata };
    let mut upload = Upload::new(Ticket { file, ..ticket() });
    assert_eq!(upload.phase(), &Phase::New);
    let (name, media_type, client_metadata) = said("client");
    let facts = FileFacts { name, media_type, client_metadata, ..FileFacts::default() };
    go(&mut upload, &Command::Bind(facts));
    let known = (upload.name(), upload.media_type(), upload.client_metadata());
    assert_eq!(known, (Some("backend"), Some("backend"), Some("backend")));
    assert_eq!(upload.phase(), &Phase::Uploading);
}

#[test]
fn only_bytes_keep_an_upload() {
    let mut upload = Upload::new(ticket());
    let mut check = |now, command: &Command, active| {
        for event in upload.decide(command, at(now), &LIMITS).unwrap() {
            upload.apply(&event);
        }
        assert_eq!(upload.last_active(), at(active), "{command:?}");
    };
    let bind =
        |name: &str| Command::Bind(FileFacts { name: Some(name.into()), ..FileFacts::default() });
    check(1000, &bind("a"), 500);
    check(2000, &store(0, 10, Some(20)), 2000);
    check(3000, &bind("b"), 2000);
    check(4000, &store(0, 10, Some(20)), 2000);
    check(5000, &store(5, 11, None), 5000);
}

#[test]
fn only_new_bytes_are_recorded() {
    let events = uploading().decide(&store(5, 15, Some(20)), NOW, &LIMITS).unwrap();
    let expected =
        Event::Stored { at: NOW, extent: extent(10, 15), durability: Durability::Durable };
    assert_eq!(events, [expected]);
}

#[test]
fn bytes_beyond_the_end_are_never_acknowledged() {
    for upload in [uploading(), handing_over(), finished()] {
        let refused = Err(Refusal::RangeOutside { end: 30, length: 20 });
        assert_eq!(upload.decide(&store(25, 30, None), NOW, &LIMITS), refused);
    }
    // Also where the length comes with them.
    let fresh = Upload::new(ticket()).decide(&store(25, 30, Some(20)), NOW, &LIMITS);
    assert_eq!(fresh, Err(Refusal::RangeOutside { end: 30, length: 20 }));
}

#[test]
fn cancel_and_completion_have_one_winner() {
    let check = |upload: &Upload, expected: Result<usize, Refusal>| {
        let decided = upload.decide(&cancel(), NOW, &LIMITS).map(|events| events.len());
        assert_eq!(decided, expected, "{:?}", upload.phase());
    };
    check(&Upload::new(ticket()), Ok(1));
    check(&uploading(), Ok(1));
    check(&cancelled(), Ok(0));
    assert!(cancelled().received().is_empty(), "what is removed is not claimed");
    let by_backend = Command::Cancel { reason: String::new(), notice: Notice::NotDue };
    let mut known = cancelled();
    go(&mut known, &by_backend);
    assert!(known.pending_calls().is_none(), "the backend knows what it did itself");
    let mut complete = uploading();
    go(&mut complete, &store(10, 20, None));
    check(&complete, Err(Refusal::TooLateToCancel));
    check(&handing_over(), Err(Refusal::TooLateToCancel));
    check(&finished(), Err(Refusal::UploadOver(Terminal::Finished)));
    check(&failed(), Err(Refusal::UploadOver(Terminal::Failed)));
    let late = cancelled().decide(&store(10, 20, None), NOW, &LIMITS);
    assert_eq!(late, Err(Refusal::UploadOver(Terminal::Cancelled)));
}

#[test]
fn a_handover_is_finished_once() {
    let check = |upload: &Upload, expected: Result<usize, Refusal>| {
        let decided = upload.decide(&Command::Finish, NOW, &LIMITS).map(|events| events.len());
        assert_eq!(decided, expected, "{:?}", upload.phase());
    };
    let mut waiting = handing_over();
    check(&waiting, Ok(1));
    go(&mut waiting, &Command::BeginCall);
    check(&waiting, Ok(1));
    go(&mut waiting, &Command::EndCall(CallOutcome::Wait));
    check(&waiting, Ok(1));
    go(&mut waiting, &Command::EndCall(CallOutcome::Retry("no".into())));
    check(&waiting, Ok(1));
    check(&finished(), Ok(0));
    check(&uploading(), Err(Refusal::NothingToFinish));
    check(&cancelled(), Err(Refusal::NothingToFinish));
    check(&failed(), Err(Refusal::NothingToFinish));
    assert_eq!(finished().decide(&Command::BeginCall, NOW, &LIMITS), Ok(vec![]));
    assert!(finished().pending_calls().is_none());
}

#[test]
fn a_pending_handover_says_what_it_waits_for() {
    let mut upload = handing_over();
    assert_eq!(upload.reason(), None);
    go(&mut upload, &Command::BeginCall);
    go(&mut upload, &Command::EndCall(CallOutcome::Wait));
    let waits = "the backend answered wait and has not called finish_upload yet";
    assert_eq!(upload.reason(), Some(waits));
    go(&mut upload, &Command::BeginCall);
    assert_eq!(upload.reason(), None);
    go(&mut upload, &Command::EndCall(CallOutcome::Retry("down".into())));
    assert_eq!(upload.reason(), Some("down"));
}

#[test]
fn a_failed_handover_can_be_tried_again() {
    let mut upload = failed();
    assert!(upload.pending_calls().is_none());
    go(&mut upload, &Command::Retry);
    assert!(upload.pending_calls().is_some());
    assert_eq!(uploading().decide(&Command::Retry, NOW, &LIMITS), Err(Refusal::NothingToRetry));
}

#[test]
fn a_cancel_is_told_until_it_is_known_and_stays_cancelled() {
    let mut upload = cancelled();
    assert!(upload.pending_calls().is_some());
    go(&mut upload, &Command::BeginCall);
    go(&mut upload, &Command::EndCall(CallOutcome::Retry("down".into())));
    let policy = RetryPolicy { confirm_timeout: Duration::ZERO, retry_for: Duration::from_secs(1) };
    assert!(!upload.calls_exhausted(&policy, NOW.uptime));
    assert!(upload.calls_exhausted(&policy, Uptime(2_000)));
    go(&mut upload, &Command::GiveUp("down".into()));
    assert!(upload.pending_calls().is_none());
    assert!(matches!(upload.phase(), Phase::Cancelled { .. }));
    assert_eq!(upload.reason(), Some("enough"));
}

#[test]
fn holes_are_bounded() {
    let mut upload = Upload::new(ticket());
    let limits = Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None };
    for n in 0..MAX_DISJOINT_EXTENTS as u64 {
        upload.apply(&Event::Stored {
            at: NOW,
            extent: extent(2 * n, 2 * n + 1),
            durability: Durability::Durable,
        });
    }
    let beyond = 2 * MAX_DISJOINT_EXTENTS as u64;
    let refused = Err(Refusal::TooManyHoles { limit: MAX_DISJOINT_EXTENTS });
    assert_eq!(upload.admit(&chunk(beyond, beyond + 1, None), &limits), refused);
    assert!(upload.admit(&chunk(1, 2, None), &limits).is_ok());
    // Chunks that were in flight together have made a few more: those that join ranges still count.
    for n in 0..50 {
        let extent = extent(beyond + 2 * n, beyond + 2 * n + 1);
        upload.apply(&Event::Stored { at: NOW, extent, durability: Durability::Durable });
    }
    let beyond = beyond + 100;
    assert_eq!(upload.admit(&chunk(beyond, beyond + 1, None), &limits), refused);
    assert!(upload.admit(&chunk(1, 2, None), &limits).is_ok());
}
