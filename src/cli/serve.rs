//! `incoming serve`: settings, a runtime, the server; and `incoming check-config`: what `serve` would make of the same
//! flags, environment and file.
//!
//! The check changes nothing: a storage directory that is absent is not made. It is to be run as the server's user,
//! since what that can read and write is part of the answer.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use super::{CliError, print, terminal};
#[cfg(feature = "cluster")]
use crate::app::object_storage;
use crate::app::systemd::Notifier;
use crate::app::telemetry;
use crate::app::{
    Inherited, Server, StorageDirectory, check_settings, stop_on_signal, wait_for_storage,
};
use crate::config::{ConfigError, Flags, LOCAL_BACKEND_GUARD, Layers, Settings, UntrustedNetworks};
use crate::net::control_runtime;

/// Settings as flags, and the file they stand over. `check-config` takes the same.
#[derive(Debug, Default, Clone, PartialEq, Eq, clap::Args)]
pub struct ServeArgs {
    /// Configuration file (TOML) [default: the file named by INCOMING_CONFIG, if any]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub settings: Flags,
}

impl ServeArgs {
    /// These over the environment of this process and over the file, as it is now.
    fn layers(&self) -> Result<Layers, ConfigError> {
        Layers::gather(self.settings.clone(), self.config.clone(), std::env::vars_os())
    }
}

/// What `check-config` takes.
#[derive(Debug, Default, Clone, PartialEq, Eq, clap::Args)]
pub struct CheckConfigArgs {
    /// Those of `serve`.
    #[command(flatten)]
    pub serve: ServeArgs,
    /// Try the bucket and the database that the settings name
    #[cfg(feature = "cluster")]
    #[arg(long)]
    pub probe: bool,
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// The configuration is wrong, or the server could not start.
pub fn serve(args: ServeArgs) -> Result<(), CliError> {
    // Before any thread: it changes the environment.
    let inherited = Inherited::take().map_err(CliError::usage)?;
    let settings = check_settings(&args.layers()?, StorageDirectory::Create)?;
    telemetry::init(&settings).map_err(CliError::failed)?;
    telemetry::log_panics();
    run(async move {
        let stop = stop_on_signal().map_err(CliError::failed)?;
        if settings.uses_directory() {
            let free = wait_for_storage(&settings.storage_dir, settings.lock_wait);
            if stop.run_until_cancelled(free).await.is_none() {
                return Ok(());
            }
        }
        // What cannot be opened or bound is a matter of settings.
        let server = Server::start_with(settings, inherited).map_err(CliError::usage)?;
        let server = server
            .with_notifier(Notifier::from_env())
            .reloading_by(Arc::new(move || reload(&args)));
        server.run(stop, Vec::new()).await;
        Ok(())
    })
}

/// The same flags and variables, and what the file says now. The files that it names are not looked at.
fn reload(args: &ServeArgs) -> Result<Settings, ConfigError> {
    Settings::checked(&args.layers()?)
}

/// Checks everything and prints the settings in force as TOML, the token left out; on standard error what in them is
/// mostly a mistake.
///
/// # Errors
/// The configuration is wrong, or standard output is closed.
pub fn check_config(args: &CheckConfigArgs) -> Result<(), CliError> {
    let settings = check_settings(&args.serve.layers()?, StorageDirectory::DryRun)?;
    if let Some(UntrustedNetworks { networks, believed }) = settings.untrusted_networks() {
        // An error here loses nothing but the advice.
        let _ = writeln!(
            terminal::stderr(),
            "incoming: warning: trusted_proxies = {networks} includes untrusted networks: clients can spoof their address \
             with {believed}; list only your proxies"
        );
    }
    if settings.opens_backend_to_local_users(&settings.backend_listen) {
        let _ = writeln!(
            terminal::stderr(),
            "incoming: warning: every local user can call the backend API; set {LOCAL_BACKEND_GUARD}"
        );
    }
    for token in settings.short_tokens() {
        let _ = writeln!(
            terminal::stderr(),
            "incoming: warning: {token} can be guessed: it has fewer than {} characters (openssl rand -hex 32 makes one)",
            Settings::TOKEN_CHARS
        );
    }
    for exposed in &settings.exposed_paths {
        let _ = writeln!(terminal::stderr(), "incoming: warning: {exposed}");
    }
    #[cfg(feature = "cluster")]
    if args.probe {
        probe(&settings)?;
    }
    print(&settings.to_toml())
}

/// Tries the bucket and the database; what was found is said on standard error.
#[cfg(feature = "cluster")]
fn probe(settings: &Settings) -> Result<(), CliError> {
    run(async {
        let (lines, errors) = object_storage::probe(settings).await;
        for line in lines {
            let _ = writeln!(terminal::stderr(), "incoming: {line}");
        }
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        if errors.is_empty() { Ok(()) } else { Err(CliError::failed(errors.join("\n"))) }
    })
}

/// Prints the SQL that makes the tables of the shared log.
///
/// # Errors
/// Standard output is closed.
#[cfg(feature = "cluster")]
pub fn schema() -> Result<(), CliError> {
    print(crate::storage::postgres::SCHEMA_SQL)
}

/// Runs the control side of a server: accepting, calling backends, sweeping. The bytes flow on the
/// workers.
pub(super) fn run(work: impl Future<Output = Result<(), CliError>>) -> Result<(), CliError> {
    let runtime =
        control_runtime().map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let done = runtime.block_on(work);
    // Calls to backends that are still under way are repeated after the next start.
    runtime.shutdown_background();
    done
}
