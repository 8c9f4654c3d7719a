//! What an operator sees of the engine at a glance: throughput of the last ten minutes, uploads in progress, pending
//! deliveries.
//!
//! A task takes a sample once a second, of the uploads only while overviews are requested. A request shares the last
//! sample, so its work does not grow with the number of uploads. Only memory is read: no journal, no disk.

use super::Engine;
use super::delivery::outbox::PendingCall;
use super::handle::UploadHandle;
use crate::core::id::TicketId;
use crate::core::upload::Phase;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// The engine at one moment.
#[derive(Clone, Debug, Default)]
pub struct Overview {
    /// Uploads that take bytes and are in memory.
    pub live_count: usize,
    /// The fastest of them, at most [`SHOWN`].
    pub live: Vec<LiveUpload>,
    /// Deliveries that are pending.
    pub pending_count: usize,
    /// Those that are pending for longest, at most [`SHOWN`].
    pub pending: Vec<PendingCall>,
    /// Bytes of each of the last seconds, oldest first, at most [`SECONDS`].
    pub seconds: Vec<Second>,
    /// Mean time of the syncs of the last minute; `None` without any.
    pub sync_time: Option<Duration>,
}

/// What one second brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Second {
    /// Body bytes read from clients.
    pub received: u64,
    /// Bytes acknowledged for the first time.
    pub acknowledged: u64,
}

/// An upload in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveUpload {
    /// Its id.
    pub id: TicketId,
    /// The file's harmless name.
    pub name: Option<String>,
    /// Total bytes, once known.
    pub length: Option<u64>,
    /// Acknowledged bytes.
    pub acknowledged: u64,
    /// Bytes of chunks in flight that have come and are not acknowledged yet. Some of them may have been known before.
    pub under_way: u64,
    /// Body bytes received per second, smoothed over some seconds.
    pub bytes_per_s: u64,
    /// Chunks in flight.
    pub chunks: u64,
    /// Time since a byte was last acknowledged.
    pub idle: Duration,
}

/// The last sample, and whether another one is wanted.
pub(super) struct Sampler {
    rates: Mutex<Rates>,
    latest: watch::Sender<(Option<Instant>, Arc<Overview>)>,
    requested: Mutex<Option<Instant>>,
    wake: Notify,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            rates: Mutex::default(),
            latest: watch::Sender::new((None, Arc::default())),
            requested: Mutex::default(),
            wake: Notify::new(),
        }
    }
}

impl Sampler {
    fn requested(&self) -> MutexGuard<'_, Option<Instant>> {
        self.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rates(&self) -> MutexGuard<'_, Rates> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was counted in each of the last seconds.
#[derive(Debug, Default)]
struct Rates {
    at: Option<Instant>,
    totals: Second,
    seconds: VecDeque<Second>,
    /// Number of syncs and their nanoseconds so far, at each of the last seconds.
    syncs: VecDeque<(u64, u64)>,
}

impl Rates {
    /// Adds what was counted since the last call. Where that is several seconds ago, it is spread over them.
    fn add(&mut self, now: Instant, totals: Second, syncs: (u64, u64)) {
        let passed = self.at.map_or(Duration::ZERO, |at| now - at);
        let seconds = (passed + PERIOD / 2).as_secs().max(1);
        let second = Second {
            received: (totals.received - self.totals.received) / seconds,
            acknowledged: (totals.acknowledged - self.totals.acknowledged) / seconds,
        };
        if self.at.is_some() {
            let times = usize::try_from(seconds).map_or(SECONDS, |times| times.min(SECONDS));
            self.seconds.extend(std::iter::repeat_n(second, times));
        }
        self.syncs.push_back(syncs);
        self.seconds.drain(..self.seconds.len().saturating_sub(SECONDS));
        self.syncs.drain(..self.syncs.len().saturating_sub(SYNC_SECONDS));
        (self.at, self.totals) = (Some(now), totals);
    }

    /// Of the last so many seconds.
    fn mean(&self, seconds: usize) -> Second {
        let last = self.seconds.iter().rev().take(seconds);
        let count = last.len().max(1) as u64;
        let sum = |of: fn(&Second) -> u64| last.clone().map(of).sum::<u64>() / count;
        Second { received: sum(|it| it.received), acknowledged: sum(|it| it.acknowledged) }
    }

