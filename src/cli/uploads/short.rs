//! Ids as logs shorten them: their beginning, where it is that of one upload alone.

use serde::Deserialize;

use crate::cli::backend::{BackendClient, BackendError};
use crate::core::id::TicketId;

/// Less than this is a slip of the hand rather than a part of an id.
const LEAST_CHARS: usize = 4;
/// What logs show; as many are told apart by asking the server, the rest here.
const LOG_CHARS: usize = 8;
/// Uploads looked at: some begin alike where thousands are open and few characters are typed.
const LOOKED_AT: usize = 100;

#[derive(Deserialize)]
struct Page {
    uploads: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

/// Why a text names no upload.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum IdError {
    #[error(
        "{0:?} is not a ticket id or the beginning of one: {LEAST_CHARS} characters or more, lower case"
    )]
    Invalid(String),
    #[error("no upload has an id that begins with {0}")]
    Unknown(String),
    #[error("the ids of {count} uploads begin with {typed}: type more of it")]
    Ambiguous { typed: String, count: String },
    #[error(transparent)]
    Call(#[from] BackendError),
}

/// The whole id. Changes nothing, so dropping it is harmless.
pub(super) async fn whole(client: &BackendClient, typed: &str) -> Result<String, IdError> {
    if TicketId::parse(typed).is_ok() {
        return Ok(typed.to_owned());
    }
    if !is_beginning(typed) {
        return Err(IdError::Invalid(typed.to_owned()));
    }
    let path = format!("/incoming/backend/uploads?limit={LOOKED_AT}&after={}", before(typed));
    let page: Page = client.read(&path).await?;
    let ids = page.uploads.into_iter().map(|upload| upload.id);
    only(typed, ids.filter(|id| id.starts_with(typed)).collect(), LOOKED_AT)
}

/// The one that was found of those that begin so, of which at most `looked_at` were looked at.
pub(in crate::cli) fn only<T>(
    typed: &str,
    mut found: Vec<T>,
    looked_at: usize,
) -> Result<T, IdError> {
    match (found.pop(), found.len()) {
        (Some(id), 0) => Ok(id),
        (Some(_), others) => {
            let count = others + 1;
            let least = if count == looked_at { "at least " } else { "" };
            let count = format!("{least}{count}");
            Err(IdError::Ambiguous { typed: typed.to_owned(), count })
        }
        (None, _) => Err(IdError::Unknown(typed.to_owned())),
    }
}

/// Whether it is the beginning of an id, and no whole one.
pub(in crate::cli) fn is_beginning(typed: &str) -> bool {
    let fits = |(place, character): (usize, char)| match place {
        8 | 13 | 18 | 23 => character == '-',
        _ => matches!(character, '0'..='9' | 'a'..='f'),
    };
    (LEAST_CHARS..36).contains(&typed.len())
        && typed.chars().enumerate().all(fits)
        && TicketId::parse(typed).is_err()
}

/// An id that none is given out with, since the digit after the third dash is 8 to b in all of those,
/// and that comes before all that begin so.
fn before(typed: &str) -> String {
    let start: String = typed.chars().take(LOG_CHARS).collect();
    format!("{start:0<LOG_CHARS$}-0000-4000-0000-000000000000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_told_from_other_texts() {
        let check =
            |typed: &str, expected: bool| assert_eq!(is_beginning(typed), expected, "{typed}");
        let whole = "71272bb1-0102-4304-8506-0708090a0b0c";
        for length in [4, 8, 9, 35] {
            check(&whole[..length], true);
        }
        for wrong in [whole, "712", "71272bb10", "7127-", "71272BB1", "x127", "7127/.", ""] {
            check(wrong, false);
        }
        for typed in ["71272bb1", "7127", "71272bb1-0102-43"] {
            let before = before(typed);
            assert!(TicketId::parse(&before).is_ok(), "{before}");
            assert!(*before < *whole, "{before}");
        }
    }
}
