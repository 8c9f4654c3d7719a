//! Logs: one subscriber for the process, to standard error. Metrics live elsewhere.
//!
//! Standard error is written by a thread of its own from a bounded buffer (`telemetry/queue.rs`): a reader that stops reading
//! costs lines, which are counted, and holds up nothing. Per chunk nothing is logged above debug. What is logged can be
//! changed while the server runs. What other crates say below info is never logged: it is made of single
//! frames and headers, and may hold what clients sent.

mod queue;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio_util::task::AbortOnDropHandle;
use tracing::{Level, Metadata};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, filter, fmt as lines, reload};

use crate::config::{LogFormat, Settings, parse_filter};
use crate::engine::context::{RequestContext, request_of};
use crate::wire::admin::{CurrentFilter, FilterError, LogFilter};
use queue::Queue;

static FILTER: OnceLock<Arc<Filter>> = OnceLock::new();
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Sets up logging for the whole process, once, before anything logs.
///
/// # Errors
/// The filter is malformed (not for settings that were read, which checks it), the system gives no thread, or a
/// subscriber is set already.
pub fn init(settings: &Settings) -> Result<(), TelemetryError> {
    let first = parse_filter(&settings.log).map_err(TelemetryError::Filter)?;
    let (reloading, handle) = reload::Layer::new(first);
    let queue = Queue::start(io::stderr()).map_err(TelemetryError::NoThread)?;
    let writer = queue.clone();
    let plain = lines::layer().with_writer(move || writer.clone());
    let lines = match settings.log_format {
        // Colours are for terminals, never for files and collectors.
        LogFormat::Text => plain.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => plain.json().flatten_event(true).boxed(),
    };
    let ours = filter::filter_fn(is_fit);
    let subscriber = Registry::default().with(lines).with(ours).with(reloading);
    subscriber.try_init().map_err(|_| TelemetryError::AlreadySet)?;
    QUEUE.set(queue).map_err(|_| TelemetryError::AlreadySet)?;
    let put =
        move |filter| handle.reload(filter).map_err(|error| FilterError::Failed(error.into()));
    let filter = Filter::new(settings.log.clone(), Box::new(put));
    FILTER.set(Arc::new(filter)).map_err(|_| TelemetryError::AlreadySet)
}

/// From now on a panic is a line of the log: the standard hook writes to standard error itself, and waits for it.
pub fn log_panics() {
    std::panic::set_hook(Box::new(log_panic));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let backtrace = Backtrace::capture();
    let traced = backtrace.status() == BacktraceStatus::Captured;
    let backtrace = traced.then(|| tracing::field::display(&backtrace));
    if tracing::enabled!(Level::ERROR) {
        tracing::error!(thread, panic = %panic, backtrace, "thread panicked");
    } else if let Some(queue) = QUEUE.get() {
        // No filter hides a mistake of the program.
        queue.push(format!("thread {thread:?} {panic}\n").as_bytes());
    }
}

/// Writes a last text to standard error, behind what has been logged. It is waited for a second at most.
pub fn last_words(text: &str) {
    match QUEUE.get() {
        Some(queue) => {
            queue.push(text.as_bytes());
            queue.flush(FLUSH);
        }
        // Standard error may be gone.
        None => drop(io::Write::write_all(&mut io::stderr(), text.as_bytes())),
    }
}

/// Waits until what has been logged is written, a second at most.
pub fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH);
    }
}

/// Log lines that were dropped since the start, because standard error took none.
pub fn dropped_lines() -> u64 {
    QUEUE.get().map_or(0, Queue::dropped)
}

/// What is wrong with the log just now, for people: nobody reads it.
pub fn log_trouble() -> Option<String> {
    let untold = QUEUE.get().map_or(0, Queue::untold);
    (untold > 0)
        .then(|| format!("standard error is not read: {untold} log lines were dropped so far"))
}

/// The filter of the log, where this process has set one up.
pub fn log_filter() -> Option<Arc<dyn LogFilter>> {
    FILTER.get().map(|filter| Arc::clone(filter) as Arc<dyn LogFilter>)
}

/// The settings have another filter from now on, and it is in force.
///
/// # Errors
/// The filter is malformed, or logging has not been set up; one line says so.
pub fn configure_filter(filter: &str) -> Result<(), FilterError> {
    let unset = || FilterError::Failed("logging is not set up".into());
    FILTER.get().ok_or_else(unset)?.configure(filter)
}

/// Puts a filter into force.
type Put = Box<dyn Fn(EnvFilter) -> Result<(), FilterError> + Send + Sync>;

struct Filter {
    state: Mutex<State>,
    put: Put,
}

struct State {
    configured: String,
    current: String,
    temporary: Option<TemporaryFilter>,
    /// Counts temporary filters: the end of an earlier one does not end a later one.
    generation: u64,
}

/// What ends the filter in force.
struct TemporaryFilter {
    until: SystemTime,
    /// Waits for the end; aborted when this is dropped.
    _end: AbortOnDropHandle<()>,
}

