//! The end of a server: what is waited for, in which order, and for how long at most.
//!
//! Every wait has a deadline, and the service manager is told their sum, so that whatever hangs the process
//! ends by itself before it is killed. What is cut is logged.

use super::systemd::Notifier;
use crate::engine::{Engine, deadline};
use crate::net::Workers;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What runs when a stop begins.
pub(super) struct Shutdown {
    pub(super) engine: Arc<Engine>,
    /// Stops everything but transfers, commits and calls under way.
    pub(super) drain: CancellationToken,
    /// Listeners with their connections, and what goes on beside them.
    pub(super) serving: TaskTracker,
    /// Calls to backends, and what makes them.
    pub(super) calls: TaskTracker,
    /// Cuts those off.
    pub(super) cut_calls: CancellationToken,
    pub(super) workers: Workers,
    pub(super) backend_workers: Workers,
}

/// How long each step of a stop may take.
#[derive(Clone, Copy, Debug)]
struct Deadlines {
    serving: Duration,
    commits: Duration,
    calls: Duration,
    cut_calls: Duration,
    release: Duration,
    /// Of each set of workers.
    workers: Duration,
}

impl Deadlines {
    /// Those of a server whose running requests have `grace`.
    fn of(grace: Duration) -> Self {
        Self {
            // Connections are dropped after their grace; that they are gone takes no longer than a commit.
            serving: grace.saturating_add(LAST_COMMITS),
            commits: grace.max(LAST_COMMITS),
            calls: LAST_CALLS,
            cut_calls: CUT_CALLS,
            release: RELEASE,
            workers: LAST_COMMITS,
        }
    }

    /// All of them together.
    fn total(self) -> Duration {
        let Self { serving, commits, calls, cut_calls, release, workers } = self;
        let all = [serving, commits, calls, cut_calls, release, workers, workers];
        all.into_iter().fold(Duration::ZERO, Duration::saturating_add)
    }
}

impl Shutdown {
    /// Lets everything end, `grace` being what running requests have.
    ///
    /// Cancel: what has not ended yet is left where it stands; what was acknowledged holds.
    pub(super) async fn run(self, grace: Duration, notifier: &Notifier) {
        tracing::info!("stopping");
        let within = Deadlines::of(grace);
        notifier.stopping(within.total());
        self.engine.draining().cancel();
        self.drain.cancel();
        if deadline::within(within.serving, self.serving.wait()).await.is_err() {
            let tasks = self.serving.len();
            tracing::warn!(part = "listeners and background tasks", tasks, "shutdown timed out");
        }
        let ended = deadline::within(within.commits, async {
            self.engine.shut_down().await;
        });
        if ended.await.is_err() {
            tracing::warn!(part = "transfers", "shutdown timed out");
        }
        self.calls.close();
        if timeout(within.calls, self.calls.wait()).await.is_err() {
            tracing::info!(part = "backend calls", "shutdown timed out");
            self.cut_calls.cancel();
            // They are dropped where they wait next; one that never waits is left.
            let _ = timeout(within.cut_calls, self.calls.wait()).await;
        }
        // Last, since others take what is left at once.
        if timeout(within.release, self.engine.release_holds()).await.is_err() {
            tracing::info!(part = "holds", "shutdown timed out");
        }
        let Self { workers, backend_workers, .. } = self;
        notifier.stopping_workers();
        if !end_workers([workers, backend_workers], within.workers).await {
            tracing::warn!(part = "workers", "shutdown timed out");
        }
        tracing::info!("stopped");
    }
}

/// Ends the sets of workers one after the other, each in `within` at most; false where they were left.
async fn end_workers<const SETS: usize>(sets: [Workers; SETS], within: Duration) -> bool {
    let all = sets.iter().fold(Duration::ZERO, |all, _| all.saturating_add(within));
    let (tell, told) = oneshot::channel();
    // Their runtimes cannot be ended from inside this one, nor from its blocking threads, all of which may hang.
    let thread = std::thread::Builder::new().name("incoming-end".into()).spawn(move || {
        sets.into_iter().for_each(|workers| workers.shutdown(within));
        let _ = tell.send(());
    });
    thread.is_ok() && timeout(all, told).await.is_ok_and(|ended| ended.is_ok())
}

/// A token that the first SIGTERM or SIGINT cancels; the second ends the process at once, in the signal's handler:
/// whatever every thread waits for. A write beyond the limit of file sizes is an error from now on, not the end
/// (SIGXFSZ).
pub fn stop_on_signal() -> std::io::Result<CancellationToken> {
    use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
    use tokio::signal::unix::{SignalKind, signal};
    exit_at_second(&[(SIGTERM, SECOND_SIGNAL), (SIGINT, SECOND_SIGNAL)])?;
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}

