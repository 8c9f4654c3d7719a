//! The body of a PUT as the network brings it: in frames, with pauses, broken, short or long.

use crate::model::byte;
use crate::world::Life;
use bytes::Bytes;
use futures_core::Stream;
use incoming::engine::Engine;
use incoming::engine::error::ClientFault;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// After its bytes.
    Whole,
    /// The connection breaks after its bytes.
    Broken,
    /// No byte comes any more, and no end.
    Silence,
}

pub(crate) struct Body {
    life: Arc<Life>,
    engine: Weak<Engine>,
    request: usize,
    at: u64,
    end: u64,
    largest_frame: u64,
    ending: Ending,
    ended: bool,
    begun: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Body {
    pub(crate) fn new(
        life: &Arc<Life>,
        engine: &Arc<Engine>,
        request: usize,
        (start, end): (u64, u64),
        ending: Ending,
    ) -> Self {
        let largest_frame = life.world.dice().of(&[3, 20, 300, 3000]);
        Self {
            life: Arc::clone(life),
            engine: Arc::downgrade(engine),
            request,
            at: start,
            end,
            largest_frame,
            ending,
            ended: false,
            begun: false,
            pause: None,
        }
    }

    /// The first byte is asked for: what is not acknowledged now is this request's to write.
    fn begin(&mut self) {
        self.begun = true;
        let Some(engine) = self.engine.upgrade() else { return };
        let mut model = self.life.world.model();
        let request = &mut model.requests[self.request];
        request.known_at_start = engine.in_memory(request.upload).map(|status| status.received);
    }

    fn end(&mut self) -> Poll<Option<Result<Bytes, ClientFault>>> {
        match self.ending {
            Ending::Whole => {
                self.ended = true;
                self.life.world.model().requests[self.request].ended = true;
                Poll::Ready(None)
            }
            Ending::Broken => {
                self.ended = true;
                Poll::Ready(Some(Err(ClientFault::BrokeOff("reset".into()))))
            }
            Ending::Silence => Poll::Pending,
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, ClientFault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.life.is_dead() {
            return Poll::Pending;
        }
        if !self.begun {
            self.begin();
        }
        assert!(!self.ended, "a body is not asked after its end");
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        let life = Arc::clone(&self.life);
        let mut dice = life.world.dice();
        match dice.below(24) {
            0..4 => {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            4 => {
                let ms = dice.of(&[1, 5, 700, 9000]);
                let mut pause = Box::pin(tokio::time::sleep(Duration::from_millis(ms)));
                if pause.as_mut().poll(context).is_pending() {
                    self.pause = Some(pause);
                    return Poll::Pending;
                }
            }
            _ => {}
        }
        if self.at == self.end {
            drop(dice);
            return self.end();
        }
        let count = dice.between(1, self.largest_frame).min(self.end - self.at);
        drop(dice);
        let frame: Bytes = (self.at..self.at + count).map(|at| byte(self.request, at)).collect();
        self.at += count;
        life.world.model().requests[self.request].sent += count;
        Poll::Ready(Some(Ok(frame)))
    }
}
