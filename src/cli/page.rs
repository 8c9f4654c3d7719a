//! `incoming page`: where the operator's page of the server on this machine is, with the token that it asks for.
//!
//! The token is in the fragment of the address, which browsers send to no server. Nothing is asked of the server.

use std::io::Write as _;
use std::path::PathBuf;

use super::backend::segment;
use super::{CliError, credentials, local_server, print, server_settings, terminal};
use crate::client::{Endpoint, Transport};
use crate::config::Secret;

/// Where the server is, and which token the page is to have.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct PageArgs {
    /// Backend listener: http(s)://host:port or unix:/path [default: backend_listen of the settings; if that is not
    /// set, /run/incoming/backend.sock if a server listens there]
    #[arg(long, value_name = "ADDRESS")]
    pub backend: Option<String>,
    /// Token for the page. Other local users can see flags: prefer --token-file or INCOMING_OPERATOR_TOKEN
    /// [default: operator_token of the settings, else backend_token]
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<Secret>,
    /// File with the token, or - for standard input
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
    /// Configuration file (TOML) of the server [default: the file named by INCOMING_CONFIG, if any]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// Prints the address. For a unix socket it is that of the forwarding which standard error shows.
///
/// # Errors
/// The configuration or the address is wrong, or the page is switched off.
pub fn page(args: PageArgs) -> Result<(), CliError> {
    let (layers, settings) = server_settings(args.config)?;
    let endpoint = local_server::backend(args.backend.as_deref(), &layers, &settings)?;
    let token = credentials::secret(args.token.as_ref(), "token-file", args.token_file.as_deref())?;
    let token = token.or(settings.operator_token).or(settings.backend_token);
    if !settings.backend_page {
        return Err(CliError::failed("the page is switched off: backend_page = false"));
    }
    if let Transport::Unix(path) = &endpoint.transport {
        let path = terminal::path(path);
        let text = format!(
            "incoming: a browser cannot connect to {path}; run this where the browser is, and leave it running:\n\
             incoming:   ssh -N -L {FORWARDED}:{path} SERVER\n"
        );
        // Standard error may be gone.
        let _ = terminal::stderr().write_all(text.as_bytes());
    }
    print(&format!("{}\n", address(&endpoint, token.as_ref())))
}

/// The page's address in a browser on this machine.
fn address(endpoint: &Endpoint, token: Option<&Secret>) -> String {
    let origin = match &endpoint.transport {
        Transport::Unix(_) => format!("http://localhost:{FORWARDED}"),
        Transport::Tcp { .. } => endpoint.to_string(),
    };
    let fragment = token.map(|token| format!("#token={}", segment(token.expose())));
    format!("{origin}/incoming/backend/{}", fragment.unwrap_or_default())
}

/// The port on the browser's machine that a unix socket is forwarded to: that of a backend listener.
const FORWARDED: u16 = 4001;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_17_addresses_of_the_page() {
        let check = |listener: &str, token: Option<&str>, expected: &str| {
            let endpoint = Endpoint::of_listener(listener).unwrap();
            assert_eq!(address(&endpoint, token.map(Secret::new).as_ref()), expected);
        };
        check("127.0.0.1:4001", None, "http://127.0.0.1:4001/incoming/backend/");
        check(
            "https://up.example:4001",
            Some("a+b/c=&#%"),
            "https://up.example:4001/incoming/backend/#token=a%2Bb%2Fc%3D%26%23%25",
        );
        check("unix:/b.sock", Some("t"), "http://localhost:4001/incoming/backend/#token=t");
    }
}
