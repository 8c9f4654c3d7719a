//! A line that takes its time: a TCP proxy on loopback that holds every byte back for half the round
//! trip, and lets only so many pass in a second.
//!
//! It stands for the line's delay and rate, not for TCP's own behaviour on it: each side's
//! connection ends here, so what is seen is what the protocol above TCP makes of the delay.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::BenchError;
use super::plan::DelayPlan;
use crate::client::{Endpoint, Transport};

/// Read at a time: a few milliseconds of a fast line.
const PIECE: usize = 64 << 10;
/// Timers come this much late; the line makes up for it, or it would be slower than it says.
const LATE: Duration = Duration::from_millis(5);
/// Pieces under way at most, for a line without a rate.
const PIECES: usize = 1024;

/// The line; closed when dropped.
pub(super) struct DelayProxy {
    endpoint: Endpoint,
    _task: AbortOnDropHandle<()>,
}

/// One direction of the line, shared by all connections over it.
struct Direction {
    delay: Duration,
    rate: Option<u64>,
    free: Mutex<Instant>,
}

impl DelayProxy {
    /// A line to `to`.
    pub(super) async fn start(plan: &DelayPlan, to: &Endpoint) -> Result<Self, BenchError> {
        let Transport::Tcp { host, port } = to.transport.clone() else {
            return Err(BenchError::DelayUnix(to.clone()));
        };
        let failed = BenchError::io("cannot start the delay proxy");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(&failed)?;
        let own = listener.local_addr().map_err(&failed)?.port();
        let transport = Transport::Tcp { host: Ipv4Addr::LOCALHOST.to_string(), port: own };
        let direction = || Arc::new(Direction::new(plan));
        let task = tokio::spawn(accept(listener, (host, port), [direction(), direction()]));
        let _task = AbortOnDropHandle::new(task);
        Ok(Self { endpoint: Endpoint { tls: to.tls, transport }, _task })
    }

    /// Its near end.
    pub(super) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }
}

impl Direction {
    fn new(plan: &DelayPlan) -> Self {
        Self { delay: plan.rtt / 2, rate: plan.rate, free: Mutex::new(Instant::now()) }
    }

    /// When so many bytes have left, if they queue up now.
    fn pass(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let Some(rate) = self.rate else { return now };
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let took = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let earliest = now.checked_sub(LATE).unwrap_or(now);
        *free = (*free).max(earliest) + took;
        *free
    }

    /// Carries bytes until either side ends.
    async fn carry(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        let (put, mut take) = mpsc::channel::<(Instant, Bytes)>(PIECES);
        let enter = async {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(PIECE);
                let read = (&mut from).take(PIECE as u64).read_buf(&mut buffer).await;
                let Ok(1..) = read else { break };
                let piece = buffer.split().freeze();
                let passed = self.pass(piece.len());
                sleep_until(passed).await;
                if put.send((passed + self.delay, piece)).await.is_err() {
                    break;
                }
            }
            drop(put);
        };
        let leave = async {
            while let Some((due, piece)) = take.recv().await {
                sleep_until(due).await;
                if to.write_all(&piece).await.is_err() {
                    break;
                }
            }
            take.close();
            // The other side may be gone already.
            let _ = to.shutdown().await;
        };
        tokio::join!(enter, leave);
    }
}

async fn accept(listener: TcpListener, to: (String, u16), [out, back]: [Arc<Direction>; 2]) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((near, _)) = listener.accept().await else { return };
        let (to, out, back) = (to.clone(), Arc::clone(&out), Arc::clone(&back));
        connections.spawn(async move {
            let Ok(far) = TcpStream::connect((to.0.as_str(), to.1)).await else { return };
            // Where it fails, small packets are slow: no reason to end.
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::join!(out.carry(near_in, far_out), back.carry(far_in, near_out));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn holds_back_and_paces() {
        let plan = DelayPlan { rtt: Duration::from_millis(100), rate: Some(1_000_000) };
        let lane = Direction::new(&plan);
        let began = Instant::now();
        let sent = vec![7; 200_000];
        let (mut near, far) = tokio::io::duplex(1 << 20);
        lane.carry(&sent[..], far).await;
        let mut got = Vec::new();
        near.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, sent);
        let took = began.elapsed().as_millis();
        assert!((250..260).contains(&took), "{took} ms for 200 kB at 1 MB/s and 50 ms");
    }
}
