//! Protects the heart of it: bytes come in any order and form, and what is acknowledged is exactly
//! what the backend's file holds in the end.

use crate::backend::Backend;
use crate::client::{Ask, Conn};
use crate::content::{Random, content, content_digest, content_digest_512, sha256};
use crate::in_time;
use crate::server::{Running, Upload};
use serde_json::json;

const FILE: usize = 300_000;

/// The backend has been handed exactly this file.
async fn arrives(backend: &Backend, upload: &Upload<'_>, file: &[u8]) {
    upload.reaches("finished").await;
    let calls = backend.calls_for(&upload.id, 1).await;
    assert_eq!(calls[0].sha256, Some(sha256(file)));
    assert_eq!(calls[0].field("length"), file.len().to_string());
}

/// `[start, end)` pieces of a file, of random sizes.
fn pieces(random: &mut Random, length: usize) -> Vec<(usize, usize)> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    while start < length {
        let size = 1 + usize::try_from(random.below(40_000)).unwrap();
        let end = (start + size).min(length);
        pieces.push((start, end));
        start = end;
    }
    pieces
}

fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for at in (1..items.len()).rev() {
        items.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap());
    }
}

#[tokio::test]
async fn in_order_with_a_status_that_tells_all() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.chunk_size = 100_000;
        settings.max_chunk_size = Some(200_000);
        settings.send_ahead = 3;
    })
    .await;
    let file = content(1, FILE);
    let upload = server.ticket(&backend).await;
    let fresh = upload.ask("GET").await.expect(200);
    assert_eq!(
        fresh.json(),
        json!({"state": "new", "length": null, "offset": 0, "received": [], "chunk_size": 100_000,
            "max_chunk_size": 200_000, "send_ahead": 3, "name": null, "digest": null, "reason": null})
    );
    assert_eq!(fresh.header("upload-length"), None);
    assert_eq!(fresh.header("upload-offset"), Some("0"));
    assert_eq!(fresh.header("upload-complete"), Some("?0"));

    let bound = upload.bind(
        r#"{"name": "film.mp4", "length": 300000, "type": "video/mp4",
        "last_modified": 1700000000000}"#,
    );
    let bound = bound.await.expect(200).json();
    assert_eq!((&bound["state"], &bound["name"]), (&json!("uploading"), &json!("film.mp4")));
    upload.bind(r#"{"name": "film.mp4", "length": 300000}"#).await.expect(200);
    upload.bind("").await.expect(200);
    upload.bind(r#"{"length": 300001}"#).await.problem(409, "length-changed", 6);

    for start in [0, 100_000, 200_000] {
        // The last answer comes when the file is in its place, and counts as an acknowledgement.
        let reply =
            upload.put(start as u64, &file[start..start + 100_000], 300_000).await.expect(200);
        let (status, end) = (reply.json(), start + 100_000);
        assert_eq!(status["offset"], end);
        assert_eq!(status["received"], json!([[0, end]]));
        assert_eq!(reply.header("upload-offset"), Some(&*end.to_string()));
        assert_eq!(reply.header("upload-length"), Some("300000"));
        let complete = if end == FILE { "?1" } else { "?0" };
        assert_eq!(reply.header("upload-complete"), Some(complete));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        let head = upload.ask("HEAD").await.expect(200);
        for name in ["upload-offset", "upload-length", "upload-complete", "cache-control"] {
            assert_eq!(head.header(name), reply.header(name), "{name}");
        }
        assert!(head.body.is_empty());
    }
    arrives(&backend, &upload, &file).await;
    assert_eq!(backend.calls()[0].field("filenameFromBrowser"), "film.mp4");
}

#[tokio::test]
async fn in_any_order_with_overlaps_and_repeats() {
    for (seed, written) in [(2, false), (3, true)] {
        println!("seed {seed}");
        let backend = Backend::start().await;
        let server = Running::start_with(|settings| {
            if written {
                settings.ack = incoming::config::Ack::Written;
            }
        })
        .await;
        let (mut random, file) = (Random::new(seed), content(seed, FILE));
        let upload = server.ticket(&backend).await;
        let mut pieces = pieces(&mut random, FILE);
        for at in 0..pieces.len() {
            let (start, end) = pieces[at];
            if at % 2 == 0 {
                pieces.push((start.saturating_sub(5_000), (end + 5_000).min(FILE)));
            }
        }
        shuffle(&mut random, &mut pieces);
        let mut known = vec![false; FILE];
        for (start, end) in pieces {
            let reply = upload.put(start as u64, &file[start..end], FILE as u64).await.expect(200);
            known[start..end].fill(true);
            let status = reply.json();
            if status["state"] == "uploading" {
                let mut claimed = vec![false; FILE];
                for range in status["received"].as_array().unwrap() {
                    let at = |side: usize| usize::try_from(range[side].as_u64().unwrap()).unwrap();
                    claimed[at(0)..at(1)].fill(true);
                }
                assert!(claimed == known, "claimed is what was sent: {}", status["received"]);
            }
        }
        arrives(&backend, &upload, &file).await;
    }
}

#[tokio::test]
async fn in_parallel_over_several_connections() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.workers = 2).await;
    let file = content(4, 4_000_000);
    let upload = server.ticket(&backend).await;
    let mut pieces = pieces(&mut Random::new(4), file.len());
    shuffle(&mut Random::new(5), &mut pieces);
    let connection = async |mine: Vec<(usize, usize)>| {
        let mut conn = Conn::open(&server.public).await;
        for (start, end) in mine {
            let ask = upload.chunk(start as u64, &file[start..end], Some(file.len() as u64));
            conn.ask(&ask).await.unwrap().expect(200);
        }
    };
    let share =
        |connection: usize| pieces.iter().copied().skip(connection).step_by(6).collect::<Vec<_>>();
    let connections = async {
        tokio::join!(
            connection(share(0)),
            connection(share(1)),
            connection(share(2)),
            connection(share(3)),
            connection(share(4)),
            connection(share(5))
        )
    };
    in_time("six connections", connections).await;
    arrives(&backend, &upload, &file).await;
}

