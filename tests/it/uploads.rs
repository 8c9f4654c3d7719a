//! Protects `incoming uploads` against a real backend listener: over TLS with a client certificate and
//! a token, through all pages.

use crate::child::{command, ended};
use crate::client::Place;
use crate::server::Running;
use crate::tls::{Authority, certify_backend, files};
use incoming::config::Ack;
use serde_json::Value;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn over_tls_with_a_client_certificate_and_a_token() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    for name in ["server", "app"] {
        authority.issue(folder.path(), name);
    }
    let untrusted = Authority::new();
    untrusted.issue(folder.path(), "untrusted");
    authority.write(&folder.path().join("ca.pem"));
    let tls = files(folder.path());
    let ca = folder.path().join("ca.pem");
    let server = Running::start_with(|settings| {
        certify_backend(settings, tls);
        settings.backend_tls_client_ca = Some(ca);
        settings.backend_token = Some("hush".parse().unwrap());
    })
    .await;
    let Place::Tcp(address) = &server.backend else { panic!("not on TCP") };
    let ask = async |scheme: &str, line: &str| {
        let mut ask = command(folder.path());
        let backend = format!("{scheme}://{address}");
        ask.args(["uploads", "--backend", &backend]).args(line.split_whitespace());
        ask.stdout(Stdio::piped());
        tokio::task::spawn_blocking(move || ended(ask)).await.unwrap()
    };
    let app = "--ca ca.pem --cert app.pem --key app.key";
    let output = ask("https", &format!("{app} --token hush list --json")).await;
    assert!(output.status.success(), "{}", error(&output));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), serde_json::json!([]));
    // Where no other user of the machine sees it.
    std::fs::write(folder.path().join("token"), "hush\n").unwrap();
    std::fs::set_permissions(folder.path().join("token"), Permissions::from_mode(0o600)).unwrap();
    let output = ask("https", &format!("{app} --token-file token list --json")).await;
    assert!(output.status.success() && output.stderr.is_empty(), "{}", error(&output));
    let mut ask_by_pipe = command(folder.path());
    let backend = format!("https://{address}");
    ask_by_pipe.args(["uploads", "--backend", &backend, "--token-file", "-", "list"]);
    ask_by_pipe.args(app.split_whitespace()).stdout(Stdio::piped());
    ask_by_pipe.stdin(File::open(folder.path().join("token")).unwrap());
    let output = tokio::task::spawn_blocking(move || ended(ask_by_pipe)).await.unwrap();
    assert!(output.status.success(), "{}", error(&output));
    std::fs::set_permissions(folder.path().join("token"), Permissions::from_mode(0o644)).unwrap();
    let output = ask("https", &format!("{app} --token-file token list --json")).await;
    let warned = "incoming: warning: token: every user of this machine can read it (mode 0644)";
    assert!(output.status.success() && error(&output).starts_with(warned), "{}", error(&output));
    // The usual mistakes, in words that help.
    for (scheme, line, code, word) in [
        ("https", format!("{app} list"), 1, "401 Unauthorized"),
        ("https", format!("{app} list"), 1, "--token-file or INCOMING_BACKEND_TOKEN"),
        ("https", "--ca ca.pem --token hush list".into(), 1, "requires a client certificate"),
        (
            "https",
            "--ca ca.pem --cert untrusted.pem --key untrusted.key list".into(),
            1,
            "rejects this client certificate",
        ),
        ("https", "--ca app.pem list".into(), 1, "has an untrusted certificate"),
        ("http", "--token hush list".into(), 1, "speaks TLS; did you mean https://?"),
        (
            "https",
            "--ca app.key list".into(),
            2,
            "--ca app.key: must be a PEM file with certificates",
        ),
        (
            "https",
            "--ca ca.pem --cert app.pem --key ca.pem list".into(),
            2,
            "--key ca.pem: must be",
        ),
        ("https", "--cert app.pem list".into(), 2, "--key"),
        ("http", "--ca absent.pem list".into(), 2, "--ca absent.pem has no effect"),
    ] {
        let output = ask(scheme, &line).await;
        let said = error(&output);
        assert_eq!((output.status.code(), said.lines().count()), (Some(code), 1), "{line}: {said}");
        assert!(said.contains(word), "{line}: {said}");
    }
}

#[tokio::test]
async fn lists_all_pages_shows_and_cancels() {
    // Without a sync for each of many tickets.
    let server = Running::start_with(|settings| settings.ack = Ack::Written).await;
    let Place::Tcp(address) = &server.backend else { panic!("not on TCP") };
    let mut ids = Vec::new();
    for _ in 0..205 {
        ids.push(server.lonely_ticket().await.id);
    }
    ids.sort();
    server.upload(&ids[3]).put(5, b"abc", 10).await.expect(200);
    let folder = tempfile::tempdir().unwrap();
    let ask = async |line: &str| {
        let mut ask = command(folder.path());
        ask.args(["uploads", "--backend", &address.to_string()]).args(line.split_whitespace());
        ask.stdout(Stdio::piped());
        let output = tokio::task::spawn_blocking(move || ended(ask)).await.unwrap();
        assert!(output.status.success(), "{line}: {}", error(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    let all: Vec<Value> = serde_json::from_str(&ask("list --json").await).unwrap();
    let found: Vec<_> = all.iter().map(|upload| upload["id"].as_str().unwrap()).collect();
    assert_eq!(found, ids);
    let table = ask("list --state uploading").await;
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].contains("CREATED") && lines.len() == 2, "{table}");
    let cells: Vec<_> = lines[1].split_whitespace().collect();
    assert_eq!(cells[..4], [&ids[3], "uploading", "3", "10"]);
    assert_eq!((cells[4].len(), cells[5].len()), ("2026-01-01T00:00:00Z".len(), 20), "{table}");
    // As logs shorten it.
    let short = &ids[3][..8];
    let shown = ask(&format!("show {short}")).await;
    assert!(shown.contains("3 in 1 range\n") && shown.contains(&ids[3]), "{shown}");
    let raw: Value = serde_json::from_str(&ask(&format!("show {short} --json")).await).unwrap();
    assert_eq!(raw["received"], serde_json::json!([[5, 8]]));
    assert_eq!(ask(&format!("cancel {short}")).await, "ok\n");
    server.upload(&ids[3]).reaches("cancelled").await;
}

/// Who has another listener than the settings say needs a flag, and learns its name.
#[tokio::test]
async fn issue_15_nobody_there_names_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let ask = async |line: &'static str| {
        let mut ask = command(folder.path());
        ask.args(line.split_whitespace()).env("INCOMING_BACKEND_LISTEN", "127.0.0.1:1");
        ask.stdout(Stdio::piped());
        error(&tokio::task::spawn_blocking(move || ended(ask)).await.unwrap())
    };
    for line in ["uploads list", "uploads show 0123abcd", "health"] {
        let why = ask(line).await;
        assert!(why.contains("cannot connect to http://127.0.0.1:1"), "{line}: {why}");
        assert!(why.trim_end().ends_with("(--backend names another listener)"), "{line}: {why}");
    }
    let why = ask("uploads --backend 127.0.0.1:2 list").await;
    assert!(why.contains("127.0.0.1:2") && !why.contains("--backend"), "{why}");
}
