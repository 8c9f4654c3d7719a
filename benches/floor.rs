//! The floor: what receiving chunks costs at least on a machine, with nothing of a server around it.
//!
//! A thread for each connection receives into one buffer and writes from there with pwrite(2); with
//! `--tls` it decrypts the records where they lie. It understands exactly the requests that
//! `incoming bench --as range` sends (HTTP/1.1, `Content-Length`, `Content-Range`), acknowledges
//! without journal or sync, knows no limit, no time-out and no error but giving up. Not a server:
//! the figure below which none can come.
//!
//! `cargo run --release --example floor -- --listen 127.0.0.1:4500 --dir DIR [--tls] [--allocate]`

// It gives up where anything is not as expected.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clap::Parser;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;

#[derive(Parser)]
struct Args {
    #[arg(long)]
    listen: SocketAddr,
    /// Where the files are put, under the names in the requests' paths.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    tls: bool,
    /// Preallocate each chunk.
    #[arg(long)]
    allocate: bool,
    /// Bytes of a connection's buffer.
    #[arg(long, default_value_t = 256 << 10)]
    buffer: usize,
}

fn main() {
    let args = Arc::new(Args::parse());
    let tls = args.tls.then(config);
    let files = Arc::new(Files { dir: args.dir.clone(), open: Mutex::default() });
    for stream in TcpListener::bind(args.listen).unwrap().incoming() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        let (args, files, tls) = (Arc::clone(&args), Arc::clone(&files), tls.clone());
        std::thread::spawn(move || {
            let chunks = Chunks { files, allocate: args.allocate, now: None };
            match tls {
                Some(tls) => encrypted(stream, tls, chunks, args.buffer),
                None => plain(stream, chunks, args.buffer),
            }
        });
    }
}

struct Files {
    dir: PathBuf,
    open: Mutex<HashMap<String, Arc<File>>>,
}

impl Files {
    fn get(&self, path: &str) -> Arc<File> {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap().to_owned();
        let mut open = self.open.lock().unwrap();
        Arc::clone(open.entry(name).or_insert_with_key(|name| {
            let path = self.dir.join(name);
            let options = OpenOptions::new().create(true).write(true).truncate(false).open(path);
            Arc::new(options.unwrap())
        }))
    }
}

/// The requests of one connection.
struct Chunks {
    files: Arc<Files>,
    allocate: bool,
    now: Option<Chunk>,
}

/// A chunk whose body is on its way.
struct Chunk {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

impl Chunks {
    /// Takes a piece of what came in order: heads, and bodies to be written. Tells how much of it was
    /// taken (not all, where a head is cut off) and how many answers are due.
    fn take(&mut self, slices: &[&[u8]]) -> (usize, usize) {
        let (mut taken, mut answers) = (0, 0);
        let mut body: Vec<IoSlice<'_>> = Vec::with_capacity(slices.len());
        for slice in slices {
            let mut slice = *slice;
            while !slice.is_empty() {
                let Some(chunk) = &mut self.now else {
                    let Some(head) = slice.windows(4).position(|end| end == b"\r\n\r\n") else {
                        return (taken, answers);
                    };
                    self.now = Some(self.head(std::str::from_utf8(&slice[..head]).unwrap()));
                    slice = &slice[head + 4..];
                    taken += head + 4;
                    continue;
                };
                let planned: u64 = body.iter().map(|part| part.len() as u64).sum();
                let fits = usize::try_from(chunk.left - planned).unwrap().min(slice.len());
                body.push(IoSlice::new(&slice[..fits]));
                slice = &slice[fits..];
                taken += fits;
                if planned + fits as u64 == chunk.left {
                    chunk.write(&mut std::mem::take(&mut body));
                    self.now = None;
                    answers += 1;
                }
            }
        }
        if let Some(chunk) = &mut self.now {
            chunk.write(&mut body);
        }
        (taken, answers)
    }

