//! What comparisons may read of one upload.

use std::time::Duration;
use tokio::time::Instant;

/// The comparisons of one upload.
#[derive(Debug, Default)]
pub(in crate::engine) struct Comparing {
    /// Whether one is under way.
    pub(super) running: bool,
    /// Bytes read lately; they are forgotten at [`BYTES_A_SECOND`].
    spent: u64,
    /// As of then.
    at: Option<Instant>,
}

impl Comparing {
    /// Lets `bytes` of an upload that holds `received` be read, or says when that may be.
    pub(super) fn spend(
        &mut self,
        bytes: u64,
        received: u64,
        now: Instant,
    ) -> Result<(), Duration> {
        let past = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let forgotten = u64::try_from(past.as_millis()).unwrap_or(u64::MAX);
        let spent = self.spent.saturating_sub(forgotten.saturating_mul(BYTES_A_SECOND / 1000));
        let most = BYTES_AT_ONCE.saturating_add(received.saturating_mul(2));
        let over = spent.saturating_add(bytes).saturating_sub(most);
        if over > 0 {
            return Err(Duration::from_secs(over.div_ceil(BYTES_A_SECOND)));
        }
        (self.spent, self.at) = (spent + bytes, Some(now));
        Ok(())
    }
}

/// What comparisons may read of an upload at once, beside twice what it holds: a client that goes on compares all of
/// its file once or twice, and nobody makes the disk read more than a small multiple of what was sent.
const BYTES_AT_ONCE: u64 = 64 << 20;
/// What is forgotten of it each second.
const BYTES_A_SECOND: u64 = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_a_multiple_of_what_was_sent() {
        let (mut comparing, start) = (Comparing::default(), Instant::now());
        let call = 16 << 20;
        // An upload of 16 MiB: itself twice, and the rest of the allowance.
        for _ in 0..6 {
            assert_eq!(comparing.spend(call, call, start), Ok(()));
        }
        assert_eq!(comparing.spend(call, call, start), Err(Duration::from_secs(5)));
        assert_eq!(comparing.spend(1, call, start), Err(Duration::from_secs(1)));
        assert_eq!(comparing.spend(call, call, start + Duration::from_secs(5)), Ok(()));
        // A large one is compared wholly, twice, at once.
        let (mut comparing, large) = (Comparing::default(), 10 << 30);
        let calls = (0..).take_while(|_| comparing.spend(call, large, start).is_ok()).count();
        assert_eq!(calls as u64 * call, 2 * large + BYTES_AT_ONCE);
    }
}
