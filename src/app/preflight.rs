//! Settings against the machine, before the start: certificates, the group, the places of sockets, the storage directory.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::exposed_paths::exposed_paths;
use super::storage_directory::{self, StorageDirectory};
use crate::config::{ConfigError, Layers, Settings};
use crate::net::{Address, Listener};
use crate::storage::local::{marker, private_dir};
use crate::tls::{CertificateFiles, Content, LoadReason, load_pair, load_roots};

/// Parses every value, checks them against each other, then against the machine: certificates,
/// group, storage directory. Blocking; run it before there is a runtime.
///
/// # Errors
/// All mistakes. Checks that depend on a wrong value or an unknown key are skipped,
/// so that nothing is reported twice.
pub fn check_settings(layers: &Layers, storage: StorageDirectory) -> Result<Settings, ConfigError> {
    let (mut settings, mut found) = Settings::ruled(layers);
    let asked = ask_machine(&settings, layers, &found, storage);
    settings.storage_gid = found.note(asked).flatten();
    settings.exposed_paths = exposed_paths(&settings, layers);
    found.or(settings)
}

/// Checks certificates, group and storage, but for what `errors` is about; where the start is not to follow at once, the
/// places of unix sockets too, which else it finds itself. Returns the number of `storage_group`. The error is all that
/// is wrong; a storage directory is made only where nothing is.
fn ask_machine(
    settings: &Settings,
    layers: &Layers,
    errors: &ConfigError,
    storage: StorageDirectory,
) -> Result<Option<u32>, ConfigError> {
    let mut found = ConfigError::default();
    if storage == StorageDirectory::DryRun {
        sockets(settings, layers, &mut found);
    }
    for tls in &settings.tls() {
        certificate(tls, layers, ("tls_cert", "tls_key"), &mut found);
    }
    for tls in &settings.backend_tls() {
        certificate(tls, layers, ("backend_tls_cert", "backend_tls_key"), &mut found);
    }
    if let Some(ca) = settings.backend_tls_client_ca.as_deref() {
        let (key, loaded) = ("backend_tls_client_ca", load_roots(ca));
        found.note(loaded.map_err(|error| layers.wrong(key, text(ca), error.reason)));
    }
    let mut storage_gid = None;
    if let Some(group) = &settings.storage_group {
        let groups = fs::read_to_string("/etc/group").unwrap_or_default();
        let right = "must be a group in /etc/group, or the number of another group";
        let gid = gid(group, &groups);
        storage_gid =
            found.note(gid.ok_or_else(|| layers.wrong("storage_group", group.clone(), right)));
    }
    if !settings.acme_domains.is_empty() && !errors.concerns("acme_cache") {
        let cache = &*settings.acme_cache;
        found.note(
            acme_cache(cache).map_err(|right| layers.wrong("acme_cache", text(cache), right)),
        );
    }
    let well = errors.is_none() && found.is_none();
    let storage = if well { storage } else { StorageDirectory::DryRun };
    if !errors.concerns("storage_dir") && settings.uses_directory() {
        let dir = &*settings.storage_dir;
        let wrong = |right: String| layers.wrong("storage_dir", text(dir), right);
        let unmarked = if settings.storage_must_exist { marker::require(dir).err() } else { None };
        found.note(match unmarked {
            Some(error) => Err(wrong(error.to_string())),
            None => storage_directory::check(dir, storage).map_err(|it| wrong(it.to_string())),
        });
    }
    found.or(storage_gid)
}