/// The second of these signals to come, whichever it is, ends the process at once with the code beside it, in the
/// signal's handler: also while every thread waits for a terminal or a pipe that nobody reads. The first one is for
/// others to handle.
pub fn exit_at_second(signals: &[(i32, i32)]) -> std::io::Result<()> {
    use signal_hook::flag;
    let asked = Arc::new(AtomicBool::new(false));
    for &(signal, code) in signals {
        // In this order: the first one is noted after it was looked whether it is the second.
        flag::register_conditional_shutdown(signal, code, Arc::clone(&asked))?;
        flag::register(signal, Arc::clone(&asked))?;
    }
    Ok(())
}

/// Commits under way get at least this long at the end.
const LAST_COMMITS: Duration = Duration::from_secs(10);
/// Calls under way get this long at the end; they are repeated after the start.
const LAST_CALLS: Duration = Duration::from_secs(2);
/// And this long to be dropped after that.
const CUT_CALLS: Duration = Duration::from_secs(1);
/// For one question to the database, where several servers have one.
const RELEASE: Duration = Duration::from_secs(2);
/// Exit code after the second signal, as after the first one of a program that handles none.
const SECOND_SIGNAL: i32 = 130;

#[cfg(test)]
mod tests {
    use super::end_workers;
    use crate::app::Server;
    use crate::app::systemd::Notifier;
    use crate::config::Settings;
    use crate::net::Workers;
    use std::os::unix::net::UnixDatagram;
    use std::sync::mpsc;
    use std::time::Duration;
    use tokio::sync::oneshot;
    use tokio::time::{Instant, sleep, timeout};
    use tokio_util::sync::CancellationToken;

    /// A disk that hangs holds every blocking thread for good, and workers end all the same.
    #[test]
    fn workers_end_while_every_blocking_thread_hangs() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (release, released) = mpsc::channel::<()>();
        let hangs = runtime.spawn_blocking(move || released.recv());
        let workers = Workers::start(1).unwrap();
        let (held, gone) = mpsc::channel::<()>();
        workers.next().spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        let long = Duration::from_secs(60);
        let ended =
            runtime.block_on(async { timeout(long, end_workers([workers], long / 2)).await });
        assert_eq!(ended, Ok(true));
        // What they ran was dropped with them.
        assert_eq!(gone.try_recv(), Err(mpsc::TryRecvError::Disconnected));
        drop(release);
        assert!(runtime.block_on(hangs).unwrap().is_err());
    }

    /// Time is paused. Each write is seen by the file being there again.
    #[tokio::test(start_paused = true)]
    async fn issue_13_the_count_of_running_time_is_kept_through_a_stop() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            backend_listen: "127.0.0.2:0".parse().unwrap(),
            storage_dir: directory.path().to_owned(),
            shutdown_grace: Duration::from_secs(200),
            workers: 1,
            ..Settings::default()
        };
        let server = Server::start(settings).unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let count = directory.path().join("uptime");
        let (tell, told) = oneshot::channel();
        let watch = async move {
            sleep(Duration::from_secs(30)).await;
            let before = std::fs::remove_file(&count);
            sleep(Duration::from_secs(60)).await;
            let _ = tell.send((before.is_ok(), count.exists()));
        };
        server.run(stop, vec![Box::pin(watch)]).await;
        assert_eq!(told.await, Ok((true, true)), "written at the start, and during the stop");
    }

    /// Time is paused: it jumps to the next deadline whenever nothing else can go on.
    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_left_in_the_time_that_the_manager_was_told() {
        let directory = tempfile::tempdir().unwrap();
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            backend_listen: "127.0.0.2:0".parse().unwrap(),
            storage_dir: directory.path().to_owned(),
            shutdown_grace: Duration::from_secs(7),
            workers: 1,
            ..Settings::default()
        };
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let server = Server::start(settings).unwrap().with_notifier(Notifier::to(ours));
        let stop = CancellationToken::new();
        stop.cancel();
        let began = Instant::now();
        let run = server.run(stop, vec![Box::pin(std::future::pending())]);
        let ended = timeout(Duration::from_secs(24 * 60 * 60), run).await;
        assert!(ended.is_ok(), "a stop without an end");
        let mut told = String::new();
        let mut bytes = [0; 512];
        while let Ok(count) = theirs.recv(&mut bytes) {
            told += std::str::from_utf8(&bytes[..count]).unwrap();
        }
        let micros = told.split("EXTEND_TIMEOUT_USEC=").nth(1).unwrap().lines().next().unwrap();
        let at_most = Duration::from_micros(micros.parse().unwrap());
        assert!(began.elapsed() >= Duration::from_secs(7 + 10), "{:?}", began.elapsed());
        assert!(began.elapsed() <= at_most, "{:?}, {told}", began.elapsed());
        // Grace and last commits; commits; calls; calls cut; holds; two sets of workers.
        assert_eq!(at_most.as_secs(), (7 + 10) + 10 + 2 + 1 + 2 + 2 * 10);
    }
}