    fn sync_time(&self) -> Option<Duration> {
        let ((first, began), (last, ended)) = (self.syncs.front()?, self.syncs.back()?);
        let nanos = (ended - began).checked_div(last - first)?;
        Some(Duration::from_nanos(nanos))
    }
}

impl Engine {
    /// Takes the samples until the server stops. Dropping the future changes nothing but that.
    pub async fn sample(self: Arc<Self>) {
        let mut tick = interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.draining.cancelled() => return,
                now = tick.tick() => self.count_second(now),
                () = self.sampler.wake.notified() => {}
            }
            let now = Instant::now();
            let requested = *self.sampler.requested();
            if requested.is_some_and(|at| now - at < WATCHED) {
                self.sampler.latest.send_replace((Some(now), Arc::new(self.take_sample(now))));
            }
        }
    }

    /// The last sample; waits at most a second for one where the last is old, then answers that. Dropping the future
    /// changes nothing.
    pub async fn overview(&self) -> Arc<Overview> {
        let now = Instant::now();
        *self.sampler.requested() = Some(now);
        let mut latest = self.sampler.latest.subscribe();
        let fresh = |sampled: Option<Instant>| sampled.is_some_and(|at| now - at < FRESH);
        if !fresh(latest.borrow().0) {
            self.sampler.wake.notify_one();
            let newer = latest.wait_for(|(sampled, _)| fresh(*sampled));
            // Too late, or the sampler has ended: what there is.
            let _ = timeout(PERIOD, newer).await;
        }
        Arc::clone(&latest.borrow().1)
    }

    /// Mean throughput of the last so many seconds.
    pub(super) fn mean_rate(&self, seconds: usize) -> Second {
        self.sampler.rates().mean(seconds)
    }

    fn count_second(&self, now: Instant) {
        let totals = Second {
            received: self.stats.received_bytes.get(),
            acknowledged: self.stats.acknowledged_bytes.get(),
        };
        self.sampler.rates().add(now, totals, self.stats.disk_syncs.totals());
    }

    fn take_sample(&self, now: Instant) -> Overview {
        let mut live: Vec<_> = self
            .registry
            .unordered()
            .into_iter()
            .filter(|handle| {
                let upload = Arc::clone(&handle.lock_poisoned().upload);
                matches!(upload.phase(), Phase::New | Phase::Uploading) && !upload.awaits_publish()
            })
            .map(|handle| (handle.pace.sample(now), handle.chunks.value(), handle))
            .collect();
        let live_count = live.len();
        let order = |(rate, chunks, handle): &(u64, i64, Arc<UploadHandle>)| {
            (Reverse(*rate), Reverse(*chunks), handle.id)
        };
        if live.len() > SHOWN {
            live.select_nth_unstable_by_key(SHOWN, order);
            live.truncate(SHOWN);
        }
        live.sort_unstable_by_key(order);
        let (pending_count, _) = self.pending_deliveries();
        let rates = self.sampler.rates();
        Overview {
            live_count,
            live: live.iter().map(|(rate, _, handle)| self.live(handle, *rate)).collect(),
            pending_count,
            pending: self.outbox.oldest(SHOWN, self.uptime()),
            seconds: rates.seconds.iter().copied().collect(),
            sync_time: rates.sync_time(),
        }
    }

    fn live(&self, handle: &UploadHandle, bytes_per_s: u64) -> LiveUpload {
        let upload = Arc::clone(&handle.lock_poisoned().upload);
        LiveUpload {
            id: handle.id,
            name: upload.name().map(str::to_owned),
            length: upload.length(),
            acknowledged: upload.received().bytes(),
            under_way: handle.pace.under_way(),
            bytes_per_s,
            chunks: handle.chunks.count(),
            idle: self.uptime().since(upload.last_active().uptime),
        }
    }
}

/// Uploads and deliveries in an overview, at most.
pub const SHOWN: usize = 200;
/// Seconds whose throughput is kept.
pub const SECONDS: usize = 600;
/// Seconds that the mean time of a sync is taken over.
const SYNC_SECONDS: usize = 60;
/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);
/// An older sample is not shown while a new one can be had.
const FRESH: Duration = Duration::from_secs(2);
/// Samples of uploads are taken for so long after a request: longer than a hidden page pauses.
const WATCHED: Duration = Duration::from_secs(40);

#[cfg(test)]
mod tests {
    use super::*;

    fn second(bytes: u64) -> Second {
        Second { received: bytes, acknowledged: bytes / 2 }
    }

    #[test]
    fn rates_are_those_of_the_last_ten_minutes() {
        let (mut rates, began) = (Rates::default(), Instant::now());
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        rates.add(at(0), second(1000), (5, 5_000_000));
        assert!(rates.seconds.is_empty(), "what was counted before is of no second");
        assert_eq!(rates.sync_time(), None);
        rates.add(at(1), second(1600), (7, 11_000_000));
        // The process stood still for three seconds.
        rates.add(at(4), second(2200), (7, 11_000_000));
        assert_eq!(rates.seconds, [second(600), second(200), second(200), second(200)]);
        assert_eq!(rates.sync_time(), Some(Duration::from_millis(3)));
        assert_eq!((rates.mean(2), rates.mean(99)), (second(200), second(300)));
        assert_eq!(Rates::default().mean(5), Second::default());
        for n in 5..2000 {
            rates.add(at(n), second(2200), (7, 11_000_000));
        }
        assert_eq!((rates.seconds.len(), rates.seconds[0]), (SECONDS, second(0)));
        assert_eq!(rates.sync_time(), None, "none in the last minute");
        rates.add(at(1_000_000), second(2200), (7, 11_000_000));
        assert_eq!(rates.seconds.len(), SECONDS);
    }
}
