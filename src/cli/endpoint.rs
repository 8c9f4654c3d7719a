//! Where a server listens, and how to get there.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use hyper::Uri;
use hyper::header::HeaderValue;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::CliError;
use crate::config::{Address, Layers, Secret, Settings};

/// Where the packages have the backend listener (packaging/systemd/incoming.socket).
const PACKAGED: &str = "/run/incoming/backend.sock";

/// A listener: TCP or unix, with TLS or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) tls: bool,
    pub(super) place: Place,
}

/// What to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A host (name or address, without brackets) and its port.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Endpoint {
    /// From `http(s)://host[:port]`, with the path and query behind it.
    pub(super) fn of_url(text: &str) -> Result<(Self, String), &'static str> {
        let uri: Uri =
            text.parse().map_err(|_| "is not a URL: it must begin with http:// or https://")?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("must begin with http:// or https://"),
        };
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("must not contain a user name");
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("has no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok((Self { tls, place: Place::Tcp { host, port } }, path))
    }

    /// From an origin, or from a listener's address as in the settings.
    pub(super) fn of_listener(text: &str) -> Result<Self, &'static str> {
        const RIGHT: &str = "must be http://host:port, https://host:port or unix:/path/to.sock";
        if let Ok(address) = text.parse::<Address>() {
            return Ok(Self::at(&address, false));
        }
        match Self::of_url(text) {
            Ok((endpoint, path)) if path == "/" => Ok(endpoint),
            _ => Err(RIGHT),
        }
    }

    /// The backend listener of the server on this machine: the one that the settings name or, where they name none, the
    /// socket of the packages if somebody listens on it.
    pub(super) fn on_this_machine(layers: &Layers, settings: &Settings) -> Result<Self, String> {
        if layers.name_backend() {
            return Self::of_backend(settings);
        }
        Self::packaged(Path::new(PACKAGED)).map_or_else(|| Self::of_backend(settings), Ok)
    }

    /// The socket at this path, if somebody listens on it, whether this user may connect or not. A file that was left behind is
    /// none.
    fn packaged(path: &Path) -> Option<Self> {
        let kind = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, kind, None).ok()?;
        let heard = match connect(&socket, &SocketAddrUnix::new(path).ok()?) {
            Ok(()) => true,
            // Its queue is full, or it is for others.
            Err(error) => matches!(error, Errno::AGAIN | Errno::ACCESS | Errno::PERM),
        };
        heard.then(|| Self { tls: false, place: Place::Unix(path.to_owned()) })
    }

    /// The listener that serves the backend API of a server with these settings on this machine.
    fn of_backend(settings: &Settings) -> Result<Self, String> {
        let (address, tls) = (&settings.backend_listen, settings.backend_surface_tls());
        match address {
            Address::Tcp(tcp) if tcp.port() == 0 => {
                Err(format!("the port of {tcp} is unknown: name it with --backend"))
            }
            Address::Tcp(_) | Address::Unix(_) => Ok(Self::at(address, tls)),
        }
    }

    /// The public listener of a server whose backend listener is here, as the settings have it.
    pub(super) fn public_beside(&self, settings: &Settings) -> Self {
        let public = Self::at(&settings.listen, settings.public_tls());
        match (public.place, &self.place) {
            (Place::Tcp { port, .. }, Place::Tcp { host, .. }) => {
                let place = Place::Tcp { host: host.clone(), port };
                Self { tls: public.tls, place }
            }
            (place, _) => Self { tls: public.tls, place },
        }
    }

    fn at(address: &Address, tls: bool) -> Self {
        let place = match address {
            Address::Unix(path) => Place::Unix(path.clone()),
            Address::Tcp(tcp) => {
                // A listener on all addresses is reached over loopback.
                let host = match tcp.ip() {
                    IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".into(),
                    IpAddr::V6(ip) if ip.is_unspecified() => "::1".into(),
                    ip => ip.to_string(),
                };
                Place::Tcp { host, port: tcp.port() }
            }
        };
        Self { tls, place }
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> String {
        match &self.place {
            Place::Unix(_) => "localhost".into(),
            Place::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Place::Tcp { host, port } => format!("{host}:{port}"),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Place::Unix(path) => write!(out, "unix:{}", path.display()),
            Place::Tcp { .. } => {
                write!(out, "http{}://{}", if self.tls { "s" } else { "" }, self.authority())
            }
        }
    }
}

