//! Uploads over real connections: a server in this process on ports of the system's choosing, and a
//! hyper client for each upload.
//!
//! This is wall time, of client and server on the same cores, so it says how fast the pair is and
//! whether a change made it slower. What a byte costs the server in CPU is what `incoming bench`
//! measures. Each upload is a client of its own with one connection, which sends its chunks one
//! after the other; `ack` is `written`, and the last byte of each file is never sent, so that no
//! disk's sync is in the time (`benches/receive.rs` has those). Connections are made before.

// A bench may stop at a surprise; the lint's own exception reaches tests only.
#![allow(clippy::unwrap_used)]
// One program: what is public here is public for the other files alone.
#![allow(unreachable_pub)]

#[path = "serve/client.rs"]
mod client;
#[path = "serve/crowd.rs"]
mod crowd;
#[path = "serve/place.rs"]
mod place;

use bytes::Bytes;
use client::{Client, Protocol};
use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use crowd::Crowd;
use place::Place;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// Uploads at the same time, and the bytes that each sends: together less than 1 GiB on the disk.
const CROWDS: [(usize, u64); 3] = [(1, 64 * MIB), (8, 16 * MIB), (64, 12 * MIB)];
/// Bytes of a chunk; `None` is one request for the whole file.
const CHUNKS: [(&str, Option<u64>); 3] =
    [("512KiB", Some(MIB / 2)), ("8MiB", Some(8 * MIB)), ("whole", None)];
const PROTOCOLS: [(&str, Protocol); 3] =
    [("h1", Protocol::Http1), ("h1+tls", Protocol::Http1Tls), ("h2+tls", Protocol::Http2Tls)];
/// Bytes of a file where it only matters that everything runs.
const TRIAL_BYTES: u64 = MIB;
const MIB: u64 = 1 << 20;

criterion_group!(benches, serve, overview);
criterion_main!(benches);

/// The operator's overview, over one connection, with few uploads in progress and with many.
fn overview(c: &mut Criterion) {
    let place = Place::start(Protocol::Http1);
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let mut group = c.benchmark_group("serve/overview");
    let mut there = 0;
    for uploads in if trial() { [2, 4] } else { [200, 10_000] } {
        let mut operator = runtime.block_on(async {
            let mut client = Client::connect(&place).await;
            for _ in there..uploads {
                let id = place.ticket().await;
                client.upload(&id, &Bytes::from_static(b"byte"), MIB).await;
            }
            place.operator().await
        });
        there = uploads;
        // It is at most two seconds old.
        let counted = format!("\"live\":{{\"count\":{uploads},");
        let began = Instant::now();
        while let shown = runtime.block_on(operator.overview())
            && !shown.contains(&counted)
        {
            assert!(began.elapsed() < Duration::from_secs(20), "{shown}");
            std::thread::sleep(Duration::from_millis(100));
        }
        group.bench_function(format!("{uploads}_uploads"), |b| {
            b.iter(|| runtime.block_on(operator.overview()));
        });
    }
    group.finish();
    place.stop();
}

fn serve(c: &mut Criterion) {
    for (name, protocol) in PROTOCOLS {
        let place = Place::start(protocol);
        let mut group = c.benchmark_group(format!("serve/{name}"));
        // A round takes tens to hundreds of milliseconds.
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        group.warm_up_time(Duration::from_secs(1));
        for (uploads, file) in CROWDS {
            let file = if trial() { TRIAL_BYTES } else { file };
            group.throughput(Throughput::Bytes(uploads as u64 * file));
            for (name, chunk) in CHUNKS {
                let mut crowd = Crowd::gather(&place, uploads, file);
                let chunk = chunk.unwrap_or(file);
                group.bench_function(BenchmarkId::new(format!("{uploads}_uploads"), name), |b| {
                    b.iter_custom(|rounds| (0..rounds).map(|_| crowd.upload(chunk)).sum());
                });
            }
        }
        group.finish();
        place.stop();
    }
}

/// Whether criterion runs everything once and measures nothing.
fn trial() -> bool {
    let told = |word| std::env::args().any(|argument| argument == word);
    told("--test") || !told("--bench")
}
