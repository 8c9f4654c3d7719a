//! The kinds of records: the first byte of each body. None is ever given another meaning.

pub(super) const CREATED: u8 = 1;
pub(super) const BOUND: u8 = 2;
pub(super) const STORED: u8 = 3;
pub(super) const PUBLISHED: u8 = 4;
pub(super) const DIGESTED: u8 = 5;
pub(super) const CALL_BEGUN: u8 = 6;
pub(super) const CALL_ENDED: u8 = 7;
pub(super) const FINISHED: u8 = 8;
pub(super) const FAILED: u8 = 9;
pub(super) const RETRY_ASKED: u8 = 10;
pub(super) const CANCELLED: u8 = 11;
pub(super) const NOTICE_ENDED: u8 = 12;
/// As `CREATED` and `BOUND`, with fields that they have not; written only where one of these is there, so that
/// versions which do not know them read all other journals.
pub(super) const CREATED_FOR_FILE: u8 = 13;
pub(super) const BOUND_WITH_METADATA: u8 = 14;
/// Written only for uploads of the concatenation of tus.
pub(super) const PARTIAL: u8 = 15;
pub(super) const FINAL: u8 = 16;
pub(super) const TAKEN: u8 = 17;
pub(super) const JOINED: u8 = 18;
/// Who sent first; without a time.
pub(super) const SENT_BY: u8 = 19;
/// As `CREATED_FOR_FILE`, with the secrets of signatures; written only where there are some.
pub(super) const CREATED_SIGNED: u8 = 20;
/// As `CREATED_SIGNED`, with or without secrets; the calls are JSON.
pub(super) const CREATED_FOR_JSON: u8 = 21;
pub(super) const RUN: u8 = 32;
pub(super) const SYNCED: u8 = 33;
pub(super) const FAULTED: u8 = 34;
pub(super) const COUNTED_FROM: u8 = 35;
/// Set beside a kind that has a time: the count follows the date.
pub(super) const COUNTED: u8 = 64;

/// A kind without that bit, and whether it was set.
pub(super) fn split(kind: u8) -> (u8, bool) {
    let plain = kind & !COUNTED;
    let timed =
        matches!(plain, CREATED..=JOINED | CREATED_SIGNED | CREATED_FOR_JSON) && plain != DIGESTED;
    if timed { (plain, kind != plain) } else { (kind, false) }
}
