//! The buffers and windows of a connection that fit into its share of the memory.
//!
//! An HTTP/2 window is announced when the connection begins, and the library that serves it changes none later. What a
//! connection needs is its rate times its round trip. The rate is not known yet, the round trip is: TLS has just taken
//! one. So far peers ask for large windows and near ones for small ones, and all get what their share holds.

use super::io::READ_AHEAD;
use super::options::{Http1, Http2};
use std::time::Duration;

/// How large a connection's buffers and windows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Read at once below TLS.
    pub(super) read_ahead: usize,
    /// HTTP/1.1's read buffer. There may be two: one is written while the next fills.
    pub(super) http1_buffer: usize,
    /// HTTP/2's window of the connection ...
    pub(super) connection_window: u32,
    /// ... and of each stream.
    pub(super) stream_window: u32,
}

/// Records that rustls holds of a connection, both ways: some 16 KiB each.
const TLS_BYTES: u64 = 32 << 10;
/// From this share on a connection reads far ahead; below, [`SMALL_READ_AHEAD`].
const ROOMY_BYTES: u64 = 512 << 10;
const SMALL_READ_AHEAD: usize = 16 << 10;
/// Window for each millisecond of the round trip: twice what 1 Gbit/s brings in it. A window is refilled in thirds, so
/// one and a half times that keeps a line full, and the rest is for the time that the bytes take here.
const WINDOW_BYTES_PER_MS: u64 = 2 * 125_000;
/// HTTP/2 knows no smaller window for a connection.
const SMALLEST_WINDOW: u32 = 65_535;

impl Sizes {
    /// What HTTP/1.1 can use at most.
    pub(super) fn most_http1(knobs: &Http1) -> u64 {
        2 * knobs.buffer_bytes as u64 + READ_AHEAD as u64 + TLS_BYTES
    }

    /// What HTTP/2 can use where the handshake of TLS took this long: one round trip, or more where it had to wait.
    pub(super) fn most_http2(knobs: &Http2, handshake: Duration) -> u64 {
        let ms = u64::try_from(handshake.as_millis()).unwrap_or(u64::MAX);
        let window = ms
            .saturating_mul(WINDOW_BYTES_PER_MS)
            .max(knobs.near_window_bytes.into())
            .min(knobs.connection_window_bytes.into());
        window + READ_AHEAD as u64 + TLS_BYTES
    }

    /// What fits into `share` bytes.
    pub(super) fn of(share: u64, http1: &Http1, http2: &Http2) -> Self {
        let read_ahead = if share >= ROOMY_BYTES { READ_AHEAD } else { SMALL_READ_AHEAD };
        let room = share.saturating_sub(read_ahead as u64 + TLS_BYTES);
        let buffer = usize::try_from(room / 2).unwrap_or(usize::MAX);
        let window = u32::try_from(room).unwrap_or(u32::MAX);
        let connection_window = window.min(http2.connection_window_bytes).max(SMALLEST_WINDOW);
        Self {
            read_ahead,
            http1_buffer: buffer.min(http1.buffer_bytes),
            connection_window,
            stream_window: http2
                .stream_window_bytes
                .min(connection_window / 2)
                .max(SMALLEST_WINDOW),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::LEAST_BYTES;
    use super::*;

    #[test]
    fn far_peers_ask_for_large_windows() {
        let (http1, http2) = (Http1::default(), Http2::default());
        let check = |ms: u64, connection: u32, stream: u32| {
            let want = Sizes::most_http2(&http2, Duration::from_millis(ms));
            let sizes = Sizes::of(want, &http1, &http2);
            let windows = (sizes.connection_window, sizes.stream_window);
            assert_eq!(windows, (connection, stream), "{ms} ms");
        };
        check(0, 8 << 20, 4 << 20);
        check(33, 8 << 20, 4 << 20);
        check(50, 12_500_000, 6_250_000);
        check(100, 25_000_000, 12_500_000);
        check(200, 24 << 20, 12 << 20);
        check(u64::MAX, 24 << 20, 12 << 20);
    }

    #[test]
    fn sizes_stay_within_their_share() {
        let (http1, http2) = (Http1::default(), Http2::default());
        let full = Sizes::of(Sizes::most_http1(&http1), &http1, &http2);
        assert_eq!((full.http1_buffer, full.read_ahead), (http1.buffer_bytes, READ_AHEAD));
        let mut share = LEAST_BYTES;
        while share < 40 << 20 {
            let sizes = Sizes::of(share, &http1, &http2);
            let fixed = sizes.read_ahead as u64 + TLS_BYTES;
            assert!(2 * sizes.http1_buffer as u64 + fixed <= share, "{share}");
            assert!(u64::from(sizes.connection_window) + fixed <= share, "{share}");
            assert!(sizes.http1_buffer >= http1.max_head_bytes, "{share}: heads would not fit");
            assert!(sizes.stream_window <= sizes.connection_window);
            share += share / 7;
        }
    }
}
