//! Protects what those who run the server see of it: metrics that are valid and documented, health that
//! answers whatever the disk does, requests that can be followed from the answer to the backend.

use crate::backend::{Backend, Script};
use crate::child::Program;
use crate::client::{Ask, Reply};
use crate::server::Running;
use crate::tls::{Authority, certify, files};
use crate::until;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Whatever Prometheus asks for first, and what a person gets.
const OPEN: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// Families by name: kind and the names of their series' labels. Panics where the text is not what
/// its format demands.
fn parse(reply: &Reply) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let kind = reply.header("content-type").unwrap();
    let open = kind == "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(open || kind == "text/plain; version=0.0.4; charset=utf-8", "{kind}");
    let text = reply.text();
    let body = if open { text.strip_suffix("# EOF\n").expect("an end") } else { &text };
    assert!(body.ends_with('\n') && !body.contains("# EOF"));
    let mut families: BTreeMap<String, (String, BTreeSet<String>)> = BTreeMap::new();
    let (mut family, mut seen) = (String::new(), BTreeSet::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && !families.contains_key(name), "{line}");
            name.clone_into(&mut family);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family, "{line}");
            assert!(["counter", "gauge", "histogram", "info"].contains(&kind), "{line}");
            families.insert(family.clone(), (kind.to_owned(), BTreeSet::new()));
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
            assert!(seen.insert(series.to_owned()), "twice: {line}");
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').expect("an end")),
                None => (series, ""),
            };
            let (kind, known) = families.get_mut(&family).unwrap();
            let endings: &[&str] = match (kind.as_str(), open) {
                ("counter", true) => &["_total"],
                ("info", true) => &["_info"],
                ("histogram", _) => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            let fits = endings.iter().any(|ending| name == format!("{family}{ending}"));
            assert!(fits, "{line} in {family}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b"_0123456789".contains(&b)));
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (name, value) = label.split_once('=').unwrap();
                assert!(
                    value.starts_with('"') && value.ends_with('"') && value.len() > 2,
                    "{line}"
                );
                known.insert(name.to_owned());
            }
        }
    }
    for (name, (kind, _)) in &families {
        if kind != "histogram" {
            continue;
        }
        let of = |ending: &str| {
            let lines =
                body.lines().filter_map(|line| line.strip_prefix(&format!("{name}{ending}")));
            lines
                .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
                .collect::<Vec<_>>()
        };
        let buckets = of("_bucket");
        assert!(buckets.is_sorted() && buckets.len() > 5, "{name}: {buckets:?}");
        assert_eq!(buckets.last(), of("_count").first(), "{name}");
        assert!(body.contains(&format!("{name}_bucket{{le=\"+Inf\"}}")), "{name}");
    }
    families
}

async fn scrape(server: &Running, accept: &str) -> Reply {
    server.back(&Ask::new("GET", "/metrics").header("Accept", accept)).await.expect(200)
}

fn docs(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// Names of metrics in a text.
fn named(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c: char| !part(c)).filter(|word| word.starts_with("incoming_"));
    words.map(str::to_owned).collect()
}

#[tokio::test]
async fn metrics_are_valid_and_each_is_told_of() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue(folder.path(), "server");
    let server = Running::start_with(|settings| certify(settings, files(folder.path()))).await;
    let (open, plain) = (scrape(&server, OPEN).await, scrape(&server, "*/*").await);
    let (open, plain) = (parse(&open), parse(&plain));
    let sample = |name: &String, kind: &str| match kind {
        "counter" => format!("{name}_total"),
        "info" => format!("{name}_info"),
        _ => name.clone(),
    };
    let live: BTreeMap<String, (String, BTreeSet<String>)> = open
        .iter()
        .map(|(name, (kind, labels))| {
            let mut labels = labels.clone();
            labels.remove("le");
            let told = if kind == "info" { "gauge" } else { kind.as_str() };
            (sample(name, kind), (told.to_owned(), labels))
        })
        .collect();
    assert!(live.len() > 35, "{live:?}");
    assert!(plain.keys().eq(live.keys()), "both formats show the same");

    let mut told = BTreeMap::new();
    for line in docs("metrics.md").lines().filter(|line| line.starts_with("| `incoming_")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert!(cells.len() == 5 && !cells[2].is_empty() && cells[3].len() > 5, "{line}");
        let name = cells[0].trim_matches('`');
        let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        let labels: BTreeSet<String> = labels.map(str::to_owned).collect();
        let fresh = told.insert(name.to_owned(), (cells[1].to_owned(), labels));
        assert!(fresh.is_none(), "twice: {line}");
    }
    assert_eq!(told, live, "docs/operations/metrics.md against /metrics");

    let series = |name: &String| {
        let endings = ["_bucket", "_sum", "_count"].iter();
        let base = endings.filter_map(|ending| name.strip_suffix(ending)).next();
        live.contains_key(name)
            || base.and_then(|base| live.get(base)).is_some_and(|(kind, _)| kind == "histogram")
    };
    let dashboard = docs("dashboard.json");
    let board: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(board["panels"].as_array().unwrap().len() > 20);
    for (file, text) in [("dashboard.json", dashboard), ("alerts.yml", docs("alerts.yml"))] {
        let names = named(&text);
        assert!(names.len() > 15, "{file}: {names:?}");
        for name in names {
            assert!(series(&name), "{file} names {name}, which /metrics does not have");
        }
    }
    // What is counted and on no board, nobody sees.
    let shown = named(&docs("dashboard.json"));
    for name in live.keys() {
        let used = shown.iter().any(|word| word == name || word.starts_with(&format!("{name}_")));
        assert!(used, "{name} is on no panel of dashboard.json");
    }
}

