//! One single-threaded runtime for each core.
//!
//! A connection lives on one of them for its whole life. Measured: against one work-stealing runtime
//! this halves the cost of HTTP/2 and takes a fifth off a single HTTP/1.1 upload, because a body's
//! frames are never handed from one thread to another.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Blocking threads of one worker at most.
///
/// They wait for disks: syncs, and writes while the page cache does not take them at once. A disk
/// that syncs slowly gains nothing from more than a few dozen in its queue, and each thread costs a
/// stack; what is beyond this waits its turn.
const BLOCKING_THREADS: usize = 32;

/// How long an idle blocking thread is kept: uploads come in bursts, and starting threads anew for each chunk would
/// cost more than the few stacks. Longer than a process is usually stopped: threads that find their time over end.
const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(300);

/// Task polls between two looks at the sockets. Tokio's own choice; a poll that takes a batch of body
/// bytes is long, so a higher figure would only delay other connections.
const EVENT_INTERVAL: u32 = 61;

/// Task polls between two looks at what other threads sent here: new connections, finished blocking
/// work. An acknowledgement waits for exactly that, so look often.
const GLOBAL_QUEUE_INTERVAL: u32 = 7;

/// How long an ending worker waits for its blocking threads. `shutdown` may stop waiting earlier.
const BLOCKING_GRACE: Duration = Duration::from_secs(30);

/// The runtimes that connections are dealt to.
///
/// Dropping it tells the workers to end and does not wait for them; [`Workers::shutdown`] does.
#[derive(Debug)]
pub struct Workers {
    round_robin: RoundRobin,
    threads: Vec<Worker>,
    stop: DropGuard,
}

/// Hands out the workers' runtimes in turn.
#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    handles: Arc<[Handle]>,
    turn: Arc<AtomicUsize>,
}

/// Tells whether workers turn. It keeps none of them alive.
#[derive(Clone, Debug)]
pub struct WorkerLiveness {
    handles: Vec<Handle>,
}

#[derive(Debug)]
struct Worker {
    thread: thread::JoinHandle<()>,
    ended: mpsc::Receiver<()>,
}

impl Workers {
    /// Starts `count` workers (at least one), each on its own thread `incoming-N`.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue; workers already started are ended.
    pub fn start(count: usize) -> io::Result<Self> {
        Self::named("incoming", count)
    }

    /// As [`Self::start`], on threads `NAME-N`.
    ///
    /// # Errors
    /// As there.
    pub fn named(name: &str, count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let mut handles = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count.max(1) {
            let name = format!("{name}-{number}");
            let runtime = runtime(&name)?;
            handles.push(runtime.handle().clone());
            threads.push(Worker::start(name, runtime, stop.clone())?);
            start_blocking_thread(&handles[number])?;
        }
        let round_robin = RoundRobin { handles: handles.into(), turn: Arc::default() };
        Ok(Self { round_robin, threads, stop: guard })
    }

    /// How many workers there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.round_robin.handles.len()
    }

    /// For looking whether they turn.
    #[must_use]
    pub fn liveness(&self) -> WorkerLiveness {
        WorkerLiveness { handles: self.round_robin.handles.to_vec() }
    }

    /// The runtimes by the names of their threads, which are given here alone.
    pub fn runtimes(&self) -> impl Iterator<Item = (&str, &Handle)> {
        let names = self.threads.iter().map(|worker| worker.thread.thread().name());
        names.map(Option::unwrap_or_default).zip(self.round_robin.handles.iter())
    }

    /// The runtime whose turn it is.
    #[must_use]
    pub fn next(&self) -> Handle {
        self.round_robin.next()
    }

    /// Ends all workers: their tasks are dropped, their blocking work gets `timeout` to finish.
    ///
    /// Blocks the calling thread for that long at most, so call it outside any runtime. A worker that
    /// is stuck beyond it is left behind.
    pub fn shutdown(self, timeout: Duration) {
        let end = Instant::now() + timeout;
        drop(self.stop);
        for worker in self.threads {
            let left = end.saturating_duration_since(Instant::now());
            match worker.ended.recv_timeout(left) {
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let thread = worker.thread.thread().name();
                    tracing::warn!(part = "worker thread", thread, "shutdown timed out");
                }
                // Its end of the channel went with the thread's last values.
                Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                    if worker.thread.join().is_err() {
                        tracing::error!("worker thread panicked");
                    }
                }
            }
        }
    }

    pub(super) fn round_robin(&self) -> RoundRobin {
        self.round_robin.clone()
    }
}