impl Filter {
    fn new(configured: String, put: Put) -> Self {
        let current = configured.clone();
        Self {
            state: Mutex::new(State { configured, current, temporary: None, generation: 0 }),
            put,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The filter in force and what is known of it change together, whoever else changes them now.
    fn put(&self, state: &mut State, filter: &str, parsed: EnvFilter) -> Result<(), FilterError> {
        (self.put)(parsed)?;
        filter.clone_into(&mut state.current);
        state.temporary = None;
        Ok(())
    }

    fn configure(&self, filter: &str) -> Result<(), FilterError> {
        let parsed = parse(filter)?;
        let mut state = self.lock();
        self.put(&mut state, filter, parsed)?;
        filter.clone_into(&mut state.configured);
        drop(state);
        tracing::warn!(filter, "log filter changed");
        Ok(())
    }

    /// Puts the configured filter into force, if `applies`.
    fn restore_if(&self, applies: impl FnOnce(&State) -> bool) -> Result<(), FilterError> {
        let mut state = self.lock();
        if !applies(&state) {
            return Ok(());
        }
        let filter = state.configured.clone();
        self.put(&mut state, &filter, parse(&filter)?)?;
        drop(state);
        let context = RequestContext::current();
        let request = request_of(context.as_ref());
        tracing::warn!(filter, request, "log filter reset to the setting");
        Ok(())
    }
}

impl LogFilter for Filter {
    fn current(&self) -> CurrentFilter {
        let state = self.lock();
        let until = state.temporary.as_ref().map(|temporary| temporary.until);
        CurrentFilter { filter: state.current.clone(), until }
    }

    fn set_temporarily(self: Arc<Self>, filter: &str, time: Duration) -> Result<(), FilterError> {
        let parsed = parse(filter)?;
        let until = SystemTime::now() + time;
        let say = || {
            let until = humantime::format_rfc3339_seconds(until);
            let context = RequestContext::current();
            let request = request_of(context.as_ref());
            tracing::warn!(filter, %until, request, "log filter changed");
        };
        // A filter that hides this line is told of by the one before it.
        let seen = tracing::enabled!(Level::WARN);
        if seen {
            say();
        }
        let mut state = self.lock();
        self.put(&mut state, filter, parsed)?;
        state.generation += 1;
        let (generation, this) = (state.generation, Arc::clone(&self));
        let end = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            // The settings' own filter has been parsed before.
            let _ = this
                .restore_if(|state| state.temporary.is_some() && state.generation == generation);
        });
        state.temporary = Some(TemporaryFilter { until, _end: AbortOnDropHandle::new(end) });
        drop(state);
        if !seen {
            say();
        }
        Ok(())
    }

    fn restore(&self) -> Result<(), FilterError> {
        self.restore_if(|_| true)
    }
}

fn parse(filter: &str) -> Result<EnvFilter, FilterError> {
    parse_filter(filter).map_err(FilterError::Invalid)
}

/// The server's own lines, and of other crates what is no detail.
fn is_fit(line: &Metadata<'_>) -> bool {
    *line.level() <= Level::INFO || line.target().split("::").next() == Some("incoming")
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is malformed.
    #[error("malformed log filter: {0}")]
    Filter(&'static str),
    /// The system gives no thread to write the log.
    #[error("no thread for the log: {0}")]
    NoThread(io::Error),
    /// The process has a subscriber already.
    #[error("logging is set up already")]
    AlreadySet,
}

/// The log gets this long at the end of the process.
const FLUSH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_up_once() {
        let malformed = Settings { log: "incoming=loud".into(), ..Settings::default() };
        assert!(matches!(init(&malformed), Err(TelemetryError::Filter(_))));
        let quiet = Settings { log: "off".into(), ..Settings::default() };
        init(&quiet).unwrap();
        let again = Settings { log_format: LogFormat::Json, ..quiet };
        assert!(matches!(init(&again), Err(TelemetryError::AlreadySet)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_temporary_filter_ends_by_itself() {
        let put: Arc<Mutex<Vec<String>>> = Arc::default();
        let puts = Arc::clone(&put);
        let put_it = move |filter: EnvFilter| {
            puts.lock().unwrap().push(filter.to_string());
            Ok(())
        };
        let filter = Arc::new(Filter::new("info".into(), Box::new(put_it)));
        let set = |text: &str, hours: u64| {
            Arc::clone(&filter).set_temporarily(text, Duration::from_secs(3600 * hours))
        };
        let check = async |after_hours: u64, expected: &str| {
            tokio::time::sleep(Duration::from_secs(3600 * after_hours)).await;
            tokio::task::yield_now().await;
            let CurrentFilter { filter, until } = filter.current();
            assert_eq!(filter, expected);
            assert_eq!(until.is_some(), !["info", "warn"].contains(&expected), "{filter}");
            assert_eq!(put.lock().unwrap().last().map(String::as_str), Some(expected));
        };
        set("debug", 2).unwrap();
        check(1, "debug").await;
        for wrong in ["incoming=loud", "debg", "verbose", "info,verbose", "debüg"] {
            assert!(set(wrong, 1).is_err(), "{wrong}");
            assert!(filter.configure(wrong).is_err(), "{wrong}");
        }
        check(0, "debug").await;
        check(1, "info").await;
        // The end of an earlier one is none of a later one, shorter or longer.
        set("debug", 2).unwrap();
        set("trace", 4).unwrap();
        check(3, "trace").await;
        set("error", 3).unwrap();
        check(2, "error").await;
        check(1, "info").await;
        set("debug", 1).unwrap();
        filter.restore().unwrap();
        check(0, "info").await;
        // What the settings say now is not taken back at the end of what somebody asked for before.
        set("debug", 1).unwrap();
        filter.configure("warn").unwrap();
        check(2, "warn").await;
        set("debug", 1).unwrap();
        check(1, "warn").await;
        let puts = put.lock().unwrap().len();
        assert_eq!(puts, 12, "none was put for nothing");
    }
}
