//! `incoming check-config`: what `serve` would make of the same flags, environment and file.
//!
//! It changes nothing: a storage directory that is absent is not made. Run it as the server's user,
//! since what it can read and write is part of the answer.

use std::io::{self, Write};

use super::{CliError, ServeArgs};
use crate::config::{Layers, Settings, Storage};

/// Checks everything and prints the settings in force as TOML, the token left out.
///
/// # Errors
/// The configuration is wrong, or standard output is closed.
pub fn check_config(args: ServeArgs) -> Result<(), CliError> {
    let layers = Layers::gather(args.typed, args.config, std::env::vars_os())?;
    let settings = Settings::check(&layers, Storage::Look)?;
    match io::stdout().write_all(settings.to_toml().as_bytes()) {
        // Who has seen enough closes the pipe.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot print: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
