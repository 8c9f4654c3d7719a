//! Whether interim answers (`104 Upload Resumption Supported`) come through a path. iOS needs one to resume uploads; a proxy
//! that takes it for the answer makes uploads fail.

use super::Finding;
use super::config_fix::ConfigFix;
use super::observed::{InterimOutcome, Observed};

/// Only where the server was told that all of its proxies pass a 104 on: by itself it sends none through one.
pub(super) fn interim(seen: &Observed, found: &mut Vec<Finding>) {
    let always = seen.arrived.as_ref().is_some_and(|arrived| arrived.limits.interim_always);
    let Some(tried) = seen.interim.filter(|_| always) else { return };
    let (code, what) = if tried.breaks() {
        let what = "the proxy takes the interim answer 104 for the answer: uploads of clients that name a version of \
                    resumable uploads, such as iOS, fail";
        ("interim-breaks", what)
    } else if tried.http1 == Some(InterimOutcome::Dropped) {
        let what =
            "the interim answer 104 does not come back: iOS begins a broken upload at 0 again";
        ("interim-lost", what)
    } else {
        return;
    };
    let line =
        "resumable_104 = \"direct\"  (no line of nginx passes it on; HAProxy, Caddy and Apache do)";
    found.push(Finding { code, what: what.to_owned(), cures: vec![ConfigFix::setting(line)] });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Findings;
    use crate::diagnosis::observed::{Arrived, InterimTried, Limits};

    #[test]
    fn a_finding_only_where_the_server_sends_it() {
        use InterimOutcome::{Broken, Dropped, Passed};
        let check = |http1, http2_fails, interim_always: bool, code: Option<&str>| {
            let limits = Limits { interim_always, ..Limits::default() };
            let arrived = Some(Arrived { limits, ..Arrived::default() });
            let interim = Some(InterimTried { http1, http2_fails });
            let seen = Observed { arrived, interim, ..Observed::default() };
            let found: Vec<_> = Findings::of(&seen).findings.iter().map(|it| it.code).collect();
            assert_eq!(found, code.into_iter().collect::<Vec<_>>(), "{seen:?}");
        };
        check(Some(Passed), Some(false), true, None);
        check(Some(Passed), Some(true), true, Some("interim-breaks"));
        check(Some(Broken), None, true, Some("interim-breaks"));
        check(Some(Dropped), None, true, Some("interim-lost"));
        check(None, None, true, None);
        check(Some(Broken), Some(true), false, None);
        check(Some(Dropped), None, false, None);
    }
}
