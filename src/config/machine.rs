//! What only the machine can tell: certificates, the group, the storage directory.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::exposed_paths::word;
use super::layers::Layers;
use super::table::Settings;
use crate::net::{Address, Listener};
use crate::storage::local::files::is_full;
use crate::storage::local::marker;
use crate::storage::local::private_dir::{self, Foreign};
use crate::tls::{CertificateFiles, Content, LoadReason, load_pair, load_roots};

/// What may be done about a storage directory that is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageDirectory {
    /// Make it, for this user alone (0700). What a start does.
    Create,
    /// Only see whether it could be made. What `check-config` does, which may run as another user
    /// than the server and must not leave a directory that the server cannot enter.
    DryRun,
}

/// Checks certificates, group and storage, but for what `errors` is about; where the start is not to follow at once, the
/// places of unix sockets too, which else it finds itself. Returns the number of `storage_group`. The error is all that
/// is wrong; a storage directory is made only where nothing is.
pub(super) fn check(
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
        let gid = gid(group, &groups);
        let gid = gid.map_err(|right| layers.wrong("storage_group", group.clone(), right));
        storage_gid = found.note(gid);
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
        let demanded = if settings.storage_must_exist {
            marker::require(dir).map_err(|error| error.to_string())
        } else {
            Ok(())
        };
        let usable = demanded.and_then(|()| directory(dir, storage));
        found.note(usable.map_err(|right| layers.wrong("storage_dir", text(dir), right)));
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
fn gid(group: &str, groups: &str) -> Result<u32, String> {
    if let Ok(gid) = group.parse::<u32>()
        && gid != u32::MAX
    {
        // The largest number means "leave as it is" to chown.
        return Ok(gid);
    }
    groups
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == group)
        .and_then(|(_, rest)| rest.split(':').nth(1)?.parse().ok())
        .ok_or_else(|| "must be a group in /etc/group, or the number of another group".into())
}

/// Whether uploads can be stored here, found out by trying.
fn directory(dir: &Path, storage: StorageDirectory) -> Result<(), String> {
    let place = match fs::metadata(dir) {
        Ok(found) if found.is_dir() => dir.to_owned(),
        Ok(_) => return Err("must be a directory".into()),
        Err(error) if error.kind() == ErrorKind::NotFound => match storage {
            StorageDirectory::Create => {
                make(dir).map_err(|error| format!("cannot be made: {error}"))?;
                dir.to_owned()
            }
            StorageDirectory::DryRun => nearest_existing(dir),
        },
        Err(error) => return Err(format!("cannot be entered: {error}")),
    };
    let made_for = probe(&place).map_err(|error| {
        let whose = if place == dir { "its" } else { "the nearest existing directory's" };
        let user = private_dir::us();
        format!("must be writable for the server, here user {user}; {whose} test failed: {error}")
    })?;
    if place == dir { owner(dir, made_for) } else { Ok(()) }
}

/// Whether a storage directory belongs to this user. A file made there belongs to `made_for`: some file systems give all
/// created there to one user, whichever process creates it, and then the directory's owner says nothing.
fn owner(dir: &Path, made_for: u32) -> Result<(), String> {
    let found = fs::metadata(dir).map_err(|error| format!("cannot be entered: {error}"))?;
    let (us, word) = (private_dir::us(), word(dir));
    match private_dir::foreign(&found) {
        Some(Foreign::Owner(owner)) if owner != made_for => Err(format!(
            "must belong to root or to the server, here user {us}: it belongs to user {owner}, who could replace what \
             is stored; chown {us} {word}, or run the server as user {owner}"
        )),
        Some(Foreign::Writable(mode)) => Err(format!(
            "must not be writable by everyone: every user of this machine may write to it (mode \
             {mode:04o}); chmod o-w {word}"
        )),
        Some(Foreign::Owner(_)) | None => Ok(()),
    }
}

