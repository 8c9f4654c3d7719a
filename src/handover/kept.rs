//! Connections to backends that wait for the next call: few, and for a short time.
//!
//! Many small files are many calls to one backend, and a connection for each costs more than the call, over TLS above
//! all. A connection waits for a second, less than any server keeps it for, so that hardly one ends just when a call
//! is sent; and it is used for ten seconds, so that a name that leads elsewhere, or a backend that serves one connection
//! at a time, is not left waiting.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::connection::Connection;
use crate::core::callback::CallbackTarget;

/// Whom a connection leads to, as the URL has it: calls to no other scheme, host or port are sent on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    tls: bool,
    host: String,
    port: u16,
}

impl Peer {
    pub(super) fn of(target: &CallbackTarget<'_>) -> Self {
        Self { tls: target.tls, host: target.host.to_ascii_lowercase(), port: target.port }
    }
}

/// The connections that wait.
#[derive(Default)]
pub(super) struct Kept(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Those that have waited longest first.
    waiting: VecDeque<Waiting>,
    /// Closes those whose time is over; there while some wait.
    closing: Option<AbortOnDropHandle<()>>,
}

struct Waiting {
    peer: Peer,
    connection: Connection,
    until: Instant,
}

impl Kept {
    /// One to this peer that still takes a request, as far as can be seen from here. The one that was used last, so that
    /// those which are not needed end.
    pub(super) async fn take(&self, peer: &Peer) -> Option<Connection> {
        loop {
            let mut connection = self.lock().take(peer)?;
            if connection.is_ready().await {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose answer has been read to its end, if it takes another request.
    pub(super) async fn put(&self, peer: Peer, mut connection: Connection) {
        let now = Instant::now();
        let until = (now + IDLE).min(connection.opened + AGE);
        if until <= now || !connection.is_ready().await {
            return;
        }
        let mut state = self.lock();
        if state.waiting.iter().filter(|other| other.peer == peer).count() >= MOST_OF_ONE {
            return;
        }
        if state.waiting.len() >= MOST {
            state.waiting.pop_front();
        }
        state.waiting.push_back(Waiting { peer, connection, until });
        if state.closing.is_none() {
            let closing = tokio::spawn(close(Arc::downgrade(&self.0)));
            state.closing = Some(AbortOnDropHandle::new(closing));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

impl State {
    fn take(&mut self, peer: &Peer) -> Option<Connection> {
        let now = Instant::now();
        let at = self.waiting.iter().rposition(|other| other.peer == *peer && other.until > now)?;
        self.waiting.remove(at).map(|waiting| waiting.connection)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes connections as their time ends, until none waits.
async fn close(state: Weak<Mutex<State>>) {
    loop {
        let next = {
            let Some(state) = state.upgrade() else { return };
            let mut state = lock(&state);
            let now = Instant::now();
            state.waiting.retain(|waiting| waiting.until > now);
            let next = state.waiting.iter().map(|waiting| waiting.until).min();
            if next.is_none() {
                // Another task comes with the next connection; this one ends here.
                state.closing = None;
            }
            next
        };
        let Some(next) = next else { return };
        sleep_until(next).await;
    }
}

/// How long a connection waits for a call. Servers keep theirs for 2 s (gunicorn), 5 s (Node.js, Apache, uvicorn) or more.
const IDLE: Duration = Duration::from_secs(1);
/// How long a connection is used.
const AGE: Duration = Duration::from_secs(10);
/// Connections that wait for calls to one peer: as many as it is called on at once.
const MOST_OF_ONE: usize = 16;
/// Connections that wait, in all; one more, and the one that has waited longest is closed.
const MOST: usize = 64;

#[cfg(test)]
mod tests;
