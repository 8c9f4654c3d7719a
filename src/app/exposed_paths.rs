//! Files that other local users can read or replace although the server relies on them: the server starts with them,
//! and warns with the fix.
//!
//! A warning rather than an error, since the other users are not known here: a container has none, and volumes of
//! secrets come with modes of their own there. What is never right is an error (`preflight.rs`: a storage directory
//! that another user owns or that everyone may write to). The owner chooses the group, so group rights are not checked.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::{ExposedPath, Layers, Settings};
use crate::storage::local::private_dir::{self, Foreign};

/// The exposed ones among the files that these settings name, and the settings file. Blocks. What cannot be
/// examined is skipped: its user reports it.
pub(super) fn exposed_paths(settings: &Settings, layers: &Layers) -> Vec<ExposedPath> {
    let mut found = Vec::new();
    if let Some((path, holds_secret)) = layers.file() {
        let changed = "could change every setting";
        replaceable("config", path, changed, &mut found);
        if holds_secret {
            readable("config", path, "contains a secret", &mut found);
        }
    }
    let keys = settings.tls_key.iter().map(|key| ("tls_key", key));
    let backend = settings.backend_tls_key.iter().map(|key| ("backend_tls_key", key));
    for (setting, path) in keys.chain(backend) {
        replaceable(setting, path, "could put another key there", &mut found);
        readable(setting, path, "contains a private key", &mut found);
    }
    if let Some(path) = &settings.backend_tls_client_ca {
        let changed = "could name a CA whose clients may call the backend API";
        replaceable("backend_tls_client_ca", path, changed, &mut found);
    }
    if !settings.acme_domains.is_empty() {
        above("acme_cache", &settings.acme_cache, "could put other keys there", &mut found);
    }
    if !settings.uses_directory() {
        return found;
    }
    let dir = &settings.storage_dir;
    above("storage_dir", dir, "could put another directory in its place", &mut found);
    if let Some(mode) = std::fs::metadata(dir).ok().and_then(|it| readable_by_all(dir, &it)) {
        found.push(ExposedPath {
            setting: "storage_dir",
            path: dir.clone(),
            problem: format!(
                "every user of this machine can list it (mode {mode:04o}), and anyone who knows \
                 an id can upload to it and cancel it"
            ),
            fix: format!("chmod o-r {}", word(dir)),
        });
    }
    found
}

/// Adds an entry where another user may write to a file or replace it.
fn replaceable(setting: &'static str, path: &Path, harm: &str, found: &mut Vec<ExposedPath>) {
    let own = std::fs::symlink_metadata(path).ok().filter(Metadata::is_symlink);
    let led_to = std::fs::metadata(path).ok();
    let foreign = own.as_ref().and_then(private_dir::foreign);
    match foreign.or_else(|| led_to.as_ref().and_then(private_dir::foreign)) {
        Some(foreign) => found.push(told(setting, path, path, foreign, harm)),
        None => above(setting, path, harm, found),
    }
}

/// Told where another user may rename what is above a path.
fn above(setting: &'static str, path: &Path, harm: &str, found: &mut Vec<ExposedPath>) {
    if let Ok(Some((place, foreign))) = private_dir::foreign_above(path) {
        found.push(told(setting, path, &place, foreign, harm));
    }
}

fn told(
    setting: &'static str,
    path: &Path,
    place: &Path,
    foreign: Foreign,
    harm: &str,
) -> ExposedPath {
    let what =
        if place == path { "it".to_owned() } else { format!("{} above it", place.display()) };
    let (problem, fix) = match foreign {
        Foreign::Owner(owner) => (
            format!("{what} belongs to user {owner}, who {harm}"),
            format!("chown {} {}", private_dir::us(), word(place)),
        ),
        Foreign::Writable(mode) => (
            format!("every user of this machine may write to {what} (mode {mode:04o}) and {harm}"),
            format!("chmod o-w {}", word(place)),
        ),
    };
    ExposedPath { setting, path: path.to_owned(), problem, fix }
}

/// Told where every user of this machine can read a file.
fn readable(setting: &'static str, path: &Path, holds: &str, found: &mut Vec<ExposedPath>) {
    let Some(mode) = std::fs::metadata(path).ok().and_then(|it| readable_by_all(path, &it)) else {
        return;
    };
    let problem =
        format!("every user of this machine can read it (mode {mode:04o}), and it {holds}");
    let fix = format!("chmod o-r {}", word(path));
    found.push(ExposedPath { setting, path: path.to_owned(), problem, fix });
}

/// The mode of what every user may read and can reach: a directory above it without access for others hides it.
fn readable_by_all(path: &Path, found: &Metadata) -> Option<u32> {
    let mode = found.mode() & 0o7777;
    let real = path.canonicalize().ok()?;
    let mut above = real.ancestors().skip(1);
    let passed = |above: &Path| above.metadata().is_ok_and(|it| it.mode() & 0o001 != 0);
    (mode & 0o004 != 0 && above.all(passed)).then_some(mode)
}