/// Whether keys can be kept here, where it is; the start makes it where it is not.
fn acme_cache(dir: &Path) -> Result<(), String> {
    match private_dir::directory(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a directory for this user alone. Those above it are made with the usual modes: others may
/// have business there.
fn make(dir: &Path) -> io::Result<()> {
    if let Some(above) = dir.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        // A second server started at the same moment was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn nearest_existing(dir: &Path) -> PathBuf {
    let above = dir.ancestors().skip(1).find(|above| above.exists());
    match above {
        Some(above) => above.to_owned(),
        // The parent of a bare relative name is the empty path: the working directory.
        None => PathBuf::from("."),
    }
}

/// Writes a small file and removes it again: the user that it belonged to.
fn probe(dir: &Path) -> io::Result<u32> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let path = dir.join(format!(".probe-{:016x}", u64::from_ne_bytes(random)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    let written = file.write_all(b"probe");
    let owner = file.metadata().map(|made| made.uid());
    fs::remove_file(&path)?;
    // A full disk passes: the server starts and answers 507 until space returns.
    match written {
        Err(error) if !is_full(&error) => Err(error),
        Ok(()) | Err(_) => owner,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::tempdir;

    use super::*;
    use crate::config::Layers;

    #[test]
    fn finds_groups() {
        fn check(group: &str, expected: Option<u32>) {
            let groups = "root:x:0:\nstaff:x:50:ann,bob\nwww-data:x:33:\nodd\nbad:x:many:\n";
            assert_eq!(gid(group, groups).ok(), expected, "{group}");
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
    fn makes_the_storage_directory_private() {
        let home = tempdir().unwrap();
        let dir = home.path().join("a/b");
        directory(&dir, StorageDirectory::DryRun).unwrap();
        assert!(!home.path().join("a").exists());
        directory(&dir, StorageDirectory::Create).unwrap();
        let mode = fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }

    #[test]
    fn leaves_an_existing_storage_directory_as_it_is() {
        let home = tempdir().unwrap();
        fs::write(home.path().join("kept"), "x").unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o750)).unwrap();
        directory(home.path(), StorageDirectory::Create).unwrap();
        let mode = fs::metadata(home.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn keys_are_kept_in_a_place_of_our_own() {
        let home = tempdir().unwrap();
        let dir = home.path().join("acme");
        assert_eq!(acme_cache(&dir), Ok(()));
        assert!(!dir.exists());
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(acme_cache(&dir), Ok(()));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
        let told = acme_cache(&dir).unwrap_err();
        assert!(told.contains("every user of this machine"), "{told}");
    }

    #[test]
    fn issue_13_a_storage_directory_of_others_is_refused() {
        let home = tempdir().unwrap();
        let dir = home.path().join("a b");
        fs::create_dir(&dir).unwrap();
        let check = |mode: u32, made_for: u32, parts: &[&str]| {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            let told = owner(&dir, made_for).err().unwrap_or_default();
            assert_eq!(told.is_empty(), parts.is_empty(), "{told}");
            parts.iter().for_each(|part| assert!(told.contains(part), "{part:?} in {told}"));
        };
        let us = private_dir::us();
        let word = format!("'{}'", dir.display());
        check(0o755, us, &[]);
        check(0o770, us, &[]);
        check(0o777, us, &["mode 0777", &format!("chmod o-w {word}")]);
        check(0o1777, us, &["mode 1777"]);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        std::os::unix::fs::chown(&dir, Some(12345), None).unwrap();
        check(0o700, us, &["belongs to user 12345", &format!("chown {us} {word}")]);
        assert!(directory(&dir, StorageDirectory::DryRun).is_err_and(|why| why.contains("12345")));
        // A file system that gives everything to one user.
        check(0o700, 12345, &[]);
    }

    #[test]
    fn refuses_what_is_no_directory() {
        let home = tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(directory(&file, StorageDirectory::Create), Err("must be a directory".into()));
        let below = directory(&file.join("dir"), StorageDirectory::Create).unwrap_err();
        assert!(below.starts_with("cannot be entered: "), "{below}");
        assert!(directory(Path::new("/proc/no/such"), StorageDirectory::Create).is_err());
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
                super::check(&settings, &layers, &ConfigError::default(), StorageDirectory::DryRun);
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
