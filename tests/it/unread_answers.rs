//! Protects the server's memory from who asks over HTTP/2 and takes no answer: a hundred times on each connection, with
//! no window for a single byte of a body.

use crate::client::Ask;
use crate::server::Running;
use crate::tls::{Authority, certify, connect, files};
use crate::{in_time, until};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use hyper::Request;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

const FINDINGS: &str = "/incoming/frontend/doctor/findings";

struct Ground {
    server: Running,
    authority: Authority,
    _folder: TempDir,
}

impl Ground {
    async fn start() -> Self {
        let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
        authority.issue(folder.path(), "server");
        let tls = files(folder.path());
        let server = Running::start_with(|settings| certify(settings, tls)).await;
        Self { server, authority, _folder: folder }
    }

    async fn peer(&self, window: u32) -> Peer {
        let stream = connect(&self.server.public, self.authority.client(&["h2"], None)).await;
        let mut builder = h2::client::Builder::new();
        let shaken = builder.initial_window_size(window).handshake(stream.unwrap()).await;
        let (sender, conn) = shaken.unwrap();
        let conn = tokio::spawn(async move { drop(conn.await) });
        Peer { sender, conn }
    }
}

/// An HTTP/2 connection whose answers have heads, and bodies as far as its window lets them.
struct Peer {
    sender: SendRequest<Bytes>,
    conn: JoinHandle<()>,
}

impl Peer {
    async fn ask(&mut self, ask: &Ask) -> (u16, h2::RecvStream) {
        let uri = format!("https://server.test{}", ask.target);
        let request = Request::builder().method(&*ask.method).uri(uri).body(()).unwrap();
        let exchange = async {
            let mut sender = self.sender.clone().ready().await.unwrap();
            let (answer, mut body): (ResponseFuture, _) =
                sender.send_request(request, ask.body.is_empty()).unwrap();
            if !ask.body.is_empty() {
                body.send_data(Bytes::from(ask.body.clone()), true).unwrap();
            }
            answer.await.unwrap()
        };
        let answer = in_time("the head of an answer", exchange).await;
        (answer.status().as_u16(), answer.into_body())
    }

    /// Asks so often, and counts who is served and who is told that it is too much. The bodies are left where they are.
    async fn served(&mut self, ask: &Ask, times: usize) -> (usize, Vec<h2::RecvStream>) {
        let (mut served, mut left) = (0, Vec::new());
        for _ in 0..times {
            let (status, body) = self.ask(ask).await;
            assert!([200, 429].contains(&status), "{status}");
            served += usize::from(status == 200);
            left.push(body);
        }
        (served, left)
    }

    async fn leave(self) {
        self.conn.abort();
        let _ = self.conn.await;
    }
}

/// Findings whose answers were 300 KB long.
fn findings() -> Ask {
    let tried = json!({"method": "M".repeat(1800), "came": "broken"});
    let told = json!({"methods": vec![tried; 32]}).to_string();
    Ask::new("POST", FINDINGS).body(told)
}

#[tokio::test]
async fn judgements_keep_their_places_until_they_are_taken() {
    let ground = Ground::start().await;
    let mut reader = ground.peer(1 << 20).await;
    let (status, mut body) = reader.ask(&findings()).await;
    assert_eq!(status, 200);
    let mut bytes = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes += piece.len();
    }
    assert!((1000..40_000).contains(&bytes), "{bytes}");
    let mut peers = Vec::new();
    let mut all = 0;
    for _ in 0..2 {
        let mut peer = ground.peer(0).await;
        let (served, left) = peer.served(&findings(), 30).await;
        all += served;
        peers.push((peer, left));
    }
    assert_eq!(all, 8, "as many as one address may have");
    assert_eq!(reader.ask(&findings()).await.0, 429);
    // Who leaves gives them back.
    for (peer, left) in peers {
        drop(left);
        peer.leave().await;
    }
    until("the places are free", async || {
        let (status, mut body) = reader.ask(&findings()).await;
        while let Some(piece) = body.data().await {
            body.flow_control().release_capacity(piece.unwrap().len()).unwrap();
        }
        (status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_doctors_reports_have_places_until_they_are_taken() {
    let ground = Ground::start().await;
    let get = Ask::new("GET", "/incoming/frontend/doctor");
    let (mut peers, mut all) = (Vec::new(), 0);
    for _ in 0..2 {
        let mut peer = ground.peer(0).await;
        let (served, left) = peer.served(&get, 90).await;
        all += served;
        peers.push((peer, left));
    }
    assert_eq!(all, 128, "as many as one address may have");
    // What is read at once needs none for long; nor what has no body.
    for (peer, left) in peers {
        drop(left);
        peer.leave().await;
    }
    let mut reader = ground.peer(1 << 20).await;
    let head = Ask::new("HEAD", "/incoming/frontend/doctor");
    until("the places are free", async || (reader.ask(&head).await.0 == 200).then_some(())).await;
    let mut peer = ground.peer(0).await;
    let (served, _left) = peer.served(&head, 90).await;
    assert_eq!(served, 90);
    let (served, _left) = peer.served(&head, 90).await;
    assert_eq!(served, 90);
}

/// Ranges enough for an answer of some KiB, far from what was once taken for large.
#[tokio::test]
async fn middling_answers_about_an_upload_are_counted() {
    let ground = Ground::start().await;
    let upload = ground.server.lonely_ticket().await;
    let mut reader = ground.peer(1 << 20).await;
    for at in 0..400_u64 {
        let start = 1_000_000_000_000 + 2 * at;
        let uri = format!("https://server.test{}", upload.url);
        let range = format!("bytes {start}-{start}/*");
        let request = Request::put(uri).header("content-range", range).body(()).unwrap();
        let mut sender = reader.sender.clone().ready().await.unwrap();
        let (answer, mut body) = sender.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(b"x"), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200, "{at}");
    }
    for url in [upload.url.clone(), format!("/incoming/frontend/resumable/{}", upload.id)] {
        let get = Ask::new("GET", &url);
        let (mut peers, mut all) = (Vec::new(), 0);
        for _ in 0..6 {
            let mut peer = ground.peer(0).await;
            let (served, left) = peer.served(&get, 95).await;
            all += served;
            peers.push((peer, left));
        }
        // 4 MiB of them, each of 12 KiB.
        assert!((300..400).contains(&all), "{all} answers are untaken: {url}");
        // Nobody else is refused for it.
        let other = ground.server.lonely_ticket().await;
        let (status, _) = reader.ask(&Ask::new("GET", &other.url)).await;
        assert_eq!(status, 200);
        for (peer, left) in peers {
            drop(left);
            peer.leave().await;
        }
        until("what was untaken is free", async || (reader.ask(&get).await.0 == 200).then_some(()))
            .await;
    }
}

/// A cancelled upload is cancelled again and again, and each time its long reason is told.
#[tokio::test]
async fn answers_to_cancels_are_counted() {
    let ground = Ground::start().await;
    let upload = ground.server.lonely_ticket().await;
    let reason = "%F0%9F%A6%80".repeat(1000);
    let cancel = Ask::new("DELETE", &format!("{}?reason={reason}", upload.url));
    let (mut peers, mut all) = (Vec::new(), 0);
    for _ in 0..12 {
        let mut peer = ground.peer(0).await;
        let (served, left) = peer.served(&cancel, 95).await;
        all += served;
        peers.push((peer, left));
    }
    // 4 MiB of them, each of 4 KiB.
    assert!((900..1100).contains(&all), "{all} answers are untaken");
    let shown = upload.shown().await;
    assert_eq!(shown["state"], "cancelled");
}
