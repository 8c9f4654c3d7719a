//! Protects `incoming bench`: what it prints was measured, and nothing of it is left behind. No test
//! judges a time.

use crate::child::{Program, run};
use crate::client::{Ask, Place, ask};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

const MIB: u64 = 1 << 20;

fn bench(directory: &Path, flags: &str) -> Output {
    let line = format!("bench --uploads 2 --chunk 1MiB --total 8MiB {flags}");
    run(directory, &line.split_whitespace().collect::<Vec<_>>(), &[])
}

fn figures(output: &Output) -> Value {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {output:?}"))
}

#[test]
fn measures_a_server_of_its_own_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let reserve = "-- --min-free-space 0";
    for (flags, protocol, tls) in [
        ("", "http/1.1", false),
        ("--tls --ack written --parallel 2", "http/1.1", true),
        ("--tls --http2 --connections 2 --client-threads 1", "h2", true),
        ("--as tus --ack written", "http/1.1", false),
        ("--as resumable --tls --http2 --ack written", "h2", true),
    ] {
        let found = figures(&bench(directory.path(), &format!("--dir . --json {flags} {reserve}")));
        assert_eq!((&found["protocol"], &found["tls"]), (&json!(protocol), &json!(tls)), "{flags}");
        // The last chunk of each file is its completion.
        assert_eq!(found["bytes"], 6 * MIB);
        assert_eq!(found["acknowledgements"]["count"], 6);
        assert_eq!(found["completion"]["acknowledgements"]["count"], 2);
        let times = &found["acknowledgements"];
        assert!(
            times["p50"].as_f64() > Some(0.0) && times["p50"].as_f64() <= times["most"].as_f64()
        );
        assert!(found["server_memory"]["peak"].as_u64() > Some(MIB), "{found}");
        assert!(found["server_cpu"]["per_gib"].is_number() && found["disk_syncs"].is_object());
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn prints_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let output = bench(directory.path(), "--dir . -- --min-free-space 0");
    let text = String::from_utf8(output.stdout).unwrap();
    for row in ["work", "throughput", "acknowledgements", "server CPU", "disk syncs", "limit"] {
        assert!(text.lines().any(|line| line.starts_with(row)), "{row} in {text}");
    }
}

#[tokio::test]
async fn measures_a_running_server_and_tidies_up() {
    let directory = tempfile::tempdir().unwrap();
    let server = Program::start(directory.path(), &["--backend-token", "hush"]);
    let (Place::Tcp(public), Place::Tcp(backend)) = (&server.public, &server.backend) else {
        panic!("not on TCP");
    };
    let there = format!("--url http://{public} --backend http://{backend}");
    let with_token = format!("{there} --token hush --json");
    for flags in ["", "--start-at 10GiB"] {
        let found = figures(&bench(directory.path(), &format!("{with_token} {flags}")));
        assert_eq!((&found["bytes"], &found["server_cpu"]), (&json!(6 * MIB), &Value::Null));
        assert_eq!(found["completion"].is_object(), flags.is_empty());
    }
    crate::until("nothing left open", async || {
        let list = Ask::new("GET", "/incoming/backend/uploads?state=uploading");
        let list = ask(&server.backend, &list.header("Authorization", "Bearer hush")).await;
        let files = std::fs::read_dir(directory.path().join("data/files")).unwrap().count();
        (list.expect(200).json()["uploads"] == json!([]) && files == 0).then_some(())
    })
    .await;
    // What is not a measurement is none.
    for (flags, word) in [(&there[..], "401"), ("--url http://127.0.0.1:9", "127.0.0.1")] {
        let output = bench(directory.path(), flags);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
        assert!(error.contains(word) && error.lines().count() == 1, "{error}");
    }
}
