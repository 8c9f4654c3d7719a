//! The server on this machine, as its settings describe it: where a command finds its listeners.

use std::path::Path;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::CliError;
use crate::client::{Endpoint, Transport};
use crate::config::{Address, Layers, Settings};

/// Where the packages have the backend listener (packaging/systemd/incoming.socket).
const PACKAGED: &str = "/run/incoming/backend.sock";

/// The backend listener that a command calls: the one of `--backend`, the one that the settings name or, where they name
/// none, the socket of the packages if a server listens on it.
///
/// # Errors
/// The flag is not the address of a listener; the port in the settings is chosen when the server starts.
pub(super) fn backend(
    flag: Option<&str>,
    layers: &Layers,
    settings: &Settings,
) -> Result<Endpoint, CliError> {
    if let Some(flag) = flag {
        let endpoint = Endpoint::of_listener(flag);
        return endpoint.map_err(|right| CliError::Usage(format!("--backend = {flag:?}: {right}")));
    }
    match packaged(Path::new(PACKAGED)).filter(|_| !layers.name_backend()) {
        Some(endpoint) => Ok(endpoint),
        None => of_settings(settings),
    }
}

/// The socket at this path, if a server listens on it, whether this user may connect or not. A file that was left behind
/// does not count.
fn packaged(path: &Path) -> Option<Endpoint> {
    let kind = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, kind, None).ok()?;
    let listens = match connect(&socket, &SocketAddrUnix::new(path).ok()?) {
        Ok(()) => true,
        // Its queue is full, or it is for others.
        Err(error) => matches!(error, Errno::AGAIN | Errno::ACCESS | Errno::PERM),
    };
    listens.then(|| Endpoint { tls: false, transport: Transport::Unix(path.to_owned()) })
}

/// The listener that serves the backend API of a server with these settings on this machine.
fn of_settings(settings: &Settings) -> Result<Endpoint, CliError> {
    let (address, tls) = (&settings.backend_listen, settings.backend_surface_tls());
    match address {
        Address::Tcp(tcp) if tcp.port() == 0 => {
            let why = format!("the port of {tcp} is unknown: name it with --backend");
            Err(CliError::Usage(why))
        }
        Address::Tcp(_) | Address::Unix(_) => Ok(Endpoint::at(address, tls)),
    }
}

/// The public listener of the server with this backend listener, as the settings have it.
pub(super) fn public_beside(backend: &Endpoint, settings: &Settings) -> Endpoint {
    let mut public = Endpoint::at(&settings.listen, settings.public_tls());
    if let (Transport::Tcp { host, .. }, Transport::Tcp { host: backend, .. }) =
        (&mut public.transport, &backend.transport)
    {
        host.clone_from(backend);
    }
    public
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `incoming uploads list` on the machine of a package needs no flag; what settings say counts first.
    #[test]
    fn issue_13_the_socket_of_the_packages_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.sock");
        assert_eq!(packaged(&path), None);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let found = packaged(&path).unwrap();
        assert_eq!(found, Endpoint { tls: false, transport: Transport::Unix(path.clone()) });
        drop(listener);
        assert!(path.exists());
        assert_eq!(packaged(&path), None, "a file that was left behind");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(packaged(&path), None);
        let layers = Layers::of_text("backend_listen = '127.0.0.1:4001'").unwrap();
        assert!(layers.name_backend() && !Layers::default().name_backend());
    }

    /// One path, in the units and here.
    #[test]
    fn issue_13_the_packages_have_their_socket_there() {
        let read = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
            std::fs::read_to_string(path).unwrap()
        };
        let unit = read("systemd/incoming.socket");
        assert!(unit.contains(&format!("\nListenStream={PACKAGED}\nSocketUser=incoming\n")));
        let settings = read("deb/incoming.toml");
        assert!(settings.contains(&format!("\nbackend_listen = \"unix:{PACKAGED}\"\n")));
    }

    #[test]
    fn backends_of_settings() {
        let check = |listen: &str, expected: Option<&str>| {
            let backend_listen = listen.parse().unwrap();
            let plain = Settings { backend_listen, ..Settings::default() };
            let found = of_settings(&plain).map(|endpoint| endpoint.to_string());
            assert_eq!(found.ok().as_deref(), expected, "{listen}");
            let found = of_settings(&Settings { backend_tls_cert: Some("c".into()), ..plain });
            assert!(found.is_ok_and(|endpoint| endpoint.tls) || expected.is_none());
        };
        check("127.0.0.1:4001", Some("http://127.0.0.1:4001"));
        check("0.0.0.0:4001", Some("http://127.0.0.1:4001"));
        check("[::]:4001", Some("http://[::1]:4001"));
        check("10.0.0.1:4001", Some("http://10.0.0.1:4001"));
        check("unix:/b", Some("unix:/b"));
        check("127.0.0.1:0", None);
    }

    #[test]
    fn public_listeners_beside_backends() {
        let check = |backend: &str, expected: &str| {
            let backend = Endpoint::of_listener(backend).unwrap();
            assert_eq!(public_beside(&backend, &Settings::default()).to_string(), expected);
        };
        check("http://b:4001", "http://b:4000");
        check("https://b/", "http://b:4000");
        check("unix:/b.sock", "http://127.0.0.1:4000");
        check(":4001", "http://127.0.0.1:4000");
        check("http://[::1]:4001", "http://[::1]:4000");
    }
}