impl WorkerLiveness {
    /// This one's workers and those of `other`.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.handles.extend(other.handles);
        self
    }

    /// Waits until each of the workers has run a task that was given to it now; false where one has ended.
    /// It waits for ever where one hangs, so the caller has a deadline. Dropping the future changes nothing.
    pub async fn all_respond(&self) -> bool {
        let asked: Vec<_> = self.handles.iter().map(|worker| worker.spawn(async {})).collect();
        let mut all = true;
        for answer in asked {
            all &= answer.await.is_ok();
        }
        all
    }
}

impl RoundRobin {
    pub(super) fn next(&self) -> Handle {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.handles[turn % self.handles.len()].clone()
    }
}

impl Worker {
    fn start(name: String, runtime: Runtime, stop: CancellationToken) -> io::Result<Self> {
        let (ending, ended) = mpsc::channel();
        let thread = thread::Builder::new().name(name).spawn(move || {
            let _ending = ending;
            runtime.block_on(stop.run_until_cancelled(keep_blocking_thread()));
            // Tasks are dropped here; blocking work is left to finish by itself. The wait for it
            // belongs to whoever started it: a commit is joined by its engine, not by its thread.
            runtime.shutdown_timeout(BLOCKING_GRACE);
        })?;
        Ok(Self { thread, ended })
    }
}

/// Sees that the runtime it is polled on always has a blocking thread, once one was started: what blocks then waits for
/// that one where the system gives no other (RLIMIT_NPROC, pids.max), and tokio panics only where there is none.
/// It has no end. Cancel: the thread ends some time later.
async fn keep_blocking_thread() {
    loop {
        // One that just had work begins its time anew.
        let _ = start_blocking_thread(&Handle::current());
        tokio::time::sleep(BLOCKING_KEEP_ALIVE / 5).await;
    }
}

/// Sees that a runtime has a blocking thread.
///
/// # Errors
/// The system gives none.
fn start_blocking_thread(runtime: &Handle) -> io::Result<()> {
    // tokio has no such call that fails.
    let started = catch_unwind(AssertUnwindSafe(|| drop(runtime.spawn_blocking(|| ()))));
    started.map_err(|_| io::Error::other("cannot start a disk thread"))
}

/// A runtime of one thread, the caller's, for everything that carries no bytes. It always has a blocking thread.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn control_runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().thread_keep_alive(BLOCKING_KEEP_ALIVE).build()?;
    start_blocking_thread(runtime.handle())?;
    runtime.spawn(keep_blocking_thread());
    Ok(runtime)
}

fn runtime(name: &str) -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(BLOCKING_KEEP_ALIVE)
        .thread_name(format!("{name}-disk"))
        .event_interval(EVENT_INTERVAL)
        .global_queue_interval(GLOBAL_QUEUE_INTERVAL)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deals_in_turn_and_ends() {
        let workers = Workers::start(2).unwrap();
        for (name, runtime) in workers.runtimes() {
            let (tell, told) = mpsc::channel();
            runtime.spawn(async move { tell.send(thread::current().name().map(str::to_owned)) });
            assert_eq!(told.recv().unwrap().as_deref(), Some(name));
        }
        let (tell, told) = mpsc::channel();
        for _ in 0..4 {
            let tell = tell.clone();
            workers.next().spawn(async move {
                tell.send(thread::current().name().unwrap().to_owned()).unwrap();
            });
        }
        let mut names: Vec<_> = (0..4).map(|_| told.recv().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["incoming-0", "incoming-0", "incoming-1", "incoming-1"]);
        workers.shutdown(Duration::from_secs(5));
    }

    #[test]
    fn a_stuck_worker_is_left_behind() {
        let workers = Workers::start(1).unwrap();
        let (release, released) = mpsc::channel::<()>();
        workers.next().spawn(async move {
            let _ = released.recv();
        });
        let begun = Instant::now();
        workers.shutdown(Duration::from_millis(50));
        assert!(begun.elapsed() < Duration::from_secs(5));
        drop(release);
    }
}
