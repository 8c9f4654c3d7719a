//! What the pure parts cost: sets of extents, the rules of an upload, headers, journal records.
//!
//! No IO and no runtime. Where a line says `elements`, one element is one chunk: in-order inserts
//! must cost the same for each chunk however many there were.

// A bench may stop at a surprise; the lint's own exception reaches tests only.
#![allow(clippy::unwrap_used)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue};
use incoming::core::command::{At, BodyScope, Command, Offer};
use incoming::core::event::{Durability, Event, Ticket};
use incoming::core::extent::{Extent, ExtentSet};
use incoming::core::id::RunIdentity;
use incoming::core::id::TicketId;
use incoming::core::limits::Limits;
use incoming::core::time::{Stamp, Timestamp, Uptime};
use incoming::core::upload::Upload;
use incoming::storage::local::format::record::{MAGIC, Record, decode, encode};
use incoming::storage::local::format::replay::replay;
use incoming::wire::content_digest::content_digest;
use incoming::wire::header::content_range;
use std::hint::black_box;

/// Chunks, or extents that do not touch. An upload holds 4096 of the latter at most.
const COUNTS: [u64; 3] = [1, 1000, 10_000];
/// The suggested chunk.
const CHUNK_BYTES: u64 = 8 << 20;
/// Shares no factor with any of the counts, so its multiples visit every chunk once, far from order.
const STRIDE: u64 = 7919;
const LIMITS: Limits = Limits { max_chunk_bytes: None, max_upload_bytes: None, grid_bytes: None };
const NOW: Stamp = Stamp { date: Timestamp(1_700_000_000_000), uptime: Uptime(1_000_000) };

criterion_group!(benches, inserts, extents, rules, headers, records);
criterion_main!(benches);

/// A whole file of `n` chunks, put together from nothing.
fn inserts(c: &mut Criterion) {
    let mut group = c.benchmark_group("extents/assemble");
    for count in COUNTS {
        group.throughput(Throughput::Elements(count));
        for (name, stride) in [("in_order", 1), ("random_order", STRIDE)] {
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter(|| {
                    let mut set = ExtentSet::new();
                    for i in 0..count {
                        set.insert(chunk(black_box(i * stride % count)));
                    }
                    set
                });
            });
        }
    }
    group.finish();
}

/// One call on a set of `n` extents that do not touch.
fn extents(c: &mut Criterion) {
    let mut group = c.benchmark_group("extents/disjoint");
    for count in COUNTS {
        let set = disjoint(count);
        let middle = count / 2 * 2;
        // A held chunk, the hole behind it, and half of the next held one.
        let probe = extent(middle * CHUNK_BYTES, (2 * middle + 5) * CHUNK_BYTES / 2);
        group.bench_function(BenchmarkId::new("within", count), |b| {
            b.iter(|| set.within(black_box(probe)));
        });
        group.bench_function(BenchmarkId::new("missing_in", count), |b| {
            b.iter(|| set.missing_in(black_box(probe)));
        });
        group.bench_function(BenchmarkId::new("contains", count), |b| {
            b.iter(|| set.contains(black_box(probe)));
        });
        group.bench_function(BenchmarkId::new("clone", count), |b| b.iter(|| set.clone()));
        // Fills a hole, so that everything behind it moves; and one more at the end, for which a
        // copy has no room yet.
        for (name, place) in [("insert_middle", middle + 1), ("insert_last", 2 * count)] {
            group.bench_function(BenchmarkId::new(name, count), |b| {
                b.iter_batched_ref(
                    || set.clone(),
                    |set| set.insert(chunk(black_box(place))),
                    BatchSize::LargeInput,
                );
            });
        }
    }
    group.finish();
}

