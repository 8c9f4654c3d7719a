//! Protects `incoming verify`: every kind of damage to a storage directory is found and named, what is
//! whole is not, and nothing is changed by looking, also beside a running server.

use crate::backend::Backend;
use crate::child::{Program, run};
use crate::content::content;
use crate::server::Running;
use incoming::core::id::{RunIdentity, TicketId};
use incoming::core::time::Uptime;
use incoming::storage::local::format::replay::replay;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Uploads in a storage directory, a stopped server's.
struct Stock {
    directory: tempfile::TempDir,
    /// 40,000 bytes in two chunks of 100,000.
    running: String,
    /// Whole, with its digest, and no backend takes it.
    owed: String,
    /// Taken by a backend that left it there.
    kept: String,
}

async fn stock() -> Stock {
    let backend = Backend::start().await;
    let mut server = Running::start().await;
    let running = server.lonely_ticket().await.id;
    let content = content(7, 100_000);
    let upload = server.upload(&running);
    upload.put(0, &content[..20_000], 100_000).await.expect(200);
    upload.put(50_000, &content[50_000..70_000], 100_000).await.expect(200);
    let owed = server.ticket_with("http://127.0.0.1:9/", &[("digest", "sha-256")]).await.id;
    server.upload(&owed).put_whole(&content).await.expect(200);
    let kept = server.ticket_with(&backend.url(), &[("removeFileWhenFinished", "false")]).await.id;
    server.upload(&kept).put_whole(&content).await.expect(200);
    server.upload(&kept).reaches("finished").await;
    // The digest is recorded before the first call, and that one has ended.
    crate::until("an unanswered call", async || {
        let shown = server.upload(&owed).shown().await;
        (shown["handover_attempts"].as_u64() > Some(0) && shown["reason"].is_string()).then_some(())
    })
    .await;
    server.stop().await;
    let directory = tempfile::tempdir().unwrap();
    copy(&server.storage(), &directory.path().join("data"));
    Stock { directory, running, owed, kept }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Everything there with its content and time.
fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(snapshot(&path));
        } else {
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            all.insert(path.clone(), (fs::read(&path).unwrap(), time));
        }
    }
    all
}

/// Exit code and what was found: rank, kind and id of each.
fn verify(directory: &Path, flags: &[&str]) -> (Option<i32>, Vec<[String; 3]>) {
    let line = [&["verify", "--storage-dir", "data", "--json"], flags].concat();
    let output = run(directory, &line, &[]);
    let found: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let list = found["findings"].as_array().unwrap().iter();
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or("-").to_owned();
    let list = list.map(|finding| ["rank", "kind", "id"].map(|key| word(finding, key)));
    (output.status.code(), list.collect())
}

type Harm = fn(&Path, &Stock);