#[tokio::test]
async fn of_a_length_not_known_yet() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(6, 30_000);
    let upload = server.ticket(&backend).await;
    for start in [20_000, 0] {
        let ask = upload.chunk(start as u64, &file[start..start + 10_000], None);
        let status = server.front(&ask).await.expect(200).json();
        assert_eq!(status["length"], json!(null));
        assert_eq!(status["state"], "uploading");
    }
    // A length that is too short for what is there is another file's.
    upload.put(10_000, &file[10_000..11_000], 20_000).await.problem(409, "length-changed", 6);
    let status = upload.put(10_000, &file[10_000..20_000], 30_000).await.expect(200).json();
    assert_eq!(status["received"], json!([[0, 30_000]]));
    arrives(&backend, &upload, &file).await;
}

#[tokio::test]
async fn whole_files_in_one_request() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    for length in [1, 65_536, 1_000_000] {
        let file = content(length as u64, length);
        let upload = server.ticket(&backend).await;
        let status = upload.put_whole(&file).await.expect(200).json();
        assert_eq!(status["length"], length);
        arrives(&backend, &upload, &file).await;

        // Without a length: chunked encoding, as curl does from a pipe.
        let upload = server.ticket(&backend).await;
        let head = Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked").head();
        let mut conn = Conn::open(&server.public).await;
        conn.send(&head).await.unwrap();
        for part in file.chunks(50_000) {
            conn.send_chunk(part).await.unwrap();
        }
        conn.send_chunk(b"").await.unwrap();
        let status = conn.reply("PUT").await.unwrap().expect(200).json();
        assert_eq!((&status["length"], &status["offset"]), (&json!(length), &json!(length)));
        arrives(&backend, &upload, &file).await;
    }
}

