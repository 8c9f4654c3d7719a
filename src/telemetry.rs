//! Logs: one subscriber for the process, to standard error. Metrics live elsewhere.
//!
//! Standard error is written in the thread that logs, so a reader that stops reading slows the
//! server down rather than losing lines. Per chunk nothing is logged above debug.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{LogFormat, Settings};

/// Sets up logging for the whole process, once, before anything logs.
///
/// # Errors
/// The filter is malformed (not for settings that were read, which checks it), or a subscriber is
/// set already.
pub fn init(settings: &Settings) -> Result<(), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&settings.log)
        .map_err(|error| TelemetryError::Filter(error.to_string()))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let set = match settings.log_format {
        // Colours are for terminals, never for files and collectors.
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    set.map_err(|_| TelemetryError::AlreadySet)
}

/// Why logging could not be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TelemetryError {
    /// The filter is malformed.
    Filter(String),
    /// The process has a subscriber already.
    AlreadySet,
}

impl fmt::Display for TelemetryError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(reason) => write!(out, "malformed log filter: {reason}"),
            Self::AlreadySet => out.write_str("logging is set up already"),
        }
    }
}

impl std::error::Error for TelemetryError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_up_once() {
        let malformed = Settings { log: "incoming=loud".into(), ..Settings::default() };
        assert!(matches!(init(&malformed), Err(TelemetryError::Filter(_))));
        let quiet = Settings { log: "off".into(), ..Settings::default() };
        assert_eq!(init(&quiet), Ok(()));
        let again = Settings { log_format: LogFormat::Json, ..quiet };
        assert_eq!(init(&again), Err(TelemetryError::AlreadySet));
    }
}
