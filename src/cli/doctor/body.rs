//! Bodies of probes: zeros, with pauses, or with an end that never comes.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// A step of a body.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// So many zeros.
    Bytes(u64),
    Pause(Duration),
    /// Nothing more comes, ever.
    Never,
}

/// A body of these steps.
pub(super) struct Steps {
    left: VecDeque<Step>,
    length: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Steps {
    /// A body that is announced to have `length` bytes; 0 for none.
    pub(super) fn new(length: u64, steps: impl IntoIterator<Item = Step>) -> Self {
        Self { left: steps.into_iter().collect(), length, pause: None }
    }

    /// All of it at once.
    pub(super) fn whole(length: u64) -> Self {
        Self::new(length, [Step::Bytes(length)])
    }

    pub(super) fn none() -> Self {
        Self::new(0, [])
    }
}

/// What is left of it, a pause from its beginning.
impl Clone for Steps {
    fn clone(&self) -> Self {
        Self { left: self.left.clone(), length: self.length, pause: None }
    }
}

static BLOCK: [u8; 64 << 10] = [0; 64 << 10];

impl Body for Steps {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            match self.left.front().copied() {
                None => return Poll::Ready(None),
                Some(Step::Never) => return Poll::Pending,
                Some(Step::Pause(time)) => {
                    let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(time)));
                    ready!(pause.as_mut().poll(cx));
                    self.pause = None;
                    self.left.pop_front();
                }
                Some(Step::Bytes(0)) => _ = self.left.pop_front(),
                Some(Step::Bytes(left)) => {
                    let now = left.min(BLOCK.len() as u64);
                    self.left[0] = Step::Bytes(left - now);
                    let block = &BLOCK[..usize::try_from(now).unwrap_or(BLOCK.len())];
                    return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(block)))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}
