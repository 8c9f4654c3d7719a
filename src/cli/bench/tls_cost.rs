//! What taking TLS off a GiB costs this machine's processor, by itself: the part of a server's cost
//! that no server can save.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::BenchError;
use crate::cli::Credentials;

/// Of each try. The quickest of several counts: others use the processor too.
const BYTES: usize = 4 << 20;
const TRIES: usize = 10;
/// A piece: sixteen records of the largest size.
const PIECE: usize = 256 << 10;

/// Seconds for each GiB, measured in memory with the parts that the server uses.
pub(super) fn seconds_per_gib() -> Result<f64, BenchError> {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        best = best.min(measure(BYTES)?);
    }
    Ok(best.as_secs_f64() * f64::from(1 << 30) / BYTES as f64)
}

fn measure(bytes: usize) -> Result<Duration, BenchError> {
    let (mut client, mut server) = pair()?;
    let content = vec![7; PIECE];
    let mut wire = Vec::new();
    let mut plain = vec![0; PIECE];
    let mut took = Duration::ZERO;
    let mut left = bytes;
    while left > 0 {
        wire.clear();
        client.writer().write_all(&content)?;
        while client.wants_write() {
            client.write_tls(&mut wire)?;
        }
        let began = Instant::now();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest)?;
            let state = server.process_new_packets()?;
            let there = state.plaintext_bytes_to_read();
            let plain = plain
                .get_mut(..there)
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            server.reader().read_exact(plain)?;
        }
        took += began.elapsed();
        left = left.saturating_sub(PIECE);
    }
    Ok(took)
}

/// Two ends that have shaken hands.
fn pair() -> Result<(ClientConnection, ServerConnection), BenchError> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let made = made?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        })?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let config = Credentials::of_anyone().config()?;
    let mut client = ClientConnection::new(config, name)?;
    client.set_buffer_limit(Some(2 * PIECE));
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire)?;
        server.read_tls(&mut &wire[..])?;
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire)?;
        client.read_tls(&mut &wire[..])?;
        client.process_new_packets()?;
    }
    Ok((client, server))
}

#[cfg(test)]
mod tests {
    #[test]
    fn takes_some_time() {
        assert!(super::measure(1 << 20).unwrap() > super::Duration::ZERO);
    }
}