/// `curl -T` again after a break: the same request from the start, or `-C N` from where it broke.
#[tokio::test]
async fn a_whole_file_again_after_a_break() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(7, FILE);
    for chunked in [false, true] {
        let upload = server.ticket(&backend).await;
        let mut conn = Conn::open(&server.public).await;
        if chunked {
            let head = Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked");
            conn.send(&head.head()).await.unwrap();
            conn.send_chunk(&file[..100_000]).await.unwrap();
        } else {
            conn.send(&Ask::new("PUT", &upload.url).body(&*file).head()).await.unwrap();
            conn.send(&file[..100_000]).await.unwrap();
        }
        drop(conn);
        upload.receives(json!([[0, 100_000]])).await;
        if chunked {
            upload.put(100_000, &file[100_000..], FILE as u64).await.expect(200);
        } else {
            upload.put_whole(&file).await.expect(200);
        }
        arrives(&backend, &upload, &file).await;
    }
}

#[tokio::test]
async fn a_whole_file_of_another_length_changes_nothing() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.bind(r#"{"length": 1000}"#).await.expect(200);
    upload.put_whole(&content(8, 999)).await.problem(409, "length-changed", 6);
    upload.put_whole(&content(8, 1001)).await.problem(409, "length-changed", 6);
    assert_eq!(upload.received().await, json!([]));
    // The length shows only at the end of the body.
    for length in [999, 1001] {
        let mut conn = Conn::open(&server.public).await;
        let head = Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked").head();
        conn.send(&head).await.unwrap();
        conn.send_chunk(&content(8, length)).await.unwrap();
        conn.send_chunk(b"").await.unwrap();
        conn.reply("PUT").await.unwrap().problem(409, "length-changed", 6);
    }
    let status = upload.status().await;
    assert_eq!((&status["state"], &status["length"]), (&json!("uploading"), &json!(1000)));
}

