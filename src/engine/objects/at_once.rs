//! Several futures in one task, some at a time.
//!
//! Each poll polls all that have begun: they are few. So nothing depends on wakers, which the simulation of servers has none
//! of, and dropping the future drops all of them.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// What each of `futures` comes to, in their order; at most `limit` of them, at least one, run at a time.
pub(super) async fn at_once<F: Future>(
    limit: usize,
    futures: impl IntoIterator<Item = F>,
) -> Vec<F::Output> {
    let mut waiting = futures.into_iter().fuse();
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut ended: Vec<Option<F::Output>> = Vec::new();
    poll_fn(|cx| {
        loop {
            while running.len() < limit.max(1) {
                let Some(next) = waiting.next() else { break };
                running.push((ended.len(), Box::pin(next)));
                ended.push(None);
            }
            if running.is_empty() {
                return Poll::Ready(());
            }
            let before = running.len();
            running.retain_mut(|(number, future)| match future.as_mut().poll(cx) {
                Poll::Ready(output) => {
                    ended[*number] = Some(output);
                    false
                }
                Poll::Pending => true,
            });
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    ended.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::at_once;
    use std::cell::Cell;
    use std::time::Duration;
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn some_run_at_a_time_and_their_order_stays() {
        let (running, most) = (Cell::new(0), Cell::new(0));
        let one = |number: u64| {
            let (running, most) = (&running, &most);
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                // The first take longest.
                sleep(Duration::from_secs(20 - number)).await;
                running.set(running.get() - 1);
                number
            }
        };
        let since = Instant::now();
        let all = at_once(5, (0..20).map(one)).await;
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert_eq!((most.get(), running.get()), (5, 0));
        assert!(since.elapsed() < Duration::from_secs(60), "{:?}", since.elapsed());
        assert_eq!(at_once(0, [one(3)]).await, [3]);
        assert_eq!(at_once(4, std::iter::empty::<std::future::Ready<u8>>()).await, [0; 0]);
    }
}
