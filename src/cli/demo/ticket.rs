//! The web app's secret for each of its tickets.
//!
//! A ticket's id is not known before its secret must be named, so the secret hangs on the ticket's
//! metadata, which the server echoes: a nonce, and the name the file is expected to have. Only who
//! has the app's key can make the one from the other, so nothing need be kept for each ticket, and
//! a restart forgets none.

use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::disk;
use crate::config::Secret;
use crate::core::digest::hex;
use crate::core::name;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 16;

/// The web app's key.
pub(super) struct AppKey(Vec<u8>);

/// What a ticket is asked for with.
pub(super) struct Pledge {
    /// A nonce in hexadecimal digits, a colon, the expected name.
    pub(super) metadata: String,
    /// Its secret.
    pub(super) secret: Secret,
}

impl AppKey {
    /// The key in this file, made at the first start.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(key) = disk::read(path)?
            && key.len() == KEY_BYTES
        {
            return Ok(Self(key));
        }
        let key: [u8; KEY_BYTES] = random()?;
        disk::put(path, &key)?;
        Ok(Self(key.to_vec()))
    }

    /// Metadata and secret for a new ticket.
    pub(super) fn pledge(&self, expected_name: Option<&str>) -> io::Result<Pledge> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let name = expected_name.map(name::harmless).unwrap_or_default();
        let metadata = format!("{}:{name}", hex(&nonce));
        let secret = self.secret(&metadata);
        Ok(Pledge { metadata, secret })
    }

    /// The secret that belongs to this metadata.
    pub(super) fn secret(&self, metadata: &str) -> Secret {
        // The length first, so that no secret says anything about that of a longer metadata.
        let mut hash = Sha256::new();
        hash.update(&self.0);
        hash.update(metadata.len().to_be_bytes());
        hash.update(metadata.as_bytes());
        Secret::new(hex(&hash.finalize()))
    }

    /// Whether this secret belongs to this metadata; takes the same time wherever they differ.
    pub(super) fn vouches(&self, metadata: &str, secret: &str) -> bool {
        self.secret(metadata).expose().as_bytes().ct_eq(secret.as_bytes()).into()
    }
}

/// What the file is to be called: as the client called it, else as the ticket expected.
pub(super) fn file_name(from_browser: &str, metadata: &str) -> String {
    let expected = metadata.split_once(':').map_or("", |(_, name)| name);
    let unnamed = from_browser.is_empty() || from_browser == name::UNNAMED;
    name::harmless(if unnamed { expected } else { from_browser })
}

fn random<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_survive_a_restart_and_fit_one_ticket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app-key");
        let pledge = AppKey::open(&path).unwrap().pledge(Some("film.mp4")).unwrap();
        let again = AppKey::open(&path).unwrap();
        let secret = pledge.secret.expose();
        assert!(again.vouches(&pledge.metadata, secret));
        assert!(!again.vouches(&format!("{}x", pledge.metadata), secret));
        assert!(!again.vouches(&pledge.metadata, ""));
        assert!(!again.vouches(&pledge.metadata, &secret[1..]));
        assert!(!again.vouches("", secret));
        let other = AppKey::open(&dir.path().join("other")).unwrap();
        assert!(!other.vouches(&pledge.metadata, secret));
        assert_ne!(again.pledge(None).unwrap().metadata, again.pledge(None).unwrap().metadata);
    }

    #[test]
    fn names() {
        let check = |from: &str, metadata: &str, expected: &str| {
            assert_eq!(file_name(from, metadata), expected, "{from:?} {metadata:?}");
        };
        check("film.mp4", "00:other", "film.mp4");
        check("unnamed", "00:film:1.mp4", "film:1.mp4");
        check("", "00:", "unnamed");
        check("unnamed", "", "unnamed");
        check("../../x\0<script>", "00:", "x<script>");
    }
}
