//! A chunk's bytes in the pieces that a protocol brings them in.

use bytes::Bytes;
use futures_core::Stream;
use incoming::engine::error::ClientFault;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How a protocol cuts a body.
#[derive(Clone, Copy)]
pub struct Cut {
    /// Bytes of every frame but the first and the last.
    pub frame: usize,
    /// Bytes that the first one lacks, because a head came before it.
    pub head: usize,
}

/// Frames that are all there already; they share the payload's memory.
#[derive(Clone)]
pub struct Frames {
    rest: Bytes,
    next: usize,
    frame: usize,
}

impl Frames {
    pub fn new(payload: &Bytes, cut: Cut) -> Self {
        Self { rest: payload.clone(), next: cut.frame - cut.head, frame: cut.frame }
    }
}

impl Iterator for Frames {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let bytes = self.next.min(self.rest.len());
        self.next = self.frame;
        (bytes > 0).then(|| self.rest.split_to(bytes))
    }
}

impl Stream for Frames {
    type Item = Result<Bytes, ClientFault>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.next().map(Ok))
    }
}
