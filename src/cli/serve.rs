//! `incoming serve`: settings, a runtime, the server.

use std::path::PathBuf;
use std::sync::Arc;

use super::CliError;
use crate::app::systemd::Notifier;
use crate::app::telemetry;
use crate::app::{Inherited, Server, stop_on_signal, wait_for_storage};
use crate::config::{self, ConfigError, Layers, RawSettings, Settings};
use crate::net::control_runtime;

/// Settings as flags, and the file they stand over. `check-config` takes the same.
#[derive(Debug, Default, Clone, PartialEq, Eq, clap::Args)]
pub struct ServeArgs {
    /// Configuration file (TOML) [default: the file named by INCOMING_CONFIG, if any]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub settings: RawSettings,
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// The configuration is wrong, or the server could not start.
pub fn serve(args: ServeArgs) -> Result<(), CliError> {
    // Before any thread: it changes the environment.
    let inherited = Inherited::take().map_err(|error| CliError::Usage(error.to_string()))?;
    let settings = config::load(args.settings.clone(), args.config.clone())?;
    telemetry::init(&settings).map_err(|error| CliError::Failed(error.to_string()))?;
    telemetry::log_panics();
    run(async move {
        let stop = stop_on_signal().map_err(|error| CliError::Failed(error.to_string()))?;
        let free = wait_for_storage(&settings.storage_dir, settings.lock_wait);
        if stop.run_until_cancelled(free).await.is_none() {
            return Ok(());
        }
        // What cannot be opened or bound is a matter of settings.
        let server = Server::start_with(settings, inherited)
            .map_err(|error| CliError::Usage(error.to_string()))?;
        let server = server.with_notifier(Notifier::from_env()).reloading_by(Arc::new(move || {
            reload(&args).map_err(|error| error.to_string().replace('\n', "; "))
        }));
        server.run(stop, Vec::new()).await;
        Ok(())
    })
}

/// The same flags and variables, and what the file says now. The files that it names are not looked at.
fn reload(args: &ServeArgs) -> Result<Settings, ConfigError> {
    let layers = Layers::gather(args.settings.clone(), args.config.clone(), std::env::vars_os())?;
    Settings::checked(&layers)
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
