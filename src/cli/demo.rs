//! `incoming demo`: the whole product on one origin, with nothing to configure.
//!
//! One process plays both parts. The server is the same as in `incoming serve`; beside it runs a
//! tiny web app that knows the server only through its backend API, over HTTP, as any web app would.
//! Page, web app and upload URLs share an origin, over https with a certificate made on the spot and
//! over plain http for this machine alone.
//!
//! What is kept in the directory: `tls` (so that a browser's exception survives restarts),
//! `app-key` (the web app's secrets come from it), `storage` (the server's) and `received` (the web
//! app's files).

mod answer;
mod app;
mod certificate;
mod private_files;
mod received;
mod site;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{CliError, serve, terminal};
use crate::app::telemetry;
use crate::app::{Server, Socket, caller, stop_on_signal};
use crate::config::Settings;
use crate::core::host::bracketed;
use crate::net::{self, Address, Listener, Peer};
use crate::storage::local::private_dir;
use crate::tls::TlsReload;
use crate::wire::Surface;
use app::App;
use certificate::Names;
use site::{Scheme, Site};

/// How long chunks under way may go on at Ctrl-C: who tries things out does not want to wait, and
/// an upload that is cut off goes on after the next start.
const GRACE: Duration = Duration::from_secs(1);

/// What it means to listen on every address.
const OPEN: &str = "\n  --lan: THERE IS NO LOGIN. Everyone in this network can upload to this \
                    machine, and list and read\n  the received files. Stop the demo when you \
                    have tried it.\n";
/// What it means not to.
const LOCAL: &str = "\n  Only users of this machine can reach it; --lan opens it to other \
                     devices, such as a phone.\n";

/// Ports, directory and names of the demo.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct DemoArgs {
    /// HTTPS port of the page and of uploads, with a self-signed certificate; reachable from other machines only
    /// with --lan
    #[arg(long, value_name = "PORT", default_value_t = 4443)]
    pub https_port: u16,
    /// Port of the same over plain HTTP, reachable from this machine only
    #[arg(long, value_name = "PORT", default_value_t = 4080)]
    pub http_port: u16,
    /// Port of the backend listener, on loopback
    #[arg(long, value_name = "PORT", default_value_t = 4001)]
    pub backend_port: u16,
    /// Accept HTTPS from other machines too, such as a phone. There is no login: everyone in the network can then
    /// upload to this machine, and list and read the received files
    #[arg(long)]
    pub lan: bool,
    /// Directory of certificate and uploads, created if absent. It must be owned by you, and is closed to other users
    #[arg(long, value_name = "PATH", default_value = "./incoming-demo-data")]
    pub dir: PathBuf,
    /// Another host name or address for the certificate; repeatable
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
}

/// Runs the demo until a signal ends it. A port of 0 lets the system choose.
///
/// # Errors
/// A port is taken, a name cannot stand in a certificate, or the directory cannot be used.
pub fn demo(args: DemoArgs) -> Result<(), CliError> {
    let storage = args.dir.join("storage");
    let settings = Settings {
        storage_dir: storage.clone(),
        shutdown_grace: GRACE,
        // The greeting says who reaches it, so the log need not.
        backend_open: true,
        ..Settings::default()
    };
    telemetry::init(&settings).map_err(CliError::failed)?;
    serve::run(async move {
        let stop = stop_on_signal().map_err(CliError::failed)?;
        // The sockets come first: a second demo must not even look at the first one's directory.
        let sockets = Sockets::bind(&args)?;
        let ports = sockets.ports();
        private_dir::above(&args.dir)
            .and_then(|()| private_files::make_directory(&args.dir))
            .map_err(|error| unusable(&args.dir, &error))?;
        private_files::make_directory(&storage).map_err(|error| unusable(&storage, &error))?;
        let names = Names::of_this_machine(&args.host).map_err(CliError::usage)?;
        let tls = args.dir.join("tls");
        let files = certificate::files(&tls, &names).map_err(|error| unusable(&tls, &error))?;
        let tls = TlsReload::load(files).map_err(CliError::usage)?;
        let (app, unhashed) = App::open(&args.dir, &storage, ports.http, ports.backend)
            .map_err(|error| unusable(&args.dir, &error))?;

        let backend = Socket { listener: sockets.backend, tls: None, surface: Surface::Backend };
        let server = Server::start_on(settings, vec![backend]).map_err(CliError::usage)?;
        let mut beside: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
        let listen = |listener, scheme, tls| {
            let (wire, app) = (server.wire(), Arc::clone(&app));
            let names = Arc::new(names.clone());
            let make = move |peer: &Peer| {
                let wire = wire.service(Surface::Public, caller(peer));
                Site::new(scheme, wire, Arc::clone(&app), Arc::clone(&names))
            };
            net::serve(listener, server.setup(tls), server.workers(), make)
        };
        let tls = Arc::new(tls);
        for listener in sockets.https {
            beside.push(Box::pin(listen(listener, Scheme::Https, Some(Arc::clone(&tls)))));
        }
        for listener in sockets.http {
            beside.push(Box::pin(listen(listener, Scheme::Http, None)));
        }
        beside.push(Box::pin(app.hash_files(unhashed, server.drain())));
        // A demo whose output nobody reads is still a demo.
        let _ = terminal::stdout().write_all(greeting(&args, &names, ports).as_bytes());
        server.run(stop, beside).await;
        Ok(())
    })
}