/// What happens to an upload when one more chunk has come, at `n` extents that do not touch.
fn rules(c: &mut Criterion) {
    let mut group = c.benchmark_group("upload");
    for count in COUNTS {
        let upload = upload(count);
        let fresh = chunk(2 * count);
        let offer =
            Offer { extent: Some(fresh), length: None, at: At::Anywhere, scope: BodyScope::Range };
        let store = Command::Store {
            extents: ExtentSet::of(fresh),
            length: None,
            durability: Durability::Durable,
        };
        // Beyond the bound on extents it is tried out whether the chunk would make another one.
        group.bench_function(BenchmarkId::new("admit", count), |b| {
            b.iter(|| upload.admit(black_box(&offer), &LIMITS));
        });
        group.bench_function(BenchmarkId::new("decide_store", count), |b| {
            b.iter(|| upload.decide(black_box(&store), NOW, &LIMITS).unwrap());
        });
        let events = upload.decide(&store, NOW, &LIMITS).unwrap();
        group.bench_function(BenchmarkId::new("apply_stored", count), |b| {
            b.iter_batched_ref(
                || upload.clone(),
                |upload| events.iter().for_each(|event| upload.apply(black_box(event))),
                BatchSize::LargeInput,
            );
        });
        // The engine decides on a copy, which it then swaps in.
        group.bench_function(BenchmarkId::new("clone", count), |b| b.iter(|| upload.clone()));
    }
    group.finish();
}

/// The two headers that every chunk carries, as the wire reads them.
fn headers(c: &mut Criterion) {
    let digest = HeaderName::from_static("content-digest");
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_static;
    headers.insert(CONTENT_RANGE, value("bytes 104857600-113246207/4294967296"));
    headers.insert(digest, value("sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"));
    assert!(content_range(&headers).is_ok_and(|range| range.is_some()));
    assert!(content_digest(&headers).is_ok_and(|digest| digest.is_some()));
    let mut group = c.benchmark_group("headers");
    group.bench_function("content_range", |b| b.iter(|| content_range(black_box(&headers)).ok()));
    group.bench_function("content_digest", |b| b.iter(|| content_digest(black_box(&headers)).ok()));
    group.finish();
}

/// The record that every chunk leaves, the one that every ticket leaves, and a whole journal.
fn records(c: &mut Criterion) {
    let stored = |i| Event::Stored { at: NOW, extent: chunk(i), durability: Durability::Durable };
    let created = Record::Event(Event::Created(Box::new(ticket())));
    let mut group = c.benchmark_group("journal");
    for (name, record) in [("stored", &Record::Event(stored(7))), ("created", &created)] {
        let mut bytes = Vec::new();
        encode(record, &mut bytes);
        assert_eq!(decode(&bytes).as_ref(), Ok(&(record.clone(), bytes.len())));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("encode", name), |b| {
            let mut out = Vec::with_capacity(bytes.len());
            b.iter(|| {
                out.clear();
                encode(black_box(record), &mut out);
            });
        });
        group.bench_function(BenchmarkId::new("decode", name), |b| {
            b.iter(|| decode(black_box(&bytes)));
        });
    }
    let run = RunIdentity { boot: [7; 16], mount: 42 };
    for count in COUNTS {
        let mut bytes = MAGIC.to_vec();
        encode(&created, &mut bytes);
        (0..count).for_each(|i| encode(&Record::Event(stored(i)), &mut bytes));
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("replay", count), |b| {
            b.iter(|| replay(black_box(&bytes), ticket().id, run, NOW.uptime).unwrap());
        });
    }
    group.finish();
}

fn extent(start: u64, end: u64) -> Extent {
    Extent::new(start, end).unwrap()
}

/// The chunk in this place of a file.
fn chunk(place: u64) -> Extent {
    extent(place * CHUNK_BYTES, (place + 1) * CHUNK_BYTES)
}

/// Every second chunk.
fn disjoint(count: u64) -> ExtentSet {
    let mut set = ExtentSet::new();
    (0..count).for_each(|i| set.insert(chunk(2 * i)));
    set
}

/// An upload that holds every second chunk.
fn upload(count: u64) -> Upload {
    let mut upload = Upload::new(ticket());
    for extent in disjoint(count).as_slice() {
        let (extent, durability) = (*extent, Durability::Durable);
        upload.apply(&Event::Stored { at: NOW, extent, durability });
    }
    upload
}

fn ticket() -> Ticket {
    Ticket {
        secret: "fo8yW0pCzyF1Zk3bqPZq9A".into(),
        max_bytes: Some(1 << 40),
        metadata: r#"{"user":4711,"album":17}"#.into(),
        ..Ticket::new(
            TicketId::from_random([7; 16]),
            NOW,
            "https://backend.example/uploads/done?album=17".into(),
        )
    }
}
