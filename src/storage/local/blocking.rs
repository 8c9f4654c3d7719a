//! Where work that blocks runs: the one way by which the engine leaves its worker.
//!
//! In the server that is tokio's blocking threads. A simulation puts a [`Stage`] in their place,
//! which runs the same work in an order of its own, so that a seed gives the same run again.

use crate::storage::promised::Promised;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

/// Where work that blocks runs.
#[derive(Clone, Default)]
pub enum Blocking {
    /// On a blocking thread of the runtime.
    #[default]
    Threads,
    /// Where and when the stage says.
    Staged(Arc<dyn Stage>),
}

/// Work that blocks.
pub type Work = Box<dyn FnOnce() + Send>;

/// Performs work that blocks in an order of its own.
pub trait Stage: Send + Sync {
    /// Does `work` to its end, some time, in the context of the runtime; the future ends after it.
    fn perform(&self, work: Work) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Whether the disk is to be taken for slow just now.
    fn is_slow(&self) -> bool;

    /// Whether a round of work is done in one piece. Else each of its calls is performed by itself, and others run between
    /// them, as they do beside a thread.
    fn in_one_piece(&self) -> bool {
        true
    }
}

impl Blocking {
    /// Does `work` elsewhere. It goes on to its end though nobody waits; an error is its panic.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let work = || {
            let _may_wait = MayWait::enter();
            work()
        };
        match self {
            Self::Threads => tokio::task::spawn_blocking(work),
            Self::Staged(stage) => {
                let (tell, told) = oneshot::channel();
                let performed = stage.perform(Box::new(move || drop(tell.send(work()))));
                tokio::spawn(async move {
                    performed.await;
                    told.await.expect("a stage does its work")
                })
            }
        }
    }

    /// Does `work` where waiting for the disk is allowed: here, if this thread is one of those, else elsewhere. It begins
    /// now and goes on to its end though nobody waits; an error is its panic elsewhere.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Promised<'static, Result<T, JoinError>> {
        if MAY_WAIT.get() { Promised::ready(Ok(work())) } else { Promised::later(self.spawn(work)) }
    }

    /// Whether this thread may wait for the disk.
    pub fn may_wait() -> bool {
        MAY_WAIT.get()
    }

    /// Does `work` elsewhere, to its end: all that waits for the disk in it on one thread. What waits for something else
    /// goes on as a task.
    pub fn drive(&self, mut work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        if let Self::Staged(stage) = self
            && !stage.in_one_piece()
        {
            drop(tokio::spawn(work));
            return;
        }
        drop(self.spawn(move || {
            if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                tokio::spawn(work);
            }
        }));
    }

    /// Whether a stage says that the disk is slow.
    pub fn plays_slow(&self) -> bool {
        match self {
            Self::Threads => false,
            Self::Staged(stage) => stage.is_slow(),
        }
    }
}

thread_local! {
    /// Whether this thread may wait for the disk.
    static MAY_WAIT: Cell<bool> = const { Cell::new(false) };
}

/// This thread may wait for the disk, until it is dropped.
struct MayWait(bool);

impl MayWait {
    fn enter() -> Self {
        Self(MAY_WAIT.replace(true))
    }
}

impl Drop for MayWait {
    fn drop(&mut self) {
        MAY_WAIT.set(self.0);
    }
}
