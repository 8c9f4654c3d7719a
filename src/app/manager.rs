//! The service manager that started the process is told how the server stands (sd_notify(3)).
//!
//! Absent where `NOTIFY_SOCKET` is not set: then nothing is told to anybody.

use crate::engine::deadline::within;
use crate::net::Pulse;
use std::fmt::Display;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whoever supervises this process, and the signs of life it asks for.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
    /// The workers are being ended, and are no longer asked for signs.
    parting: AtomicBool,
}

impl Manager {
    /// The one that the environment names, if any. One that cannot be reached is logged and not told.
    pub fn of_environment() -> Self {
        let Some(place) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        match connect(place.as_bytes()) {
            Ok(socket) => Self { socket: Some(socket), watchdog: watchdog(), ..Self::default() },
            Err(error) => {
                tracing::warn!(?place, %error, "could not reach NOTIFY_SOCKET");
                Self::default()
            }
        }
    }

    /// One that reads this.
    #[cfg(test)]
    pub(super) fn over(socket: UnixDatagram) -> Self {
        Self { socket: Some(socket), ..Self::default() }
    }

    /// It serves.
    pub(super) fn ready(&self, status: &dyn Display) {
        self.tell(format_args!("READY=1\nSTATUS={status}"));
    }

    /// Settings are being read again; [`Self::ready`] ends it.
    pub(super) fn reloading(&self) {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.tell(format_args!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading settings and certificates"
        ));
    }

    /// It ends, which takes this long at most: the manager is asked to wait so long, whatever its own
    /// limit is.
    pub(super) fn stopping(&self, at_most: Duration) {
        let micros = at_most.as_micros();
        self.tell(format_args!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=stopping: waiting for running \
             transfers"
        ));
    }

    /// From now on workers end, as they should, in a time that [`Self::stopping`] has told: signs of life are those
    /// of the task that waits for them.
    pub(super) fn parting(&self) {
        self.parting.store(true, Ordering::Relaxed);
    }

    /// Runs `work` to its end. Meanwhile, if asked to, tells that the server lives, each time that every worker
    /// and the task that polls this have turned: a loop that hangs is not covered up by a timer that runs.
    ///
    /// Cancel: as that of `work`.
    pub(super) async fn watching<T>(&self, pulse: Pulse, work: impl Future<Output = T>) -> T {
        let Some(limit) = self.watchdog else { return work.await };
        // Twice within its limit, as sd_watchdog_enabled(3) advises.
        let period = limit / 2;
        let signs = async {
            loop {
                let turned = within(period, pulse.turned()).await;
                // Asked afterwards: they may have begun to end meanwhile.
                if turned == Ok(true) || self.parting.load(Ordering::Relaxed) {
                    self.sign_of_life();
                } else {
                    tracing::error!("worker event loop stalled; watchdog not fed");
                }
                tokio::time::sleep(period).await;
            }
        };
        tokio::select! {
            done = work => done,
            () = signs => unreachable!("the loop has no end"),
        }
    }

    /// Never waits: one that a manager has no room for would say no more than those before it.
    fn sign_of_life(&self) {
        use rustix::net::{SendFlags, send};
        let Some(socket) = &self.socket else { return };
        match send(socket, b"WATCHDOG=1", SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
            Err(error) => tracing::warn!(%error, "could not notify the service manager"),
        }
    }

    fn tell(&self, state: std::fmt::Arguments<'_>) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(state.to_string().as_bytes()) {
            tracing::warn!(%error, "could not notify the service manager");
        }
    }
}

/// A path, or after `@` an abstract name.
fn connect(place: &[u8]) -> io::Result<UnixDatagram> {
    let address = match place.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        Some(_) | None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(place))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // A manager that does not read holds up signals and accepts no longer than this.
    socket.set_write_timeout(Some(TELL_DEADLINE))?;
    Ok(socket)
}

/// How often signs of life are wanted at least; none for a process that is not the one they are wanted of.
fn watchdog() -> Option<Duration> {
    let variable = |name: &str| std::env::var(name).ok();
    let meant = variable("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let micros: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    (meant && micros > 0).then(|| Duration::from_micros(micros))
}

/// A manager takes a datagram at once, or it is in trouble of its own.
const TELL_DEADLINE: Duration = Duration::from_secs(1);

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
            let manager = Manager { socket: Some(connect(&place).unwrap()), ..Manager::default() };
            manager.ready(&"well");
            assert_eq!(told(&theirs), "READY=1\nSTATUS=well");
            manager.reloading();
            assert!(told(&theirs).starts_with("RELOADING=1\nMONOTONIC_USEC="));
            manager.stopping(Duration::from_secs(2));
            assert!(told(&theirs).starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=2000000\n"));
        }
        assert!(connect(b"/no/such/socket").is_err());
    }

    #[tokio::test]
    async fn a_worker_that_hangs_is_not_covered_up() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let limit = Duration::from_millis(20);
        let manager = Manager { socket: Some(ours), watchdog: Some(limit), ..Manager::default() };
        let workers = Workers::start(2).unwrap();
        let sign = || theirs.recv(&mut [0; 64]).is_ok();
        let some = async {
            while !sign() {
                tokio::time::sleep(limit).await;
            }
        };
        manager.watching(workers.pulse(), some).await;
        let (release, released) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        workers.next().spawn(async move {
            tell.send(()).unwrap();
            let _ = released.recv();
        });
        told.recv().unwrap();
        while sign() {}
        manager.watching(workers.pulse(), tokio::time::sleep(10 * limit)).await;
        assert!(!sign(), "a sign of life while a worker hangs");
        drop(release);
        workers.shutdown(Duration::from_secs(5));
    }

    /// Nothing is wrong then, and the last of it takes its time.
    #[tokio::test]
    async fn workers_that_end_at_a_stop_are_not_taken_for_hanging_ones() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let limit = Duration::from_millis(20);
        let manager = Manager { socket: Some(ours), watchdog: Some(limit), ..Manager::default() };
        let workers = Workers::start(2).unwrap();
        let pulse = workers.pulse();
        let sign = || theirs.recv(&mut [0; 64]).is_ok();
        manager.parting();
        let shutdown = move || workers.shutdown(Duration::from_secs(20));
        std::thread::spawn(shutdown).join().unwrap();
        let signs = manager.watching(pulse, async {
            for _ in 0..2 {
                while !sign() {
                    tokio::time::sleep(limit).await;
                }
            }
        });
        let lives = tokio::time::timeout(Duration::from_secs(20), signs).await;
        assert!(lives.is_ok(), "no sign of life after the workers");
    }
}
