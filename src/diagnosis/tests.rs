//! A finding for each fault, none for what is well, and the words they use.

use super::observed::{Arrived, Limits, Paced, Proxy, RefusalTried};
use super::*;

/// A path as it should be, with everything looked at.
fn healthy() -> Observed {
    let limits = Limits { chunk_size: 8 << 20, ..Limits::default() };
    Observed {
        proxy: Some(Proxy::Nginx),
        proxied: Some(true),
        http2: Some(true),
        arrived: Some(Arrived { naming: Naming::Believed, limits, ..Arrived::default() }),
        methods: ["GET", "PUT", "OPTIONS"]
            .map(|method| MethodTried { method: method.into(), came: ProbeOutcome::Own })
            .into(),
        preflight_lacks: Some(vec![]),
        paced: Some(Paced { paused_ms: 1000.0, last_ms: 1010.0 }),
        cap: Some(Cap { taken: 1 << 40, refused: None, came: ProbeOutcome::Own }),
        silences: vec![
            silence(Silent::Client, ProbeOutcome::Own),
            silence(Silent::Server, ProbeOutcome::Own),
        ],
        refusals: vec![RefusalTried { code: "length-changed".into(), came: ProbeOutcome::Own }],
        window_bytes: Some(1 << 20),
        ..Observed::default()
    }
}

fn silence(of: Silent, came: ProbeOutcome) -> Silence {
    Silence { of, asked_s: 30.0, after_s: 30.0, came }
}

fn codes(change: impl FnOnce(&mut Observed)) -> Vec<&'static str> {
    let mut seen = healthy();
    change(&mut seen);
    Findings::of(&seen).findings.iter().map(|finding| finding.code).collect()
}

fn arrived(seen: &mut Observed) -> &mut Arrived {
    seen.arrived.as_mut().unwrap()
}

#[test]
fn healthy_paths_have_no_findings() {
    let check = |change: fn(&mut Observed)| assert_eq!(codes(change), Vec::<&str>::new());
    check(|_| {});
    check(|seen| *seen = Observed::default());
    // Directly, or by a PROXY header, which is the same from here.
    check(|seen| {
        seen.proxied = Some(false);
        arrived(seen).naming = Naming::Nobody;
    });
    // A proxy's cap that the server knows of.
    check(|seen| {
        seen.cap = Some(Cap {
            taken: 100_000_000,
            refused: Some(100_000_001),
            came: ProbeOutcome::Other(413),
        });
        arrived(seen).limits.max_chunk_size = Some(100_000_000);
    });
    check(|seen| seen.paced = Some(Paced { paused_ms: 1000.0, last_ms: 501.0 }));
    check(|seen| seen.window_bytes = Some(GOOD_WINDOW_BYTES));
}

