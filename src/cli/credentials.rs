//! Which TLS certificates are accepted, and which one is shown: flags of the commands.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::client::Endpoint;
use crate::core::escape;
use crate::tls::{
    CertificateFiles, Content, LoadError, NoRoots, Trust, client_config, load_pair, load_roots,
    machine_roots,
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

/// Why certificates cannot be used; the message names the flag.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    /// Whoever names certificates believes that they protect what is sent.
    #[error("{flag} has no effect: {with} does not use TLS; did you mean https://?")]
    NoTls { flag: String, with: String },
    #[error("--ca {0}")]
    Roots(LoadError),
    #[error("{0}; --insecure accepts any certificate")]
    NoRoots(#[from] NoRoots),
    #[error("{}", named(.0))]
    Pair(Vec<LoadError>),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

impl Credentials {
    /// Takes any certificate.
    pub(super) fn of_anyone() -> Self {
        Self { insecure: true, ..Self::default() }
    }

    /// An error where certificates are named and none of these listeners speaks TLS.
    pub(super) fn check_use<'a>(
        &self,
        endpoints: impl IntoIterator<Item = &'a Endpoint>,
    ) -> Result<(), CredentialsError> {
        let flag = match (&self.ca, &self.cert) {
            (Some(path), _) => format!("--ca {}", escape::path(path)),
            (None, Some(path)) => format!("--cert {}", escape::path(path)),
            (None, None) => return Ok(()),
        };
        let mut plain = Vec::new();
        for endpoint in endpoints {
            if endpoint.tls {
                return Ok(());
            }
            plain.push(endpoint.to_string());
        }
        Err(CredentialsError::NoTls { flag, with: plain.join(" and ") })
    }

    /// The TLS set-up for connections to `endpoint`, where it has TLS. Blocks on reading certificates.
    pub(super) fn config_for(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Option<Arc<ClientConfig>>, CredentialsError> {
        endpoint.tls.then(|| self.config()).transpose()
    }

    /// The TLS set-up; the connector says which protocols. Blocks on reading certificates.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>, CredentialsError> {
        let trust = match (&self.ca, self.insecure) {
            (Some(path), _) => Trust::Roots(load_roots(path).map_err(CredentialsError::Roots)?),
            (None, true) => Trust::Any,
            (None, false) => Trust::Roots(machine_roots()?),
        };
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let files = CertificateFiles { cert: cert.clone(), key: key.clone() };
                Some(load_pair(&files).map_err(CredentialsError::Pair)?)
            }
            _ => None,
        };
        Ok(client_config(trust, identity, b"http/1.1", SESSIONS)?)
    }
}

/// The errors of a client certificate's files, each with its flag.
fn named(errors: &[LoadError]) -> String {
    let named = errors.iter().map(|error| match error.content {
        Content::Certificates => format!("--cert {error}"),
        Content::Key => format!("--key {error}"),
    });
    named.collect::<Vec<_>>().join("; ")
}
