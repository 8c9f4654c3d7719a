//! Every limit and knob of a listener, with the reason for its default.

use super::budget::MemoryBudget;
use super::timeouts::Overdue;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How connections of one listener are served. [`Options::default`] fits the public listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections open at once; more wait in the kernel's queue. 10,000: an idle one costs a few
    /// tens of KiB, so this many stay well under a GiB.
    pub max_connections: usize,
    /// How long running requests may go on once a shutdown began. 30 s: a chunk of 8 MiB ends in it on
    /// a line of 2.5 Mbit/s; one that does not is resumed later.
    pub shutdown_grace: Grace,
    /// How long TLS may take to be agreed on, from the accept. 10 s: two round trips and a retransmit
    /// on a bad line.
    pub handshake: Duration,
    /// How long a peer may keep a connection waiting.
    pub limits: Limits,
    /// How a closed connection is read on.
    pub linger: LingerLimits,
    /// HTTP/1.1.
    pub http1: Http1,
    /// HTTP/2.
    pub http2: Http2,
    /// What connections may hold of bytes that are not taken yet; shared by listeners. 2 GiB: a GiB and
    /// a bit is the least that `max_connections` need, the rest is full speed for a thousand
    /// connections of HTTP/1.1 or some fifty of HTTP/2, fewer where they are far.
    pub memory: Arc<MemoryBudget>,
}

/// A time that can be set anew while it has not begun; all clones are one.
#[derive(Clone, Debug)]
pub struct Grace(Arc<AtomicU64>);

impl Grace {
    /// This long, in whole milliseconds.
    #[must_use]
    pub fn new(time: Duration) -> Self {
        let grace = Self(Arc::default());
        grace.set(time);
        grace
    }