/// As logs shorten them, and as `incoming uploads` takes them.
#[tokio::test]
async fn ids_may_be_shortened() {
    let stock = stock().await;
    let at = stock.directory.path();
    cut(&part(&at.join("data"), &stock.running), 69_999);
    let found = [["damaged", "part-short", &*stock.running].map(str::to_owned)];
    // Of random ids hardly two ever begin alike in eight characters.
    assert_eq!(verify(at, &[&stock.running[..8]]), (Some(1), found.to_vec()));
    let refused = |typed: &str, code: i32, says: &str| {
        let output = run(at, &["verify", "--storage-dir", "data", typed], &[]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    };
    refused("00000000-0000", 1, "no upload has an id that begins with 00000000-0000");
    refused("7E4F", 2, "4 characters or more, lower case");
}

/// What is done to a copy of the stock, what is looked at how, and what has to be found of whom.
const HARM: &[(&str, Harm, &[&str], &[&str])] = &[
    ("nothing", |_, _| {}, &["--deep"], &[]),
    (
        "a part cut short",
        |at, s| cut(&part(at, &s.running), 69_999),
        &[],
        &["damaged part-short running"],
    ),
    (
        "no part",
        |at, s| fs::remove_file(part(at, &s.running)).unwrap(),
        &[],
        &["damaged part-missing running"],
    ),
    (
        "a journal of another version",
        |at, s| flip(&journal(at, &s.running), 7),
        &[],
        &["damaged journal-unreadable running"],
    ),
    (
        "another upload's journal",
        |at, s| _ = fs::copy(journal(at, &s.owed), journal(at, &s.running)).unwrap(),
        &[],
        &["damaged journal-unreadable running"],
    ),
    (
        "a journal that is a folder",
        |at, s| {
            fs::remove_file(journal(at, &s.running)).unwrap();
            fs::create_dir(journal(at, &s.running)).unwrap();
        },
        &[],
        &["damaged journal-unreadable running"],
    ),
    // Before the two records of bytes, which are 8 + 34 bytes each, lie ticket, run and length.
    (
        "a bit turned in the middle of a journal",
        |at, s| {
            let length = fs::metadata(journal(at, &s.running)).unwrap().len();
            flip(&journal(at, &s.running), length - 42 - 1);
        },
        &[],
        &["damaged journal-broken running"],
    ),
    (
        "a torn tail",
        |at, s| append(&journal(at, &s.running), b"torn off"),
        &[],
        &["note torn-tail running"],
    ),
    (
        "an empty journal beside a part",
        |at, s| cut(&journal(at, &s.running), 0),
        &[],
        &["damaged journal-unreadable running"],
    ),
    (
        "an empty journal beside nothing",
        |at, s| {
            cut(&journal(at, &s.running), 0);
            fs::remove_file(part(at, &s.running)).unwrap();
        },
        &[],
        &["note journal-unborn running"],
    ),
    (
        "no journal of a part",
        |at, s| fs::remove_file(journal(at, &s.running)).unwrap(),
        &[],
        &["damaged part-without-journal running"],
    ),
    (
        "no journal of a file",
        |at, s| fs::remove_file(journal(at, &s.kept)).unwrap(),
        &[],
        &["note file-without-journal kept"],
    ),
    (
        "no published file",
        |at, s| fs::remove_file(file(at, &s.owed)).unwrap(),
        &[],
        &["damaged file-missing owed"],
    ),
    ("a crash before the rename", |at, s| unplace(at, &s.owed), &["--deep"], &[]),
    (
        "a link in place of the published file",
        |at, s| {
            fs::rename(file(at, &s.owed), at.join("moved")).unwrap();
            std::os::unix::fs::symlink(at.join("moved"), file(at, &s.owed)).unwrap();
        },
        &[],
        &["damaged file-missing owed"],
    ),
    (
        "a published file cut short",
        |at, s| cut(&file(at, &s.owed), 99_999),
        &[],
        &["damaged file-length owed"],
    ),
    (
        "a bit turned in a published file",
        |at, s| flip(&file(at, &s.owed), 5),
        &["--deep"],
        &["damaged digest-mismatch owed"],
    ),
    ("the same, not looked at closely", |at, s| flip(&file(at, &s.owed), 5), &[], &[]),
    ("a file that is the backend's", |at, s| cut(&file(at, &s.kept), 5), &["--deep"], &[]),
    (
        "a part too many",
        |at, s| fs::write(part(at, &s.owed), "x").unwrap(),
        &[],
        &["note bytes-left owed"],
    ),
    (
        "a journal in the making",
        |at, s| {
            let name = format!("{}.{}.journal-new", s.owed, "0123456789abcdef".repeat(2));
            fs::write(at.join(name), "").unwrap();
        },
        &[],
        &["note journal-in-the-making -"],
    ),
    (
        "two at once, one asked about",
        |at, s| {
            fs::remove_file(part(at, &s.running)).unwrap();
            fs::remove_file(file(at, &s.owed)).unwrap();
        },
        &["OWED"],
        &["damaged file-missing owed"],
    ),
    ("an id that is not here", |_, _| {}, &[NOBODY], &["damaged unknown-upload nobody"]),
];

const NOBODY: &str = "0a0b0c0d-0102-4304-8506-0708090a0b0c";

fn part(at: &Path, id: &str) -> PathBuf {
    at.join(format!("{id}.part"))
}

fn journal(at: &Path, id: &str) -> PathBuf {
    at.join(format!("{id}.journal"))
}

fn file(at: &Path, id: &str) -> PathBuf {
    at.join("files").join(id)
}

/// As a crash leaves it between the record that a file is published and its rename.
fn unplace(at: &Path, id: &str) {
    let (bytes, mut end) = (fs::read(journal(at, id)).unwrap(), 8);
    let (ticket, run) = (TicketId::parse(id).unwrap(), RunIdentity { boot: [0; 16], mount: 0 });
    loop {
        let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap());
        end += 8 + usize::try_from(length).unwrap();
        let replayed = replay(&bytes[..end], ticket, run, Uptime(u64::MAX));
        if replayed.is_ok_and(|replayed| replayed.upload.may_be_unplaced()) {
            break;
        }
    }
    cut(&journal(at, id), end as u64);
    fs::rename(file(at, id), part(at, id)).unwrap();
}

