//! Protects acknowledgements against the death of the process: it is killed in the middle of eight
//! parallel uploads, again and again, and no acknowledged byte is lost or changed.

use crate::backend::Backend;
use crate::child::Program;
use crate::client::Conn;
use crate::content::{Random, content, sha256};
use crate::server::{Running, Upload};
use crate::{in_time, until};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const UPLOADS: usize = 8;
const FILE: usize = 6_000_000;
const CHUNK: usize = 128 * 1024;
const ROUNDS: usize = 4;

#[tokio::test]
async fn killed_with_durable_acknowledgements() {
    killed("durable").await;
}

#[tokio::test]
async fn killed_with_written_acknowledgements() {
    killed("written").await;
}

async fn killed(ack: &str) {
    let seed = seed();
    println!("seed {seed} (set IT_SEED to repeat)");
    let mut random = Random::new(seed);
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let backend = Backend::start().await;
    let files: Vec<Vec<u8>> = (0..UPLOADS).map(|at| content(seed + at as u64, FILE)).collect();
    let mut acknowledged = vec![vec![false; FILE]; UPLOADS];
    let mut ids: Vec<String> = Vec::new();
    for round in 0..ROUNDS {
        let program = Program::start(directory.path(), &["--ack", ack]);
        let server = Running::of(&program, &directory);
        while ids.len() < UPLOADS {
            ids.push(server.ticket(&backend).await.id);
        }
        check(&server, &ids, &files, &acknowledged).await;
        // The moment: so many answers after the start of the round, in the middle of the rest.
        let moment = usize::try_from(random.below(60)).unwrap();
        println!("round {round}: killed after {moment} answers");
        let answers = Arc::new(AtomicUsize::new(0));
        let mut uploading = tokio::task::JoinSet::new();
        for at in 0..UPLOADS {
            let (id, file, seed) = (ids[at].clone(), files[at].clone(), random.next());
            let (server, answers) = (Running::of(&program, &directory), Arc::clone(&answers));
            uploading.spawn(async move { (at, upload(&server, &id, &file, seed, &answers).await) });
        }
        until("the moment", async || (answers.load(Ordering::SeqCst) >= moment).then_some(()))
            .await;
        program.kill();
        let ended = async {
            while let Some(done) = uploading.join_next().await {
                let (at, ranges) = done.unwrap();
                for (start, end) in ranges {
                    acknowledged[at][start..end].fill(true);
                }
            }
        };
        in_time("the uploads notice", ended).await;
    }
    let program = Program::start(directory.path(), &["--ack", ack]);
    let server = Running::of(&program, &directory);
    check(&server, &ids, &files, &acknowledged).await;
    for (id, file) in ids.iter().zip(&files) {
        let answers = AtomicUsize::new(0);
        upload(&server, id, file, random.next(), &answers).await;
        server.upload(id).reaches("finished").await;
        assert_eq!(backend.calls_for(id, 1).await[0].sha256, Some(sha256(file)), "{id}");
    }
}

/// What was in a 200 answer is in `received`, and lies in the part with the right bytes.
async fn check(server: &Running, ids: &[String], files: &[Vec<u8>], acknowledged: &[Vec<bool>]) {
    for ((id, file), acknowledged) in ids.iter().zip(files).zip(acknowledged) {
        let status = server.upload(id).status().await;
        let mut received = vec![false; FILE];
        for (start, end) in ranges(&status) {
            received[start..end].fill(true);
            if status["state"] == "uploading" {
                let part = server.storage().join(format!("{id}.part"));
                let mut bytes = vec![0; end - start];
                let part = std::fs::File::open(part).unwrap();
                part.read_exact_at(&mut bytes, start as u64).unwrap();
                assert!(bytes == file[start..end], "bytes {start}..{end} of {id}");
            }
        }
        let lost = (0..FILE).find(|at| acknowledged[*at] && !received[*at]);
        assert_eq!(lost, None, "acknowledged and lost: {id}, {status}");
    }
}

/// Sends what is missing, in random order, until all is sent or the server is gone. Answers the
/// ranges that it was told are safe.
async fn upload(
    server: &Running,
    id: &str,
    file: &[u8],
    seed: u64,
    answers: &AtomicUsize,
) -> Vec<(usize, usize)> {
    let mut random = Random::new(seed);
    let upload = server.upload(id);
    let mut told = Vec::new();
    let Ok(mut conn) = Conn::try_open(&server.public).await else { return told };
    let Some(mut missing) = missing(&upload, &mut conn).await else { return told };
    while !missing.is_empty() {
        let at = usize::try_from(random.below(missing.len() as u64)).unwrap();
        let (start, end) = missing.swap_remove(at);
        let ask = upload.chunk(start as u64, &file[start..end], Some(file.len() as u64));
        let Ok(reply) = conn.ask(&ask).await else { return told };
        assert_eq!(reply.status, 200, "{}", reply.text());
        answers.fetch_add(1, Ordering::SeqCst);
        let status = reply.json();
        let ranges = ranges(&status);
        assert!(
            ranges.iter().any(|(from, to)| *from <= start && end <= *to),
            "{start}..{end}: {status}"
        );
        told.extend(ranges);
    }
    told
}

async fn missing(upload: &Upload<'_>, conn: &mut Conn) -> Option<Vec<(usize, usize)>> {
    let ask = crate::client::Ask::new("GET", &upload.url);
    let status = conn.ask(&ask).await.ok()?.expect(200).json();
    let received = ranges(&status);
    let holds =
        |start: usize, end: usize| received.iter().any(|(from, to)| *from <= start && end <= *to);
    let starts = (0..FILE).step_by(CHUNK).map(|start| (start, (start + CHUNK).min(FILE)));
    Some(starts.filter(|(start, end)| !holds(*start, *end)).collect())
}

fn ranges(status: &serde_json::Value) -> Vec<(usize, usize)> {
    let side = |range: &serde_json::Value, side: usize| {
        usize::try_from(range[side].as_u64().unwrap()).unwrap()
    };
    let all = status["received"].as_array().unwrap().iter();
    all.map(|range| (side(range, 0), side(range, 1))).collect()
}

fn seed() -> u64 {
    let given =
        std::env::var("IT_SEED").ok().map(|seed| seed.parse().expect("IT_SEED is a number"));
    given.unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        now.as_secs() % 1_000_000
    })
}
