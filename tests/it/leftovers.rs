//! Protects what lies in the storage directory: only what provably belongs to nobody is removed,
//! and an upload that cannot be read is left exactly as it is.

use crate::backend::{Backend, Script};
use crate::client::Ask;
use crate::server::{Running, settings};
use crate::until;
use std::path::Path;
use std::sync::Arc;

const ORPHAN: &str = "0a0b0c0d-0102-4304-8506-0708090a0b0c";
const FOREIGN_ID: &str = "1a1b1c1d-1112-4314-9516-1718191a1b1c";

#[tokio::test]
async fn only_what_belongs_to_nobody_goes() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let data = directory.path().join("data");
    std::fs::create_dir_all(data.join("files")).unwrap();
    std::fs::create_dir_all(data.join("folder.part")).unwrap();
    let making = format!("{ORPHAN}.{}.journal-new", "0123456789abcdef".repeat(2));
    let ours = [format!("{ORPHAN}.part"), making];
    let foreign = [
        "notes.txt".to_owned(),
        ".hidden".into(),
        "film.part".into(),
        "film.journal".into(),
        "film.journal-new".into(),
        "journal-new".into(),
        ".part".into(),
        format!("{}.part", FOREIGN_ID.to_uppercase()),
        format!("{FOREIGN_ID}.part.bak"),
        format!("{FOREIGN_ID}.txt"),
        "folder.part/inside".into(),
        "files/film.mp4".into(),
        format!("files/{FOREIGN_ID}"),
        format!("files/{FOREIGN_ID}.part"),
    ];
    for name in ours.iter().chain(&foreign) {
        std::fs::write(data.join(name), name).unwrap();
    }
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, data.join("link.part")).unwrap();
    let server = Running::start_in(Arc::clone(&directory), settings(directory.path())).await;
    for name in &ours {
        until(&format!("{name} is removed"), async || (!data.join(name).exists()).then_some(()))
            .await;
    }
    // The sweep is over when a second start has found nothing to do either.
    let server = server.restart().await;
    server.back(&Ask::new("GET", "/readyz")).await.expect(200);
    let missing = foreign
        .iter()
        .filter(|name| std::fs::read_to_string(data.join(name)).ok().as_ref() != Some(*name));
    let missing: Vec<_> = missing.collect();
    assert!(missing.is_empty(), "foreign files are gone: {missing:?}");
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious");
}

/// Makes a journal unreadable.
type Spoiler = fn(&mut Vec<u8>);

/// Everything of this upload, as it lies on the disk.
fn snapshot(data: &Path, id: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in [data.to_owned(), data.join("files")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && path.to_string_lossy().contains(id) {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_cannot_be_read_is_not_touched() {
    let backend = Backend::start().await;
    backend.answer(vec![Script::Answer(200, "wait"); 6]);
    let mut server = Running::start().await;
    let spoilers: [(&str, Spoiler); 3] = [
        ("the magic is another", |journal| journal[0] ^= 0xff),
        ("the first record is broken", |journal| journal[20] ^= 0xff),
        ("the head is cut off", |journal| journal.truncate(5)),
    ];
    let mut spoilt = Vec::new();
    for whole in [false, true] {
        for (what, spoil) in spoilers {
            let upload = server.ticket(&backend).await;
            if whole {
                upload.put_whole(b"the whole file").await.expect(200);
                backend.calls_for(&upload.id, 1).await;
            } else {
                upload.put(0, b"the first bytes", 100).await.expect(200);
            }
            spoilt.push((upload.id.clone(), what, whole, spoil));
        }
    }
    let healthy = server.ticket(&backend).await;
    healthy.put(0, b"healthy", 100).await.expect(200);
    let healthy = healthy.id.clone();
    server.stop().await;
    let data = server.storage();
    let mut before = Vec::new();
    for (id, _, _, spoil) in &spoilt {
        let path = data.join(format!("{id}.journal"));
        let mut journal = std::fs::read(&path).unwrap();
        spoil(&mut journal);
        std::fs::write(&path, journal).unwrap();
        before.push(snapshot(&data, id));
    }
    std::fs::write(data.join(format!("{ORPHAN}.part")), "orphan").unwrap();
    let server = Running::start_in(Arc::clone(&server.directory), server.settings().clone()).await;
    // The sweep has been past everything when it has removed the orphan.
    until("the orphan is removed", async || server.traces(ORPHAN).is_empty().then_some(())).await;
    let mut wrong = String::new();
    for ((id, what, whole, _), before) in spoilt.iter().zip(&before) {
        let upload = server.upload(id);
        let statuses = [upload.ask("GET").await.status, upload.put(0, b"x", 100).await.status];
        if statuses != [500, 500] {
            wrong += &format!("{what}, published: {whole}: answers {statuses:?}\n");
        }
        if snapshot(&data, id) != *before {
            wrong += &format!("{what}, published: {whole}: files have changed\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert_eq!(server.upload(&healthy).status().await["offset"], 7);
    let list = server.back(&Ask::new("GET", "/incoming/backend/uploads")).await.expect(200).json();
    assert_eq!(list["uploads"].as_array().unwrap().len(), 1, "{list}");
}

#[tokio::test]
async fn a_problem_of_ours_says_so_without_saying_more() {
    let mut server = Running::start().await;
    let id = server.lonely_ticket().await.id;
    server.stop().await;
    let journal = server.storage().join(format!("{id}.journal"));
    std::fs::write(&journal, "no journal at all").unwrap();
    let server = Running::start_in(Arc::clone(&server.directory), server.settings().clone()).await;
    let detail = server.upload(&id).ask("GET").await.problem(500, "fault", 16);
    assert!(!detail.contains('/') && !detail.contains(&id), "{detail}");
}

/// A crash in the middle of an append: the torn tail is cut, everything before it holds.
#[tokio::test]
async fn a_torn_tail_is_no_harm() {
    let backend = Backend::start().await;
    let mut server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.put(0, b"01234", 10).await.expect(200);
    let id = upload.id.clone();
    for (offset, tail) in (5..).zip([&b"\x07"[..], &[0; 64], &[0xff; 200]]) {
        server.stop().await;
        let path = server.storage().join(format!("{id}.journal"));
        let mut journal = std::fs::read(&path).unwrap();
        journal.extend_from_slice(tail);
        std::fs::write(&path, journal).unwrap();
        server = Running::start_in(Arc::clone(&server.directory), server.settings().clone()).await;
        assert_eq!(server.upload(&id).status().await["offset"], offset);
        // Something is appended behind it, and holds over the next round.
        server.upload(&id).put(offset, b"x", 10).await.expect(200);
    }
    assert_eq!(server.upload(&id).status().await["offset"], 8);
    server.upload(&id).put(8, b"89", 10).await.expect(200);
    server.upload(&id).reaches("finished").await;
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let backend = Backend::start().await;
    for ack in [incoming::config::Ack::Durable, incoming::config::Ack::Written] {
        let server = Running::start_with(|settings| settings.ack = ack).await;
        let upload = server.ticket(&backend).await;
        upload.bind(r#"{"name": "kept", "length": 10}"#).await.expect(200);
        upload.put(2, b"23", 10).await.expect(200);
        let before = upload.status().await;
        let (id, server) = (upload.id.clone(), server.restart().await.restart().await);
        let upload = server.upload(&id);
        assert_eq!(upload.status().await, before);
        upload.put_whole(b"0123456789").await.expect(200);
        upload.reaches("finished").await;
    }
}
