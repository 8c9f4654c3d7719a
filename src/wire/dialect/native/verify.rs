//! `POST U/verify`: pieces of a file with their digests, and whether the server holds the same.

use super::json::StatusBody;
use super::{MAX_JSON_BYTES, Native};
use crate::core::extent::Extent;
use crate::core::id::TicketId;
use crate::core::limits::{MAX_PIECE_BYTES, MAX_PIECES, MIN_PIECE_BYTES};
use crate::engine::verify::{Piece, Verdict, VerifyError};
use crate::net::{PeerDisconnect, RequestBody};
use crate::wire::Answer;
use crate::wire::body::collect;
use crate::wire::problem::{Code, Problem};
use crate::wire::reply::{json_answer, shown};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

impl Native<'_> {
    /// Compares.
    ///
    /// Dropping the future ends the comparison, and so does a connection that breaks: nobody reads the answer.
    pub(super) async fn verify(&self, id: TicketId, body: RequestBody) -> Result<Answer, Problem> {
        let engine = &self.wire.engine;
        // Before the body: whoever knows no id is not read.
        let call = engine.small_call(id).await??;
        let told = collect(body, MAX_JSON_BYTES, &self.wire.body_memory.frontend).await?;
        let asked = asked(&told)?;
        drop((told, call));
        let length = engine.status(id).await?.length;
        let pieces = pieces(&asked, length)?;
        let (status, verdicts) = tokio::select! {
            biased;
            verified = engine.verify(id, pieces) => verified?,
            () = PeerDisconnect::broken(self.exchange.disconnect.as_ref()) => {
                return Err(Problem::bad_request("the connection broke before the answer"));
            }
        };
        let status = self.status_body(status);
        let verified = verdicts.into_iter().map(|verdict| match verdict {
            Verdict::Same => Some(true),
            Verdict::Different => Some(false),
            Verdict::NotHeld => None,
        });
        let body = VerifiedBody { verified: verified.collect(), status };
        let mut answer = json_answer(&body);
        body.status.add_headers(answer.headers_mut());
        Ok(answer)
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        let too_many = |detail: &str| Self::new(Code::TooMany, detail);
        match error {
            VerifyError::Lookup(error) => error.into(),
            VerifyError::Running => {
                too_many("another comparison of this upload is under way; wait for its answer")
            }
            VerifyError::Busy => too_many("the server has reached its limit of comparisons"),
            VerifyError::Spent { after } => too_many(
                "this upload has reached its limit of compared bytes; try again after \
                          Retry-After",
            )
            .after(after),
        }
    }
}

/// The status object, and beside it what was asked.
#[derive(Debug, Serialize)]
struct VerifiedBody {
    #[serde(flatten)]
    status: StatusBody,
    /// For each piece, in order: the same, another, not held.
    verified: Vec<Option<bool>>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    ranges: Vec<AskedPiece>,
}

#[derive(Debug, Deserialize)]
struct AskedPiece {
    /// Half-open, as in `received`.
    range: [u64; 2],
    #[serde(rename = "sha-256")]
    sha256: String,
}

fn asked(body: &[u8]) -> Result<Asked, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let text = String::from_utf8_lossy(body);
        Problem::bad_request(format!(
            "the body {} is not valid: {}",
            shown(&text),
            shown(&error.to_string())
        ))
    })
}

/// The pieces, each of them checked, of a file of `length` bytes.
fn pieces(asked: &Asked, length: Option<u64>) -> Result<Vec<Piece>, Problem> {
    let count = asked.ranges.len();
    if count == 0 || count > MAX_PIECES {
        return Err(Problem::bad_request(format!(
            "field ranges has {count} entries: expected 1 to {MAX_PIECES}"
        )));
    }
    let piece = |asked: &AskedPiece| {
        let [start, end] = asked.range;
        let bad = |wanted: String| {
            Problem::bad_request(format!("range [{start},{end}]: expected {wanted}"))
        };
        let extent = Extent::new(start, end).ok_or_else(|| bad("start below end".into()))?;
        let whole = start == 0 && Some(end) == length;
        if extent.len() > MAX_PIECE_BYTES || (extent.len() < MIN_PIECE_BYTES && !whole) {
            return Err(bad(format!(
                "{MIN_PIECE_BYTES} to {MAX_PIECE_BYTES} bytes, or the whole file"
            )));
        }
        let digest = BASE64_STANDARD.decode(&asked.sha256).ok();
        let sha256 = digest.and_then(|digest| digest.try_into().ok()).ok_or_else(|| {
            Problem::bad_request(format!(
                "field sha-256 {}: expected a SHA-256 in base64",
                shown(&asked.sha256)
            ))
        })?;
        Ok(Piece { extent, sha256 })
    };
    asked.ranges.iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    fn read(body: &str, length: Option<u64>) -> Option<Vec<Piece>> {
        asked(body.as_bytes()).and_then(|asked| pieces(&asked, length)).ok()
    }

    #[test]
    fn bodies() {
        let one = |range: &str, digest: &str| {
            format!(r#"{{"ranges":[{{"range":{range},"sha-256":"{digest}","new":1}}]}}"#)
        };
        let good = read(&one("[4096,8192]", NOTHING), None).unwrap();
        assert_eq!(good[0].extent, Extent::new(4096, 8192).unwrap());
        assert_eq!(good[0].sha256[..3], [0xe3, 0xb0, 0xc4]);
        assert!(read(&one("[0,7]", NOTHING), Some(7)).is_some(), "the whole file, small");
        let check = |body: &str| assert!(read(body, Some(1 << 30)).is_none(), "{body}");
        check("");
        check("[]");
        check(r#"{"ranges":[]}"#);
        check(r#"{"ranges":[{"range":[0,8192]}]}"#);
        check(&one("[0,7]", NOTHING));
        check(&one("[0,4095]", NOTHING));
        check(&one("[0,1048577]", NOTHING));
        check(&one("[8192,4096]", NOTHING));
        check(&one("[4096,4096]", NOTHING));
        check(&one("[-1,4096]", NOTHING));
        check(&one("[0,4096,8192]", NOTHING));
        check(&one("[0,8192]", "AAAA"));
        check(&one("[0,8192]", "?"));
        let piece =
            r#"{"range":[0,8192],"sha-256":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}"#;
        let many = |count| format!(r#"{{"ranges":[{}]}}"#, vec![piece; count].join(","));
        assert_eq!(read(&many(16), None).unwrap().len(), 16);
        check(&many(17));
    }
}
