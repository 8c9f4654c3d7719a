//! What decryption of a GiB costs this machine's CPU, in memory and with the parts that the server uses: the share of a
//! server's cost that no server can save.
//!
//! `cargo run --release --example tls_cost`

// It gives up where anything is not as expected.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

/// Of each try. The quickest of several counts: others use the processor too.
const BYTES: usize = 4 << 20;
const TRIES: usize = 10;
/// A piece: sixteen records of the largest size.
const PIECE: usize = 256 << 10;

fn main() {
    let best = (0..TRIES).map(|_| measure(BYTES)).min().unwrap();
    println!("{:.3} s/GiB", best.as_secs_f64() * f64::from(1 << 30) / BYTES as f64);
}

fn measure(bytes: usize) -> Duration {
    let (mut client, mut server) = pair();
    let content = vec![7; PIECE];
    let mut wire = Vec::new();
    let mut plain = vec![0; PIECE];
    let mut took = Duration::ZERO;
    let mut left = bytes;
    while left > 0 {
        wire.clear();
        client.writer().write_all(&content).unwrap();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let began = Instant::now();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            let state = server.process_new_packets().unwrap();
            let there = state.plaintext_bytes_to_read();
            let plain = plain.get_mut(..there).unwrap();
            server.reader().read_exact(plain).unwrap();
        }
        took += began.elapsed();
        left = left.saturating_sub(PIECE);
    }
    took
}

/// Two ends that have shaken hands.
fn pair() -> (ClientConnection, ServerConnection) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        })
        .unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    client.set_buffer_limit(Some(2 * PIECE));
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut &wire[..]).unwrap();
        server.process_new_packets().unwrap();
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut &wire[..]).unwrap();
        client.process_new_packets().unwrap();
    }
    (client, server)
}