#[tokio::test]
async fn metrics_count_what_happens() {
    let backend = Backend::start().await;
    backend.answer([Script::Answer(500, ""), Script::Answer(200, "wait")]);
    let server = Running::start().await;
    let has = async |lines: &[&str]| {
        until(&format!("{lines:?}"), async || {
            let text = scrape(&server, "*/*").await.text();
            let all = lines.iter().all(|line| text.lines().any(|found| found == *line));
            all.then_some(())
        })
        .await;
    };
    let upload = server.ticket(&backend).await;
    has(&[r#"incoming_uploads{state="new"} 1"#, "incoming_uploads_open 1"]).await;
    upload.put(0, b"01234", 10).await.expect(200);
    upload.put(0, b"01234", 10).await.expect(200);
    upload.put(5, b"567", 11).await.expect(409);
    has(&[
        r#"incoming_uploads{state="new"} 0"#,
        r#"incoming_uploads{state="uploading"} 1"#,
        r#"incoming_refusals_total{code="length-changed",status="409",dialect="native"} 1"#,
        r#"incoming_refusals_total{code="fault",status="500",dialect="native"} 0"#,
        "incoming_chunk_bytes_count 2",
        "incoming_chunk_bytes_sum 10.0",
        "incoming_chunk_seconds_count 2",
        "incoming_repeated_bytes_total 5",
        "incoming_handovers_owed 0",
        "incoming_handover_oldest_owed_seconds 0.0",
    ])
    .await;
    upload.put(5, b"56789", 10).await.expect(200);
    has(&[
        r#"incoming_uploads{state="handing_over"} 1"#,
        "incoming_handovers_owed 1",
        "incoming_handover_calls_total 2",
        "incoming_handover_calls_unanswered_total 1",
        "incoming_published_total 1",
    ])
    .await;
    server.call("finish_upload", &[("id", &upload.id)]).await.expect(200);
    has(&[
        r#"incoming_uploads{state="finished"} 1"#,
        "incoming_handovers_owed 0",
        "incoming_finished_total 1",
        "incoming_uploads_open 0",
        "incoming_disk_sync_errors_total 0",
        r#"incoming_memory_used_bytes{pool="slow_disk"} 0"#,
        r#"incoming_connections_open{protocol="http2"} 0"#,
    ])
    .await;
    // After a start as before.
    let server = server.restart().await;
    until("the first pass", async || {
        let text = scrape(&server, "*/*").await.text();
        text.contains("incoming_uploads{state=\"finished\"} 1\n").then_some(())
    })
    .await;
}

/// Issue 15: by the protocol that a request speaks, wherever it was sent to.
#[tokio::test]
async fn issue_15_protocols_are_counted_apart() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    let append = |url: &str, kind: &str, offset: u64| {
        Ask::new("PATCH", url)
            .header("Content-Type", kind)
            .header("Upload-Offset", &offset.to_string())
    };
    let tus = format!("/incoming/frontend/tus/{}", upload.id);
    let resumable = format!("/incoming/frontend/resumable/{}", upload.id);
    upload.put(0, b"0", 10).await.expect(200);
    let first = append(&upload.url, "application/offset+octet-stream", 1);
    server.front(&first.header("Tus-Resumable", "1.0.0").body("12")).await.expect(204);
    let last = append(&tus, "application/offset+octet-stream", 3).header("Tus-Resumable", "1.0.0");
    server.front(&last.body("3456")).await.expect(204);
    server.front(&Ask::new("HEAD", &tus)).await.expect(200);
    let next = append(&resumable, "application/partial-upload", 7).header("Upload-Complete", "?0");
    server.front(&next.body("78")).await.expect(204);
    let behind =
        append(&resumable, "application/partial-upload", 3).header("Upload-Complete", "?0");
    server.front(&behind.body("3")).await.expect(409);
    let text = scrape(&server, "*/*").await.text();
    for line in [
        r#"incoming_upload_requests_total{dialect="native"} 1"#,
        r#"incoming_upload_requests_total{dialect="tus"} 3"#,
        r#"incoming_upload_requests_total{dialect="resumable"} 2"#,
        r#"incoming_chunks_total{dialect="native"} 1"#,
        r#"incoming_chunks_total{dialect="tus"} 2"#,
        r#"incoming_chunks_total{dialect="resumable"} 1"#,
        r#"incoming_chunk_body_bytes_total{dialect="native"} 1"#,
        r#"incoming_chunk_body_bytes_total{dialect="tus"} 6"#,
        r#"incoming_chunk_body_bytes_total{dialect="resumable"} 2"#,
        r#"incoming_refusals_total{code="offset-mismatch",status="409",dialect="native"} 0"#,
        r#"incoming_refusals_total{code="offset-mismatch",status="409",dialect="resumable"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

/// A retried handover publishes nothing again, and one that is forgotten is known no more.
#[tokio::test]
async fn uploads_are_counted_once() {
    let backend = Backend::start().await;
    backend.answer([Script::Answer(500, "")]);
    let server = Running::start_with(|settings| {
        settings.handover_retry_for = std::time::Duration::ZERO;
        settings.retain_finished = std::time::Duration::ZERO;
    })
    .await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    upload.reaches("failed").await;
    server.call("retry_handover", &[("id", &upload.id)]).await.expect(200);
    until("nothing is left", async || {
        let text = scrape(&server, "*/*").await.text();
        let states = text.lines().filter(|line| line.starts_with("incoming_uploads{"));
        let none = states.clone().count() == 6 && states.clone().all(|line| line.ends_with(" 0"));
        (none && text.contains("incoming_published_total 1\n")).then_some(())
    })
    .await;
}

/// Opening the probe's file waits for ever: what a disk does that hangs.
#[tokio::test]
async fn health_answers_while_the_disk_hangs() {
    let directory = tempfile::tempdir().unwrap();
    let program = Program::start(directory.path(), &[]);
    let ask = async |path: &str| {
        let json = Ask::new("GET", path).header("Accept", "application/json");
        crate::client::ask(&program.backend, &json).await
    };
    let pipe = directory.path().join("data/.probe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let backend = program.backend.clone();
        let ready = Ask::new("GET", "/readyz");
        waiting.spawn(async move { crate::client::ask(&backend, &ready).await });
    }
    // Liveness and metrics do not wait for it.
    assert_eq!(ask("/healthz").await.expect(200).json(), json!({"ok": true}));
    let metrics = ask("/metrics").await.expect(200).text();
    assert!(metrics.contains("\nincoming_free_bytes "), "{metrics}");
    while let Some(reply) = waiting.join_next().await {
        let text = reply.unwrap().expect(503).text();
        assert!(text.contains("the disk does not answer within"), "{text}");
    }
    let hanging = program.threads("incoming-backen");
    assert!(hanging <= 6, "{hanging} threads wait for one disk");
    // It comes back.
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    until("ready again", async || (ask("/readyz").await.status == 200).then_some(())).await;
    drop(reader);
    assert_eq!(ask("/readyz").await.expect(200).json(), json!({"ready": true}));
    assert!(!pipe.exists(), "the probe leaves nothing");
}

#[tokio::test]
async fn readiness_names_all_that_is_wrong() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue_until(folder.path(), "server", 2020);
    let server = Running::start_with(|settings| {
        certify(settings, files(folder.path()));
        settings.min_free_space = u64::MAX / 2;
    })
    .await;
    let text = server.back(&Ask::new("GET", "/readyz")).await.expect(503).text();
    assert!(text.contains("disk is full") && text.contains("certificate has expired"), "{text}");
    assert_eq!(text.lines().count(), 1);
    server.back(&Ask::new("GET", "/healthz")).await.expect(200);
    let metrics = scrape(&server, "*/*").await.text();
    let line = "incoming_certificate_expiry_timestamp_seconds{listener=\"public\"} 15";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn the_trace_of_the_request_that_completes_goes_on_to_the_backend() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.handover_timeout = std::time::Duration::from_millis(300);
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let trace = |last: &str| format!("{}{last}", &TRACE[..TRACE.len() - 2]);
    let (first, last, again) = (trace("00"), trace("01"), trace("03"));
    let upload = server.ticket(&backend).await;
    // Repeated calls carry it too.
    backend.answer_for(&upload.id, [Script::Answer(500, ""), Script::Answer(200, "wait")]);
    let put = |start, bytes, trace: &str| {
        upload.chunk(start, bytes, Some(10)).header("traceparent", trace)
    };
    server.front(&put(0, b"01234", &first)).await.expect(200);
    server.front(&put(5, b"56789", &last)).await.expect(200);
    for call in backend.calls_for(&upload.id, 2).await {
        assert_eq!(call.header("traceparent"), Some(&*last));
    }
    // Whoever asks for another try is what the next call follows from.
    until("the answer is recorded", async || {
        let target = format!("/incoming/backend/retry_handover?id={}", upload.id);
        let retry = Ask::new("POST", &target).header("traceparent", &again);
        // 200 once its answer is recorded, 412 when the other try has taken it.
        server.back(&retry).await;
        backend.calls().iter().any(|call| call.header("traceparent") == Some(&*again)).then_some(())
    })
    .await;
    upload.reaches("finished").await;

    let cancelled = server.ticket(&backend).await;
    let cancel = Ask::new("DELETE", &cancelled.url).header("traceparent", TRACE);
    server.front(&cancel).await.expect(200);
    let call = backend.calls_for(&cancelled.id, 1).await.remove(0);
    assert_eq!(call.header("traceparent"), Some(TRACE));

    // None, none that is one, and none known after a restart.
    for header in ["", "00-nonsense", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"] {
        let upload = server.ticket(&backend).await;
        let put = Ask::new("PUT", &upload.url).header("traceparent", header).body("x");
        server.front(&put).await.expect(200);
        assert_eq!(backend.calls_for(&upload.id, 1).await[0].header("traceparent"), None);
    }
}

/// It would put what the backend does into a trace of an untrusted client's choice.
#[tokio::test]
async fn a_strangers_trace_goes_nowhere() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.trusted_proxies = vec!["192.0.2.1/32".parse().unwrap()];
    })
    .await;
    let (upload, cancelled) = (server.ticket(&backend).await, server.ticket(&backend).await);
    backend.answer_for(&upload.id, [Script::Answer(200, "wait")]);
    let put = Ask::new("PUT", &upload.url).header("traceparent", TRACE).body("x");
    server.front(&put).await.expect(200);
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].header("traceparent"), None);
    let cancel = Ask::new("DELETE", &cancelled.url).header("traceparent", TRACE);
    server.front(&cancel).await.expect(200);
    assert_eq!(backend.calls_for(&cancelled.id, 1).await[0].header("traceparent"), None);
    // Of the backend's own call it is taken, whoever its peer is.
    until("the wait is recorded", async || {
        let target = format!("/incoming/backend/retry_handover?id={}", upload.id);
        server.back(&Ask::new("POST", &target).header("traceparent", TRACE)).await;
        backend.calls().iter().any(|call| call.header("traceparent") == Some(TRACE)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn requests_have_names() {
    let trusting = Running::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let wary = Running::start().await;
    let name = async |server: &Running, ask: Ask| {
        let reply = server.front(&ask.header("X-Request-Id", "proxy:7/a=b")).await;
        reply.header("x-request-id").unwrap().to_owned()
    };
    for path in ["/incoming/frontend/incoming.js", "/incoming/frontend/uploads/x", "/nothing"] {
        assert_eq!(name(&trusting, Ask::new("GET", path)).await, "proxy:7/a=b", "{path}");
        let (first, second) =
            (name(&wary, Ask::new("GET", path)).await, name(&wary, Ask::new("PUT", path)).await);
        assert!(
            first != second && !first.contains("proxy") && first.len() == 16,
            "{first} {second}"
        );
    }
    let upload = trusting.lonely_ticket().await;
    let named = Ask::new("GET", &upload.url).header("X-Request-Id", &upload.id);
    let reply = trusting.front(&named).await.expect(200);
    assert_ne!(reply.header("x-request-id"), Some(&*upload.id));
    assert!(reply.joined("access-control-expose-headers").contains("X-Request-Id"), "{reply:?}");
}
