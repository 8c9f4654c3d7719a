//! Protects the server's memory from who asks over HTTP/2 and takes no answer: a hundred times on each connection, with
//! no window for a single byte of a body.

use crate::client::{Ask, Place};
use crate::server::Running;
use crate::tls::{Authority, certify, connect, files, handshake};
use crate::{in_time, until};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use hyper::Request;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

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

    /// A peer that asks and never reads. It knows of no bound of the server's.
    async fn deaf_peer(&self) -> TlsStream<TcpStream> {
        let Place::Tcp(address) = self.server.public else { panic!("TLS is tested over TCP") };
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        let mut peer = handshake(stream, self.authority.client(&["h2"], None)).await.unwrap();
        peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        // SETTINGS without any.
        peer.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
        peer
    }
}

/// The frame HEADERS of a request without a body. Source: RFC 9113, section 6.2; RFC 7541, section 6.2.2.
fn headers(stream: u32, ask: &Ask) -> Vec<u8> {
    let mut block = Vec::new();
    let fields = [
        (":method", &*ask.method),
        (":scheme", "https"),
        (":authority", "server.test"),
        (":path", &*ask.target),
    ];
    for (name, value) in fields.into_iter().chain([("tus-resumable", "1.0.0")]) {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    let length = u32::try_from(block.len()).unwrap().to_be_bytes();
    // END_STREAM and END_HEADERS.
    [&length[1..], &[1, 5], &stream.to_be_bytes(), &block].concat()
}

/// An HTTP/2 connection whose answers have heads, and bodies as far as its window lets them.
struct Peer {
    sender: SendRequest<Bytes>,
    conn: JoinHandle<()>,
}

impl Peer {
    async fn ask(&mut self, ask: &Ask) -> (u16, h2::RecvStream) {
        let request = request(ask);
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

fn request(ask: &Ask) -> Request<()> {
    let uri = format!("https://server.test{}", ask.target);
    let mut request = Request::builder().method(&*ask.method).uri(uri);
    for (name, value) in &ask.headers {
        request = request.header(&**name, &**value);
    }
    request.body(()).unwrap()
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

/// What a tus client said of its file comes back in each `HEAD`, and nothing holds a head back on HTTP/2.
#[tokio::test]
async fn issue_15_heads_that_are_long_are_counted() {
    let ground = Ground::start().await;
    let upload = ground.server.lonely_ticket().await;
    let url = format!("/incoming/frontend/tus/{}", upload.id);
    let ask = |method: &str| Ask::new(method, &url).header("Tus-Resumable", "1.0.0");
    let mut reader = ground.peer(1 << 20).await;
    let metadata = format!("k {}", "A".repeat(16_380));
    let create = ask("POST").header("Upload-Length", "10").header("Upload-Metadata", &metadata);
    assert_eq!(reader.ask(&create).await.0, 201);
    // Those that are read at once cost nothing for long.
    let head = ask("HEAD");
    for _ in 0..500 {
        assert_eq!(reader.ask(&head).await.0, 200);
    }
    let mut peers = Vec::new();
    for _ in 0..6 {
        peers.push(ground.deaf_peer().await);
    }
    // What fills the kernels' buffers is followed by what the server has to keep.
    let mut stream = 1;
    let refused = async {
        loop {
            match reader.ask(&head).await.0 {
                200 => {}
                503 => break,
                other => panic!("{other}"),
            }
            let frames: Vec<u8> = (0..30).flat_map(|n| headers(stream + 2 * n, &head)).collect();
            stream += 60;
            for peer in &mut peers {
                peer.write_all(&frames).await.unwrap();
            }
        }
    };
    in_time("a HEAD that is refused", refused).await;
    let other = ground.server.lonely_ticket().await;
    assert_eq!(reader.ask(&Ask::new("GET", &other.url)).await.0, 200);
    drop(peers);
    let reader = tokio::sync::Mutex::new(reader);
    until("what was untaken is free", async || {
        (reader.lock().await.ask(&head).await.0 == 200).then_some(())
    })
    .await;
}
