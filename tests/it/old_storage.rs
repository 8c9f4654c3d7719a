//! Protects an upgrade: what the program of commit 49267a5 has left goes on under this one, in every state and with
//! both meanings of an acknowledgement. `data/old-storage/make` made it.

use crate::backend::Backend;
use crate::child::Program;
use crate::content::sha256;
use crate::server::{Running, Upload};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;

const FIXTURE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/data/old-storage/storage.tar.gz");
/// Where the tickets of the fixture have their backends: one that was called, one that was not there.
const BACKENDS: [&str; 2] = ["127.49.26.7:4926", "127.49.26.8:4926"];

#[tokio::test]
async fn what_commit_49267a5_left_goes_on() {
    let [backend, absent] = BACKENDS.map(|address| Backend::start_at(address.parse().unwrap()));
    let (backend, absent) = (backend.await, absent.await);
    for ack in ["durable", "written"] {
        goes_on(ack, &backend, &absent).await;
    }
}

/// The storage directory that was left with this setting, in `data` of a directory of its own.
struct Left {
    directory: Arc<tempfile::TempDir>,
    ids: Value,
    file: Vec<u8>,
}

impl Left {
    fn unpack(ack: &str) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        let path = |name: &str| directory.path().join(name);
        let mut tar = Command::new("tar");
        tar.args(["-xzf", FIXTURE, "--no-same-owner", "-C"]).arg(directory.path());
        assert!(tar.status().unwrap().success());
        std::fs::rename(path(ack), path("data")).unwrap();
        let ids = std::fs::read(path(&format!("{ack}.json"))).unwrap();
        let ids = serde_json::from_slice(&ids).unwrap();
        Self { directory, ids, file: (0..30).collect() }
    }

    fn id(&self, name: &str) -> String {
        self.ids[name].as_str().unwrap().to_owned()
    }

    fn upload<'a>(&self, server: &'a Running, name: &str) -> Upload<'a> {
        server.upload(&self.id(name))
    }
}

async fn goes_on(ack: &str, backend: &Backend, absent: &Backend) {
    let left = Left::unpack(ack);
    let program = Program::start(left.directory.path(), &["--ack", ack]);
    let server = Running::of(&program, &left.directory);
    for (name, state) in [
        ("new", "new"),
        ("sized", "new"),
        ("partly", "uploading"),
        ("unbound", "uploading"),
        ("waiting", "handing_over"),
        ("finished", "finished"),
        ("kept", "finished"),
        ("cancelled", "cancelled"),
        ("untold", "cancelled"),
        ("expired", "cancelled"),
        ("failed", "failed"),
        ("idle", "uploading"),
    ] {
        let status = left.upload(&server, name).status().await;
        assert_eq!(status["state"], state, "{ack} {name}: {status}");
    }
    uploads_go_on(&left, &server, backend).await;
    calls_are_made(&left, &server, backend, absent).await;
    for name in ["waiting", "finished", "kept", "cancelled"] {
        let called = backend.calls().iter().any(|call| call.field("id") == left.id(name));
        assert!(!called, "{ack} {name} was over, or waited for");
    }
    program.kill();
    let program = Program::start(left.directory.path(), &["--ack", ack]);
    let server = Running::of(&program, &left.directory);
    for name in left.ids.as_object().unwrap().keys() {
        let upload = left.upload(&server, name);
        let status = upload.status().await;
        let cancelled = ["cancelled", "untold", "expired", "idle"].contains(&name.as_str());
        let state = if cancelled { "cancelled" } else { "finished" };
        assert_eq!(status["state"], state, "{ack} {name}");
        let traces: &[&str] =
            if name == "kept" { &["ID.journal", "files/ID"] } else { &["ID.journal"] };
        assert_eq!(server.traces(&upload.id), traces, "{ack} {name}");
    }
    let kept = left.directory.path().join("data/files").join(left.id("kept"));
    assert_eq!(std::fs::read(kept).unwrap(), left.file);
}

/// Uploads are taken up where they stood, and are handed over.
async fn uploads_go_on(left: &Left, server: &Running, backend: &Backend) {
    let partly = left.upload(server, "partly");
    let status = partly.status().await;
    assert_eq!(status["received"], json!([[0, 4], [8, 14], [20, 24]]), "{status}");
    assert_eq!((&status["name"], &status["length"]), (&json!("half.bin"), &json!(30)));
    for (from, to) in [(4, 8), (14, 20), (24, 30)] {
        partly.put(from as u64, &left.file[from..to], 30).await.expect(200);
    }
    assert_eq!(left.upload(server, "unbound").received().await, json!([[3, 9]]));
    for name in ["new", "sized", "unbound"] {
        left.upload(server, name).put_whole(&left.file).await.expect(200);
    }
    for name in ["partly", "new", "sized", "unbound"] {
        left.upload(server, name).reaches("finished").await;
        let calls = backend.calls_for(&left.id(name), 1).await;
        assert_eq!(calls[0].sha256, Some(sha256(&left.file)), "{name}");
        assert_eq!(calls[0].field("backendSecret"), format!("of {name}"));
    }
    let calls = backend.calls_for(&left.id("sized"), 1).await;
    assert_eq!(calls[0].field("metadata"), "of the web app");
}

/// Calls that are owed are made again and count on, `wait` holds, and times go on.
async fn calls_are_made(left: &Left, server: &Running, backend: &Backend, absent: &Backend) {
    for (backend, name) in [(absent, "pending"), (absent, "digested"), (backend, "called")] {
        let calls = backend.calls_for(&left.id(name), 1).await;
        assert_eq!(calls[0].sha256, Some(sha256(&left.file)), "{name}");
        assert!(calls[0].field("attempt").parse::<u32>().unwrap() > 1, "{calls:?}");
        left.upload(server, name).reaches("finished").await;
    }
    for (name, reason) in [("untold", "nobody hears"), ("expired", "upload timed out")] {
        let calls = absent.calls_for(&left.id(name), 1).await;
        assert_eq!((calls[0].field("cancelled"), calls[0].field("cancelReason")), ("yes", reason));
    }
    for (call, name) in [("finish_upload", "waiting"), ("retry_handover", "failed")] {
        let (id, secret) = (left.id(name), format!("of {name}"));
        server.call(call, &[("id", &id), ("backendSecret", &secret)]).await.expect(200);
        left.upload(server, name).reaches("finished").await;
    }
    left.upload(server, "idle").reaches("cancelled").await;
    let calls = backend.calls_for(&left.id("idle"), 1).await;
    assert_eq!(calls[0].field("cancelReason"), "upload timed out");
}
