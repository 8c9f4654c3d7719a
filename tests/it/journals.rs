//! Protects the server from journals that have grown: what a client leaves that sends a byte at a time, and what
//! a disk leaves that was damaged.

use crate::child::{Program, run};
use crate::client::{Ask, ask};
use crate::server::Running;
use crate::until;
use incoming::core::event::{Durability, Event};
use incoming::core::extent::Extent;
use incoming::core::time::{Stamp, Timestamp, Uptime};
use incoming::storage::local::format::record::{Record, encode};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A ticket, and a storage directory with no server.
async fn left() -> (Arc<tempfile::TempDir>, String) {
    let mut server = Running::start().await;
    let id = server.lonely_ticket().await.id;
    server.stop().await;
    (Arc::clone(&server.directory), id)
}

fn journal(directory: &Path, id: &str) -> PathBuf {
    directory.join("data").join(format!("{id}.journal"))
}

fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// Half a million chunks of one byte, as in issue 13.
fn grow(directory: &Path, id: &str) -> u64 {
    let at = Stamp { date: Timestamp(1_700_000_000_000), uptime: Uptime::first_of(1) };
    let mut bytes = Vec::new();
    for byte in 0..RECORDS {
        let extent = Extent::new(byte, byte + 1).unwrap();
        let stored = Event::Stored { at, extent, durability: Durability::Durable };
        encode(&Record::Event(stored), &mut bytes);
    }
    append(&journal(directory, id), &bytes);
    let part = std::fs::File::create(directory.join("data").join(format!("{id}.part"))).unwrap();
    part.set_len(RECORDS).unwrap();
    bytes.len() as u64
}

#[tokio::test]
async fn issue_13_a_hundred_requests_for_a_grown_upload_cost_no_memory() {
    let (directory, id) = left().await;
    assert!(grow(directory.path(), &id) > 20_000_000);
    let program = Program::start(directory.path(), &["--ack", "written"]);
    let server = Running::of(&program, &directory);
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (place, path) = (server.public.clone(), format!("/incoming/frontend/uploads/{id}"));
        asked.spawn(async move { ask(&place, &Ask::new("HEAD", &path)).await });
    }
    while let Some(reply) = asked.join_next().await {
        let reply = reply.unwrap().expect(200);
        assert_eq!(reply.header("upload-offset"), Some(&*RECORDS.to_string()));
    }
    // The first pass of the start may have been faster.
    let metrics = server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
    let loads = metrics.lines().find_map(|line| line.strip_prefix("incoming_journal_loads_total "));
    assert!(matches!(loads, Some("0" | "1")), "{loads:?}");
    // A build for debugging alone takes some tens of MiB; each load by itself took 40 more.
    let peak = program.peak_kib();
    assert!(peak < 160 << 10, "{peak} KiB");
    until("a short journal", async || {
        let length = journal(directory.path(), &id).metadata().unwrap().len();
        (length < 1000).then_some(())
    })
    .await;
    // It goes on, and a restart finds the same.
    let upload = server.upload(&id);
    upload.put(RECORDS, b"more", RECORDS + 10).await.expect(200);
    program.kill();
    let program = Program::start(directory.path(), &["--ack", "written"]);
    let server = Running::of(&program, &directory);
    let status = server.upload(&id).status().await;
    assert_eq!(status["offset"], RECORDS + 4, "{status}");
}

/// The start, the list and `incoming verify` read past damage of any size.
#[tokio::test]
async fn issue_13_a_damaged_journal_of_any_size_stops_nothing() {
    let (directory, id) = left().await;
    let path = journal(directory.path(), &id);
    // Bytes that look like the heads of long records, and a hole that costs no disk.
    append(&path, &[0xF0, 0xFF, 0x0E, 0x00].repeat(1 << 20));
    OpenOptions::new().write(true).open(&path).unwrap().set_len(300 << 20).unwrap();
    let verified = run(directory.path(), &["verify", "--storage-dir", "data"], &[]);
    let said = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(said.contains("an incomplete record"), "{said} {verified:?}");
    let program = Program::start(directory.path(), &[]);
    let server = Running::of(&program, &directory);
    assert_eq!(server.upload(&id).status().await["state"], "new");
    let list = server.back(&Ask::new("GET", "/incoming/backend/uploads")).await.expect(200);
    assert!(list.text().contains(&id));
    assert!(program.peak_kib() < 160 << 10, "{} KiB", program.peak_kib());
    server.upload(&id).put(0, b"some", 10).await.expect(200);
    assert!(path.metadata().unwrap().len() < 1000, "the tail is cut");
}

const RECORDS: u64 = 500_000;