/// All sockets of the demo, bound.
struct Sockets {
    /// Loopback, or every address with `--lan`.
    https: Vec<Listener>,
    http: Vec<Listener>,
    backend: Listener,
}

/// The ports in use.
#[derive(Clone, Copy)]
struct Ports {
    https: u16,
    http: u16,
    backend: u16,
}

impl Sockets {
    fn bind(args: &DemoArgs) -> Result<Self, CliError> {
        let https = if args.lan {
            everywhere("--https-port", args.https_port).map(|listener| vec![listener])
        } else {
            loopback("--https-port", args.https_port)
        };
        let http = loopback("--http-port", args.http_port);
        let (https, http) = (https.map_err(CliError::usage)?, http.map_err(CliError::usage)?);
        let backend = bind("--backend-port", args.backend_port, Ipv4Addr::LOCALHOST.into());
        Ok(Self { https, http, backend: backend.map_err(CliError::usage)? })
    }

    fn ports(&self) -> Ports {
        Ports {
            https: port(&self.https[0]),
            http: port(&self.http[0]),
            backend: port(&self.backend),
        }
    }
}

/// Every address of this machine, IPv6 where it has it.
fn everywhere(flag: &str, port: u16) -> io::Result<Listener> {
    bind(flag, port, Ipv6Addr::UNSPECIFIED.into()).or_else(|error| {
        if taken(&error) { Err(error) } else { bind(flag, port, Ipv4Addr::UNSPECIFIED.into()) }
    })
}

/// IPv4 loopback, and IPv6 where the machine has it: `localhost` means either.
fn loopback(flag: &str, asked: u16) -> io::Result<Vec<Listener>> {
    let mut listeners = vec![bind(flag, asked, Ipv4Addr::LOCALHOST.into())?];
    match bind(flag, port(&listeners[0]), Ipv6Addr::LOCALHOST.into()) {
        Ok(listener) => listeners.push(listener),
        Err(error) if taken(&error) => return Err(error),
        Err(_) => {}
    }
    Ok(listeners)
}

fn bind(flag: &str, port: u16, ip: IpAddr) -> io::Result<Listener> {
    Listener::bind(&Address::Tcp(SocketAddr::new(ip, port))).map_err(|error| {
        let line = format!("{flag} = {port}: {error}; choose another with {flag} PORT");
        io::Error::new(error.kind(), line)
    })
}

fn taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied)
}

fn port(listener: &Listener) -> u16 {
    match listener.local_address() {
        Address::Tcp(address) => address.port(),
        Address::Unix(_) => 0,
    }
}

fn unusable(path: &Path, error: &io::Error) -> CliError {
    CliError::Usage(format!("--dir: {:?} cannot be used: {error}", path.display().to_string()))
}

/// What is said when everything is bound.
fn greeting(args: &DemoArgs, names: &Names, ports: Ports) -> String {
    let Ports { https, http, backend } = ports;
    let mut text = format!(
        "\n  Incoming!! demo\n\n  \
         https://localhost:{https}/   the browser warns once: the certificate was made here\n  \
         http://localhost:{http}/    the same without encryption\n"
    );
    if args.lan {
        // Writing to a string does not fail.
        for host in names.for_others() {
            let host = bracketed(host);
            let _ = writeln!(text, "  https://{host}:{https}/   for a phone or another machine");
        }
    }
    text += if args.lan { OPEN } else { LOCAL };
    let received = std::path::absolute(&args.dir).unwrap_or_else(|_| args.dir.clone());
    let received = received.join("received");
    let _ = write!(
        text,
        "\n  Received files lie in {}\n  The operator's page and the backend API: http://127.0.0.1:{backend}/incoming/backend/\n\n  \
         From a terminal:\n    curl -k -T film.mp4 \"$(curl -ksX POST 'https://localhost:{https}/api/tickets?name=film.mp4')\"\n\n  \
         Ctrl-C ends it; unfinished uploads go on after the next start.\n\n",
        terminal::path(&received)
    );
    text
}
