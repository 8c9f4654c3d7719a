//! Which TLS certificates are accepted, and which one is shown: flags of the commands.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;

use super::{CliError, terminal};
use crate::client::Endpoint;
use crate::config::Secret;
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

/// The longest such file: a token is some tens of bytes.
const MOST_BYTES: u64 = 64 << 10;

/// The secret of a flag or of the file that stands in its place; `flag` is the name of the latter, such as `token-file`.
/// Blocks, on standard input where the file is `-`.
///
/// # Errors
/// The file cannot be read, is empty, or holds what is no line of text.
pub(super) fn secret(
    value: Option<&Secret>,
    flag: &str,
    file: Option<&Path>,
) -> Result<Option<Secret>, CliError> {
    let Some(path) = file else { return Ok(value.cloned()) };
    let wrong = |why: String| CliError::Usage(format!("--{flag} {}: {why}", terminal::path(path)));
    let text = read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    match line(&text) {
        Ok(line) => Ok(Some(Secret::new(line))),
        Err(why) => Err(wrong(why.into())),
    }
}

/// The upload URL, which is a secret too: `-` stands for a line on standard input. Blocks there.
///
/// # Errors
/// Standard input cannot be read, or holds no line of text.
pub(super) fn url(given: &str) -> Result<String, CliError> {
    if given != "-" {
        return Ok(given.to_owned());
    }
    let wrong = |why: String| CliError::Usage(format!("--url -: {why}"));
    let text = read(Path::new("-")).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    line(&text).map(str::to_owned).map_err(|why| wrong(why.into()))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut text)?;
        return Ok(text);
    }
    let file = File::open(path)?;
    let found = file.metadata()?;
    let mode = found.mode() & 0o7777;
    if found.is_file() && mode & 0o004 != 0 {
        let shown = terminal::path(path);
        // An error here loses nothing but the advice.
        let _ = io::Write::write_fmt(
            &mut terminal::stderr(),
            format_args!(
                "incoming: warning: {shown}: every user of this machine can read it (mode {mode:04o}): chmod o-r {shown}\n"
            ),
        );
    }
    file.take(MOST_BYTES + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The one line of a file, without its end and without a byte order mark before it.
fn line(text: &[u8]) -> Result<&str, &'static str> {
    if text.len() as u64 > MOST_BYTES {
        return Err("is too long for a secret");
    }
    let text = std::str::from_utf8(text).map_err(|_| "must be text (UTF-8)")?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    match line {
        "" => Err("is empty"),
        line if line.contains(['\n', '\r', '\0']) => Err("must be one line"),
        line => Ok(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_13_a_secret_comes_from_a_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            secret(None, "token-file", Some(&path)).map(Option::unwrap)
        };
        for (text, secret) in
            [("hush\n", "hush"), ("hush\r\n", "hush"), ("\u{FEFF}hush\n", "hush"), (" a b", " a b")]
        {
            assert_eq!(read(text.as_bytes()).unwrap(), Secret::new(secret));
        }
        for (text, why) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"a\nb\n", "must be one line"),
            (b"\xff", "must be text"),
            (&[b'x'; 70_000], "too long"),
        ] {
            let told = read(text).unwrap_err().to_string();
            assert!(told.starts_with("--token-file /") && told.contains(why), "{told}");
            assert!(!told.contains("xx"), "{told}");
        }
        let absent = secret(None, "secret-file", Some(Path::new("/nowhere"))).unwrap_err();
        assert!(absent.to_string().starts_with("--secret-file /nowhere: cannot be read"));
        let flag = Secret::new("flag");
        assert_eq!(secret(Some(&flag), "token-file", None).unwrap(), Some(flag));
        assert_eq!(secret(None, "token-file", None).unwrap(), None);
    }
}
