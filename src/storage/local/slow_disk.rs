//! Whether the disk takes writes at once just now; decides where a batch is written.
//!
//! A write that the page cache takes costs less on the worker than the way to another thread does. A
//! write that has to wait stalls every connection of that worker. So: on the worker until one had to
//! wait, then elsewhere for a while, and for as long as one hangs. What a worker can lose is one write
//! in each such while. Asking for free space and setting it aside go the same way.

use super::blocking::Blocking;
use crate::storage::promised::Promised;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinError;
use tokio::time::Instant;

/// What is known of the disk's pace; shared by all uploads.
pub struct SlowDisk {
    began: Instant,
    blocking: Blocking,
    /// Slow until then, in milliseconds after `began`.
    until: AtomicU64,
    /// For bytes that may wait for it at once, in units.
    waiting: Arc<Semaphore>,
    units: u32,
}

impl SlowDisk {
    /// A disk that has not been slow yet.
    pub fn new(now: Instant, waiting_bytes: u64, blocking: Blocking) -> Self {
        let units = u32::try_from(waiting_bytes / UNIT_BYTES).unwrap_or(u32::MAX).max(1);
        let waiting = Arc::new(Semaphore::new(units as usize));
        Self { began: now, blocking, until: AtomicU64::new(0), waiting, units }
    }

