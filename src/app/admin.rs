//! What operators see of a running server: metrics, readiness, the log filter.

use super::metrics::Sources;
use super::sockets::Socket;
use super::telemetry;
use crate::net::Workers;
use crate::tls::TlsReload;
use crate::wire::Surface;
use crate::wire::admin::{AdminHooks, EventLoopProbe, ServerFigures};
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;

/// The TLS listeners of these sockets, each with the word for it.
pub(super) fn certificates(sockets: &[Socket]) -> Vec<(&'static str, Arc<TlsReload>)> {
    let tls = |socket: &Socket| Some((word(socket.surface), Arc::clone(socket.tls.as_ref()?)));
    sockets.iter().filter_map(tls).collect()
}

/// Where the backend API listens.
pub(super) fn backend_address(sockets: &[Socket]) -> String {
    let backend = sockets.iter().find(|socket| socket.surface != Surface::Public);
    backend.map(|socket| socket.listener.local_address().to_string()).unwrap_or_default()
}

/// Metrics, health and the log's filter, with the event loops of these workers. Must be called on the runtime that
/// accepts.
pub(super) fn hooks(sources: Sources, address: String, workers: [&Workers; 2]) -> AdminHooks {
    let (refusals, certificates) = (Arc::clone(&sources.refusals), sources.certificates.clone());
    let figured = sources.clone();
    let workers = workers.into_iter().flat_map(Workers::runtimes);
    let probes =
        workers.map(|(name, runtime)| EventLoopProbe::new(name.to_owned(), runtime.clone()));
    let main = EventLoopProbe::new("main".into(), Handle::current());
    let loops = std::iter::once(main).chain(probes).collect();
    let threads = Threads::default();
    AdminHooks {
        address,
        metrics: Arc::new(move |scrape| sources.render(scrape)),
        refusals,
        figures: Arc::new(move || figures(&figured)),
        loops,
        unready: Arc::new(move || {
            let ends = certificates.iter().filter_map(|(_, tls)| tls.ends()).min();
            let expired = ends.is_some_and(|ends| ends <= SystemTime::now());
            let expired = expired.then(|| "a certificate has expired".to_owned());
            expired.into_iter().chain(threads.missing(Instant::now(), start_thread)).collect()
        }),
        notes: Arc::new(|| telemetry::log_trouble().into_iter().collect()),
        log: telemetry::log_filter(),
    }
}

fn figures(sources: &Sources) -> ServerFigures {
    let (net, memory) = (&sources.net, &sources.memory);
    let (waiting, may_wait) = sources.engine.waiting_bytes();
    let certificates = sources.certificates.iter();
    ServerFigures {
        started: sources.started,
        http1: net.http1.now(),
        http2: net.http2.now(),
        accepted: net.accepted.now(),
        max_connections: sources.max_connections as u64,
        memory_used_bytes: memory.used_bytes() + waiting,
        memory_max_bytes: memory.all_bytes() + may_wait,
        certificates: certificates.filter_map(|(word, tls)| Some((*word, tls.ends()?))).collect(),
    }
}

/// Whether the system gives the process threads: what waits for the disk waits for the few there are otherwise. Each
/// `/readyz` asks, so what was found holds for a while.
#[derive(Debug, Default)]
struct Threads {
    found: Mutex<Option<(Instant, Option<String>)>>,
}

impl Threads {
    /// Why it gives none, if so. `start` starts a thread that ends by itself; nobody waits for it.
    fn missing(&self, now: Instant, start: impl FnOnce() -> io::Result<()>) -> Option<String> {
        let mut found = self.found.lock().expect("no holder of this lock panics");
        if let Some((at, missing)) = found.as_ref()
            && now.saturating_duration_since(*at) < FOUND_HOLDS
        {
            return missing.clone();
        }
        let missing = start().err().map(|error| {
            format!(
                "cannot start a thread ({error}): raise the limit of processes (ulimit -u, \
                 TasksMax, pids.max)"
            )
        });
        *found = Some((now, missing.clone()));
        missing
    }
}

fn start_thread() -> io::Result<()> {
    thread::Builder::new().name("incoming-probe".into()).spawn(|| ()).map(drop)
}

fn word(surface: Surface) -> &'static str {
    match surface {
        Surface::Public => "public",
        Surface::Backend => "backend",
        Surface::Shared => "shared",
    }
}

/// How long it is not asked again whether there are threads.
const FOUND_HOLDS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_13_a_thread_is_asked_for_once_in_a_while() {
        let (threads, began, mut started) = (Threads::default(), Instant::now(), 0);
        let mut ask = |after_ms, gives: bool| {
            let start = || {
                started += 1;
                if gives { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
            };
            (threads.missing(began + Duration::from_millis(after_ms), start).is_some(), started)
        };
        assert_eq!(ask(0, true), (false, 1));
        assert_eq!(ask(4_999, false), (false, 1));
        assert_eq!(ask(5_000, false), (true, 2));
        assert_eq!(ask(9_999, true), (true, 2));
        assert_eq!(ask(10_000, true), (false, 3));
        assert!(start_thread().is_ok());
    }
}