fn cut(path: &Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn append(path: &Path, tail: &[u8]) {
    fs::write(path, [&fs::read(path).unwrap(), tail].concat()).unwrap();
}

#[tokio::test]
async fn every_damage_is_found_and_nothing_is_changed() {
    let stock = Arc::new(stock().await);
    let checks = HARM.iter().map(|&(what, harm, flags, expected)| {
        let stock = Arc::clone(&stock);
        std::thread::spawn(move || {
            let directory = tempfile::tempdir().unwrap();
            let data = directory.path().join("data");
            copy(&stock.directory.path().join("data"), &data);
            harm(&data, &stock);
            let before = snapshot(&data);
            let flags: Vec<&str> = flags
                .iter()
                .map(|flag| if *flag == "OWED" { &*stock.owed } else { flag })
                .collect();
            let (code, found) = verify(directory.path(), &flags);
            let name = |id: &str| {
                let known = [(&*stock.running, "running"), (&*stock.owed, "owed")];
                let known = known.into_iter().chain([(&*stock.kept, "kept"), (NOBODY, "nobody")]);
                known.into_iter().find(|(known, _)| *known == id).map_or("-", |(_, name)| name)
            };
            let found: Vec<String> = found
                .iter()
                .map(|[rank, kind, id]| format!("{rank} {kind} {}", name(id)))
                .collect();
            assert_eq!(found, expected, "{what}");
            let damaged = expected.iter().any(|line| line.starts_with("damaged"));
            assert_eq!(code, Some(i32::from(damaged)), "{what}");
            assert_eq!(snapshot(&data), before, "{what}: something was changed");
        })
    });
    for check in checks.collect::<Vec<_>>() {
        check.join().unwrap();
    }
}

#[test]
fn what_is_no_storage_directory_is_no_finding() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("empty")).unwrap();
    for (flags, word) in [
        (&["--storage-dir", "absent"][..], "absent: No such file"),
        (&["--storage-dir", "empty"], "is not a storage directory"),
        (&["--storage-dir", "empty", "film.mp4"], "is not a ticket id"),
    ] {
        let output = run(directory.path(), &[&["verify"], flags].concat(), &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{error}");
        assert!(error.contains(word) && error.lines().count() == 1, "{error}");
    }
    assert_eq!(fs::read_dir(directory.path().join("empty")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_server_at_work_is_no_damage() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let program = Program::start(directory.path(), &["--retain-finished", "0"]);
    let backend = Backend::start().await;
    let server = Running::of(&program, &directory);
    let at = directory.path().to_owned();
    // Uploads begin, end and are forgotten for as long as it takes to look three times.
    let looks = tokio::task::spawn_blocking(move || {
        (0..3).map(|_| verify(&at, &["--deep"])).collect::<Vec<_>>()
    });
    let content = content(8, 50_000);
    let (mut done, mut open) = (0, VecDeque::new());
    while !looks.is_finished() || done == 0 {
        let upload = server.ticket(&backend).await;
        upload.put(0, &content[..20_000], 50_000).await.expect(200);
        open.push_back(upload);
        // Some are running at any time.
        if open.len() > 10 {
            let oldest = open.pop_front().unwrap();
            oldest.put(20_000, &content[20_000..], 50_000).await.expect(200);
            done += 1;
        }
    }
    for (code, found) in looks.await.unwrap() {
        let damaged: Vec<_> = found.iter().filter(|found| found[0] == "damaged").collect();
        assert_eq!((code, damaged.len()), (Some(0), 0), "after {done} uploads: {damaged:?}");
    }
}
