//! `/incoming/frontend/doctor/findings`: what a client has seen of its path, judged by `diagnosis`.
//!
//! Anyone may ask, and may leave the answer unread: a judgement keeps its place until its answer is taken, and
//! names that are repeated in it are cut.

use super::{Doctor, PROBES, take};
use crate::diagnosis::Findings;
use crate::diagnosis::observed::Observed;
use crate::net::RequestBody;
use crate::wire::body::collect;
use crate::wire::problem::Problem;
use crate::wire::reply::{hold_until_sent, json_answer, shown};
use crate::wire::{Answer, Exchange};

impl Doctor {
    /// What a client has seen of its path, judged.
    pub(super) async fn findings(
        &self,
        exchange: &Exchange,
        body: RequestBody,
    ) -> Result<Answer, Problem> {
        let slot = take(&self.judgements, exchange)?;
        let told = collect(body, MOST_BYTES, &self.memory).await?;
        let seen = observed(&told)?;
        Ok(hold_until_sent(json_answer(&Findings::of(&seen)), slot).await)
    }
}

/// What a client has seen, as it tells it.
pub(in crate::wire) fn observed(told: &[u8]) -> Result<Observed, Problem> {
    // By way of an object: fields that may all be left out would make an empty list one as well.
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(told);
    let seen = object.and_then(|object| serde_json::from_value::<Observed>(object.into()));
    let bad = |why: &str| {
        let text = String::from_utf8_lossy(told);
        Problem::bad_request(format!("the body {} is not valid: {why}", shown(&text)))
    };
    // The error repeats words of the body.
    let mut seen = seen.map_err(|error| bad(&shown(&error.to_string())))?;
    // A finding is some hundred times as long as the shortest entry that it comes from.
    if seen.longest_list() > MOST_ENTRIES {
        return Err(bad(&format!("a list has more than {MOST_ENTRIES} entries")));
    }
    // It repeats a name five times, with the fix for each of four proxies.
    seen.shorten(NAME_CHARS, TEXT_CHARS);
    Ok(seen)
}

pub(super) const METHODS: &str = "POST, OPTIONS";
const MOST_BYTES: usize = 64 << 10;
/// All bodies at once.
#[allow(clippy::cast_possible_truncation)] // It is 16.
pub(super) const BODY_MEMORY_BYTES: usize = MOST_BYTES * PROBES.all as usize;
/// Entries of a list of things seen; an examination makes ten at most.
const MOST_ENTRIES: usize = 32;
/// Characters of a method, a header's name or a code.
const NAME_CHARS: usize = 64;
/// Characters of a path, or of what a preflight lacks.
const TEXT_CHARS: usize = 200;
/// No answer is longer, whatever was seen. With the places of all judgements that bounds what is untaken: 6 MiB.
#[cfg(any(test, feature = "testing"))]
pub(in crate::wire) const MOST_ANSWER_BYTES: usize = 384 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Each entry makes a finding, which is much longer.
    #[test]
    fn what_a_stranger_has_seen_is_short() {
        let check = |told: String, expected: Option<&str>| {
            let refused = observed(told.as_bytes()).err();
            let detail = refused.map(|problem| problem.detail().to_owned());
            assert_eq!(detail.is_some(), expected.is_some(), "{detail:?}");
            let detail = detail.unwrap_or_default();
            assert!(detail.contains(expected.unwrap_or_default()), "{detail}");
            assert!(detail.len() < 2000 && !detail.contains('\u{1b}'), "{detail:?}");
        };
        for list in LISTS {
            let of = |count: usize| json!({ list: vec!["x"; count] }).to_string();
            check(of(MOST_ENTRIES), None);
            check(of(MOST_ENTRIES + 1), Some("32 entries"));
        }
        let tried = r#"{"method":"PUT","came":"own"},"#.repeat(MOST_ENTRIES + 1);
        check(format!(r#"{{"methods":[{}]}}"#, tried.trim_end_matches(',')), Some("32 entries"));
        // The error names what it cannot take.
        check(r#"{"proxy":"\u001b[31mred"}"#.into(), Some("unknown variant"));
        check(format!(r#"{{"proxy":"{}"}}"#, "x".repeat(60_000)), Some("unknown variant"));
    }

    /// Whatever a client writes: long names, and characters that JSON writes in many bytes.
    #[test]
    fn what_a_stranger_is_told_is_short() {
        let answer = |told: serde_json::Value| {
            let seen = observed(told.to_string().as_bytes()).unwrap();
            serde_json::to_string(&Findings::of(&seen)).unwrap()
        };
        for text in ["x", "\u{1}", "\u{1b}", "\"", "\u{1f980}", "\u{2028}"].map(|c| c.repeat(2000))
        {
            let tried = json!({"method": text, "came": "broken"});
            let silence =
                json!({"of": "server", "asked_s": 1, "after_s": f64::MAX, "came": "nothing"});
            let mut told = json!({
                "stripped": text,
                "methods": vec![tried; MOST_ENTRIES],
                "silences": vec![silence; MOST_ENTRIES],
                "refusals": vec![json!({"code": text, "came": {"other": 500}}); MOST_ENTRIES],
                "paced": {"paused_ms": f64::MAX, "last_ms": 0},
                "cap": {"taken": 1, "refused": 5, "came": {"other": 413}},
                "window_bytes": 1,
                "cached": true,
            });
            for list in LISTS {
                told[list] = vec![text.clone(); MOST_ENTRIES].into();
            }
            let answer = answer(told);
            let (bytes, of) = (answer.len(), text.chars().next());
            assert!(bytes < MOST_ANSWER_BYTES, "{bytes} bytes of {of:?}");
        }
        let told = answer(json!({"request_headers_lost": ["x-\u{1b}[31m".repeat(50)]}));
        assert!(told.contains(&"x-[31m".repeat(10)) && !told.contains("u001b"), "{told}");
        // Names that there are stay whole.
        let name = "Access-Control-Allow-Private-Network-And-Something-More";
        assert!(answer(json!({"answer_headers_lost": [name]})).contains(name));
    }

    const LISTS: [&str; 5] = [
        "request_headers_lost",
        "answer_headers_lost",
        "answer_headers_doubled",
        "preflight_lacks",
        "exposed",
    ];
}
