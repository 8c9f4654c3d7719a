//! The fuzz targets of the doctor: what any stranger may ask it, and tell it.

use super::told;
use crate::diagnosis::Findings;
use crate::wire::doctor::{MOST_ANSWER_BYTES, MOST_WAIT, observed, wishes};
use hyper::Request;

/// A query, and what was read of it written again in one spelling.
pub fn query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let read = |query: &str| {
        let request = Request::get(format!("/d?{query}")).body(()).ok()?;
        told(wishes(&request.into_parts().0))
    };
    let Some(read_once) = read(&text) else { return };
    assert!(read_once.wait <= MOST_WAIT, "{text:?}");
    let mut again = form_urlencoded::Serializer::new(String::new());
    again.append_pair("probe", &read_once.probe.to_string());
    let wait = read_once.wait;
    again.append_pair("wait", &format!("{}.{:09}", wait.as_secs(), wait.subsec_nanos()));
    if let Some(caller) = read_once.caller {
        again.append_pair("caller", &caller.to_string());
    }
    let read_again = read(&again.finish()).expect("a spelling of what was taken");
    assert_eq!(read_again.probe, read_once.probe, "{text:?}");
    assert_eq!(read_again.caller, read_once.caller, "{text:?}");
    assert_eq!(read_again.wait, read_once.wait, "{text:?}");
}

/// What a client has seen: it is judged as what it is written as, and the judgement is no flood.
pub fn findings(data: &[u8]) {
    let Some(seen) = told(observed(data)) else { return };
    let judged = Findings::of(&seen);
    let written = serde_json::to_vec(&seen).expect("these types have only string keys");
    let again = told(observed(&written)).expect("what was read can be written");
    // A number may have lost its last bit on the way, and is part of what is said.
    let codes = |judged: &Findings| judged.findings.iter().map(|one| one.code).collect::<Vec<_>>();
    assert_eq!(codes(&Findings::of(&again)), codes(&judged));
    let answer = serde_json::to_vec(&judged).expect("these types have only string keys");
    assert!(answer.len() < MOST_ANSWER_BYTES, "{} bytes of {}", answer.len(), data.len());
}
