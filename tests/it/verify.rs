//! Protects files against being mixed: whoever goes on with an upload can ask whether the server holds
//! the same bytes, and gets a true answer, or none.

use crate::client::{Ask, Conn, Place};
use crate::content::content;
use crate::server::Running;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::Digest as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

fn piece(bytes: &[u8], start: usize, end: usize) -> Value {
    let digest = BASE64_STANDARD.encode(sha2::Sha256::digest(&bytes[start..end]));
    json!({"range": [start, end], "sha-256": digest})
}

async fn verify(server: &Running, id: &str, pieces: &[Value]) -> Value {
    let upload = server.upload(id);
    let mut ask = Ask::new("POST", &format!("{}/verify", upload.url));
    ask = ask.body(json!({"ranges": pieces}).to_string().as_bytes());
    server.front(&ask).await.expect(200).json()
}

#[tokio::test]
async fn tells_the_same_from_the_changed_and_from_what_is_not_held() {
    let server = Running::start().await;
    let file = content(90, 300_000);
    let mut changed = file.clone();
    changed[50_000] ^= 1;
    let upload = server.lonely_ticket().await;
    assert_eq!(
        verify(&server, &upload.id, &[piece(&file, 0, 4096)]).await["verified"],
        json!([null])
    );
    upload.put(0, &file[..100_000], 300_000).await.expect(200);
    upload.put(200_000, &file[200_000..250_000], 300_000).await.expect(200);
    let pieces = [
        piece(&file, 0, 100_000),
        piece(&changed, 40_000, 60_000),
        piece(&changed, 60_000, 64_096),
        piece(&file, 99_000, 104_000),
        piece(&file, 200_000, 204_096),
    ];
    let told = verify(&server, &upload.id, &pieces).await;
    assert_eq!(told["verified"], json!([true, false, true, null, true]));
    assert_eq!(told["received"], json!([[0, 100_000], [200_000, 250_000]]));
    // Also by a process that has never seen the upload.
    let id = upload.id.clone();
    let server = server.restart().await;
    let told = verify(&server, &id, &pieces).await;
    assert_eq!(told["verified"], json!([true, false, true, null, true]));
    server.upload(&id).ask("DELETE").await.expect(200);
    assert_eq!(verify(&server, &id, &pieces[..1]).await["verified"], json!([null]));
}

#[tokio::test]
async fn what_is_asked_has_bounds() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let file = content(91, 10_000);
    upload.put(0, &file[..9_000], 10_000).await.expect(200);
    let url = format!("{}/verify", upload.url);
    let refused = async |body: &str, part: &str| {
        let reply = server.front(&Ask::new("POST", &url).body(body.as_bytes())).await;
        reply.problem(400, "bad-request", 1);
        assert!(reply.text().contains(part), "{part} in {}", reply.text());
    };
    refused("", "body").await;
    refused(&json!({"ranges": []}).to_string(), "ranges").await;
    refused(&json!({"ranges": [piece(&file, 7, 8)]}).to_string(), "[7,8]").await;
    let reply = server.front(&Ask::new("GET", &url)).await;
    reply.problem(405, "method-not-allowed", 5);
    assert_eq!(reply.header("allow"), Some("POST, OPTIONS"));
    server.front(&Ask::new("OPTIONS", &url)).await.expect(204);
    let nobody = "/incoming/frontend/uploads/00000000-0000-4000-8000-000000000000/verify";
    let one = json!({"ranges": [piece(&file, 0, 4096)]}).to_string();
    let reply = server.front(&Ask::new("POST", nobody).body(one.as_bytes())).await;
    reply.problem(404, "unknown-upload", 4);
}

/// It has said all it will say, and still reads: only a connection that broke ends the work.
#[tokio::test]
async fn a_client_that_ended_its_direction_gets_its_answer() {
    let server = Running::start().await;
    let file = content(92, 2 << 20);
    let upload = server.lonely_ticket().await;
    upload.put(0, &file, file.len() as u64 + 1).await.expect(200);
    let pieces = [piece(&file, 0, 1 << 20), piece(&file, 1 << 20, 2 << 20)];
    let body = json!({"ranges": pieces}).to_string();
    let ask = Ask::new("POST", &format!("{}/verify", upload.url)).body(body.as_bytes());
    for _ in 0..20 {
        let Place::Tcp(address) = server.public else { panic!("not on TCP") };
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(&[&ask.head()[..], body.as_bytes()].concat()).await.unwrap();
        half.shutdown().await.unwrap();
        let reply = Conn::over(half).reply("POST").await.unwrap().expect(200);
        assert_eq!(reply.json()["verified"], json!([true, true]));
    }
}
