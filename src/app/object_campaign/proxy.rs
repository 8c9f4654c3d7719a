//! Between a server and its store: passes bytes on, and breaks some of the requests.

use super::Dice;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    pub(super) seed: u64,
    /// One request in so many; 0: none.
    pub(super) one_in: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FaultCounts {
    passed: u64,
    cut: u64,
    answers_lost: u64,
    ghosts: u64,
}

struct State {
    dice: Dice,
    one_in: u64,
    counts: FaultCounts,
    /// Requests that were given up and are still to be delivered.
    pending: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    /// The connection ends before all of the request has come through.
    Cut,
    /// The store acts; the answer does not come.
    AnswerLost,
    /// The connection ends, and the store gets the request some time later.
    Ghost(Duration),
}

pub(super) struct Proxy {
    pub(super) authority: String,
    state: Arc<Mutex<State>>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(super) async fn start(store: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let counts = FaultCounts::default();
        let state = State { dice: Dice::new(1), one_in: 0, counts, pending: 0 };
        let state = Arc::new(Mutex::new(state));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.unwrap();
                connections.spawn(serve(near, store.clone(), Arc::clone(&shared)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { authority, state, _tasks: tasks }
    }

    pub(super) fn set(&self, faults: Faults) {
        let mut state = self.state.lock().unwrap();
        (state.dice, state.one_in) = (Dice::new(faults.seed), faults.one_in);
    }

    pub(super) fn counts(&self) -> FaultCounts {
        self.state.lock().unwrap().counts
    }

    /// Waits until no request is still to be delivered.
    pub(super) async fn drained(&self) {
        while self.state.lock().unwrap().pending > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn fate(state: &Mutex<State>) -> Fate {
    let mut state = state.lock().unwrap();
    let one_in = state.one_in;
    if one_in == 0 || !state.dice.once_in(one_in) {
        state.counts.passed += 1;
        return Fate::Pass;
    }
    match state.dice.below(3) {
        0 => {
            state.counts.cut += 1;
            Fate::Cut
        }
        1 => {
            state.counts.answers_lost += 1;
            Fate::AnswerLost
        }
        _ => {
            state.counts.ghosts += 1;
            state.pending += 1;
            Fate::Ghost(Duration::from_millis(state.dice.below(4000)))
        }
    }
}

/// One connection. Bytes from the server that come after bytes from the store begin a request: there is one at a time.
async fn serve(mut near: TcpStream, store: String, state: Arc<Mutex<State>>) {
    let Ok(mut far) = TcpStream::connect(&store).await else { return };
    let (mut from_near, mut from_far) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut answered = true;
    loop {
        tokio::select! {
            read = near.read(&mut from_near) => {
                let Ok(count @ 1..) = read else { return };
                if answered {
                    answered = false;
                    match fate(&state) {
                        Fate::Pass => {}
                        Fate::Cut => {
                            let _ = far.write_all(&from_near[..count.min(200)]).await;
                            return;
                        }
                        Fate::AnswerLost => {
                            if far.write_all(&from_near[..count]).await.is_err() {
                                return;
                            }
                            return swallow(near, far).await;
                        }
                        Fate::Ghost(after) => {
                            let request = whole(&mut near, from_near[..count].to_vec()).await;
                            drop(near);
                            tokio::time::sleep(after).await;
                            deliver(far, store, &request).await;
                            state.lock().unwrap().pending -= 1;
                            return;
                        }
                    }
                }
                if far.write_all(&from_near[..count]).await.is_err() {
                    return;
                }
            }
            read = from_far_read(&mut far, &mut from_far) => {
                let Some(count) = read else { return };
                answered = true;
                if near.write_all(&from_far[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn from_far_read(far: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    far.read(buffer).await.ok().filter(|count| *count > 0)
}

/// Passes the rest of a request on until the store answers; the answer is dropped.
async fn swallow(mut near: TcpStream, mut far: TcpStream) {
    let (mut request, mut answer) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = near.read(&mut request) => {
                let Ok(count @ 1..) = read else { return };
                if far.write_all(&request[..count]).await.is_err() {
                    return;
                }
            }
            _ = far.read(&mut answer) => return,
        }
    }
}

/// All of a request: its head says how long its body is.
async fn whole(near: &mut TcpStream, mut request: Vec<u8>) -> Vec<u8> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let head = request.windows(4).position(|it| it == b"\r\n\r\n").map(|at| at + 4);
        let wanted = head.map(|head| {
            let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            head + length.and_then(|it| it.trim().parse::<usize>().ok()).unwrap_or(0)
        });
        if wanted.is_some_and(|wanted| request.len() >= wanted) {
            return request;
        }
        match near.read(&mut buffer).await {
            Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
            _ => return request,
        }
    }
}

async fn deliver(far: TcpStream, store: String, request: &[u8]) {
    // The store may have ended the connection meanwhile.
    for far in [Some(far), TcpStream::connect(store).await.ok()] {
        let Some(mut far) = far else { continue };
        if far.write_all(request).await.is_ok()
            && from_far_read(&mut far, &mut vec![0; 64 << 10]).await.is_some()
        {
            return;
        }
    }
}
