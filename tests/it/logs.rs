//! Protects the log: it never shows what opens an upload, names the request that each line follows from, and
//! what it tells can be changed while the server runs.

use crate::backend::{Backend, Script};
use crate::child::Program;
use crate::client::{Ask, Conn, Reply};
use crate::server::Running;
use crate::tls::{Authority, Http2};
use crate::until;
use rustls::ClientConfig;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const LOG: &str = "/incoming/backend/log";

/// A server as a process of its own that logs everything, and clients of both protocols.
struct Ground {
    backend: Backend,
    program: Program,
    http1: Arc<ClientConfig>,
    http2: Http2,
    directory: TempDir,
}

/// An upload that has ended: its id, and the name of the request that completed it, if one did.
struct Ended {
    id: String,
    request: Option<String>,
}

impl Ground {
    async fn new() -> Self {
        let (backend, authority) = (Backend::start().await, Authority::new());
        let directory = tempfile::tempdir().unwrap();
        authority.issue(directory.path(), "server");
        let flags = ["--tls-cert", "server.pem", "--tls-key", "server.key", "--workers", "1"];
        let flags = [&flags[..], &["--backend-token", "s3cret-t0ken"]].concat();
        let program = Program::start(directory.path(), &flags);
        let http2 = Http2::open(&program.public, authority.client(&["h2"], None)).await;
        let http1 = authority.client(&["http/1.1"], None);
        Self { backend, program, http1, http2, directory }
    }

    async fn back(&self, ask: Ask) -> Reply {
        let ask = ask.header("Authorization", "Bearer s3cret-t0ken");
        crate::client::ask(&self.program.backend, &ask).await
    }

    async fn front(&self, ask: &Ask, two: bool) -> Reply {
        if two {
            return self.http2.ask(ask).await;
        }
        let stream = crate::tls::connect(&self.program.public, Arc::clone(&self.http1)).await;
        Conn::over(stream.unwrap()).ask(ask).await.unwrap()
    }

    async fn ticket(&self) -> String {
        let url = self.backend.url();
        let callback = url.replace("http://", "http://me:s3cret-pw@") + "&key=s3cret-key";
        let new = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("signalFinishURL", &*callback), ("backendSecret", "s3cret-backend")])
            .append_pair("metadata", "s3cret-meta")
            .append_pair("digest", "sha-256")
            .finish();
        let target = format!("/incoming/backend/new_upload?{new}");
        self.back(Ask::new("POST", &target)).await.expect(200).text()
    }

    /// A whole life of an upload, with what is refused on its way.
    async fn live(&self, end: &str, two: bool) -> Ended {
        let id = self.ticket().await;
        let url = format!("/incoming/frontend/uploads/{id}");
        let facts = json!({"name": "s3cret-name.mp4", "length": 10, "type": "s3cret/type"});
        self.front(&Ask::new("POST", &url).body(facts.to_string()), two).await.expect(200);
        let poll = format!("{url}?wait=0.01&state=new");
        self.front(&Ask::new("GET", &poll), two).await.expect(200);
        self.front(&Ask::new("PUT", &url).header("Content-Range", &id).body("x"), two).await;
        self.front(&Ask::new("GET", &format!("{url}/{id}")), two).await.expect(404);
        let mut request = None;
        if end == "cancel" {
            let cancel = format!("{url}?reason=enough");
            self.front(&Ask::new("DELETE", &cancel), two).await.expect(200);
        } else {
            if end == "fail" {
                self.backend.answer_for(&id, [Script::Answer(500, "no")]);
            }
            let put = Ask::new("PUT", &url).body("0123456789");
            let reply = self.front(&put, two).await.expect(200);
            request = reply.header("x-request-id").map(str::to_owned);
        }
        self.backend.calls_for(&id, if end == "fail" { 2 } else { 1 }).await;
        self.back(Ask::new("GET", &format!("/incoming/backend/uploads/{id}"))).await.expect(200);
        Ended { id, request }
    }
}

/// An id, a secret or a name in the log would open an upload, or a backend, to whoever reads it.
#[tokio::test]
async fn at_its_loudest_it_opens_nothing_and_names_requests() {
    let ground = Ground::new().await;
    ground.back(Ask::new("POST", &format!("{LOG}?filter=trace"))).await.expect(200);
    let mut ended = Vec::new();
    for two in [false, true] {
        for end in ["done", "cancel", "fail"] {
            ended.push(ground.live(end, two).await);
        }
    }
    let text = until("the ends are logged", async || {
        let text = ground.program.log();
        (text.matches("\"upload finished\"").count() == 4).then_some(text)
    })
    .await;
    for Ended { id, .. } in &ended {
        assert!(text.contains(&id[..8]), "{id} is nowhere in the log");
        assert!(!text.contains(id.as_str()) && !text.contains(&id.replace('-', "")), "{id}");
    }
    let telling = text.lines().find(|line| line.contains("s3cret"));
    assert_eq!(telling, None);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().all(|line| line["target"].as_str().unwrap().starts_with("incoming")));
    for Ended { id, request } in &ended {
        let Some(request) = request else { continue };
        for message in ["upload complete; handover started", "request"] {
            let found = lines.iter().any(|line| {
                let about = line["upload"] == id[..8] && line["request"] == **request;
                line["message"] == message && about
            });
            assert!(found, "no line {message:?} of {request}:\n{text}");
        }
    }
    let times: Vec<_> =
        text.split("\"ms\":").skip(1).map(|rest| rest.split([',', '}']).next().unwrap()).collect();
    assert!(times.len() > 20, "{times:?}");
    for ms in times {
        let decimals = ms.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        assert!(decimals <= 3, "{ms}");
    }
    let storing = lines.iter().find(|line| line["message"] == "storage ready").unwrap();
    let directory = ground.directory.path().canonicalize().unwrap().join("data");
    assert_eq!((&storing["storage_dir"], &storing["ack"]), (&json!(directory), &json!("durable")));
    let unanswered: Vec<_> =
        lines.iter().filter(|line| line["message"] == "backend call failed").collect();
    assert_eq!(unanswered.len(), 2);
    for line in unanswered {
        let completed = ended.iter().find(|ended| line["upload"] == ended.id[..8]).unwrap();
        assert_eq!(line["request"], **completed.request.as_ref().unwrap());
        assert_eq!(line["attempt"], 1);
    }
}

