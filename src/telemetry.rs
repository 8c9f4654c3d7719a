//! Logs: one subscriber for the process, to standard error. Metrics live elsewhere.
//!
//! Standard error is written in the thread that logs, so a reader that stops reading slows the
//! server down rather than losing lines. Per chunk nothing is logged above debug. What is logged can be
//! changed while the server runs. What other crates say below info is never logged: it is made of single
//! frames and headers, and may hold what strangers sent.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, filter, fmt as lines, reload};

use crate::config::{LogFormat, Settings};
use crate::wire::log::LogFilter;

static FILTER: OnceLock<Arc<Filter>> = OnceLock::new();

/// Sets up logging for the whole process, once, before anything logs.
///
/// # Errors
/// The filter is malformed (not for settings that were read, which checks it), or a subscriber is
/// set already.
pub fn init(settings: &Settings) -> Result<(), TelemetryError> {
    let first = parse(&settings.log).map_err(TelemetryError::Filter)?;
    let (reloading, handle) = reload::Layer::new(first);
    let plain = lines::layer().with_writer(io::stderr);
    let lines = match settings.log_format {
        // Colours are for terminals, never for files and collectors.
        LogFormat::Text => plain.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => plain.json().flatten_event(true).boxed(),
    };
    let ours = filter::filter_fn(is_fit);
    let subscriber = Registry::default().with(lines).with(ours).with(reloading);
    subscriber.try_init().map_err(|_| TelemetryError::AlreadySet)?;
    let put = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    let [configured, current] = [(); 2].map(|()| Mutex::new(settings.log.clone()));
    FILTER
        .set(Arc::new(Filter { configured, current, put: Box::new(put) }))
        .map_err(|_| TelemetryError::AlreadySet)
}

/// The filter of the log, where this process has set one up.
pub fn log_filter() -> Option<Arc<dyn LogFilter>> {
    FILTER.get().map(|filter| Arc::clone(filter) as Arc<dyn LogFilter>)
}

/// The settings have another filter from now on.
///
/// # Errors
/// The filter is malformed, or logging has not been set up; one line says so.
pub fn configure_filter(filter: &str) -> Result<(), String> {
    let found = FILTER.get().ok_or("logging is not set up")?;
    found.change(Some(filter))?;
    filter.clone_into(&mut found.configured.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(())
}

struct Filter {
    configured: Mutex<String>,
    current: Mutex<String>,
    put: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl LogFilter for Filter {
    fn current(&self) -> String {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, filter: Option<&str>) -> Result<(), String> {
        let configured = self.configured.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let wanted = filter.unwrap_or(&configured);
        let parsed = parse(wanted)?;
        // Both change together, whoever else changes them now.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        (self.put)(parsed)?;
        wanted.clone_into(&mut current);
        drop(current);
        tracing::warn!(filter = wanted, "the filter of the log has changed");
        Ok(())
    }
}

fn parse(filter: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(filter).map_err(|error| error.to_string())
}

/// The server's own lines, and of other crates what is no detail.
fn is_fit(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target().split("::").next() == Some("incoming")
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
