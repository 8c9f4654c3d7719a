//! The server under measurement, with threads and a storage directory of its own.

use crate::client::{Operator, Protocol, backend};
use incoming::app::Server;
use incoming::config::{Ack, Address, Settings};
use incoming::tls::CertificateFiles;
use incoming::wire::Surface;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

/// A running server.
pub struct Place {
    pub public: SocketAddr,
    pub protocol: Protocol,
    /// What clients trust.
    pub certificate: CertificateDer<'static>,
    backend: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    _directory: TempDir,
}

impl Place {
    /// A server that has as many workers as a start without settings gives it.
    pub fn start(protocol: Protocol) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (certificate, files) = certificate(directory.path());
        let pem = |path| if protocol == Protocol::Http1 { Vec::new() } else { vec![path] };
        let settings = Settings {
            listen: "127.0.0.1:0".parse().unwrap(),
            // Two equal addresses would mean one shared socket.
            backend_listen: "127.0.0.2:0".parse().unwrap(),
            tls_cert: pem(files.cert),
            tls_key: pem(files.key),
            storage_dir: directory.path().join("data"),
            ack: Ack::Written,
            min_free_space: 0,
            // Nothing is left of an upload that was cancelled.
            retain_finished: Duration::ZERO,
            shutdown_grace: Duration::from_secs(5),
            ..Settings::default()
        };
        let stop = CancellationToken::new();
        let (tell, told) = mpsc::channel();
        let serving = std::thread::spawn({
            let stop = stop.clone();
            move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let server = Server::start(settings).unwrap();
                    tell.send(server.addresses()).unwrap();
                    server.run(stop, Vec::new()).await;
                });
            }
        });
        let addresses = told.recv().unwrap();
        let at = |wanted| match addresses.iter().find(|(surface, _)| *surface == wanted) {
            Some((_, Address::Tcp(address))) => *address,
            Some((_, Address::Unix(_))) | None => unreachable!("both listen on TCP"),
        };
        let (public, backend) = (at(Surface::Public), at(Surface::Backend));
        Self { public, protocol, certificate, backend, stop, serving, _directory: directory }
    }

    /// A fresh ticket.
    pub async fn ticket(&self) -> String {
        backend(self.backend, "new_upload?signalFinishURL=http://127.0.0.1:9/").await
    }

    /// A connection of an operator.
    pub async fn operator(&self) -> Operator {
        Operator::connect(self.backend).await
    }

    /// Cancels an upload. Its bytes are gone when this returns.
    pub async fn cancel(&self, id: &str) {
        backend(self.backend, &format!("cancel_upload?id={id}")).await;
    }

    pub fn stop(self) {
        self.stop.cancel();
        self.serving.join().unwrap();
    }
}

/// A certificate that signs itself, and its files.
fn certificate(folder: &Path) -> (CertificateDer<'static>, CertificateFiles) {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new(vec!["localhost".into()]).unwrap().self_signed(&key).unwrap();
    let files = CertificateFiles { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.cert, made.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    (made.der().clone(), files)
}