    fn head(&self, head: &str) -> Chunk {
        let path = head.split(' ').nth(1).unwrap();
        let field = |name: &str| {
            let line = head.lines().find(|line| {
                line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
            });
            line.unwrap()[name.len()..].trim().to_owned()
        };
        let left = field("content-length:").parse().unwrap();
        let range = field("content-range:");
        let start = range.trim_start_matches("bytes ").split('-').next().unwrap();
        let chunk = Chunk { file: self.files.get(path), offset: start.parse().unwrap(), left };
        if self.allocate {
            let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&*chunk.file, flags, chunk.offset, chunk.left).unwrap();
        }
        chunk
    }
}

impl Chunk {
    fn write(&mut self, slices: &mut [IoSlice<'_>]) {
        let mut slices = slices;
        while !slices.is_empty() {
            let count = slices.len().min(1024);
            let written = rustix::io::pwritev(&*self.file, &slices[..count], self.offset).unwrap();
            self.offset += written as u64;
            self.left -= written as u64;
            IoSlice::advance_slices(&mut slices, written);
        }
    }
}

fn plain(mut stream: TcpStream, mut chunks: Chunks, size: usize) {
    let mut buffer = vec![0; size];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).unwrap_or(0) {
            0 => return,
            count => filled += count,
        }
        let (taken, answers) = chunks.take(&[&buffer[..filled]]);
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
        for _ in 0..answers {
            stream.write_all(ANSWER).unwrap();
        }
    }
}

fn encrypted(mut stream: TcpStream, tls: Arc<ServerConfig>, mut chunks: Chunks, size: usize) {
    let mut session = UnbufferedServerConnection::new(tls).unwrap();
    let mut buffer = vec![0; size];
    let mut filled = 0;
    let mut outgoing = vec![0; 64 << 10];
    let mut ready = 0;
    // Plain bytes of a head that was cut off.
    let mut kept = Vec::new();
    let mut due = 0;
    loop {
        // Records are decrypted where they lie; what they hold is remembered and written at once.
        let mut start = 0;
        let mut plain = Vec::new();
        loop {
            let base = buffer.as_ptr() as usize;
            let mut blocked = false;
            let status = session.process_tls_records(&mut buffer[start..filled]);
            let mut discard = status.discard;
            match status.state.unwrap() {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.unwrap();
                        discard += record.discard;
                        let at = record.payload.as_ptr() as usize - base;
                        plain.push(at..at + record.payload.len());
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    ready += data.encode(&mut outgoing[ready..]).unwrap();
                }
                ConnectionState::TransmitTlsData(data) => {
                    stream.write_all(&outgoing[..ready]).unwrap();
                    ready = 0;
                    data.done();
                }
                ConnectionState::WriteTraffic(mut traffic) => {
                    for _ in 0..std::mem::take(&mut due) {
                        let length = traffic.encrypt(ANSWER, &mut outgoing).unwrap();
                        stream.write_all(&outgoing[..length]).unwrap();
                    }
                    blocked = true;
                }
                ConnectionState::BlockedHandshake => blocked = true,
                ConnectionState::PeerClosed | ConnectionState::Closed => return,
                other => panic!("{other:?}"),
            }
            start += discard;
            if blocked {
                break;
            }
        }
        if !plain.is_empty() {
            let mut slices: Vec<&[u8]> = plain.into_iter().map(|range| &buffer[range]).collect();
            if !kept.is_empty() {
                kept.extend_from_slice(slices.remove(0));
                slices.insert(0, &kept);
            }
            let there: usize = slices.iter().map(|slice| slice.len()).sum();
            let (taken, answers) = chunks.take(&slices);
            let rest = if taken < there { slices.concat().split_off(taken) } else { Vec::new() };
            drop(slices);
            kept = rest;
            due += answers;
        }
        buffer.copy_within(start..filled, 0);
        filled -= start;
        if due > 0 {
            // Once more around, for a state that lets answers out.
            continue;
        }
        match stream.read(&mut buffer[filled..]).unwrap_or(0) {
            0 => return,
            count => filled += count,
        }
    }
}

fn config() -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.unwrap())
}
