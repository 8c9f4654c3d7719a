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
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
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
    /// Sync each chunk, and a record of it in a file beside.
    #[arg(long)]
    sync: bool,
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
            let chunks = Chunks { files, allocate: args.allocate, sync: args.sync, now: None };
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
    sync: bool,
    now: Option<Chunk>,
}

/// A chunk whose body is on its way.
struct Chunk {
    file: Arc<File>,
    records: Arc<File>,
    offset: u64,
    left: u64,
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

impl Chunks {
    /// Takes what came: heads, and bodies to be written. Tells how much of it was taken (not all,
    /// where a head is cut off) and how many answers are due.
    fn take(&mut self, came: &[u8]) -> (usize, usize) {
        let (mut rest, mut answers) = (came, 0);
        while !rest.is_empty() {
            let Some(chunk) = &mut self.now else {
                let Some(head) = rest.windows(4).position(|end| end == b"\r\n\r\n") else { break };
                self.now = Some(self.head(std::str::from_utf8(&rest[..head]).unwrap()));
                rest = &rest[head + 4..];
                continue;
            };
            let fits = usize::try_from(chunk.left).unwrap().min(rest.len());
            chunk.file.write_all_at(&rest[..fits], chunk.offset).unwrap();
            chunk.offset += fits as u64;
            chunk.left -= fits as u64;
            rest = &rest[fits..];
            if chunk.left == 0 {
                if self.sync {
                    chunk.file.sync_data().unwrap();
                    (&*chunk.records).write_all(&[7; 48]).unwrap();
                    chunk.records.sync_data().unwrap();
                }
                self.now = None;
                answers += 1;
            }
        }
        (came.len() - rest.len(), answers)
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
        let (file, records) = (self.files.get(path), self.files.get(&format!("{path}.records")));
        let chunk = Chunk { file, records, offset: start.parse().unwrap(), left };
        if self.allocate {
            let flags = rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&*chunk.file, flags, chunk.offset, chunk.left).unwrap();
        }
        chunk
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
        let (taken, answers) = chunks.take(&buffer[..filled]);
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
    let mut plain = Vec::with_capacity(2 * size);
    let mut due = 0;
    loop {
        // Records are decrypted where they lie, and collected, since rustls lends them one by one.
        let mut start = 0;
        loop {
            let mut blocked = false;
            let status = session.process_tls_records(&mut buffer[start..filled]);
            let mut discard = status.discard;
            match status.state.unwrap() {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.unwrap();
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
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
        let (taken, answers) = chunks.take(&plain);
        plain.drain(..taken);
        due += answers;
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
