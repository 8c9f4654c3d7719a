//! Protects uploads that three clients send at once, each in a dialect of its own, with connections that break: bytes
//! never mix, what was acknowledged stays as it was, and an offset is neither behind what was acknowledged nor ahead of
//! what was sent.

use crate::backend::Backend;
use crate::client::{Ask, Conn, Reply};
use crate::content::{Random, content};
use crate::in_time;
use crate::server::{Running, Upload};
use std::cell::RefCell;

const LENGTH: usize = 1 << 20;
/// Largest body.
const MOST: u64 = 64 << 10;
/// What is written to a socket at once; then the other clients have their turn.
const PIECE: usize = 8 << 10;
const SEEDS: u64 = 3;

/// The dialects, and the lowest bits of the bytes that each client sends: the others say where a byte belongs.
#[derive(Clone, Copy)]
enum Client {
    Native = 1,
    Tus = 2,
    Resumable = 3,
}

/// What all clients know together.
struct Known {
    base: Vec<u8>,
    /// Who has sent a byte, as bits.
    sent: Vec<u8>,
    acknowledged: Vec<bool>,
    /// Whose a byte is: it was acknowledged when nobody else had sent one for its place.
    owner: Vec<u8>,
    /// Bytes from 0 on without a gap, acknowledged and sent.
    floor: usize,
    ceiling: usize,
    /// Bodies that were acknowledged, by client.
    successes: [usize; 4],
}

impl Known {
    fn new(seed: u64) -> Self {
        let base = content(seed, LENGTH).iter().map(|byte| byte & !3).collect();
        let (sent, acknowledged, owner) = (vec![0; LENGTH], vec![false; LENGTH], vec![0; LENGTH]);
        Self { base, sent, acknowledged, owner, floor: 0, ceiling: 0, successes: [0; 4] }
    }

    /// The bytes that a client is about to send.
    fn sends(&mut self, client: Client, start: usize, end: usize) -> Vec<u8> {
        self.sent[start..end].iter_mut().for_each(|who| *who |= 1 << client as u8);
        self.ceiling += self.sent[self.ceiling..].iter().take_while(|&&who| who != 0).count();
        self.base[start..end].iter().map(|byte| byte | client as u8).collect()
    }

    fn acknowledges(&mut self, start: usize, end: usize) {
        self.acknowledged[start..end].fill(true);
        self.floor += self.acknowledged[self.floor..].iter().take_while(|&&is| is).count();
    }

    /// A body was acknowledged to its sender.
    fn succeeds(&mut self, client: Client, start: usize, end: usize) {
        self.successes[client as usize] += 1;
        self.acknowledges(start, end);
        for at in start..end {
            if self.sent[at] == 1 << client as u8 {
                self.owner[at] = client as u8;
            }
        }
    }

    /// An offset that was told; `floor` is that of the moment at which the request was made.
    #[track_caller]
    fn is_told(&mut self, offset: usize, floor: usize) {
        assert!(offset >= floor, "offset {offset}: {floor} bytes were acknowledged");
        assert!(offset <= self.ceiling, "offset {offset}: only {} bytes were sent", self.ceiling);
        self.acknowledges(0, offset);
    }

    fn judge(&self, file: &[u8]) {
        assert_eq!(file.len(), LENGTH);
        for (at, byte) in file.iter().enumerate() {
            let client = byte & 3;
            assert_eq!(byte & !3, self.base[at], "byte {at} belongs elsewhere");
            assert!(self.sent[at] & (1 << client) != 0, "byte {at} was not sent by {client}");
            let owner = self.owner[at];
            assert!(owner == 0 || owner == client, "byte {at}: {owner} was acknowledged");
        }
    }
}

/// What the tests of all dialects need.
struct Rig<'a> {
    server: &'a Running,
    upload: Upload<'a>,
    known: RefCell<Known>,
}

