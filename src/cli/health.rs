//! `incoming health`: does a running server live? For health checks that have no curl, in containers above all.

use std::path::PathBuf;
use std::time::Duration;

use super::backend::BackendClient;
use super::{CliError, Credentials, local_server, print, runtime, server_settings};

/// A check that waits longer says nothing that a restart could fix sooner.
const DEADLINE: Duration = Duration::from_secs(5);

/// An answer has some hundred characters; of one that is longer, and not this server's, the beginning is shown.
const MOST_SHOWN: usize = 4096;

/// Where the server is, and what is asked.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct HealthArgs {
    /// Backend listener: http(s)://host:port or unix:/path [default: backend_listen of the settings; if that is not
    /// set, /run/incoming/backend.sock if a server listens there]
    #[arg(long, value_name = "ADDRESS")]
    pub backend: Option<String>,
    /// Configuration file (TOML) of the server [default: the file named by INCOMING_CONFIG, if any]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Check whether it accepts uploads now (/readyz), not only whether it runs (/healthz)
    #[arg(long)]
    pub ready: bool,
    /// Certificates.
    #[command(flatten)]
    pub tls: Credentials,
}

/// Asks, prints the answer, and says by its exit code how it is: 0 well, 1 not.
///
/// # Errors
/// The server does not answer within 5 s, or is not well; the configuration or the address is wrong.
pub fn health(args: HealthArgs) -> Result<(), CliError> {
    let (layers, settings) = server_settings(args.config)?;
    let endpoint = local_server::backend(args.backend.as_deref(), &layers, &settings)?;
    let client = BackendClient::new(endpoint, None, &args.tls)?;
    let runtime = runtime()?;
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let asked = runtime.block_on(async { tokio::time::timeout(DEADLINE, client.text(path)).await });
    match asked {
        Ok(Ok(answer)) => print(&answer.chars().take(MOST_SHOWN).collect::<String>()),
        Ok(Err(error)) => {
            let hint = error.hint(args.backend.as_deref());
            Err(CliError::failed(format!("{error}{hint}")))
        }
        Err(_) => Err(CliError::Failed(format!("{path}: no answer within {DEADLINE:?}"))),
    }
}
