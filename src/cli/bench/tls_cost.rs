//! What taking TLS off a GiB costs this machine's processor, by itself: the part of a server's cost
//! that no server can save.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::super::trust::{self, Trust};

/// Of each try. The quickest of several counts: others use the processor too.
const BYTES: usize = 4 << 20;
const TRIES: usize = 10;
/// A piece: sixteen records of the largest size.
const PIECE: usize = 256 << 10;

/// Seconds for each GiB, measured in memory with the parts that the server uses.
pub(super) fn seconds_per_gib() -> Result<f64, String> {
    let mut best = Duration::MAX;
    for _ in 0..TRIES {
        best = best.min(measure(BYTES)?);
    }
    Ok(best.as_secs_f64() * f64::from(1 << 30) / BYTES as f64)
}

fn measure(bytes: usize) -> Result<Duration, String> {
    let (mut client, mut server) = pair()?;
    let content = vec![7; PIECE];
    let mut wire = Vec::new();
    let mut plain = vec![0; PIECE];
    let mut took = Duration::ZERO;
    let mut left = bytes;
    while left > 0 {
        wire.clear();
        client.writer().write_all(&content).map_err(|error| error.to_string())?;
        while client.wants_write() {
            client.write_tls(&mut wire).map_err(|error| error.to_string())?;
        }
        let began = Instant::now();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).map_err(|error| error.to_string())?;
            let state = server.process_new_packets().map_err(|error| error.to_string())?;
            let there = state.plaintext_bytes_to_read();
            let plain = plain.get_mut(..there).ok_or("a record is too large")?;
            server.reader().read_exact(plain).map_err(|error| error.to_string())?;
        }
        took += began.elapsed();
        left = left.saturating_sub(PIECE);
    }
    Ok(took)
}

/// Two ends that have shaken hands.
fn pair() -> Result<(ClientConnection, ServerConnection), String> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
    let made = made.map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)
        })
        .map_err(|error| error.to_string())?;
    let name = ServerName::try_from("localhost").map_err(|error| error.to_string())?;
    let trust = trust::config(Trust::Anybody, b"http/1.1")?;
    let mut client = ClientConnection::new(trust, name).map_err(|error| error.to_string())?;
    client.set_buffer_limit(Some(2 * PIECE));
    let mut server = ServerConnection::new(Arc::new(config)).map_err(|error| error.to_string())?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).map_err(|error| error.to_string())?;
        server.read_tls(&mut &wire[..]).map_err(|error| error.to_string())?;
        server.process_new_packets().map_err(|error| error.to_string())?;
        wire.clear();
        server.write_tls(&mut wire).map_err(|error| error.to_string())?;
        client.read_tls(&mut &wire[..]).map_err(|error| error.to_string())?;
        client.process_new_packets().map_err(|error| error.to_string())?;
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
