//! Which TLS certificates are taken, and which one is shown.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;

use super::endpoint::Endpoint;
use crate::tls::{
    self, CertificateFiles, Content, LoadError, client_config, load_pair, load_roots, machine_roots,
};

/// TLS sessions remembered: one server, a few connections.
const SESSIONS: usize = 8;

/// Whom a command trusts, and who it is, as flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Credentials {
    /// Accept any TLS certificate
    #[arg(long, global = true)]
    pub insecure: bool,
    /// CAs (PEM) whose TLS certificates are accepted [default: the machine's trusted roots]
    #[arg(long, value_name = "PATH", global = true, conflicts_with = "insecure")]
    pub ca: Option<PathBuf>,
    /// Client certificate (PEM), for servers that require one
    #[arg(long, value_name = "PATH", global = true, requires = "key")]
    pub cert: Option<PathBuf>,
    /// Private key (PEM) that belongs to --cert
    #[arg(long, value_name = "PATH", global = true, requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Which servers are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Those that the machine's trusted roots vouch for.
    Roots,
    /// All: encrypted, but to whom is not known.
    Anybody,
}

impl Credentials {
    /// An error where certificates are named and none of these listeners speaks TLS: whoever names one believes that it
    /// protects what is sent.
    pub(super) fn of_use<'a>(
        &self,
        endpoints: impl IntoIterator<Item = &'a Endpoint>,
    ) -> Result<(), String> {
        let flag = match (&self.ca, &self.cert) {
            (Some(path), _) => format!("--ca {}", path.display()),
            (None, Some(path)) => format!("--cert {}", path.display()),
            (None, None) => return Ok(()),
        };
        let mut plain = Vec::new();
        for endpoint in endpoints {
            if endpoint.tls {
                return Ok(());
            }
            plain.push(endpoint.to_string());
        }
        Err(format!(
            "{flag} has no effect: {} does not use TLS; did you mean https://?",
            plain.join(" and ")
        ))
    }

    /// The TLS set-up for one protocol. Blocks on reading certificates; the error names the flag.
    pub(super) fn config(&self, protocol: &[u8]) -> Result<Arc<ClientConfig>, String> {
        let trust = match (&self.ca, self.insecure) {
            (Some(path), _) => {
                tls::Trust::Roots(load_roots(path).map_err(|error| format!("--ca {error}"))?)
            }
            (None, true) => tls::Trust::Any,
            (None, false) => tls::Trust::Roots(
                machine_roots()
                    .map_err(|error| format!("{error}; --insecure accepts any certificate"))?,
            ),
        };
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let files = CertificateFiles { cert: cert.clone(), key: key.clone() };
                Some(load_pair(&files).map_err(|errors| named(&errors))?)
            }
            _ => None,
        };
        client_config(trust, identity, protocol, SESSIONS).map_err(|error| error.to_string())
    }
}

/// The TLS set-up for one protocol (as ALPN names it). Blocks on reading the roots.
pub(super) fn config(trust: Trust, protocol: &[u8]) -> Result<Arc<ClientConfig>, String> {
    let credentials = Credentials { insecure: trust == Trust::Anybody, ..Credentials::default() };
    credentials.config(protocol)
}

/// The errors of a client certificate's files, each with its flag.
fn named(errors: &[LoadError]) -> String {
    let named = errors.iter().map(|error| match error.content {
        Content::Certificates => format!("--cert {error}"),
        Content::Key => format!("--key {error}"),
    });
    named.collect::<Vec<_>>().join("; ")
}