#[tokio::test]
async fn what_it_tells_can_be_changed() {
    let ground = Ground::new().await;
    assert_eq!(ground.back(Ask::new("GET", LOG)).await.expect(200).text(), "info");
    crate::client::ask(&ground.program.backend, &Ask::new("POST", LOG)).await.expect(401);
    let wrong = ground.back(Ask::new("POST", &format!("{LOG}?filter=incoming%3Dloud"))).await;
    assert!(wrong.expect(400).text().contains("filter \"incoming=loud\""));
    // A word that is no level would silence the log, and a misspelt name would take back what is in force.
    for (query, said) in [
        ("filter=debg", "parameter filter \"debg\": must be error, warn, info"),
        ("filter=info,verbose", "parameter filter \"info,verbose\": must be"),
        ("filter=%C3%BC", "must be error"),
        ("level=debug", "parameter \"level\" is unknown, expected filter, for"),
        ("filter=debug&fro=15m", "parameter \"fro\" is unknown"),
    ] {
        let reply = ground.back(Ask::new("POST", &format!("{LOG}?{query}"))).await;
        let text = reply.expect(400).text();
        assert!(text.contains(said), "{query}: {text}");
        assert_eq!(ground.back(Ask::new("GET", LOG)).await.expect(200).text(), "info", "{query}");
    }
    let long = format!("{LOG}?filter={}", "x".repeat(1025));
    ground.back(Ask::new("POST", &long)).await.expect(400);
    let debug = Ask::new("POST", LOG).header("Content-Type", "application/json");
    ground.back(debug.body(r#"{"filter": "incoming::wire=debug"}"#)).await.expect(200);
    ground.back(Ask::new("GET", "/healthz")).await.expect(200);
    until("a request is logged", async || {
        ground.program.log().contains("\"route\":\"healthz\"").then_some(())
    })
    .await;
    let json = Ask::new("GET", LOG).header("Accept", "application/json");
    let shown = ground.back(json).await.expect(200).json();
    assert_eq!(shown["filter"], "incoming::wire=debug");
    let end = humantime::parse_rfc3339(shown["until"].as_str().unwrap()).unwrap();
    let left = end.duration_since(SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(1800) && left <= Duration::from_secs(3600), "{left:?}");

    // Back to what the settings say.
    ground.back(Ask::new("POST", LOG)).await.expect(200);
    assert_eq!(ground.back(Ask::new("GET", LOG)).await.expect(200).text(), "info");
    let last = ground.ticket().await;
    let text = until("the last ticket is logged", async || {
        let text = ground.program.log();
        text.contains(&last[..8]).then_some(text)
    })
    .await;
    let after = text.rsplit("log filter reset to the setting").next().unwrap();
    assert!(after.contains("\"upload ticket issued\"") && !after.contains("\"route\""), "{after}");
}

/// Even where it hides everything: nobody silences the log for good, or without a trace.
#[tokio::test]
async fn a_change_ends_by_itself_and_both_are_told() {
    let ground = Ground::new().await;
    for wrong in ["for=0", "for=86401", "for=25h", "for=soon"] {
        let reply = ground.back(Ask::new("POST", &format!("{LOG}?filter=debug&{wrong}"))).await;
        assert!(reply.expect(400).text().contains("parameter for "), "{wrong}");
    }
    ground.back(Ask::new("POST", &format!("{LOG}?for=1h"))).await.expect(400);
    ground.back(Ask::new("POST", &format!("{LOG}?filter=off&for=24h"))).await.expect(200);
    ground.back(Ask::new("POST", &format!("{LOG}?filter=off&for=1"))).await.expect(200);
    until("the setting holds again", async || {
        let now = ground.back(Ask::new("GET", LOG)).await.expect(200).text();
        (now == "info").then_some(())
    })
    .await;
    let text = until("the end is logged", async || {
        let text = ground.program.log();
        text.contains("log filter reset to the setting").then_some(text)
    })
    .await;
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let changes = lines.iter().filter(|line| line["target"] == "incoming::app::telemetry");
    let changes: Vec<_> =
        changes.map(|line| (&line["filter"], line["until"].is_string())).collect();
    assert_eq!(changes, [(&json!("off"), true), (&json!("info"), false)]);
}

#[tokio::test]
async fn without_a_log_of_its_own_there_is_no_filter() {
    let server = Running::start().await;
    server.call("log", &[("filter", "debug")]).await.expect(412);
    server.back(&Ask::new("PUT", "/incoming/backend/log")).await.expect(405);
}
