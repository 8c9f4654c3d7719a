//! Protects the rule that the newest request wins: a connection that died unnoticed never keeps
//! its successor out, and the two never mix their bytes. And what is known is acknowledged again.

use crate::backend::{Backend, Script};
use crate::client::{Ask, Conn};
use crate::content::{content, sha256};
use crate::server::Running;
use serde_json::json;

const FILE: u64 = 400_000;

#[tokio::test]
async fn a_stalled_chunk_is_superseded_and_its_prefix_kept() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(20, 400_000);
    let upload = server.ticket(&backend).await;
    // The old request sends right bytes up to 150,000 and then stands still.
    let mut old = upload.stalled(0, &file[..300_000], 150_000, FILE).await;
    upload.bytes_read(150_000).await;
    let new = upload.put(0, &file[..300_000], FILE).await.expect(200);
    assert_eq!(new.json()["received"], json!([[0, 300_000]]));
    let reply = old.reply("PUT").await.unwrap();
    reply.problem(409, "superseded", 7);
    assert!(reply.json()["upload"]["offset"].as_u64().unwrap() >= 150_000, "its prefix is kept");
    assert_eq!(reply.header("connection"), Some("close"));
    upload.put(300_000, &file[300_000..], FILE).await.expect(200);
    upload.reaches("finished").await;
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].sha256, Some(sha256(&file)));
}

/// The successor sends other bytes for the whole range: of the prefix the first ones stay, of the
/// rest none of the old request is ever seen.
#[tokio::test]
async fn the_old_one_is_fenced_off_before_the_new_one_writes() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let (first, second) = (vec![b'1'; 100_000], vec![b'2'; 100_000]);
    let upload = server.ticket(&backend).await;
    let mut old = upload.stalled(0, &first, 40_000, 100_000).await;
    upload.in_flight(1).await;
    let mut new = upload.stalled(20_000, &second[20_000..], 10_000, 100_000).await;
    old.reply("PUT").await.unwrap().problem(409, "superseded", 7);
    let prefix = upload.status().await["offset"].as_u64().unwrap();
    assert!(prefix <= 40_000);
    // Whatever the dead connection still brings is too late.
    let _ = old.send(&first[40_000..]).await;
    new.send(&second[30_000..]).await.unwrap();
    new.reply("PUT").await.unwrap().expect(200);
    upload.put(0, &second, 100_000).await.expect(200);
    upload.reaches("finished").await;
    let prefix = usize::try_from(prefix).unwrap();
    let expected = [&first[..prefix], &second[prefix..]].concat();
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].sha256, Some(sha256(&expected)));
}

#[tokio::test]
async fn other_ranges_are_left_alone() {
    let server = Running::start().await;
    let file = content(21, 400_000);
    let upload = server.lonely_ticket().await;
    let mut bystander = upload.stalled(0, &file[..100_000], 50_000, FILE).await;
    let mut victim = upload.stalled(200_000, &file[200_000..300_000], 50_000, FILE).await;
    upload.in_flight(2).await;
    upload.put(200_000, &file[200_000..300_000], FILE).await.expect(200);
    victim.reply("PUT").await.unwrap().problem(409, "superseded", 7);
    // A chunk that is wholly known takes nothing over.
    upload.put(210_000, &file[210_000..220_000], FILE).await.expect(200);
    bystander.send(&file[50_000..100_000]).await.unwrap();
    bystander.reply("PUT").await.unwrap().expect(200);
    assert_eq!(upload.received().await, json!([[0, 100_000], [200_000, 300_000]]));
}

#[tokio::test]
async fn three_in_a_row_end_with_the_last() {
    let server = Running::start().await;
    let file = content(22, 100_000);
    let upload = server.lonely_ticket().await;
    let mut first = upload.stalled(0, &file, 10_000, 100_000).await;
    upload.in_flight(1).await;
    let mut second = upload.stalled(0, &file, 20_000, 100_000).await;
    first.reply("PUT").await.unwrap().problem(409, "superseded", 7);
    upload.in_flight(1).await;
    let third = upload.put_whole(&file).await.expect(200);
    assert_eq!(third.json()["offset"], 100_000);
    second.reply("PUT").await.unwrap().problem(409, "superseded", 7);
}

#[tokio::test]
async fn what_is_known_is_acknowledged_again() {
    let backend = Backend::start().await;
    backend.answer([Script::Answer(200, "wait")]);
    let server = Running::start().await;
    let file = content(23, 100_000);
    let upload = server.ticket_with(&backend.url(), &[("backendSecret", "s")]).await;
    upload.put_whole(&file).await.expect(200);
    backend.calls_for(&upload.id, 1).await;
    let again = async |state: &str| {
        for reply in [
            upload.put(0, &file[..50_000], 100_000).await,
            upload.put(90_000, &file[90_000..], 100_000).await,
            server.front(&upload.chunk(5, b"other bytes", None)).await,
            upload.put_whole(&file).await,
            upload.bind(r#"{"length": 100000, "name": "other"}"#).await,
        ] {
            let status = reply.expect(200).json();
            assert_eq!(status["state"], state);
            assert_eq!(status["received"], json!([[0, 100_000]]));
        }
        let mut conn = Conn::open(&server.public).await;
        conn.send(&Ask::new("PUT", &upload.url).header("Transfer-Encoding", "chunked").head())
            .await
            .unwrap();
        conn.send_chunk(&file).await.unwrap();
        conn.send_chunk(b"").await.unwrap();
        conn.reply("PUT").await.unwrap().expect(200);
        upload.put(0, b"x", 100_001).await.problem(409, "length-changed", 6);
        let outside = upload.chunk(100_000, b"x", None);
        server.front(&outside).await.problem(416, "range-invalid", 12);
    };
    again("handing_over").await;
    // Nothing has touched the published file.
    assert_eq!(std::fs::read(upload.file()).unwrap(), file);
    server.call("finish_upload", &[("id", &upload.id), ("backendSecret", "s")]).await.expect(200);
    again("finished").await;
    assert_eq!(server.traces(&upload.id), ["ID.journal"]);
}

#[tokio::test]
async fn acknowledged_bytes_never_change() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let file = content(24, 100_000);
    let upload = server.ticket(&backend).await;
    upload.put(30_000, &file[30_000..60_000], 100_000).await.expect(200);
    // Other bytes over the acknowledged ones: read and thrown away; around them they count.
    let mut forged = file.clone();
    forged[30_000..60_000].fill(b'!');
    upload.put_whole(&forged).await.expect(200);
    upload.reaches("finished").await;
    assert_eq!(backend.calls_for(&upload.id, 1).await[0].sha256, Some(sha256(&file)));
}
