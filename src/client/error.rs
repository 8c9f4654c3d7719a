//! Why a request did not do what it should, as one line, and whether trying again can help.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::task::JoinError;

use super::endpoint::Endpoint;
use super::identity::FileError;
use crate::core::escape;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// It may succeed later; the server may have said when.
    #[error("{why}")]
    Transient {
        /// One line for people.
        why: String,
        /// The pause that the server asks for.
        after: Option<Duration>,
    },
    /// It never will.
    #[error("{0}")]
    Permanent(String),
}

impl CallError {
    pub(crate) fn transient(why: impl Into<String>) -> Self {
        Self::Transient { why: why.into(), after: None }
    }
}

/// How an upload ended that did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    /// For good.
    #[error("{0}")]
    Terminal(String),
    /// It can be resumed.
    #[error("{0}")]
    Resumable(String),
    /// The server holds other bytes than the file has; nothing more was sent.
    #[error("the server has other bytes")]
    Changed,
    /// The server holds bytes that it cannot compare, and those of the file may be others; nothing more was sent.
    #[error("the server cannot compare its bytes yet")]
    Incomparable,
}

impl From<String> for TransferError {
    fn from(why: String) -> Self {
        Self::Resumable(why)
    }
}

impl From<CallError> for TransferError {
    fn from(error: CallError) -> Self {
        Self::Resumable(error.to_string())
    }
}

impl From<FileError> for TransferError {
    fn from(error: FileError) -> Self {
        Self::Resumable(error.to_string())
    }
}

impl From<JoinError> for TransferError {
    fn from(task: JoinError) -> Self {
        Self::Resumable(format!("a chunk task panicked: {task}"))
    }
}

/// What it means that a connection to `endpoint` broke, by what its peer said first.
pub(crate) fn lost(
    endpoint: &Endpoint,
    error: &(dyn Error + 'static),
    sniffer: &ProtocolSniffer,
) -> CallError {
    if !endpoint.tls && sniffer.is_tls() {
        return CallError::Permanent(format!("{endpoint} speaks TLS; did you mean https://?"));
    }
    match tls_fault(error).or_else(|| tls_fault(&sniffer.fault()?)) {
        Some(why) => CallError::Permanent(format!("{endpoint} {why}")),
        None => CallError::transient(format!("{endpoint}: connection lost: {}", broke(error))),
    }
}

/// Why a connection broke, in few words: where the system knows, what it says.
pub(super) fn broke(error: &(dyn Error + 'static)) -> String {
    match cause::<io::Error>(error) {
        Some(io) if io.get_ref().is_none() => io.kind().to_string(),
        // TLS has many words for a server that was killed.
        Some(io) if io.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed it during a request".into()
        }
        Some(_) | None => escape::excerpt(&first_cause(error).to_string()),
    }
}

/// The last of an error's chain of causes: what happened first.
fn first_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// What TLS failed for, where no retry cures it.
pub(crate) fn tls_fault(error: &(dyn Error + 'static)) -> Option<String> {
    let inner = match cause::<io::Error>(error) {
        Some(io) => io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        None => cause::<rustls::Error>(error),
    };
    match inner? {
        rustls::Error::InvalidMessage(why) => {
            Some(format!("does not speak TLS: {why:?}; did you mean http://?"))
        }
        rustls::Error::InvalidCertificate(why) => Some(format!(
            "has an untrusted certificate: {} (name its CA with --ca, or accept any certificate \
             with --insecure)",
            // The text has the names on the certificate.
            escape::excerpt(&why.to_string())
        )),
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            Some("requires a client certificate (--cert and --key) signed by its CA".into())
        }
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::CertificateExpired
            | AlertDescription::AccessDenied),
        ) => Some(format!(
            "rejects this client certificate: {alert:?} (--cert and --key must name one signed \
             by its CA)"
        )),
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            Some("does not support this version of HTTP (see --http1 and --http2)".into())
        }
        _ => None,
    }
}

/// The first of its kind among an error and its causes.
pub(super) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

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
    fn what_tls_fails_for_comes_with_what_helps() {
        let check = |error: rustls::Error, says: &str| {
            let within = io::Error::new(io::ErrorKind::InvalidData, error.clone());
            for error in [&error as &(dyn Error + 'static), &within] {
                let line = tls_fault(error);
                assert!(line.as_ref().is_some_and(|line| line.contains(says)), "{line:?}");
            }
        };
        let named = rustls::CertificateError::NotValidForNameContext {
            expected: rustls::pki_types::ServerName::try_from("a").unwrap(),
            presented: vec!["\u{1b}[31m\u{9b}b".into()],
        };
        check(rustls::Error::InvalidCertificate(named), "\\u{1b}[31m\\u{9b}b");
        let unknown = rustls::CertificateError::UnknownIssuer;
        check(rustls::Error::InvalidCertificate(unknown), "(name its CA with --ca");
        check(
            rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol),
            "(see --http1 and --http2)",
        );
        let alert = |alert| rustls::Error::AlertReceived(alert);
        check(
            alert(AlertDescription::CertificateRequired),
            "requires a client certificate (--cert",
        );
        check(
            alert(AlertDescription::UnknownCA),
            "rejects this client certificate: UnknownCA (--cert",
        );
        let passing = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(tls_fault(&passing), None, "a retry may help");
    }

    #[test]
    fn broken_connections_are_told_in_plain_words() {
        let check = |error: io::Error, says: &str| assert_eq!(broke(&error), says);
        check(io::ErrorKind::ConnectionReset.into(), "connection reset");
        let tls = "peer closed connection without sending TLS close_notify: https://docs.rs/rustls";
        check(
            io::Error::new(io::ErrorKind::UnexpectedEof, tls),
            "the server closed it during a request",
        );
        check(io::Error::other("it is odd"), "it is odd");
    }

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
