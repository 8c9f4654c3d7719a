//! What each cause is answered with in each dialect (docs/protocol.md, sections 2.9, 2.10 and 3).

use super::*;
use crate::core::digest::ChunkDigest;
use crate::core::grid::BeyondTheGrid;
use crate::engine::error::{Fault, Full, LookupError, TicketError};
use hyper::StatusCode;

fn statuses(problem: &Problem) -> [u16; Dialect::ALL.len()] {
    Dialect::ALL.map(|dialect| dialect.problem(problem).status().as_u16())
}

#[test]
fn causes_and_their_statuses() {
    let check = |cause: Problem, native: u16, tus: u16, resumable: u16| {
        assert_eq!(statuses(&cause), [native, tus, resumable], "{cause:?}");
    };
    let refused = |refusal: Refusal, native: u16, tus: u16, resumable: u16| {
        check(refusal.into(), native, tus, resumable);
    };
    check(LookupError::Unknown.into(), 404, 404, 404);
    for end in [Terminal::Cancelled, Terminal::Failed, Terminal::Finished] {
        refused(Refusal::UploadOver(end), 410, 404, 404);
    }
    refused(Refusal::OffsetMismatch { expected: 1, offered: 2 }, 409, 409, 409);
    refused(Refusal::LengthChanged { known: 1, offered: 2 }, 409, 400, 400);
    refused(Refusal::RangeOutside { end: 2, length: 1 }, 416, 413, 400);
    refused(Refusal::RangeMismatch { range: 1, body: 2 }, 416, 413, 400);
    refused(Refusal::ChunkTooLarge { chunk: 2, limit: 1 }, 413, 413, 413);
    refused(Refusal::FileTooLarge { file: 2, limit: 1 }, 413, 413, 413);
    refused(Refusal::BeyondTheGrid(BeyondTheGrid { file: 2, limit: 1 }), 413, 413, 413);
    refused(Refusal::BeyondTheDisk { end: 1 }, 413, 413, 413);
    refused(Refusal::TooManyHoles { limit: 1 }, 429, 503, 429);
    refused(Refusal::JournalFull { limit: 1 }, 429, 503, 429);
    refused(Refusal::TooManyPieces { limit: 1 }, 429, 503, 429);
    for late in [Refusal::TooLateToCancel, Refusal::MadeOfParts, Refusal::InUse, Refusal::PartTaken]
    {
        refused(late, 412, 403, 412);
    }
    refused(Refusal::NotPartial, 400, 400, 400);
    refused(Refusal::PartUnfinished { offset: 1, length: None }, 400, 400, 400);
    check(
        TransferError::DigestMismatch { found: ChunkDigest::Sha1([0; 20]) }.into(),
        400,
        460,
        400,
    );
    check(TransferError::Superseded.into(), 409, 400, 400);
    for slow in [ClientFault::StoodStill, ClientFault::TooSlow] {
        check(TransferError::Client(slow).into(), 408, 503, 503);
    }
    let broken = || TransferError::Client(ClientFault::BrokeOff("reset".into()));
    check(broken().into(), 400, 400, 400);
    let trailers = TransferError::Client(ClientFault::BadTrailers("no digest".into()));
    check(not_received(trailers), 400, 400, 400);
    // What both append dialects make of it.
    check(not_received(broken()), 503, 503, 503);
    check(TransferError::TooManyInFlight(Full { limit: 1 }).into(), 429, 503, 429);
    check(TicketError::TooMany { limit: 1 }.into(), 429, 503, 429);
    check(TransferError::AnswersUnread.into(), 429, 503, 429);
    for later in [TransferError::Draining, TransferError::Exhausted, TransferError::Busy] {
        check(later.into(), 503, 503, 503);
    }
    check(TransferError::NoSpace.into(), 507, 507, 507);
    check(TransferError::Fault(Fault("disk".into())).into(), 500, 500, 500);
    check(Problem::new(Code::UnsupportedMediaType, ""), 415, 415, 415);
    check(Problem::new(Code::UnsupportedVersion, ""), 412, 412, 412);
    // The web app's own status is that of all dialects.
    check(Problem::refused(StatusCode::PAYMENT_REQUIRED, String::new()), 402, 402, 402);
}

/// Clients of tus repeat nothing on these, and begin no new upload on 410; clients of the IETF's neither on 408 and 410.
#[test]
fn no_code_has_a_status_that_clients_of_its_dialect_take_for_the_end() {
    for code in Code::ALL {
        let [native, tus, resumable] = statuses(&Problem::new(code, ""));
        assert!(native >= 400 && tus >= 400 && resumable >= 400, "{code:?}");
        assert!(![408, 410, 423, 429].contains(&tus), "{code:?} {tus}");
        assert!(![408, 410].contains(&resumable), "{code:?} {resumable}");
    }
}
