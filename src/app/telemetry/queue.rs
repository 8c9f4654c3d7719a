//! Log lines on their way to standard error: a bounded buffer, and a thread that writes it out.
//!
//! Whoever logs never waits for the reader of standard error. While that reads nothing, lines that no longer fit are
//! dropped and counted, and a line says how many once it reads again. `tracing-appender` does not fit: its end waits on
//! standard output, it bounds lines instead of bytes, and it panics where no thread can be had.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The buffer; its clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// There are lines, or they are to be written at once.
    filled: Condvar,
    emptied: Condvar,
    /// Lines that were dropped, ever.
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Whole lines that wait.
    waiting: Vec<u8>,
    lines: u64,
    /// Dropped lines that the log has not told of yet.
    untold: u64,
    /// Lines that were taken out are being written.
    writing: bool,
    /// The writer waits for a line: only then is it woken.
    idle: bool,
    /// Calls of `flush` that wait until all is written.
    flushing: u32,
}

impl Queue {
    /// A buffer that a thread of its own writes to `out`, for as long as the process lives.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let queue = Self::default();
        let writer = queue.clone();
        thread::Builder::new().name("incoming-log".into()).spawn(move || writer.write_out(out))?;
        Ok(queue)
    }

    /// Appends a line, or drops it. Never waits for the reader.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + line.len() > CAPACITY_BYTES {
            self.drop_lines(&mut state, 1);
            return;
        }
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        if idle {
            self.0.filled.notify_one();
        }
    }

    /// Lines that were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Lines that were dropped and that the log has not told of yet: its reader reads nothing, or is gone.
    pub(super) fn untold(&self) -> u64 {
        self.lock().untold
    }

    /// Waits until all is written, so long at most.
    pub(super) fn flush(&self, within: Duration) {
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        let mut state = self.lock();
        state.flushing += 1;
        self.0.filled.notify_one();
        // What is left then is lost with the process.
        let waited = self.0.emptied.wait_timeout_while(state, within, busy);
        waited.unwrap_or_else(PoisonError::into_inner).0.flushing -= 1;
    }

    fn write_out(&self, mut out: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let (lines, untold) = self.take(&mut bytes);
            let written = out.write_all(&bytes).and_then(|()| out.flush());
            bytes.clear();
            let mut state = self.lock();
            state.writing = false;
            let told = match written {
                Ok(()) => {
                    state.untold -= untold;
                    untold
                }
                Err(_) => {
                    self.drop_lines(&mut state, lines);
                    0
                }
            };
            let flushing = state.flushing > 0;
            drop(state);
            if flushing {
                self.0.emptied.notify_all();
            }
            if told > 0 {
                tracing::warn!(lines = told, "log lines dropped: standard error was blocked");
            }
        }
    }

    /// Waits for lines and takes all out: how many, and how many had been dropped by then.
    fn take(&self, bytes: &mut Vec<u8>) -> (u64, u64) {
        // Lines that come close to one another are written together: each write costs more than its line.
        let quiet = |state: &mut State| state.flushing == 0;
        let paused = self.0.filled.wait_timeout_while(self.lock(), PAUSE, quiet);
        let state = paused.unwrap_or_else(PoisonError::into_inner).0;
        let none = |state: &mut State| {
            state.idle = state.waiting.is_empty();
            state.idle
        };
        let waited = self.0.filled.wait_while(state, none);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.waiting, bytes);
        state.writing = true;
        (std::mem::take(&mut state.lines), state.untold)
    }

    fn drop_lines(&self, state: &mut State, lines: u64) {
        state.untold += lines;
        self.0.dropped.fetch_add(lines, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of lines that wait, and as many that are being written. 1 MiB: some thousand lines, which a reader that
/// pauses for seconds catches up on.
const CAPACITY_BYTES: usize = 1 << 20;
/// Between two writes.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Takes a write when told to, or fails it, and passes on what was written.
    struct Reader {
        go: mpsc::Receiver<bool>,
        seen: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.go.recv() {
                Ok(true) => {
                    self.seen.send(bytes.to_vec()).unwrap();
                    Ok(bytes.len())
                }
                Ok(false) | Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_logs_waits_for_no_reader_and_what_is_dropped_is_counted() {
        let ((allow, go), (seen, read)) = (mpsc::channel(), mpsc::channel());
        let queue = Queue::start(Reader { go, seen }).unwrap();
        queue.push(b"first\n");
        while !queue.lock().writing {
            thread::yield_now();
        }
        let line = vec![b'x'; CAPACITY_BYTES / 4];
        for _ in 0..6 {
            queue.push(&line);
        }
        assert_eq!((queue.dropped(), queue.untold()), (2, 2));
        queue.flush(Duration::from_millis(1));
        allow.send(true).unwrap();
        allow.send(true).unwrap();
        assert_eq!(read.recv().unwrap(), b"first\n");
        assert_eq!(read.recv().unwrap().len(), 4 * line.len());
        queue.flush(Duration::from_secs(20));
        assert_eq!((queue.dropped(), queue.untold()), (2, 0), "it can be told now");
        // A reader that is gone.
        allow.send(false).unwrap();
        queue.push(b"a\n");
        queue.flush(Duration::from_secs(20));
        assert_eq!((queue.dropped(), queue.untold()), (3, 1));
        allow.send(true).unwrap();
        queue.push(b"b\n");
        assert_eq!(read.recv().unwrap(), b"b\n");
        queue.flush(Duration::from_secs(20));
        assert_eq!((queue.dropped(), queue.untold()), (3, 0));
    }
}