/// Whether unix sockets can stand where they are to be.
fn sockets(settings: &Settings, layers: &Layers, found: &mut ConfigError) {
    let mut look = |key, address: &Address| {
        let place = Listener::has_place(address);
        found.note(place.map_err(|error| layers.wrong(key, address.to_string(), error)));
    };
    look("listen", &settings.listen);
    if !settings.shared() {
        look("backend_listen", &settings.backend_listen);
    }
    if let Some(address) = &settings.redirect_listen {
        look("redirect_listen", address);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Whether both files can be read and belong together.
fn certificate(
    files: &CertificateFiles,
    layers: &Layers,
    (cert, key): (&'static str, &'static str),
    found: &mut ConfigError,
) {
    for error in load_pair(files).err().into_iter().flatten() {
        let wrong = match error.content {
            Content::Certificates => cert,
            Content::Key => key,
        };
        let right = match error.reason {
            LoadReason::Mismatch(path) => {
                format!("must belong to the certificate of {cert} = {path:?}")
            }
            reason => reason.to_string(),
        };
        found.add(layers.wrong(wrong, text(&error.path), right));
    }
}

/// The number of a group: of its line in `groups` (the text of `/etc/group`), or as written.
fn gid(group: &str, groups: &str) -> Option<u32> {
    if let Ok(gid) = group.parse::<u32>()
        && gid != u32::MAX
    {
        // The largest number means "leave as it is" to chown.
        return Some(gid);
    }
    groups
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == group)
        .and_then(|(_, rest)| rest.split(':').nth(1)?.parse().ok())
}

/// Whether keys can be kept here, where it is; the start makes it where it is not.
fn acme_cache(dir: &Path) -> io::Result<()> {
    match private_dir::directory(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::tempdir;

    use super::*;

    #[test]
    fn finds_groups() {
        fn check(group: &str, expected: Option<u32>) {
            let groups = "root:x:0:\nstaff:x:50:ann,bob\nwww-data:x:33:\nodd\nbad:x:many:\n";
            assert_eq!(gid(group, groups), expected, "{group}");
        }
        check("root", Some(0));
        check("www-data", Some(33));
        check("staff", Some(50));
        check("1234", Some(1234));
        for wrong in ["nobody", "", "odd", "bad", "4294967295", "-1", "ann"] {
            check(wrong, None);
        }
    }

    #[test]
    fn keys_are_kept_in_a_place_of_our_own() {
        let home = tempdir().unwrap();
        let dir = home.path().join("acme");
        acme_cache(&dir).unwrap();
        assert!(!dir.exists());
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        acme_cache(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let told = acme_cache(&dir).unwrap_err().to_string();
        assert!(told.contains("every user of this machine"), "{told}");
    }

    /// A directory with two certificates and their keys: `a.pem`, `a.key`, `b.pem`, `b.key`.
    fn certificates_dir() -> tempfile::TempDir {
        let home = tempdir().unwrap();
        for name in ["a", "b"] {
            let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
            fs::write(home.path().join(format!("{name}.pem")), made.cert.pem()).unwrap();
            let key = made.signing_key.serialize_pem();
            fs::write(home.path().join(format!("{name}.key")), key).unwrap();
        }
        fs::write(home.path().join("empty"), "").unwrap();
        fs::write(home.path().join("broken"), "-----BEGIN CERTIFICATE-----\n?").unwrap();
        home
    }

    #[test]
    fn certificates_must_fit_their_keys() {
        fn check(home: &Path, cert: &str, key: &str, expected: Option<(&str, &str)>) {
            let path = |name: &str| home.join(name).display().to_string();
            let layers = Layers::of_text(&format!(
                "tls_cert = '{}'\ntls_key = '{}'\nstorage_dir = '{}'",
                path(cert),
                path(key),
                home.display()
            ));
            let layers = layers.unwrap();
            let settings = Settings::read(&layers).unwrap();
            let verdict =
                ask_machine(&settings, &layers, &ConfigError::default(), StorageDirectory::DryRun);
            let line = verdict.err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(line, None),
                Some((key, part)) => {
                    let line = line.unwrap();
                    assert!(line.starts_with(key), "{line}");
                    assert!(line.contains(part), "{line}");
                }
            }
        }
        let home = certificates_dir();
        let home = home.path();
        check(home, "a.pem", "a.key", None);
        check(home, "a.pem", "b.key", Some(("tls_key", "belong to the certificate of tls_cert")));
        check(home, "a.key", "a.key", Some(("tls_cert", "the file has none")));
        check(home, "empty", "a.key", Some(("tls_cert", "the file has none")));
        check(home, "broken", "a.key", Some(("tls_cert", "malformed")));
        check(home, "absent", "a.key", Some(("tls_cert", "No such file")));
        check(home, "a.pem", "a.pem", Some(("tls_key", "private key; the file has none")));
        check(home, "a.pem", "absent", Some(("tls_key", "No such file")));
    }

    #[test]
    fn client_authorities_must_be_certificates() {
        let home = certificates_dir();
        assert!(load_roots(&home.path().join("a.pem")).is_ok());
        assert!(load_roots(&home.path().join("a.key")).is_err());
        assert!(load_roots(&home.path().join("absent")).is_err());
    }
}
