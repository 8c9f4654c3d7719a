//! Sockets that listen: TCP and unix behind one type.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, fchmod};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

use super::Address;
use super::stats::Stats;

/// Connections the kernel holds until they are accepted: a burst of browsers, or the wait for a
/// permit. Linux cuts it to `net.core.somaxconn` (4096 by default).
const BACKLOG: u32 = 1024;

/// Who may connect to a unix socket: its owner and group, which is how a web server is let in.
const UNIX_MODE: u32 = 0o660;

/// First and longest pause after an accept failed for want of a resource. The connection stays in
/// the queue; asking again at once would only burn a core until some descriptor is free.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGEST: Duration = Duration::from_secs(1);

/// A bound socket that listens. Closed when dropped; a unix socket's file is then removed.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
    passed: bool,
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that belongs to no runtime yet.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// The file of a bound unix socket, known by its inode so that a successor's is left alone.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Listener {
    /// Binds and listens. Must be called within the runtime that is to accept.
    ///
    /// TCP: an address in its time-out after a restart is taken again, and an IPv6 wildcard takes
    /// IPv4 too. Unix: a socket file on which nobody answers is replaced; the new one has mode 0660.
    ///
    /// # Errors
    /// What the system says, with the address: in use, not this machine's, not permitted.
    pub fn bind(address: &Address) -> io::Result<Self> {
        let bound = match address {
            Address::Tcp(address) => Self::bind_tcp(*address),
            Address::Unix(path) => Self::bind_unix(path),
        };
        bound.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
        })
    }

    /// Whether [`Self::bind`] would find a directory for a unix socket at this address. Nothing is made.
    ///
    /// # Errors
    /// Why not.
    pub fn has_place(address: &Address) -> io::Result<()> {
        match address {
            Address::Tcp(_) => Ok(()),
            Address::Unix(path) => check_directory(path),
        }
    }

    /// A TCP socket that listens already, opened by whoever started this process. Must be called within the
    /// runtime that is to accept.
    ///
    /// # Errors
    /// What the system says.
    pub fn inherited_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = Address::Tcp(listener.local_addr()?);
        let socket = Socket::Tcp(TcpListener::from_std(listener)?);
        Ok(Self { socket, address, _file: None, passed: true })
    }

    /// As [`Self::inherited_tcp`], for a unix socket. Its file belongs to whoever made it and stays.
    ///
    /// # Errors
    /// What the system says.
    pub fn inherited_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let path = listener.local_addr()?.as_pathname().map(Path::to_owned).unwrap_or_default();
        let address = Address::Unix(path);
        let socket = Socket::Unix(UnixListener::from_std(listener)?);
        Ok(Self { socket, address, _file: None, passed: true })
    }

    /// Where it listens; a port of 0 is resolved to the one the system chose.
    #[must_use]
    pub fn local_address(&self) -> &Address {
        &self.address
    }

    /// Whether it was opened by whoever started this process.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.passed
    }

    /// The next connection. Failures are counted, waited out and tried again.
    ///
    /// Cancel: nothing is lost; a connection not returned stays in the kernel's queue.
    pub(super) async fn accept(&self, stats: &Stats) -> Accepted {
        let mut pause = PAUSE_FIRST;
        loop {
            match self.accept_once().await {
                Ok(accepted) => return accepted,
                Err(error) if is_of_one_connection(&error) => _ = stats.accept_errors.inc(),
                Err(error) => {
                    stats.accept_errors.inc();
                    tracing::warn!(address = %self.address, %error, ?pause, "could not accept connection");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_LONGEST);
                }
            }
        }
    }

    async fn accept_once(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are small and waited for: never hold one back to fill a packet.
                stream.set_nodelay(true)?;
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                Ok(Accepted::Tcp(stream.into_std()?, address))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }

    fn bind_tcp(address: SocketAddr) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if address.is_ipv6() {
            rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Self { socket: Socket::Tcp(listener), address, _file: None, passed: false })
    }

    fn bind_unix(path: &Path) -> io::Result<Self> {
        check_directory(path)?;
        remove_stale(path)?;
        let socket = UnixSocket::new_stream()?;
        // Linux gives the file the socket's mode less the umask, so it is never open to all, not
        // even for a moment; the second step undoes what the umask took too much.
        fchmod(&socket, Mode::from_raw_mode(UNIX_MODE))?;
        socket.bind(path)?;
        let file = SocketFile::of(path)?;
        fs::set_permissions(path, Permissions::from_mode(UNIX_MODE))?;
        let listener = socket.listen(BACKLOG)?;
        let address = Address::Unix(path.to_owned());
        Ok(Self { socket: Socket::Unix(listener), address, _file: Some(file), passed: false })
    }
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if ours {
            // If it cannot be removed, the next start finds it stale and replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether there is a directory for this socket. None is made here: whose it is decides who may open the socket.
fn check_directory(path: &Path) -> io::Result<()> {
    // A bare name lies in the working directory.
    let named = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let Some(directory) = named else { return Ok(()) };
    let why = match fs::metadata(directory) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            io::Error::new(error.kind(), "it does not exist")
        }
        Err(error) => error,
    };
    let line = format!("its directory {} must exist: {why}", directory.display());
    Err(io::Error::new(why.kind(), line))
}

/// Removes a socket that a dead process left behind; anything else at that path stays and makes the
/// bind fail.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "not a socket")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers on it")),
        Err(error) => Err(error),
    }
}

/// The connection died between its arrival and the accept; the next one may be well.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn port_zero_is_resolved_and_ipv6_takes_ipv4() {
        let any: Address = "[::]:0".parse().unwrap();
        let Ok(listener) = Listener::bind(&any) else { return };
        let Address::Tcp(address) = *listener.local_address() else { panic!() };
        assert_ne!(address.port(), 0);
        let stats = Stats::default();
        let client = tokio::net::TcpStream::connect(("127.0.0.1", address.port()));
        let (client, accepted) = tokio::join!(client, listener.accept(&stats));
        let Accepted::Tcp(_, peer) = accepted else { panic!() };
        assert_eq!(peer, client.unwrap().local_addr().unwrap());
        let taken = Listener::bind(&Address::Tcp(address)).unwrap_err();
        assert!(taken.to_string().contains(&address.to_string()), "{taken}");
    }

    #[tokio::test]
    async fn a_unix_socket_is_private_replaced_when_stale_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.sock");
        let address = Address::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = Listener::bind(&address).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        let second = Listener::bind(&address).unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse, "{second}");
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(Listener::bind(&address).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_successors_socket_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("in.sock");
        let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
        fs::rename(&path, dir.path().join("old.sock")).unwrap();
        let successor = Listener::bind(&Address::Unix(path.clone())).unwrap();
        drop(listener);
        assert!(path.exists());
        drop(successor);
        assert!(!path.exists());
    }
}
