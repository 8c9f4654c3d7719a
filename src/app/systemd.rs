//! Notifications to the service manager (sd_notify(3)): state, status and the watchdog.
//!
//! Without `NOTIFY_SOCKET` nothing is sent. The `sd-notify` crate is not used: it opens a socket for each message and
//! waits without a limit when the manager does not read; here a message waits one second at most, a watchdog message never.

use crate::engine::deadline::within;
use crate::net::WorkerLiveness;
use std::fmt::Display;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Sends the state of this process to the service manager, and feeds its watchdog.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// The workers are being ended: their event loops no longer count for the watchdog.
    stopping_workers: AtomicBool,
}

impl Notifier {
    /// For the socket that `NOTIFY_SOCKET` names; sends nothing without one. A socket that cannot be reached is logged.
    pub fn from_env() -> Self {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        match connect(address.as_bytes()) {
            Ok(socket) => Self { socket: Some(socket), watchdog: watchdog(), ..Self::default() },
            Err(error) => {
                tracing::warn!(?address, %error, "could not reach NOTIFY_SOCKET");
                Self::default()
            }
        }
    }

    /// Sends to this socket.
    #[cfg(test)]
    pub(super) fn to(socket: UnixDatagram) -> Self {
        Self { socket: Some(socket), ..Self::default() }
    }

    /// The server serves; `status` is shown by `systemctl status`.
    pub(super) fn ready(&self, status: &dyn Display) {
        self.send(format_args!("READY=1\nSTATUS={status}"));
    }

    /// Settings are being read again; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(format_args!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading settings and certificates"
        ));
    }

    /// The server stops, within `at_most`: the manager is asked to wait that long, whatever its own limit is.
    pub(super) fn stopping(&self, at_most: Duration) {
        let micros = at_most.as_micros();
        self.send(format_args!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=stopping: waiting for running \
             transfers"
        ));
    }

    /// From now on workers end, within the time given to [`Self::stopping`]: the watchdog is fed while the task that waits
    /// for them makes progress.
    pub(super) fn stopping_workers(&self) {
        self.stopping_workers.store(true, Ordering::Relaxed);
    }

    /// Runs `work` to its end. Meanwhile feeds the watchdog, if there is one, each time that the event loop of every
    /// worker and the task that polls this have made a turn: a timer alone would hide an event loop that hangs.
    ///
    /// Cancel: as that of `work`.
    pub(super) async fn with_watchdog<T>(
        &self,
        liveness: WorkerLiveness,
        work: impl Future<Output = T>,
    ) -> T {
        let Some(limit) = self.watchdog else { return work.await };
        // Twice within its limit, as sd_watchdog_enabled(3) advises.
        let period = limit / 2;
        let feeding = async {
            loop {
                let alive = within(period, liveness.all_respond()).await;
                // Asked afterwards: they may have begun to end meanwhile.
                if alive == Ok(true) || self.stopping_workers.load(Ordering::Relaxed) {
                    self.feed_watchdog();
                } else {
                    tracing::error!("worker event loop stalled; watchdog not fed");
                }
                tokio::time::sleep(period).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = feeding => unreachable!("the loop has no end"),
        }
    }

    /// Never waits: a full socket holds earlier messages that say the same.
    fn feed_watchdog(&self) {
        use rustix::net::{SendFlags, send};
        let Some(socket) = &self.socket else { return };
        match send(socket, b"WATCHDOG=1", SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => tracing::warn!(%error, "could not notify the service manager"),
        }
    }

    fn send(&self, state: std::fmt::Arguments<'_>) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(state.to_string().as_bytes()) {
            tracing::warn!(%error, "could not notify the service manager");
        }
    }
}

/// A path, or after `@` an abstract name.
fn connect(address: &[u8]) -> io::Result<UnixDatagram> {
    let address = match address.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        Some(_) | None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // Bounds how long a manager that does not read holds up signals and accepts.
    socket.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok(socket)
}

/// The watchdog's time limit; none where it is meant for another process.
fn watchdog() -> Option<Duration> {
    let variable = |name: &str| std::env::var(name).ok();
    let meant = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let micros: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    (meant && micros > 0).then(|| Duration::from_micros(micros))
}

/// A manager that works takes a message at once.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Workers;
    use std::sync::mpsc;

    fn told(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn speaks_to_paths_and_abstract_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("incoming-test-{}", std::process::id());
        let abstract_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (theirs, place) in [
            (UnixDatagram::bind(&path), path.as_os_str().as_bytes().to_vec()),
            (UnixDatagram::bind_addr(&abstract_name), format!("@{name}").into_bytes()),
        ] {
            let theirs = theirs.unwrap();
            let notifier =
                Notifier { socket: Some(connect(&place).unwrap()), ..Notifier::default() };
            notifier.ready(&"well");
            assert_eq!(told(&theirs), "READY=1\nSTATUS=well");
            notifier.reloading();
            assert!(told(&theirs).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            notifier.stopping(Duration::from_secs(2));
            assert!(told(&theirs).starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\n"));
        }
        assert!(connect(b"/no/such/socket").is_err());
    }

    /// A watchdog's interval.
    const LIMIT: Duration = Duration::from_millis(20);

    /// A notifier that feeds a watchdog, and the service manager's end of its socket.
    fn watched() -> (Notifier, UnixDatagram) {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let notifier =
            Notifier { socket: Some(ours), watchdog: Some(LIMIT), ..Notifier::default() };
        (notifier, theirs)
    }

    #[tokio::test]
    async fn a_worker_that_hangs_is_not_covered_up() {
        let (notifier, theirs) = watched();
        let workers = Workers::start(2).unwrap();
        let sign = || theirs.recv(&mut [0; 64]).is_ok();
        let some = async {
            while !sign() {
                tokio::time::sleep(LIMIT).await;
            }
        };
        notifier.with_watchdog(workers.liveness(), some).await;
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        workers.next().spawn(async move {
            tell.send(()).unwrap();
            let _ = released.recv();
        });
        told.recv().unwrap();
        while sign() {}
        notifier.with_watchdog(workers.liveness(), tokio::time::sleep(10 * LIMIT)).await;
        assert!(!sign(), "a sign of life while a worker hangs");
        drop(release);
        workers.shutdown(Duration::from_secs(5));
    }

    /// Nothing is wrong then, and the last of it takes its time.
    #[tokio::test]
    async fn workers_that_end_at_a_stop_are_not_taken_for_hanging_ones() {
        let (notifier, theirs) = watched();
        let workers = Workers::start(2).unwrap();
        let liveness = workers.liveness();
        let sign = || theirs.recv(&mut [0; 64]).is_ok();
        notifier.stopping_workers();
        let shutdown = move || workers.shutdown(Duration::from_secs(20));
        std::thread::spawn(shutdown).join().unwrap();
        let signs = notifier.with_watchdog(liveness, async {
            for _ in 0..2 {
                while !sign() {
                    tokio::time::sleep(LIMIT).await;
                }
            }
        });
        let lives = tokio::time::timeout(Duration::from_secs(20), signs).await;
        assert!(lives.is_ok(), "no sign of life after the workers");
    }
}
