//! Sockets that were opened by whoever started the process, and outlive it: socket activation.
//!
//! The protocol is systemd's (sd_listen_fds(3)): `LISTEN_PID` is this process, `LISTEN_FDS` counts descriptors from 3
//! on, `LISTEN_FDNAMES` may name them. A socket named `public`, `backend` or `redirect` serves that listener; where
//! no name says so, the order is this one. A listener that no socket was passed for is bound as the settings say. What clients sent while no process ran waits in the sockets.

use super::StartError;
use crate::net::Listener;
use listenfd::ListenFd;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

/// Sockets passed to this process, each with the name it was given.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Passed)>,
}

/// What a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// `listen`; both surfaces where they share a socket.
    Public,
    /// `backend_listen`, where it has a socket of its own.
    Backend,
    /// `redirect_listen`.
    Redirect,
}

/// Passed sockets that have not been taken yet.
pub(super) struct Listeners(Vec<(Purpose, Listener)>);

#[derive(Debug)]
enum Passed {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Inherited {
    /// Takes over what was passed, once: a second call finds nothing. They are closed when this process
    /// starts others. It changes the environment, so it comes before any other thread.
    ///
    /// Errors: one line that names the descriptor or the variable.
    pub fn take() -> Result<Self, StartError> {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        // Meant for another process, which forgot to clear them.
        if variable("LISTEN_PID") != std::process::id().to_string() {
            return Ok(Self::default());
        }
        let count = variable("LISTEN_FDS");
        let count = count.parse().ok().filter(|count| *count <= MOST).ok_or_else(|| {
            StartError(format!("LISTEN_FDS = {count:?}: must be a whole number from 0 to {MOST}"))
        })?;
        let names = variable("LISTEN_FDNAMES");
        let mut names = names.split(':').map(str::to_owned);
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::with_capacity(count);
        for index in 0..count {
            let name = names.next().unwrap_or_default();
            let socket = Passed::take(&mut passed, index).map_err(|why| {
                StartError(format!("LISTEN_FDS: descriptor {} {name:?}: {why}", index + FIRST))
            })?;
            sockets.push((name, socket));
        }
        Ok(Self { sockets })
    }

    /// The listeners, each with what it serves. Must be called within the runtime that is to accept.
    ///
    /// Errors: one line that names the socket.
    pub(super) fn listeners(self, shared: bool) -> Result<Listeners, StartError> {
        let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        let purposes = purposes(&names, shared).map_err(StartError)?;
        let mut listeners = Vec::with_capacity(purposes.len());
        for ((name, socket), purpose) in self.sockets.into_iter().zip(purposes) {
            let listener = match socket {
                Passed::Tcp(listener) => Listener::inherited_tcp(listener),
                Passed::Unix(listener) => Listener::inherited_unix(listener),
            };
            let failed = |error| StartError::new(format!("the passed socket {name:?}"), error);
            listeners.push((purpose, listener.map_err(failed)?));
        }
        Ok(Listeners(listeners))
    }
}

impl Listeners {
    /// The one that serves this, if it was passed.
    pub(super) fn take(&mut self, purpose: Purpose) -> Option<Listener> {
        let at = self.0.iter().position(|(found, _)| *found == purpose)?;
        Some(self.0.swap_remove(at).1)
    }
}

impl Passed {
    fn take(passed: &mut ListenFd, index: usize) -> Result<Self, String> {
        let right = "must be a listening TCP or unix stream socket (Accept=no)";
        let listens = |socket: &dyn AsFd| {
            rustix::net::sockopt::socket_acceptconn(socket.as_fd()).unwrap_or(false)
        };
        let socket = match passed.take_tcp_listener(index) {
            Ok(Some(listener)) => Self::Tcp(listener),
            Ok(None) => return Err("was not passed".into()),
            Err(_) => match passed.take_unix_listener(index) {
                Ok(Some(listener)) => Self::Unix(listener),
                Ok(None) => return Err("was not passed".into()),
                Err(error) => return Err(format!("{right}: {error}")),
            },
        };
        let good = match &socket {
            Self::Tcp(listener) => listens(listener),
            Self::Unix(listener) => listens(listener),
        };
        if good { Ok(socket) } else { Err(right.into()) }
    }
}

/// What each socket serves: by name where any name is one of ours, else by order.
fn purposes(names: &[&str], shared: bool) -> Result<Vec<Purpose>, String> {
    let named = |name: &str| match name {
        "public" => Some(Purpose::Public),
        "backend" => Some(Purpose::Backend),
        "redirect" => Some(Purpose::Redirect),
        _ => None,
    };
    let found: Vec<Option<Purpose>> = if names.iter().any(|name| named(name).is_some()) {
        names.iter().map(|name| named(name)).collect()
    } else {
        let order = [Purpose::Public, Purpose::Backend, Purpose::Redirect].map(Some).into_iter();
        order.chain(std::iter::repeat(None)).take(names.len()).collect()
    };
    let mut purposes = Vec::with_capacity(found.len());
    for (name, purpose) in names.iter().zip(found) {
        let purpose = purpose.ok_or_else(|| {
            format!(
                "unexpected passed socket {name:?}: there is one each for public, backend and \
                 redirect"
            )
        })?;
        if purposes.contains(&purpose) {
            return Err(format!(
                "two passed sockets {name:?} for one listener: one on [::] accepts IPv4 too"
            ));
        }
        if shared && purpose == Purpose::Backend {
            return Err("a socket was passed for the backend, but backend_listen is the same as \
                        listen: pass the shared socket as public"
                .into());
        }
        purposes.push(purpose);
    }
    Ok(purposes)
}

/// The number of the first descriptor that is passed.
const FIRST: usize = 3;
/// More sockets than there will be listeners, and few enough to say which one is too many.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_else_by_order() {
        use Purpose::{Backend, Public, Redirect};
        fn check(names: &[&str], shared: bool, expected: Result<&[Purpose], &str>) {
            match (purposes(names, shared), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{names:?}"),
                (Err(line), Err(part)) => assert!(line.contains(part), "{line}"),
                (found, _) => panic!("{names:?}: {found:?}"),
            }
        }
        check(&[], false, Ok(&[]));
        check(&["incoming.socket"], false, Ok(&[Public]));
        check(&["incoming.socket", "incoming.socket"], false, Ok(&[Public, Backend]));
        check(&["", ""], false, Ok(&[Public, Backend]));
        check(&["backend", "public"], false, Ok(&[Backend, Public]));
        check(&["backend"], false, Ok(&[Backend]));
        check(&["public"], true, Ok(&[Public]));
        check(&["unknown"], true, Ok(&[Public]));
        check(&["unknown", "public"], false, Err("unexpected passed socket \"unknown\""));
        check(&["a", "b", "c"], false, Ok(&[Public, Backend, Redirect]));
        check(&["public", "redirect"], true, Ok(&[Public, Redirect]));
        check(&["a", "b", "c", "d"], false, Err("unexpected passed socket \"d\""));
        check(&["public", "public"], false, Err("two passed sockets \"public\""));
        check(&["a", "a"], true, Err("backend_listen is the same as listen"));
        check(&["backend"], true, Err("backend_listen is the same as listen"));
    }
}
