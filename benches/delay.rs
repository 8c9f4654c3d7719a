//! A slow network in front of a server: a TCP proxy that delays every byte by half the round-trip time and passes only
//! so many bytes a second each way.
//!
//! It simulates the delay and the rate of a network, not TCP's own behaviour on it: each side's connection ends here,
//! so what is measured is what the protocol above TCP makes of the delay.
//!
//! `cargo run --release --example delay -- --listen 127.0.0.1:4600 --to 127.0.0.1:4000 --rtt 100ms --mbit 200`

// It gives up where anything is not as expected.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use clap::Parser;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Read at a time: a few milliseconds of a fast network.
const PIECE: usize = 64 << 10;
/// Timers fire this much late; the rate makes up for it, or it would be lower than it says.
const LATE: Duration = Duration::from_millis(5);
/// Pieces under way at most, where there is no rate.
const PIECES: usize = 1024;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    listen: SocketAddr,
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// Round-trip time, such as 100ms.
    #[arg(long, value_parser = humantime::parse_duration)]
    rtt: Duration,
    /// Megabits per second, each way [default: no limit].
    #[arg(long)]
    mbit: Option<u32>,
}

/// One direction of the network, shared by all connections over it.
struct Direction {
    delay: Duration,
    /// Bytes a second.
    rate: Option<f64>,
    free: Mutex<Instant>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args = Args::parse();
    let listener = TcpListener::bind(args.listen).await.unwrap();
    let direction = || {
        let rate = args.mbit.map(|mbit| f64::from(mbit) * 1e6 / 8.0);
        Arc::new(Direction { delay: args.rtt / 2, rate, free: Mutex::new(Instant::now()) })
    };
    let (out, back) = (direction(), direction());
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let (out, back) = (Arc::clone(&out), Arc::clone(&back));
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(args.to).await else { return };
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::join!(out.carry(near_in, far_out), back.carry(far_in, near_out));
        });
    }
}

impl Direction {
    /// When so many bytes have left, if they queue up now.
    fn pass(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let Some(rate) = self.rate else { return now };
        let mut free = self.free.lock().unwrap();
        let took = Duration::from_secs_f64(bytes as f64 / rate);
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