    /// From now on this long.
    pub fn set(&self, time: Duration) {
        self.0.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long it is.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// How long a peer may keep a connection waiting, outside of the time a request is being served.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From the start (under TLS: the end of the handshake) to the first byte. 10 s: whoever connects
    /// has something to say; browsers that connect ahead of need simply connect again.
    pub first_byte: Duration,
    /// From the first byte of an HTTP/1.1 request to the end of its head. 15 s. It also bounds how
    /// long a body may go on arriving after its answer was sent.
    pub head: Duration,
    /// From the last answer to the next request. 75 s: longer than the 50 s of a long poll and than
    /// the 60 s for which common proxies keep an upstream connection, so that they close first.
    pub idle: Duration,
    /// How long a peer may leave our bytes unread. 30 s without a single one taken.
    pub stalled_write: Duration,
    /// How long a connection that was asked to end, and serves nothing, may take to do so. 15 s, more
    /// than `linger` in total.
    pub closing: Duration,
}

/// How long, and for how many bytes, a closed connection is read on so that its last answer arrives.
#[derive(Clone, Copy, Debug)]
pub struct LingerLimits {
    /// Without a byte from the peer, this long. 1 s: longer than a round trip, short enough that a
    /// silent peer does not hold its permit.
    pub quiet: Duration,
    /// In all, this long. 10 s, what the protocol promises to a refused upload.
    pub total: Duration,
    /// In all, this many bytes. 64 MiB, what the protocol promises to a refused upload.
    pub bytes: usize,
}

/// Knobs of HTTP/1.1.
#[derive(Clone, Copy, Debug)]
pub struct Http1 {
    /// Most bytes hyper reads ahead, and the size of the frames a fast upload's body comes in.
    /// 408 KiB: measured 1.06, 0.80, 0.76 and 0.73 CPU s/GiB at 64 KiB, 256 KiB, this and 1 MiB; each
    /// busy connection can hold this much, so the last three percent are not worth it.
    pub buffer_bytes: usize,
    /// Headers of one request. 100, hyper's own; more are answered 431.
    pub max_headers: usize,
    /// Bytes of one request's head. 32 KiB: twice what common proxies let through; more are answered
    /// 431.
    pub max_head_bytes: usize,
}

/// Knobs of HTTP/2.
#[derive(Clone, Copy, Debug)]
pub struct Http2 {
    /// Bytes a stream may send beyond what was read of it, at most, and at most half of its connection's
    /// window: a stream that stands still leaves the others their half. 12 MiB.
    pub stream_window_bytes: u32,
    /// Bytes all streams of a connection may send beyond what was read, at most: what a peer gets whose
    /// round trip is long (`sizes.rs`). 24 MiB: a window is refilled in thirds, so this is what
    /// 1 Gbit/s at 100 ms or 500 Mbit/s at 200 ms takes; it is also the most memory one connection's
    /// unread bodies can take.
    pub connection_window_bytes: u32,
    /// The same for a near peer. 8 MiB: 1 Gbit/s at 33 ms.
    pub near_window_bytes: u32,
    /// Streams open at once on a connection. 100, the least that RFC 9113 recommends.
    pub max_streams: u32,
    /// Largest frame accepted. 16 KiB, the protocol's least and what browsers send: a stream whose
    /// bytes wait for the disk holds one frame beside its window, so this bounds memory. Larger ones
    /// would cost clients that use them a little less CPU.
    pub max_frame_bytes: u32,
    /// Bytes of a request's decoded headers. 32 KiB, as for HTTP/1.1.
    pub max_header_bytes: u32,
    /// Bytes of the table that compressed headers refer to. 4 KiB, the protocol's own.
    pub header_table_bytes: u32,
    /// Bytes of one stream's answer that may wait to be sent. 400 KiB, hyper's own; answers here are
    /// far smaller.
    pub send_buffer_bytes: usize,
    /// A connection from which nothing came for this long is pinged. 20 s: keeps the state of home
    /// routers alive, and finds peers that vanished.
    pub ping_after: Duration,
    /// A ping not answered for this long ends the connection. 20 s.
    pub ping_timeout: Duration,
    /// Streams that a peer opened and reset before they were looked at. 20, h2's own: the guard against
    /// rapid resets.
    pub max_unseen_resets: usize,
    /// Frames for streams we already gave up, over a connection's whole life, before it is ended.
    ///
    /// A refused upload's bytes in flight (12 MiB are 768 small frames) each count once the stream is
    /// forgotten, which h2 does after a second. Its default of 1024 would let one refusal on a slow
    /// line end the other uploads of that browser, so: 16,384, which still bounds what a hostile peer
    /// can make us send, and keep: each holds memory outside the budget.
    pub max_late_frames: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            shutdown_grace: Grace::new(Duration::from_secs(30)),
            handshake: Duration::from_secs(10),
            limits: Limits::default(),
            linger: LingerLimits::default(),
            http1: Http1::default(),
            http2: Http2::default(),
            memory: MemoryBudget::new(2 << 30, 10_000),
        }
    }
}

impl Limits {
    /// The limit that was overstepped.
    pub(super) fn of(&self, overdue: Overdue) -> Duration {
        match overdue {
            Overdue::FirstByte => self.first_byte,
            Overdue::Head => self.head,
            Overdue::Idle => self.idle,
            Overdue::Write => self.stalled_write,
            Overdue::Closing => self.closing,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            first_byte: Duration::from_secs(10),
            head: Duration::from_secs(15),
            idle: Duration::from_secs(75),
            stalled_write: Duration::from_secs(30),
            closing: Duration::from_secs(15),
        }
    }
}

impl Default for LingerLimits {
    fn default() -> Self {
        Self { quiet: Duration::from_secs(1), total: Duration::from_secs(10), bytes: 64 * MIB }
    }
}

impl Default for Http1 {
    fn default() -> Self {
        Self { buffer_bytes: 408 * KIB, max_headers: 100, max_head_bytes: 32 * KIB }
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            stream_window_bytes: 12 << 20,
            connection_window_bytes: 24 << 20,
            near_window_bytes: 8 << 20,
            max_streams: 100,
            max_frame_bytes: 16 << 10,
            max_header_bytes: 32 << 10,
            header_table_bytes: 4 << 10,
            send_buffer_bytes: 400 * KIB,
            ping_after: Duration::from_secs(20),
            ping_timeout: Duration::from_secs(20),
            max_unseen_resets: 20,
            max_late_frames: 16_384,
        }
    }
}
