//! `incoming check-config`: what `serve` would make of the same flags, environment and file.
//!
//! It changes nothing: a storage directory that is absent is not made. Run it as the server's user,
//! since what it can read and write is part of the answer.

use std::io::Write;

use super::{CliError, ServeArgs, print, terminal};
use crate::config::{BACKEND_GUARD, Layers, Settings, StorageDirectory, UntrustedNetworks};

/// Checks everything and prints the settings in force as TOML, the token left out; on standard error what in them is
/// mostly a mistake.
///
/// # Errors
/// The configuration is wrong, or standard output is closed.
pub fn check_config(args: ServeArgs) -> Result<(), CliError> {
    let layers = Layers::gather(args.settings, args.config, std::env::vars_os())?;
    let settings = Settings::check(&layers, StorageDirectory::DryRun)?;
    if let Some(UntrustedNetworks { networks, believed }) = settings.untrusted_networks() {
        // Who does not read it loses nothing but the advice.
        let _ = writeln!(
            terminal::stderr(),
            "incoming: warning: trusted_proxies = {networks} includes untrusted networks: clients can spoof their address \
             with {believed}; list only your proxies"
        );
    }
    if settings.opens_backend_to_local_users(&settings.backend_listen) {
        let _ = writeln!(
            terminal::stderr(),
            "incoming: warning: every local user can call the backend API; set {BACKEND_GUARD}"
        );
    }
    for exposed in &settings.exposed_paths {
        let _ = writeln!(terminal::stderr(), "incoming: warning: {exposed}");
    }
    print(&settings.to_toml())
}
