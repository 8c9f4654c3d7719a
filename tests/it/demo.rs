//! Protects whoever tries the demo on a machine or in a network that others use too.

use crate::child::{Program, run};
use crate::until;
use std::fs::Permissions;
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn set(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every port that it names is open here, and at another address of this machine only with `--lan`.
#[tokio::test]
async fn issue_13_the_demo_is_for_this_machine_unless_lan_is_asked_for() {
    for (flags, elsewhere) in [(&[][..], false), (&["--lan"][..], true)] {
        let directory = tempfile::tempdir().unwrap();
        let demo = Program::start_demo(directory.path(), flags);
        let said = demo.log();
        let port = |before: &str| -> u16 {
            let rest = said.split_once(before).unwrap_or_else(|| panic!("{said}")).1;
            rest.split('/').next().unwrap().parse().unwrap()
        };
        let (https, http) = (port("https://localhost:"), port("http://localhost:"));
        let backend = port("http://127.0.0.1:");
        for port in [https, http, backend] {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_ok(), "{port}: {said}");
        }
        let open = |port| TcpStream::connect(("127.0.0.2", port)).is_ok();
        assert_eq!([https, http, backend].map(open), [elsewhere, false, false], "{said}");
        // Who reaches it is said there, and not once more in the log.
        let log = until("its log", async || {
            let log = std::fs::read_to_string(directory.path().join("demo.log")).unwrap();
            log.contains("storage ready").then_some(log)
        });
        assert!(!log.await.contains("every local user can call"));
        assert_eq!(said.contains("THERE IS NO LOGIN"), elsewhere, "{said}");
        assert_eq!(said.contains("for a phone or another machine"), elsewhere, "{said}");
        // Where the machine has IPv6, a browser may take localhost for that.
        if std::net::TcpListener::bind(("::1", 0)).is_ok() {
            assert!(TcpStream::connect(("::1", https)).is_ok(), "{said}");
        }
    }
}

#[test]
fn issue_13_what_the_demo_keeps_is_closed_to_other_users() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join("demo").join(name);
    // As `mkdir` and an older demo leave them.
    for folder in ["tls", "received", "storage"] {
        std::fs::create_dir_all(at(folder)).unwrap();
        set(&at(folder), 0o755);
    }
    set(&at(""), 0o755);
    drop(Program::start_demo(directory.path(), &[]));
    for folder in ["", "tls", "received", "storage"] {
        assert_eq!(mode(&at(folder)), 0o700, "{folder:?}");
    }
    for file in ["tls/key.pem", "app-key"] {
        assert_eq!(mode(&at(file)), 0o600, "{file}");
        set(&at(file), 0o644);
    }
    drop(Program::start_demo(directory.path(), &[]));
    for file in ["tls/key.pem", "app-key"] {
        assert_eq!(mode(&at(file)), 0o600, "{file}");
    }
}

/// Who prepared the directory would know the key of the page and the secrets of all uploads, or have files of this user
/// moved into it.
#[test]
fn issue_13_a_directory_that_another_user_prepared_is_refused() {
    let check = |says: &str, prepare: &dyn Fn(&Path)| {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("cwd");
        prepare_home(&directory);
        prepare(&directory);
        let ports = ["--https-port", "0", "--http-port", "0", "--backend-port", "0"];
        let output = run(&directory, &[&["demo", "--dir", "demo"], &ports[..]].concat(), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{says}: {said}");
        assert!(said.contains(says) && said.contains("--dir"), "{says}: {said}");
    };
    check("every user of this machine", &|cwd| set(&cwd.join("demo"), 0o777));
    check("every user of this machine", &|cwd| set(&cwd.join("demo"), 0o1777));
    check("every user of this machine can replace it", &|cwd| set(cwd, 0o777));
    for name in ["tls", "received", "storage"] {
        let place = |cwd: &Path| cwd.join("demo").join(name);
        check("every user of this machine", &|cwd| set(&place(cwd), 0o777));
        check("symbolic link", &|cwd| {
            std::fs::remove_dir(place(cwd)).unwrap();
            std::fs::create_dir(cwd.join("elsewhere")).unwrap();
            symlink(cwd.join("elsewhere"), place(cwd)).unwrap();
        });
    }
    for name in ["app-key", "tls/key.pem", "tls/cert.pem"] {
        check("symbolic link", &|cwd| {
            std::fs::write(cwd.join("precious"), "x").unwrap();
            symlink(cwd.join("precious"), cwd.join("demo").join(name)).unwrap();
        });
    }
    check("symbolic link", &|cwd| {
        std::fs::rename(cwd.join("demo"), cwd.join("real")).unwrap();
        symlink(cwd.join("real"), cwd.join("demo")).unwrap();
    });
    // Where tests run as root they can give things away.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    for name in ["", "tls", "received", "storage", "app-key"] {
        check("belongs to user 12345", &|cwd| {
            let place = cwd.join("demo").join(name);
            if name == "app-key" {
                std::fs::write(&place, [7; 32]).unwrap();
            }
            std::os::unix::fs::chown(place, Some(12345), None).unwrap();
        });
    }
    check("belongs to user 12345, who can replace it", &|cwd| {
        std::os::unix::fs::chown(cwd, Some(12345), None).unwrap();
    });
}

/// The directories of a demo that has run.
fn prepare_home(directory: &Path) {
    for folder in ["tls", "received", "storage"] {
        let path = directory.join("demo").join(folder);
        std::fs::create_dir_all(&path).unwrap();
        set(&path, 0o700);
    }
}
