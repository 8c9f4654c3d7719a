//! What a peer said first on a connection, and what TLS failed for.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// The first bytes of a peer, as soon as they came, and what TLS failed for: HTTP/2 tells of that in text alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProtocolSniffer(Arc<Mutex<Sniffed>>);

#[derive(Debug, Default)]
struct Sniffed {
    bytes: Vec<u8>,
    fault: Option<rustls::Error>,
}

impl ProtocolSniffer {
    /// Whether it speaks TLS: a record of an alert or a handshake, version 3.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.sniffed().bytes[..], [0x15 | 0x16, 0x03, ..])
    }

    /// Whether it speaks HTTP/1.
    pub(super) fn is_http1(&self) -> bool {
        self.sniffed().bytes.starts_with(b"HTTP/1")
    }

    /// Whether it has said nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.sniffed().bytes.is_empty()
    }

    /// What TLS failed for.
    pub(super) fn fault(&self) -> Option<rustls::Error> {
        self.sniffed().fault.clone()
    }

    pub(super) fn note(&self, fresh: &[u8], polled: &Poll<io::Result<()>>) {
        let mut sniffed = self.sniffed();
        let wanted = SNIFFED_BYTES - sniffed.bytes.len();
        sniffed.bytes.extend(fresh.iter().take(wanted));
        if let Poll::Ready(Err(error)) = polled
            && let Some(fault) = error.get_ref().and_then(|inner| inner.downcast_ref())
        {
            // The first one counts.
            sniffed.fault.get_or_insert_with(|| rustls::Error::clone(fault));
        }
    }

    fn sniffed(&self) -> MutexGuard<'_, Sniffed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes kept of what a peer says first.
const SNIFFED_BYTES: usize = 7;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        let sniff = |pieces: &[&[u8]]| {
            let sniffer = ProtocolSniffer::default();
            pieces.iter().for_each(|piece| sniffer.note(piece, &Poll::Pending));
            (sniffer.is_tls(), sniffer.is_http1(), sniffer.is_empty())
        };
        assert_eq!(sniff(&[]), (false, false, true));
        assert_eq!(sniff(&[b"", b"\x15", b"\x03\x01\x00\x02"]), (true, false, false));
        assert_eq!(sniff(&[b"HT", b"TP/1.1 400 Bad Request\r\n"]), (false, true, false));
        assert_eq!(sniff(&[b"\x00\x00\x12\x04\x00"]), (false, false, false));
    }
}