    /// Leave to hold a batch of up to `bytes` while the disk is slow. Who gets none holds the frame
    /// that it has and reads no further. Cancel: nothing is taken.
    pub async fn permit(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes as u64 / UNIT_BYTES + 1).unwrap_or(u32::MAX);
        // One batch at a time goes through in any case.
        let waiting = Arc::clone(&self.waiting);
        waiting.acquire_many_owned(units.min(self.units)).await.ok()
    }

    /// Bytes of batches that wait for it now, and how many may.
    pub fn waiting_bytes(&self) -> (u64, u64) {
        let free = u64::try_from(self.waiting.available_permits()).unwrap_or(u64::MAX);
        let all = u64::from(self.units);
        (all.saturating_sub(free) * UNIT_BYTES, all * UNIT_BYTES)
    }

    /// Whether a write had to wait a short while ago.
    pub fn is_slow(&self, now: Instant) -> bool {
        self.millis(now) < self.until.load(Ordering::Relaxed) || self.blocking.plays_slow()
    }

    /// Work with the disk waited so long, until now.
    pub fn waited(&self, time: Duration, now: Instant) {
        if time >= SLOW_WRITE {
            let counts = time.saturating_mul(SLOW_FACTOR).min(SLOW_FOR);
            let until = self.millis(now + counts);
            self.until.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// As [`Self::run`], here in any case.
    pub fn run_here<T>(&self, work: impl FnOnce() -> T) -> T {
        let (done, waited) = Waited::measure(work);
        self.waited(waited.0, Instant::now());
        done
    }

    /// Does what may have to wait for the disk: here, and on a blocking thread while the disk is slow.
    /// An error is the panic of the work there. Cancel: work that has begun goes on to its end.
    pub fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Promised<'static, Result<T, JoinError>> {
        if !self.is_slow(Instant::now()) {
            return Promised::ready(Ok(self.run_here(work)));
        }
        let disk = Arc::clone(self);
        Promised::later(async move {
            let work = disk.blocking.spawn(|| Waited::measure(work));
            let (done, waited) = disk.during(work).await?;
            disk.waited(waited.0, Instant::now());
            Ok(done)
        })
    }

    /// Waits for a write elsewhere; as long as it hangs the disk is slow.
    pub async fn during<W: Future + Unpin>(&self, mut write: W) -> W::Output {
        loop {
            tokio::select! {
                biased;
                written = &mut write => return written,
                () = tokio::time::sleep(LOOK) => self.waited(LOOK, Instant::now()),
            }
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

/// How long work had to wait for something other than a processor.
struct Waited(Duration);

impl Waited {
    /// Zero where the thread was not put to sleep: on a busy machine a write is slow because others
    /// run meanwhile, and then another thread would not be quicker. A thread that waits for the disk
    /// gives its processor up by itself (getrusage(2): voluntary context switches). What takes very
    /// long counts in any case.
    fn measure<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let (began, slept) = (Instant::now(), times_slept());
        let done = work();
        let took = began.elapsed();
        let waited = took >= SLOW_ANYWAY
            || took >= SLOW_WRITE && times_slept().is_none_or(|times| Some(times) != slept);
        (done, Self(if waited { took } else { Duration::ZERO }))
    }
}

/// How often this thread has waited for something other than a processor, where the system tells.
fn times_slept() -> Option<i64> {
    use nix::sys::resource::{UsageWho, getrusage};
    getrusage(UsageWho::RUSAGE_THREAD).ok().map(|usage| usage.voluntary_context_switches())
}

/// Work that sleeps this long has met a full dirty budget or the disk, not the page cache: a batch of 256 KiB
/// takes a twentieth of a millisecond, and the short locks of a file that two write to a few of those.
/// Most sleeps of a throttled writer are below 20 ms (measured).
pub const SLOW_WRITE: Duration = Duration::from_millis(10);
/// Slept or not: memory that is being reclaimed, a sandbox that sleeps in the thread's stead. The other
/// connections of the worker wait all the same.
const SLOW_ANYWAY: Duration = Duration::from_millis(200);
/// What permits are counted in.
const UNIT_BYTES: u64 = 16 << 10;
/// How often a write that hangs is looked at: before the last look has lost its effect.
const LOOK: Duration = Duration::from_millis(500);
/// How long one such write counts at most. A throttled writer is held up about this often by the kernel,
/// so that with less the next slow write would be met on a worker again.
const SLOW_FOR: Duration = Duration::from_secs(1);
/// It counts so many times as long as it was: other threads cost a fifth more, and one wait for a
/// commit of the file system's journal is no slow disk.
const SLOW_FACTOR: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_processor_that_is_taken_away_is_no_slow_disk() {
        let disk = Arc::new(SlowDisk::new(Instant::now(), 1 << 20, Blocking::Threads));
        let busy = || {
            let began = Instant::now();
            while began.elapsed() < SLOW_WRITE * 2 {
                std::hint::spin_loop();
            }
        };
        disk.run(busy).await.unwrap();
        assert!(!disk.is_slow(Instant::now()));
        disk.run(|| std::thread::sleep(SLOW_WRITE)).await.unwrap();
        assert!(disk.is_slow(Instant::now()));
    }

    #[tokio::test]
    async fn what_waits_has_a_bound_and_nothing_is_too_large() {
        let disk = Arc::new(SlowDisk::new(Instant::now(), 1 << 20, Blocking::Threads));
        let first = disk.permit(600 << 10).await.unwrap();
        let second = disk.permit(400 << 10).await.unwrap();
        let mut third = Box::pin(disk.permit(100 << 10));
        tokio::select! { biased;
            _ = &mut third => panic!("it is full"),
            () = tokio::task::yield_now() => {}
        }
        drop(second);
        drop(third.await.unwrap());
        drop(first);
        assert!(disk.permit(usize::MAX).await.is_some());
    }

    #[test]
    fn one_slow_write_counts_for_a_while() {
        let began = Instant::now();
        let disk = SlowDisk::new(began, 1 << 20, Blocking::Threads);
        let at = |ms| began + Duration::from_millis(ms);
        assert!(!disk.is_slow(began));
        disk.waited(SLOW_WRITE - Duration::from_nanos(1), at(5));
        assert!(!disk.is_slow(at(5)));
        disk.waited(SLOW_WRITE, at(100));
        assert!(disk.is_slow(at(100)) && disk.is_slow(at(299)) && !disk.is_slow(at(300)));
        disk.waited(20 * SLOW_WRITE, at(400));
        assert!(disk.is_slow(at(1399)) && !disk.is_slow(at(1400)));
        // Quick ones meanwhile say nothing: the page cache takes some even while it is full.
        disk.waited(SLOW_WRITE, at(500));
        disk.waited(Duration::ZERO, at(600));
        assert!(disk.is_slow(at(1399)));
    }
}