/// The header that carries a token.
pub(super) fn bearer(token: &Secret) -> Result<HeaderValue, CliError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
        .map_err(|_| CliError::Usage("the token cannot be sent as a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let read = Endpoint::of_url(text).map(|(endpoint, path)| (endpoint.to_string(), path));
            let expected = expected.map(|(endpoint, path)| (endpoint.to_owned(), path.to_owned()));
            assert_eq!(read.ok(), expected, "{text}");
        };
        check("https://a/incoming/x?y", Some(("https://a:443", "/incoming/x?y")));
        check("http://[::1]:4000/u", Some(("http://[::1]:4000", "/u")));
        check("http://a", Some(("http://a:80", "/")));
        for wrong in ["", "a", "/u", "ftp://a/u", "http:///u", "http://u:p@a/", "http://a b/"] {
            check(wrong, None);
        }
    }

    #[test]
    fn listeners() {
        let check = |text: &str, expected: Option<&str>, public: Option<&str>| {
            let read = Endpoint::of_listener(text);
            assert_eq!(read.as_ref().ok().map(ToString::to_string).as_deref(), expected, "{text}");
            let beside = read.ok().map(|it| it.public_beside(&Settings::default()).to_string());
            assert_eq!(beside.as_deref(), public, "{text}");
        };
        check("http://b:4001", Some("http://b:4001"), Some("http://b:4000"));
        check("https://b/", Some("https://b:443"), Some("http://b:4000"));
        check("unix:/b.sock", Some("unix:/b.sock"), Some("http://127.0.0.1:4000"));
        check(":4001", Some("http://127.0.0.1:4001"), Some("http://127.0.0.1:4000"));
        check("http://[::1]:4001", Some("http://[::1]:4001"), Some("http://[::1]:4000"));
        for wrong in ["", "ftp://a", "http://", "http://a?b", "http://u:p@a"] {
            check(wrong, None, None);
        }
        check("http://b/c", None, None);
        check("b", None, None);
    }
    /// `incoming uploads list` on the machine of a package needs no flag; what settings say counts first.
    #[test]
    fn issue_13_the_socket_of_the_packages_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("b.sock");
        assert_eq!(Endpoint::packaged(&path), None);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let found = Endpoint::packaged(&path).unwrap();
        assert_eq!(found, Endpoint { tls: false, place: Place::Unix(path.clone()) });
        drop(listener);
        assert!(path.exists());
        assert_eq!(Endpoint::packaged(&path), None, "a file that was left behind");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(Endpoint::packaged(&path), None);
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
        use crate::tls::CertificateFiles;
        let check = |listen: &str, expected: Option<&str>| {
            let backend_listen = listen.parse().unwrap();
            let tls = Some(CertificateFiles { cert: "c".into(), key: "k".into() });
            let plain = Settings { backend_listen, ..Settings::default() };
            let found = Endpoint::of_backend(&plain).map(|endpoint| endpoint.to_string());
            assert_eq!(found.ok().as_deref(), expected, "{listen}");
            let found = Endpoint::of_backend(&Settings { backend_tls: tls, ..plain });
            assert!(found.is_ok_and(|endpoint| endpoint.tls) || expected.is_none());
        };
        check("127.0.0.1:4001", Some("http://127.0.0.1:4001"));
        check("0.0.0.0:4001", Some("http://127.0.0.1:4001"));
        check("[::]:4001", Some("http://[::1]:4001"));
        check("10.0.0.1:4001", Some("http://10.0.0.1:4001"));
        check("unix:/b", Some("unix:/b"));
        check("127.0.0.1:0", None);
    }
}