/// A path as one word of a shell.
pub(super) fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,=@:".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        return text;
    }
    let before = if text.starts_with('-') { "./" } else { "" };
    format!("'{before}{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;
    use crate::app::{StorageDirectory, check_settings};
    use crate::config::Flags;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// The warnings for settings in this file.
    fn told_of(home: &Path, text: &str) -> Vec<String> {
        let config = home.join("incoming.toml");
        fs::write(&config, text).unwrap();
        let layers = Layers::gather(Flags::default(), Some(config), []).unwrap();
        let settings = check_settings(&layers, StorageDirectory::DryRun).unwrap();
        settings.exposed_paths.iter().map(ToString::to_string).collect()
    }

    #[track_caller]
    fn one(told: &[String], parts: &[&str]) {
        assert_eq!(told.len(), usize::from(!parts.is_empty()), "{told:?} for {parts:?}");
        parts.iter().for_each(|part| assert!(told[0].contains(part), "{part:?} in {told:?}"));
    }

    /// A directory that every user can pass to, as those of packages are.
    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        set(home.path(), 0o755);
        home
    }

    #[test]
    fn issue_13_a_settings_file_with_a_token_is_not_for_everybody() {
        let home = home();
        let config = home.path().join("incoming.toml");
        let dir = format!("storage_dir = '{}'", home.path().join("data").display());
        let token = format!("{dir}\nbackend_token = 'hush'");
        fs::write(&config, "").unwrap();
        let check = |text: &str, mode: u32, parts: &[&str]| {
            set(&config, mode);
            one(&told_of(home.path(), text), parts);
        };
        let command = format!("chmod o-r {}", config.display());
        check(&dir, 0o644, &[]);
        check(&token, 0o640, &[]);
        check(&token, 0o600, &[]);
        check(&token, 0o644, &["config = ", "(mode 0644)", "a secret", &command]);
        // Nobody gets there.
        set(home.path(), 0o750);
        check(&token, 0o644, &[]);
        set(home.path(), 0o755);
        let command = format!("chmod o-w {}", config.display());
        check(&dir, 0o646, &["config = ", "(mode 0646)", "every setting", &command]);
        set(&config, 0o600);
        assert!(!told_of(home.path(), &token)[..].concat().contains("hush"));
        if rustix::process::geteuid().is_root() {
            chown(&config, Some(12345), None).unwrap();
            let command = format!("chown 0 {}", config.display());
            check(&dir, 0o600, &["belongs to user 12345", "every setting", &command]);
        }
    }

    #[test]
    fn issue_13_a_private_key_is_not_for_everybody() {
        let home = home();
        let (key, dir) = (home.path().join("key with space.pem"), home.path().join("private"));
        let settings = |key: &Path| {
            let storage_dir = home.path().join("data");
            let (tls_cert, tls_key) = (vec!["c".into()], vec![key.to_owned()]);
            Settings { tls_cert, tls_key, storage_dir, ..Settings::default() }
        };
        let check = |key: &Path, parts: &[&str]| {
            let found = exposed_paths(&settings(key), &Layers::default());
            one(&found.iter().map(ToString::to_string).collect::<Vec<_>>(), parts);
        };
        fs::write(&key, "").unwrap();
        set(&key, 0o644);
        let command = format!("chmod o-r '{}'", key.display());
        check(&key, &["tls_key = ", "(mode 0644)", "contains a private key", &command]);
        set(&key, 0o640);
        check(&key, &[]);
        set(&key, 0o602);
        check(&key, &["(mode 0602)", "another key", "chmod o-w"]);
        // As systemd's LoadCredential= and /etc/ssl/private: no other user has access.
        fs::create_dir(&dir).unwrap();
        fs::rename(&key, dir.join("key")).unwrap();
        set(&dir.join("key"), 0o444);
        set(&dir, 0o710);
        check(&dir.join("key"), &[]);
        let link = home.path().join("link");
        symlink(dir.join("key"), &link).unwrap();
        check(&link, &[]);
        set(&dir, 0o711);
        check(&link, &["(mode 0444)", "contains a private key"]);
        check(&home.path().join("absent"), &[]);
        set(&dir.join("key"), 0o600);
        set(&dir, 0o777);
        check(&link, &[&format!("{} above it (mode 0777)", dir.display()), "chmod o-w"]);
    }

    #[test]
    fn issue_13_a_storage_directory_is_not_listed_or_replaced_by_others() {
        let home = home();
        let (wide, dir) = (home.path().join("wide"), home.path().join("wide/data"));
        fs::create_dir_all(&dir).unwrap();
        let settings = Settings { storage_dir: dir.clone(), ..Settings::default() };
        let check = |above: u32, mode: u32, parts: &[&str]| {
            set(&wide, above);
            set(&dir, mode);
            let found = exposed_paths(&settings, &Layers::default());
            one(&found.iter().map(ToString::to_string).collect::<Vec<_>>(), parts);
        };
        check(0o755, 0o700, &[]);
        check(0o755, 0o711, &[]);
        check(0o755, 0o750, &[]);
        check(0o700, 0o755, &[]);
        check(0o755, 0o755, &["storage_dir = ", "(mode 0755)", "knows an id", "chmod o-r"]);
        check(0o1777, 0o700, &[]);
        let command = format!("chmod o-w {}", wide.display());
        check(0o777, 0o700, &["(mode 0777)", "another directory in its place", &command]);
        if rustix::process::geteuid().is_root() {
            chown(&wide, Some(12345), None).unwrap();
            check(0o755, 0o700, &["belongs to user 12345", "another directory"]);
        }
    }

    #[test]
    fn paths_are_one_word_of_a_shell() {
        let check = |path: &str, expected: &str| assert_eq!(word(Path::new(path)), expected);
        check("/etc/incoming/incoming.toml", "/etc/incoming/incoming.toml");
        check("a b", "'a b'");
        check("it's;$(x)", r"'it'\''s;$(x)'");
        check("-rf", "'./-rf'");
        check("", "''");
    }
}