/// A proxy that removes `Content-Range` makes a chunk look like a whole file: its bytes must not be taken
/// for the file's first ones, however it ends.
#[tokio::test]
async fn issue_13_a_chunk_without_its_content_range_is_never_taken_for_the_file() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(9, FILE);
    let upload = server.ticket(&backend).await;
    upload.bind(&format!(r#"{{"length": {FILE}}}"#)).await.expect(200);
    let second = &file[100_000..200_000];
    // With its length it is refused before its body, emptied as well.
    upload.put_whole(second).await.problem(409, "length-changed", 6);
    upload.put_whole(b"").await.problem(409, "length-changed", 6);
    let chunked = Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked").head();
    // Without one nothing of it counts: whole, cut, and broken off.
    for (sent, ends) in [(second, true), (&second[..50_000], true), (&second[..50_000], false)] {
        let mut conn = Conn::open(&server.public).await;
        conn.send(&chunked).await.unwrap();
        conn.send_chunk(sent).await.unwrap();
        if ends {
            conn.send_chunk(b"").await.unwrap();
            conn.reply("PUT").await.unwrap().problem(409, "length-changed", 6);
        }
        drop(conn);
    }
    // A chunk for the same bytes waits until the broken one has let go.
    let status = upload.put(0, &file[..100_000], FILE as u64).await.expect(200).json();
    assert_eq!(status["received"], json!([[0, 100_000]]));
    upload.put(100_000, &file[100_000..], FILE as u64).await.expect(200);
    arrives(&backend, &upload, &file).await;
    // The file itself may still come so.
    let upload = server.ticket(&backend).await;
    upload.bind(&format!(r#"{{"length": {FILE}}}"#)).await.expect(200);
    let mut conn = Conn::open(&server.public).await;
    let chunked = Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked").head();
    conn.send(&chunked).await.unwrap();
    conn.send_chunk(&file).await.unwrap();
    conn.send_chunk(b"").await.unwrap();
    conn.reply("PUT").await.unwrap().expect(200);
    arrives(&backend, &upload, &file).await;
}

#[tokio::test]
async fn empty_files() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let by_post = server.ticket(&backend).await;
    let status = by_post.bind(r#"{"name": "empty", "length": 0}"#).await.expect(200).json();
    assert_eq!((&status["received"], &status["offset"]), (&json!([]), &json!(0)));
    let by_put = server.ticket(&backend).await;
    by_put.put_whole(b"").await.expect(200);
    let by_chunked = server.ticket(&backend).await;
    let mut conn = Conn::open(&server.public).await;
    let ask = Ask::new("PUT", &by_chunked.url).header("Transfer-Encoding", "chunked");
    conn.send(&ask.head()).await.unwrap();
    conn.send_chunk(b"").await.unwrap();
    conn.reply("PUT").await.unwrap().expect(200);
    // A ticket whose length the backend knew to be 0 needs no more than a bind.
    let by_backend = server.ticket_with(&backend.url(), &[("length", "0")]).await;
    by_backend.bind("").await.expect(200);
    for upload in [by_post, by_put, by_chunked, by_backend] {
        arrives(&backend, &upload, b"").await;
        let head = upload.ask("HEAD").await.expect(200);
        assert_eq!(head.header("upload-complete"), Some("?1"));
        assert_eq!(head.header("upload-length"), Some("0"));
    }
}

#[tokio::test]
async fn ranges_that_do_not_fit() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    upload.put(0, b"0123456789", 100).await.expect(200);
    let ranged = |range: &str, body: &[u8]| {
        Ask::new("PUT", &upload.url).header("Content-Range", range).body(body)
    };
    let cases = [
        // Body and range differ.
        (ranged("bytes 10-19/100", b"012345678"), 416, "range-invalid", 12),
        (ranged("bytes 10-19/100", b"0123456789A"), 416, "range-invalid", 12),
        (ranged("bytes 10-19/100", b""), 416, "range-invalid", 12),
        // Beyond the length, the request's own or the known one.
        (ranged("bytes 95-104/100", b"0123456789"), 416, "range-invalid", 12),
        (ranged("bytes 95-104/*", b"0123456789"), 416, "range-invalid", 12),
        (ranged("bytes 100-100/100", b"0"), 416, "range-invalid", 12),
        (ranged("bytes 10-19/101", b"0123456789"), 409, "length-changed", 6),
        (ranged("bytes 10-19/99", b"0123456789"), 409, "length-changed", 6),
    ];
    for (ask, status, code, number) in cases {
        let reply = server.front(&ask).await;
        reply.problem(status, code, number);
        assert_eq!(reply.json()["upload"]["received"], json!([[0, 10]]), "{ask:?}");
        assert_eq!(reply.header("upload-offset"), Some("10"));
    }
    // The mismatch shows only at the end: what fits is kept.
    for (body, received) in
        [(&b"01234"[..], json!([[0, 15]])), (b"56789ABCDEFGH", json!([[0, 20]]))]
    {
        let mut conn = Conn::open(&server.public).await;
        let ask = Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked");
        conn.send(&ask.header("Content-Range", "bytes 10-19/100").head()).await.unwrap();
        conn.send_chunk(body).await.unwrap();
        conn.send_chunk(b"").await.unwrap();
        conn.reply("PUT").await.unwrap().problem(416, "range-invalid", 12);
        assert_eq!(upload.received().await, received);
    }
}

#[tokio::test]
async fn sizes_have_their_limits() {
    let server = Running::start_with(|settings| {
        settings.max_chunk_size = Some(1_000);
        settings.chunk_size = 1_000;
        settings.max_upload_size = Some(10_000);
    })
    .await;
    let upload = server.lonely_ticket().await;
    let chunk = upload.put(0, &content(9, 1_001), 5_000).await;
    let detail = chunk.problem(413, "too-large", 11);
    assert!(detail.contains("1001") && detail.contains("1000"), "{detail}");
    upload.put(0, &content(9, 1_000), 10_001).await.problem(413, "too-large", 11);
    upload.bind(r#"{"length": 10001}"#).await.problem(413, "too-large", 11);
    let unknown = upload.chunk(9_500, &content(9, 1_000), None);
    server.front(&unknown).await.problem(413, "too-large", 11);
    assert_eq!(upload.received().await, json!([]));
    upload.bind(r#"{"length": 10000}"#).await.expect(200);

    let small = server.ticket_with("http://127.0.0.1:9/", &[("maxBytes", "500")]).await;
    small.bind(r#"{"length": 501}"#).await.problem(413, "too-large", 11);
    small.put_whole(&content(9, 501)).await.problem(413, "too-large", 11);
    let mut conn = Conn::open(&server.public).await;
    conn.send(&Ask::new("PUT", &small.url).header("Transfer-Encoding", "chunked").head())
        .await
        .unwrap();
    conn.send_chunk(&content(9, 501)).await.unwrap();
    conn.reply("PUT").await.unwrap().problem(413, "too-large", 11);
    small.put_whole(&content(9, 500)).await.expect(200);
    let refused = [("signalFinishURL", "http://127.0.0.1:9/"), ("maxBytes", "5"), ("length", "6")];
    server.call("new_upload", &refused).await.expect(413);
}

/// Two readings of "larger PUTs get 413" are possible; the one that a proxy's cap needs is tested.
#[tokio::test]
async fn a_whole_file_is_a_chunk_too() {
    let server = Running::start_with(|settings| {
        settings.max_chunk_size = Some(1_000);
        settings.chunk_size = 1_000;
    })
    .await;
    let upload = server.lonely_ticket().await;
    upload.put_whole(&content(9, 1_001)).await.problem(413, "too-large", 11);
    assert_eq!(upload.received().await, json!([]));
}

#[tokio::test]
async fn digests_decide() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(10, 40_000);
    let upload = server.ticket(&backend).await;
    let part = |start: usize, digest: &str| {
        let bytes = &file[start..start + 10_000];
        upload.chunk(start as u64, bytes, Some(40_000)).header("Content-Digest", digest)
    };
    let good = content_digest(&file[..10_000]);
    server.front(&part(0, &good)).await.expect(200);
    let both = format!("{}, md5=:AAAA:", content_digest_512(&file[10_000..20_000]));
    server.front(&part(10_000, &both)).await.expect(200);
    // The wrong one: nothing counts, and a later try with the right one does.
    let reply = server.front(&part(20_000, &good)).await;
    reply.problem(400, "digest-mismatch", 2);
    assert_eq!(upload.received().await, json!([[0, 20_000]]));
    server.front(&part(20_000, &content_digest(&file[20_000..30_000]))).await.expect(200);
    // Known bytes are judged as well, and stay.
    server.front(&part(0, &content_digest(b"other"))).await.problem(400, "digest-mismatch", 2);
    assert_eq!(upload.received().await, json!([[0, 30_000]]));
    server.front(&part(30_000, &content_digest(&file[30_000..]))).await.expect(200);
    arrives(&backend, &upload, &file).await;
    // A whole file with a digest.
    let whole = server.ticket(&backend).await;
    let put =
        |digest: &str| Ask::new("PUT", &whole.url).body(&*file).header("Content-Digest", digest);
    server.front(&put(&good)).await.problem(400, "digest-mismatch", 2);
    let status = whole.status().await;
    assert_eq!((&status["received"], &status["state"]), (&json!([]), &json!("new")));
    server.front(&put(&content_digest(&file))).await.expect(200);
    arrives(&backend, &whole, &file).await;
}

#[tokio::test]
async fn a_broken_chunk_keeps_its_good_prefix() {
    let server = Running::start().await;
    let file = content(11, FILE);
    let upload = server.lonely_ticket().await;
    drop(upload.stalled(50_000, &file[50_000..150_000], 30_000, FILE as u64).await);
    upload.receives(json!([[50_000, 80_000]])).await;
    assert_eq!(upload.status().await["offset"], 0);
    // Not with a digest: what came cannot be judged.
    let ask = upload.chunk(100_000, &file[100_000..200_000], Some(FILE as u64));
    let ask = ask.header("Content-Digest", &content_digest(&file[100_000..200_000]));
    let mut conn = Conn::open(&server.public).await;
    conn.send(&ask.head()).await.unwrap();
    conn.send(&file[100_000..150_000]).await.unwrap();
    upload.bytes_read(30_000 + 50_000).await;
    drop(conn);
    upload.in_flight(0).await;
    assert_eq!(upload.received().await, json!([[50_000, 80_000]]));
}

/// Otherwise a client could take the disk by declaring ranges of which it sends a byte each.
#[tokio::test]
async fn a_broken_chunk_leaves_no_space_behind_but_its_bytes() {
    use std::os::unix::fs::MetadataExt;
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    const GIB: usize = 1 << 30;
    for number in 0..4 {
        let ask = Ask::new("PUT", &upload.url)
            .header(
                "Content-Range",
                &format!("bytes {}-{}/*", number * GIB, (number + 1) * GIB - 1),
            )
            .header("Content-Length", &GIB.to_string());
        let mut conn = Conn::open(&server.public).await;
        conn.send(&ask.head()).await.unwrap();
        conn.send(b"x").await.unwrap();
        upload.bytes_read(number as u64 + 1).await;
    }
    upload.in_flight(0).await;
    let starts = json!([[0, 1], [GIB, GIB + 1], [2 * GIB, 2 * GIB + 1], [3 * GIB, 3 * GIB + 1]]);
    assert_eq!(upload.received().await, starts);
    let part = server.storage().join(format!("{}.part", upload.id));
    let taken = std::fs::metadata(&part).unwrap().blocks() * 512;
    assert!(taken < 1 << 20, "{taken} bytes for four");
}

/// What is published keeps its length, whoever else had more of it on the way.
#[tokio::test]
async fn a_chunk_beyond_a_length_that_came_later_leaves_no_trace() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(21, 50_000);
    let upload = server.ticket_with(&backend.url(), &[("removeFileWhenFinished", "false")]).await;
    let beyond = upload.chunk(60_000, &file[..40_000], None);
    let mut conn = Conn::open(&server.public).await;
    conn.send(&beyond.head()).await.unwrap();
    upload.in_flight(1).await;
    conn.send(b"x").await.unwrap();
    upload.bytes_read(1).await;
    // It has set space aside behind the end of what is the whole file now.
    upload.put(0, &file, 50_000).await.expect(200);
    upload.in_flight(0).await;
    arrives(&backend, &upload, &file).await;
    assert_eq!(std::fs::metadata(upload.file()).unwrap().len(), 50_000);
}

#[tokio::test]
async fn a_body_that_stands_still_ends_with_its_prefix_kept() {
    let server = Running::start_with(|settings| {
        settings.body_timeout = std::time::Duration::from_millis(300);
    })
    .await;
    let file = content(12, 100_000);
    let upload = server.lonely_ticket().await;
    let mut conn = upload.stalled(0, &file, 60_000, 100_000).await;
    let reply = conn.reply("PUT").await.unwrap();
    assert_eq!(reply.status, 408, "{}", reply.text());
    assert_eq!(reply.json()["upload"]["received"], json!([[0, 60_000]]));
    assert_eq!(reply.header("connection"), Some("close"));
    upload.put(60_000, &file[60_000..], 100_000).await.expect(200);
}

#[tokio::test]
async fn more_holes_than_can_be_described_are_refused() {
    let server =
        Running::start_with(|settings| settings.ack = incoming::config::Ack::Written).await;
    let upload = server.lonely_ticket().await;
    let mut conn = Conn::open(&server.public).await;
    let mut refused = None;
    for hole in 0..5_000_u64 {
        let reply = conn.ask(&upload.chunk(hole * 2, b"x", Some(1_000_000))).await.unwrap();
        if reply.status != 200 {
            refused = Some((hole, reply));
            break;
        }
    }
    let (hole, reply) = refused.expect("an end");
    reply.problem(429, "too-many", 13);
    assert!(reply.header("retry-after").is_some());
    assert!(hole >= 1_000, "{hole}");
    // One that fills a hole is welcome.
    upload.put(1, b"y", 1_000_000).await.expect(200);
}

#[tokio::test]
async fn no_byte_eats_the_reserve() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let id = upload.id.clone();
    upload.put(0, b"before", 100).await.expect(200);
    let server = server.restart_with(|settings| settings.min_free_space = u64::MAX / 2).await;
    let upload = server.upload(&id);
    let reply = upload.put(6, b"after", 100).await;
    reply.problem(507, "no-space", 15);
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.json()["upload"]["received"], json!([[0, 6]]));
    server.back(&Ask::new("GET", "/readyz")).await.expect(503);
    let server = server.restart_with(|settings| settings.min_free_space = 0).await;
    server.upload(&id).put(6, b"after", 100).await.expect(200);
    server.back(&Ask::new("GET", "/readyz")).await.expect(200);
}