#[test]
fn each_fault_has_its_finding() {
    let check = |expected: &str, change: fn(&mut Observed)| {
        assert_eq!(codes(change), [expected]);
    };
    check("method-refused", |seen| {
        // A cache makes a GET of it, and answers well.
        let came = ProbeOutcome::Other(200);
        seen.methods.push(MethodTried { method: "HEAD".into(), came });
    });
    check("request-header-lost", |seen| seen.request_headers_lost = vec!["Tus-Resumable".into()]);
    check("path-rewritten", |seen| seen.stripped = Some("/incoming".into()));
    check("query-lost", |seen| seen.query_lost = true);
    check("cached", |seen| seen.cached = true);
    check("method-refused", |seen| seen.methods[1].came = ProbeOutcome::Other(405));
    check("method-refused", |seen| seen.methods[1].came = ProbeOutcome::Broken);
    check("request-header-lost", |seen| seen.request_headers_lost = vec!["Content-Range".into()]);
    check("request-buffered", |seen| seen.paced = Some(Paced { paused_ms: 1000.0, last_ms: 4.0 }));
    check("body-cut", |seen| seen.silences[0].came = ProbeOutcome::Other(408));
    check("body-cut", |seen| seen.silences[0].came = ProbeOutcome::Broken);
    check("answer-cut", |seen| seen.silences[1].came = ProbeOutcome::Other(504));
    check("window-small", |seen| seen.window_bytes = Some(65_535));
    check("answer-header-lost", |seen| seen.answer_headers_lost = vec!["Upload-Offset".into()]);
    check("cors-lost", |seen| {
        seen.answer_headers_lost = vec!["Access-Control-Allow-Origin".into()]
    });
    check("cors-doubled", |seen| {
        seen.answer_headers_doubled = vec!["access-control-allow-origin".into()];
    });
    check("answer-header-doubled", |seen| {
        seen.answer_headers_doubled = vec!["Upload-Offset".into()]
    });
    check("preflight-swallowed", |seen| seen.preflight_lacks = Some(vec!["content-range".into()]));
    // One cause, one finding.
    check("method-refused", |seen| {
        seen.methods[2].came = ProbeOutcome::Other(405);
        seen.preflight_lacks = Some(vec!["Access-Control-Allow-Origin".into()]);
    });
    check("cors-doubled", |seen| {
        seen.answer_headers_doubled = vec!["access-control-allow-origin".into()];
        seen.preflight_lacks = Some(vec!["one Access-Control-Allow-Origin".into()]);
    });
    check("query-lost", |seen| {
        seen.query_lost = true;
        seen.refusals[0].came = ProbeOutcome::Other(200);
    });
    check("answer-cut", |seen| {
        seen.silences[0].came = ProbeOutcome::Other(504);
        seen.silences[1].came = ProbeOutcome::Other(504);
    });
    check("error-replaced", |seen| seen.refusals[0].came = ProbeOutcome::Other(404));
    check("backend-exposed", |seen| seen.exposed = vec!["/metrics".into()]);
    check("client-unnamed", |seen| arrived(seen).naming = Naming::Nobody);
    check("proxy-untrusted", |seen| arrived(seen).naming = Naming::Untrusted);
    check("client-contradicted", |seen| arrived(seen).naming = Naming::Contradiction);
    check("body-capped", |seen| {
        seen.cap = Some(Cap {
            taken: 1 << 20,
            refused: Some((1 << 20) + 1),
            came: ProbeOutcome::Other(413),
        });
        arrived(seen).limits.max_chunk_size = Some(2 << 20);
    });
}

#[test]
fn caps_are_named() {
    let said = |taken, refused| {
        let mut seen = healthy();
        seen.cap = Some(Cap { taken, refused: Some(refused), came: ProbeOutcome::Other(413) });
        Findings::of(&seen).findings.remove(0)
    };
    let default = said(1 << 20, (1 << 20) + 1);
    assert!(default.what.contains("more than 1 MiB (1048576 bytes)"), "{}", default.what);
    assert!(default.what.contains("chunks of 8 MiB, which the server suggests, do not pass"));
    let lines: Vec<&str> = default.cures.iter().map(|cure| cure.line.as_str()).collect();
    assert_eq!(lines[0], "client_max_body_size 0;");
    assert!(lines[1].starts_with("max_chunk_size = 1048576 "), "{lines:?}");
    let large = said(100_000_000, 100_000_001);
    assert!(large.what.contains("more than 100 MB"), "{}", large.what);
    assert!(large.what.contains("whole files in one request"), "{}", large.what);
    assert!(said(0, 65536).what.contains("64 KiB and perhaps less"));
    assert!(said(96 << 20, 99 << 20).what.contains("99 MiB or more (96 MiB still pass)"));
}

#[test]
fn lines_are_those_of_the_proxy_or_of_all() {
    let programs = |proxy| {
        let mut seen = healthy();
        seen.proxy = proxy;
        seen.paced = Some(Paced { paused_ms: 1000.0, last_ms: 0.0 });
        let finding = Findings::of(&seen).findings.remove(0);
        finding.cures.iter().map(|cure| cure.program).collect::<Vec<_>>()
    };
    assert_eq!(programs(Some(Proxy::Apache)), ["apache"]);
    assert_eq!(programs(None), ["nginx", "haproxy", "caddy", "apache"]);
}

#[test]
fn observations_travel_as_json() {
    let seen = healthy();
    let text = serde_json::to_string(&seen).unwrap();
    assert_eq!(serde_json::from_str::<Observed>(&text).unwrap(), seen);
    let sparse = r#"{"methods": [{"method": "PUT", "came": {"other": 405}}], "new": 1}"#;
    let sparse: Observed = serde_json::from_str(sparse).unwrap();
    assert_eq!(Findings::of(&sparse).findings[0].code, "method-refused");
}
