//! What the server adds to writing a chunk: the engine over a real storage directory, beside a bare
//! `pwrite` loop over the same bytes.
//!
//! No network and no HTTP: a chunk of 4 MiB comes as frames that are all there already, as large as
//! HTTP/2 (16 KiB) and HTTP/1.1 (400 KiB) bring them. Every chunk goes to fresh extents of a file
//! that never becomes whole, so nothing is published; after 128 MiB the file is removed, untimed.
//! The files lie in `target/tmp`, and with `durable` it is the disk under it that is measured.

// A bench may stop at a surprise; the lint's own exception reaches tests only.
#![allow(clippy::unwrap_used)]
// One program: what is public here is public for the other files alone.
#![allow(unreachable_pub)]

#[path = "receive/chunks.rs"]
mod chunks;
#[path = "receive/floor.rs"]
mod floor;
#[path = "receive/frames.rs"]
mod frames;

use bytes::Bytes;
use chunks::{Chunks, Hash};
use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use floor::{Floor, Space};
use frames::Cut;
use incoming::core::event::Durability;
use incoming::engine::chunk::batch::BATCH_BYTES;
use sha2::{Digest as _, Sha256};

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 4 << 20;
/// A file is removed when it has grown by so many bytes: less than a sync point (256 MiB) and far
/// less than what makes the kernel write back by itself.
const FILE_BYTES: u64 = 128 << 20;
/// As HTTP/2 and HTTP/1.1 bring them; the latter also as it is after a head of 123 bytes, so that no
/// write begins at a page.
const FRAMES: [(&str, Cut); 3] = [
    ("16KiB", Cut { frame: 16 << 10, head: 0 }),
    ("400KiB", Cut { frame: 400 << 10, head: 0 }),
    ("400KiB_ragged", Cut { frame: 400 << 10, head: 123 }),
];
const ACKS: [(&str, Durability); 2] =
    [("written", Durability::Written), ("durable", Durability::Durable)];
const BATCHES: [(&str, usize); 3] = [("64KiB", 64 << 10), ("256KiB", 256 << 10), ("1MiB", 1 << 20)];

criterion_group!(benches, receive, batches, writes, hash);
criterion_main!(benches);

fn receive(c: &mut Criterion) {
    let payload = payload();
    for (ack, durability) in ACKS {
        for (name, cut) in FRAMES {
            let mut group = group(c, &format!("receive/{ack}/{name}"));
            let mut floor = Floor::new(&payload, cut, durability, Space::AsItComes);
            group.bench_function("floor", |b| b.iter_custom(|chunks| floor.write(chunks)));
            // Its file's pages wait to be written back while they are there.
            drop(floor);
            for (name, hash) in [("engine", Hash::None), ("engine+sha-256", Hash::Sha256)] {
                let mut chunks = Chunks::new(&payload, cut, durability, hash, BATCH_BYTES);
                group.bench_function(name, |b| b.iter_custom(|count| chunks.receive(count)));
            }
            group.finish();
        }
    }
}

/// How many bytes are written together.
fn batches(c: &mut Criterion) {
    let payload = payload();
    for (name, cut) in FRAMES {
        let mut group = group(c, &format!("batch/{name}"));
        for (batch, bytes) in BATCHES {
            let mut chunks = Chunks::new(&payload, cut, Durability::Written, Hash::None, bytes);
            group.bench_function(batch, |b| b.iter_custom(|count| chunks.receive(count)));
        }
        group.finish();
    }
}

/// What the size of writes and preallocation do by themselves.
fn writes(c: &mut Criterion) {
    let payload = payload();
    for (name, space) in [("bare", Space::AsItComes), ("preallocated", Space::Ahead)] {
        let mut group = group(c, &format!("write/{name}"));
        let batches = BATCHES.map(|(size, frame)| (size, Cut { frame, head: 0 }));
        for (size, cut) in FRAMES.into_iter().chain(batches) {
            let mut floor = Floor::new(&payload, cut, Durability::Written, space);
            group.bench_function(size, |b| b.iter_custom(|chunks| floor.write(chunks)));
        }
        group.finish();
    }
}

/// What of a chunk with a digest is the hash itself.
fn hash(c: &mut Criterion) {
    let payload = payload();
    group(c, "hash").bench_function("sha-256", |b| b.iter(|| Sha256::digest(&payload)));
}

fn group<'a>(c: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    // Chunks take milliseconds, and a disk's syncs many of them.
    group.sample_size(20).sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    group
}

/// Bytes of a chunk, none of them a page of zeros.
fn payload() -> Bytes {
    let bytes = (0u64..).flat_map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    bytes.take(CHUNK_BYTES).collect()
}