impl Rig<'_> {
    /// Sends a request with bytes in pieces. `None` where the client broke off.
    async fn send(&self, ask: Ask, body: &[u8], cut: bool) -> Option<Reply> {
        let ask = ask.header("Content-Length", &body.len().to_string());
        let mut conn = Conn::open(&self.server.public).await;
        conn.send(&ask.head()).await.unwrap();
        let sent = if cut { body.len() / 2 } else { body.len() };
        for piece in body[..sent].chunks(PIECE) {
            if conn.send(piece).await.is_err() {
                break; // refused, and the answer is on its way
            }
            tokio::task::yield_now().await;
        }
        if cut {
            return None;
        }
        Some(conn.reply(&ask.method).await.unwrap())
    }

    fn floor(&self) -> usize {
        self.known.borrow().floor
    }

    async fn native(&self, mut random: Random) {
        loop {
            let before = self.known.borrow().acknowledged.clone();
            let status = self.upload.status().await;
            if !matches!(status["state"].as_str().unwrap(), "new" | "uploading") {
                break;
            }
            let mut received = vec![false; LENGTH];
            for range in status["received"].as_array().unwrap() {
                let at = |end: usize| usize::try_from(range[end].as_u64().unwrap()).unwrap();
                received[at(0)..at(1)].fill(true);
            }
            assert!(
                before.iter().zip(&received).all(|(was, is)| is | !was),
                "acknowledged and not received: {status}"
            );
            // Anywhere, or where something is missing.
            let mut start = below(&mut random, LENGTH as u64);
            if random.below(2) == 0 {
                start = (start..LENGTH).chain(0..start).find(|&at| !received[at]).unwrap_or(start);
            }
            let end = LENGTH.min(start + 1 + below(&mut random, MOST));
            let body = self.known.borrow_mut().sends(Client::Native, start, end);
            let mut ask = self.upload.chunk(start as u64, &body, Some(LENGTH as u64));
            ask.body.clear();
            let reply = self.send(ask, &body, random.below(4) == 0).await;
            match reply.map(|reply| reply.status) {
                Some(200) => self.known.borrow_mut().succeeds(Client::Native, start, end),
                Some(409) | None => {}
                Some(status) => panic!("native: {status}"),
            }
        }
    }

    /// A client that asks for the offset and appends there. `ask` makes its requests.
    async fn append(&self, client: Client, mut random: Random, ask: impl Fn(&str) -> Ask) {
        loop {
            let floor = self.floor();
            let head = self.server.front(&ask("HEAD")).await;
            assert!(matches!(head.status, 200 | 204), "{head:?}");
            let start = offset(&head).unwrap();
            self.known.borrow_mut().is_told(start, floor);
            if start == LENGTH {
                break;
            }
            let end = LENGTH.min(start + 1 + below(&mut random, MOST));
            let body = self.known.borrow_mut().sends(client, start, end);
            let patch = ask("PATCH").header("Upload-Offset", &start.to_string());
            let floor = self.floor();
            let Some(reply) = self.send(patch, &body, random.below(4) == 0).await else { continue };
            match reply.status {
                200 | 204 => {
                    let mut known = self.known.borrow_mut();
                    known.is_told(offset(&reply).unwrap(), floor.max(end));
                    known.succeeds(client, start, end);
                }
                // Another client appended, or took over.
                400 | 409 => {
                    let told = offset(&reply).unwrap_or_else(|| panic!("no offset: {reply:?}"));
                    self.known.borrow_mut().is_told(told, floor);
                }
                _ => panic!("{reply:?}"),
            }
        }
    }
}

fn below(random: &mut Random, end: u64) -> usize {
    usize::try_from(random.below(end)).unwrap()
}

fn offset(reply: &Reply) -> Option<usize> {
    reply.header("upload-offset").map(|text| text.parse().unwrap())
}

#[tokio::test]
async fn issue_15_three_dialects_at_once_on_one_ticket() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let mut successes = [0; 4];
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let parameters = [("length", &*LENGTH.to_string()), ("removeFileWhenFinished", "false")];
        let upload = server.ticket_with(&backend.url(), &parameters).await;
        let tus = format!("/incoming/frontend/tus/{}", upload.id);
        let resumable = format!("/incoming/frontend/resumable/{}", upload.id);
        let rig = Rig { server: &server, upload, known: RefCell::new(Known::new(seed)) };
        let random = |client| Random::new(seed * 10 + client as u64);
        let all = async {
            tokio::join!(
                rig.native(random(Client::Native)),
                rig.append(Client::Tus, random(Client::Tus), |method| {
                    let ask = Ask::new(method, &tus).header("Tus-Resumable", "1.0.0");
                    ask.header("Content-Type", "application/offset+octet-stream")
                }),
                rig.append(Client::Resumable, random(Client::Resumable), |method| {
                    let ask = Ask::new(method, &resumable);
                    if method == "HEAD" {
                        return ask;
                    }
                    ask.header("Content-Type", "application/partial-upload")
                        .header("Upload-Complete", "?0")
                }),
            )
        };
        in_time("three clients", all).await;
        rig.upload.reaches("finished").await;
        let known = rig.known.into_inner();
        let owned = known.owner.iter().filter(|&&owner| owner != 0).count();
        assert!(owned > LENGTH / 10, "too little of the file is judged: {owned} bytes");
        known.judge(&std::fs::read(rig.upload.file()).unwrap());
        for (sum, more) in successes.iter_mut().zip(known.successes) {
            *sum += more;
        }
        assert_eq!(backend.calls_for(&rig.upload.id, 1).await.len(), 1);
    }
    println!("bodies acknowledged: {successes:?}");
    assert!(successes[1..].iter().all(|&count| count >= 10), "{successes:?}");
}
